//! The columns of a table: their names, what their cells mean to the network, and their gaps.

pub(crate) mod gaps;
pub(crate) mod names;
pub(crate) mod preprocessing;

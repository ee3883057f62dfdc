//! A file as a table of numbers: a new one, whose columns are found, or one with the columns of a model.

pub(crate) mod arrays;
mod cells;
mod choice;
pub(crate) mod findings;
pub(crate) mod known;
pub(crate) mod scan;
pub(crate) mod table;

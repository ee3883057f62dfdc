//! Targets: borrowed for a step, owned in a data set.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::options::{Loss, TargetKind};

/// The targets of a batch, which the loss compares the outputs with.
///
/// ```
/// use ztilde::Targets;
///
/// let classes = Targets::from([2_u32, 0, 1].as_slice());
/// let values = Targets::from(vec![0.5_f32, -1.0]);
/// assert_eq!([classes.len(), values.len()], [3, 2]);
/// assert!(classes.check_classes(3).is_ok() && classes.check_classes(2).is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Targets<'a> {
    /// One class index per row, counted from 0.
    Classes(Cow<'a, [u32]>),
    /// One value per row and output, row-major.
    Values(Cow<'a, [f32]>),
}

impl Targets<'_> {
    /// The number of class indices or values.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether there are no targets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of the targets, in the words of an error message.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Classes(_) => Self::CLASSES,
            Self::Values(_) => Self::VALUES,
        }
    }

    pub(crate) const CLASSES: &'static str = "one class index per row (u32)";
    pub(crate) const VALUES: &'static str = "one value per row and output (f32)";

    /// Whether every target is one of this many classes, counted from 0. Values always pass.
    ///
    /// # Errors
    ///
    /// [`Error::Class`] with the first row whose class does not exist.
    pub fn check_classes(&self, classes: u32) -> Result<()> {
        let Self::Classes(indices) = self else {
            return Ok(());
        };
        match (0..).zip(indices.iter()).find(|&(_, &class)| class >= classes) {
            Some((row, &class)) => Err(Error::Class { row, class, classes }),
            None => Ok(()),
        }
    }

    /// Whether a loss can compare these targets with `rows` rows of `outputs` outputs.
    ///
    /// # Errors
    ///
    /// [`Error::Targets`] if the loss needs targets of another kind;
    /// [`Error::Length`] if they are too few or too many; [`Error::Class`] with a class that has no
    /// output; [`Error::Probability`] with a target of binary cross-entropy outside 0 to 1.
    pub fn check(&self, loss: Loss, rows: u64, outputs: u64) -> Result<()> {
        let classes = matches!(self, Self::Classes(_));
        if classes != loss.has_class_targets() {
            return Err(Error::Targets {
                loss: loss.name(),
                needed: if classes { Self::VALUES } else { Self::CLASSES },
                found: self.kind(),
            });
        }
        let (needed, why) = if classes {
            (rows, format!("one class for each of {rows} rows"))
        } else {
            (rows.saturating_mul(outputs), format!("{rows} rows × {outputs} outputs"))
        };
        let found = self.len() as u64;
        if found != needed {
            return Err(Error::Length { what: "targets", found, needed, why });
        }
        match (self, loss.targets()) {
            (Self::Values(values), TargetKind::Probabilities) => {
                check_probabilities(values, outputs)
            }
            (Self::Values(_), TargetKind::Numbers | TargetKind::Classes) => Ok(()),
            (Self::Classes(_), _) => self.check_classes(u32::try_from(outputs).unwrap_or(u32::MAX)),
        }
    }

    /// The number of targets in each row: 1 for classes.
    pub(super) fn columns(&self, rows: usize) -> Result<usize> {
        let found = self.len();
        let columns = match self {
            Self::Classes(_) => 1,
            Self::Values(_) => found.div_ceil(rows).max(1),
        };
        if found == rows * columns {
            return Ok(columns);
        }
        Err(Error::Length {
            what: "targets",
            found: found as u64,
            needed: (rows * columns) as u64,
            why: format!("{rows} rows × {columns} in each"),
        })
    }

    pub(super) fn select(&self, indices: &[usize], rows: usize) -> Targets<'static> {
        match self {
            Self::Classes(classes) => {
                indices.iter().map(|&row| classes[row]).collect::<Vec<_>>().into()
            }
            Self::Values(values) => {
                let columns = values.len() / rows;
                let row = |&row: &usize| &values[row * columns..][..columns];
                indices.iter().flat_map(row).copied().collect::<Vec<_>>().into()
            }
        }
    }
}

/// For a target outside 0 to 1 the loss has no minimum: training would lower it forever.
fn check_probabilities(values: &[f32], columns: u64) -> Result<()> {
    match (0..).zip(values).find(|(_, value)| !(0.0..=1.0).contains(*value)) {
        Some((place, &value)) => {
            Err(Error::Probability { row: place / columns, column: place % columns, value })
        }
        None => Ok(()),
    }
}

macro_rules! targets_from {
    ($value:ty, $variant:ident) => {
        impl<'a> From<&'a [$value]> for Targets<'a> {
            fn from(targets: &'a [$value]) -> Self {
                Self::$variant(Cow::Borrowed(targets))
            }
        }

        impl<'a> From<&'a Vec<$value>> for Targets<'a> {
            fn from(targets: &'a Vec<$value>) -> Self {
                Self::$variant(Cow::Borrowed(targets))
            }
        }

        impl<'a, const N: usize> From<&'a [$value; N]> for Targets<'a> {
            fn from(targets: &'a [$value; N]) -> Self {
                Self::$variant(Cow::Borrowed(targets))
            }
        }

        impl From<Vec<$value>> for Targets<'_> {
            fn from(targets: Vec<$value>) -> Self {
                Self::$variant(Cow::Owned(targets))
            }
        }
    };
}

targets_from!(u32, Classes);
targets_from!(f32, Values);

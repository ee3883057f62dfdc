//! The kind of a target, derived from the findings in its column.

use std::collections::BTreeSet;

use super::{Findings, Held, MOST_CLASSES};
use crate::data::{
    cell::forms::Form, columns::preprocessing::TargetValues, options::Task, tables::table::Recode,
};

/// A target with at most this many different values, all whole numbers, has classes.
const FEW: usize = 20;

/// The least number of rows per value, on average: a class has several rows.
const OFTEN: u64 = 3;

impl Findings {
    /// Fails if a word for a missing value is as frequent as a class: only the user can decide what it means.
    pub(crate) fn check_words(&self, classes: &[u64]) -> Result<(), String> {
        if self.are_numbers() {
            return Ok(());
        }
        let least = classes.iter().copied().min().unwrap_or(0).max(2);
        let Some((word, count)) = self.words.iter().max_by_key(|(_, count)| **count) else {
            return Ok(());
        };
        if *count < least {
            return Ok(());
        }
        let words: Vec<_> = self.words.keys().map(String::as_str).collect();
        Err(format!(
            "has {word:?} in {count} rows, as many as a class has: is it a class, or a missing value? \
             --missing-values \"\" takes it as a class, --missing-values \"{}\" leaves out the rows",
            words.join(",")
        ))
    }

    /// The kind of the target and how its cells are recoded, or the error.
    pub(crate) fn target(
        &self,
        held: Held,
        task: Option<Task>,
    ) -> Result<(TargetValues, Recode), String> {
        let number = TargetValues::Number { shift: 0.0, scale: 1.0 };
        match held {
            Held::Texts(classes, recode) => {
                if task == Some(Task::Regression) {
                    let (line, text) = self.first_text.clone().unwrap_or_default();
                    return Err(format!(
                        "is text ({text:?} in line {line}), but --task is regression"
                    ));
                }
                if classes.len() > MOST_CLASSES {
                    return Err(self.too_many());
                }
                several(&format!("{:?}", classes[0]), classes.len()).map_err(|why| {
                    let missing = |(word, count)| {
                        format!(
                            ". {word:?} in {count} row(s) is read as missing: --missing-values \"\" takes \
                             it as a class"
                        )
                    };
                    why + &self.words.iter().next().map_or_else(String::new, missing)
                })?;
                Ok((TargetValues::Classes(classes), recode))
            }
            Held::Numbers(form, recode) if form != Form::Plain => {
                let Recode::Unbox(numbers) = &recode else { return Ok((number, recode)) };
                let numbers: BTreeSet<u64> =
                    numbers.iter().map(|number| number.to_bits()).collect();
                let all: BTreeSet<_> = numbers.union(&self.different).collect();
                let (_, first) = self.first_text.clone().unwrap_or_default();
                several(&format!("{first:?}"), all.len())?;
                Ok((number, recode))
            }
            _ => numbers(&self.different, self.is_whole, self.numbers, task),
        }
    }

    fn too_many(&self) -> String {
        let count = self.counted();
        if self.are_numbers() {
            return format!(
                "has {count} different numbers, but there can be {MOST_CLASSES} classes at most; --task \
                 regression learns them as numbers"
            );
        }
        format!(
            "has {count} different texts, but there can be {MOST_CLASSES} classes at most; --target \
             names another column"
        )
    }
}

/// The kind of a target of `count` numbers with these different values.
pub(crate) fn numbers(
    different: &BTreeSet<u64>,
    is_whole: bool,
    count: u64,
    task: Option<Task>,
) -> Result<(TargetValues, Recode), String> {
    let mut numbers: Vec<f64> = different.iter().map(|&bits| f64::from_bits(bits)).collect();
    numbers.sort_by(f64::total_cmp);
    several(&numbers.first().map_or_else(String::new, f64::to_string), numbers.len())?;
    let is_classes = match task {
        Some(task) => task == Task::Classification,
        None => is_whole && numbers.len() <= FEW && count >= OFTEN * numbers.len() as u64,
    };
    if !is_classes {
        return Ok((TargetValues::Number { shift: 0.0, scale: 1.0 }, Recode::Keep));
    }
    if numbers.len() > MOST_CLASSES {
        return Err(format!(
            "has over {MOST_CLASSES} different numbers, but there can be {MOST_CLASSES} classes at \
             most; --task regression learns them as numbers"
        ));
    }
    let classes = numbers.iter().map(f64::to_string).collect();
    Ok((TargetValues::Classes(classes), Recode::Search(numbers)))
}

/// Fails if there are fewer than two values.
fn several(first: &str, count: usize) -> Result<(), String> {
    let what = match count {
        0 => "has no values at all".to_owned(),
        1 => format!("is {first} in every row"),
        _ => return Ok(()),
    };
    Err(format!("{what}: there is nothing to learn; --target names another column"))
}

//! What a column of a table was seen to hold, and what a target is by that.

use std::collections::{BTreeSet, HashMap};

use super::{
    cell::{Cell, sort_names},
    names::Names,
    options::Task,
    preprocessing::TargetValues,
    table::Recode,
};

/// The most classes.
pub(super) const MOST_CLASSES: usize = 1000;

/// Whole numbers of at most so many different values are taken for classes.
const FEW: usize = 20;

/// They are, if each comes so often on average; a class has several members.
const OFTEN: u64 = 3;

/// How many different texts of a column are counted.
pub(super) const COUNTED: usize = 100_000;

/// What a column was seen to hold.
pub(super) struct Seen {
    /// Whether each cell is a category, also where it is a number.
    pub(super) is_text: bool,
    /// The texts, in the order in which they came.
    pub(super) texts: HashMap<String, u32>,
    pub(super) first_text: Option<(u64, String)>,
    first_number: Option<u64>,
    pub(super) numbers: u64,
    /// The bits of the different numbers, until they are more than there can be classes.
    different: BTreeSet<u64>,
    is_whole: bool,
    /// Whether the numbers go up by one from row to row, from 0 or 1 on.
    pub(super) counts_rows: bool,
    last: f64,
}

impl Seen {
    pub(super) fn new(is_text: bool) -> Self {
        Self {
            is_text,
            texts: HashMap::new(),
            first_text: None,
            first_number: None,
            numbers: 0,
            different: BTreeSet::new(),
            is_whole: true,
            counts_rows: true,
            last: -1.0,
        }
    }

    /// A cell as a number: itself, the place of the text, or NaN if it is missing.
    pub(super) fn take(
        &mut self,
        text: &str,
        line: u64,
        names: &Names,
        at: usize,
    ) -> Result<f64, String> {
        let cell = if self.is_text { Cell::parse_text(text) } else { Cell::parse(text) };
        match cell {
            Cell::Missing => {
                self.counts_rows = false;
                Ok(f64::NAN)
            }
            Cell::Number(number) => self.number(number, text, line, names, at),
            Cell::Text(text) => {
                self.counts_rows = false;
                if let Some(first) = self.first_number {
                    return Err(format!(
                        "{text:?} is no number, as the cells from line {first} on are. Correct or \
                         empty the cell, or leave the column out with --drop {option}, or take its \
                         numbers as categories with --categorical {option}",
                        option = names.as_option(&[at])
                    ));
                }
                if self.first_text.is_none() {
                    self.first_text = Some((line, text.to_owned()));
                }
                Ok(self.place(text))
            }
        }
    }

    fn number(
        &mut self,
        number: f64,
        text: &str,
        line: u64,
        names: &Names,
        at: usize,
    ) -> Result<f64, String> {
        if !number.is_finite() {
            return Err(format!(
                "{:?} is no finite number: correct or empty the cell",
                text.trim()
            ));
        }
        if let Some((first, word)) = &self.first_text {
            let else_way = if names.from_header {
                format!("if line {first} is no row, remove it")
            } else {
                format!("if line {first} has the names of the columns, --header yes says so")
            };
            return Err(format!(
                "{:?} is a number, but {word:?} in line {first} is none. Correct or empty one of \
                 them, or take all numbers of the column as categories with --categorical {}; \
                 {else_way}",
                text.trim(),
                names.as_option(&[at])
            ));
        }
        self.first_number.get_or_insert(line);
        self.numbers += 1;
        // As one number, 0 and -0 are one class.
        let number = number + 0.0;
        if self.different.len() <= MOST_CLASSES {
            self.different.insert(number.to_bits());
            self.is_whole &= number == number.trunc();
        }
        let is_next = number == self.last + 1.0 || self.numbers == 1 && number == 1.0;
        self.counts_rows &= is_next;
        self.last = number;
        Ok(number)
    }

    /// The place of a text among the different ones.
    fn place(&mut self, text: &str) -> f64 {
        if let Some(&place) = self.texts.get(text) {
            return place.into();
        }
        let place = self.texts.len() as u32;
        if self.texts.len() < COUNTED {
            self.texts.insert(text.to_owned(), place);
        }
        place.into()
    }

    /// The texts sorted, and what the places become by that.
    pub(super) fn categories(&self) -> (Vec<String>, Recode) {
        let mut names: Vec<String> = self.texts.keys().cloned().collect();
        sort_names(&mut names);
        let mut places = vec![0.0; names.len()];
        for (name, sorted) in names.iter().zip(0_u32..) {
            places[self.texts[name] as usize] = sorted.into();
        }
        (names, Recode::Place(places))
    }

    /// What the target is, and what its cells become; or what is wrong with it.
    pub(super) fn target(&self, task: Option<Task>) -> Result<(TargetValues, Recode), String> {
        if !self.texts.is_empty() {
            if task == Some(Task::Regression) {
                let (line, text) = self.first_text.clone().unwrap_or_default();
                return Err(format!("is text ({text:?} in line {line}), but --task is regression"));
            }
            if self.texts.len() > MOST_CLASSES {
                return Err(format!(
                    "has {} different texts, but there can be {MOST_CLASSES} classes at most; --target \
                     names another column",
                    self.texts.len()
                ));
            }
            let (classes, recode) = self.categories();
            return several(&format!("{:?}", classes[0]), classes.len())
                .map(|()| (TargetValues::Classes(classes), recode));
        }
        numbers(&self.different, self.is_whole, self.numbers, task)
    }
}

/// What a target of so many numbers is, of which these are the different ones.
pub(super) fn numbers(
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

/// Fails if there is but one value.
fn several(first: &str, count: usize) -> Result<(), String> {
    let what = match count {
        0 => "has no values at all".to_owned(),
        1 => format!("is {first} in every row"),
        _ => return Ok(()),
    };
    Err(format!("{what}: there is nothing to learn; --target names another column"))
}

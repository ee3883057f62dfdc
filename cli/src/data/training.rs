//! The data of a training: read, divided into training rows and held-out rows, and scaled.

use crate::{
    data::{
        cell::finite,
        columns::{
            gaps::{FilledColumn, Policy},
            preprocessing::Preprocessing,
        },
        digits,
        formats::text::Text,
        input::{Input, find, find_to_test},
        options::{DataOptions, Scale, Task},
        rows::{self, Divided, Rows, TargetSums, blocks::Room, fit, split::Split},
        tables::{
            arrays::{self, Arrays},
            scan,
            table::Table,
        },
    },
    failure::Failure,
    wording::plural,
};

/// A data set that was read.
pub(crate) struct Data {
    table: Table,
    /// A separate test set.
    test: Option<Table>,
    scale: Scale,
    is_embedded: bool,
}

/// The held-out rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum HeldOut {
    /// This share of the rows is held out.
    Share(f64),
    /// One of this many folds is held out, counted from 0.
    Fold(u32, u32),
}

/// Rows, ready for training and testing.
pub(crate) struct Prepared {
    pub(crate) preprocessing: Preprocessing,
    pub(crate) learned: Rows,
    pub(crate) held_out: Option<Rows>,
    /// The number of training rows of each class; of all training rows if there are no classes.
    pub(crate) of_class: Vec<u64>,
    pub(crate) held_out_targets: TargetSums,
}

impl Data {
    /// Reads the data that the options name. Notes report each decision that no option made.
    pub(crate) fn read(options: &DataOptions, notes: &mut Vec<String>) -> Result<Self, Failure> {
        let Some(path) = &options.data else {
            return Self::digits(options);
        };
        let (input, own_test, task) = find(path, options.targets.as_deref())?;
        let table = match input {
            Input::Arrays(arrays) => arrays::table(*arrays, options, options.task.or(task))?,
            Input::Text(source) => {
                let text = Text::open(*source, &options.layout)?;
                scan::scan(text, options, notes)?
            }
        };
        let test = match &options.test_data {
            Some(path) => Some(find_to_test(path, None)?),
            // Folds cover all rows, so a test set beside the file stays unused.
            None => own_test.filter(|_| options.folds.is_none()),
        };
        let known = &table.preprocessing;
        let policy = Policy::new(Some(options.missing), false);
        let test = test.map(|test| test.known(known, &options.layout, policy));
        let test = test.transpose()?;
        let data = Self::new(table, test, options);
        data.note(options, notes);
        Ok(data)
    }

    pub(crate) fn new(table: Table, test: Option<Table>, options: &DataOptions) -> Self {
        let usual = if table.is_bytes { Scale::Pixels } else { Scale::Standardize };
        Self { scale: options.scale.unwrap_or(usual), table, test, is_embedded: false }
    }

    fn digits(options: &DataOptions) -> Result<Self, Failure> {
        let [images, labels] = digits::arrays()?;
        let arrays = Arrays::new(images, Some(labels))?;
        let mut table = arrays::table(arrays, options, Some(Task::Classification))?;
        table.white = digits::INK;
        Ok(Self { is_embedded: true, ..Self::new(table, None, options) })
    }

    /// Adds notes on the findings and the decisions.
    pub(crate) fn note(&self, options: &DataOptions, notes: &mut Vec<String>) {
        let Table { file, preprocessing, counts, .. } = &self.table;
        let target = &preprocessing.target;
        let (decided, wanted) = match target.classes() {
            Some(classes) => (format!("{} classes", classes.len()), "regression"),
            None => ("a number".to_owned(), "classification"),
        };
        let last = if options.target.is_none() && target.number.is_some() {
            ", the last column,"
        } else {
            ""
        };
        let other = if options.task.is_none() && !self.has_named_classes() {
            format!(" (--task {wanted} takes it otherwise)")
        } else {
            String::new()
        };
        notes.push(format!(
            "{file}: {}, {} as {}; the target {:?}{last} is {decided}{other}",
            plural(counts.rows, "row"),
            plural(preprocessing.columns.len() as u64, "column"),
            plural(preprocessing.inputs() as u64, "input"),
            target.name,
        ));
        notes.extend(
            [Some(&self.table), self.test.as_ref()].into_iter().flatten().flat_map(Table::notes),
        );
        if let (Some(classes), None) = (target.classes(), &self.test) {
            let rare: Vec<_> =
                classes.iter().zip(&counts.of_class).filter(|(_, rows)| **rows < 2).collect();
            if let Some((first, _)) = rare.first() {
                let (have, more) =
                    if rare.len() > 1 { ("classes have", ", …") } else { ("class has", "") };
                notes.push(format!(
                    "{} {have} only one row, which is either trained on or held out: {first:?}{more}",
                    rare.len()
                ));
            }
        }
    }

    /// Whether the classes are words rather than numbers.
    fn has_named_classes(&self) -> bool {
        let classes = self.table.preprocessing.target.classes();
        classes.is_some_and(|classes| classes.iter().any(|class| finite(class).is_none()))
    }

    /// The number of training rows.
    pub(crate) fn learned_rows(&self, held_out: HeldOut, seed: u64) -> Result<u64, Failure> {
        Ok(self.table.counts.rows - self.split(held_out, seed)?.1)
    }

    /// Divides the rows, fits scales to the training rows, and makes inputs.
    pub(crate) fn prepare(
        &self,
        held_out: HeldOut,
        room: Room,
        notes: &mut Vec<String>,
    ) -> Result<Prepared, Failure> {
        let (split, _) = self.split(held_out, room.seed)?;
        let group = match held_out {
            HeldOut::Share(_) => 1,
            HeldOut::Fold(fold, _) => fold as usize,
        };
        let preprocessing = fit::fit(&self.table, &split, group, self.scale, notes)?;
        let Divided { learned, mut held_out, learned_targets, mut held_out_targets } =
            rows::prepare(&self.table, &preprocessing, &split, group, room)?;
        if let Some(test) = &self.test {
            let whole = Split::whole(&test.counts.of_class);
            let divided = rows::prepare(test, &preprocessing, &whole, 1, room)?;
            (held_out, held_out_targets) = (Some(divided.learned), divided.learned_targets);
        }
        let of_class = learned_targets.of_class;
        Ok(Prepared { preprocessing, learned, held_out, of_class, held_out_targets })
    }

    /// The held-out rows, and their number.
    fn split(&self, held_out: HeldOut, seed: u64) -> Result<(Split, u64), Failure> {
        let Table { file, counts, .. } = &self.table;
        let rows = counts.rows;
        let (split, group) = match held_out {
            _ if self.test.is_some() => (Split::whole(&counts.of_class), 1),
            HeldOut::Share(0.0) => (Split::whole(&counts.of_class), 1),
            HeldOut::Share(share) if self.is_embedded => (digits::split(share, seed)?, 1),
            HeldOut::Share(share) => {
                let split = Split::held_out(&counts.of_class, share, seed);
                if [0, rows].contains(&split.rows(1)) {
                    return Err(Failure::input(format!(
                        "{file}: --held-out {share} of {rows} row(s) is {}; there must be \
                         training rows and held-out rows, unless --held-out is 0",
                        split.rows(1)
                    )));
                }
                (split, 1)
            }
            HeldOut::Fold(fold, folds) => {
                if rows < folds.into() {
                    return Err(Failure::input(format!(
                        "{file}: --folds is {folds}, but there are only {rows} rows"
                    )));
                }
                (Split::folds(&counts.of_class, folds, seed), fold as usize)
            }
        };
        let count = split.rows(group);
        Ok((split, count))
    }

    /// The rows of DATA: the training rows, and the held-out rows unless there is a test set.
    pub(crate) fn rows(&self) -> u64 {
        self.table.counts.rows
    }

    /// The columns with filled cells: of DATA, and of the test set, if there is one.
    pub(crate) fn filled(&self) -> (Vec<FilledColumn>, Option<Vec<FilledColumn>>) {
        (self.table.filled(), self.test.as_ref().map(Table::filled))
    }
}

#[cfg(test)]
mod tests;

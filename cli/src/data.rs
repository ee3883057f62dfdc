//! The training data: tables of text, images, arrays, or the built-in digits.
//!
//! A file is read once, into a [`Table`] of numbers. The rows are split, and scales are
//! fitted to the training rows. Then numbers become inputs, in the same way for training rows, test rows
//! and later files.

mod array;
mod arrays;
mod blocks;
mod bytes;
mod cell;
pub(crate) mod digits;
mod findings;
mod fit;
mod forms;
mod gaps;
mod head;
mod idx;
mod known;
mod lines;
mod names;
mod numpy;
mod options;
mod parquet;
mod preprocessing;
mod reading;
mod rows;
mod scan;
mod source;
mod split;
mod table;
mod text;
mod unlabeled;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::{
    failure::Failure,
    output,
    report::{self, Baseline},
    wording::plural,
};
use arrays::Arrays;
use gaps::Policy;
use options::{Layout, Scale, Task};
use rows::Divided;
use source::{Format, Source};
use split::Split;
use table::Table;
use text::Text;

pub(crate) use blocks::{Visit, visits};
pub(crate) use bytes::read_bytes;
pub(crate) use cell::finite;
pub(crate) use fit::Statistics;
#[cfg(test)]
pub(crate) use forms::Form;
pub(crate) use gaps::FilledColumn;
pub(crate) use options::{DataOptions, KnownOptions, UnlabeledOptions};
pub(crate) use parquet::is_guarded;
pub(crate) use preprocessing::{Column, Preprocessing, Target, TargetValues, Values};
pub(crate) use reading::category_place;
pub(crate) use rows::{Room, Rows, TargetSums};
pub(crate) use unlabeled::Unlabeled;

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
    /// The result of a constant prediction on the held-out rows.
    pub(crate) baseline: Option<Baseline>,
}

/// The contents of a path.
enum Input {
    Text(Box<Source>),
    Arrays(Box<Arrays>),
}

impl Input {
    /// A table with the columns of another table.
    fn known(
        self,
        preprocessing: &Preprocessing,
        layout: &Layout,
        policy: Policy,
    ) -> Result<Table, Failure> {
        match self {
            Self::Arrays(arrays) => arrays::known(*arrays, preprocessing, policy),
            Self::Text(source) => {
                known::read(known::open(*source, layout, preprocessing)?, preprocessing, policy)
            }
        }
    }
}

/// The rows of a data set that a trained model is evaluated on.
pub(crate) struct Known {
    pub(crate) rows: Rows,
    pub(crate) targets: TargetSums,
    /// The notes on rows that were left out and cells that were filled; and the filled cells by column.
    pub(crate) notes: Vec<String>,
    pub(crate) filled: Vec<FilledColumn>,
}

/// Reads all rows of a data set.
pub(crate) fn known_rows(
    options: &KnownOptions,
    preprocessing: &Preprocessing,
) -> Result<Known, Failure> {
    let input = match &options.data {
        Some(path) => find_to_test(path, options.targets.as_deref())?,
        None => {
            let [images, labels] = digits::arrays()?;
            Input::Arrays(Arrays::new(images, Some(labels))?.into())
        }
    };
    let policy = Policy::new(options.missing, options.strict);
    let table = input.known(preprocessing, &options.layout, policy)?;
    if let Some(path) = &options.data {
        tell_which(path, &table.file);
    }
    let notes = table.notes();
    if table.counts.rows == 0 {
        let file = format!("{}: ", table.file);
        let notes: Vec<&str> =
            notes.iter().map(|note| note.strip_prefix(&file).unwrap_or(note)).collect();
        let why = if notes.is_empty() { "there are none".to_owned() } else { notes.join("; ") };
        return Err(Failure::input(format!("{}: no row is left to test on: {why}", table.file)));
    }
    let whole = Split::whole(&table.counts.of_class);
    let room = Room { memory: options::MEMORY, batch_size: 1, seed: 0 };
    let Divided { learned: rows, learned_targets: targets, .. } =
        rows::prepare(&table, preprocessing, &whole, 1, room)?;
    Ok(Known { rows, targets, notes, filled: table.filled() })
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
        let data = Self { scale: scale(options, &table), table, test, is_embedded: false };
        data.note(options, notes);
        Ok(data)
    }

    fn digits(options: &DataOptions) -> Result<Self, Failure> {
        let [images, labels] = digits::arrays()?;
        let arrays = Arrays::new(images, Some(labels))?;
        let mut table = arrays::table(arrays, options, Some(Task::Classification))?;
        table.white = digits::INK;
        Ok(Self { scale: scale(options, &table), table, test: None, is_embedded: true })
    }

    /// Adds notes on the findings and the decisions.
    fn note(&self, options: &DataOptions, notes: &mut Vec<String>) {
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
        let baseline = held_out
            .as_ref()
            .map(|_| Baseline::new(&preprocessing, Some(&of_class), &held_out_targets));
        Ok(Prepared { preprocessing, learned, held_out, of_class, baseline })
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

    /// The part of the report on the data, without notes and times.
    pub(crate) fn summary<'a>(&self, preprocessing: &'a Preprocessing) -> report::Data<'a> {
        let Preprocessing { has_header, columns, target, .. } = preprocessing;
        let names = || columns.iter().map(|column| column.name.as_str()).collect();
        report::Data {
            rows: self.table.counts.rows,
            features: columns.len(),
            inputs: preprocessing.inputs(),
            columns: has_header.then(names),
            target: &target.name,
            classes: target.classes().map(<[String]>::len),
            class_names: target.classes(),
            notes: &[],
            filled: self.table.filled(),
            test_filled: self.test.as_ref().map(Table::filled),
            read_seconds: 0.0,
            prepare_seconds: 0.0,
        }
    }
}

fn scale(options: &DataOptions, table: &Table) -> Scale {
    let usual = if table.is_bytes { Scale::Pixels } else { Scale::Standardize };
    options.scale.unwrap_or(usual)
}

/// The contents of a path, the test set beside it, and the kind of the targets if the format determines it.
fn find(
    path: &Path,
    targets: Option<&Path>,
) -> Result<(Input, Option<Input>, Option<Task>), Failure> {
    let path = &images_of(path)?.unwrap_or_else(|| path.to_owned());
    let source = Source::open(path)?;
    let format = source.format;
    if targets.is_some() && matches!(format, Format::Text | Format::Parquet) {
        return Err(Failure::input(format!(
            "{}: --targets is for images and arrays; --target names a column of a table",
            source.name
        )));
    }
    match format {
        Format::Text | Format::Parquet => Ok((Input::Text(source.into()), None, None)),
        Format::Npz => {
            let name = source.name.clone();
            let numpy::Arrays { inputs, targets, test } =
                numpy::unzip(&name, source.into_seekable()?.0)?;
            let input = |inputs, targets| {
                Ok::<_, Failure>(Input::Arrays(Arrays::new(inputs, Some(targets))?.into()))
            };
            let test = test.map(|(inputs, targets)| input(inputs, targets)).transpose()?;
            Ok((input(inputs, targets)?, test, None))
        }
        Format::Npy => {
            let targets = targets.map(array).transpose()?;
            let arrays = Arrays::new(read_array(source)?, targets)?;
            Ok((Input::Arrays(arrays.into()), None, None))
        }
        Format::Idx => {
            let input = |path: &Path, labels: Option<&Path>| {
                let labels = labels.map(Path::to_owned).or_else(|| idx::labels_of(path));
                let Some(labels) = labels else {
                    return Err(Failure::input(format!(
                        "{}: its labels are not beside it, as train-labels-idx1-ubyte is beside \
                         train-images-idx3-ubyte; --targets names their file",
                        path.display()
                    )));
                };
                let arrays = Arrays::new(array(path)?, Some(array(&labels)?))?;
                Ok(Input::Arrays(arrays.into()))
            };
            let test = idx::test_images_of(path).map(|path| input(&path, None)).transpose()?;
            let learned = input(path, targets)?;
            Ok((learned, test, Some(Task::Classification)))
        }
    }
}

/// The test rows of a path, or all rows if it has no test set.
fn find_to_test(path: &Path, targets: Option<&Path>) -> Result<Input, Failure> {
    let path = &resolve_to_test(path)?;
    Ok(match find(path, targets)? {
        // A path that names a file of images means this file, even if a test set lies beside it.
        (images, _, Some(Task::Classification)) => images,
        (input, test, _) => test.unwrap_or(input),
    })
}

/// The test images of a folder, if it has any, or else all its images; or the file itself.
fn resolve_to_test(path: &Path) -> Result<PathBuf, Failure> {
    let images = images_of(path)?.map(|images| idx::test_images_of(&images).unwrap_or(images));
    Ok(images.unwrap_or_else(|| path.to_owned()))
}

/// The training images of a folder.
fn images_of(path: &Path) -> Result<Option<PathBuf>, Failure> {
    if source::is_folder(path) { idx::images_in(path) } else { Ok(None) }
}

/// Prints which set of rows is used, for a file or a folder that holds several.
fn tell_which(path: &Path, rows: &str) {
    let part = rows.strip_prefix(&path.display().to_string());
    if part.is_some_and(|part| !part.is_empty()) {
        output::note(&format!("note: the rows are those of {rows}"));
    }
}

/// The array in a file.
fn array(path: &Path) -> Result<array::Array, Failure> {
    read_array(Source::open(path)?)
}

fn read_array(source: Source) -> Result<array::Array, Failure> {
    let (name, format, prefix) = (source.name.clone(), source.format, source.prefix.clone());
    let (storage, length) = source.into_seekable()?;
    let array = match format {
        Format::Idx => idx::parse(&name, &prefix, storage, length),
        Format::Npy => numpy::parse(&name, &prefix, storage, length),
        Format::Npz => return numpy::unzip_inputs(&name, storage),
        Format::Text | Format::Parquet => Err("it is neither IDX nor .npy".to_owned()),
    };
    array.map_err(|error| Failure::input(format!("{name}: {error}")))
}

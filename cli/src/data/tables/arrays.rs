//! Tables of arrays: images with labels, or NumPy's matrices.

use std::collections::BTreeSet;

use crate::{
    data::{
        cell::{Words, finite},
        columns::{
            gaps::Policy,
            names::Names,
            preprocessing::{Column, Preprocessing, Target, Values},
        },
        formats::array::Array,
        options::{DataOptions, Task},
        tables::{
            choice::{Choice, choose},
            findings::{MOST_CLASSES, target::numbers},
            known::{Places, places},
            table::{Recode, Table},
        },
    },
    failure::Failure,
};

/// The inputs, and the targets if they are not a column of the inputs.
pub(crate) struct Arrays {
    pub(crate) inputs: Array,
    pub(crate) targets: Option<Array>,
}

impl Arrays {
    /// Checks that there is a target for each row.
    pub(crate) fn new(inputs: Array, targets: Option<Array>) -> Result<Self, Failure> {
        if let Some(targets) = &targets {
            let (name, rows, count) = (&targets.name, targets.rows, inputs.rows);
            if rows != count {
                let inputs = &inputs.name;
                return Err(Failure::input(format!(
                    "{name} has {rows} rows of targets, but {inputs} has {count} rows"
                )));
            }
            let columns = targets.columns;
            if columns != 1 {
                return Err(Failure::input(format!(
                    "{name} has {columns} targets in a row, but one is learned; .argmax(axis=1) makes \
                     class numbers of one-hot rows"
                )));
            }
        }
        Ok(Self { inputs, targets })
    }

    fn names(&self) -> Names {
        Names::numbered(self.inputs.columns)
    }

    fn list(self) -> Vec<Array> {
        [self.inputs].into_iter().chain(self.targets).collect()
    }
}

/// Makes a table of new arrays.
pub(crate) fn table(
    arrays: Arrays,
    options: &DataOptions,
    task: Option<Task>,
) -> Result<Table, Failure> {
    let file = arrays.inputs.name.clone();
    let failed = |error: String| Failure::input(format!("{file}: {error}"));
    let names = arrays.names();
    if options.categorical.is_some() {
        return Err(failed("--categorical is for tables of text".to_owned()));
    }
    if options.layout.missing_values.is_some() {
        let why = "--missing-values is for tables: a missing number in an array is NaN";
        return Err(failed(why.to_owned()));
    }
    let Choice { mut columns, .. } =
        choose(&names, options, arrays.targets.is_some()).map_err(failed)?;
    let target_array = arrays.targets.as_ref().unwrap_or(&arrays.inputs);
    let (target_place, number) = match &arrays.targets {
        Some(_) => (arrays.inputs.columns, None),
        None => columns.pop().map_or((0, None), |column| (column, Some(column + 1))),
    };
    let in_array = if number.is_none() { 0 } else { target_place };
    let (different, is_whole) = different(target_array, in_array)?;
    let (values, recode) = numbers(&different, is_whole, target_array.rows, task)
        .map_err(|why| Failure::input(format!("{}: the target {why}", target_array.name)))?;
    let unscaled = Values::Number { shift: 0.0, scale: 1.0, fill: None };
    let column = |&column: &usize| Column::new(names.name(column), column + 1, unscaled.clone());
    let name = number.map_or("target".to_owned(), |number| names.name(number - 1).to_owned());
    let preprocessing = Preprocessing {
        has_header: false,
        width: arrays.inputs.columns,
        columns: columns.iter().map(column).collect(),
        target: Target::new(name, number, values),
        missing_words: Words::USUAL,
    };
    let places = columns.iter().map(|&column| (column, Recode::Keep));
    let places = places.chain([(target_place, recode)]).collect();
    Table::new(file.clone(), arrays.list(), places, options.missing, preprocessing)
}

/// Makes a table of arrays whose columns are known.
pub(crate) fn known(
    arrays: Arrays,
    preprocessing: &Preprocessing,
    policy: Policy,
) -> Result<Table, Failure> {
    let file = arrays.inputs.name.clone();
    let columns = arrays.inputs.columns;
    let target = &preprocessing.target;
    let failed = |error| Failure::input(format!("{file}: {error}"));
    let Places { features, target: target_place } =
        places(preprocessing, &arrays.names()).map_err(failed)?;
    let place = match &arrays.targets {
        Some(_) => columns,
        None => target_place.map_err(failed)?,
    };
    let recode = match target.classes() {
        None => Recode::Keep,
        Some(classes) => {
            let numbers = as_numbers(classes);
            let (array, column) = match &arrays.targets {
                Some(targets) => (targets, 0),
                None => (&arrays.inputs, place),
            };
            let (different, _) = different(array, column)?;
            let unknown = different
                .iter()
                .map(|&bits| f64::from_bits(bits))
                .find(|number| numbers.len() < classes.len() || !numbers.contains(number));
            if let Some(unknown) = unknown {
                return Err(Failure::input(format!(
                    "{}: {unknown} is not one of the {} classes: {}",
                    array.name,
                    classes.len(),
                    classes.join(", ")
                )));
            }
            Recode::Search(numbers)
        }
    };
    let recodes = preprocessing.columns.iter().map(|column| recode_known(&column.values));
    let places = features.into_iter().zip(recodes).chain([(place, recode)]).collect();
    let table = Table::new(file, arrays.list(), places, policy.missing, preprocessing.clone())?;
    let failed = |why| Failure::input(format!("{}, {why}", table.file));
    let mut columns = table.counts.gaps.iter().zip(&preprocessing.columns);
    columns.try_for_each(|(gaps, column)| gaps.check(policy, column)).map_err(failed)?;
    Ok(table)
}

/// How to recode the numbers of a known column: unchanged, or as the indices of their categories.
pub(crate) fn recode_known(values: &Values) -> Recode {
    match values {
        Values::Number { .. } => Recode::Keep,
        Values::Category(names) => Recode::Search(as_numbers(names)),
    }
}

/// The names that are numbers. They are sorted, and precede all other names.
fn as_numbers(names: &[String]) -> Vec<f64> {
    names.iter().filter_map(|name| Some(finite(name)? + 0.0)).collect()
}

/// The bits of the different numbers in a column, until they exceed the largest number of classes; and
/// whether they are whole numbers.
fn different(array: &Array, column: usize) -> Result<(BTreeSet<u64>, bool), Failure> {
    let mut different = BTreeSet::new();
    let mut is_whole = true;
    let mut cells = Vec::new();
    let at_once = ((1 << 16) / array.columns).max(1);
    for first in (0..array.rows).step_by(at_once) {
        let count = at_once.min((array.rows - first) as usize);
        array
            .read(first, count, &mut cells)
            .map_err(|error| Failure::input(format!("{}: {error}", array.name)))?;
        let numbers = cells.chunks_exact(array.columns).map(|row| row[column] + 0.0);
        for number in numbers.filter(|number| number.is_finite()) {
            different.insert(number.to_bits());
            is_whole &= number == number.trunc();
            if different.len() > MOST_CLASSES {
                return Ok((different, is_whole));
            }
        }
    }
    Ok((different, is_whole))
}

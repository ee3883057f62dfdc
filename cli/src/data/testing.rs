//! The rows of a data set that a trained model is evaluated on.

use crate::{
    data::{
        columns::{
            gaps::{FilledColumn, Policy},
            preprocessing::Preprocessing,
        },
        digits,
        input::{Input, find_to_test, tell_which},
        options::{self, KnownOptions},
        rows::{self, Divided, Rows, TargetSums, blocks::Room, split::Split},
        tables::arrays::Arrays,
    },
    failure::Failure,
};

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

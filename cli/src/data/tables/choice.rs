//! Finds the columns that the options name.

use crate::data::{
    columns::names::Names,
    options::{DataOptions, Task},
};

/// The positions of the columns that the options name.
pub(crate) struct Choice {
    /// The features, then the target if it is one of the columns.
    pub(crate) columns: Vec<usize>,
    pub(crate) is_category: Vec<bool>,
}

/// Finds the requested columns, or all columns. The target may be in another file.
pub(crate) fn choose(
    names: &Names,
    options: &DataOptions,
    has_targets: bool,
) -> Result<Choice, String> {
    let option = |name: &str, error| format!("--{name}: {error}");
    let target = match &options.target {
        None => names.len() - 1,
        Some(target) => names.find(target).map_err(|error| option("target", error))?,
    };
    let list = |name: &str, list: &Option<String>| match list {
        None => Ok(Vec::new()),
        Some(list) => names.list(list).map_err(|error| option(name, error)),
    };
    let dropped = list("drop", &options.drop)?;
    let categorical = list("categorical", &options.categorical)?;
    let mut columns = match &options.features {
        Some(_) => list("features", &options.features)?,
        None => (0..names.len()).filter(|column| !dropped.contains(column)).collect(),
    };
    if has_targets {
        return Ok(Choice { is_category: vec![false; columns.len()], columns });
    }
    if dropped.contains(&target) {
        return Err(format!("--drop leaves out {}, the target", names.describe(target)));
    }
    if options.features.is_some() && columns.contains(&target) {
        let target = names.describe(target);
        return Err(format!(
            "--features names {target}, which is the target: --target names another"
        ));
    }
    columns.retain(|&column| column != target);
    if columns.is_empty() {
        return Err(match names.len() {
            1 => {
                "there is only one column, the target: --delimiter sets what separates the cells, \
                  --skip-lines leaves out lines above the table"
                    .to_owned()
            }
            count => format!("of {count} columns, --drop or --features leaves only the target"),
        });
    }
    columns.push(target);
    let is_class = options.task == Some(Task::Classification);
    let is_category = columns
        .iter()
        .map(|column| categorical.contains(column) || is_class && *column == target)
        .collect();
    Ok(Choice { columns, is_category })
}

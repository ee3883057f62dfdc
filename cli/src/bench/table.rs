//! Prints the table row by row, and its rows as JSON.

use serde::Serialize;

use super::row::Row;
use crate::{
    failure::Failure,
    output::{Json, Lines},
    progress::GrowingTable,
};

/// Shows the current measurement under the table, if stderr is a terminal.
pub(super) struct Table {
    printed: GrowingTable,
    json: Option<Lines>,
}

impl Table {
    pub(super) fn new(json: Option<&Json>) -> Result<Self, Failure> {
        let printed = GrowingTable::new(None, json == Some(&Json::Stdout));
        Ok(Self { printed, json: json.map(Json::lines).transpose()? })
    }

    /// Shows the title of the next measurement.
    pub(super) fn begin(&self, title: &str) {
        self.printed.begin(format!("measuring {title} …"));
    }

    /// A line of the table.
    pub(super) fn line(&self, line: &str) -> Result<(), Failure> {
        self.printed.line(line)
    }

    pub(super) fn row(&mut self, row: &Row) -> Result<(), Failure> {
        self.line(&row.line())?;
        self.json(row)
    }

    /// An object of the JSON.
    pub(super) fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let Self { printed, json: Some(json) } = self else { return Ok(()) };
        printed.suspend(|| json.write(object))
    }

    pub(super) fn finish(&self) {
        self.printed.finish();
    }
}

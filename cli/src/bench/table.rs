//! Prints the table row by row, and its rows as JSON.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::row::Row;
use crate::{
    failure::Failure,
    output::{self, Json, Lines},
};

/// Shows the current measurement under the table, if stderr is a terminal.
pub(super) struct Table {
    bar: ProgressBar,
    json: Option<Lines>,
    to_stderr: bool,
}

impl Table {
    pub(super) fn new(json: Option<&Json>) -> Result<Self, Failure> {
        // indicatif draws nothing unless stderr is a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        let to_stderr = json == Some(&Json::Stdout);
        Ok(Self { bar, json: json.map(Json::lines).transpose()?, to_stderr })
    }

    /// Shows the title of the next measurement.
    pub(super) fn begin(&self, title: &str) {
        self.bar.set_message(format!("measuring {title} …"));
        self.bar.tick();
    }

    /// A line of the table.
    pub(super) fn line(&self, line: &str) -> Result<(), Failure> {
        self.bar.suspend(|| {
            if self.to_stderr {
                output::note(line);
                return Ok(());
            }
            output::print(line)
        })
    }

    pub(super) fn row(&mut self, row: &Row) -> Result<(), Failure> {
        self.line(&row.line())?;
        let Self { bar, json: Some(json), .. } = self else { return Ok(()) };
        bar.suspend(|| json.write(row))
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

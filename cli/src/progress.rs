//! Tables that grow above a line of progress, and the number of steps between two updates of that line.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{failure::Failure, output};

const TEMPLATE: &str = "epoch {prefix}  {bar:16}  {percent:>3} %  {msg}  {eta} left";

const MESSAGE: &str = "{msg}";

/// Shown until the first step is done, whose duration cannot be estimated.
const STARTING: &str = "{bar:16}  {percent:>3} %  the driver compiles the kernels";

/// A table that grows line by line, with a line of progress under it if stderr is a terminal.
pub(crate) struct GrowingTable {
    bar: ProgressBar,
    to_stderr: bool,
}

impl GrowingTable {
    /// The line of progress is a message until it gets another style.
    pub(crate) fn new(length: Option<u64>, to_stderr: bool) -> Self {
        // indicatif draws nothing unless stderr is a terminal.
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        Self { bar: bar.with_style(style(MESSAGE)), to_stderr }
    }

    /// Shows what happens next.
    pub(crate) fn begin(&self, message: String) {
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// A line of the table.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.suspend(|| {
            if self.to_stderr {
                output::note(line);
                return Ok(());
            }
            output::print(line)
        })
    }

    /// Prints something else without the line of progress.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The table of a training, with a progress bar under it.
pub(crate) struct Progress {
    table: GrowingTable,
    /// The number of steps that were done before.
    done: u64,
    epochs: u32,
}

impl Progress {
    /// A progress bar for this many steps, some of which are done.
    pub(crate) fn new(steps: u64, done: u64, epochs: u32, table_to_stderr: bool) -> Self {
        let table = GrowingTable::new(Some(steps), table_to_stderr);
        table.bar.set_position(done);
        table.bar.set_style(style(STARTING));
        Self { table, done, epochs }
    }

    /// A line of the table.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.table.line(line)
    }

    /// Shows the number of steps, and the metrics of the last one.
    pub(crate) fn advance(
        &self,
        epoch: u32,
        steps: u64,
        loss: f32,
        accuracy: Option<f32>,
        samples_per_second: f64,
    ) {
        let accuracy =
            accuracy.map_or_else(String::new, |share| format!("  accuracy {:.1} %", 100.0 * share));
        let bar = &self.table.bar;
        bar.set_prefix(format!("{epoch}/{}", self.epochs));
        bar.set_message(format!(
            "loss {loss:.4}{accuracy}  {} samples/s",
            HumanCount(samples_per_second as u64)
        ));
        if bar.position() == self.done {
            bar.set_style(style(TEMPLATE));
            bar.inc(steps);
            // The time to compile belongs to the first step only.
            bar.reset_eta();
        } else {
            bar.inc(steps);
        }
    }

    pub(crate) fn finish(&self) {
        self.table.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The number of steps to submit before reading the losses: few enough that the bar moves several times
/// a second on a slow adapter, and as many as that allows on a fast one.
pub(crate) struct Pace(u32);

impl Pace {
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_millis(200);

    /// A trainer keeps the metrics of the last few thousand steps only.
    const MOST: u32 = 1024;

    pub(crate) const fn new() -> Self {
        Self(1)
    }

    pub(crate) const fn steps(&self) -> u32 {
        self.0
    }

    /// Adapts the number of steps to the time that they took.
    pub(crate) fn took(&mut self, time: Duration) {
        if time < Self::SHORT {
            self.0 = (self.0 * 2).min(Self::MOST);
        } else if time > Self::LONG {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_some() {
        for template in [TEMPLATE, MESSAGE, STARTING] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn the_pace_follows_the_adapter() {
        let mut pace = Pace::new();
        for _ in 0..40 {
            pace.took(Duration::from_micros(10));
        }
        assert_eq!(pace.steps(), 1024);
        pace.took(Duration::from_millis(100));
        assert_eq!(pace.steps(), 1024);
        for _ in 0..40 {
            pace.took(Duration::from_secs(1));
        }
        assert_eq!(pace.steps(), 1);
    }
}

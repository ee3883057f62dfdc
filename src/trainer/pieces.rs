//! Steps on a data set, piece by piece: a submission holds some whole steps, or a part of a long one.

use wgpu::{CommandEncoder, SubmissionIndex};

use super::fault::{fault_of, normalized_layers};
use super::metrics::{StepMetrics, metrics_of};
use super::units::Piece;
use super::{Trainer, TrainingData};
use crate::error::{Fault, Result};
use crate::gpu::{Copies, Launch, read};

/// The most steps of a submission. Their losses and rates fit the rings on the GPU several times.
const MOST_STEPS: u32 = 1024;

/// The steps that one call of [`Trainer::train`] or [`Trainer::epoch`] takes.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    trainer: &'a mut Trainer,
    data: &'a mut TrainingData,
    /// The steps that are not submitted to their end.
    left: u32,
    /// The units of the next step that are submitted.
    begun: usize,
}

/// What the steps of a submission leave.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) metrics: Vec<StepMetrics>,
    pub(super) fault: Option<Fault>,
}

/// A submission whose report is awaited.
#[derive(Debug)]
pub(super) struct Reported<F> {
    /// Its number among those of the trainer.
    pub(super) number: u64,
    /// The steps that end with it.
    pub(super) steps: u32,
    pub(super) report: F,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(trainer: &'a mut Trainer, data: &'a mut TrainingData, steps: u32) -> Self {
        Self { trainer, data, left: steps, begun: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Whether the oldest submission has to be done before the next.
    pub(super) fn must_wait(&self) -> bool {
        self.trainer.in_flight.must_wait(self.wanted())
    }

    /// Looks which submissions are done. Does not wait.
    pub(super) fn look(&mut self) -> Result<()> {
        self.trainer.in_flight.look()
    }

    /// Waits until the next submission may be made. In a browser it does not wait.
    pub(super) fn make_room(&mut self) -> Result<()> {
        let wanted = self.wanted();
        self.trainer.in_flight.make_room(wanted)
    }

    /// Awaits the submissions of earlier calls, which report nothing.
    pub(super) async fn earlier_ones(&mut self) -> Result<()> {
        let counts = self.trainer.network.counts().buffer();
        read::<u32>(self.trainer.network.gpu(), counts, 0, 1).await?;
        self.trainer.in_flight.finish_all();
        Ok(())
    }

    /// The submission of this number, and those before it, are done.
    pub(super) fn finish(&mut self, number: u64) {
        self.trainer.in_flight.finish(number);
    }

    /// The work of all steps that are left.
    fn wanted(&self) -> f64 {
        f64::from(self.left) * self.trainer.step.work(0..self.trainer.step.units())
    }

    /// Submits the next piece. Does not wait.
    pub(super) fn submit(&mut self) -> Result<()> {
        let piece = self.next()?;
        self.submit_piece(&piece)
    }

    fn submit_piece(&mut self, piece: &Piece) -> Result<()> {
        let (launch, submission) = record(self.trainer, self.data, piece, |_| ())?;
        self.trainer.in_flight.submitted(launch, submission);
        self.count(piece);
        Ok(())
    }

    /// Submits the next piece with copies of what its steps leave. Does not wait.
    pub(super) fn submit_and_report(
        &mut self,
    ) -> Result<Reported<impl Future<Output = Result<Report>> + use<>>> {
        let piece = self.next()?;
        let steps = self.ends(&piece);
        let trainer = &*self.trainer;
        let first = trainer.count.encoded();
        let numbers = first..first + u64::from(steps);
        let window = trainer.window_after(steps);
        let layers = normalized_layers(&trainer.network);
        let loss = trainer.options.loss;
        let [history, counts] = trainer.window_sources(&window);
        let sources = [history, counts, trainer.stop_source()];
        let copies = Copies::new(trainer.network.gpu(), sources)?;
        let (launch, submission) =
            record(trainer, self.data, &piece, |encoder| copies.record(encoder))?;
        let values = copies.read::<f32>(trainer.network.gpu(), &submission);
        let number = self.trainer.in_flight.submitted(launch, submission);
        self.count(&piece);
        let report = async move {
            let [history, counts, stop] = values.await?;
            if numbers.is_empty() {
                // In the middle of a step the counts are not those of the CPU.
                return Ok(Report::default());
            }
            let history = window.history(&history, &counts);
            let metrics = metrics_of(&history, numbers, loss);
            Ok(Report { metrics, fault: fault_of(&stop, &layers, history.taken) })
        };
        Ok(Reported { number, steps, report })
    }

    /// What the next submission holds.
    fn next(&mut self) -> Result<Piece> {
        let Self { trainer, data, left, begun } = self;
        if *begun == 0 {
            data.prepare(trainer.network.gpu(), trainer.count.encoded())?;
        }
        let step = data.next_step(&trainer.step);
        let pace = trainer.in_flight.pace();
        let most = (*left).min(data.steps_left()).min(data.steps_per_submission()).min(MOST_STEPS);
        let steps = if *begun == 0 { pace.steps(step.work(0..step.units()), most) } else { 0 };
        let piece = match steps {
            0 => Piece::Units(*begun..*begun + pace.units(step.microseconds(*begun))),
            steps => Piece::Steps(steps),
        };
        if *begun == 0 {
            trainer.announce(steps.max(1).into())?;
        }
        Ok(piece)
    }

    /// How many steps end with a piece.
    fn ends(&self, piece: &Piece) -> u32 {
        match piece {
            Piece::Steps(steps) => *steps,
            Piece::Units(units) => {
                u32::from(units.end == self.data.next_step(&self.trainer.step).units())
            }
        }
    }

    /// Counts the steps that end with a piece, which is submitted.
    fn count(&mut self, piece: &Piece) {
        let ends = self.ends(piece);
        self.begun = match piece {
            Piece::Units(units) if ends == 0 => units.end,
            Piece::Steps(_) | Piece::Units(_) => 0,
        };
        self.trainer.resumes_at = None;
        for _ in 0..ends {
            self.data.advance();
            self.trainer.place = Some(self.data.place());
            self.trainer.count_submitted();
        }
        self.left -= ends;
    }
}

/// A step that has begun ends, even if the future that takes it is dropped, or a wait between two of its pieces
/// takes too long.
impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        if self.begun > 0 {
            let units = self.data.next_step(&self.trainer.step).units();
            // Later calls report a lost device.
            let _ = self.submit_piece(&Piece::Units(self.begun..units));
        }
    }
}

/// Submits a piece, and what `also` records at its end.
fn record(
    trainer: &Trainer,
    data: &mut TrainingData,
    piece: &Piece,
    also: impl FnOnce(&mut CommandEncoder),
) -> Result<(Launch, SubmissionIndex)> {
    let launch = trainer.in_flight.launch(data.work(piece, &trainer.step));
    let gpu = trainer.network.gpu();
    let submission = data.submit(gpu, trainer.number(), piece, &trainer.step, |encoder| {
        also(encoder);
        launch.follow(encoder);
    })?;
    Ok((launch, submission))
}

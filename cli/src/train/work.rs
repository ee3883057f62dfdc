//! The trainings of a run: one, one for each fold, or one with batch normalization and one without.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use wgpu::{Device, Queue};
use ztilde::{Loss, Network, NetworkOptions, Parameters, Trainer, TrainerOptions};

use crate::{
    checkpoint::{Checkpoint, Fingerprints, Keeper},
    class_weights::class_weights,
    data::Prepared,
    failure::Failure,
    model,
    options::Options,
    output,
    plot::curves,
    progress::{Pace, Progress},
    report::{self, Baseline, Epoch, Fold, Origin, Outcome, Summary, Training},
    run::{Learned, Plan, Run},
    settle::Settled,
    state::State,
    tuning::Tunings,
};

/// The time between two updates of a watched plot.
const WATCHED: Duration = Duration::from_secs(1);

/// The options, the device and the progress bar of one training, or of several.
pub(super) struct Work<'a> {
    pub(super) options: &'a Options,
    pub(super) settled: &'a Settled,
    pub(super) origin: &'a Origin,
    /// The fingerprints of the data, if there is a checkpoint.
    pub(super) fingerprints: Option<&'a Fingerprints>,
    pub(super) steps_per_epoch: u64,
    pub(super) device: Device,
    pub(super) queue: Queue,
    pub(super) progress: Progress,
    /// With --tune.
    pub(super) tunings: Option<RefCell<Tunings>>,
}

/// One of the trainings.
struct Job<'a> {
    data: Prepared,
    network: NetworkOptions,
    checkpoint: Option<Checkpoint>,
    /// Prints the lines above the table. It is called once all options have been checked.
    on_start: &'a dyn Fn() -> Result<(), Failure>,
    on_epoch: &'a dyn Fn(&[Epoch]) -> Result<(), Failure>,
}

impl Work<'_> {
    /// Trains once, and saves the model.
    pub(super) fn once(
        &self,
        data: Prepared,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Outcome, Failure> {
        let tested_rows = data.held_out.as_ref().map(|rows| rows.count());
        let notes = model::notes(&data.preprocessing, self.origin, &data.of_class)?;
        let title = self.options.data.title(&data.preprocessing.target.name);
        let picture = Picture::new(self, title);
        let on_epoch = |epochs: &[Epoch]| {
            self.tell(epochs)?;
            picture.watch(&[("", epochs)])
        };
        let head = Epoch::head(self.settled.trainer.loss, tested_rows.is_some());
        let on_start = || self.progress.line(&head);
        let network = self.settled.network.clone();
        let job = Job { data, network, checkpoint, on_start: &on_start, on_epoch: &on_epoch };
        let (parameters, training) = self.train(job)?;
        let model = self.options.results.model.as_ref();
        if let Some(path) = model {
            output::replace(path, &Parameters { notes, ..parameters }.to_bytes()?)?;
        }
        self.progress.finish();
        self.tell_result("", &training, tested_rows)?;
        picture.draw(&[("", &training.epochs)])?;
        if let Some(path) = model {
            self.progress.line(&format!("model saved to {}", path.display()))?;
        }
        Ok(Outcome::Once(training))
    }

    /// Trains with batch normalization and without.
    pub(super) fn compared(
        &self,
        first: Prepared,
        prepare: impl Fn() -> Result<Prepared, Failure>,
    ) -> Result<Outcome, Failure> {
        const NAMES: [&str; 2] = ["with batch norm", "without batch norm"];
        const CURVES: [&str; 2] = ["with batch norm, ", "without, "];
        let loss = self.settled.trainer.loss;
        let tested_rows = first.held_out.as_ref().map(|rows| rows.count());
        let title = self.options.data.title(&first.preprocessing.target.name);
        let picture = Picture::new(self, format!("{title}, with batch normalization and without"));
        let train = |data: Prepared, batch_norm: bool, watch: &dyn Fn(&[Epoch]) -> _| {
            let on_start = || {
                self.progress.line(NAMES[usize::from(!batch_norm)])?;
                self.progress.line(&Epoch::head(loss, tested_rows.is_some()))
            };
            let on_epoch = |epochs: &[Epoch]| {
                self.tell(epochs)?;
                watch(epochs)
            };
            let network = NetworkOptions { batch_norm, ..self.settled.network.clone() };
            let (on_start, on_epoch) = (&on_start, &on_epoch);
            self.train(Job { data, network, checkpoint: None, on_start, on_epoch })
        };
        let (_, with) = train(first, true, &|epochs| picture.watch(&[(CURVES[0], epochs)]))?;
        let (_, without) = train(prepare()?, false, &|epochs| {
            picture.watch(&[(CURVES[0], &with.epochs), (CURVES[1], epochs)])
        })?;
        self.progress.finish();
        for (name, training) in NAMES.into_iter().zip([&with, &without]) {
            self.tell_result(&format!("{name}: "), training, tested_rows)?;
        }
        picture.draw(&[(CURVES[0], &with.epochs), (CURVES[1], &without.epochs)])?;
        Ok(Outcome::Compared { with_batch_norm: with, without_batch_norm: without })
    }

    /// Trains once for each fold.
    pub(super) fn folds(
        &self,
        first: Prepared,
        count: u32,
        prepare: impl Fn(u32) -> Result<Prepared, Failure>,
    ) -> Result<Outcome, Failure> {
        let loss = self.settled.trainer.loss;
        let mut first = Some(first);
        let mut folds = Vec::new();
        for fold in 0..count {
            let data = first.take().map_or_else(|| prepare(fold), Ok)?;
            let network = self.settled.network.clone();
            let on_start = || match fold {
                0 => self.progress.line(&Fold::head(loss)),
                _ => Ok(()),
            };
            let (on_start, on_epoch) = (&on_start, &|_: &[Epoch]| Ok(()));
            let job = Job { data, network, checkpoint: None, on_start, on_epoch };
            let (_, training) = self.train(job)?;
            let fold = Fold { fold: fold + 1, training };
            self.progress.line(&fold.line())?;
            folds.push(fold);
        }
        self.progress.finish();
        let last = Summary::new(&folds, loss);
        self.progress.line(&last.line(count))?;
        Ok(Outcome::Folds { folds, last })
    }

    /// The newest line of the table.
    fn tell(&self, epochs: &[Epoch]) -> Result<(), Failure> {
        epochs.last().map_or(Ok(()), |epoch| self.progress.line(&epoch.line()))
    }

    fn tell_result(
        &self,
        name: &str,
        training: &Training,
        tested_rows: Option<u64>,
    ) -> Result<(), Failure> {
        let Training { epochs, last } = training;
        let epochs = epochs.last().map_or(0, |epoch| epoch.epoch);
        if let Some(why) = last.end.remark(epochs, self.options.training.epochs) {
            self.progress.line(&format!("{name}{why}"))?;
        }
        let Some(result) = last.line(tested_rows) else { return Ok(()) };
        let kept = if last.epoch < epochs {
            format!(", with the parameters of epoch {}, the best one", last.epoch)
        } else {
            String::new()
        };
        let Some(baseline) = &last.baseline else {
            return self.progress.line(&format!("{name}{result}{kept}"));
        };
        self.progress.line(&format!("{name}{result}{kept}; {}", baseline.line()))?;
        if let Some(remark) = last.test.and_then(|test| baseline.remark(&test)) {
            output::note(&format!("note: {name}{remark}"));
        }
        Ok(())
    }

    /// Trains a network: a new one, or that of a checkpoint.
    fn train(&self, job: Job<'_>) -> Result<(Parameters, Training), Failure> {
        let Job { data, network, checkpoint, on_start, on_epoch } = job;
        let Options { training, long_runs, .. } = self.options;
        let trainer_options = self.trainer_options(&data)?;
        let baseline = baseline(&data);
        let Prepared { preprocessing, learned, held_out, .. } = data;
        let (trainer, state, best) = match checkpoint {
            Some(Checkpoint { mut snapshot, best, run, .. }) => {
                if self.tunings.is_some() {
                    let (device, queue) = (&self.device, &self.queue);
                    let network = Network::from_parameters(device, queue, snapshot.parameters())?;
                    let options = self.tuned(&network, snapshot.options().clone());
                    snapshot.set_tuning(options.tuning);
                }
                let mut trainer = Trainer::restore(&self.device, &self.queue, &snapshot)?;
                trainer.set_learning_rate(trainer_options.optimizer.learning_rate)?;
                (trainer, run.state, best)
            }
            None => {
                let inner = self.options.network.hidden.0.iter().copied();
                let [inputs, outputs] =
                    [preprocessing.inputs(), preprocessing.outputs()].map(|size| size as u32);
                let sizes: Vec<u32> = [inputs].into_iter().chain(inner).chain([outputs]).collect();
                let network = Network::new(&self.device, &self.queue, &sizes, network)?;
                let trainer_options = self.tuned(&network, trainer_options);
                (Trainer::new(network, trainer_options)?, State::default(), None)
            }
        };
        let keeper = long_runs.checkpoint.as_ref().map(|path| Keeper {
            path,
            every: ((long_runs.checkpoint_every * self.steps_per_epoch as f64) as u64).max(1),
            origin: self.origin,
            preprocessing: &preprocessing,
            rows: learned.count(),
            fingerprints: self.fingerprints,
            last: Cell::new(trainer.steps()),
        });
        let mut run = Run {
            device: &self.device,
            plan: Plan {
                epochs: training.epochs,
                patience: long_runs.patience,
                time_limit: long_runs.time_limit,
                keeps_best: long_runs.keeps_best(),
            },
            learned: Learned::new(&trainer, learned, state.place, training.epochs)?,
            trainer,
            held_out,
            baseline,
            target_scale: preprocessing.target_scale(),
            state,
            best,
            keeper: keeper.as_ref(),
            progress: &self.progress,
            on_epoch,
            pace: Pace::new(),
        };
        on_start()?;
        let last = run.train()?;
        let epochs = std::mem::take(&mut run.state.epochs);
        let mut parameters = run.into_parameters()?;
        preprocessing.clear_constant(&mut parameters);
        Ok((parameters, Training { epochs, last }))
    }

    /// The options with the tuning for this network, with --tune.
    fn tuned(&self, network: &Network, options: TrainerOptions) -> TrainerOptions {
        let Some(tunings) = &self.tunings else { return options };
        let tuning = tunings.borrow_mut().find(&self.device, network, &options);
        TrainerOptions { tuning, ..options }
    }

    fn trainer_options(&self, data: &Prepared) -> Result<TrainerOptions, Failure> {
        let target = &data.preprocessing.target;
        if self.settled.trainer.label_smoothing != 0.0 && target.classes().is_none() {
            return Err(Failure::input(format!(
                "--label-smoothing smooths classes, but the target {:?} is a number",
                target.name
            )));
        }
        let typed = self.options.training.class_weights.as_ref();
        let weights = typed.map(|typed| class_weights(typed, target, &data.learned));
        Ok(TrainerOptions { class_weights: weights.transpose()?, ..self.settled.trainer.clone() })
    }
}

/// The result of a constant prediction on the held-out rows, if there are any.
fn baseline(data: &Prepared) -> Option<Baseline> {
    let Prepared { preprocessing, held_out, of_class, held_out_targets, .. } = data;
    held_out.as_ref().map(|_| Baseline::new(preprocessing, Some(of_class), held_out_targets))
}

/// The plot of the trainings, if one was requested.
struct Picture<'a> {
    options: &'a Options,
    loss: Loss,
    title: String,
    drawn: Cell<Instant>,
}

impl<'a> Picture<'a> {
    fn new(work: &Work<'a>, title: String) -> Self {
        Self {
            options: work.options,
            loss: work.settled.trainer.loss,
            title,
            drawn: Cell::new(Instant::now()),
        }
    }

    /// Draws the plot again if `--watch` is on and the last one is old.
    fn watch(&self, trainings: &[(&str, &[Epoch])]) -> Result<(), Failure> {
        if !self.options.results.watch || self.drawn.get().elapsed() < WATCHED {
            return Ok(());
        }
        self.draw(trainings)?;
        self.drawn.set(Instant::now());
        Ok(())
    }

    fn draw(&self, trainings: &[(&str, &[Epoch])]) -> Result<(), Failure> {
        let results = &self.options.results;
        let panels = || report::panels(trainings, self.loss);
        let file = results.plot.as_ref();
        file.map_or(Ok(()), |file| curves(file, results.theme, &self.title, &panels()))
    }
}

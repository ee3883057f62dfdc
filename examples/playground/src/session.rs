//! The current training: one network, or two side by side, and their pace.

use ztilde::Result;

use crate::graphics::Graphics;
use crate::learner::Learner;
use crate::pace::Pace;
use crate::settings::Settings;

pub(crate) struct Session {
    pub(crate) graphics: Graphics,
    pub(crate) learners: Vec<Learner>,
    pub(crate) pace: Pace,
    pub(crate) is_playing: bool,
    /// An error message for the user. There is no training then.
    pub(crate) problem: Option<String>,
    /// The settings of the learners.
    settings: Settings,
}

impl Session {
    pub(crate) fn new(graphics: Graphics, settings: &Settings) -> Self {
        let pace = Pace::new(&graphics.device, &graphics.queue);
        let settings = settings.clone();
        let mut session = Self {
            graphics,
            learners: Vec::new(),
            pace,
            is_playing: false,
            problem: None,
            settings,
        };
        session.reset();
        session
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.learners.first().map_or(0, Learner::steps)
    }

    /// Epochs so far, counted as a fraction.
    pub(crate) fn epochs(&self) -> f64 {
        let steps_per_epoch = (self.settings.points / self.settings.batch_size.max(1)).max(1);
        self.steps() as f64 / f64::from(steps_per_epoch)
    }

    /// Creates new networks with the same settings.
    pub(crate) fn reset(&mut self) {
        let batch_norms = self.settings.networks.batch_norms().iter();
        let make = |&batch_norm| Learner::new(&self.graphics, &self.settings, batch_norm);
        // The old ones are dropped only now, so that the new ones can use their compiled kernels.
        match batch_norms.map(make).collect::<Result<_>>() {
            Ok(learners) => (self.learners, self.problem) = (learners, None),
            Err(error) => self.fail(&error),
        }
        self.pace.forget();
        self.ask();
    }

    /// Continues with other settings: with new networks, unless only the learning rate differs.
    pub(crate) fn apply(&mut self, settings: &Settings) {
        if *settings == self.settings {
            return;
        }
        let goes_on = self.problem.is_none() && self.settings.differs_only_in_rate(settings);
        self.settings = settings.clone();
        if !goes_on {
            return self.reset();
        }
        let rate = settings.learning_rate;
        let result =
            self.learners.iter_mut().try_for_each(|learner| learner.set_learning_rate(rate));
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// A frame: takes the results that have arrived, and submits the steps that fit the budget. Never
    /// waits.
    pub(crate) fn frame(&mut self) {
        // Lets wgpu call back for finished work. Later calls report a lost device.
        let _ = self.graphics.device.poll(wgpu::PollType::Poll);
        self.collect();
        if self.is_playing && self.problem.is_none() {
            let steps = self.pace.steps();
            if steps > 0 {
                self.pace.begin(&self.graphics.device, &self.graphics.queue);
                self.step(steps);
                self.pace.end(steps, &self.graphics.device, &self.graphics.queue);
            }
        }
        self.ask();
        if let Some(complaint) = self.graphics.take_complaint() {
            self.problem = Some(complaint);
        }
    }

    /// Whether results are pending.
    pub(crate) fn is_waiting(&self) -> bool {
        self.learners.iter().any(Learner::is_waiting)
    }

    /// Submits this many steps of each network, and requests its metrics. Does not wait.
    pub(crate) fn train(&mut self, steps: u32) {
        self.step(steps);
        self.ask();
    }

    /// The networks' seeds are the same, and so are their batches.
    fn step(&mut self, steps: u32) {
        let result = self.learners.iter_mut().try_for_each(|learner| learner.train(steps));
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// Takes the results that have arrived.
    pub(crate) fn collect(&mut self) {
        if let Err(error) = self.learners.iter_mut().try_for_each(Learner::collect) {
            self.fail(&error);
        }
    }

    fn ask(&mut self) {
        for learner in &mut self.learners {
            learner.ask(&self.graphics);
        }
    }

    fn fail(&mut self, error: &ztilde::Error) {
        self.problem = Some(error.to_string());
        self.learners.clear();
    }
}

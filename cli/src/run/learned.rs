//! The training rows of a run, one block at a time.

use std::sync::mpsc::Receiver;

use ztilde::{Trainer, TrainingData};

use crate::{
    data::{Rows, Visit, visits},
    failure::Failure,
    state::Place,
};

/// The training rows, one block at a time.
pub(crate) enum Learned {
    /// The only block. It is moved out while the network trains on it.
    Resident(Option<TrainingData>),
    Blocks {
        visits: Receiver<Result<Visit, Failure>>,
        count: usize,
    },
}

impl Learned {
    /// The training rows from a position on, for this many epochs.
    pub(crate) fn new(
        trainer: &Trainer,
        rows: Rows,
        place: Place,
        epochs: u32,
    ) -> Result<Self, Failure> {
        match rows {
            Rows::Memory(dataset) => Ok(Self::Resident(Some(trainer.upload(&dataset)?))),
            Rows::Blocks(file) => {
                let count = file.blocks();
                let first = [place.epoch.into(), place.block as u64];
                let visits = visits(file, trainer.options().seed, first, epochs.into());
                Ok(Self::Blocks { visits, count })
            }
        }
    }

    pub(super) fn is_in_blocks(&self) -> bool {
        matches!(self, Self::Blocks { .. })
    }

    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Resident(_) => 1,
            Self::Blocks { count, .. } => *count,
        }
    }

    /// The block at a position.
    pub(super) fn block(
        &mut self,
        trainer: &Trainer,
        place: Place,
    ) -> Result<TrainingData, Failure> {
        let gone = || Failure::input("the thread that reads the blocks has ended");
        match self {
            Self::Resident(data) => data.take().ok_or_else(gone),
            Self::Blocks { visits, .. } => {
                let Visit { epoch, block, rows } = visits.recv().map_err(|_| gone())??;
                debug_assert_eq!((epoch, block), (place.epoch.into(), place.block));
                Ok(trainer.stream(rows)?)
            }
        }
    }

    /// Takes back the block that [`Learned::block`] returned.
    pub(super) fn give_back(&mut self, data: TrainingData) {
        if let Self::Resident(resident) = self {
            *resident = Some(data);
        }
    }
}

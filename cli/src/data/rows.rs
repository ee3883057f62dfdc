//! Rows as the network sees them: in memory, or in blocks of a temporary file.

pub(crate) mod blocks;
pub(crate) mod fit;
pub(crate) mod split;

use ztilde::{Dataset, Targets};

use crate::{
    data::{
        columns::preprocessing::{Preprocessing, TOO_FAR},
        rows::{
            blocks::{BlockFile, BlockWriter, Room, dataset},
            split::Split,
        },
        tables::table::Table,
    },
    failure::Failure,
};

/// Rows with their targets.
pub(crate) enum Rows {
    Memory(Dataset),
    Blocks(BlockFile),
}

impl Rows {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Memory(dataset) => dataset.rows().into(),
            Self::Blocks(blocks) => blocks.rows(),
        }
    }

    /// The fingerprint of each block, in order.
    pub(crate) fn fingerprints(&self) -> Result<Vec<u64>, Failure> {
        let mut fingerprints = Vec::new();
        self.visit(|dataset| {
            fingerprints.push(dataset.fingerprint());
            Ok(())
        })?;
        Ok(fingerprints)
    }

    /// Visits all rows, some at a time, always in the same order.
    pub(crate) fn visit(
        &self,
        mut visit: impl FnMut(&Dataset) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Memory(dataset) => visit(dataset),
            Self::Blocks(file) => {
                (0..file.blocks()).try_for_each(|block| visit(&file.read(block)?))
            }
        }
    }
}

/// Collects a known number of rows.
enum Collector {
    Memory { inputs: Vec<f32>, targets: TargetList },
    Blocks(Box<BlockWriter>),
}

/// Targets of one kind.
enum TargetList {
    Classes(Vec<u32>),
    Values(Vec<f32>),
}

/// The rows of a table, divided.
pub(crate) struct Divided {
    pub(crate) learned: Rows,
    pub(crate) held_out: Option<Rows>,
    pub(crate) learned_targets: TargetSums,
    pub(crate) held_out_targets: TargetSums,
}

/// Sums over the targets of some rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TargetSums {
    /// The number of rows of each class; of all rows if there are no classes.
    pub(crate) of_class: Vec<u64>,
    /// The sum of the squared targets in the network's scale, where 0 is the mean of the training rows.
    pub(crate) squares: f64,
}

impl TargetSums {
    pub(crate) fn rows(&self) -> u64 {
        self.of_class.iter().sum()
    }
}

/// Divides a table into training rows and held-out rows, if any.
pub(crate) fn prepare(
    table: &Table,
    preprocessing: &Preprocessing,
    split: &Split,
    held_out: usize,
    room: Room,
) -> Result<Divided, Failure> {
    let held_out_rows = split.rows(held_out);
    let learned_rows = table.counts.rows - held_out_rows;
    let mut learned = Collector::new(preprocessing, learned_rows, room)?;
    let mut tested = Collector::new(preprocessing, held_out_rows, room)?;
    let none = TargetSums { of_class: vec![0; table.counts.of_class.len()], squares: 0.0 };
    let [mut learned_targets, mut held_out_targets] = [none.clone(), none];
    let mut dealer = split.dealer();
    let mut inputs = Vec::with_capacity(preprocessing.inputs());
    table.walk(|cells, class| {
        inputs.clear();
        preprocessing.apply(cells, &mut inputs);
        let target = preprocessing.target.apply(cells[cells.len() - 1]);
        if !(inputs.iter().all(|input| input.is_finite()) && (target as f32).is_finite()) {
            return Err(too_far(table, preprocessing, cells));
        }
        let is_held_out = dealer.deal(class) == held_out;
        let (collector, sums) = match is_held_out {
            true => (&mut tested, &mut held_out_targets),
            false => (&mut learned, &mut learned_targets),
        };
        sums.of_class[class] += 1;
        sums.squares += target * target;
        collector.push(&inputs, target)
    })?;
    let held_out = (held_out_rows > 0).then(|| tested.finish(preprocessing)).transpose()?;
    let learned = learned.finish(preprocessing)?;
    Ok(Divided { learned, held_out, learned_targets, held_out_targets })
}

/// A cell of a held-out row that overflows a 32-bit number when it is scaled. [`fit`](fit::fit)
/// has checked the training rows.
fn too_far(table: &Table, preprocessing: &Preprocessing, cells: &[f64]) -> Failure {
    let mut name = &preprocessing.target.name;
    let mut number = cells[cells.len() - 1];
    for (column, &cell) in preprocessing.columns.iter().zip(cells) {
        if column.is_too_far(cell) {
            (name, number) = (&column.name, cell);
        }
    }
    Failure::input(format!(
        "{}: {name:?} is {number:?} in a row to test on, which is {TOO_FAR}",
        table.file
    ))
}

impl Collector {
    fn new(preprocessing: &Preprocessing, rows: u64, room: Room) -> Result<Self, Failure> {
        let row_bytes = 4 * (preprocessing.inputs() as u64 + 1);
        let bytes = rows * row_bytes;
        let is_class = preprocessing.target.classes().is_some();
        if bytes > room.memory || rows > u32::MAX.into() {
            let blocks = BlockWriter::new(preprocessing.inputs(), is_class, rows, room)?;
            return Ok(Self::Blocks(blocks.into()));
        }
        let inputs = Vec::with_capacity(rows as usize * preprocessing.inputs());
        let targets = if is_class {
            TargetList::Classes(Vec::with_capacity(rows as usize))
        } else {
            TargetList::Values(Vec::with_capacity(rows as usize))
        };
        Ok(Self::Memory { inputs, targets })
    }

    fn push(&mut self, row: &[f32], target: f64) -> Result<(), Failure> {
        match self {
            Self::Blocks(blocks) => blocks.push(row, target),
            Self::Memory { inputs, targets } => {
                inputs.extend_from_slice(row);
                match targets {
                    TargetList::Classes(classes) => classes.push(target as u32),
                    TargetList::Values(values) => values.push(target as f32),
                }
                Ok(())
            }
        }
    }

    fn finish(self, preprocessing: &Preprocessing) -> Result<Rows, Failure> {
        match self {
            Self::Blocks(blocks) => Ok(Rows::Blocks(blocks.finish()?)),
            Self::Memory { inputs, targets } => {
                let targets = match targets {
                    TargetList::Classes(classes) => Targets::from(classes),
                    TargetList::Values(values) => Targets::from(values),
                };
                Ok(Rows::Memory(dataset(inputs, preprocessing.inputs(), targets)?))
            }
        }
    }
}

//! Rows that exceed the memory limit, in a temporary file, divided at random into blocks.
//!
//! Each epoch visits the blocks, and the rows within a block, in a new random order. A row stays in its
//! block, so this shuffles less than a shuffle of all rows. Because rows are assigned to blocks at
//! random, each block is a random sample of all rows.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use ndarray::Array2;
use ztilde::{Dataset, Targets};

use crate::{
    data::rows::split::{Purpose, below, draw, generator, permutation},
    failure::Failure,
};

/// The number of blocks that fill the memory limit: the current one, the next one, and the memory to
/// turn that into a data set.
const BLOCKS_IN_MEMORY: u64 = 4;

/// The bytes of a block that are collected before they are written.
const BUFFER: usize = 1 << 16;

/// How rows are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The most bytes of rows in memory.
    pub(crate) memory: u64,
    /// The number of rows in each block except the last is a multiple of this.
    pub(crate) batch_size: u32,
    /// The seed that assigns rows to blocks.
    pub(crate) seed: u64,
}

/// A temporary file of blocks: all inputs, then all targets, both block by block.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: File,
    columns: usize,
    is_class: bool,
    /// The first row of each block, and the number of all rows.
    bounds: Vec<u64>,
}

impl BlockFile {
    pub(crate) fn rows(&self) -> u64 {
        self.bounds.last().copied().unwrap_or(0)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The number of rows in each block.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.bounds.windows(2).map(|bounds| bounds[1] - bounds[0])
    }

    /// Reads a block, in the order in which its rows were written.
    pub(crate) fn read(&self, block: usize) -> Result<Dataset, Failure> {
        let (inputs, targets) =
            self.values(block).map_err(|error| Failure::temporary_file(&error))?;
        self.dataset(inputs, targets)
    }

    /// Reads a block, in the order of its rows in an epoch.
    fn read_shuffled(&self, block: usize, seed: u64, epoch: u64) -> Result<Dataset, Failure> {
        let (mut inputs, mut targets) =
            self.values(block).map_err(|error| Failure::temporary_file(&error))?;
        let mut generator = generator(Purpose::Order, seed, [epoch, 1 + block as u64]);
        let columns = self.columns;
        for last in (1..targets.len()).rev() {
            let row = below(&mut generator, last as u64 + 1) as usize;
            if row < last {
                let (before, from) = inputs.split_at_mut(last * columns);
                before[row * columns..][..columns].swap_with_slice(&mut from[..columns]);
                targets.swap(row, last);
            }
        }
        self.dataset(inputs, targets)
    }

    fn dataset(&self, inputs: Vec<f32>, targets: Vec<u32>) -> Result<Dataset, Failure> {
        let targets = if self.is_class {
            Targets::from(targets)
        } else {
            Targets::from(targets.into_iter().map(f32::from_bits).collect::<Vec<_>>())
        };
        dataset(inputs, self.columns, targets)
    }

    /// The inputs of a block, and the bits of its targets.
    fn values(&self, block: usize) -> std::io::Result<(Vec<f32>, Vec<u32>)> {
        let [first, end] = [self.bounds[block], self.bounds[block + 1]];
        let rows = (end - first) as usize;
        let mut inputs = vec![0.0_f32; rows * self.columns];
        let mut targets = vec![0_u32; rows];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(4 * first * self.columns as u64))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut inputs))?;
        file.seek(SeekFrom::Start(4 * (self.rows() * self.columns as u64 + first)))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut targets))?;
        Ok((inputs, targets))
    }
}

/// The order in which an epoch, counted from 1, visits the blocks.
fn order(blocks: usize, seed: u64, epoch: u64) -> Vec<usize> {
    permutation(&mut generator(Purpose::Order, seed, [epoch, 0]), blocks)
}

/// A visit to a block, in the order of the epochs.
pub(crate) struct Visit {
    /// Counted from 1.
    pub(crate) epoch: u64,
    /// The number of the visit within the epoch, counted from 0.
    pub(crate) block: usize,
    pub(crate) rows: Dataset,
}

/// Reads the blocks of all epochs from a given visit on, in its own thread, one block ahead of the
/// receiver. The thread ends after the last epoch, or when the receiver is dropped.
pub(crate) fn visits(
    file: BlockFile,
    seed: u64,
    [first_epoch, first_block]: [u64; 2],
    epochs: u64,
) -> Receiver<Result<Visit, Failure>> {
    let (sender, receiver) = sync_channel(0);
    thread::spawn(move || {
        for epoch in first_epoch..=epochs {
            let skipped = if epoch == first_epoch { first_block as usize } else { 0 };
            let order = order(file.blocks(), seed, epoch);
            for (block, &place) in order.iter().enumerate().skip(skipped) {
                let rows = file.read_shuffled(place, seed, epoch);
                let visit = rows.map(|rows| Visit { epoch, block, rows });
                // The receiver was dropped.
                if sender.send(visit).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// A data set of row-major inputs.
pub(crate) fn dataset(
    inputs: Vec<f32>,
    columns: usize,
    targets: Targets<'static>,
) -> Result<Dataset, Failure> {
    let inputs = Array2::from_shape_vec((inputs.len() / columns, columns), inputs)
        .map_err(|error| Failure::input(format!("the rows: {error}")))?;
    Ok(Dataset::new(inputs, targets)?)
}

/// Divides rows into blocks as they are read.
pub(crate) struct BlockWriter {
    file: BlockFile,
    /// The number of free rows in each block.
    left: Vec<u64>,
    generator: rand::rngs::ChaCha8Rng,
    /// For each block, the bytes that have not been written yet.
    pending: Vec<Pending>,
}

struct Pending {
    /// The number of the next row in the file.
    row: u64,
    inputs: Vec<f32>,
    targets: Vec<u32>,
}

impl BlockWriter {
    pub(crate) fn new(
        columns: usize,
        is_class: bool,
        rows: u64,
        room: Room,
    ) -> Result<Self, Failure> {
        let file = tempfile::tempfile().map_err(|error| Failure::temporary_file(&error))?;
        let bounds = bounds(rows, 4 * (columns as u64 + 1), room);
        let pending = |&row: &u64| Pending { row, inputs: Vec::new(), targets: Vec::new() };
        let pending = bounds[..bounds.len() - 1].iter().map(pending).collect();
        let file = BlockFile { file, columns, is_class, bounds };
        Ok(Self {
            left: file.sizes().collect(),
            generator: generator(Purpose::Blocks, room.seed, [0, 0]),
            pending,
            file,
        })
    }

    pub(crate) fn push(&mut self, row: &[f32], target: f64) -> Result<(), Failure> {
        let block = draw(&mut self.left, &mut self.generator);
        let pending = &mut self.pending[block];
        pending.inputs.extend_from_slice(row);
        pending.targets.push(if self.file.is_class {
            target as u32
        } else {
            (target as f32).to_bits()
        });
        if pending.inputs.len() >= BUFFER { self.write(block) } else { Ok(()) }
    }

    fn write(&mut self, block: usize) -> Result<(), Failure> {
        let Self { file: BlockFile { file, columns, bounds, .. }, pending, .. } = self;
        let Pending { row, inputs, targets } = &mut pending[block];
        let all_inputs = bounds[bounds.len() - 1] * *columns as u64;
        let mut write = || {
            file.seek(SeekFrom::Start(4 * *row * *columns as u64))?;
            file.write_all(bytemuck::cast_slice(inputs))?;
            file.seek(SeekFrom::Start(4 * (all_inputs + *row)))?;
            file.write_all(bytemuck::cast_slice(targets))
        };
        write().map_err(|error| Failure::temporary_file(&error))?;
        *row += targets.len() as u64;
        inputs.clear();
        targets.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<BlockFile, Failure> {
        (0..self.pending.len()).try_for_each(|block| self.write(block))?;
        Ok(self.file)
    }
}

/// The first row of each block, and the end of the last one. Blocks have similar sizes. All but the last
/// are multiples of the batch size; the last has at least one batch.
fn bounds(rows: u64, row_bytes: u64, room: Room) -> Vec<u64> {
    let batch = u64::from(room.batch_size);
    let most = (room.memory / BLOCKS_IN_MEMORY / row_bytes).max(batch).min(u32::MAX.into());
    let blocks = rows.div_ceil(most).min(rows / batch).max(1);
    let size = rows / blocks / batch * batch;
    (0..blocks).map(|block| block * size).chain([rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { memory: 4000, batch_size: 8, seed: 3 };

    /// A hundred rows with different inputs and targets.
    fn file(is_class: bool) -> BlockFile {
        let mut writer = BlockWriter::new(3, is_class, 301, ROOM).unwrap();
        for row in 0..301 {
            writer.push(&[row as f32, 0.0, -row as f32], row.into()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn rows(dataset: &Dataset) -> Vec<u32> {
        let Targets::Classes(classes) = dataset.targets() else { panic!("classes") };
        for (inputs, &class) in dataset.inputs().rows().into_iter().zip(classes.iter()) {
            assert_eq!(inputs.to_vec(), [class as f32, 0.0, -(class as f32)]);
        }
        classes.to_vec()
    }

    #[test]
    fn every_row_is_in_one_block() {
        let file = file(true);
        let sizes: Vec<_> = file.sizes().collect();
        assert_eq!(sizes, [56, 56, 56, 56, 77], "multiples of 8 but for the last");
        let mut all = Vec::new();
        for block in 0..file.blocks() {
            let rows = rows(&file.read(block).unwrap());
            assert!(rows.is_sorted(), "rows keep their order within a block");
            // The rows come from the whole table: they are neither a contiguous stretch nor every fifth
            // row.
            assert!(rows[0] < 50 && *rows.last().unwrap() > 250, "{rows:?}");
            all.extend(rows);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..301));

        let values = file_of_values();
        let Targets::Values(values) = values.targets() else { panic!("values") };
        assert_eq!(values.len(), 56);
    }

    fn file_of_values() -> Dataset {
        file(false).read(0).unwrap()
    }

    #[test]
    fn epochs_differ_and_a_later_place_goes_on_alike() {
        let seen = |place, epochs| -> Vec<(u64, usize, Vec<u32>)> {
            visits(file(true), 7, place, epochs)
                .iter()
                .map(|visit| visit.map(|visit| (visit.epoch, visit.block, rows(&visit.rows))))
                .collect::<Result<_, _>>()
                .unwrap()
        };
        let all = seen([1, 0], 3);
        assert_eq!(all.len(), 15);
        for epoch in all.chunks(5) {
            let mut rows: Vec<_> = epoch.iter().flat_map(|(.., rows)| rows.clone()).collect();
            assert!(!rows.is_sorted());
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..301));
        }
        assert_ne!(all[0].2, all[5].2);
        assert_eq!(seen([2, 3], 3), all[8..]);
    }

    #[test]
    fn blocks_have_a_batch_at_least() {
        let room = |memory, batch_size| Room { memory, batch_size, seed: 0 };
        assert_eq!(bounds(100, 4, room(0, 64)), [0, 100]);
        assert_eq!(bounds(130, 4, room(0, 64)), [0, 64, 130]);
        assert_eq!(bounds(10, 4, room(0, 64)), [0, 10]);
        assert_eq!(
            bounds(1000, 40, room(16_000, 10)),
            [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
        );
    }
}

//! Functions for the kernels' cases: random matrices on both sides, and the comparison.

#[cfg(test)]
mod devices;

use std::cell::RefCell;
use std::time::Duration;

use ndarray::{Array1, Array2};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::comparison::doubles;
use super::{Comparison, Dispatch, Gpu, Layout, Matrix, block_on_for, read};
#[cfg(test)]
pub(crate) use devices::own_gpu;

/// A driver that has not answered by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// Shapes at which tiles, workgroups and lanes have edges.
pub(crate) const SHAPES: [[u32; 2]; 11] = [
    [1, 1],
    [1, 7],
    [7, 1],
    [2, 3],
    [3, 65],
    [16, 16],
    [64, 64],
    [65, 33],
    [131, 17],
    [257, 130],
    [1031, 5],
];

/// The layout of a batch in its buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrangement {
    /// Contiguous rows, from the beginning of the buffer on.
    Dense,
    /// Rows some distance apart, from an offset at which no binding can start.
    Strided,
    /// Images, from such an offset on: two samples or more, unless the number of rows is a prime.
    Images,
}

impl Arrangement {
    pub(crate) const ALL: [Self; 3] = [Self::Dense, Self::Strided, Self::Images];
}

/// The value around an arranged matrix, which kernels must not change.
const AROUND: f32 = 12345.0;

pub(crate) struct TestGpu {
    pub(crate) gpu: Gpu,
    generator: ChaCha8Rng,
    /// All comparisons, if a value that is off is no panic.
    record: Option<RefCell<Vec<Comparison>>>,
}

impl TestGpu {
    /// On an existing device.
    pub(crate) fn on(gpu: Gpu) -> Self {
        Self { gpu, generator: ChaCha8Rng::seed_from_u64(7), record: None }
    }

    /// The same, but a value that is off is recorded instead of a panic.
    pub(crate) fn recording(gpu: Gpu) -> Self {
        Self { record: Some(RefCell::default()), ..Self::on(gpu) }
    }

    /// The comparisons that were recorded.
    pub(crate) fn into_record(self) -> Vec<Comparison> {
        self.record.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Compares a kernel's results with its twin's values, each within `absolute` plus `relative` times its
    /// magnitude. A value that is off is a panic, or recorded.
    #[track_caller]
    pub(crate) fn compare<'a>(
        &self,
        what: &str,
        found: &[f32],
        expected: impl IntoIterator<Item = &'a f64>,
        absolute: f64,
        relative: f64,
    ) {
        self.judge(Comparison::scaled(what, found, expected, absolute, relative));
    }

    /// The same with a bound for each value.
    #[track_caller]
    pub(crate) fn compare_within<'a>(
        &self,
        what: &str,
        found: &[f32],
        expected: impl IntoIterator<Item = &'a f64>,
        bounds: impl IntoIterator<Item = &'a f64>,
    ) {
        let [expected, bounds]: [Vec<f64>; 2] =
            [expected.into_iter().copied().collect(), bounds.into_iter().copied().collect()];
        self.judge(Comparison::new(what, &doubles(found), &expected, &bounds));
    }

    /// Compares means in two floats, a row of each, with the exact ones.
    #[track_caller]
    pub(crate) fn compare_means(
        &self,
        what: &str,
        found: &[f32],
        expected: &Array1<f64>,
        bounds: &Array1<f64>,
    ) {
        let (centers, rests) = found.split_at(expected.len());
        let both = doubles(centers).into_iter().zip(doubles(rests));
        let found: Vec<f64> = both.map(|(center, rest)| center + rest).collect();
        self.judge(Comparison::new(what, &found, &expected.to_vec(), &bounds.to_vec()));
    }

    /// Compares values that have to be the same, bit for bit. Where only the bits differ, as of 0 and −0, the
    /// error is 0.
    #[track_caller]
    pub(crate) fn compare_bits(&self, what: &str, found: &[f32], expected: &[f32]) {
        let differs = |(found, expected): (&f32, &f32)| found.to_bits() != expected.to_bits();
        let exact = vec![0.0; expected.len()];
        let mut comparison = Comparison::new(what, &doubles(found), &doubles(expected), &exact);
        comparison.off = found.iter().zip(expected).filter(|&pair| differs(pair)).count();
        self.judge(comparison);
    }

    #[track_caller]
    fn judge(&self, comparison: Comparison) {
        match &self.record {
            Some(record) => record.borrow_mut().push(comparison),
            None => assert_eq!(comparison.off, 0, "{comparison}"),
        }
    }

    /// `count` values of a matrix's buffer.
    fn read_values(&self, matrix: &Matrix, first: u64, count: u64) -> Vec<f32> {
        let reading = read(&self.gpu, matrix.buffer(), first, count);
        block_on_for(&self.gpu.device, PATIENCE, reading).expect("the device answers")
    }

    /// Values between −1 and 1 that a float holds exactly.
    pub(crate) fn random(&mut self, [rows, columns]: [u32; 2]) -> Array2<f64> {
        Array2::from_shape_simple_fn([rows as usize, columns as usize], || {
            f64::from(self.generator.random::<f32>() * 2.0 - 1.0)
        })
    }

    pub(crate) fn random_vector(&mut self, length: u32) -> Array1<f64> {
        self.random([1, length]).row(0).to_owned()
    }

    /// The values, rounded to floats, on the GPU.
    pub(crate) fn upload(&self, values: &Array2<f64>) -> Matrix {
        let matrix = self.zeros([values.nrows() as u32, values.ncols() as u32]);
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        self.gpu.write(matrix.buffer(), 0, &values).expect("the matrix is as large as that");
        matrix
    }

    pub(crate) fn upload_vector(&self, values: &Array1<f64>) -> Matrix {
        self.upload(&values.clone().insert_axis(ndarray::Axis(0)))
    }

    /// A matrix whose values are all [`AROUND`], as are the values around it.
    pub(crate) fn arranged(&self, shape: [u32; 2], arrangement: Arrangement) -> Matrix {
        const BEFORE: u64 = 3;
        const AFTER: u64 = 2;
        let [rows, columns] = shape;
        let stride = columns + 5;
        let length = u64::from(rows) * u64::from(stride) + BEFORE + AFTER;
        let buffer = self.gpu.buffer("test", length).expect("a test's matrix fits the device");
        self.gpu.write(&buffer, 0, &vec![AROUND; length as usize]).expect("it is as large as that");
        let samples = (2..rows).find(|divisor| rows.is_multiple_of(*divisor)).unwrap_or(1);
        match arrangement {
            Arrangement::Dense => Matrix::new(&buffer, 0, rows, columns),
            Arrangement::Strided => Matrix::strided(&buffer, BEFORE, rows, columns, stride),
            Arrangement::Images => {
                Matrix::images(&buffer, BEFORE, samples, columns, rows / samples)
            }
        }
        .expect("the buffer is large enough")
    }

    /// The values, rounded to floats, on the GPU.
    pub(crate) fn arrange(&self, values: &Array2<f64>, arrangement: Arrangement) -> Matrix {
        let matrix = self.arranged([values.nrows() as u32, values.ncols() as u32], arrangement);
        let mut all = vec![AROUND; matrix.buffer().size() as usize / 4];
        for (place, &value) in places(&matrix).zip(values) {
            all[place] = value as f32;
        }
        self.gpu.write(matrix.buffer(), 0, &all).expect("the buffer is as large as that");
        matrix
    }

    /// The values, row by row. Checks that the values around them are unchanged.
    #[track_caller]
    pub(crate) fn read_arranged(&self, what: &str, matrix: &Matrix) -> Vec<f32> {
        let mut all = self.read_values(matrix, 0, matrix.buffer().size() / 4);
        let values = places(matrix).map(|place| std::mem::replace(&mut all[place], AROUND));
        let values = values.collect();
        let changed = all.iter().position(|&value| value != AROUND);
        assert_eq!(changed, None, "{what}: the place of a changed value around the matrix");
        values
    }

    pub(crate) fn upload_integers(&self, values: &[u32]) -> Matrix {
        let matrix = self.zeros([1, values.len() as u32]);
        self.gpu.write(matrix.buffer(), 0, values).expect("the matrix is as large as that");
        matrix
    }

    /// The mean in two floats and the variance in one, as `batch_statistics` writes them.
    pub(crate) fn upload_mean(&self, mean: &Array1<f64>) -> Matrix {
        let rounded = mean.mapv(|mean| f64::from(mean as f32));
        let rows = [rounded.view(), (mean - &rounded).view()].map(|row| row.to_vec()).concat();
        self.upload(&Array2::from_shape_vec([2, mean.len()], rows).expect("two rows of means"))
    }

    /// Multiples of 1/64 between −1 and 1: floats hold sums of thousands of their products exactly.
    pub(crate) fn coarse(&mut self, shape: [u32; 2]) -> Array2<f64> {
        self.random(shape).mapv(|value| (64.0 * value).round() / 64.0)
    }

    pub(crate) fn upload_padded(&self, values: &Array2<f64>) -> Matrix {
        self.upload_filled_up(values, 0.0)
    }

    /// Padded with `padding`: kernels must not rely on zeros there.
    pub(crate) fn upload_filled_up(&self, values: &Array2<f64>, padding: f32) -> Matrix {
        let shape = [values.nrows() as u32, values.ncols() as u32];
        let matrix = self.gpu.padded_matrix("test", shape[0], shape[1]);
        let matrix = matrix.expect("a test's matrix fits the device");
        self.write_padded(&matrix, values, padding);
        matrix
    }

    /// Padded matrices one after the other in a buffer, after some NaN. Returns the whole buffer and the
    /// matrices.
    pub(crate) fn upload_packed(&self, parts: &[&Array2<f64>]) -> (Matrix, Vec<Matrix>) {
        self.upload_packed_filled_up(parts, 0.0)
    }

    /// The same with `padding` at the ends of the rows.
    pub(crate) fn upload_packed_filled_up(
        &self,
        parts: &[&Array2<f64>],
        padding: f32,
    ) -> (Matrix, Vec<Matrix>) {
        const BEFORE: u64 = 12;
        let stride = |part: &Array2<f64>| part.ncols().next_multiple_of(4);
        let length: usize = parts.iter().map(|part| part.nrows() * stride(part)).sum();
        let packed = self.garbage([1, length as u32 + BEFORE as u32]);
        let mut first = BEFORE;
        let parts = parts.iter().map(|part| {
            let [rows, columns] = [part.nrows() as u32, part.ncols() as u32];
            let matrix = Matrix::padded(packed.buffer(), first, rows, columns);
            let matrix = matrix.expect("the buffer has room for all parts");
            self.write_padded(&matrix, part, padding);
            first += matrix.values();
            matrix
        });
        let parts = parts.collect();
        (packed, parts)
    }

    /// Writes the values, and `padding` at the ends of the rows.
    fn write_padded(&self, matrix: &Matrix, values: &Array2<f64>, padding: f32) {
        let mut padded = Vec::with_capacity(matrix.values() as usize);
        for row in values.rows() {
            padded.extend(row.iter().map(|&value| value as f32));
            padded.resize(padded.len().next_multiple_of(4), padding);
        }
        let first = 4 * u64::from(matrix.first_quad());
        self.gpu.write(matrix.buffer(), first, &padded).expect("the matrix is as large as that");
    }

    /// A padded matrix that holds NaN everywhere, including the padding.
    pub(crate) fn garbage(&self, [rows, columns]: [u32; 2]) -> Matrix {
        let matrix = self.gpu.padded_matrix("test", rows, columns);
        let matrix = matrix.expect("a test's matrix fits the device");
        let nan = vec![f32::NAN; matrix.values() as usize];
        self.gpu.write(matrix.buffer(), 0, &nan).expect("the matrix is as large as that");
        matrix
    }

    pub(crate) fn zeros(&self, [rows, columns]: [u32; 2]) -> Matrix {
        self.gpu.matrix("test", rows, columns).expect("a test's matrix fits the device")
    }

    pub(crate) fn run(&self, dispatches: &[&Dispatch]) {
        self.gpu
            .submit("test", |encoder| {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for dispatch in dispatches {
                    dispatch.encode(&mut pass);
                }
            })
            .expect("wgpu takes what a room has bound");
    }

    pub(crate) fn read(&self, matrix: &Matrix) -> Vec<f32> {
        self.read_values(matrix, 0, matrix.values())
    }

    /// The values of a padded matrix, including the padding.
    pub(crate) fn read_all(&self, matrix: &Matrix) -> Vec<f32> {
        self.read_values(matrix, 4 * u64::from(matrix.first_quad()), matrix.values())
    }

    /// The values of a padded matrix, without its padding.
    pub(crate) fn read_inside(&self, matrix: &Matrix) -> Vec<f32> {
        let [stride, columns] = [matrix.stride(), matrix.columns()].map(|length| length as usize);
        let all = self.read_all(matrix);
        all.chunks(stride).flat_map(|row| &row[..columns]).copied().collect()
    }

    /// The values of a padded matrix, whose padding has to be zeros.
    #[track_caller]
    pub(crate) fn read_padded(&self, what: &str, matrix: &Matrix) -> Vec<f32> {
        let [stride, columns] = [matrix.stride(), matrix.columns()].map(|length| length as usize);
        for (row, values) in self.read_all(matrix).chunks(stride).enumerate() {
            let padding = &values[columns..];
            assert!(
                padding.iter().all(|&value| value == 0.0),
                "{what}: row {row} ends in {padding:?}"
            );
        }
        self.read_inside(matrix)
    }
}

/// The indices of a matrix's values in its buffer, row by row.
fn places(matrix: &Matrix) -> impl Iterator<Item = usize> {
    let Layout { plane, sample_stride, column_stride, .. } = matrix.layout();
    let [plane, sample_stride, column_stride] =
        [plane, sample_stride, column_stride].map(u64::from);
    let (first, columns) = (matrix.first(), u64::from(matrix.columns()));
    (0..u64::from(matrix.rows())).flat_map(move |row| {
        let first = first + row / plane * sample_stride + row % plane;
        (0..columns).map(move |column| (first + column * column_stride) as usize)
    })
}

/// [`TestGpu::compare`], where there is only a test.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_close<'a>(
    what: &str,
    found: &[f32],
    expected: impl IntoIterator<Item = &'a f64>,
    absolute: f64,
    relative: f64,
) {
    let comparison = Comparison::scaled(what, found, expected, absolute, relative);
    assert_eq!(comparison.off, 0, "{comparison}");
}

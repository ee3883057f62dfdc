//! `shaders/kernels/normalize.wgsl`: zero mean and unit variance for every feature, then scale and shift.
//!
//! Its twin is [`crate::reference::normalize`].

use wgpu::Device;

use super::{LayoutKernel, walking_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::check_epsilon;

/// Computes `outputs = gamma · (inputs − mean) / √(variance + epsilon) + beta`, column by column (Ioffe and
/// Szegedy, arXiv 1502.03167, algorithm 1).
///
/// In training, mean and variance are those of the batch ([`super::batch_statistics`]); in inference, the
/// running ones.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::normalize::{Buffers, Normalize};
///
/// let inputs = upload(&device, &[1.0_f32, 10.0, 5.0, 14.0]);
/// let mean = upload(&device, &[3.0_f32, 12.0, 0.0, 0.0]);
/// let variance = upload(&device, &[4.0_f32, 4.0]);
/// let [gamma, beta] = [[4.0_f32, 8.0], [1.0, 0.0]].map(|vector| upload(&device, &vector));
/// let outputs = upload(&device, &[0.0_f32; 4]);
/// // With this epsilon all normalized values are ±½: √(4 + 12) = 4. 1e-5 is usual.
/// let dispatch = Normalize::new(&device, 12.0)?.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     mean: &Matrix::new(&mean, 0, 2, 2)?,
///     variance: &Matrix::vector(&variance, 0, 2)?,
///     gamma: &Matrix::vector(&gamma, 0, 2)?,
///     beta: &Matrix::vector(&beta, 0, 2)?,
///     outputs: &Matrix::new(&outputs, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_close(&read(&device, &queue, &outputs), &[-1.0, -4.0, 3.0, 4.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Normalize(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel.
///
/// The batches may be rows any distance apart, or images. The batches, the mean and the variance may start at
/// any value of a buffer.
///
/// See the example of [`Normalize`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`.
    pub inputs: &'a Matrix,
    /// `[2, columns]`: the mean is the sum of the two rows. The second row of a running mean is zero.
    pub mean: &'a Matrix,
    /// `[1, columns]`.
    pub variance: &'a Matrix,
    /// `[1, columns]`: the scale.
    pub gamma: &'a Matrix,
    /// `[1, columns]`: the shift.
    pub beta: &'a Matrix,
    /// `[rows, columns]`.
    pub outputs: &'a Matrix,
}

uniform! {
    struct Shape {
        inputs: Layout,
        mean: Layout,
        variance: Layout,
        outputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl Normalize {
    /// Compiles the kernel for a device. `epsilon` is added to the variance, inside the root.
    ///
    /// # Errors
    ///
    /// [`Error::Option`](crate::Error::Option) if `epsilon` is out of range,
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device, epsilon: f32) -> Result<Self> {
        check_epsilon(epsilon)?;
        let source = concat!(
            include_str!("../../shaders/kernels/normalize.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let constants = [("EPSILON", epsilon.into())];
        LayoutKernel::walking(device, "normalize", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels, or the rows
    /// of a vector are not contiguous, and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, mean, variance, gamma, beta, outputs } = buffers;
        let [rows, columns] = [inputs.rows(), inputs.columns()];
        mean.expect_rows("normalize", "mean", [2, columns])?;
        variance.expect("normalize", "variance", [1, columns])?;
        gamma.expect("normalize", "gamma", [1, columns])?;
        beta.expect("normalize", "beta", [1, columns])?;
        outputs.expect_like("normalize", "outputs", inputs)?;
        let placed = [inputs, mean, variance, outputs].map(|matrix| matrix.aligned(device));
        let [inputs, mean, variance, outputs] = &placed;
        self.0.of(inputs).bind(
            device,
            place,
            Shape {
                inputs: inputs.layout(),
                mean: mean.layout(),
                variance: variance.layout(),
                outputs: outputs.layout(),
                rows,
                columns,
            },
            &[inputs, mean, variance, gamma, beta, outputs],
            walking_workgroups(inputs),
        )
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::reference;

    pub(super) const EPSILON: f32 = 1e-5;

    /// Columns on which a rounded mean, or a difference of squares, goes wrong: constants of several
    /// sizes, means that are large against the deviation, values near 1e-20 and near 1e15.
    pub(crate) fn hard_columns(gpu: &mut TestGpu, rows: u32) -> Array2<f64> {
        const COLUMNS: [(f64, f64); 14] = [
            (0.0, 0.0),
            (0.1, 0.0),
            (1e4 + 0.3, 0.0),
            (-1.7e7, 0.0),
            (3.3e15, 0.0),
            (1e4, 1e-2),
            (-1e4, 1e-2),
            (1e6, 1.0),
            (1.0, 1e-6),
            (0.0, 1e-20),
            (1e-20, 1e-21),
            (0.0, 1e15),
            (1e15, 1e13),
            (5.0, 2.0),
        ];
        let mut inputs = gpu.random([rows, COLUMNS.len() as u32]);
        for (mut column, (mean, deviation)) in inputs.columns_mut().into_iter().zip(COLUMNS) {
            column.mapv_inplace(|value| f64::from((mean + deviation * value) as f32));
        }
        inputs
    }

    /// Columns with one value in some rows and another in all others: the next float, one farther away,
    /// or the same. The first rows, from which kernels measure differences, may be the odd ones.
    pub(crate) fn lopsided_columns(rows: u32) -> Array2<f64> {
        const VALUES: [(f32, f32); 7] = [
            (3.3e15, 3.3e15),
            (3.3e15, f32::next_up(3.3e15)),
            (-1.7e7, f32::next_up(-1.7e7)),
            (0.1, f32::next_down(0.1)),
            (1e4 + 0.3, 2e4),
            (7e-3, -1e4),
            (1e-20, -1e15),
        ];
        let odd = [0..1, 0..8, 0..rows.div_ceil(16), rows / 2..rows, rows - 1..rows];
        let columns: Vec<_> =
            VALUES.iter().flat_map(|values| odd.iter().map(move |odd| (values, odd))).collect();
        Array2::from_shape_fn([rows as usize, columns.len()], |(row, column)| {
            let (&(even, odd), range) = columns[column];
            f64::from(if range.contains(&(row as u32)) { odd } else { even })
        })
    }

    fn compare(gpu: &mut TestGpu, shape: [u32; 2], arrangements: [Arrangement; 2]) {
        let kernel = Normalize::new(&gpu.gpu.device, EPSILON).unwrap();
        let inputs = gpu.random(shape);
        let [mean, gamma, beta] = [(); 3].map(|()| gpu.random_vector(shape[1]));
        let variance = gpu.random_vector(shape[1]).mapv(|value| value.abs() + 0.01);
        let variance = variance.mapv(|value| f64::from(value as f32));
        let outputs = gpu.arranged(shape, arrangements[1]);
        let buffers = Buffers {
            inputs: &gpu.arrange(&inputs, arrangements[0]),
            mean: &gpu.upload_mean(&mean),
            variance: &gpu.upload_vector(&variance),
            gamma: &gpu.upload_vector(&gamma),
            beta: &gpu.upload_vector(&beta),
            outputs: &outputs,
        };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let epsilon = EPSILON.into();
        let expected = reference::normalize(&inputs, &mean, &variance, &gamma, &beta, epsilon);
        // ẑ reaches 20 here; its four roundings, and one of the sum with beta.
        let what = format!("{shape:?}, {arrangements:?}");
        gpu.compare(&what, &gpu.read_arranged(&what, &outputs), &expected, 5e-6, 1e-6);
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        use Arrangement::{Dense, Strided};
        // The last have more rows, and more columns, than 65,535 workgroups walk at once.
        for shape in SHAPES.into_iter().chain([[600_000, 2], [6, 70_001]]) {
            for arrangement in Arrangement::ALL {
                compare(gpu, shape, [arrangement; 2]);
            }
            // Inputs and outputs need not lie alike.
            compare(gpu, shape, [Strided, Dense]);
        }
    }

    /// ẑ of a batch, through both kernels, against the f64 reference on the same floats.
    fn compare_batch(
        gpu: &mut TestGpu,
        inputs: &Array2<f64>,
        arrangement: Arrangement,
        [absolute, relative]: [f64; 2],
    ) {
        use crate::kernels::batch_statistics::{self, BatchStatistics};
        let normalize = Normalize::new(&gpu.gpu.device, EPSILON).unwrap();
        let statistics = BatchStatistics::new(&gpu.gpu.device, 0.1).unwrap();
        let [rows, columns] = [inputs.nrows() as u32, inputs.ncols() as u32];
        let on_gpu = gpu.arrange(inputs, arrangement);
        let [mean, outputs] = [gpu.zeros([2, columns]), gpu.arranged([rows, columns], arrangement)];
        let [variance, running, beta] = [(); 3].map(|()| gpu.zeros([1, columns]));
        let gamma = Array1::ones(columns as usize);
        let measure = batch_statistics::Buffers {
            inputs: &on_gpu,
            mean: &mean,
            variance: &variance,
            running_mean: &running,
            running_var: &gpu.zeros([1, columns]),
        };
        let apply = Buffers {
            inputs: &on_gpu,
            mean: &mean,
            variance: &variance,
            gamma: &gpu.upload_vector(&gamma),
            beta: &beta,
            outputs: &outputs,
        };
        gpu.run(&[
            &statistics.bind(&gpu.gpu.device, "test", measure).unwrap(),
            &normalize.bind(&gpu.gpu.device, "test", apply).unwrap(),
        ]);

        let reference::Statistics { mean, variance } = reference::batch_statistics(inputs);
        let beta = Array1::zeros(columns as usize);
        let expected =
            reference::normalize(inputs, &mean, &variance, &gamma, &beta, EPSILON.into());
        let what = format!("normalized columns, {rows} rows, {arrangement:?}");
        gpu.compare(&what, &gpu.read_arranged(&what, &outputs), &expected, absolute, relative);
    }

    pub(crate) fn hard_columns_normalize_within_1e_5(gpu: &mut TestGpu) {
        for rows in [2, 3, 60, 1000, 20_000] {
            for arrangement in Arrangement::ALL {
                let inputs = hard_columns(gpu, rows);
                compare_batch(gpu, &inputs, arrangement, [1e-5, 0.0]);
            }
        }
    }

    pub(crate) fn lopsided_columns_normalize(gpu: &mut TestGpu) {
        for rows in [2, 3, 33, 1000, 20_000] {
            let inputs = lopsided_columns(rows);
            // An odd row's ẑ reaches 141. It is divided by the deviation, for which a lane adds up 1,250
            // squares: roundings of 2⁻²⁵ each, all in one direction, halved by the root.
            compare_batch(gpu, &inputs, Arrangement::Dense, [1e-5, 2e-5]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases::EPSILON;
    use super::*;
    use crate::gpu::rough;
    use crate::gpu::testing::{Arrangement, TestGpu};

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn hard_columns_normalize_within_1e_5() {
        cases::hard_columns_normalize_within_1e_5(&mut TestGpu::new());
    }

    /// In several modes of arithmetic, as equal rows must become 0 on any GPU.
    #[test]
    fn lopsided_columns_normalize_on_any_gpu() {
        for mode in rough::Mode::EACH_DIRECTION {
            rough::with(mode, || cases::lopsided_columns_normalize(&mut TestGpu::new()));
        }
    }

    #[test]
    fn samples_have_as_many_pixels_or_are_refused() {
        let gpu = TestGpu::new();
        let kernel = Normalize::new(&gpu.gpu.device, EPSILON).unwrap();
        let [mean, vector] = [gpu.zeros([2, 5]), gpu.zeros([1, 5])];
        let inputs = gpu.arranged([12, 5], Arrangement::Images);
        let outputs = gpu.zeros([12, 5]);
        let buffers = Buffers {
            inputs: &inputs,
            mean: &mean,
            variance: &vector,
            gamma: &vector,
            beta: &vector,
            outputs: &outputs,
        };
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.contains("outputs's samples have 1 pixels, not 6"), "{error}");
    }
}

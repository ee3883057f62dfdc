//! `shaders/kernels/loss.wgsl`: the loss of every row of a batch, and its gradient.
//!
//! Its twins are in [`crate::reference`]: one function for each loss.

use wgpu::Device;

use super::{WORKGROUP_SIZE, linear_workgroups};
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, uniform};
use crate::options;

/// Computes the loss and the accuracy of each row of a batch, and the gradient of the batch's loss.
///
/// [`Loss`](options::Loss) has the formulas. With [`Options`], softmax cross-entropy smooths its labels and
/// weighs its classes: [`smoothed_cross_entropy`](crate::reference::smoothed_cross_entropy) has the formula.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::{Matrix, loss};
/// use ztilde::{Loss, ndarray::array, reference};
///
/// let outputs = upload(&device, &[0.0_f32, 1.0, 2.0, -1.0]);
/// let targets = upload(&device, &[1_u32, 1]); // a class for each row
/// let [results, grad_outputs] = [(); 2].map(|()| upload(&device, &[0.0_f32; 4]));
/// let kernel = loss::Loss::new(&device, loss::Options {
///     label_smoothing: 0.2,
///     ..Loss::SoftmaxCrossEntropy.into()
/// })?;
/// let dispatch = kernel.bind(&device, "training", loss::Buffers {
///     outputs: &Matrix::new(&outputs, 0, 2, 2)?,
///     targets: &Matrix::vector(&targets, 0, 2)?,
///     results: &Matrix::new(&results, 0, 2, 2)?,
///     grad_outputs: &Matrix::new(&grad_outputs, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
///
/// let outputs = array![[0.0, 1.0], [2.0, -1.0]];
/// let twin = reference::smoothed_cross_entropy(&outputs, &[1, 1], 0.2, &array![1.0, 1.0]);
/// let [first, second] = [twin.row_losses[0], twin.row_losses[1]];
/// assert_close(&read(&device, &queue, &results), &[first, 1.0, second, 0.0]);
/// assert_close(&read(&device, &queue, &grad_outputs), twin.grad_outputs.as_slice().unwrap());
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loss {
    kernel: Kernel<Shape>,
    options: Options,
}

/// The loss, and how softmax cross-entropy treats its targets.
///
/// See the example of [`Loss`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The loss.
    pub loss: options::Loss,
    /// The share of softmax cross-entropy's targets that is spread evenly over the classes: at least 0, below
    /// 1, and 0 with other losses.
    pub label_smoothing: f32,
    /// Whether softmax cross-entropy weighs its classes. The weights then follow the targets.
    pub has_class_weights: bool,
}

impl From<options::Loss> for Options {
    /// The loss without label smoothing and class weights.
    fn from(loss: options::Loss) -> Self {
        Self { loss, label_smoothing: 0.0, has_class_weights: false }
    }
}

/// The inputs and outputs of the kernel.
///
/// See the example of [`Loss`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`: the outputs of the network. The rows may be any distance apart.
    pub outputs: &'a Matrix,
    /// For softmax cross-entropy `[1, rows]`: a class index (`u32`) for each row. With class weights
    /// `[1, rows + columns]`: the weights (`f32`) follow the indices;
    /// [`weigh_classes`](crate::reference::weigh_classes()) has their formula. For the other losses
    /// `[rows, columns]`.
    pub targets: &'a Matrix,
    /// `[rows, 2]`: each row's loss and accuracy.
    pub results: &'a Matrix,
    /// `[rows, columns]`, its rows as far apart as those of the outputs: the gradient of the batch's loss,
    /// which is the mean of the row losses.
    pub grad_outputs: &'a Matrix,
}

uniform! {
    struct Shape {
        rows: u32,
        columns: u32,
        stride: u32,
    }
}

impl Loss {
    /// Compiles the kernel for a device and a [`Loss`](options::Loss), or for [`Options`].
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if a hyperparameter of the loss is out of range, [`Error::Wgpu`] if the driver does
    /// not compile the shader, [`Error::DeviceLost`].
    pub fn new(device: &Device, options: impl Into<Options>) -> Result<Self> {
        let options = options.into();
        options.loss.check()?;
        let source = concat!(
            include_str!("../../shaders/kernels/loss.wgsl"),
            include_str!("../../shaders/shared/row_loss.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let mut constants = vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        constants.extend(options.constants());
        let kernel = Kernel::new(device, "loss", source, &constants)?;
        Ok(Self { kernel, options })
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the shapes do not fit each other, [`Error::Placement`] if the rows of outputs and
    /// gradient are not equally far apart, or those of another matrix are not contiguous,
    /// [`Error::TooMany`] if a software adapter would not reach the end of a row (beyond 21,000 classes;
    /// 16,000 with smoothed labels), and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { outputs, targets, results, grad_outputs } = buffers;
        let [rows, columns] = [outputs.rows(), outputs.columns()];
        outputs.expect_rows("loss", "outputs", [rows, columns])?;
        targets.expect("loss", "targets", self.options.target_shape(rows, columns))?;
        results.expect("loss", "results", [rows, 2])?;
        grad_outputs.expect_rows("loss", "grad_outputs", [rows, columns])?;
        let stride = outputs.stride();
        if grad_outputs.stride() != stride {
            let found = grad_outputs.stride();
            let reason =
                format!("grad_outputs' rows start {found} values apart, those of outputs {stride}");
            return Err(Error::Placement { what: "loss".to_owned(), reason });
        }
        let workgroups = linear_workgroups(rows.into());
        let turns = u64::from(rows).div_ceil(u64::from(WORKGROUP_SIZE * workgroups[0]));
        let rounds = turns * (self.options.passes() * u64::from(columns) + QUAD_ROUNDS);
        check_rounds(device, "loss", || format!("rows of {columns} outputs"), rounds)?;
        self.kernel.bind(
            device,
            place,
            Shape { rows, columns, stride },
            &[outputs, targets, results, grad_outputs],
            workgroups,
        )
    }
}

/// Rounds of the loops that fill up a row with zeros, and of the one over rows.
const QUAD_ROUNDS: u64 = 4;

impl Options {
    /// How often a row is walked along.
    fn passes(self) -> u64 {
        match self.loss.has_class_targets() {
            true if self.label_smoothing > 0.0 => 4,
            true => 3,
            false => 1,
        }
    }

    /// The overrides of a kernel that has `row_loss.wgsl`.
    pub(crate) fn constants(self) -> [(&'static str, f64); 5] {
        let delta = if let options::Loss::Huber { delta } = self.loss { delta } else { 0.0 };
        let flag = |flag: bool| f64::from(u8::from(flag));
        [
            ("LOSS", self.loss.number().into()),
            ("HAS_CLASS_TARGETS", flag(self.loss.has_class_targets())),
            ("DELTA", delta),
            ("LABEL_SMOOTHING", self.label_smoothing.into()),
            ("HAS_CLASS_WEIGHTS", flag(self.has_class_weights)),
        ]
    }

    /// The shape of the targets of a batch, with the weights of its classes.
    pub(crate) fn target_shape(self, rows: u32, columns: u32) -> [u32; 2] {
        match (self.loss.has_class_targets(), self.has_class_weights) {
            (true, true) => [1, rows.saturating_add(columns)],
            (true, false) => [1, rows],
            (false, _) => [rows, columns],
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::gpu::rough;
    use crate::gpu::testing::{SHAPES, TestGpu, assert_close};
    use crate::reference::{self, LossGradient};

    fn run(
        gpu: &TestGpu,
        loss: impl Into<Options>,
        outputs: &Array2<f64>,
        targets: &Matrix,
    ) -> [Vec<f32>; 2] {
        let kernel = Loss::new(&gpu.gpu.device, loss).unwrap();
        let outputs = gpu.upload(outputs);
        let results = gpu.zeros([outputs.rows(), 2]);
        let grad_outputs = gpu.zeros([outputs.rows(), outputs.columns()]);
        let buffers =
            Buffers { outputs: &outputs, targets, results: &results, grad_outputs: &grad_outputs };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        [gpu.read(&results), gpu.read(&grad_outputs)]
    }

    fn compare(what: &str, [results, grad_outputs]: &[Vec<f32>; 2], expected: &LossGradient) {
        let column = |column: usize| -> Vec<f32> {
            results.iter().copied().skip(column).step_by(2).collect()
        };
        // A row's sum has one rounding per column, of values of its own size; the largest output
        // here is 100.
        assert_close(&format!("{what}: losses"), &column(0), &expected.row_losses, 1e-12, 3e-6);
        let accuracies = &expected.row_accuracies;
        assert_close(&format!("{what}: accuracies"), &column(1), accuracies, 0.0, 1e-6);
        let rows = expected.row_losses.len() as f64;
        let bound = 5e-7 / rows;
        assert_close(
            &format!("{what}: grad_outputs"),
            grad_outputs,
            &expected.grad_outputs,
            bound,
            1e-6,
        );
    }

    fn check_classes(gpu: &mut TestGpu, shape: [u32; 2], scale: f64) {
        let outputs = gpu.random(shape).mapv(|value| f64::from((scale * value) as f32));
        let classes: Vec<u32> = (0..shape[0]).map(|row| (row * 7 + 3) % shape[1]).collect();
        let loss = options::Loss::SoftmaxCrossEntropy;
        let found = run(gpu, loss, &outputs, &gpu.upload_integers(&classes));
        let expected = reference::softmax_cross_entropy(&outputs, &classes);
        compare(&format!("softmax cross-entropy {shape:?} × {scale}"), &found, &expected);
    }

    #[test]
    fn softmax_cross_entropy_matches_the_reference() {
        let mut gpu = TestGpu::new();
        let many_rows = WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 3;
        for shape in SHAPES.into_iter().chain([[5, 1000], [many_rows, 1]]) {
            for scale in [1.0, 100.0] {
                check_classes(&mut gpu, shape, scale);
            }
        }
    }

    /// Weights as they are after weighing: about 1 on average, and 0 here and there.
    #[test]
    fn smoothed_and_weighted_cross_entropy_match_the_reference() {
        let mut gpu = TestGpu::new();
        for shape in SHAPES.into_iter().chain([[5, 1000]]) {
            for (label_smoothing, has_class_weights) in [(0.125, false), (0.0, true), (0.125, true)]
            {
                let loss = options::Loss::SoftmaxCrossEntropy;
                let options = Options { loss, label_smoothing, has_class_weights };
                let outputs = gpu.random(shape).mapv(|value| f64::from((10.0 * value) as f32));
                let classes: Vec<u32> = (0..shape[0]).map(|row| (row * 7 + 3) % shape[1]).collect();
                let weights = match has_class_weights {
                    true => {
                        gpu.random_vector(shape[1]).mapv(|weight| (1.0 + weight).max(0.25) - 0.25)
                    }
                    false => Array1::ones(shape[1] as usize),
                };
                let weights = weights.mapv(|weight| f64::from(weight as f32));
                let mut targets = classes.clone();
                if has_class_weights {
                    targets.extend(weights.iter().map(|&weight| (weight as f32).to_bits()));
                }
                let found = run(&gpu, options, &outputs, &gpu.upload_integers(&targets));
                let smoothing = label_smoothing.into();
                let expected =
                    reference::smoothed_cross_entropy(&outputs, &classes, smoothing, &weights);
                compare(&format!("{options:?} {shape:?}"), &found, &expected);
            }
        }
    }

    fn losses_of_values() -> impl Iterator<Item = options::Loss> {
        options::Loss::ALL.into_iter().filter(|loss| !loss.has_class_targets())
    }

    #[test]
    fn losses_of_values_match_the_reference() {
        let mut gpu = TestGpu::new();
        for loss in losses_of_values() {
            for shape in SHAPES {
                for scale in [1.0, 100.0] {
                    let outputs = gpu.random(shape).mapv(|value| f64::from((scale * value) as f32));
                    // Probabilities, for the losses that need them.
                    let targets = gpu.random(shape).mapv(|target| (0.5 + 0.5 * target) as f32);
                    let on_gpu = gpu.upload(&targets.mapv(f64::from));
                    let found = run(&gpu, loss, &outputs, &on_gpu);
                    let targets = targets.into_raw_vec_and_offset().0;
                    let expected = reference::loss(loss, &outputs, &targets.into());
                    // The gradient of the mean squared error grows with the outputs.
                    compare(&format!("{loss:?} {shape:?} × {scale}"), &found, &expected);
                }
            }
        }
    }

    /// A NaN output or target makes loss and gradient NaN; an infinite output gives the twin's result.
    #[test]
    fn values_that_are_not_finite_give_the_twins_kinds() {
        let gpu = TestGpu::new();
        for loss in losses_of_values().filter(|loss| !loss.has_accuracy()) {
            for (output, target) in [
                (f32::NAN, 0.0),
                (0.0, f32::NAN),
                (f32::INFINITY, 0.0),
                (f32::NEG_INFINITY, 0.0),
                (f32::INFINITY, f32::INFINITY),
                (5e37, -5e37),
            ] {
                let on_gpu = gpu.upload_integers(&[output, 1.0].map(f32::to_bits));
                let targets = gpu.upload_integers(&[target, 1.0].map(f32::to_bits));
                let [outputs, on_gpu_targets] = [&on_gpu, &targets]
                    .map(|matrix| Matrix::new(matrix.buffer(), 0, 1, 2).unwrap());
                let kernel = Loss::new(&gpu.gpu.device, loss).unwrap();
                let [results, grad_outputs] = [(); 2].map(|()| gpu.zeros([1, 2]));
                let buffers = Buffers {
                    outputs: &outputs,
                    targets: &on_gpu_targets,
                    results: &results,
                    grad_outputs: &grad_outputs,
                };
                gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
                let outputs = ndarray::array![[output.into(), 1.0]];
                let expected = reference::loss(loss, &outputs, &vec![target, 1.0].into());
                let kinds = |values: &[f32]| {
                    values.iter().map(|value| value.classify()).collect::<Vec<_>>()
                };
                let single = |values: Vec<f64>| {
                    kinds(&values.into_iter().map(|value| value as f32).collect::<Vec<_>>())
                };
                let what = format!("{loss:?} of {output} and {target}");
                let losses = single(expected.row_losses.to_vec());
                assert_eq!(kinds(&gpu.read(&results)[..1]), losses, "{what}");
                let grads = single(expected.grad_outputs.into_raw_vec_and_offset().0);
                assert_eq!(kinds(&gpu.read(&grad_outputs)), grads, "{what}, gradient");
            }
        }
    }

    #[test]
    fn outputs_as_large_as_floats_overflow_nothing() {
        let gpu = TestGpu::new();
        let outputs = ndarray::array![[1e30, -1e30, 0.0], [-1e30, -1e30, -1e30]];
        let [results, grads] =
            run(&gpu, options::Loss::SoftmaxCrossEntropy, &outputs, &gpu.upload_integers(&[0, 2]));
        assert_close("losses", &[results[0], results[2]], &[0.0, 3_f64.ln()], 1e-6, 1e-6);
        assert!(grads.iter().all(|grad| grad.is_finite()), "{grads:?}");
    }

    /// In several modes of arithmetic: Adam would turn any rounding error of a quotient into large steps.
    #[test]
    fn outputs_that_are_certain_and_right_have_no_gradient_on_any_gpu() {
        let gpu = TestGpu::new();
        let certain = ndarray::array![[200.0, -200.0, 0.0], [-200.0, 7.0, 200.0]];
        let classes = gpu.upload_integers(&[0, 2]);
        let shares = gpu.upload_integers(&[1.0_f32, 0.0, 0.5, 0.0, 1.0, 1.0].map(f32::to_bits));
        let shares = Matrix::new(shares.buffer(), 0, 2, 3).unwrap();
        for mode in rough::Mode::EACH_DIRECTION {
            rough::with(mode, || {
                let loss = options::Loss::SoftmaxCrossEntropy;
                let [_, grads] = run(&gpu, loss, &certain, &classes);
                assert_eq!(grads, [0.0; 6], "classes, {mode:?}");
                let [_, grads] =
                    run(&gpu, loss, &ndarray::array![[3.0]], &gpu.upload_integers(&[0]));
                assert_eq!(grads, [0.0], "one class, {mode:?}");
                let [_, grads] = run(&gpu, options::Loss::BinaryCrossEntropy, &certain, &shares);
                let certain = [grads[0], grads[1], grads[2], grads[3], grads[5]];
                assert_eq!(certain, [0.0; 5], "shares, {mode:?}");
            });
        }
    }

    #[test]
    fn an_invalid_class_makes_its_loss_nan_and_does_no_harm() {
        let gpu = TestGpu::new();
        let outputs = ndarray::array![[1.0, 2.0], [0.5, 0.25]];
        let loss = options::Loss::SoftmaxCrossEntropy;
        let [results, grads] = run(&gpu, loss, &outputs, &gpu.upload_integers(&[2, 1]));
        assert!(results[0].is_nan() && results[2].is_finite(), "{results:?}");
        assert_eq!(grads[..2], [0.0, 0.0]);
        assert_ne!(grads[2..], [0.0, 0.0]);
    }

    #[test]
    fn a_target_that_is_no_probability_shows_and_does_no_harm() {
        let gpu = TestGpu::new();
        let outputs = ndarray::array![[1.0, 2.0], [0.5, 0.25]];
        let loss = options::Loss::BinaryCrossEntropy;
        for bad in [-1e-30_f32, 1.000_000_1, f32::NAN, f32::INFINITY] {
            let targets = [1.0, bad, 0.0, 1.0].map(f32::to_bits);
            let targets = gpu.upload_integers(&targets);
            let targets = Matrix::new(targets.buffer(), 0, 2, 2).unwrap();
            let [results, grads] = run(&gpu, loss, &outputs, &targets);
            assert!(results[0].is_nan() && results[2].is_finite(), "{bad}: {results:?}");
            assert_eq!(grads[..2], [0.0, 0.0]);
            assert!(grads[2..].iter().all(|grad| *grad != 0.0));
        }
    }
}

//! `shaders/kernels/loss.wgsl`: the loss of every row of a batch, and its gradient.
//!
//! Its twins are in [`crate::reference`]: one function for each loss.

use wgpu::Device;

use super::WORKGROUP_SIZE;
use crate::error::{Error, Result};
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, uniform, workgroups};
use crate::options;
use crate::plan::{DeviceClass, lanes_of_row};

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
    /// By invocations that own rows.
    alone: Kernel<Shape>,
    /// By workgroups that share a row, on devices where this is faster for wide rows.
    together: Option<Kernel<Shape>>,
    class: DeviceClass,
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

impl From<&options::TrainerOptions> for Options {
    fn from(options: &options::TrainerOptions) -> Self {
        Self {
            loss: options.loss,
            label_smoothing: options.label_smoothing,
            has_class_weights: options.class_weights.is_some(),
        }
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
        Self::of_class(device, DeviceClass::from(device), options.into())
    }

    /// The same as on devices of this class.
    fn of_class(device: &Device, class: DeviceClass, options: Options) -> Result<Self> {
        options.loss.check()?;
        let alone = concat!(
            include_str!("../../shaders/kernels/loss.wgsl"),
            include_str!("../../shaders/shared/row_loss.wgsl"),
            include_str!("../../shaders/shared/row_alone.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let together = concat!(
            include_str!("../../shaders/kernels/loss.wgsl"),
            include_str!("../../shaders/shared/row_loss.wgsl"),
            include_str!("../../shaders/shared/row_together.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/loss_bits.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
        );
        let mut constants = vec![("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        constants.extend(options.constants());
        let compile = |source| Kernel::new(device, "loss", source, &constants);
        let shares = lanes_of_row(class, u32::MAX) > 1;
        let together = shares.then(|| compile(together)).transpose()?;
        Ok(Self { alone: compile(alone)?, together, class, options })
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
        let lanes = lanes_of_row(self.class, columns);
        let kernel = self.together.as_ref().filter(|_| lanes > 1).unwrap_or(&self.alone);
        let rows_of_workgroup = WORKGROUP_SIZE / lanes;
        let workgroups = workgroups(rows.into(), rows_of_workgroup);
        let turns = u64::from(rows.div_ceil(rows_of_workgroup).div_ceil(workgroups));
        let rounds =
            turns * (self.options.passes() * u64::from(columns.div_ceil(lanes)) + OTHER_ROUNDS);
        check_rounds(device, "loss", || format!("rows of {columns} outputs"), rounds)?;
        kernel.bind(
            device,
            place,
            Shape { rows, columns, stride },
            &[outputs, targets, results, grad_outputs],
            [workgroups, 1, 1],
        )
    }
}

/// Rounds of the loops that fill up a row with zeros, of the trees that join what the invocations of a row have
/// found, and of the loop over rows.
const OTHER_ROUNDS: u64 = 4 + 5 * 6;

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

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases;
#[cfg(test)]
mod tests;

//! `shaders/fused/whole_steps.wgsl`: several training steps of a small network, in one workgroup.
//!
//! Its twin is [`crate::reference::whole_steps`].

use wgpu::Device;

use super::{record_step, update};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, Texts, stepped, uniform};
use crate::kernels::{activate, loss};
use crate::options::{Activation, Optimizer};
use crate::plan::{RECORD, WholePlan};

const TEXTS: Texts = stepped![
    "fused/whole_steps.wgsl",
    "shared/steps_rows.wgsl",
    "shared/steps_books.wgsl",
    "shared/optimizer.wgsl",
    "shared/clip_factor.wgsl",
    "shared/row_loss.wgsl",
    "shared/row_alone.wgsl",
    "shared/loss_bits.wgsl",
    "shared/activation.wgsl",
    "shared/exponential.wgsl",
    "shared/column.wgsl",
    "shared/quotient.wgsl",
    "shared/rounded.wgsl",
    "shared/magnitudes.wgsl",
    "shared/counts.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/quads.wgsl",
];

/// The kernel, compiled for a network and its memory.
#[derive(Clone, Debug)]
pub(crate) struct WholeSteps {
    kernel: Kernel<Run>,
    plan: WholePlan,
    momentum: f32,
    loss: loss::Options,
    decays_all: bool,
}

/// What the kernel computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) activation: Activation,
    pub(crate) epsilon: f32,
    /// Of the running statistics.
    pub(crate) momentum: f32,
    pub(crate) loss: loss::Options,
    pub(crate) optimizer: Optimizer,
    pub(crate) clip_norm: Option<f32>,
    pub(crate) skips: bool,
}

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[steps · rows, inputs]`, padded: the batches, one after the other.
    pub(crate) inputs: &'a Matrix,
    /// As [`loss`] takes them, of all batches.
    pub(crate) targets: &'a Matrix,
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// The number of values that are weights.
    pub(crate) weights: u32,
    /// All running statistics.
    pub(crate) running: &'a Matrix,
    /// As [`record_step`] takes them.
    pub(crate) counts: &'a Matrix,
    /// One row, of which the inputs and all matrices below are parts.
    pub(crate) memory: &'a Matrix,
    /// As [`update`] takes them.
    pub(crate) velocity: &'a Matrix,
    pub(crate) mean_square: &'a Matrix,
    pub(crate) rates: &'a Matrix,
    /// As [`record_step`] takes it.
    pub(crate) history: &'a Matrix,
    pub(crate) layers: &'a [Layer<'a>],
}

/// The matrices of a layer. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    /// `[outputs, inputs]`: a part of the parameters, as are the vectors.
    pub(crate) weights: &'a Matrix,
    /// One per output, if the layer is normalized.
    pub(crate) gamma: Option<&'a Matrix>,
    /// Beta, or the biases. One per output.
    pub(crate) beta: &'a Matrix,
    /// The running mean and variance of a normalized layer: parts of the running statistics. Two rows: the
    /// second holds the values before the last step.
    pub(crate) running: Option<[&'a Matrix; 2]>,
    /// `[rows, outputs]`: the sums; the same matrix as `outputs` for the output layer.
    pub(crate) sums: &'a Matrix,
    /// Three rows, of a hidden layer.
    pub(crate) statistics: Option<&'a Matrix>,
    /// `[rows, outputs]`.
    pub(crate) outputs: &'a Matrix,
    /// `[rows, outputs]`: the gradient by ztilde.
    pub(crate) grads: &'a Matrix,
}

uniform! {
    struct Run {
        steps: u32,
        rows: u32,
        own_rows: u32,
        decaying: u32,
        unbias: f32,
        momentum: f32,
        velocity: u32,
        mean_square: u32,
        history: u32,
        capacity: u32,
        rates: u32,
        rate_capacity: u32,
    }
}

impl WholeSteps {
    /// Compiles the kernel for a device.
    pub(crate) fn new(
        device: &Device,
        plan: WholePlan,
        options: Options,
        buffers: Buffers<'_>,
    ) -> Result<Self> {
        let Options { activation, epsilon, momentum, loss, optimizer, clip_norm, skips } = options;
        let flag = |flag: bool| f64::from(u8::from(flag));
        let [_, activation, negative_slope] = activate::constants(activation);
        let mut constants = vec![
            activation,
            negative_slope,
            ("EPSILON", epsilon.into()),
            ("CLIPS", flag(clip_norm.is_some())),
            ("CLIP_NORM", clip_norm.unwrap_or(1.0).into()),
            ("SKIPS", flag(skips)),
        ];
        constants.extend(loss.constants());
        constants.extend(update::constants(&optimizer));
        let text = match plan.class.lanes() {
            Some(_) => TEXTS.for_subgroups,
            None => TEXTS.for_workgroups,
        };
        let text = format!("{text}\n{}{}", plan.constants(), levels(plan, buffers)?);
        let kernel = Kernel::trusted(device, "whole_steps", &text, &constants)?;
        Ok(Self { kernel, plan, momentum, loss, decays_all: optimizer.decays_all })
    }

    /// Binds the kernel to its matrices, for that many steps.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
        steps: u32,
    ) -> Result<Dispatch> {
        let Buffers { inputs, targets, parameters, weights, running, counts, memory, .. } = buffers;
        let Buffers { velocity, mean_square, rates, history, layers, .. } = buffers;
        let name = "whole_steps";
        let rows = inputs.rows() / steps;
        inputs.expect_padded(name, "inputs", [steps * rows, inputs.columns()])?;
        let outputs = layers.last().map_or(0, |layer| layer.weights.rows());
        // Class indices are one row for the loss, and a column here.
        let columns = if self.loss.loss.has_class_targets() { 1 } else { outputs };
        targets.expect(name, "targets", [steps * rows, columns])?;
        counts.expect(name, "counts", [1, record_step::COUNTS])?;
        history.expect(name, "history", [history.rows(), RECORD])?;
        rates.expect(name, "rates", [rates.rows(), 4])?;
        let part = |part: &Matrix| part.first_quad() - memory.first_quad();
        let quads_of_weights = if self.decays_all { self.plan.learned_quads } else { weights / 4 };
        let run = Run {
            steps,
            rows,
            own_rows: rows.div_ceil(self.plan.invocations()),
            decaying: quads_of_weights,
            unbias: rows as f32 / (rows as f32 - 1.0),
            momentum: self.momentum,
            velocity: part(velocity),
            mean_square: part(mean_square),
            history: part(history),
            capacity: history.rows(),
            rates: part(rates),
            rate_capacity: rates.rows(),
        };
        self.kernel.bind(
            device,
            place,
            run,
            &[targets, parameters, running, counts, memory],
            [1; 3],
        )
    }
}

/// The levels as constants of the shader, and the functions that call a function for each of them: WGSL has no
/// loop over constants.
pub(crate) fn levels(plan: WholePlan, buffers: Buffers<'_>) -> Result<String> {
    let Buffers { inputs, memory, layers, .. } = buffers;
    let outputs = layers.len();
    let [columns, place] = [inputs.columns(), inputs.first_quad() - memory.first_quad()];
    let zeros = ", 0u".repeat(5);
    let mut text = format!(
        "const LEVEL_0 = Level(0u, {columns}u, 0u, false, false{zeros}, {place}u, 0u, 0u, 0u);\n"
    );
    let mut shape = [inputs.rows(), columns];
    for (number, layer) in (1..).zip(layers) {
        let is_repeated = plan.repeats_first && number == 1;
        text += &layer.level(number, shape, is_repeated, buffers)?;
        shape[1] = layer.weights.rows();
    }
    text += &format!("const OUTPUT = LEVEL_{outputs};\n");
    let pair = |number: usize| format!("LEVEL_{}, LEVEL_{number}", number - 1);
    let mut add = |head: &str, calls: Vec<String>| {
        text += &format!("\nfn {head} {{\n{}}}\n", calls.concat());
    };
    let hidden = || 1..outputs;
    let measure = hidden().map(|n| format!("    measure({}, is_last);\n", pair(n)));
    let descend = hidden().rev().map(|n| format!("    descend({});\n", pair(n)));
    let restore = hidden().map(|n| format!("    restore(LEVEL_{n});\n"));
    add("measure_all(is_last: bool)", measure.collect());
    add("lose_all(is_last: bool)", vec![format!("    lose({}, is_last);\n", pair(outputs))]);
    add("descend_all()", descend.collect());
    add("restore_all()", restore.collect());
    Ok(text)
}

impl Layer<'_> {
    /// The layer as a constant of the shader.
    fn level(
        &self,
        number: usize,
        [rows, inner]: [u32; 2],
        is_repeated: bool,
        buffers: Buffers<'_>,
    ) -> Result<String> {
        let Buffers { parameters, running, memory, .. } = buffers;
        let kernel = "whole_steps";
        let columns = self.weights.rows();
        self.weights.expect_padded(kernel, "weights", [columns, inner])?;
        for vector in self.gamma.iter().chain([&self.beta]) {
            vector.expect_padded(kernel, "a vector of a layer", [1, columns])?;
        }
        for part in self.running.iter().flatten() {
            part.expect_padded(kernel, "running statistics", [2, columns])?;
        }
        for matrix in [self.sums, self.outputs, self.grads] {
            matrix.expect_padded(kernel, "values of a layer", [rows, columns])?;
        }
        let place = |whole: &Matrix, part: &Matrix| part.first_quad() - whole.first_quad();
        let [mean, variance] =
            self.running.map_or([0; 2], |parts| parts.map(|part| place(running, part)));
        let places = [
            place(parameters, self.weights),
            self.gamma.map_or(0, |gamma| place(parameters, gamma)),
            place(parameters, self.beta),
            mean,
            variance,
            place(memory, self.sums),
            self.statistics.map_or(0, |statistics| place(memory, statistics)),
            place(memory, self.outputs),
            place(memory, self.grads),
        ];
        let places = places.map(|place| format!(", {place}u")).concat();
        let is_normalized = self.gamma.is_some();
        Ok(format!(
            "const LEVEL_{number} = Level({number}u, {columns}u, {inner}u, {is_normalized}, \
             {is_repeated}{places});\n"
        ))
    }
}

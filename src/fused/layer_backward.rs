//! `shaders/fused/layer_backward.wgsl`: the gradients of a layer, from those of the sums of the next one.
//!
//! Its twin is [`crate::reference::layer_backward`].

use wgpu::Device;

use super::layer_forward::statistics_rows;
use crate::error::Result;
use crate::gpu::{
    Core, Dispatch, Division, Kernel, Matrix, check_rounds, uniform, unused_matrices, workgroups,
};
use crate::kernels::activate;
use crate::options::Activation;

const FOR_SUBGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_backward.wgsl"),
    include_str!("../../shaders/shared/tile_subgroup.wgsl"),
    include_str!("../../shaders/shared/grad_weights.wgsl"),
    include_str!("../../shaders/shared/faults.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
);
const FOR_WORKGROUPS: &str = concat!(
    include_str!("../../shaders/fused/layer_backward.wgsl"),
    include_str!("../../shaders/shared/tile_workgroup.wgsl"),
    include_str!("../../shaders/shared/grad_weights.wgsl"),
    include_str!("../../shaders/shared/faults.wgsl"),
    include_str!("../../shaders/shared/magnitudes.wgsl"),
    include_str!("../../shaders/shared/blocks.wgsl"),
    include_str!("../../shaders/shared/activation.wgsl"),
    include_str!("../../shaders/shared/exponential.wgsl"),
    include_str!("../../shaders/shared/rounded.wgsl"),
    include_str!("../../shaders/shared/quotient.wgsl"),
);

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct LayerBackward {
    /// The phases that a layer takes, in order.
    phases: Vec<(Phase, Kernel<Layer>)>,
    core: Core,
    options: Options,
    /// Placeholder for the statistics of layers without any.
    unused: Vec<Matrix>,
}

/// The work of a dispatch, in the order of the shader's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Whole,
    Columns,
    Measure,
    Finish,
    Weights,
}

/// The options that are fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) layer: Position,
    pub(crate) division: Division,
    /// Whether the gradients of its weights are left to the layer before it, which has to be divided, too.
    pub(crate) leaves_weights: bool,
    /// The next layer, if that leaves its own.
    pub(crate) next: Option<NextLayer>,
}

/// A next layer that leaves the gradients of its weights and biases to this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextLayer {
    pub(crate) has_biases: bool,
}

/// Which layer it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position {
    /// The output layer, whose gradients come from the loss.
    Last,
    /// A hidden layer.
    Hidden { activation: Activation, batch_norm: bool, epsilon: f32 },
}

/// The inputs and outputs of the kernel. All rows are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`: of the layer.
    pub(crate) inputs: &'a Matrix,
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// `[outputs, inputs]`: a part of the parameters, as are the vectors.
    pub(crate) weights: &'a Matrix,
    /// Gamma and beta, one per output. Biases take the slot of beta; gamma is then not read.
    pub(crate) vectors: [&'a Matrix; 2],
    /// The stop, `[1, 4]`, and the layer's faults, `[4, 4]`: parts of the parameters. Faults are noted at
    /// the same places in the gradients.
    pub(crate) stop: [&'a Matrix; 2],
    /// The additional inputs of a hidden layer.
    pub(crate) hidden: Option<Hidden<'a>>,
    /// `[rows, outputs]`: written, or read if the layer is the last.
    pub(crate) grad_sums: &'a Matrix,
    /// The gradients, packed like the parameters: a row for each slab of the batch. Each row has the slab's
    /// share of the gradients of weights and biases; the first row has all other gradients.
    pub(crate) gradients: &'a Matrix,
    /// `[3, outputs]`: from [`super::layer_forward`], if the layer is normalized; four rows more for each
    /// chunk, if there are any.
    pub(crate) statistics: Option<&'a Matrix>,
}

/// The inputs of the kernel for a hidden layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden<'a> {
    /// `[rows, next outputs]`: the gradients of the next layer's sums.
    pub(crate) next_grad_sums: &'a Matrix,
    /// `[next outputs, outputs]`: a part of the parameters.
    pub(crate) next_weights: &'a Matrix,
    /// `[rows, outputs]`: from [`super::layer_forward`].
    pub(crate) sums: &'a Matrix,
    /// For a next layer that leaves the gradients of its weights to this one.
    pub(crate) next: Option<NextWeights<'a>>,
}

/// The inputs and outputs for the gradients of the next layer's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextWeights<'a> {
    /// `[rows, outputs]`: of this layer, from [`super::layer_forward`].
    pub(crate) outputs: &'a Matrix,
    /// Its biases and its faults: parts of the parameters.
    pub(crate) biases: &'a Matrix,
    pub(crate) faults: &'a Matrix,
}

uniform! {
    struct Layer {
        rows: u32,
        columns: u32,
        next_columns: u32,
        inner: u32,
        next_weights: u32,
        gamma: u32,
        beta: u32,
        weights: u32,
        chunk: u32,
        slab_rows: u32,
        slab: u32,
        stop: u32,
        faults: u32,
        next_biases: u32,
        next_faults: u32,
    }
}

impl LayerBackward {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device, core: Core, options: Options) -> Result<Self> {
        let (is_last, activation, batch_norm, epsilon) = match options.layer {
            Position::Last => (true, Activation::Identity, false, 0.0),
            Position::Hidden { activation, batch_norm, epsilon } => {
                (false, activation, batch_norm, epsilon)
            }
        };
        let [_, activation, negative_slope] = activate::constants(activation);
        let divides_rows = options.division == Division::Rows;
        let mut phases = Vec::new();
        if options.division == Division::Strips {
            phases.push(Phase::Whole);
        } else if !is_last {
            phases.push(if divides_rows { Phase::Measure } else { Phase::Columns });
        }
        if divides_rows && batch_norm {
            phases.push(Phase::Finish);
        }
        if options.division != Division::Strips && !options.leaves_weights {
            phases.push(Phase::Weights);
        }
        let compile = |phase: Phase| {
            let next = options.next.filter(|_| phase.takes_next());
            let constants = [
                ("PHASE", f64::from(phase as u32)),
                ("IS_LAST", f64::from(u8::from(is_last))),
                ("BATCH_NORM", f64::from(u8::from(batch_norm))),
                ("NEXT_WEIGHTS", f64::from(u8::from(next.is_some()))),
                ("NEXT_HAS_BIASES", f64::from(u8::from(next.is_some_and(|next| next.has_biases)))),
                ("EPSILON", epsilon.into()),
                activation,
                negative_slope,
            ];
            let text = core.text(FOR_SUBGROUPS, FOR_WORKGROUPS);
            Ok((phase, Kernel::trusted(device, "layer_backward", &text, &constants)?))
        };
        let phases = phases.into_iter().map(compile).collect::<Result<_>>()?;
        Ok(Self { phases, core, options, unused: unused_matrices(device, 1)? })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Vec<Dispatch>> {
        let Buffers { inputs, hidden, grad_sums, gradients, statistics, .. } = buffers;
        self.check(buffers)?;
        let bind = |&(phase, ref kernel): &(Phase, Kernel<Layer>)| {
            let layer = self.uniform(phase, buffers);
            // Placeholders: a binding that is not read must be bound, too.
            let next_grad_sums = hidden.map_or(inputs, |hidden| hidden.next_grad_sums);
            let sums = hidden.map_or(inputs, |hidden| hidden.sums);
            let statistics = statistics.unwrap_or(&self.unused[0]);
            let parameters = buffers.parameters;
            let next = buffers.next_weights(phase);
            debug_assert_eq!(next.is_some(), self.options.next.is_some() && phase.takes_next());
            let factor = next.map_or(inputs, |next| next.outputs);
            let matrices =
                [next_grad_sums, parameters, sums, statistics, factor, grad_sums, gradients];
            let groups = self.workgroups(phase, buffers);
            let work = || format!("{} rows of {} inputs", inputs.rows(), inputs.columns());
            check_rounds(device, "layer_backward", work, self.rounds(phase, buffers))?;
            kernel.bind(device, place, layer, &matrices, groups)
        };
        self.phases.iter().map(bind).collect()
    }

    /// Whether it computes the gradients that the next layer leaves.
    pub(crate) fn takes_next(&self) -> bool {
        self.options.next.is_some()
    }

    fn divides_rows(&self) -> bool {
        self.options.division == Division::Rows
    }

    fn check(&self, buffers: Buffers<'_>) -> Result<()> {
        let Buffers { inputs, parameters, weights, vectors, hidden, grad_sums, .. } = buffers;
        let Buffers { stop, gradients, statistics, .. } = buffers;
        let kernel = "layer_backward";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        weights.expect_padded(kernel, "weights", [columns, inner])?;
        grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        let slabs = gradients.rows();
        gradients.expect_padded(kernel, "gradients", [slabs, parameters.columns()])?;
        stop[0].expect_padded(kernel, "the stop", [1, 4])?;
        stop[1].expect_padded(kernel, "the matrix of faults", [4, 4])?;
        for vector in vectors {
            vector.expect_padded(kernel, "gamma, beta or the biases", [1, columns])?;
        }
        if let Some(Hidden { next_grad_sums, next_weights, sums, next }) = hidden {
            let next_columns = next_weights.rows();
            next_grad_sums.expect_padded(kernel, "next_grad_sums", [rows, next_columns])?;
            next_weights.expect_padded(kernel, "next_weights", [next_columns, columns])?;
            sums.expect_padded(kernel, "sums", [rows, columns])?;
            if let Some(NextWeights { outputs, biases, faults }) = next {
                outputs.expect_padded(kernel, "outputs", [rows, columns])?;
                biases.expect_padded(kernel, "the next layer's biases", [1, next_columns])?;
                faults.expect_padded(kernel, "the next layer's faults", [4, 4])?;
            }
        }
        if let Some(statistics) = statistics {
            let needed = statistics_rows(self.core, rows, self.divides_rows());
            statistics.expect_padded(kernel, "statistics", [needed, columns])?;
        }
        Ok(())
    }

    fn uniform(&self, phase: Phase, buffers: Buffers<'_>) -> Layer {
        let Buffers { inputs, parameters, weights, vectors, stop, hidden, gradients, .. } = buffers;
        let rows = inputs.rows();
        let first = |part: &Matrix| part.first_quad() - parameters.first_quad();
        let next = buffers.next_weights(phase);
        Layer {
            rows,
            columns: weights.rows(),
            next_columns: hidden.map_or(0, |hidden| hidden.next_weights.rows()),
            inner: weights.columns(),
            next_weights: hidden.map_or(0, |hidden| first(hidden.next_weights)),
            gamma: first(vectors[0]),
            beta: first(vectors[1]),
            weights: first(weights),
            chunk: self.chunk(rows),
            slab_rows: if phase == Phase::Whole { rows } else { slab_rows(rows, gradients) },
            slab: gradients.columns() / 4,
            stop: first(stop[0]),
            faults: first(stop[1]),
            next_biases: next.map_or(0, |next| first(next.biases)),
            next_faults: next.map_or(0, |next| first(next.faults)),
        }
    }

    /// The rounds of an invocation's loops, without the loop over the strips.
    fn rounds(&self, phase: Phase, buffers: Buffers<'_>) -> u64 {
        let Buffers { inputs, weights, hidden, gradients, .. } = buffers;
        let core = self.core;
        let next = hidden.map_or(0, |hidden| hidden.next_weights.rows());
        let patches = |rows: u32| u64::from(rows.div_ceil(core.patch_rows()));
        let [rows, inner] = [inputs.rows(), weights.columns()];
        let sums = |rows: u32| patches(rows) * core.rounds_of_patch(next);
        let slab = slab_rows(rows, gradients);
        let of_slab = core.rounds_of_patch(slab) + patches(slab) * core.rounds_of_rows();
        let of_next = if buffers.next_weights(phase).is_some() { of_slab } else { 0 };
        match phase {
            Phase::Whole => {
                sums(rows)
                    + u64::from(inner.div_ceil(4 * core.patch()[1])) * core.rounds_of_patch(rows)
            }
            Phase::Columns => sums(rows).max(of_next),
            Phase::Measure | Phase::Finish => sums(core.chunk(rows)).max(of_next),
            Phase::Weights => of_slab,
        }
    }

    /// One for each strip of the columns and chunk of the rows, or for each patch of the weights and slab.
    fn workgroups(&self, phase: Phase, buffers: Buffers<'_>) -> [u32; 3] {
        let Buffers { inputs, weights, gradients, .. } = buffers;
        let rows = inputs.rows();
        let slabs = u64::from(rows.div_ceil(slab_rows(rows, gradients)));
        let of_slabs = |columns: u32, inner: u32| {
            let patches = u64::from(columns.div_ceil(self.core.patch_rows()));
            patches * u64::from(inner.div_ceil(4 * self.core.patch()[1])) * slabs
        };
        let [columns, inner] = [weights.rows(), weights.columns()];
        let own = match phase {
            Phase::Weights => of_slabs(columns, inner),
            _ => {
                let strips = columns.div_ceil(4 * self.core.patch()[1]);
                u64::from(strips) * u64::from(rows.div_ceil(self.chunk(rows)))
            }
        };
        let of_next = |next: NextWeights<'_>| of_slabs(next.biases.columns(), columns);
        [workgroups(own + buffers.next_weights(phase).map_or(0, of_next), 1), 1, 1]
    }

    /// Rows of a chunk.
    fn chunk(&self, rows: u32) -> u32 {
        if self.divides_rows() {
            self.core.chunk(rows)
        } else {
            rows.next_multiple_of(self.core.patch_rows())
        }
    }
}

impl Phase {
    /// Whether it computes the gradients of the next layer's weights, if these are left.
    fn takes_next(self) -> bool {
        matches!(self, Self::Columns | Self::Measure)
    }
}

impl<'a> Buffers<'a> {
    fn next_weights(self, phase: Phase) -> Option<NextWeights<'a>> {
        self.hidden?.next.filter(|_| phase.takes_next())
    }
}

/// Rows of the batch that a slab of the gradients is for, in whole vectors of four.
fn slab_rows(rows: u32, gradients: &Matrix) -> u32 {
    rows.div_ceil(gradients.rows()).next_multiple_of(4)
}

#[cfg(test)]
mod tests;

//! `shaders/fused/output_layer.wgsl`: the output layer of a batch, from its inputs to its gradients.
//!
//! Its twin is [`crate::reference::output_layer`].

use wgpu::Device;

use super::grad_weights::{Targets, Weights};
use super::record_step;
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, Texts, check_rounds, tiled, uniform, workgroups};
use crate::kernels::loss;
use crate::plan::{LayerPlan, OutputKernels, RECORD};

const TEXTS: Texts = tiled![
    "fused/output_layer.wgsl",
    "shared/weights_patch.wgsl",
    "shared/faults.wgsl",
    "shared/fault_kinds.wgsl",
    "shared/counts.wgsl",
    "shared/record.wgsl",
    "shared/magnitudes.wgsl",
    "shared/blocks.wgsl",
    "shared/quads.wgsl",
    "shared/row_loss.wgsl",
    "shared/row_alone.wgsl",
    "shared/loss_bits.wgsl",
    "shared/exponential.wgsl",
    "shared/rounded.wgsl",
];

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct OutputLayer {
    kernel: Kernel<Layer>,
    plan: LayerPlan,
    loss: loss::Options,
}

/// The inputs and outputs of the kernel. All rows but those of the last three are padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[rows, inputs]`.
    pub(crate) inputs: &'a Matrix,
    /// The weights and biases, and where their gradients go.
    pub(crate) targets_of_gradients: Targets<'a>,
    /// `[1, 4]`, a part of the parameters.
    pub(crate) stop: &'a Matrix,
    /// `[rows, outputs]`: the gradient of the loss by the outputs.
    pub(crate) grad_sums: &'a Matrix,
    /// The gradients: packed, and then the slabs.
    pub(crate) gradients: &'a Matrix,
    /// As [`loss`] takes them.
    pub(crate) targets: &'a Matrix,
    /// As [`record_step`] takes them.
    pub(crate) counts: &'a Matrix,
    /// As [`record_step`] takes it; row by row, the results that [`loss`] leaves.
    pub(crate) history: &'a Matrix,
}

uniform! {
    struct Layer {
        weights: Weights,
        rows: u32,
        columns: u32,
        inner: u32,
        capacity: u32,
        stop: u32,
    }
}

impl OutputLayer {
    /// Compiles the kernel for a device. The layer is not [`OutputKernels::Wide`].
    pub(crate) fn new(device: &Device, plan: LayerPlan, loss: loss::Options) -> Result<Self> {
        let is_row_by_row = plan.output() == OutputKernels::RowByRow;
        let mut constants = vec![("ROW_BY_ROW", f64::from(u8::from(is_row_by_row)))];
        constants.extend(loss.constants());
        let text = TEXTS.text(plan.tiling);
        let kernel = Kernel::trusted(device, "output_layer", &text, &constants)?;
        Ok(Self { kernel, plan, loss })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { inputs, targets_of_gradients, grad_sums, gradients, .. } = buffers;
        let Buffers { stop, targets, counts, history, .. } = buffers;
        let Targets { parameters, weights, .. } = targets_of_gradients;
        let kernel = "output_layer";
        let [rows, columns, inner] = [inputs.rows(), weights.rows(), weights.columns()];
        targets_of_gradients.check(kernel, gradients, 1)?;
        inputs.expect_padded(kernel, "inputs", [rows, inner])?;
        stop.expect_padded(kernel, "the stop", [1, 4])?;
        grad_sums.expect_padded(kernel, "grad_sums", [rows, columns])?;
        let tiling = self.plan.tiling;
        let work = || format!("{rows} rows of sums of {inner} products");
        check_rounds(device, kernel, work, self.plan.output_loops(rows))?;
        targets.expect(kernel, "targets", self.loss.target_shape(rows, columns))?;
        counts.expect(kernel, "counts", [1, record_step::COUNTS])?;
        let (shape, groups) = match self.plan.output() {
            OutputKernels::InOne => ([history.rows(), RECORD], 1),
            OutputKernels::RowByRow | OutputKernels::Wide => {
                ([rows, 2], workgroups(tiling.row_patches(rows).into(), 1))
            }
        };
        history.expect(kernel, "history", shape)?;
        let layer = Layer {
            weights: Weights::new(self.plan, rows, targets_of_gradients),
            rows,
            columns,
            inner,
            capacity: history.rows(),
            stop: stop.first_quad() - parameters.first_quad(),
        };
        let bound = [inputs, parameters, targets, grad_sums, gradients, counts, history];
        self.kernel.bind(device, place, layer, &bound, [groups, 1, 1])
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Array2, Axis};

    use super::*;
    use crate::data::Targets;
    use crate::fused::grad_weights;
    use crate::gpu::testing::TestGpu;
    use crate::options::Loss;
    use crate::plan::{Place, Slabs, Tiling, WeightsPlan};
    use crate::reference::{self, Layer, LayerGradients};

    /// Rows, outputs, and features of the inputs.
    const LAYERS: [[u32; 3]; 11] = [
        [1, 1, 1],
        [2, 3, 5],
        [31, 4, 4],
        [33, 32, 33],
        [60, 10, 100],
        [64, 31, 2],
        [65, 2, 130],
        [131, 5, 65],
        [256, 10, 7],
        // Row by row.
        [257, 10, 7],
        [1031, 3, 33],
    ];

    /// One workgroup for up to 256 rows.
    pub(super) fn plan(gpu: &TestGpu, [rows, columns, inner]: [u32; 3]) -> LayerPlan {
        let class = gpu.gpu.class;
        let tiling = Tiling::single(class);
        let place = if rows <= 256 { Place::WithLayer } else { Place::Alone };
        let plan = LayerPlan::test(class, tiling, [inner, columns], false, false);
        LayerPlan { weights: WeightsPlan { place, tiling }, ..plan }
    }

    fn compare(gpu: &mut TestGpu, loss: loss::Options, [rows, columns, inner]: [u32; 3]) {
        let device = gpu.gpu.device.clone();
        let plan = plan(gpu, [rows, columns, inner]);
        let is_in_one = plan.output() == OutputKernels::InOne;
        let what = format!("{loss:?}, {rows} × {columns} × {inner}");
        let kernel = OutputLayer::new(&device, plan, loss).unwrap();
        let inputs = gpu.coarse([rows, inner]);
        let weights = gpu.coarse([columns, inner]);
        let biases = gpu.coarse([1, columns]);
        let classes: Vec<u32> = (0..rows).map(|row| (7 * row + 3) % columns).collect();
        let class_weights = Array1::from_shape_fn(columns as usize, |class| {
            if loss.has_class_weights { (class % 3) as f64 / 2.0 } else { 1.0 }
        });
        let values = gpu.random([rows, columns]).mapv(|value| 0.5 + 0.5 * value);
        let targets = if loss.loss.has_class_targets() {
            let mut targets = classes.clone();
            if loss.has_class_weights {
                targets.extend(class_weights.iter().map(|&weight| (weight as f32).to_bits()));
            }
            gpu.upload_integers(&targets)
        } else {
            gpu.upload(&values)
        };
        let on_cpu = |outputs: &Array2<f64>| match loss.loss {
            Loss::SoftmaxCrossEntropy => reference::smoothed_cross_entropy(
                outputs,
                &classes,
                loss.label_smoothing.into(),
                &class_weights,
            ),
            other => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                reference::loss(other, outputs, &Targets::from(values))
            }
        };
        let [stop, faults] = [1, 4].map(|quads| Array2::from_elem([quads, 4], 5.0));
        let (parameters, parts) = gpu.upload_packed(&[&weights, &biases, &stop, &faults]);
        let gradients = gpu.garbage([1, parameters.columns()]);
        let grad_sums = gpu.garbage([rows, columns]);
        let results = if is_in_one { 4 } else { rows };
        let counts = gpu.upload_integers(&[10, 12, 0, 0, 20, 0]);
        let history = gpu.zeros([results, if is_in_one { RECORD } else { 2 }]);
        let buffers = Buffers {
            inputs: &gpu.upload_padded(&inputs),
            targets_of_gradients: grad_weights::Targets {
                parameters: &parameters,
                weights: &parts[0],
                biases: Some(&parts[1]),
                faults: &parts[3],
                slabs: Slabs { first: 0, length: 0 },
            },
            stop: &parts[2],
            grad_sums: &grad_sums,
            gradients: &gradients,
            targets: &targets,
            counts: &counts,
            history: &history,
        };
        gpu.run(&[&kernel.bind(&device, "test", buffers).unwrap()]);

        let layer = Layer::Linear { weights, biases: biases.row(0).to_owned() };
        let (measured, learned) = reference::output_layer(&layer, &inputs, on_cpu);
        let LayerGradients::Linear { grad_weights, grad_biases } = learned else {
            unreachable!("the output layer is linear");
        };
        // As in the room of the loss: relative to the size of what is rounded.
        let grads = &measured.grad_outputs;
        let most = grads.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let found = gpu.read_padded(&format!("{what}: grad_sums"), &grad_sums);
        let bound = 2e-6 * most + 5e-7 / f64::from(rows);
        gpu.compare(&format!("{what}: grad_sums"), &found, grads, bound, 0.0);
        if !is_in_one {
            let found = gpu.read(&history);
            let column = |column: usize| -> Vec<f32> {
                found.iter().copied().skip(column).step_by(2).collect()
            };
            let [losses, hits] = [&measured.row_losses, &measured.row_accuracies];
            gpu.compare(&format!("{what}: losses"), &column(0), losses, 2e-6, 3e-6);
            gpu.compare(&format!("{what}: accuracies"), &column(1), hits, 0.0, 1e-6);
            return;
        }
        // Inputs are not above 1; each gradient is off by that bound, and the sum by its roundings.
        let size = grads.mapv(f64::abs).sum_axis(Axis(0));
        let bounds = &size * 1e-6 + f64::from(rows) * bound;
        let part = |index: usize| {
            let [rows, columns] = [parts[index].rows(), parts[index].columns()];
            let first = 4 * u64::from(parts[index].first_quad());
            Matrix::padded(gradients.buffer(), first, rows, columns).unwrap()
        };
        let found = gpu.read_padded(&format!("{what}: grad_biases"), &part(1));
        gpu.compare_within(&format!("{what}: grad_biases"), &found, &grad_biases, &bounds);
        let found = gpu.read_padded(&format!("{what}: grad_weights"), &part(0));
        let bounds = bounds.insert_axis(Axis(1));
        let bounds = bounds.broadcast(grad_weights.raw_dim()).unwrap();
        gpu.compare_within(&format!("{what}: grad_weights"), &found, &grad_weights, bounds);

        // The eleventh step that is taken, in a history of four.
        let history = gpu.read(&history);
        let expected = [&measured.row_losses, &measured.row_accuracies]
            .map(|values| values.mean().expect("a row or more"));
        gpu.compare(&format!("{what}: history"), &history[8..10], &expected, 2e-6, 2e-6);
        assert_eq!(history[10..12], [rows, 12].map(f32::from_bits), "{what}: rows and number");
        assert!(history[..8].iter().chain(&history[12..]).all(|&value| value == 0.0), "{what}");
        assert_eq!(gpu.read(&counts), [11, 13, 0, 0, 21, 0].map(f32::from_bits), "{what}: counts");
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        let plain = Loss::ALL.map(loss::Options::from);
        let weighted = loss::Options { label_smoothing: 0.25, has_class_weights: true, ..plain[0] };
        for loss in plain.into_iter().chain([weighted]) {
            // The kernel serves layers that a tile is as wide as.
            let tiling = Tiling::single(gpu.gpu.class);
            for shape in LAYERS.into_iter().filter(|shape| tiling.strips(shape[1]) == 1) {
                compare(gpu, loss, shape);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::cases::plan;
    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::options::Loss;
    use crate::plan::Slabs;

    #[test]
    fn matches_the_reference() {
        for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
            cases::matches_the_reference(&mut gpu);
        }
    }

    /// The stop, then the layer's faults. Errors of 2⁶⁵ overflow when squared, and the gradients of
    /// errors of 2⁶⁰ are too large. Inputs of 2⁶⁰ do not change the gradient of the biases.
    #[test]
    fn notes_what_is_not_finite() {
        let power = |exponent: i32| 2.0_f64.powi(exponent);
        for gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
            let device = &gpu.gpu.device;
            let loss = loss::Options::from(Loss::MeanSquaredError);
            let kernel = OutputLayer::new(device, plan(&gpu, [35, 5, 3]), loss).unwrap();
            for (input, target, expected) in [
                (1.0, 1.0, &[][..]),
                (0.0, power(50), &[]),
                (0.0, power(60), &[0, 2]),
                (power(60), 1.0, &[0, 4]),
                (0.0, power(65), &[0, 1, 2]),
                (f64::NAN, 1.0, &[0, 1, 2, 4]),
            ] {
                // The last row of 35, and the last output of 5.
                let mut inputs = Array2::zeros([35, 3]);
                inputs.row_mut(34).fill(input);
                let mut targets = Array2::zeros([35, 5]);
                targets[[34, 4]] = target;
                let [weights, biases, stop, faults] =
                    [[5, 3], [1, 5], [1, 4], [4, 4]].map(Array2::<f64>::zeros);
                let packed = [&weights, &biases, &stop, &faults];
                let (parameters, parts) = gpu.upload_packed(&packed);
                let gradients = gpu.garbage([1, parameters.columns()]);
                let buffers = Buffers {
                    inputs: &gpu.upload_padded(&inputs),
                    targets_of_gradients: Targets {
                        parameters: &parameters,
                        weights: &parts[0],
                        biases: Some(&parts[1]),
                        faults: &parts[3],
                        slabs: Slabs { first: 0, length: 0 },
                    },
                    stop: &parts[2],
                    grad_sums: &gpu.garbage([35, 5]),
                    gradients: &gradients,
                    targets: &gpu.upload(&targets),
                    counts: &gpu.upload_integers(&[0; 6]),
                    history: &gpu.zeros([4, RECORD]),
                };
                gpu.run(&[&kernel.bind(device, "test", buffers).unwrap()]);
                let first = 4 * u64::from(parts[2].first_quad());
                let found = gpu.read_all(&Matrix::vector(gradients.buffer(), first, 20).unwrap());
                let (found, _) = found.as_chunks::<4>();
                let found: Vec<usize> = (0..5).filter(|&fault| found[fault] == [1.0; 4]).collect();
                assert_eq!(found, expected, "inputs of {input}, a target of {target}");
            }
        }
    }
}

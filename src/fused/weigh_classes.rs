//! `shaders/fused/weigh_classes.wgsl`: how much each class counts in a batch.
//!
//! Its twin is [`crate::reference::weigh_classes`].

use wgpu::Device;

use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, check_rounds, uniform};

/// One workgroup does it all: as large as WebGPU promises.
const WORKGROUP_SIZE: u32 = 256;

/// Computes the weight of each class in a batch: `class_weights · rows / Σ class_weights[class of the row]`,
/// or 0 if all rows weigh 0.
///
/// The weights of the rows are then 1 on average. With them the mean over the batch divides by the sum of the
/// rows' weights, as in PyTorch's `CrossEntropyLoss`.
#[derive(Clone, Debug)]
pub(crate) struct WeighClasses(Kernel<Batch>);

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// `[1, classes]`: a weight for each class, at least 0.
    pub(crate) class_weights: &'a Matrix,
    /// `[1, rows + classes]`: a class index (`u32`) for each row of the batch, then the weights (`f32`). The
    /// kernel writes the weights where [`loss`](crate::kernels::loss) reads them.
    pub(crate) targets: &'a Matrix,
}

uniform! {
    struct Batch {
        rows: u32,
        classes: u32,
    }
}

impl WeighClasses {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/weigh_classes.wgsl"),
            include_str!("../../shaders/shared/workgroup_sum.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Kernel::new(device, "weigh_classes", source, &constants).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { class_weights, targets } = buffers;
        let classes = class_weights.columns();
        class_weights.expect("weigh_classes", "class_weights", [1, classes])?;
        let rows = targets.columns().saturating_sub(classes).max(1);
        targets.expect("weigh_classes", "targets", [1, rows.saturating_add(classes)])?;
        // A sum over the invocations comes in between, of eight rounds.
        let rounds = [rows, classes].map(|items| u64::from(items.div_ceil(WORKGROUP_SIZE)));
        let rounds = rounds.iter().sum::<u64>() + 8;
        check_rounds(device, "weigh_classes", || format!("{rows} rows"), rounds)?;
        let matrices = [class_weights, targets];
        self.0.bind(device, place, Batch { rows, classes }, &matrices, [1, 1, 1])
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array1;

    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    /// The weights that the kernel writes after the classes. Checks that the classes are unchanged.
    pub(super) fn weigh(gpu: &TestGpu, class_weights: &Array1<f64>, classes: &[u32]) -> Vec<f32> {
        let rows = classes.len();
        let mut values = classes.to_vec();
        values.resize(rows + class_weights.len(), f32::NAN.to_bits());
        let targets = gpu.upload_integers(&values);
        let buffers =
            Buffers { class_weights: &gpu.upload_vector(class_weights), targets: &targets };
        let kernel = WeighClasses::new(&gpu.gpu.device).unwrap();
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
        let mut found = gpu.read(&targets);
        let weights = found.split_off(rows);
        let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
        assert_eq!(found, classes, "the classes themselves");
        weights
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for (rows, classes) in [(1, 1), (2, 3), (255, 2), (256, 10), (257, 300), (70_001, 7)] {
            let class_weights = gpu.random_vector(classes).mapv(|weight| 1.5 + weight);
            let indices: Vec<u32> = (0..rows).map(|row| (row * 7 + 3) % classes).collect();
            let found = weigh(gpu, &class_weights, &indices);
            let expected = reference::weigh_classes(&class_weights, &indices);
            // A lane's sum of 274 values is rounded as often.
            gpu.compare(&format!("{rows} rows, {classes} classes"), &found, &expected, 0.0, 1.6e-5);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::cases::weigh;
    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn a_batch_without_weight_leaves_none() {
        let gpu = TestGpu::new();
        let class_weights = ndarray::array![0.0, 1.0, 0.0];
        assert_eq!(weigh(&gpu, &class_weights, &[0, 2, 2, 0]), [0.0; 3]);
        let expected = reference::weigh_classes(&class_weights, &[0, 2, 2, 0]);
        assert_eq!(expected, Array1::<f64>::zeros(3));
    }

    /// All that the batch weighs is not known then.
    #[test]
    fn a_weight_that_is_nan_shows() {
        let gpu = TestGpu::new();
        for nan in [f64::NAN, -f64::NAN] {
            let class_weights = ndarray::array![1.0, nan, 2.0];
            let found = weigh(&gpu, &class_weights, &[0, 2, 1, 0]);
            assert!(found.iter().all(|weight| weight.is_nan()), "{found:?}");
            let expected = reference::weigh_classes(&class_weights, &[0, 2, 1, 0]);
            assert!(expected.iter().all(|weight| weight.is_nan()), "{expected}");
        }
    }

    /// The row has no weight, also if its index leads past the weights.
    #[test]
    fn an_invalid_class_has_no_weight() {
        let gpu = TestGpu::new();
        let found = weigh(&gpu, &ndarray::array![1.0, 3.0], &[1, 2, u32::MAX, 0]);
        // 4 rows that weigh 4: the quotient may be off.
        assert_close("weights", &found, &[1.0, 3.0], 0.0, 4e-7);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let gpu = TestGpu::new();
        let device = &gpu.gpu.device;
        let kernel = WeighClasses::new(device).unwrap();
        let message = |class_weights: [u32; 2], targets: [u32; 2]| {
            let [class_weights, targets] = [&gpu.zeros(class_weights), &gpu.zeros(targets)];
            let bound = kernel.bind(device, "test", Buffers { class_weights, targets });
            bound.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let found = message([1, 3], [1, 3]);
        assert!(found.contains("targets is 1 × 3, but 1 × 4 is needed"), "{found}");
        let found = message([2, 3], [1, 8]);
        assert!(found.contains("class_weights is 2 × 3, but 1 × 3 is needed"), "{found}");
        assert_eq!(message([1, 3], [1, 4]), "");
    }
}

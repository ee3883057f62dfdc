//! `shaders/fused/skip_step.wgsl`: undoes what a step with a fault has changed.
//!
//! Its twin is [`crate::reference::skip_step`].

use wgpu::Device;

use super::record_step::COUNTS;
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, uniform};

/// One workgroup does it all: as large as WebGPU promises.
const WORKGROUP_SIZE: u32 = 256;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub(crate) struct SkipStep {
    kernel: Kernel<Skip>,
}

/// The inputs and outputs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    /// The packed gradients, laid out as the parameters. Of several slabs only the first is used.
    pub(crate) gradients: &'a Matrix,
    /// The packed parameters.
    pub(crate) parameters: &'a Matrix,
    /// A part of the parameters: the first quad of the stop.
    pub(crate) stop: &'a Matrix,
    /// How many quads of faults follow the stop.
    pub(crate) faults: u32,
    /// All running statistics.
    pub(crate) running: &'a Matrix,
    /// `[vectors, 2]`, `u32`: the place of each running mean and variance in `running`, and its length,
    /// which may be 0, both in quads. Its values before the step follow it.
    pub(crate) vectors: &'a Matrix,
    /// As [`super::record_step`] takes them.
    pub(crate) counts: &'a Matrix,
}

uniform! {
    struct Skip {
        stop: u32,
        faults: u32,
        vectors: u32,
    }
}

impl SkipStep {
    /// Compiles the kernel for a device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/fused/skip_step.wgsl"),
            include_str!("../../shaders/shared/counts.wgsl"),
        );
        let constants = [("WORKGROUP_SIZE", WORKGROUP_SIZE.into())];
        Ok(Self { kernel: Kernel::new(device, "skip_step", source, &constants)? })
    }

    /// Binds the kernel to its matrices.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
    ) -> Result<Dispatch> {
        let Buffers { gradients, parameters, stop, faults, running, vectors, counts } = buffers;
        let name = "skip_step";
        stop.expect_padded(name, "the stop", [1, 4])?;
        gradients.expect_padded(name, "gradients", [gradients.rows(), parameters.columns()])?;
        counts.expect(name, "counts", [1, COUNTS])?;
        vectors.expect(name, "vectors", [vectors.rows(), 2])?;
        let stop = stop.first_quad() - parameters.first_quad();
        let skip = Skip { stop, faults, vectors: vectors.rows() };
        let matrices = [gradients, parameters, running, vectors, counts];
        self.kernel.bind(device, place, skip, &matrices, [1, 1, 1])
    }
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::{Array1, Array2, s};

    use super::*;
    use crate::gpu::testing::TestGpu;
    use crate::reference;

    /// Also in a training that has stopped, which skips no step.
    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        for has_stopped in [false, true] {
            compare(gpu, has_stopped);
        }
    }

    /// Eight learned values, then two layers, one of them with running statistics of `columns`; a note in
    /// each place, or in none.
    fn compare(gpu: &mut TestGpu, has_stopped: bool) {
        let kernel = SkipStep::new(&gpu.gpu.device).unwrap();
        let [stop, faults] = [8, 16];
        for columns in [1, 4, 37, 3000_u32] {
            for noted in [None, Some([stop, faults + 4]), Some([faults + 16, faults + 16])] {
                let row = Array2::zeros([1, 48]);
                let [parameters, gradients] = [(); 2].map(|()| gpu.upload(&row));
                let note = |matrix: &Matrix, place: u64| {
                    gpu.gpu.write(matrix.buffer(), place, &[1.0_f32; 4]).unwrap();
                };
                noted.iter().flatten().for_each(|&place| note(&gradients, place));
                if has_stopped {
                    note(&parameters, stop);
                }
                let given = [&gradients, &parameters].map(|matrix| gpu.read(matrix));
                let [mean, variance] = [(); 2].map(|()| gpu.random([2, columns]));
                let (running, parts) = gpu.upload_packed(&[&mean, &variance]);
                let quads = columns.div_ceil(4);
                let first = |part: &Matrix| part.first_quad() - running.first_quad();
                let vectors: Vec<u32> =
                    parts.iter().flat_map(|part| [first(part), quads]).collect();
                let counts = gpu.upload_integers(&[5, 9, 1, 2, 7, 0]);
                let buffers = Buffers {
                    gradients: &gradients,
                    parameters: &parameters,
                    stop: &Matrix::padded(parameters.buffer(), stop, 1, 4).unwrap(),
                    faults: 8,
                    running: &running,
                    vectors: &gpu.upload_integers(&vectors).reshape(2, 2).unwrap(),
                    counts: &counts,
                };
                gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

                let what = format!("{columns} columns, noted at {noted:?}, {has_stopped}");
                let is_skipped = noted.is_some() && !has_stopped;
                for (part, values) in parts.iter().zip([&mean, &variance]) {
                    let [moved, before]: [Array1<f64>; 2] =
                        [0, 1].map(|row| values.slice(s![row, ..]).to_owned());
                    let now = reference::skip_step(&before, &moved, is_skipped);
                    let expected = now.iter().chain(&before);
                    gpu.compare(&what, &gpu.read_inside(part), expected, 0.0, 0.0);
                }
                let expected = if is_skipped { [4, 9, 1, 3, 6, 8] } else { [5, 9, 1, 2, 7, 0] };
                assert_eq!(gpu.read(&counts), expected.map(f32::from_bits), "{what}");
                let [mut gradient_notes, mut parameter_notes] = given;
                if let Some([_, place]) = noted.filter(|_| is_skipped) {
                    gradient_notes.fill(0.0);
                    parameter_notes[place as usize..][..4].fill(1.0);
                }
                assert_eq!(gpu.read(&gradients), gradient_notes, "{what}: gradients");
                assert_eq!(gpu.read(&parameters), parameter_notes, "{what}: parameters");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;
    use crate::gpu::testing::TestGpu;

    #[test]
    fn takes_back_what_a_step_with_a_fault_has_moved_unless_the_training_has_stopped() {
        cases::matches_the_reference(&mut TestGpu::new());
    }
}

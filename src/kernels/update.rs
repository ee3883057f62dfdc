//! `shaders/update.wgsl`: one step of the optimizer, parameter by parameter.
//!
//! Its twins are in [`crate::reference`]: one function for each method.

use wgpu::Device;

use super::record_step::COUNTS;
use super::{QUAD, WORKGROUP_SIZE, quads};
use crate::error::Result;
use crate::gpu::{Dispatch, Kernel, Matrix, is_software, storage_buffer, workgroups};
use crate::options::{Method, Optimizer};

/// Enough to fill a large GPU. Where there is more to do, an invocation owns several quads, and reads
/// the step's rates once for all of them.
const MOST_WORKGROUPS: u32 = 1024;

/// Quads of an invocation on a software adapter, if there are enough: what it reads once takes longer
/// there than a quad does.
const SOFTWARE_QUADS: u32 = 8;

/// The kernel, compiled.
#[derive(Clone, Debug)]
pub struct Update {
    kernel: Kernel,
    method: Method,
    decays_all: bool,
}

/// What the kernel reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[1, 6]`, `u32`: of the [`Counts`](super::record_step::Counts) the steps that were taken, with this one,
    /// and the learning rate are read.
    pub counts: &'a Matrix,
    /// `[capacity, 4]`: what [`rates`] makes of each step; the row of a step is the count of those taken
    /// before it, modulo the capacity.
    pub rates: &'a Matrix,
    /// One value that all gradients are multiplied by, from [`super::gradient_norm`], or 1.
    pub clip_scale: &'a Matrix,
    /// One row, or several, whose sum they are.
    pub gradients: &'a Matrix,
    /// One row, weights first: a multiple of four values.
    pub parameters: &'a Matrix,
    /// How many of the parameters are weights, which decay even if not all do: a multiple of four.
    pub weights: u32,
    /// One row, zero before the first step; for methods that [have no velocity](Method::has_velocity)
    /// anything, which is left alone.
    pub velocity: &'a Matrix,
    /// One row, zero before the first step; for methods that
    /// [have no mean square](Method::has_mean_square) anything, which is left alone.
    pub mean_square: &'a Matrix,
}

/// What the kernel needs to know of a step, counted from 1, for a learning rate of 1: the share of it that
/// the schedule leaves, the same with Adam's correction of the mean, the correction of the root mean
/// square, and the share that a decoupled decay takes of what decays.
pub fn rates(optimizer: &Optimizer, step: u64) -> [f32; 4] {
    let rate = Optimizer { learning_rate: 1.0, ..*optimizer }.learning_rate_at(step);
    let Method::Adam { beta1, beta2, decoupled, .. } = optimizer.method else {
        return [rate as f32, 0.0, 0.0, 0.0];
    };
    let power = |base: f64| base.powf(step as f64);
    let corrected_rate = rate / (1.0 - power(beta1));
    let square_correction = (1.0 - power(beta2)).sqrt().recip();
    let decay = if decoupled { rate * optimizer.weight_decay } else { 0.0 };
    [rate, corrected_rate, square_correction, decay].map(|value| value as f32)
}

impl Update {
    /// Compiles the kernel for a device.
    ///
    /// # Errors
    ///
    /// What wgpu reports.
    pub fn new(device: &Device, optimizer: &Optimizer) -> Result<Self> {
        Self::on_fault(device, optimizer, false)
    }

    /// The same; after a step with a fault the training goes on if it `skips` such steps.
    pub(crate) fn on_fault(device: &Device, optimizer: &Optimizer, skips: bool) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/update.wgsl"),
            include_str!("../../shaders/shared/slab_sum.wgsl"),
            include_str!("../../shaders/shared/counts.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
        );
        let skips = ("SKIPS", f64::from(u8::from(skips)));
        let constants: Vec<_> = constants(optimizer).into_iter().chain([skips]).collect();
        let kernel = Kernel::new(device, "update", source, &constants)?;
        Ok(Self { kernel, method: optimizer.method, decays_all: optimizer.decays_all })
    }

    /// Binds the kernel to its matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Length`](crate::Error::Length) if the parameters, or the weights among them, are no
    /// multiple of four, and what wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        self.bind_up_to(device, place, buffers, buffers.parameters.columns(), [0; 2])
    }

    /// The same for packed parameters and gradients behind which is told whether learning has stopped
    /// (`shaders/shared/faults.wgsl`): as many are learned, and so many quads behind the stop are faults.
    pub(crate) fn bind_stopping(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
        learned: u32,
        faults: u32,
    ) -> Result<Dispatch> {
        let stop = quads("the place of the stop", learned)?;
        self.bind_up_to(device, place, buffers, learned, [stop, faults])
    }

    fn bind_up_to(
        &self,
        device: &Device,
        place: &str,
        buffers: Buffers<'_>,
        learned: u32,
        [stop, faults]: [u32; 2],
    ) -> Result<Dispatch> {
        let Buffers {
            counts,
            rates,
            clip_scale,
            gradients,
            parameters,
            weights,
            velocity,
            mean_square,
        } = buffers;
        let length = parameters.columns();
        counts.expect("update", "counts", [1, COUNTS])?;
        rates.expect("update", "rates", [rates.rows(), 4])?;
        clip_scale.expect("update", "clip_scale", [1, 1])?;
        parameters.expect("update", "parameters", [1, length])?;
        let slabs = gradients.rows();
        gradients.expect("update", "gradients", [slabs, length])?;
        let quads_of_all = quads("the row of parameters", learned)?;
        let quads_of_weights = quads("the weights' part of the parameters", weights)?;
        let decaying_quads = if self.decays_all { quads_of_all } else { quads_of_weights };
        let quads_of_one = if is_software(device) { SOFTWARE_QUADS } else { 1 };
        let quads_of_workgroup = WORKGROUP_SIZE * quads_of_one;
        let method = self.method;
        let velocity = state(device, method.has_velocity(), "velocity", velocity, length)?;
        let mean_square =
            state(device, method.has_mean_square(), "mean_square", mean_square, length)?;
        let steps = rates.rows();
        let uniform = [quads_of_all, decaying_quads, steps, stop, faults, slabs, length / QUAD];
        self.kernel.bind(
            device,
            place,
            bytemuck::cast_slice(&uniform),
            &[counts, rates, clip_scale, gradients, parameters, &velocity, &mean_square],
            [workgroups(quads_of_all.into(), quads_of_workgroup).min(MOST_WORKGROUPS), 1, 1],
        )
    }
}

/// A velocity or mean square. In the place of one that the method does not have, but that the shader
/// names all the same, a quad that nobody touches.
fn state(
    device: &Device,
    has: bool,
    what: &'static str,
    given: &Matrix,
    length: u32,
) -> Result<Matrix> {
    if has {
        given.expect("update", what, [1, length])?;
        return Ok(given.clone());
    }
    let buffer = storage_buffer(device, "update/unused state", QUAD.into())?;
    Matrix::vector(&buffer, 0, QUAD)
}

/// The overrides. What a method does not have is never read.
fn constants(optimizer: &Optimizer) -> [(&'static str, f64); 8] {
    let (number, momentum, smoothing, epsilon) = match optimizer.method {
        Method::GradientDescent => (0, 0.0, 0.0, 0.0),
        Method::Momentum { momentum, nesterov: false } => (1, momentum, 0.0, 0.0),
        Method::Momentum { momentum, nesterov: true } => (2, momentum, 0.0, 0.0),
        Method::RmsProp { smoothing, epsilon } => (3, 0.0, smoothing, epsilon),
        Method::Adam { beta1, beta2, epsilon, .. } => (4, beta1, beta2, epsilon),
    };
    let is_decoupled = matches!(optimizer.method, Method::Adam { decoupled: true, .. });
    let decay = if is_decoupled { 0.0 } else { optimizer.weight_decay };
    [
        ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
        ("METHOD", f64::from(number)),
        ("WEIGHT_DECAY", decay),
        ("MOMENTUM", momentum),
        ("MOMENTUM_REST", 1.0 - momentum),
        ("SMOOTHING", smoothing),
        ("SMOOTHING_REST", 1.0 - smoothing),
        ("EPSILON", epsilon),
    ]
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Zip};

    use super::*;
    use crate::gpu::testing::{TestGpu, assert_close};
    use crate::reference;

    const CLIP_SCALE: f64 = 0.75;

    fn optimizers() -> Vec<Optimizer> {
        let plain = [
            Optimizer::gradient_descent(0.1),
            Optimizer::momentum(0.1, 0.9),
            Optimizer::nesterov(0.1, 0.9),
            Optimizer::rmsprop(0.01),
            Optimizer::adam(0.01),
            Optimizer::adamw(0.01, 0.1),
        ];
        let decaying = plain.map(|optimizer| Optimizer { weight_decay: 0.01, ..optimizer });
        let decaying_all = decaying.map(|optimizer| Optimizer { decays_all: true, ..optimizer });
        plain.into_iter().chain(decaying).chain(decaying_all).collect()
    }

    /// One step of the twin, on the parameters and on the optimizer's state.
    fn step_on_cpu(
        optimizer: &Optimizer,
        step: u64,
        weights: usize,
        [parameters, velocity, mean_square]: [&mut Array1<f64>; 3],
        gradients: &Array1<f64>,
    ) {
        let rate = optimizer.learning_rate_at(step);
        let decay = optimizer.weight_decay;
        let decoupled = matches!(optimizer.method, Method::Adam { decoupled: true, .. });
        let mut index = 0;
        Zip::from(parameters).and(gradients).and(velocity).and(mean_square).for_each(
            |parameter, &gradient, velocity, square| {
                let decays = index < weights || optimizer.decays_all;
                let decay = if decays { decay } else { 0.0 };
                index += 1;
                let mut gradient = CLIP_SCALE * gradient;
                if decoupled {
                    *parameter -= rate * decay * *parameter;
                } else {
                    gradient += decay * *parameter;
                }
                match optimizer.method {
                    Method::GradientDescent => {
                        reference::gradient_descent(parameter, gradient, rate);
                    }
                    Method::Momentum { momentum, nesterov } => {
                        reference::momentum(
                            parameter, gradient, velocity, rate, momentum, nesterov,
                        );
                    }
                    Method::RmsProp { smoothing, epsilon } => {
                        reference::rmsprop(parameter, gradient, square, rate, smoothing, epsilon);
                    }
                    Method::Adam { beta1, beta2, epsilon, .. } => reference::adam(
                        parameter, gradient, velocity, square, rate, beta1, beta2, epsilon, step,
                    ),
                }
            },
        );
    }

    fn rate(optimizer: &Optimizer) -> u32 {
        (optimizer.learning_rate as f32).to_bits()
    }

    fn check(gpu: &mut TestGpu, optimizer: &Optimizer, [slabs, length]: [u32; 2]) {
        const STEPS: u32 = 4;
        let weights = length / 8 * 4;
        let kernel = Update::new(&gpu.gpu.device, optimizer).unwrap();
        let mut parameters = gpu.random_vector(length);
        let [mut velocity, mut mean_square] = [(); 2].map(|()| Array1::zeros(length as usize));
        let on_gpu = gpu.upload_vector(&parameters);
        let state = |has: bool| gpu.zeros([1, if has { length } else { 1 }]);
        let state =
            [state(optimizer.method.has_velocity()), state(optimizer.method.has_mean_square())];
        let table = (1..=STEPS).flat_map(|step| rates(optimizer, step.into()).map(f64::from));
        let table = Array2::from_shape_vec([STEPS as usize, 4], table.collect()).unwrap();
        let [table, clip_scale] = [gpu.upload(&table), gpu.upload(&ndarray::array![[CLIP_SCALE]])];
        for step in 1..=STEPS {
            let of_slabs = gpu.random([slabs, length]);
            let gradients = of_slabs.sum_axis(ndarray::Axis(0));
            let buffers = Buffers {
                counts: &gpu.upload_integers(&[step, 0, rate(optimizer), 0, 0, 0]),
                rates: &table,
                clip_scale: &clip_scale,
                gradients: &gpu.upload(&of_slabs),
                parameters: &on_gpu,
                weights,
                velocity: &state[0],
                mean_square: &state[1],
            };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            let on_cpu = [&mut parameters, &mut velocity, &mut mean_square];
            step_on_cpu(optimizer, step.into(), weights as usize, on_cpu, &gradients);
        }
        let what = format!("{optimizer:?}, {slabs} × {length} gradients");
        // A handful of roundings of each step's change, and one of the parameter for each step.
        assert_close(&what, &gpu.read(&on_gpu), &parameters, 1e-6, 0.0);
        if optimizer.method.has_mean_square() {
            // Where slabs cancel each other, the roundings of their sum stay.
            let bound = 1e-12 + 1e-10 * f64::from(slabs - 1);
            assert_close(&what, &gpu.read(&state[1]), &mean_square, bound, 1e-6);
        }
    }

    #[test]
    fn matches_the_reference() {
        let mut gpu = TestGpu::new();
        for optimizer in optimizers() {
            for shape in [[1, 4], [1, 8], [1, 252], [2, 256], [1, 260], [16, 1028]] {
                check(&mut gpu, &optimizer, shape);
            }
        }
    }

    /// So many parameters of two layers, and the stop behind them.
    fn stopping(
        gpu: &TestGpu,
        optimizer: &Optimizer,
        learned: u32,
    ) -> ([Matrix; 3], impl Fn(u32) + use<>) {
        let kernel = Update::new(&gpu.gpu.device, optimizer).unwrap();
        let length = learned + 40;
        let ones = (0..length).map(|index| f64::from(index < learned));
        let row = || gpu.upload_vector(&ones.clone().collect());
        let [parameters, gradients, velocity] = [row(), row(), gpu.zeros([1, length])];
        let (gpu, optimizer) = (gpu.gpu.clone(), *optimizer);
        let matrices = [parameters, gradients, velocity];
        let [parameters, gradients, velocity] = matrices.clone();
        let run = move |step: u32| {
            let gpu = TestGpu::on(gpu.clone());
            let table = rates(&optimizer, step.into()).map(f64::from);
            let buffers = Buffers {
                counts: &gpu.upload_integers(&[step, 0, rate(&optimizer), 0, 0, 0]),
                rates: &gpu.upload_vector(&Array1::from_iter(table)),
                clip_scale: &gpu.upload(&ndarray::array![[1.0]]),
                gradients: &gradients,
                parameters: &parameters,
                weights: 8,
                velocity: &velocity,
                mean_square: &velocity,
            };
            let bound = kernel.bind_stopping(&gpu.gpu.device, "test", buffers, learned, 8).unwrap();
            gpu.run(&[&bound]);
        };
        (matrices, run)
    }

    /// A fault of a layer stops the learning for good: in that step, and in those after it, which have
    /// none. That of the loss is noted alone.
    #[test]
    fn stops_where_a_layer_has_a_fault() {
        let gpu = TestGpu::new();
        let step = 5 * 65_536 + 17;
        // Values of the first layer's first fault, of the last one's second and last, and of the loss.
        for (noted, place) in [(16, 24), (16, 44), (16, 52), (40, 40)] {
            let ([parameters, gradients, velocity], run) =
                stopping(&gpu, &Optimizer::momentum(0.5, 0.5), 16);
            run(step - 1);
            let learned = [gpu.read(&parameters)[..16].to_vec(), gpu.read(&velocity)];
            assert_eq!(learned[0], [0.5; 16], "the step before");
            let write = |value: f32| {
                for place in [noted, place] {
                    gpu.gpu.write(gradients.buffer(), place, &[value]).unwrap();
                }
            };
            write(1.0);
            run(step);
            write(0.0);
            run(step + 1);
            let found = gpu.read(&parameters);
            assert_eq!([found[..16].to_vec(), gpu.read(&velocity)], learned, "value {place}");
            let mut expected = [0.0; 40];
            expected[..3].copy_from_slice(&[1.0, 5.0, 17.0]);
            expected[place as usize - 16] = 1.0;
            assert_eq!(found[16..], expected, "value {place}");
        }
    }

    /// What the update would make infinite stays, and all others move, also those that another workgroup
    /// comes to later; the next step moves nothing.
    #[test]
    fn stops_behind_an_update_that_overflows() {
        let gpu = TestGpu::new();
        let step = 3 * 65_536;
        for decays in [false, true] {
            // Of the weights, which are the first eight, either way overflows.
            let weight_decay = if decays { 1e38 } else { 0.0 };
            let optimizer = Optimizer { weight_decay, ..Optimizer::gradient_descent(1e30) };
            let (matrices, run) = stopping(&gpu, &optimizer, 8192);
            let [parameters, gradients, _] = &matrices;
            let values: Vec<f32> = (0..8192).map(|i| if i < 8 { 1e12 } else { 1e-30 }).collect();
            gpu.gpu.write(gradients.buffer(), 0, &values).unwrap();
            run(step);
            run(step + 1);
            let found = gpu.read(parameters);
            let (learned, stop) = found.split_at(8192);
            assert_eq!(learned[..8], [1.0; 8], "{weight_decay}");
            let moved = learned[8..].iter().filter(|parameter| parameter.abs() < 1e-6).count();
            assert_eq!(moved, 8184, "{weight_decay}");
            assert_eq!(stop[..8], [1.0, 3.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], "{weight_decay}");
            assert_eq!(stop[8..], [0.0; 32], "{weight_decay}");
        }
    }

    #[test]
    fn walks_more_parameters_than_invocations() {
        let length = QUAD * (SOFTWARE_QUADS * WORKGROUP_SIZE * MOST_WORKGROUPS + 9);
        check(&mut TestGpu::new(), &Optimizer::adam(0.01), [1, length]);
    }

    /// Whole quads, and a state for every parameter where the method has it.
    #[test]
    fn refuses_what_does_not_fit() {
        let gpu = TestGpu::new();
        let device = &gpu.gpu.device;
        let [counts, one, rates] = [[1, COUNTS], [1, 1], [1, 4]].map(|shape| gpu.zeros(shape));
        let message = |optimizer: &Optimizer, length, weights, state| {
            let [gradients, parameters, velocity, mean_square] =
                [length, length, state, state].map(|length| gpu.zeros([1, length]));
            let buffers = Buffers {
                counts: &counts,
                rates: &rates,
                clip_scale: &one,
                gradients: &gradients,
                parameters: &parameters,
                weights,
                velocity: &velocity,
                mean_square: &mean_square,
            };
            let bound = Update::new(device, optimizer).unwrap().bind(device, "test", buffers);
            bound.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let adam = Optimizer::adam(0.01);
        let found = message(&adam, 1031, 4, 1031);
        assert!(found.contains("parameters holds 1031 values, but 1032 are needed"), "{found}");
        let found = message(&adam, 1032, 6, 1032);
        assert!(found.contains("parameters holds 6 values, but 8 are needed"), "{found}");
        let found = message(&adam, 1032, 4, 1028);
        assert!(found.contains("velocity is 1 × 1028, but 1 × 1032 is needed"), "{found}");
        let found = message(&Optimizer::rmsprop(0.01), 1032, 4, 1);
        assert!(found.contains("mean_square is 1 × 1, but 1 × 1032 is needed"), "{found}");
        assert_eq!(message(&Optimizer::gradient_descent(0.1), 1032, 4, 1), "");
    }
}

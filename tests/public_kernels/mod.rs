//! The public kernels as functions of matrices on the CPU, as an app with its own buffers would write
//! them.

mod batch_norm;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use ndarray::{Array1, Array2, Axis};
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device, Queue};
use ztilde::kernels::{
    Dispatch, Matrix, activate, activate_backward, add_biases, column_sums, loss, matmul,
};
use ztilde::{Activation, Result};

#[allow(unused_imports, reason = "not every test that includes this file needs all of it")]
pub(crate) use batch_norm::{Arrangement, Measured, NormalizeGradients};

use crate::read_buffer::read_buffer;
use crate::test_device;

/// A device, and the kernels that were compiled for it.
pub(crate) struct Gpu {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    /// Keeps the compiled kernels for the next test that uses them.
    compiled: Mutex<HashMap<String, Box<dyn Any + Send>>>,
}

/// A matrix with its own buffer.
pub(crate) struct OnGpu {
    pub(crate) buffer: Buffer,
    pub(crate) matrix: Matrix,
}

impl Gpu {
    /// A device with WebGPU's default limits and no features.
    pub(crate) fn get() -> &'static Self {
        static GPU: OnceLock<Gpu> = OnceLock::new();
        GPU.get_or_init(|| Self::of(test_device::device()))
    }

    /// A device that also has subgroups, if the adapter has them.
    pub(crate) fn with_subgroups() -> &'static Self {
        static GPU: OnceLock<Gpu> = OnceLock::new();
        GPU.get_or_init(|| Self::of(test_device::device_with_subgroups()))
    }

    fn of((device, queue): (Device, Queue)) -> Self {
        Self { device, queue, compiled: Mutex::default() }
    }

    /// The kernel with these options, compiled if necessary.
    fn kernel<K: Clone + Send + 'static>(
        &self,
        name: &str,
        options: &impl std::fmt::Debug,
        compile: impl FnOnce(&Device) -> Result<K>,
    ) -> K {
        let mut compiled = self.compiled.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let kernel = compiled
            .entry(format!("{name} {options:?}"))
            .or_insert_with(|| Box::new(compile(&self.device).expect("the kernel compiles")));
        kernel.downcast_ref::<K>().expect("a name stands for one kernel").clone()
    }

    fn buffer(&self, values: &[u8]) -> Buffer {
        self.device.create_buffer_init(&BufferInitDescriptor {
            label: None,
            contents: values,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        })
    }

    /// The values, rounded to floats, on the GPU.
    pub(crate) fn upload(&self, values: &Array2<f64>) -> OnGpu {
        let floats: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let buffer = self.buffer(bytemuck::cast_slice(&floats));
        let [rows, columns] = [values.nrows() as u32, values.ncols() as u32];
        OnGpu { matrix: Matrix::new(&buffer, 0, rows, columns).expect("it has values"), buffer }
    }

    pub(crate) fn upload_vector(&self, values: &Array1<f64>) -> OnGpu {
        self.upload(&values.clone().insert_axis(Axis(0)))
    }

    pub(crate) fn upload_integers(&self, values: &[u32]) -> OnGpu {
        let buffer = self.buffer(bytemuck::cast_slice(values));
        let matrix = Matrix::vector(&buffer, 0, values.len() as u32).expect("it has values");
        OnGpu { matrix, buffer }
    }

    pub(crate) fn zeros(&self, [rows, columns]: [u32; 2]) -> OnGpu {
        let buffer = self.device.create_buffer(&BufferDescriptor {
            label: None,
            size: 4 * u64::from(rows) * u64::from(columns),
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        OnGpu { matrix: Matrix::new(&buffer, 0, rows, columns).expect("it has values"), buffer }
    }

    pub(crate) fn run(&self, dispatches: &[&Dispatch]) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in dispatches {
            dispatch.encode(&mut pass);
        }
        drop(pass);
        self.queue.submit([encoder.finish()]);
    }

    pub(crate) fn read(&self, found: &OnGpu) -> Array2<f64> {
        let values = read_buffer(&self.device, &self.queue, &found.buffer);
        let shape = [found.matrix.rows() as usize, found.matrix.columns() as usize];
        Array2::from_shape_vec(shape, values).expect("dense rows").mapv(f64::from)
    }

    pub(crate) fn read_vector(&self, found: &OnGpu) -> Array1<f64> {
        self.read(found).row(0).to_owned()
    }

    pub(crate) fn activate(&self, inputs: &Array2<f64>, activation: Activation) -> Array2<f64> {
        let kernel = self
            .kernel("activate", &activation, |device| activate::Activate::new(device, activation));
        let outputs = self.zeros(shape(inputs));
        let buffers =
            activate::Buffers { inputs: &self.upload(inputs).matrix, outputs: &outputs.matrix };
        self.run(&[&kernel.bind(&self.device, "test", buffers).expect("the shapes fit")]);
        self.read(&outputs)
    }

    pub(crate) fn activate_backward(
        &self,
        inputs: &Array2<f64>,
        grad_outputs: &Array2<f64>,
        activation: Activation,
    ) -> Array2<f64> {
        let kernel = self.kernel("activate_backward", &activation, |device| {
            activate_backward::ActivateBackward::new(device, activation)
        });
        let grad_inputs = self.zeros(shape(inputs));
        let buffers = activate_backward::Buffers {
            inputs: &self.upload(inputs).matrix,
            grad_outputs: &self.upload(grad_outputs).matrix,
            grad_inputs: &grad_inputs.matrix,
        };
        self.run(&[&kernel.bind(&self.device, "test", buffers).expect("the shapes fit")]);
        self.read(&grad_inputs)
    }

    pub(crate) fn add_biases(&self, sums: &Array2<f64>, biases: &Array1<f64>) -> Array2<f64> {
        let kernel = self.kernel("add_biases", &(), add_biases::AddBiases::new);
        let on_gpu = self.upload(sums);
        let biases = self.upload_vector(biases);
        let buffers = add_biases::Buffers { biases: &biases.matrix, sums: &on_gpu.matrix };
        self.run(&[&kernel.bind(&self.device, "test", buffers).expect("the shapes fit")]);
        self.read(&on_gpu)
    }

    pub(crate) fn column_sums(&self, inputs: &Array2<f64>) -> Result<Array1<f64>> {
        let kernel = self.kernel("column_sums", &(), column_sums::ColumnSums::new);
        let sums = self.zeros([1, inputs.ncols() as u32]);
        let buffers =
            column_sums::Buffers { inputs: &self.upload(inputs).matrix, sums: &sums.matrix };
        self.run(&[&kernel.bind(&self.device, "test", buffers)?]);
        Ok(self.read_vector(&sums))
    }

    /// `left · right`, each stored transposed in memory if `transposed` is set.
    pub(crate) fn matmul(
        &self,
        [left, right]: [&Array2<f64>; 2],
        transposed: [bool; 2],
    ) -> Result<Array2<f64>> {
        let kernel = self.kernel("matmul", &(), matmul::Matmul::new);
        let outputs = self.zeros([left.nrows() as u32, right.ncols() as u32]);
        let lay = |factor: &Array2<f64>, transposed: bool| match transposed {
            false => self.upload(factor),
            true => self.upload(&factor.t().to_owned()),
        };
        let factors = [lay(left, transposed[0]), lay(right, transposed[1])];
        let operand = |index: usize| match transposed[index] {
            false => matmul::Operand::Plain(&factors[index].matrix),
            true => matmul::Operand::Transposed(&factors[index].matrix),
        };
        let buffers =
            matmul::Buffers { left: operand(0), right: operand(1), outputs: &outputs.matrix };
        self.run(&[&kernel.bind(&self.device, "test", buffers)?]);
        Ok(self.read(&outputs))
    }

    /// Each row's loss and accuracy, and the gradient by the outputs. Targets are the bits of floats, or
    /// class indices. With class weights, the weights follow the class indices.
    pub(crate) fn loss(
        &self,
        options: loss::Options,
        outputs: &Array2<f64>,
        targets: &[u32],
    ) -> Result<[Array2<f64>; 2]> {
        let kernel = self.kernel("loss", &options, |device| loss::Loss::new(device, options));
        let [rows, columns] = shape(outputs);
        let targets = self.upload_integers(targets);
        let target_matrix = match options.loss.has_class_targets() {
            true => targets.matrix,
            false => Matrix::new(&targets.buffer, 0, rows, columns).expect("one target per output"),
        };
        let [results, grad_outputs] = [self.zeros([rows, 2]), self.zeros([rows, columns])];
        let buffers = loss::Buffers {
            outputs: &self.upload(outputs).matrix,
            targets: &target_matrix,
            results: &results.matrix,
            grad_outputs: &grad_outputs.matrix,
        };
        self.run(&[&kernel.bind(&self.device, "test", buffers)?]);
        Ok([self.read(&results), self.read(&grad_outputs)])
    }
}

fn shape(matrix: &Array2<f64>) -> [u32; 2] {
    [matrix.nrows() as u32, matrix.ncols() as u32]
}

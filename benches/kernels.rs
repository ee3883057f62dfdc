//! Each kernel alone, at the largest layer of each of the six named networks: the matrix product in
//! GFLOP/s, the others in GB/s.
//!
//! ```text
//! cargo bench --bench kernels                       all of them
//! cargo bench --bench kernels -- matmul             those whose name has this in it
//! cargo bench --bench kernels -- 'normalize/(tall|wide)'
//! ```
//!
//! Criterion's "Gelem/s" of the product are GFLOP/s: its elements are the 2·rows·columns·inner
//! multiplications and additions. Bytes are the values that a kernel has to read and write, each counted
//! once, even if a kernel reads its inputs twice.
//!
//! Dispatches are recorded beforehand, submitted together and waited for once. They use the same memory
//! repeatedly, as training does, so data that fits a cache is read from it.

#[path = "../src/gpu/test_device.rs"]
mod test_device;
mod workloads;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wgpu::util::DeviceExt;
use wgpu::{BufferUsages, Device, PollType, Queue};
use workloads::{WORKLOADS, Workload};
use ztilde::kernels::{
    Dispatch, Matrix, activate, activate_backward, add_biases, batch_statistics, column_sums, loss,
    matmul, normalize, normalize_backward, normalize_gradients,
};
use ztilde::{KernelCache, Result};

/// Dispatches per submission: enough to make the cost of submitting negligible.
const DISPATCHES: u64 = 1024;

const EPSILON: f32 = 1e-5;

/// A function that binds a kernel to its own memory.
type Bind = fn(&mut Memory, &Workload) -> Result<Vec<Dispatch>>;

/// The kernels that are limited by memory bandwidth.
const KERNELS: [(&str, Bind); 9] = [
    ("activate", activate),
    ("activate_backward", activate_backward),
    ("add_biases", add_biases),
    ("batch_statistics", batch_statistics),
    ("column_sums", column_sums),
    ("loss", loss),
    ("normalize", normalize),
    ("normalize_backward", normalize_backward),
    ("normalize_gradients", normalize_gradients),
];

fn main() {
    workloads::run(|criterion| {
        let (device, queue) = test_device::device_with_subgroups();
        for workload in &WORKLOADS {
            let rows = workload.batch_size;
            let [inputs, outputs] = largest_layer(workload);
            let mut bench = |product: &str, factors: [Factor; 2]| {
                let id = BenchmarkId::new(product, workload.name);
                bench_product(criterion, &device, &queue, id, factors);
            };
            bench("outputs", [Factor::plain(rows, inputs), Factor::transposed(outputs, inputs)]);
            bench("grad_inputs", [Factor::plain(rows, outputs), Factor::plain(outputs, inputs)]);
            bench("grad_weights", [Factor::transposed(rows, outputs), Factor::plain(rows, inputs)]);
        }
        let square = [Factor::plain(512, 512), Factor::plain(512, 512)];
        bench_product(criterion, &device, &queue, BenchmarkId::new("square", 512), square);

        for (kernel, bind) in KERNELS {
            for workload in &WORKLOADS {
                let mut memory = Memory::new(&device);
                let dispatches = bind(&mut memory, workload).expect("the shapes fit each other");
                let mut group = criterion.benchmark_group(kernel);
                group.throughput(Throughput::BytesDecimal(memory.bytes));
                group.bench_function(BenchmarkId::from_parameter(workload.name), |bencher| {
                    bencher.iter_custom(|times| time(&device, &queue, &dispatches, times));
                });
            }
        }
    });
}

/// The time to run `dispatches` this many times, without the time to record them.
fn time(device: &Device, queue: &Queue, dispatches: &[Dispatch], times: u64) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        let count = left.min(DISPATCHES);
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in 0..count {
            dispatches.iter().for_each(|dispatch| dispatch.encode(&mut pass));
        }
        drop(pass);
        let commands = encoder.finish();
        let start = Instant::now();
        queue.submit([commands]);
        device.poll(PollType::wait_indefinitely()).expect("the device answers");
        total += start.elapsed();
        left -= count;
    }
    total
}

/// A factor of a product: its shape in memory, and whether it is read transposed.
#[derive(Clone, Copy)]
struct Factor {
    shape: [u32; 2],
    is_transposed: bool,
}

impl Factor {
    fn plain(rows: u32, columns: u32) -> Self {
        Self { shape: [rows, columns], is_transposed: false }
    }

    fn transposed(rows: u32, columns: u32) -> Self {
        Self { shape: [rows, columns], is_transposed: true }
    }

    /// Rows and columns, as the product sees them.
    fn product_shape(self) -> [u32; 2] {
        let [rows, columns] = self.shape;
        if self.is_transposed { [columns, rows] } else { [rows, columns] }
    }

    fn operand(self, matrix: &Matrix) -> matmul::Operand<'_> {
        if self.is_transposed {
            matmul::Operand::Transposed(matrix)
        } else {
            matmul::Operand::Plain(matrix)
        }
    }
}

fn bench_product(
    criterion: &mut Criterion,
    device: &Device,
    queue: &Queue,
    id: BenchmarkId,
    factors: [Factor; 2],
) {
    let mut memory = Memory::new(device);
    let [left, right] = factors.map(|factor| memory.read(factor.shape));
    let [[rows, inner], [_, columns]] = factors.map(Factor::product_shape);
    let buffers = matmul::Buffers {
        left: factors[0].operand(&left),
        right: factors[1].operand(&right),
        outputs: &memory.written([rows, columns]),
    };
    let dispatch = matmul::Matmul::new(device)
        .and_then(|kernel| kernel.bind(device, "bench", buffers))
        .expect("the shapes fit each other");
    let operations = 2 * u64::from(rows) * u64::from(columns) * u64::from(inner);
    let mut group = criterion.benchmark_group("matmul");
    group.throughput(Throughput::Elements(operations));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|times| time(device, queue, std::slice::from_ref(&dispatch), times));
    });
}

/// Makes matrices, and counts the bytes that a kernel moves.
struct Memory {
    device: Device,
    generator: ChaCha8Rng,
    bytes: u64,
}

impl Memory {
    fn new(device: &Device) -> Self {
        Self { device: device.clone(), generator: ChaCha8Rng::seed_from_u64(7), bytes: 0 }
    }

    /// Values between −1 and 1, which a kernel reads.
    fn read(&mut self, shape: [u32; 2]) -> Matrix {
        self.random(shape, -1.0)
    }

    /// The same, with values between 1 and 3.
    fn read_variance(&mut self, columns: u32) -> Matrix {
        self.random([1, columns], 1.0)
    }

    fn random(&mut self, [rows, columns]: [u32; 2], least: f32) -> Matrix {
        let values: Vec<f32> =
            (0..rows * columns).map(|_| least + 2.0 * self.generator.random::<f32>()).collect();
        self.read_values([rows, columns], &values)
    }

    fn read_values<T: bytemuck::NoUninit>(&mut self, shape: [u32; 2], values: &[T]) -> Matrix {
        self.matrix(shape, values, 1)
    }

    fn written(&mut self, [rows, columns]: [u32; 2]) -> Matrix {
        self.matrix([rows, columns], &vec![0_u32; (rows * columns) as usize], 1)
    }

    /// Values that are both read and written.
    fn changed(&mut self, [rows, columns]: [u32; 2]) -> Matrix {
        self.matrix([rows, columns], &vec![0_u32; (rows * columns) as usize], 2)
    }

    fn matrix<T: bytemuck::NoUninit>(
        &mut self,
        [rows, columns]: [u32; 2],
        values: &[T],
        times_moved: u64,
    ) -> Matrix {
        let buffer = self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents: bytemuck::cast_slice(values),
            usage: BufferUsages::STORAGE,
        });
        self.bytes += times_moved * buffer.size();
        Matrix::new(&buffer, 0, rows, columns).expect("the buffer holds all values")
    }
}

/// Inputs and outputs of the layer with the most weights.
fn largest_layer(workload: &Workload) -> [u32; 2] {
    let layers = workload.layer_sizes.array_windows::<2>().copied();
    layers.max_by_key(|[inputs, outputs]| inputs * outputs).expect("a network has a layer")
}

/// Rows and columns of the largest layer's outputs.
fn hidden(workload: &Workload) -> [u32; 2] {
    [workload.batch_size, largest_layer(workload)[1]]
}

fn activate(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let shape = hidden(workload);
    let kernel = activate::Activate::new(&memory.device, workload.activation)?;
    let buffers =
        activate::Buffers { inputs: &memory.read(shape), outputs: &memory.written(shape) };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn activate_backward(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let shape = hidden(workload);
    let kernel = activate_backward::ActivateBackward::new(&memory.device, workload.activation)?;
    let buffers = activate_backward::Buffers {
        inputs: &memory.read(shape),
        grad_outputs: &memory.read(shape),
        grad_inputs: &memory.written(shape),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn add_biases(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = add_biases::AddBiases::new(&memory.device)?;
    let buffers = add_biases::Buffers {
        biases: &memory.read([1, columns]),
        sums: &memory.changed([rows, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn batch_statistics(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = batch_statistics::BatchStatistics::new(&memory.device, 0.1)?;
    let buffers = batch_statistics::Buffers {
        inputs: &memory.read([rows, columns]),
        mean: &memory.written([2, columns]),
        variance: &memory.written([1, columns]),
        running_mean: &memory.changed([1, columns]),
        running_var: &memory.changed([1, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn column_sums(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = column_sums::ColumnSums::new(&memory.device)?;
    let buffers = column_sums::Buffers {
        inputs: &memory.read([rows, columns]),
        sums: &memory.written([1, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn loss(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = [workload.batch_size, workload.outputs()];
    let kernel = loss::Loss::new(&memory.device, workload.loss)?;
    let targets = if workload.loss.has_class_targets() {
        let classes: Vec<u32> = (0..rows).map(|row| row % columns).collect();
        memory.read_values([1, rows], &classes)
    } else {
        memory.read([rows, columns])
    };
    let buffers = loss::Buffers {
        outputs: &memory.read([rows, columns]),
        targets: &targets,
        results: &memory.written([rows, 2]),
        grad_outputs: &memory.written([rows, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn normalize(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = normalize::Normalize::new(&memory.device, EPSILON)?;
    let buffers = normalize::Buffers {
        inputs: &memory.read([rows, columns]),
        mean: &memory.read([2, columns]),
        variance: &memory.read_variance(columns),
        gamma: &memory.read([1, columns]),
        beta: &memory.read([1, columns]),
        outputs: &memory.written([rows, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn normalize_backward(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = normalize_backward::NormalizeBackward::new(&memory.device, EPSILON)?;
    let buffers = normalize_backward::Buffers {
        inputs: &memory.read([rows, columns]),
        mean: &memory.read([2, columns]),
        variance: &memory.read_variance(columns),
        gamma: &memory.read([1, columns]),
        grad_gamma: &memory.read([1, columns]),
        grad_mean: &memory.read([2, columns]),
        grad_outputs: &memory.read([rows, columns]),
        grad_inputs: &memory.written([rows, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

fn normalize_gradients(memory: &mut Memory, workload: &Workload) -> Result<Vec<Dispatch>> {
    let [rows, columns] = hidden(workload);
    let kernel = normalize_gradients::NormalizeGradients::new(&memory.device, EPSILON)?;
    let buffers = normalize_gradients::Buffers {
        inputs: &memory.read([rows, columns]),
        mean: &memory.read([2, columns]),
        variance: &memory.read_variance(columns),
        grad_outputs: &memory.read([rows, columns]),
        grad_gamma: &memory.written([1, columns]),
        grad_beta: &memory.written([1, columns]),
        grad_mean: &memory.written([2, columns]),
    };
    Ok(vec![kernel.bind(&memory.device, "bench", buffers)?])
}

//! A step allocates no CPU memory except what wgpu needs to record the same dispatches. The baseline is
//! a bare program that records the same number of its own dispatches.

use allocation_counter::AllocationInfo;
use ndarray::Array2;
use wgpu::{
    BindGroup, Buffer, CommandEncoder, CommandEncoderDescriptor, ComputePass,
    ComputePassDescriptor, ComputePipeline, Device, ErrorFilter, Limits, Queue,
};
use ztilde::kernels::{Dispatch, Matrix, normalize};
use ztilde::{Dataset, Inference, Network, NetworkOptions, Trainer, TrainerOptions};

use crate::fixtures::buffers::upload;
use crate::fixtures::devices::own_device;
use crate::fixtures::journal;

const BATCH_SIZE: u32 = 20;

/// The number of steps whose numbers and rates are written at once.
const RATES_BLOCK: usize = 1024;
static RATES: [[f32; 4]; RATES_BLOCK] = [[0.0; 4]; RATES_BLOCK];
static NUMBERS: [[u32; 2]; RATES_BLOCK] = [[0; 2]; RATES_BLOCK];

/// wgpu makes a few allocations more or fewer, depending on the buffer that is written.
const MORE_OR_FEWER: u64 = 4;

/// A device for one test. wgpu's log is on from its beginning, because other tests turn it on.
fn device() -> (Device, Queue) {
    journal::install();
    own_device(Limits::default())
}

fn trainer(device: &Device, queue: &Queue, inputs: u32) -> Trainer {
    let options =
        TrainerOptions { batch_size: BATCH_SIZE, clip_norm: Some(1.0), ..Default::default() };
    let sizes = [inputs, 12, 8, 4];
    let network = Network::new(device, queue, &sizes, NetworkOptions::default()).unwrap();
    Trainer::new(network, options).unwrap()
}

/// The dispatches of a step of such a trainer.
fn dispatches(device: &Device, queue: &Queue, inputs: u32) -> Vec<Dispatch> {
    trainer(device, queue, inputs).into_dispatches()
}

/// The number of allocations, and their bytes.
fn measure(call: impl FnOnce()) -> [u64; 2] {
    let AllocationInfo { count_total, bytes_total, .. } = allocation_counter::measure(call);
    [count_total, bytes_total]
}

/// The code of an app with its own pipelines and buffers for the same number of dispatches.
struct Bare {
    device: Device,
    queue: Queue,
    dispatches: Vec<(ComputePipeline, BindGroup)>,
    inputs: Buffer,
    classes: Buffer,
    rates: Buffer,
    numbers: Buffer,
    counts: Buffer,
}

impl Bare {
    fn new(device: &Device, queue: &Queue, inputs: u32, dispatches: usize) -> Self {
        let text = "@group(0) @binding(0) var<storage, read_write> values: array<f32>;
            @compute @workgroup_size(1) fn main() { values[0] = 1.0; }";
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let shader = wgpu::ShaderModuleDescriptor { label: None, source };
        let module = device.create_shader_module(shader);
        let bind = |_| {
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: None,
                compilation_options: Default::default(),
                cache: None,
            });
            let buffer = upload(device, &[0.0_f32]);
            let resource = buffer.as_entire_binding();
            let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
            });
            (pipeline, bindings)
        };
        Self {
            device: device.clone(),
            queue: queue.clone(),
            dispatches: (0..dispatches).map(bind).collect(),
            inputs: upload(device, &vec![0.0_f32; (BATCH_SIZE * inputs) as usize]),
            classes: upload(device, &[0_u32; BATCH_SIZE as usize]),
            rates: upload(device, &RATES),
            numbers: upload(device, &NUMBERS),
            counts: upload(device, &[0_u32; 6]),
        }
    }

    fn encode(&self, encoder: &mut CommandEncoder, label: &str) {
        let mut pass = begin_pass(encoder, label);
        for (pipeline, bindings) in &self.dispatches {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bindings, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }

    fn encode_step(&self, encoder: &mut CommandEncoder, inputs: &Buffer, classes: &Buffer) {
        for (source, target) in [(inputs, &self.inputs), (classes, &self.classes)] {
            encoder.copy_buffer_to_buffer(source, 0, target, 0, target.size());
        }
        self.encode_training(encoder);
    }

    fn encode_training(&self, encoder: &mut CommandEncoder) {
        self.encode_number(encoder);
        self.encode(encoder, "ztilde/training");
    }

    /// Each encoder copies the number and the learning rate of its first step to the GPU's counts.
    fn encode_number(&self, encoder: &mut CommandEncoder) {
        encoder.copy_buffer_to_buffer(&self.numbers, 0, &self.counts, 4, 8);
    }

    /// A caller that wants to know whether a call succeeds uses error scopes.
    fn guarded(&self, call: impl FnOnce()) {
        let scopes = [ErrorFilter::Internal, ErrorFilter::OutOfMemory, ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        call();
        for scope in scopes.into_iter().rev() {
            assert!(pollster::block_on(scope.pop()).is_none());
        }
    }

    fn write<T: bytemuck::NoUninit>(&self, buffer: &Buffer, values: &[T]) {
        self.guarded(|| self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(values)));
    }

    fn submit(&self, label: &str, record: impl FnOnce(&mut CommandEncoder)) {
        self.guarded(|| {
            let mut encoder = encoder(&self.device, label);
            record(&mut encoder);
            self.queue.submit([encoder.finish()]);
        });
    }
}

fn encoder(device: &Device, label: &str) -> CommandEncoder {
    device.create_command_encoder(&CommandEncoderDescriptor { label: Some(label) })
}

fn begin_pass<'a>(encoder: &'a mut CommandEncoder, label: &str) -> ComputePass<'a> {
    let label = Some(label);
    encoder.begin_compute_pass(&ComputePassDescriptor { label, timestamp_writes: None })
}

/// Inputs that are whole vectors of four, and other inputs, which are copied once more. Now and then the
/// rates of a block of steps are written ahead.
#[test]
fn an_encoded_step_takes_what_wgpu_takes() {
    for inputs in [8, 6] {
        let (device, queue) = device();
        let mut trainer = trainer(&device, &queue, inputs);
        let arrival = usize::from(inputs % 4 != 0);
        let bare =
            Bare::new(&device, &queue, inputs, dispatches(&device, &queue, inputs).len() + arrival);
        let input_buffer = upload(&device, &vec![0.5_f32; (BATCH_SIZE * inputs) as usize]);
        let class_buffer = upload(&device, &[0_u32; BATCH_SIZE as usize]);
        // Until the next submission wgpu keeps the written values.
        let forget_writes = || {
            queue.submit([]);
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        };
        for step in 0..RATES_BLOCK + 5 {
            let [mut own, mut other] = [(); 2].map(|()| encoder(&device, "the app's"));
            let writes_rates = step % RATES_BLOCK == 0;
            if writes_rates {
                forget_writes();
            }
            let expected = measure(|| {
                if writes_rates {
                    bare.write(&bare.numbers, &NUMBERS);
                    bare.write(&bare.rates, &RATES);
                }
                bare.encode_step(&mut other, &input_buffer, &class_buffer);
            });
            if writes_rates {
                forget_writes();
            }
            let found =
                measure(|| trainer.encode_step(&mut own, &input_buffer, &class_buffer).unwrap());
            let what = format!("step {step}: allocations and their bytes");
            if writes_rates {
                assert!(found[0] <= expected[0] + MORE_OR_FEWER, "{what}: {found:?}, {expected:?}");
                let rates = size_of_val(&RATES) as u64;
                assert!(found[1] < expected[1] + rates / 2, "{what}: {found:?}, {expected:?}");
            } else {
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}

#[test]
fn an_encoded_inference_takes_what_wgpu_takes() {
    let (device, queue) = device();
    let trainer = trainer(&device, &queue, 6);
    for rows in [10, 1_000_000] {
        let [inputs, outputs] =
            [6, 4].map(|columns| upload(&device, &vec![0.5_f32; rows * columns]));
        let inference = Inference::new(trainer.network(), &inputs, &outputs, rows as u32).unwrap();
        let bare = Bare::new(&device, &queue, 6, inference.dispatches().len());
        for _ in 0..3 {
            let [mut own, mut other] = [(); 2].map(|()| encoder(&device, "the app's"));
            let expected = measure(|| bare.encode(&mut other, "ztilde/inference"));
            let found = measure(|| inference.encode(&mut own));
            assert_eq!(found, expected, "{rows} rows: allocations and their bytes");
        }
    }
}

/// A bound batch is copied by one dispatch for the inputs and one for the targets.
#[test]
fn a_bound_step_takes_what_wgpu_takes() {
    let (device, queue) = device();
    let mut trainer = trainer(&device, &queue, 6);
    let bare = Bare::new(&device, &queue, 6, dispatches(&device, &queue, 6).len() + 2);
    let batch = trainer.bind_batch(&bare.inputs, &bare.classes).unwrap();
    for step in 0..3 {
        let [mut own, mut other] = [(); 2].map(|()| encoder(&device, "the app's"));
        let expected = measure(|| bare.encode_training(&mut other));
        let found = measure(|| trainer.encode_bound_step(&mut own, &batch).unwrap());
        // The first steps also write rates.
        if step > 0 {
            assert_eq!(found, expected, "step {step}: allocations and their bytes");
        }
    }
}

/// If the library submits, wgpu allocates more for more bindings, so here the bare program records the
/// library's own dispatches.
#[test]
fn a_submitted_step_takes_what_wgpu_takes() {
    // So few that one submission holds them, on a machine that is not too busy.
    const STEPS: usize = 2;
    let (device, queue) = device();
    let mut trainer = trainer(&device, &queue, 8);
    let bare = Bare::new(&device, &queue, 8, 0);
    let inputs = vec![0.5_f32; 8 * BATCH_SIZE as usize];
    let classes = [0_u32; BATCH_SIZE as usize];
    let rows = BATCH_SIZE * 200;
    let dataset = Array2::from_elem([rows as usize, 8], 0.5);
    let dataset = Dataset::new(dataset, vec![0_u32; rows as usize]).unwrap();
    let mut data = trainer.upload(&dataset).unwrap();
    let gather = bind_gather(&device);
    let dispatches = dispatches(&device, &queue, 8);
    let measure = |call: &mut dyn FnMut()| {
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        measure(call)[0]
    };
    let mut most_spared = i64::MIN;
    for round in 0..12 {
        let encode = |encoder: &mut CommandEncoder, steps| {
            bare.encode_number(encoder);
            let mut pass = begin_pass(encoder, "ztilde/training");
            for _ in 0..steps {
                for dispatch in std::iter::once(&gather).chain(&dispatches) {
                    dispatch.encode(&mut pass);
                }
            }
        };
        let bare_step = measure(&mut || {
            bare.write(&bare.inputs, &inputs);
            bare.write(&bare.classes, &classes);
            bare.submit("ztilde/step", |encoder| encode(encoder, 1));
        });
        let bare_train = measure(&mut || {
            bare.submit("ztilde/train", |encoder| {
                encode(encoder, STEPS);
                encoder.on_submitted_work_done(|| ());
            });
        });
        let step = measure(&mut || trainer.step(&inputs, &classes[..]).unwrap());
        // Tells the GPU that a step was taken on other data.
        trainer.train(&mut data, 1).unwrap();
        let train = measure(&mut || trainer.train(&mut data, STEPS as u32).unwrap());
        println!("round {round}: step {step}, bare {bare_step}; train {train}, bare {bare_train}");
        // At first use wgpu allocates more.
        if round > 0 {
            assert!(step <= bare_step + MORE_OR_FEWER, "step: {step} allocations, not {bare_step}");
            most_spared = most_spared.max(bare_train as i64 - train as i64);
        }
    }
    // The library keeps the submission in flight.
    assert!(most_spared >= -8, "at least {} more than the bare program", -most_spared);
}

/// A dispatch with as many bindings as the one that gathers a mini-batch.
fn bind_gather(device: &Device) -> Dispatch {
    let buffer = upload(device, &[1.0_f32; 4]);
    let vector = &Matrix::vector(&buffer, 0, 4).unwrap();
    let outputs = upload(device, &[0.0_f32; 4]);
    let buffers = normalize::Buffers {
        inputs: vector,
        mean: &Matrix::new(&upload(device, &[0.0_f32; 8]), 0, 2, 4).unwrap(),
        variance: vector,
        gamma: vector,
        beta: vector,
        outputs: &Matrix::vector(&outputs, 0, 4).unwrap(),
    };
    normalize::Normalize::new(device, 1e-5).unwrap().bind(device, "bare", buffers).unwrap()
}

//! The planned bytes of GPU memory, compared with the bytes of wgpu's allocator and with the limits of
//! devices.

use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device, DeviceDescriptor, Limits, Queue};
use ztilde::{
    Error, Inference, Loss, Network, NetworkOptions, Optimizer, PlannedBytes, Trainer,
    TrainerOptions, required_limits,
};

use crate::fixtures::test_device;

/// A device only for this test, so that objects of other tests are not counted.
fn device(has_subgroups: bool) -> (Device, Queue) {
    let adapter = test_device::adapter();
    let wanted = if has_subgroups { wgpu::Features::SUBGROUP } else { wgpu::Features::empty() };
    let required_features = adapter.features() & wanted;
    let descriptor = DeviceDescriptor { required_features, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

/// The bytes that wgpu's allocator has allocated. `None` if the backend's allocator does not report
/// them, and on Direct3D, where each buffer takes a multiple of 64 KiB.
fn allocated(device: &Device) -> Option<u64> {
    if device.adapter_info().backend == wgpu::Backend::Dx12 {
        return None;
    }
    device.generate_allocator_report().map(|report| report.total_allocated_bytes)
}

/// The tolerance. A plan leaves out kernels, uniforms and alignment padding, which do not grow with the
/// network.
#[track_caller]
fn assert_planned(held: u64, planned: PlannedBytes, what: &str) {
    const MOST_UNPLANNED: u64 = 16 << 10;
    let unplanned = held.checked_sub(planned.total());
    assert!(
        unplanned.is_some_and(|bytes| bytes <= MOST_UNPLANNED),
        "{what}: {held} bytes are held, not {} to {MOST_UNPLANNED} more: {planned:?}",
        planned.total()
    );
}

/// Rows of whole vectors and other rows; whole batches, batches that most devices divide into chunks, and
/// batches of many rows, which are divided into slabs.
#[test]
fn held_bytes_are_the_planned_bytes() {
    let cases: [(&[u32], u32, bool, Optimizer, Loss); 7] = [
        (&[301, 402, 703], 700, true, Optimizer::adam(1e-3), Loss::MeanSquaredError),
        (&[301, 402, 703], 700, false, Optimizer::rmsprop(1e-3), Loss::SoftmaxCrossEntropy),
        (&[5, 66, 34, 3], 20_000, true, Optimizer::momentum(0.1, 0.9), Loss::BinaryCrossEntropy),
        (&[300, 200, 301], 800, true, Optimizer::adam(1e-3), Loss::MeanSquaredError),
        (&[64, 128, 64], 3000, true, Optimizer::adam(1e-3), Loss::MeanSquaredError),
        (&[64, 2000], 9, true, Optimizer::gradient_descent(0.1), Loss::SoftmaxCrossEntropy),
        (&[2048, 2048, 4], 10, true, Optimizer::adam(1e-3), Loss::SoftmaxCrossEntropy),
    ];
    for has_subgroups in [false, true] {
        for (sizes, batch_size, batch_norm, optimizer, loss) in cases {
            let (device, queue) = device(has_subgroups);
            settle(&device, &queue);
            let Some(before) = allocated(&device) else {
                continue;
            };
            let held = || allocated(&device).unwrap() - before;
            let options = NetworkOptions { batch_norm, ..Default::default() };
            let trainer_options =
                TrainerOptions { batch_size, optimizer, loss, ..Default::default() };
            let planned = Trainer::planned_bytes(&device, sizes, &options, &trainer_options);
            let network = Network::new(&device, &queue, sizes, options.clone()).unwrap();
            let what = format!("{sizes:?}, {batch_size} rows, subgroups {has_subgroups}");
            let trainer = Trainer::new(network, trainer_options).unwrap();
            settle(&device, &queue);
            assert_planned(held(), planned, &format!("training, {what}"));

            let network = trainer.into_network();
            let planned = Inference::planned_bytes(&device, sizes, &options, batch_size);
            let [inputs, outputs] = [sizes[0], sizes[sizes.len() - 1]]
                .map(|columns| buffer(&device, 4 * u64::from(batch_size) * u64::from(columns)));
            let inference = Inference::new(&network, &inputs, &outputs, batch_size).unwrap();
            settle(&device, &queue);
            let of_the_app = inputs.size() + outputs.size();
            assert_planned(held() - of_the_app, planned, &format!("inference, {what}"));
            drop(inference);
        }
    }
}

/// The weights of the app and of a batch take 32 KiB here, more than the tolerance of `assert_planned`.
#[test]
fn class_weights_are_planned() {
    let (device, queue) = device(false);
    settle(&device, &queue);
    let Some(before) = allocated(&device) else {
        return;
    };
    let sizes = [2, 4096];
    let class_weights = Some(vec![1.0; 4096]);
    let options = TrainerOptions { batch_size: 9, class_weights, ..Default::default() };
    let network_options = NetworkOptions::default();
    let planned = Trainer::planned_bytes(&device, &sizes, &network_options, &options);
    let network = Network::new(&device, &queue, &sizes, network_options).unwrap();
    let trainer = Trainer::new(network, options).unwrap();
    settle(&device, &queue);
    assert_planned(allocated(&device).unwrap() - before, planned, "class weights");
    drop(trainer);
}

/// For many rows, inference takes only the memory of one slice. Options are not checked: batches without
/// rows take no memory.
#[test]
fn no_rows_are_planned() {
    let (device, _) = test_device::device();
    let options = TrainerOptions { batch_size: 0, ..Default::default() };
    let planned =
        Trainer::planned_bytes(&device, &[60_000, 10], &NetworkOptions::default(), &options);
    assert!(planned.parameters > 0, "{planned:?}");
}

#[test]
fn planned_inference_is_bounded() {
    let (device, _) = test_device::device();
    let planned = |rows| {
        let options = NetworkOptions::default();
        Inference::planned_bytes(&device, &[6, 4096, 3], &options, rows)
    };
    assert_eq!(planned(2).batch, 2 * planned(1).batch);
    // Two matrices of the hidden layer, and one of the padded inputs.
    assert_eq!(planned(2048).batch, 4 * 2048 * (2 * 4096 + 8));
    assert_eq!(planned(u32::MAX), planned(2048));
}

/// Waits until the uploads are done and the staging memory is freed.
fn settle(device: &Device, queue: &Queue) {
    for _ in 0..2 {
        queue.submit([]);
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
}

fn buffer(device: &Device, size: u64) -> Buffer {
    device.create_buffer(&BufferDescriptor {
        label: None,
        size,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// The largest matrix belongs to a batch, to a slice of inference, or to the parameters. A network that
/// needs exactly WebGPU's defaults fits a device with them; a larger one is refused with the needed
/// bytes.
#[test]
fn a_device_with_the_required_limits_suffices() {
    let (device, queue) = test_device::device();
    let allowed = Limits::default().max_storage_buffer_binding_size;
    let fits = |sizes: &[u32], batch_size: u32| {
        let network = Network::new(&device, &queue, sizes, NetworkOptions::default())?;
        let options = TrainerOptions { batch_size, ..Default::default() };
        let network = Trainer::new(network, options)?.into_network();
        let [inputs, outputs] =
            [sizes[0], sizes[2]].map(|columns| buffer(&device, 4 * 100 * u64::from(columns)));
        Inference::new(&network, &inputs, &outputs, 100).map(|_| ())
    };
    let cases: [([u32; 3], u32, [u32; 3], u32); 3] = [
        ([1, 5, 1], 4_194_304, [1, 5, 1], 4_194_305),
        ([1, 524_285, 1], 2, [1, 524_289, 1], 2),
        ([4096, 8100, 4], 2, [4096, 8192, 4], 2),
    ];
    for (sizes, batch_size, larger_sizes, larger_batch_size) in cases {
        assert_eq!(required_limits(&sizes, batch_size), Limits::default(), "{sizes:?}");
        fits(&sizes, batch_size).unwrap_or_else(|error| panic!("{sizes:?}: {error}"));

        let required = required_limits(&larger_sizes, larger_batch_size);
        let bytes = required.max_storage_buffer_binding_size;
        assert!(bytes > allowed && required.max_buffer_size >= bytes, "{required:?}");
        match fits(&larger_sizes, larger_batch_size).unwrap_err() {
            Error::TooLarge { needed, .. } => assert_eq!(needed, bytes, "{larger_sizes:?}"),
            error => panic!("{larger_sizes:?}: {error}"),
        }
    }
}

/// If several matrices are too large, the error names the largest, independent of the order of creation:
/// the inputs, a hidden layer's outputs, or the last layer's.
#[test]
fn the_largest_offender_is_named() {
    let (device, queue) = test_device::device();
    let cases: [(&[u32], &str, u64); 3] = [
        (&[40, 20, 3], "trainer/inputs (2000000 × 40)", 320_000_000),
        (&[20, 24, 36, 3], "layer 2/outputs (2000000 × 36)", 288_000_000),
        (&[20, 24, 50], "layer 2/outputs (2000000 × 52)", 416_000_000),
    ];
    for (sizes, name, bytes) in cases {
        let network = Network::new(&device, &queue, sizes, NetworkOptions::default()).unwrap();
        let loss = Loss::MeanSquaredError;
        let options = TrainerOptions { batch_size: 2_000_000, loss, ..Default::default() };
        match Trainer::new(network, options).unwrap_err() {
            Error::TooLarge { what, needed, .. } => assert_eq!((&what[..], needed), (name, bytes)),
            error => panic!("{sizes:?}: {error}"),
        }
    }
}

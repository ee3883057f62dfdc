//! WebGPU's default features and limits suffice, and an error names what a smaller device lacks.

use wgpu::{BufferUsages, Features, Limits};
use ztilde::{
    Activation, Dataset, Inference, KernelCache, Loss, Method, Network, NetworkOptions, Optimizer,
    Trainer, TrainerOptions, block_on,
};

use super::app::{App, classes, inputs};

use crate::fixtures::data;

/// The loss falls if the same batch is used repeatedly.
#[track_caller]
fn assert_learns(app: &App, trainer: &mut Trainer, batch: &Dataset, what: &str) {
    let inputs = batch.inputs().as_slice().unwrap();
    for _ in 0..4 {
        trainer.step(inputs, batch.targets().clone()).unwrap();
    }
    let metrics = block_on(&app.device, trainer.metrics(4)).unwrap();
    assert!(metrics[3].loss < metrics[0].loss, "{what}: {metrics:?}");
}

#[test]
fn the_default_device_learns_everything() {
    let app = App::new();
    assert_eq!(app.device.features(), Features::empty());
    assert_eq!(app.device.limits(), Limits::default());
    let sizes = [7, 9, 6, 3];
    let _kernels = KernelCache::new(&app.device);
    let mut trainers = 0_usize;
    // Each loss with each method, and each activation several times.
    for loss in Loss::ALL {
        for optimizer in Method::ALL.map(Optimizer::usual) {
            let turn = trainers % Activation::ALL.len();
            let (activation, batch_norm) = (Activation::ALL[turn], turn.is_multiple_of(2));
            let network = NetworkOptions { activation, batch_norm, ..Default::default() };
            let clip_norm = trainers.is_multiple_of(2).then_some(1.0);
            let options =
                TrainerOptions { batch_size: 10, loss, optimizer, clip_norm, ..Default::default() };
            let what = format!("{network:?}, {options:?}");
            let network = Network::new(&app.device, &app.queue, &sizes, network).unwrap();
            let mut trainer = Trainer::new(network, options).unwrap();
            let dataset = data::dataset(1, 10, sizes[0], sizes[3], loss);
            assert_learns(&app, &mut trainer, &dataset, &what);
            trainers += 1;
        }
    }
    assert!(trainers >= 2 * Activation::ALL.len(), "only {trainers} trainers");
    app.assert_silent();
}

/// Every shape, with and without gradient clipping.
#[test]
fn the_default_device_learns_all_shapes_from_everywhere() {
    let app = App::new();
    let _kernels = KernelCache::new(&app.device);
    let shapes: [(&[u32], u32); 5] = [
        (&[3, 4, 2], 20_000),
        (&[1025, 1026, 3], 6),
        (&[5, 300, 700], 30),
        (&[8, 8, 8, 8, 8, 8, 8, 4], 64),
        (&[1, 1, 1], 2),
    ];
    for (sizes, batch_size) in shapes {
        for clip_norm in [None, Some(1.0)] {
            let loss = Loss::MeanSquaredError;
            let optimizer = Optimizer::adam(1e-3);
            let options =
                TrainerOptions { batch_size, loss, optimizer, clip_norm, ..Default::default() };
            let network =
                Network::new(&app.device, &app.queue, sizes, NetworkOptions::default()).unwrap();
            let mut trainer = Trainer::new(network, options).unwrap();
            let what = format!("{sizes:?}, {batch_size} rows, {clip_norm:?}");
            let dataset = data::dataset(1, batch_size, sizes[0], sizes[sizes.len() - 1], loss);
            assert_learns(&app, &mut trainer, &dataset, &what);
            let uploaded = trainer.upload(&dataset).unwrap();
            for mut data in [uploaded, trainer.stream(dataset.clone()).unwrap()] {
                let epoch = block_on(&app.device, trainer.epoch(&mut data)).unwrap();
                assert!(epoch.loss.is_finite(), "{what}: {epoch:?}");
            }
            let inputs = dataset.inputs().as_slice().unwrap();
            let prediction = Inference::predict(trainer.network(), inputs);
            let outputs = block_on(&app.device, prediction).unwrap();
            assert!(outputs.iter().all(|value| value.is_finite()), "{what}");
            let buffer = app.upload(inputs);
            let bytes = 4 * outputs.len() as u64;
            let target = app.buffer(bytes, BufferUsages::STORAGE);
            let inference =
                Inference::new(trainer.network(), &buffer, &target, batch_size).unwrap();
            let mut encoder = app.device.create_command_encoder(&Default::default());
            inference.encode(&mut encoder);
            app.queue.submit([encoder.finish()]);
        }
    }
    app.assert_silent();
}

/// On older and smaller GPUs training works, or the error names the limit, its value and the needed
/// value.
#[test]
fn a_smaller_device_learns_or_says_what_it_lacks() {
    let few_buffers = Limits { max_storage_buffers_per_shader_stage: 7, ..Limits::default() };
    let few_invocations = Limits {
        max_compute_invocations_per_workgroup: 128,
        max_compute_workgroup_size_x: 128,
        ..Limits::default()
    };
    let little_memory = Limits { max_compute_workgroup_storage_size: 4096, ..Limits::default() };
    let cases = [
        (Limits::downlevel_defaults(), "max_storage_buffers_per_shader_stage", 4),
        (Limits::downlevel_webgl2_defaults(), "max_storage_buffer_binding_size", 0),
        (few_buffers, "max_storage_buffers_per_shader_stage", 7),
        (few_invocations, "max_compute_invocations_per_workgroup", 128),
        (little_memory, "max_compute_workgroup_storage_size", 4096),
    ];
    for (limits, limit, allowed) in cases {
        let app = App::with_limits(limits);
        let network =
            Network::new(&app.device, &app.queue, &super::app::SIZES, NetworkOptions::default());
        let trained = network.and_then(|network| {
            let mut trainer = Trainer::new(network, super::app::options())?;
            trainer.step(&inputs(), classes())?;
            block_on(&app.device, trainer.loss())
        });
        match trained {
            Ok(loss) => assert!(loss > 0.0, "loss {loss} with {limit} {allowed}"),
            Err(error) => {
                let message = error.to_string();
                let numbers: Vec<u64> = message
                    .split(|character: char| !character.is_ascii_digit())
                    .filter_map(|number| number.parse().ok())
                    .collect();
                assert!(message.contains(limit) && numbers.contains(&allowed), "{message}");
                assert!(numbers.iter().any(|&needed| needed > allowed), "{message}");
            }
        }
        app.assert_silent();
    }
}

/// Inference works on a device with `Inference::required_limits`, and a trainer there names the limit that
/// it needs. The sizes cover layers in one dispatch and in separate dispatches, and rows of whole
/// vectors of four and other rows.
#[test]
fn inference_alone_needs_four_storage_buffers() {
    for sizes in [&[6, 30, 20, 3][..], &[8, 16, 4], &[5, 300, 7], &[4, 200, 8]] {
        let limits = Inference::required_limits(sizes);
        assert_eq!(limits.max_storage_buffers_per_shader_stage, 4);
        let [small, large] = [limits, Limits::default()].map(App::with_limits);
        for batch_norm in [true, false] {
            let rows = vec![0.5; 3 * sizes[0] as usize];
            let outputs = [&small, &large].map(|app| {
                let options = NetworkOptions { batch_norm, ..Default::default() };
                let network = Network::new(&app.device, &app.queue, sizes, options).unwrap();
                let outputs = block_on(&app.device, Inference::predict(&network, &rows)).unwrap();
                (network, outputs)
            });
            let [(network, found), (_, expected)] = outputs;
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-5, "{sizes:?}: {found} for {expected}");
            }
            let error = Trainer::new(network, Default::default()).unwrap_err().to_string();
            assert!(error.contains("max_storage_buffers_per_shader_stage"), "{error}");
            small.assert_silent();
        }
    }
}

//! After construction a step makes no GPU object, not even one that is dropped at once.

use wgpu::BufferUsages;
use ztilde::{
    Inference, KernelCache, Loss, Network, NetworkOptions, OnFault, Trainer, TrainerOptions,
    block_on,
};

use super::app::{App, BATCH_SIZE, SIZES, classes, dataset, inputs, options};
use crate::fixtures::objects::objects;
use crate::fixtures::{data, journal};

#[test]
fn an_encoded_step_makes_no_object() {
    let app = App::new();
    let App { device, queue, .. } = &app;
    let mut trainer = app.trainer();
    let [input_buffer, class_buffer] = [app.upload(&inputs()), app.upload(&classes())];
    let outputs = app.buffer(u64::from(4 * BATCH_SIZE * SIZES[3]), BufferUsages::STORAGE);
    let inference = Inference::new(trainer.network(), &input_buffer, &outputs, BATCH_SIZE).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    let batch = trainer.bind_batch(&input_buffer, &class_buffer).unwrap();
    // Also writes the rates of the next steps.
    trainer.encode_step(&mut encoder, &input_buffer, &class_buffer).unwrap();
    // wgpu frees the staging memory of the writes.
    queue.submit([]);
    app.wait();
    let before = objects(device);
    assert!(before.iter().any(|&(_, count)| count > 0), "nothing is counted: {before:?}");
    let ((), lines) = journal::record(|| {
        for _ in 0..100 {
            trainer.encode_step(&mut encoder, &input_buffer, &class_buffer).unwrap();
            trainer.encode_bound_step(&mut encoder, &batch).unwrap();
            inference.encode(&mut encoder);
        }
    });
    let made = lines.iter().find(|line| line.contains("create"));
    assert_eq!(made, None, "of {} lines", lines.len());
    let copies = lines.iter().filter(|line| line.contains("copy_buffer_to_buffer")).count();
    // A step on buffers copies inputs, targets and the step's number, a bound step the number.
    assert_eq!(copies, 400, "of {} lines", lines.len());
    assert_eq!(objects(device), before);
    queue.submit([encoder.finish()]);
    app.wait();
    assert_eq!(objects(device), before, "after they were submitted");
}

/// A submission needs an encoder, and an upload goes through wgpu's staging memory. How many submissions hold five
/// steps depends on the adapter's pace.
#[test]
fn a_submitted_step_makes_its_encoder_alone() {
    let app = App::new();
    let mut trainer = app.trainer();
    let mut data = trainer.upload(&dataset(20)).unwrap();
    let (input_values, class_values) = (inputs(), classes());
    for round in 0..3 {
        let ((), lines) = journal::record(|| {
            trainer.step(&input_values, &class_values).unwrap();
            trainer.train(&mut data, 5).unwrap();
        });
        app.wait();
        let made = lines.iter().filter(|line| line.contains("create"));
        let made = made.filter(|line| !line.contains("create_staging_buffer"));
        let encoders = made.clone().filter(|line| line.contains("create_command_encoder")).count();
        // At first the rates and the order of the epoch are written, in the same way.
        assert_eq!(made.count(), encoders, "round {round}: {lines:#?}");
        let submissions = lines.iter().filter(|line| line.as_str() == "Queue::submit").count();
        assert!(encoders == submissions && submissions >= 2, "round {round}: {lines:#?}");
    }
}

/// The losses and the fault of an epoch are copied in the submissions that train.
#[test]
fn an_epoch_makes_no_submission_to_read() {
    let app = App::new();
    let mut trainer = app.trainer();
    for data in [trainer.upload(&dataset(300)), trainer.stream(dataset(300))] {
        let mut data = data.unwrap();
        let (epoch, lines) =
            journal::record(|| block_on(&app.device, trainer.epoch(&mut data)).unwrap());
        assert_eq!(epoch.steps, 301);
        // Those of earlier calls are over.
        app.wait();
        let submissions = lines.iter().filter(|line| line.as_str() == "Queue::submit").count();
        let trainings =
            lines.iter().filter(|line| line.contains("CommandEncoder with 'ztilde/train'"));
        assert_eq!(submissions, trainings.count(), "of {} lines", lines.len());
        assert!(submissions < 150, "{submissions} submissions of 301 steps");
    }
    app.assert_silent();
}

/// A network keeps the kernels of its inference, even if nothing else uses them.
#[test]
fn a_prediction_compiles_nothing() {
    let app = App::new();
    for sizes in [&[6, 30, 20, 3][..], &[8, 16, 4], &[5, 300, 7]] {
        let network = Network::new(&app.device, &app.queue, sizes, Default::default()).unwrap();
        let rows = vec![0.5; sizes[0] as usize];
        let (outputs, lines) =
            journal::record(|| block_on(&app.device, Inference::predict(&network, &rows)).unwrap());
        assert_eq!(outputs.len(), sizes[sizes.len() - 1] as usize);
        let is_compiled = |line: &&String| line.contains("pipeline") && line.contains("create");
        assert_eq!(lines.iter().find(is_compiled), None, "{sizes:?}, of {} lines", lines.len());
        assert!(lines.iter().any(|line| line.contains("create_bind_group")), "{lines:#?}");
    }
}

/// A trainer's construction compiles all that it and its network will run, in any thread.
#[test]
fn nothing_is_compiled_after_the_trainer() {
    let app = App::new();
    let (loss, weights) = (Loss::MeanSquaredError, Some(vec![1.0; SIZES[3] as usize]));
    for (sizes, batch_norm, options) in [
        (&SIZES[..], true, options()),
        (&SIZES[..], false, TrainerOptions { on_fault: OnFault::SkipStep, ..options() }),
        (&[6, 3], false, TrainerOptions { class_weights: weights, ..options() }),
        (&[6, 300, 200], true, options()),
        (&[6, 16, 16, 3], true, TrainerOptions { clip_norm: None, loss, ..options() }),
    ] {
        let network = NetworkOptions { batch_norm, ..Default::default() };
        let network = Network::new(&app.device, &app.queue, sizes, network).unwrap();
        let mut trainer = Trainer::new(network, options).unwrap();
        let kernels = KernelCache::new(&app.device);
        let before = kernels.len();
        assert!(before > 2, "{before} kernels of {sizes:?}");
        use_all(&app, &mut trainer);
        assert_eq!(kernels.len(), before, "kernels of {sizes:?}, {:?}", trainer.options());
    }
    app.assert_silent();
}

/// Steps of all kinds, predictions from the CPU and from the GPU, and all reads.
fn use_all(app: &App, trainer: &mut Trainer) {
    let App { device, queue, .. } = app;
    let outputs = trainer.network().outputs();
    let loss = trainer.options().loss;
    let values = vec![0.5_f32; (BATCH_SIZE * outputs) as usize];
    let target_buffer = match loss.has_class_targets() {
        true => app.upload(&classes()),
        false => app.upload(&values),
    };
    match loss.has_class_targets() {
        true => trainer.step(&inputs(), classes()).unwrap(),
        false => trainer.step(&inputs(), &values).unwrap(),
    }
    let input_buffer = app.upload(&inputs());
    let mut encoder = device.create_command_encoder(&Default::default());
    trainer.encode_step(&mut encoder, &input_buffer, &target_buffer).unwrap();
    let batch = trainer.bind_batch(&input_buffer, &target_buffer).unwrap();
    trainer.encode_bound_step(&mut encoder, &batch).unwrap();
    // Of one row, of some, and of all rows.
    for rows in [1, 7, BATCH_SIZE] {
        let output_buffer = app.upload(&values);
        let inference = Inference::new(trainer.network(), &input_buffer, &output_buffer, rows);
        inference.unwrap().encode(&mut encoder);
    }
    queue.submit([encoder.finish()]);
    // Each epoch has a smaller last batch.
    let dataset = || data::dataset(1, 4 * BATCH_SIZE + 5, SIZES[0], outputs, loss);
    for data in [trainer.upload(&dataset()), trainer.stream(dataset())] {
        let mut data = data.unwrap();
        trainer.train(&mut data, 7).unwrap();
        block_on(device, trainer.epoch(&mut data)).unwrap();
    }
    block_on(device, Inference::predict(trainer.network(), &inputs()[..18])).unwrap();
    assert_eq!(trainer.hidden_layer(1).is_some(), trainer.network().layer_sizes().len() > 2);
    block_on(device, trainer.metrics(3)).unwrap();
    block_on(device, trainer.skipped()).unwrap();
    assert!(block_on(device, trainer.fault()).unwrap().is_none());
    block_on(device, trainer.network().parameters()).unwrap();
    let snapshot = block_on(device, trainer.snapshot()).unwrap();
    Trainer::restore(device, queue, &snapshot).unwrap();
}

//! Errors of wgpu inside the library's calls are returned by the calls, and do not reach the app's handler.

use wgpu::{Buffer, BufferUsages, Limits};
use ztilde::kernels::{
    Matrix,
    add_biases::{self, AddBiases},
};
use ztilde::{Error, Inference, Result};

use super::app::{App, BATCH_SIZE, SIZES, classes, inputs};
use crate::fixtures::test_device;

#[track_caller]
fn assert_refused<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => panic!("{what} was accepted"),
        Err(Error::Wgpu(message)) => assert!(!message.is_empty(), "{what}"),
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Two devices of one adapter.
fn two_apps() -> [App; 2] {
    let adapter = test_device::adapter();
    [(); 2].map(|()| App::on(&adapter, Limits::default()))
}

#[test]
fn what_wgpu_refuses_is_an_error() {
    let [app, other] = two_apps();
    let [input_bytes, output_bytes] =
        [SIZES[0], SIZES[3]].map(|columns| u64::from(4 * BATCH_SIZE * columns));
    let storage = BufferUsages::STORAGE;
    let destroyed = |bytes| {
        let buffer = app.buffer(bytes, storage);
        buffer.destroy();
        buffer
    };
    let invalid = |_| {
        let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = app.buffer(app.device.limits().max_buffer_size + 4, storage);
        assert!(pollster::block_on(scope.pop()).is_some());
        buffer
    };
    let foreign = |bytes| other.buffer(bytes, storage);
    let kinds: [(&str, &dyn Fn(u64) -> Buffer); 3] = [
        ("a destroyed buffer", &destroyed),
        ("an invalid buffer", &invalid),
        ("another device's buffer", &foreign),
    ];
    let kernel = AddBiases::new(&app.device).unwrap();
    let trainer = app.trainer();
    for (what, buffer) in kinds {
        let good = app.buffer(input_bytes, storage);
        for [inputs, outputs] in [[&good, &buffer(output_bytes)], [&buffer(input_bytes), &good]] {
            assert_refused(what, Inference::new(trainer.network(), inputs, outputs, BATCH_SIZE));
        }
        assert_refused(what, trainer.bind_batch(&buffer(input_bytes), &good));
        assert_refused(what, trainer.bind_batch(&good, &buffer(input_bytes)));
        let (good, bad) = (Matrix::vector(&good, 0, 3).unwrap(), buffer(output_bytes));
        let bad = Matrix::vector(&bad, 0, 3).unwrap();
        for (biases, sums) in [(&good, &bad), (&bad, &good)] {
            let buffers = add_biases::Buffers { biases, sums };
            assert_refused(what, kernel.bind(&app.device, "here", buffers));
        }
        let buffers = add_biases::Buffers { biases: &good, sums: &good };
        assert_refused("on another device", kernel.bind(&other.device, "here", buffers));
    }
    app.assert_silent();
    other.assert_silent();
}

/// wgpu finds some errors only when the app finishes or submits its encoder, and reports them there.
#[test]
fn errors_of_the_apps_encoder_are_reported_where_it_ends() {
    let [app, other] = two_apps();
    let mut trainer = app.trainer();
    let [input_buffer, class_buffer] = [app.upload(&inputs()), app.upload(&classes())];
    let outputs = app.buffer(u64::from(4 * BATCH_SIZE * SIZES[3]), BufferUsages::STORAGE);
    let inference = Inference::new(trainer.network(), &input_buffer, &outputs, BATCH_SIZE).unwrap();
    let mut foreign = other.device.create_command_encoder(&Default::default());
    trainer.encode_step(&mut foreign, &input_buffer, &class_buffer).unwrap();
    inference.encode(&mut foreign);
    other.assert_silent();
    let scope = other.device.push_error_scope(wgpu::ErrorFilter::Validation);
    foreign.finish();
    let error = pollster::block_on(scope.pop()).expect("an encoder of another device");
    assert!(error.to_string().contains("the app's"), "{error}");

    let mut encoder = app.device.create_command_encoder(&Default::default());
    trainer.encode_step(&mut encoder, &input_buffer, &class_buffer).unwrap();
    input_buffer.destroy();
    let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
    app.queue.submit([encoder.finish()]);
    let error = pollster::block_on(scope.pop()).expect("a destroyed buffer");
    assert!(error.to_string().contains("the app's"), "{error}");
    app.assert_silent();
    other.assert_silent();
}

/// The library itself checks a buffer's usages, and names a missing one.
#[test]
fn a_buffer_without_its_usage_is_named() {
    let app = App::on(&test_device::adapter(), Limits::default());
    let bytes = u64::from(4 * BATCH_SIZE * SIZES[0]);
    let stored = app.buffer(bytes, BufferUsages::STORAGE);
    let copied = app.buffer(bytes, BufferUsages::COPY_SRC);
    let mut trainer = app.trainer();
    let [one, other] =
        [&stored, &copied].map(|buffer| Matrix::vector(buffer, 0, SIZES[1]).unwrap());
    let kernel = AddBiases::new(&app.device).unwrap();
    let buffers = add_biases::Buffers { biases: &one, sums: &other };
    let mut encoder = app.device.create_command_encoder(&Default::default());
    for (result, buffer, usage) in [
        (trainer.encode_step(&mut encoder, &stored, &copied), "of inputs", "COPY_SRC"),
        (trainer.encode_step(&mut encoder, &copied, &stored), "of targets", "COPY_SRC"),
        (trainer.bind_batch(&copied, &stored).map(drop), "of inputs", "STORAGE"),
        (trainer.bind_batch(&stored, &copied).map(drop), "of targets", "STORAGE"),
        (kernel.bind(&app.device, "here", buffers).map(drop), "of binding 2", "STORAGE"),
    ] {
        let error = result.expect_err(buffer);
        assert!(matches!(error, Error::Usage { missing, .. } if missing == usage), "{error}");
        assert!(error.to_string().contains(buffer), "{error}");
    }
    for [inputs, outputs] in [[&stored, &copied], [&copied, &stored]] {
        let error = Inference::new(trainer.network(), inputs, outputs, BATCH_SIZE).unwrap_err();
        assert!(matches!(error, Error::Usage { missing: "STORAGE", .. }), "{error}");
    }
    app.assert_silent();
}

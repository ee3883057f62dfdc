//! After a step the public kernels read the hidden layers into an app's own buffers. The values are those of
//! the reference.

use ndarray::{Array1, Array2};
use wgpu::{Device, Queue};
use ztilde::kernels::{Dispatch, Matrix, activate, normalize};
use ztilde::{
    Activation, HiddenBatchNorm, HiddenLayer, Layer, Loss, Network, NetworkOptions, Optimizer,
    Trainer, TrainerOptions, block_on, reference,
};

use crate::fixtures::buffers::{read_buffer, upload, zeros};
use crate::fixtures::comparisons::assert_close;
use crate::fixtures::data::waves;
use crate::fixtures::devices::both_devices;
use crate::fixtures::test_device;

const EPSILON: f32 = 1e-5;

fn trainer(device: &Device, queue: &Queue, sizes: &[u32], rows: u32, batch_norm: bool) -> Trainer {
    let options = NetworkOptions {
        activation: Activation::Tanh,
        batch_norm,
        epsilon: EPSILON,
        seed: 3,
        ..Default::default()
    };
    let network = Network::new(device, queue, sizes, options).unwrap();
    let options = TrainerOptions {
        batch_size: rows,
        loss: Loss::MeanSquaredError,
        // Gamma and beta move away from one and zero.
        optimizer: Optimizer::adam(0.1),
        ..Default::default()
    };
    Trainer::new(network, options).unwrap()
}

fn vector(device: &Device, values: &[f32]) -> Matrix {
    Matrix::vector(&upload(device, values), 0, values.len() as u32).unwrap()
}

/// The result of the kernel that `bind` binds to a layer and to a matrix of the app.
fn look(
    device: &Device,
    queue: &Queue,
    layer: &HiddenLayer,
    bind: impl FnOnce(&Matrix) -> ztilde::Result<Dispatch>,
) -> Vec<f32> {
    let [rows, columns] = [layer.pre_activations.rows(), layer.pre_activations.columns()];
    let own = zeros(device, u64::from(rows) * u64::from(columns));
    let dispatch = bind(&Matrix::new(&own, 0, rows, columns).unwrap()).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    dispatch.encode(&mut encoder.begin_compute_pass(&Default::default()));
    queue.submit([encoder.finish()]);
    read_buffer(device, queue, &own)
}

/// Takes a step, then reads all values of its hidden layers.
fn check(device: &Device, queue: &Queue, sizes: &[u32], rows: u32, batch_norm: bool) {
    let mut trainer = trainer(device, queue, sizes, rows, batch_norm);
    let inputs = waves(rows * sizes[0], 0.3);
    let targets = waves(rows * sizes[sizes.len() - 1], 0.7);
    let before = block_on(device, trainer.network().parameters()).unwrap();
    trainer.step(&inputs, &targets[..]).unwrap();
    let after = block_on(device, trainer.network().parameters()).unwrap();

    let shape = [rows as usize, sizes[0] as usize];
    let inputs = Array2::from_shape_vec(shape, inputs).unwrap().mapv(f64::from);
    let pass = reference::Network::from(&before).pass(&inputs);
    let identity = activate::Activate::new(device, Activation::Identity).unwrap();
    let normalize = normalize::Normalize::new(device, EPSILON).unwrap();
    let hidden = sizes.len() - 2;
    let bound = |_| 2e-5;
    for index in 0..hidden {
        let what = format!("{sizes:?}, {rows} rows, batch norm {batch_norm}, layer {}", index + 1);
        let layer = trainer.hidden_layer(index + 1).expect("there is a hidden layer");
        let copy = |inputs: &Matrix| {
            look(device, queue, &layer, |outputs| {
                identity.bind(device, "look", activate::Buffers { inputs, outputs })
            })
        };
        let seen = &pass.layers[index];
        let sums = if batch_norm { &seen.sums } else { &seen.ztilde };
        assert_close(&format!("sums, {what}"), &copy(&layer.pre_activations), sums, bound);
        let outputs = &pass.layers[index + 1].inputs;
        assert_close(&format!("outputs, {what}"), &copy(&layer.outputs), outputs, bound);

        let Layer::Normalized { batch_norm: learned, .. } = &after.layers[index] else {
            assert!(layer.batch_norm.is_none(), "{what}");
            continue;
        };
        let HiddenBatchNorm { mean, variance, gamma, beta } = layer.batch_norm.as_ref().unwrap();
        let make = |gamma: &Matrix, beta: &Matrix| {
            let inputs = &layer.pre_activations;
            look(device, queue, &layer, |outputs| {
                let buffers = normalize::Buffers { inputs, mean, variance, gamma, beta, outputs };
                normalize.bind(device, "look", buffers)
            })
        };
        let reference::Statistics { mean, variance } = seen.statistics.as_ref().unwrap();
        let expected = |gamma: &Array1<f32>, beta: &Array1<f32>| {
            let [gamma, beta] = [gamma, beta].map(|vector| vector.mapv(f64::from));
            reference::normalize(&seen.sums, mean, variance, &gamma, &beta, EPSILON.into())
        };
        let ztilde = expected(&learned.gamma, &learned.beta);
        assert_close(&format!("z̃, {what}"), &make(gamma, beta), &ztilde, bound);
        let [ones, zeros] = [1.0, 0.0].map(|value| Array1::from_elem(mean.len(), value));
        let [gamma, beta] =
            [&ones, &zeros].map(|values| vector(device, values.as_slice().unwrap()));
        assert_close(&format!("ẑ, {what}"), &make(&gamma, &beta), &expected(&ones, &zeros), bound);
    }
    assert!(trainer.hidden_layer(0).is_none(), "layers are counted from 1");
    assert!(trainer.hidden_layer(hidden + 1).is_none(), "the output layer is not hidden");
}

/// Widths that are not whole vectors of four, and a batch that is divided among workgroups, with each
/// kind of tile.
#[test]
fn hidden_layers_are_what_the_reference_saw() {
    for (device, queue) in both_devices() {
        for batch_norm in [true, false] {
            check(&device, &queue, &[6, 5, 7, 33, 3], 50, batch_norm);
        }
        check(&device, &queue, &[5, 66, 34, 3], 20_000, true);
    }
}

#[test]
fn a_network_without_hidden_layers_shows_none() {
    let (device, queue) = test_device::device();
    assert!(trainer(&device, &queue, &[3, 2], 4, true).hidden_layer(1).is_none());
}

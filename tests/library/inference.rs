//! Inference on the app's buffers, in the app's encoder: compared with the reference, and during
//! training.

use ndarray::{Array1, Array2, Axis};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wasm_bindgen_test::wasm_bindgen_test;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device, Queue};
use ztilde::{
    Activation, Inference, Layer, Network, NetworkOptions, Optimizer, Parameters, Trainer,
    TrainerOptions, reference,
};

use crate::fixtures::buffers::{buffer_values, upload};
use crate::fixtures::data::matrix;
use crate::fixtures::devices::devices;

const SIZES: [u32; 4] = [5, 37, 66, 3];

/// A network in which no parameter has its initial value.
fn parameters(sizes: &[u32], activation: Activation, batch_norm: bool) -> Parameters {
    let options = NetworkOptions { activation, batch_norm, seed: 6, ..Default::default() };
    let mut parameters = Parameters::initialize(sizes, &options).unwrap();
    let mut generator = ChaCha8Rng::seed_from_u64(2);
    let mut change = |vector: &mut Array1<f32>| {
        vector.mapv_inplace(|value| value + 0.5 * generator.random::<f32>());
    };
    for layer in &mut parameters.layers {
        match layer {
            Layer::Linear { biases, .. } => change(biases),
            Layer::Normalized { batch_norm, .. } => {
                change(&mut batch_norm.gamma);
                change(&mut batch_norm.beta);
                change(&mut batch_norm.running_mean);
                change(&mut batch_norm.running_var);
            }
        }
    }
    parameters
}

fn empty(device: &Device, values: u32) -> Buffer {
    device.create_buffer(&BufferDescriptor {
        label: None,
        size: 4 * u64::from(values),
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Encodes and submits, then reads the outputs.
async fn infer(
    (device, queue): &(Device, Queue),
    inference: &Inference,
    outputs: &Buffer,
) -> Vec<f32> {
    let mut encoder = device.create_command_encoder(&Default::default());
    inference.encode(&mut encoder);
    queue.submit([encoder.finish()]);
    buffer_values(device, queue, outputs).await
}

/// The bound: two hidden layers round each number a few dozen times, in sums of up to 66 products,
/// about 1e-6 of its size. A wrong formula is off by 1e-2.
#[track_caller]
fn assert_follows(found: &[f32], expected: &Array2<f64>, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let bound = 1e-5 * expected.abs().max(1.0);
        assert!(error <= bound, "{what}: output {index} is {found}, not {expected}");
    }
}

#[wasm_bindgen_test(unsupported = pollster::test)]
async fn every_activation_follows_the_reference() {
    for device in devices().await {
        for (number, activation) in Activation::ALL.into_iter().enumerate() {
            let batch_norm = number % 2 == 0;
            let what = format!("{activation:?}, batch norm {batch_norm}");
            let parameters = parameters(&SIZES, activation, batch_norm);
            follows_the_reference(&device, &parameters, &what).await;
        }
    }
}

async fn follows_the_reference(gpu: &(Device, Queue), parameters: &Parameters, network_name: &str) {
    let (device, queue) = gpu;
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let network = Network::from_parameters(device, queue, parameters).unwrap();
    let on_cpu = reference::Network::from(parameters);
    for rows in [1, 63, 64, 65, 1000] {
        let inputs = matrix(&mut generator, [rows, SIZES[0]]);
        let expected = on_cpu.infer(&inputs.mapv(f64::from));
        let what = format!("{network_name}, {rows} rows");
        let input_buffer = upload(device, inputs.as_slice().unwrap());
        let outputs = empty(device, rows * SIZES[3]);
        let inference = Inference::new(&network, &input_buffer, &outputs, rows).unwrap();
        assert_follows(&infer(gpu, &inference, &outputs).await, &expected, &what);

        let predicted = Inference::predict(&network, inputs.as_slice().unwrap()).await.unwrap();
        assert_follows(&predicted, &expected, &format!("predict, {what}"));
    }
    let after = network.parameters().await.unwrap();
    assert!(after == *parameters, "{network_name}: inference changed the network");
}

/// Networks without hidden layers, and with alternating wide and narrow ones; rows of whole vectors of four,
/// and other rows.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn networks_of_every_depth_follow_the_reference() {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let networks: [&[u32]; 8] = [
        &[4, 3],
        &[2, 3],
        &[7, 4],
        &[1, 1],
        &[2, 8, 3],
        &[3, 130, 2],
        &[2, 9, 1, 70, 5],
        &[8, 8, 8, 8, 8, 8],
    ];
    for (device, queue) in devices().await {
        for sizes in networks {
            for batch_norm in [true, false] {
                let parameters = parameters(sizes, Activation::Silu, batch_norm);
                let network = Network::from_parameters(&device, &queue, &parameters).unwrap();
                let inputs = matrix(&mut generator, [70, sizes[0]]);
                let expected = reference::Network::from(&parameters).infer(&inputs.mapv(f64::from));
                let predicted = Inference::predict(&network, inputs.as_slice().unwrap()).await;
                let what = format!("{sizes:?}, batch norm {batch_norm}");
                assert_follows(&predicted.unwrap(), &expected, &what);
            }
        }
    }
}

/// 5,000 rows of 4,096 features are 80 MB, more than two slices may hold; the third is shorter.
/// Slices give each row the same outputs as separate calls, bit for bit. Left out in browsers, whose
/// software adapter would take too long.
#[cfg(not(target_arch = "wasm32"))]
#[pollster::test]
async fn slices_give_what_one_slice_gives() {
    const ROWS: u32 = 5000;
    const PIECE: u32 = 1000;
    let gpu = devices().await.remove(0);
    let (device, queue) = &gpu;
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    for batch_norm in [true, false] {
        // Three outputs: rows are not whole vectors of four.
        let sizes = [3, 4096, 3];
        let parameters = parameters(&sizes, Activation::Relu, batch_norm);
        let network = Network::from_parameters(device, queue, &parameters).unwrap();
        let inputs = matrix(&mut generator, [ROWS, 3]);
        let inputs = inputs.as_slice().unwrap();
        let outputs = empty(device, 3 * ROWS);
        let sliced = Inference::new(&network, &upload(device, inputs), &outputs, ROWS).unwrap();
        let sliced = infer(&gpu, &sliced, &outputs).await;

        let outputs = empty(device, 3 * PIECE);
        let mut pieces = Vec::new();
        for piece in inputs.chunks(3 * PIECE as usize) {
            let piece = upload(device, piece);
            let inference = Inference::new(&network, &piece, &outputs, PIECE).unwrap();
            pieces.extend(infer(&gpu, &inference, &outputs).await);
        }
        assert!(sliced.iter().all(|output| output.is_finite() && *output != 0.0));
        let differs = |(found, expected): (&f32, &f32)| found.to_bits() != expected.to_bits();
        let first = sliced.iter().zip(&pieces).position(differs);
        assert_eq!(first, None, "batch norm {batch_norm}: the first output that differs");
        assert_eq!(sliced.len(), pieces.len());
    }
}

/// The app's buffers keep the values after the rows.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn larger_buffers_keep_the_values_after_the_rows() {
    for gpu in devices().await {
        let (device, queue) = &gpu;
        let parameters = parameters(&SIZES, Activation::Tanh, true);
        let network = Network::from_parameters(device, queue, &parameters).unwrap();
        let rows = 65;
        let inputs = matrix(&mut ChaCha8Rng::seed_from_u64(1), [rows + 35, SIZES[0]]);
        let outputs = upload(device, &vec![7.0_f32; 100 * SIZES[3] as usize]);
        let input_buffer = upload(device, inputs.as_slice().unwrap());
        let inference = Inference::new(&network, &input_buffer, &outputs, rows).unwrap();
        let found = infer(&gpu, &inference, &outputs).await;
        let (found, after) = found.split_at((rows * SIZES[3]) as usize);
        let inputs = inputs.slice_axis(Axis(0), (..rows as usize).into()).mapv(f64::from);
        assert_follows(found, &reference::Network::from(&parameters).infer(&inputs), "the rows");
        assert!(after.iter().all(|&value| value == 7.0), "{after:?}");
    }
}

/// One inference, bound once, in one encoder with two steps of training: each time it uses the current
/// parameters. The steps are bit for bit those of a trainer without inference in between.
#[wasm_bindgen_test(unsupported = pollster::test)]
async fn inference_sees_each_step_and_disturbs_none() {
    let (device, queue) = &devices().await.remove(0);
    let options = || TrainerOptions {
        batch_size: 32,
        optimizer: Optimizer::adam(0.05),
        ..Default::default()
    };
    let parameters = parameters(&SIZES, Activation::Relu, true);
    let make = || {
        let network = Network::from_parameters(device, queue, &parameters).unwrap();
        Trainer::new(network, options()).unwrap()
    };
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let batch = matrix(&mut generator, [32, SIZES[0]]);
    let classes: Vec<u32> = (0..32).map(|row| row % SIZES[3]).collect();
    let batch_inputs = upload(device, batch.as_slice().unwrap());
    let batch_classes = upload(device, &classes);
    let inputs = matrix(&mut generator, [9, SIZES[0]]);
    let input_buffer = upload(device, inputs.as_slice().unwrap());
    let output_size = 9 * SIZES[3];

    let mut trainer = make();
    let outputs = empty(device, output_size);
    let inference = Inference::new(trainer.network(), &input_buffer, &outputs, 9).unwrap();
    let seen = [(); 3].map(|()| empty(device, output_size));
    let mut encoder = device.create_command_encoder(&Default::default());
    for (step, seen) in seen.iter().enumerate() {
        if step > 0 {
            trainer.encode_step(&mut encoder, &batch_inputs, &batch_classes).unwrap();
        }
        inference.encode(&mut encoder);
        encoder.copy_buffer_to_buffer(&outputs, 0, seen, 0, outputs.size());
    }
    queue.submit([encoder.finish()]);

    let mut alone = make();
    for (step, seen) in seen.iter().enumerate() {
        if step > 0 {
            alone.step(batch.as_slice().unwrap(), &classes).unwrap();
        }
        let now = alone.network().parameters().await.unwrap();
        let expected = reference::Network::from(&now).infer(&inputs.mapv(f64::from));
        let seen = buffer_values(device, queue, seen).await;
        assert_follows(&seen, &expected, &format!("after {step} step(s)"));
    }
    let found = trainer.network().parameters().await.unwrap();
    let expected = alone.network().parameters().await.unwrap();
    assert!(found == expected, "inference changed what the steps did");
    assert!(found != parameters, "the steps did nothing");
}

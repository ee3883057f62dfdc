//! NaN stays NaN: a broken sensor gives no plausible prediction, and no training step uses its values.

use wgpu::{Device, Queue};
use ztilde::{
    Activation, Fault, Inference, Loss, Network, NetworkOptions, Parameters, Quantity, Trainer,
    TrainerOptions, block_on,
};

use crate::fixtures::buffers::step;
use crate::fixtures::comparisons::bits;
use crate::fixtures::devices::both_devices;

/// Quiet and signaling NaN, with and without a sign. x86 produces NaN with a sign.
const NANS: [u32; 4] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001];

/// Networks whose inference takes one dispatch, and one dispatch for each layer.
const SIZES: [&[u32]; 2] = [&[3, 5, 4, 2], &[3, 150, 4, 2]];

fn parameters(sizes: &[u32], activation: Activation, batch_norm: bool) -> Parameters {
    let options = NetworkOptions { activation, batch_norm, seed: 3, ..Default::default() };
    Parameters::initialize(sizes, &options).unwrap()
}

#[test]
fn a_prediction_from_nan_is_nan() {
    // Both devices compile the same text of the activations, the first one slowly.
    let every_third: Vec<Activation> = Activation::ALL.into_iter().step_by(3).collect();
    let [plain, with_subgroups] = both_devices();
    for ((device, queue), activations) in
        [(plain, every_third), (with_subgroups, Activation::ALL.to_vec())]
    {
        let ways = SIZES.into_iter().flat_map(|sizes| [(sizes, false), (sizes, true)]);
        for (sizes, batch_norm) in ways {
            for &activation in &activations {
                let parameters = parameters(sizes, activation, batch_norm);
                // Without batch normalization, folding changes nothing.
                let folded = batch_norm.then(|| (parameters.folded(), true));
                for (parameters, is_folded) in [(parameters, false)].into_iter().chain(folded) {
                    let what = format!(
                        "{activation:?}, {sizes:?}, batch norm {batch_norm}, folded {is_folded}"
                    );
                    let network = Network::from_parameters(&device, &queue, &parameters).unwrap();
                    // A row for each NaN, and a row without.
                    let predict = |values: [f32; 4]| {
                        let rows = values.into_iter().chain([0.75]);
                        let inputs: Vec<f32> = rows.flat_map(|value| [0.5, value, -1.0]).collect();
                        block_on(&device, Inference::predict(&network, &inputs)).unwrap()
                    };
                    let [found, expected] = [NANS.map(f32::from_bits), [0.0; 4]].map(predict);
                    let are_nan = found[..8].iter().all(|value| value.is_nan());
                    assert!(are_nan, "{what}: {found:?}");
                    assert_eq!(found[8..], expected[8..], "{what}: the row without NaN");
                }
            }
        }
    }
}

/// A trainer of a new network with these sizes and options.
fn trainer(
    (device, queue): &(Device, Queue),
    sizes: &[u32],
    (activation, batch_norm): (Activation, bool),
    (loss, batch_size): (Loss, u32),
) -> Trainer {
    let parameters = parameters(sizes, activation, batch_norm);
    let network = Network::from_parameters(device, queue, &parameters).unwrap();
    Trainer::new(network, TrainerOptions { batch_size, loss, ..Default::default() }).unwrap()
}

fn good_inputs(rows: u32) -> Vec<f32> {
    (0..3 * rows).map(|index| (1.3 * index as f32).sin()).collect()
}

/// Takes a step on a good batch and one on a bad batch, each given as inputs and targets. Returns the
/// fault and the loss.
fn fault_and_loss(
    gpu @ (device, _): &(Device, Queue),
    mut trainer: Trainer,
    good: [&[u32]; 2],
    bad: [&[u32]; 2],
) -> (Option<Fault>, f32) {
    for [inputs, targets] in [good, bad] {
        assert_eq!(block_on(device, trainer.fault()).unwrap(), None);
        step(gpu, &mut trainer, inputs, targets);
    }
    let fault = block_on(device, trainer.fault()).unwrap();
    (fault, block_on(device, trainer.loss()).unwrap())
}

#[test]
fn a_step_on_nan_is_a_fault() {
    const ROWS: u32 = 8;
    let cases = Activation::ALL
        .into_iter()
        .flat_map(|activation| [false, true].map(|norm| (activation, norm)));
    let [plain, with_subgroups] = both_devices();
    // Both devices compile the same text of the activations, the first one slowly. Six cases have every loss,
    // NaN and size.
    let on_plain = cases.clone().enumerate().take(6).map(|case| (&plain, case));
    let with_subgroups = cases.enumerate().map(|case| (&with_subgroups, case));
    for (gpu, (number, (activation, batch_norm))) in on_plain.chain(with_subgroups) {
        let (sizes, loss) = (SIZES[number / 2 % 2], Loss::ALL[number % Loss::ALL.len()]);
        let trainer = trainer(gpu, sizes, (activation, batch_norm), (loss, ROWS));
        let inputs = bits(&good_inputs(ROWS));
        let mut bad = inputs.clone();
        bad[4] = NANS[number % NANS.len()];
        let targets = match loss.has_class_targets() {
            true => vec![1; ROWS as usize],
            false => bits(&vec![0.5; 2 * ROWS as usize]),
        };
        let what = format!("{activation:?}, batch norm {batch_norm}, {loss:?}, {sizes:?}");
        let (fault, loss) = fault_and_loss(gpu, trainer, [&inputs, &targets], [&bad, &targets]);
        let (layer, quantity) = match batch_norm {
            true => (1, Quantity::BatchStatistics),
            false => (3, Quantity::Loss),
        };
        assert_eq!(fault, Some(Fault { step: 2, layer: Some(layer), quantity }), "{what}");
        assert!(loss.is_nan(), "{what}: {loss}");
    }
}

/// An invalid target, in the first row or in the last, makes the batch's loss NaN, which is a fault.
#[test]
fn an_invalid_target_is_a_fault() {
    // Output layers in one dispatch, row by row, and after a product for all rows.
    let ways: [(&[u32], u32); 3] = [(&[3, 4, 2], 8), (&[3, 4, 2], 300), (&[3, 4, 40], 8)];
    for gpu in both_devices() {
        for (sizes, rows) in ways {
            let columns = *sizes.last().unwrap();
            let inputs = bits(&good_inputs(rows));
            let check = |loss: Loss, good: &[u32], bad: &[u32]| {
                let make = || trainer(&gpu, sizes, (Activation::Relu, false), (loss, rows));
                let places = [0, good.len() - 1];
                for (bad, place) in bad.iter().flat_map(|&bad| places.map(|place| (bad, place))) {
                    let mut targets = good.to_vec();
                    targets[place] = bad;
                    let (fault, found) =
                        fault_and_loss(&gpu, make(), [&inputs, good], [&inputs, &targets]);
                    let expected = Fault { step: 2, layer: Some(2), quantity: Quantity::Loss };
                    let what = format!("{loss:?}, {sizes:?} × {rows}: {bad:#x}");
                    assert_eq!(fault, Some(expected), "{what}");
                    assert!(found.is_nan(), "{what}: {found}");
                }
            };
            let classes = vec![1; rows as usize];
            let values = vec![0.5_f32.to_bits(); (rows * columns) as usize];
            check(Loss::SoftmaxCrossEntropy, &classes, &[columns, u32::MAX]);
            check(Loss::MeanSquaredError, &values, &NANS);
            let outside = [-1e-30, 1.000_000_1, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_bits);
            check(Loss::BinaryCrossEntropy, &values, &[outside, NANS].concat());
        }
    }
}

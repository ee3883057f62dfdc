//! The rows of docs/conventions.md: where libraries differ, and ztilde's convention. The numbers are
//! simple enough to be computed by hand. Comments give the results of other libraries.

use std::fs;
use std::path::Path;

use ndarray::{arr1, arr2};
use ztilde::{
    Activation, BatchNorm, Inference, Layer, Loss, Method, Network, NetworkOptions, Optimizer,
    Parameters, Targets, Trainer, TrainerOptions, block_on,
};

use crate::fixtures::comparisons;
use crate::fixtures::test_device;

const RATE: f64 = 0.125;

fn network(layers: Vec<Layer>, epsilon: f32, momentum: f32) -> Network {
    let (device, queue) = test_device::device();
    let activation = Activation::Identity;
    let parameters = Parameters { activation, epsilon, momentum, layers, notes: String::new() };
    Network::from_parameters(&device, &queue, &parameters).unwrap()
}

/// One input, one output.
fn linear(weight: f32, bias: f32) -> Layer {
    Layer::Linear { weights: arr2(&[[weight]]), biases: arr1(&[bias]) }
}

/// A unit that outputs its normalized input.
fn normalized(running_var: f32) -> Layer {
    let batch_norm = BatchNorm {
        gamma: arr1(&[1.0]),
        beta: arr1(&[0.0]),
        running_mean: arr1(&[0.0]),
        running_var: arr1(&[running_var]),
        batches: 0,
    };
    Layer::Normalized { weights: arr2(&[[1.0]]), batch_norm }
}

fn parameters(network: &Network) -> Parameters {
    block_on(&test_device::device().0, network.parameters()).unwrap()
}

fn loss(trainer: &Trainer) -> f32 {
    block_on(&test_device::device().0, trainer.loss()).unwrap()
}

fn trainer(network: Network, options: TrainerOptions) -> Trainer {
    Trainer::new(network, options).unwrap()
}

/// The loss of one batch.
fn loss_of<'a>(
    network: Network,
    options: TrainerOptions,
    inputs: &[f32],
    targets: impl Into<Targets<'a>>,
) -> f32 {
    let mut trainer = trainer(network, options);
    trainer.step(inputs, targets).unwrap();
    loss(&trainer)
}

fn squared_errors(batch_size: u32, optimizer: Optimizer) -> TrainerOptions {
    let loss = Loss::MeanSquaredError;
    TrainerOptions { batch_size, loss, optimizer, ..Default::default() }
}

/// A line through the origin with this slope, trained on one point. The gradients of its slope and its
/// bias are twice the error at that point: both are 1 if `input` is 1 and `output − target` is ½.
fn line(slope: f32, optimizer: Optimizer) -> Trainer {
    trainer(network(vec![linear(slope, 0.0)], 1e-5, 0.1), squared_errors(1, optimizer))
}

fn slope_and_bias(trainer: &Trainer) -> [f32; 2] {
    match &parameters(trainer.network()).layers[0] {
        Layer::Linear { weights, biases } => [weights[[0, 0]], biases[0]],
        Layer::Normalized { .. } => panic!("a line has no batch normalization"),
    }
}

#[track_caller]
fn assert_close(found: impl Into<f64>, expected: f64) {
    comparisons::assert_close("a number by hand", [found.into()], [expected], |_| 2e-6);
}

/// Of sums 1 and 3: mean 2, variance 1 by n and 2 by n − 1.
#[test]
fn running_statistics_take_the_momentums_share_of_the_new_and_the_unbiased_variance() {
    let network = network(vec![normalized(1.0), linear(1.0, 0.0)], 1e-5, 0.25);
    let mut trainer = trainer(network, squared_errors(2, Optimizer::gradient_descent(RATE)));
    trainer.step(&[1.0, 3.0], &[0.0_f32, 0.0]).unwrap();
    let Layer::Normalized { batch_norm, .. } = &parameters(trainer.network()).layers[0] else {
        panic!("the first layer is normalized");
    };
    // Keras and ONNX keep the momentum's share of the old value: 1.5.
    assert_close(batch_norm.running_mean[0], 0.5);
    // ¾ · 1 + ¼ · 2. With the variance that divides by n, as in Keras, burn and ONNX: 1.
    assert_close(batch_norm.running_var[0], 1.25);
    assert_eq!(batch_norm.batches, 1);
}

/// Outputs are ∓ 1 / √(1 + ½), whose squares are the loss.
#[test]
fn a_batch_is_normalized_by_the_biased_variance_with_epsilon_inside_the_root() {
    let network = network(vec![normalized(1.0), linear(1.0, 0.0)], 0.5, 0.1);
    let options = squared_errors(2, Optimizer::gradient_descent(RATE));
    // With epsilon outside the root it would be 4/9; with the variance that divides by n − 1, 2/5.
    assert_close(loss_of(network, options, &[1.0, 3.0], &[0.0_f32, 0.0]), 2.0 / 3.0);
}

#[test]
fn inference_normalizes_by_the_running_variance_with_epsilon_inside_the_root() {
    let (device, _) = test_device::device();
    let network = network(vec![normalized(3.5), linear(1.0, 0.0)], 0.5, 0.1);
    let outputs = block_on(&device, Inference::predict(&network, &[1.0, 3.0])).unwrap();
    assert_close(outputs[0], 0.5);
    assert_close(outputs[1], 1.5);
}

#[test]
fn defaults() {
    let NetworkOptions { epsilon, momentum, .. } = NetworkOptions::default();
    assert_eq!((epsilon, momentum), (1e-5, 0.1));
    assert_eq!(Activation::NEGATIVE_SLOPE, 0.01);
    let method = Method::RmsProp { smoothing: 0.99, epsilon: 1e-8 };
    assert_eq!(Optimizer::rmsprop(RATE).method, method);
    let adam = |decoupled| Method::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled };
    assert_eq!(Optimizer::adam(RATE).method, adam(false));
    assert_eq!(Optimizer::adamw(RATE, 0.5).method, adam(true));
    let lion = Method::Lion { beta1: 0.9, beta2: 0.99 };
    assert_eq!(Optimizer::lion(RATE, 0.5).method, lion);
    assert_eq!(Optimizer::default(), Optimizer::adam(1e-3));
    for optimizer in Method::ALL.map(Optimizer::usual) {
        let Optimizer { method, learning_rate, weight_decay, .. } = optimizer;
        let constructed = match method.name() {
            "gradient-descent" => Optimizer::gradient_descent(learning_rate),
            "momentum" => Optimizer::momentum(learning_rate, 0.9),
            "nesterov" => Optimizer::nesterov(learning_rate, 0.9),
            "rmsprop" => Optimizer::rmsprop(learning_rate),
            "adam" => Optimizer::adam(learning_rate),
            "adamw" => Optimizer::adamw(learning_rate, weight_decay),
            "lion" => Optimizer::lion(learning_rate, weight_decay),
            other => panic!("{other} has no constructor"),
        };
        assert_eq!(constructed, optimizer);
    }
    for optimizer in [Optimizer::gradient_descent(RATE), Optimizer::adam(RATE)] {
        assert_eq!((optimizer.weight_decay, optimizer.decays_all), (0.0, false));
    }
}

/// The velocity is 1 after the first step; half of it and the second gradient make 1½.
#[test]
fn momentum_takes_gradients_whole_and_its_velocity_knows_no_rate() {
    for (nesterov, expected) in [(false, [0.375, 0.0]), (true, [0.3125, -0.125])] {
        let method = Method::Momentum { momentum: 0.5, nesterov };
        let mut line = line(0.5, Optimizer::new(method, RATE));
        line.step(&[1.0], &[0.0_f32]).unwrap();
        let [slope, bias] = slope_and_bias(&line);
        // Plain: ½ − ⅛ · 1. Looking ahead: ½ − ⅛ · (1 + ½ · 1).
        assert_close(slope, expected[0]);
        // Another rate, and a target for which the gradient is 1 again.
        line.set_learning_rate(2.0 * RATE).unwrap();
        line.step(&[1.0], &[slope + bias - 0.5]).unwrap();
        // Plain: ⅜ − ¼ · 1½. Keras's velocity holds the first step's rate: 1/16. burn's holds 0.9 of the
        // second gradient: 0.025. Looking ahead: 5/16 − ¼ · (1 + ½ · 1½).
        assert_close(slope_and_bias(&line)[0], expected[1]);
    }
}

#[test]
fn rmsprop_adds_epsilon_outside_the_root() {
    let method = Method::RmsProp { smoothing: 0.75, epsilon: 0.5 };
    let mut line = line(0.5, Optimizer::new(method, RATE));
    line.step(&[1.0], &[0.0_f32]).unwrap();
    // ⅛ · 1 / (√¼ + ½). Keras has epsilon inside the root: ⅛ / √¾.
    assert_close(slope_and_bias(&line)[0], 0.5 - RATE);
}

#[test]
fn adam_adds_epsilon_to_the_corrected_root() {
    let method = Method::Adam { beta1: 0.5, beta2: 0.75, epsilon: 1.0, decoupled: false };
    let mut line = line(0.5, Optimizer::new(method, RATE));
    line.step(&[1.0], &[0.0_f32]).unwrap();
    // Mean and mean square are corrected to 1: ⅛ · 1 / (√1 + 1). Keras and ONNX add epsilon to the
    // uncorrected root: ⅛ · ½ / ½ · √¼ / (√¼ + 1) = ⅛ / 3.
    assert_close(slope_and_bias(&line)[0], 0.5 - RATE / 2.0);
}

/// Gradients 1, ½ and 0: the mean, which stays above 0, also moves the slope where the gradient is 0.
#[test]
fn lion_steps_by_the_rate_in_the_direction_of_its_mean() {
    let method = Method::Lion { beta1: 0.5, beta2: 0.75 };
    let optimizer = Optimizer::new(method, RATE);
    let mut plain = line(0.5, optimizer);
    for expected in [0.375, 0.25, 0.125] {
        plain.step(&[1.0], &[0.0_f32]).unwrap();
        assert_close(slope_and_bias(&plain)[0], expected);
    }
    // At input 0, only the decay moves the slope: by ⅛ · ½ of it.
    let mut decaying = line(0.5, Optimizer { weight_decay: 0.5, ..optimizer });
    decaying.step(&[0.0], &[0.0_f32]).unwrap();
    assert_close(slope_and_bias(&decaying)[0], 0.5 - RATE / 4.0);
}

/// At input 0, only the decay moves the slope.
#[test]
fn decay_goes_through_adams_gradient_and_beside_adamws() {
    for (decoupled, expected) in [(false, 0.5 - RATE / 2.0), (true, 0.5 - RATE / 4.0)] {
        let method = Method::Adam { beta1: 0.5, beta2: 0.75, epsilon: 0.25, decoupled };
        let optimizer = Optimizer { weight_decay: 0.5, ..Optimizer::new(method, RATE) };
        let mut line = line(0.5, optimizer);
        line.step(&[0.0], &[0.0_f32]).unwrap();
        // Adam: a gradient of ½ · ½, divided by itself and epsilon. AdamW, and all of Keras's optimizers:
        // ⅛ · ½ of the slope.
        assert_close(slope_and_bias(&line)[0], expected);
    }
}

#[test]
fn weights_alone_decay_unless_all_are_to() {
    for (decays_all, bias) in [(false, 0.5), (true, 0.5 - RATE / 4.0)] {
        let decay =
            Optimizer { weight_decay: 0.5, decays_all, ..Optimizer::gradient_descent(RATE) };
        let line = network(vec![linear(0.5, 0.5)], 1e-5, 0.1);
        let mut line = trainer(line, squared_errors(1, decay));
        line.step(&[0.0], &[0.5_f32]).unwrap();
        let [slope, found] = slope_and_bias(&line);
        assert_close(slope, 0.5 - RATE / 4.0);
        assert_close(found, bias);
    }
}

/// Two rows with outputs 1 and 2, whose targets are 0.
#[test]
fn losses_are_means_over_rows_and_outputs() {
    let weights = arr2(&[[0.0], [0.0]]);
    let layer = || Layer::Linear { weights: weights.clone(), biases: arr1(&[1.0, 2.0]) };
    let options = |loss| TrainerOptions { loss, batch_size: 2, ..Default::default() };
    let loss = |loss, targets: &[f32; 4]| {
        loss_of(network(vec![layer()], 1e-5, 0.1), options(loss), &[0.0, 0.0], targets)
    };
    assert_close(loss(Loss::MeanSquaredError, &[0.0; 4]), 2.5);
    let expected = [1.0_f64, 2.0].map(|output| output.exp().ln_1p()).iter().sum::<f64>() / 2.0;
    assert_close(loss(Loss::BinaryCrossEntropy, &[0.0; 4]), expected);
}

/// Two rows of these classes, whose probabilities are ¼ and ¾ in both.
fn cross_entropy(options: TrainerOptions, classes: [u32; 2]) -> f32 {
    let weights = arr2(&[[0.0], [0.0]]);
    let layer = Layer::Linear { weights, biases: arr1(&[0.0, 3.0_f32.ln()]) };
    let options = TrainerOptions { batch_size: 2, ..options };
    loss_of(network(vec![layer], 1e-5, 0.1), options, &[0.0, 0.0], &classes)
}

#[test]
fn class_weights_divide_by_what_the_batch_weighs() {
    let [first, second] = [4.0_f64.ln(), (4.0_f64 / 3.0).ln()];
    assert_close(cross_entropy(TrainerOptions::default(), [0, 1]), (first + second) / 2.0);
    let class_weights = Some(vec![3.0, 1.0]);
    let found = cross_entropy(TrainerOptions { class_weights, ..Default::default() }, [0, 1]);
    // Keras divides by the number of rows: twice as much.
    assert_close(found, (3.0 * first + second) / 4.0);
}

#[test]
fn label_smoothing_gives_its_share_to_all_classes() {
    let [first, second] = [4.0_f64.ln(), (4.0_f64 / 3.0).ln()];
    let smoothed = TrainerOptions { label_smoothing: 0.5, ..Default::default() };
    // Targets of ¾ and ¼.
    assert_close(cross_entropy(smoothed, [0, 0]), 0.75 * first + 0.25 * second);
}

#[test]
fn class_weights_weigh_rows_whose_labels_are_smoothed() {
    let [first, second] = [4.0_f64.ln(), (4.0_f64 / 3.0).ln()];
    let options = TrainerOptions {
        label_smoothing: 0.5,
        class_weights: Some(vec![3.0, 1.0]),
        ..Default::default()
    };
    // Both parts of a row's target have the weight of the row's class. PyTorch gives each part the weight
    // of the part's own class: (2.25 · first + 0.25 · second + 0.75 · first + 0.75 · second) / 4.
    let rows = [0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second];
    assert_close(cross_entropy(options, [0, 1]), (3.0 * rows[0] + rows[1]) / 4.0);
}

#[test]
fn weights_have_a_row_for_each_output() {
    let (device, _) = test_device::device();
    let layer =
        Layer::Linear { weights: arr2(&[[1.0, 10.0], [2.0, 20.0]]), biases: arr1(&[0.0, 0.5]) };
    let network = network(vec![layer], 1e-5, 0.1);
    let outputs = block_on(&device, Inference::predict(&network, &[1.0, 3.0])).unwrap();
    // The weights of Keras and burn have a row for each input: 7 and 70.5.
    assert_eq!(outputs, [31.0, 62.5]);
}

/// The tests that the document names.
#[test]
fn the_document_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let document = read("docs/conventions.md");
    let mut tests = 0;
    for (path, name) in document.split('`').filter_map(|text| text.split_once(".rs::")) {
        let test = format!("fn {name}()");
        assert!(read(&format!("{path}.rs")).contains(&test), "{path}.rs has no {test}");
        tests += 1;
    }
    assert!(tests > 10, "{tests} tests");
}

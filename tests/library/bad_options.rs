//! Options that are NaN, infinite or out of range are errors that name the option and its value, before
//! the option is used.

use ztilde::kernels::{batch_statistics, normalize, normalize_backward, normalize_gradients};
use ztilde::{Loss, Method, Network, NetworkOptions, Optimizer, Schedule, Trainer, TrainerOptions};

use crate::fixtures::app::App;
use crate::fixtures::comparisons::assert_refused;

const SIZES: [u32; 3] = [4, 6, 3];
const NONE: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

#[test]
fn network_options_that_make_no_sense_are_refused() {
    let app = App::get();
    let network = |options: NetworkOptions, name, value: f32| {
        let network = Network::new(&app.device, &app.queue, &SIZES, options);
        assert_refused(network, &[name, &format!("is {value},"), "must be"]);
    };
    for value in NONE.map(|value| value as f32).into_iter().chain([0.0, -1e-5]) {
        network(NetworkOptions { epsilon: value, ..Default::default() }, "epsilon", value);
    }
    for value in NONE.map(|value| value as f32).into_iter().chain([-0.1, 1.1]) {
        network(NetworkOptions { momentum: value, ..Default::default() }, "momentum", value);
    }
    app.assert_silent();
}

/// The public kernels accept what a network accepts.
#[test]
fn kernel_options_that_make_no_sense_are_refused() {
    let app = App::get();
    let device = &app.device;
    for value in NONE.map(|value| value as f32).into_iter().chain([0.0, -1e-5]) {
        let parts = ["epsilon", &format!("is {value},"), "above 0"];
        assert_refused(normalize::Normalize::new(device, value), &parts);
        assert_refused(normalize_backward::NormalizeBackward::new(device, value), &parts);
        assert_refused(normalize_gradients::NormalizeGradients::new(device, value), &parts);
    }
    for value in NONE.map(|value| value as f32).into_iter().chain([-0.1, 1.1]) {
        let parts = ["momentum", &format!("is {value},"), "between 0 and 1"];
        assert_refused(batch_statistics::BatchStatistics::new(device, value), &parts);
    }
    app.assert_silent();
}

#[test]
fn trainer_options_that_make_no_sense_are_refused() {
    let app = App::get();
    let trainer = |options: TrainerOptions, name: &str, value: &str| {
        let network = NetworkOptions::default();
        let network = Network::new(&app.device, &app.queue, &SIZES, network).unwrap();
        assert_refused(Trainer::new(network, options), &[name, &format!("is {value}"), "must be"]);
    };
    let none = TrainerOptions { batch_size: 0, ..Default::default() };
    trainer(none, "batch_size", "0");
    // The last two are 0 and infinite in f32, in which the GPU computes.
    for norm in NONE.into_iter().chain([0.0, -1.0, 1e-60, 1e60]) {
        let options = TrainerOptions { clip_norm: Some(norm), ..Default::default() };
        trainer(options, "clip_norm", &norm.to_string());
    }
    let optimizer = |optimizer, name: &str, value: f64| {
        let options = TrainerOptions { optimizer, ..Default::default() };
        trainer(options, name, &value.to_string());
    };
    let good = Optimizer::momentum(0.1, 0.9);
    for value in NONE.into_iter().chain([0.0, -0.1, 1e-60, 1e60]) {
        optimizer(Optimizer { learning_rate: value, ..good }, "learning_rate", value);
    }
    let tiny = Optimizer { learning_rate: 1e-300, ..good };
    let options = TrainerOptions { optimizer: tiny, ..Default::default() };
    trainer(options, "learning_rate", "1e-300 (0 in f32), ");
    for value in NONE.into_iter().chain([-0.1]) {
        optimizer(Optimizer { weight_decay: value, ..good }, "weight_decay", value);
        let schedule = Schedule::Cosine { steps: 9, last: value };
        optimizer(Optimizer { schedule, ..good }, "the schedule's last", value);
    }
    for value in NONE.into_iter().chain([0.0, -0.1]) {
        let schedule = Schedule::Step { every: 9, factor: value };
        optimizer(Optimizer { schedule, ..good }, "the schedule's factor", value);
    }
    let schedule = Schedule::Step { every: 0, factor: 0.5 };
    optimizer(Optimizer { schedule, ..good }, "the schedule's every", 0.0);
    for schedule in [Schedule::Cosine { steps: 0, last: 0.5 }, Schedule::OneCycle { steps: 0 }] {
        optimizer(Optimizer { schedule, ..good }, "the schedule's steps", 0.0);
    }

    for usual in Method::ALL {
        for place in 0..usual.clone().hyperparameters().len() {
            let refuse = |number: f64| {
                let mut method = usual;
                let (name, value) = method.hyperparameters().swap_remove(place);
                *value = number;
                let name = if name == "epsilon" { "the optimizer's epsilon" } else { name };
                optimizer(Optimizer::new(method, 0.1), name, number);
            };
            let name = usual.clone().hyperparameters()[place].0;
            let beyond = if name == "epsilon" { [0.0, -1e-8, 1e-60] } else { [-0.1, 1.0, 1.5] };
            NONE.into_iter().chain(beyond).for_each(refuse);
        }
    }
    for usual in Loss::ALL {
        for place in 0..usual.clone().hyperparameters().len() {
            for number in NONE.into_iter().chain([0.0, -1.0, 1e-60]) {
                let mut loss = usual;
                let (name, value) = loss.hyperparameters().swap_remove(place);
                *value = number;
                let options = TrainerOptions { loss, ..Default::default() };
                trainer(options, name, &number.to_string());
            }
        }
    }
    app.assert_silent();
}

#[test]
fn options_of_cross_entropy_that_make_no_sense_are_refused() {
    let app = App::get();
    let refused = |options: TrainerOptions, parts: &[&str]| {
        let network = NetworkOptions::default();
        let network = Network::new(&app.device, &app.queue, &SIZES, network).unwrap();
        assert_refused(Trainer::new(network, options), parts);
    };
    for value in NONE.map(|value| value as f32).into_iter().chain([-0.1, 1.0, 1.5]) {
        let options = TrainerOptions { label_smoothing: value, ..Default::default() };
        refused(options, &[&format!("label_smoothing is {value}, but must be at least 0")]);
    }
    let weights = |weights: &[f32], parts: &[&str]| {
        let class_weights = Some(weights.to_vec());
        refused(TrainerOptions { class_weights, ..Default::default() }, parts);
    };
    for value in NONE.map(|value| value as f32).into_iter().chain([-0.1]) {
        let message = format!("class_weights is {value} for class 1, but must be finite and at");
        weights(&[1.0, value, 0.0], &[&message]);
    }
    weights(&[0.0; 3], &["class_weights is 0 for each of 3 classes, but must be above 0"]);
    weights(&[1.0; 4], &["class_weights holds 4 values, but 3 are needed"]);
    weights(&[], &["class_weights holds 0 values, but 3 are needed"]);
    for loss in [Loss::MeanSquaredError, Loss::BinaryCrossEntropy] {
        let name = loss.name();
        let options = TrainerOptions { loss, label_smoothing: 0.125, ..Default::default() };
        refused(options, &[&format!("label_smoothing is 0.125 with {name}, but must be 0 with")]);
        let class_weights = Some(vec![1.0; 3]);
        let options = TrainerOptions { loss, class_weights, ..Default::default() };
        refused(options, &[&format!("class_weights is of 3 values with {name}, but must be none")]);
    }
    app.assert_silent();
}

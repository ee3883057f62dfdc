//! Label smoothing, class weights, schedules, and the decay of all parameters, against PyTorch 2.15 in
//! float64.
//!
//! PyTorch is not needed to run these tests. The program in tests/library/pytorch.rs, followed by the one in the
//! next comment, computed their numbers. PyTorch has another convention for class weights with label
//! smoothing, so those numbers come from the same program in NumPy. It reproduces all other numbers, and
//! PyTorch's own under its convention, to the last digit.

use ndarray::{Array1, Array2, arr1};
use ztilde::{
    Activation, Method, Optimizer, Schedule, Targets, TrainerOptions,
    reference::{Network, Trainer, record_step, smoothed_cross_entropy, weigh_classes},
};

use crate::fixtures::pytorch_numbers::{assert_close, matrix, numbers, parameters};

// def cross_entropy(outputs, classes, weights, smoothing):
//     losses = F.cross_entropy(outputs, classes, reduction="none", label_smoothing=smoothing)
//     row_weights = torch.ones(len(classes)) if weights is None else weights[classes]
//     return (row_weights * losses).sum() / row_weights.sum()
//
// weights = torch.tensor([0.5, 2.0, 0.0, 1.25])
// for smoothing, weight in ((0.0, weights), (0.125, None), (0.125, weights)):
//     outputs = (3 * numbers(1, 5, 4)).requires_grad_()
//     classes = torch.tensor([3, 0, 1, 2, 0])
//     loss = cross_entropy(outputs, classes, weight, smoothing)
//     show("loss", loss, torch.autograd.grad(loss, outputs)[0])
//
// def rates(make, steps):
//     group = SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
//     schedule = make(group)
//     found = []
//     for step in range(steps):
//         found.append(group.param_groups[0]["lr"])
//         group.step()
//         if step + 1 < steps:
//             schedule.step()
//     show(steps, torch.tensor(found))
//
// one_cycle = lambda steps: lambda group: lr_scheduler.OneCycleLR(group, 0.5, steps)
// ramp = lambda group: lr_scheduler.LinearLR(group, start_factor=1 / 5, total_iters=4)
// chained = lambda *makes: lambda group: lr_scheduler.ChainedScheduler([m(group) for m in makes])
// for steps in (1, 2, 7, 10, 20):
//     rates(one_cycle(steps), steps)
// rates(ramp, 7)
// cosine = lambda group: lr_scheduler.CosineAnnealingLR(group, T_max=8)
// rates(chained(ramp, cosine), 9)
// halves = lambda group: lr_scheduler.StepLR(group, step_size=3, gamma=0.5)
// rates(chained(ramp, halves), 9)
//
// def decaying(method, parameters):
//     adam = {"lr": 0.0625, "betas": (0.875, 0.96875), "eps": 2**-10}
//     match method:
//         case 0: return SGD(parameters, lr=0.25, weight_decay=0.0625)
//         case 1: return Adam(parameters, weight_decay=0.0625, **adam)
//         case 2: return AdamW(parameters, weight_decay=0.25, **adam)
//
// def train_all(method, batch_norm):
//     model = network(nn.Tanh(), batch_norm)
//     learned = list(model.parameters())
//     steps, losses = decaying(method, learned), 0.0
//     for step in range(1, 6):
//         classes = torch.tensor([(row * row + step) // 2 % 2 for row in range(8)])
//         outputs = model(numbers(100 + step, 8, 4))
//         loss = cross_entropy(outputs, classes, torch.tensor([0.75, 2.0]), 0.125)
//         steps.zero_grad()
//         loss.backward()
//         steps.step()
//         losses += loss.item()
//     flat = torch.cat([p.detach().flatten() for p in learned])
//     checks = losses, flat[0], flat[-1], flat.dot(numbers(400, len(flat)))
//     return [round(float(number), 13) for number in checks]
//
// for method in range(3):
//     for batch_norm in (False, True):
//         print(train_all(method, batch_norm), end=",\n")

/// Label smoothing, whether classes are weighted, the loss, and its gradient.
#[rustfmt::skip]
const LOSSES: [(f64, bool, f64, [f64; 20]); 3] = [
    (0.0, true, 2.5940317835127,
     [0.0358987944151, 0.2340895450187, 0.0186240491978, -0.2886123886315,
      -0.116146321288, 0.0061239461081, 0.0928473435857, 0.0171750315942,
      0.0730986060094, -0.2839244055893, 0.0058156891821, 0.2050101103978,
      0.0, 0.0, -0.0, 0.0,
      -0.1155832804853, 0.0020637783383, 0.0076678667498, 0.1058516353972]),
    (0.125, false, 2.6641977820357,
     [0.0181611802023, 0.1529308906127, 0.0064143534545, -0.1775064242694,
      -0.1786987461895, 0.0041607083838, 0.1515904840956, 0.0229475537101,
      0.024816907554, -0.1019178723755, -0.0037783320976, 0.080879296919,
      0.0094080034441, 0.018771418259, -0.0326909995975, 0.0045115778944,
      -0.177741576825, -0.002741576825, 0.0067853734747, 0.1736977801752]),
    (0.125, true, 2.5459504416009,
     [0.0267076179445, 0.2248983685481, 0.0094328727272, -0.2610388592198,
      -0.1051169095233, 0.0024474755199, 0.0891708729974, 0.0134985610059,
      0.0583927236565, -0.2398067585305, -0.0088901931708, 0.1903042280448,
      0.0, 0.0, 0.0, 0.0,
      -0.1045538687206, -0.00161269225, 0.0039913961616, 0.1021751648089]),
];

/// The rates of the one-cycle policy over these numbers of steps.
#[rustfmt::skip]
const ONE_CYCLES: [&[f64]; 5] = [
    &[2e-06],
    &[0.4058728269749, 2e-06],
    &[0.02, 0.4902783136675, 0.4595221881349, 0.3363419182403, 0.1788693878698, 0.0496483959466,
      2e-06],
    &[0.02, 0.26, 0.5, 0.4752423160067, 0.4058728269749, 0.3056310109681, 0.1943709890319,
      0.0941291730251, 0.0247596839933, 2e-06],
    &[0.02, 0.06583592135, 0.18583592135, 0.33416407865, 0.45416407865, 0.5, 0.4937320031175,
      0.4752423160067, 0.4454580887855, 0.4058728269749, 0.3584715008957, 0.3056310109681,
      0.250001, 0.1943709890319, 0.1415304991043, 0.0941291730251, 0.0545439112145,
      0.0247596839933, 0.0062699968825, 2e-06],
];

/// The rates of schedules whose first 4 steps are a ramp.
#[rustfmt::skip]
const WARMED_UP: [(Schedule, &[f64]); 3] = [
    (Schedule::Constant,
     &[0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5]),
    (Schedule::Cosine { steps: 8, last: 0.0 },
     &[0.1, 0.1923879532511, 0.256066017178, 0.276536686473, 0.25, 0.1543291419087,
       0.0732233047034, 0.0190301168722, 0.0]),
    (Schedule::Step { every: 3, factor: 0.5 },
     &[0.1, 0.2, 0.3, 0.2, 0.25, 0.25, 0.125, 0.125, 0.125]),
];

/// A row has the results of five training steps with smoothed labels, weighted classes, and decay of all
/// parameters: the sum of the losses, the first weight, the last bias, and the product of all parameters
/// with numbers(400). For each method: without batch normalization, then with it.
#[rustfmt::skip]
const DECAYING: [[f64; 4]; 6] = [
    [3.7194804915007, -0.8683484488137, 0.5819366872371, 1.4576385348796],
    [3.635799924948, -0.8729024157409, 0.5472619294133, 5.4679160038532],
    [3.7276501227994, -0.6334127920683, 0.7004483348214, 1.0132807703229],
    [3.6879051957642, -0.6317776188261, 0.6855506011587, 4.0709149632717],
    [3.8133943396285, -1.0449857635684, 0.6617654642861, 3.1788257074085],
    [3.7096907788007, -1.046653228161, 0.6494201925705, 6.1907335933211],
];

#[test]
fn smoothed_labels_and_weighed_classes() {
    let outputs = matrix(1, 5, 4) * 3.0;
    let classes = [3, 0, 1, 2, 0];
    for (smoothing, has_weights, expected, grad_outputs) in LOSSES {
        let what = format!("smoothing {smoothing}, weights {has_weights}");
        let weights = match has_weights {
            true => weigh_classes(&arr1(&[0.5, 2.0, 0.0, 1.25]), &classes),
            false => Array1::ones(4),
        };
        let found = smoothed_cross_entropy(&outputs, &classes, smoothing, &weights);
        let (loss, _) = record_step(&found.row_losses, &found.row_accuracies);
        assert_close(&what, [&loss], [&expected]);
        assert_close(&format!("{what}, backward"), &found.grad_outputs, &grad_outputs);
    }
}

#[track_caller]
fn assert_rates(optimizer: &Optimizer, expected: &[f64]) {
    let steps = 1..=expected.len() as u64;
    let found: Vec<f64> = steps.map(|step| optimizer.learning_rate_at(step)).collect();
    assert_close(&format!("{optimizer:?}"), &found, expected);
}

#[test]
fn one_cycle() {
    for expected in ONE_CYCLES {
        let steps = expected.len() as u64;
        let schedule = Schedule::OneCycle { steps };
        let optimizer = Optimizer { schedule, ..Optimizer::gradient_descent(0.5) };
        assert_rates(&optimizer, expected);
        // PyTorch's schedule ends here.
        for step in [steps + 1, 10 * steps, u64::MAX] {
            let found = optimizer.learning_rate_at(step);
            assert_close(&format!("step {step} of {steps}"), [&found], [&2e-6]);
        }
    }
}

#[test]
fn warm_up_with_every_schedule() {
    for (schedule, expected) in WARMED_UP {
        let optimizer = Optimizer { schedule, warm_up: 4, ..Optimizer::gradient_descent(0.5) };
        assert_rates(&optimizer, expected);
    }
    let schedule = Schedule::OneCycle { steps: 10 };
    let plain = Optimizer { schedule, ..Optimizer::gradient_descent(0.5) };
    let expected: Vec<f64> = (1..=12)
        .map(|step: u64| plain.learning_rate_at(step) * (step as f64 / 5.0).min(1.0))
        .collect();
    assert_rates(&Optimizer { warm_up: 4, ..plain }, &expected);
}

#[test]
fn decay_of_all_parameters() {
    let adam =
        |decoupled| Method::Adam { beta1: 0.875, beta2: 0.96875, epsilon: 1.0 / 1024.0, decoupled };
    let optimizers = [
        (Optimizer::gradient_descent(0.25), 0.0625),
        (Optimizer::new(adam(false), 0.0625), 0.0625),
        (Optimizer::new(adam(true), 0.0625), 0.25),
    ];
    for (index, expected) in DECAYING.iter().enumerate() {
        let (optimizer, weight_decay) = optimizers[index / 2];
        let options = TrainerOptions {
            label_smoothing: 0.125,
            class_weights: Some(vec![0.75, 2.0]),
            optimizer: Optimizer { weight_decay, decays_all: true, ..optimizer },
            ..TrainerOptions::default()
        };
        let found = train(index % 2 == 1, &options);
        assert_close(&format!("batch norm {}, {options:?}", index % 2), &found, expected);
    }
}

fn train(batch_norm: bool, options: &TrainerOptions) -> [f64; 4] {
    let network = Network::from(&parameters(Activation::Tanh, batch_norm));
    let mut trainer = Trainer::new(network, options);
    let mut losses = 0.0;
    for step in 1..=5 {
        let class = |row: u32| (row * row + step) / 2 % 2;
        let targets = Targets::Classes((0..8).map(class).collect());
        let inputs: Array2<f64> = matrix(100 + step as usize, 8, 4);
        losses += trainer.step(&inputs, &targets).0;
    }
    let mut network = trainer.network().clone();
    let learned: Array1<f64> = network.learned_mut().into_iter().map(|(value, _)| *value).collect();
    let checked = learned.dot(&numbers(400, learned.len()));
    [losses, learned[0], learned[learned.len() - 1], checked]
}

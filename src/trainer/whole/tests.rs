//! Whole steps against their twin, and against the steps of many dispatches.

use super::cases::{Case, any_division_gives_the_same_bits, matches_the_reference, train};
use super::with_buffers;
use crate::data::{Dataset, Targets};
use crate::error::Fault;
use crate::fused::whole_steps::levels;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Gpu, block_on};
use crate::options::{Loss, OnFault, Optimizer};
use crate::parameters::Layer;
use crate::plan::DeviceClass;
use crate::trainer::cases::{numbers, parameters};

/// Each way, with its device and class: on lanes only where the adapter has them.
fn ways() -> Vec<(TestGpu, DeviceClass, bool)> {
    let gpu = TestGpu::with_subgroups();
    let class = gpu.gpu.class;
    let on_lanes = class.lanes().map(|_| (gpu, class, true));
    let nvidia = DeviceClass::named("nvidia").expect("a class");
    on_lanes.into_iter().chain([(TestGpu::new(), nvidia, false)]).collect()
}

/// The devices of the tests: one with lanes if the adapter has them, and one without.
fn devices() -> [TestGpu; 2] {
    [TestGpu::with_subgroups(), TestGpu::new()]
}

#[test]
fn steps_match_the_twin() {
    for mut gpu in devices() {
        let class = gpu.gpu.class;
        matches_the_reference(&mut gpu, class);
    }
}

#[test]
fn the_division_of_steps_among_dispatches_changes_no_bit() {
    for mut gpu in devices() {
        let class = gpu.gpu.class;
        any_division_gives_the_same_bits(&mut gpu, class);
    }
}

/// What is known after steps of which some see values that are not finite.
#[derive(Debug, PartialEq)]
struct Outcome {
    steps: u64,
    fault: Option<Fault>,
    skipped: (u64, Option<Fault>),
    metrics: usize,
    batches: u64,
}

/// The outcome, and the parameters.
fn outcome(gpu: &Gpu, case: &Case, class: DeviceClass, is_whole: bool) -> (Outcome, Vec<f32>) {
    let mut trainer = case.trainer(gpu, class, is_whole);
    // An overflow: errors of 1e30 have squares that are infinite. Each dispatch has several steps.
    let mut dataset = case.dataset(24);
    let spoiled: Vec<f32> = match dataset.targets() {
        Targets::Values(values) => {
            let of = |(i, &value)| if i % 97 == 60 { 1e30 } else { value };
            values.iter().enumerate().map(of).collect()
        }
        Targets::Classes(_) => unreachable!("values are errors"),
    };
    dataset = Dataset::new(dataset.inputs().to_owned(), spoiled).expect("a data set");
    let mut data = trainer.upload(&dataset).expect("the data");
    for steps in [16, 5, 3] {
        trainer.train(&mut data, steps).expect("steps");
    }
    let device = &gpu.device;
    let fault = block_on(device, trainer.fault()).expect("the fault");
    let skipped = block_on(device, trainer.skipped()).expect("the skipped steps");
    let taken = trainer.steps() as u32;
    let metrics = block_on(device, trainer.metrics(taken)).expect("the metrics");
    let parameters = parameters(&trainer);
    let batches = match &parameters.layers[0] {
        Layer::Normalized { batch_norm, .. } => batch_norm.batches,
        Layer::Linear { .. } => 0,
    };
    let outcome = Outcome {
        steps: trainer.steps(),
        fault,
        skipped: (skipped.steps, skipped.last),
        metrics: metrics.len(),
        batches,
    };
    (outcome, numbers(&parameters))
}

#[test]
fn faults_stop_or_skip_as_in_many_dispatches() {
    for (gpu, class, _) in ways() {
        for on_fault in [OnFault::Stop, OnFault::SkipStep] {
            let mut case = Case::new(&[3, 4, 2], 9, Loss::MeanSquaredError, Optimizer::adam(1e-2));
            case.options.on_fault = on_fault;
            let [(whole, learned), (divided, expected)] =
                [true, false].map(|is_whole| outcome(&gpu.gpu, &case, class, is_whole));
            assert_eq!(whole, divided, "{on_fault:?}");
            let is_stopped = on_fault == OnFault::Stop;
            assert_eq!(whole.fault.is_some(), is_stopped, "{on_fault:?}");
            assert_eq!(whole.skipped.0 > 2, !is_stopped, "{whole:?}");
            for (found, expected) in learned.iter().zip(&expected) {
                let error = (found - expected).abs();
                assert!(
                    error < 1e-3 * (1.0 + expected.abs()),
                    "{on_fault:?}: {found}, not {expected}"
                );
            }
        }
    }
}

/// A hidden layer after a step shows that step, also after several steps in a dispatch.
#[test]
fn hidden_layers_show_the_last_step() {
    for (gpu, class, on_lanes) in ways() {
        let sizes: &[u32] = if on_lanes { &[2, 6, 5, 3] } else { &[3, 4, 2] };
        let case = Case::new(sizes, 33, Loss::MeanSquaredError, Optimizer::adam(1e-2));
        let shown = |is_whole| {
            let mut trainer = case.trainer(&gpu.gpu, class, is_whole);
            train(&case, &mut trainer, &[8], false);
            let layer = trainer.hidden_layer(1).expect("a hidden layer");
            let batch_norm = layer.batch_norm.expect("it is normalized");
            let found =
                [layer.pre_activations, layer.outputs, batch_norm.mean, batch_norm.variance];
            let [sums, outputs, mean, variance] = found.map(|matrix| gpu.read_inside(&matrix));
            // Each way has a center of its own.
            let (center, rest) = mean.split_at(variance.len());
            let mean = center.iter().zip(rest).map(|(center, rest)| center + rest).collect();
            [sums, outputs, mean, variance]
        };
        for (matrix, (found, expected)) in shown(true).iter().zip(&shown(false)).enumerate() {
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).abs();
                let what = format!("{on_lanes}, matrix {matrix}, value {index}");
                assert!(error < 2e-4 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
            }
        }
    }
}

/// `tests/library/shaders.rs` checks the kernel's text with the constants in that file.
#[test]
fn the_shaders_are_checked_with_such_levels() {
    let class = DeviceClass::named("nvidia").expect("a class");
    let case = Case::new(&[5, 6, 3, 2], 8, Loss::MeanSquaredError, Optimizer::adam(1e-2));
    let trainer = case.trainer(&TestGpu::new().gpu, class, true);
    let plan = trainer.plan().whole().expect("whole steps");
    let found =
        with_buffers(&trainer.network, &trainer.memory, 8, 1, |buffers| levels(plan, buffers));
    let constants = plan.constants();
    let (_, constants) = constants.split_once('\n').expect("a line about the way");
    let text = format!("{constants}{}", found.expect("the levels"));
    assert_eq!(text, include_str!("levels.wgsl"), "{text}");
}

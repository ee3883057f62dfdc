//! The plans of the six workloads, and the model against a measured profile.

use super::cost::{self, Tasks};
use super::*;
use crate::options::{Loss, Optimizer};

/// Rows of a batch, and layer sizes.
type Workload = (&'static str, u32, &'static [u32]);

const WORKLOADS: [Workload; 5] = [
    ("digits", 64, &[64, 128, 64, 10]),
    ("paper", 60, &[784, 100, 100, 100, 10]),
    ("mnist", 256, &[784, 512, 256, 10]),
    ("wide", 1024, &[1024, 1024, 1024, 1024, 10]),
    ("tall", 16384, &[32, 64, 64, 64, 64, 3]),
];

fn class(name: &str) -> DeviceClass {
    DeviceClass::named(name).expect(name)
}

fn options((name, batch_size, _): Workload) -> TrainerOptions {
    let loss = if name == "tall" { Loss::MeanSquaredError } else { Loss::SoftmaxCrossEntropy };
    TrainerOptions { batch_size, loss, optimizer: Optimizer::adam(1e-3), ..Default::default() }
}

fn plan(class: DeviceClass, workload: Workload) -> StepPlan {
    StepPlan::new(class, workload.2, &NetworkOptions::default(), &options(workload))
}

/// By the model, an H100 takes 100,000 steps a second of the sixth workload; what it does not fit takes
/// several dispatches.
#[test]
fn one_workgroup_takes_whole_steps_of_small_networks() {
    const TINY: Workload = ("tiny", 256, &[2, 16, 16, 3]);
    let of = |name, (rows, sizes): (u32, &'static [u32])| {
        let options = TrainerOptions { loss: Loss::MeanSquaredError, ..options(("", rows, sizes)) };
        StepPlan::new(class(name), sizes, &NetworkOptions::default(), &options)
    };
    let tiny = of("nvidia", (TINY.1, TINY.2));
    assert!(tiny.whole().is_some() && tiny.microseconds() < 10.0, "{tiny}");
    let text = tiny.to_string();
    assert!(text.contains("one workgroup takes whole steps, up to 64 in a dispatch"), "{text}");
    assert!(text.contains("network/whole_steps"), "{text}");
    let is_whole = |name, network| of(name, network).whole().is_some();
    let small: (u32, &[u32]) = (256, &[2, 32, 32, 1]);
    for (name, network, expected) in [
        ("lavapipe-256", (TINY.1, TINY.2), true),
        ("nvidia", small, true),
        ("nvidia", (256, &[2, 33, 1]), false),
        ("nvidia", (65_536, TINY.2), false),
        ("lavapipe-256", (1024, TINY.2), true),
        ("lavapipe-256", (1025, TINY.2), false),
        // The drivers of software adapters would compile for too long.
        ("lavapipe-256", small, false),
        ("software", (64, &[2, 4, 1]), false),
        // An invocation has fewer registers.
        ("mali", (TINY.1, TINY.2), false),
        ("nvidia", (256, &[2, 3]), false),
    ] {
        assert_eq!(is_whole(name, network), expected, "{name} {network:?}");
    }
    let weighted = TrainerOptions {
        class_weights: Some(vec![1.0; 3]),
        loss: Loss::SoftmaxCrossEntropy,
        ..options(TINY)
    };
    let plan = StepPlan::new(class("nvidia"), TINY.2, &NetworkOptions::default(), &weighted);
    assert!(plan.whole().is_none(), "{plan}");
    // An invocation of Mesa's software adapters takes 65,535 rounds of loops.
    let tall = of("lavapipe-256", (1024, TINY.2));
    assert!(tall.whole().is_some_and(|whole| whole.most_steps < 64), "{tall}");
}

/// A layer in one word: the patch, in tiles, or that its sums are split; whether its rows are divided; who computes the gradients of its
/// weights, in which patch, and how many slabs of them.
fn word(layer: LayerPlan, rows: u32) -> String {
    let patch = |tiling: Tiling| match tiling.is_split() {
        true => "split".to_owned(),
        false => format!("{}{}", tiling.down, tiling.across),
    };
    let divided = if layer.is_divided { "/" } else { "" };
    let weights = match layer.weights.place {
        Place::WithLayer => "with".to_owned(),
        Place::BesideLayerBefore => "beside".to_owned(),
        Place::Alone => format!("alone {}", patch(layer.weights.tiling)),
    };
    let slabs = layer.order(rows).slabs();
    let slabs = if slabs > 1 { format!("×{slabs}") } else { String::new() };
    format!("{}{divided} {weights}{slabs}", patch(layer.tiling))
}

#[test]
fn plans_of_the_workloads() {
    let expected = [
        ("lavapipe-256", "digits", 6, "11 with, 11 with, 11 with"),
        ("lavapipe-256", "paper", 8, "11 with, 11 with, 11 with, 11 with"),
        ("lavapipe-256", "mnist", 6, "12 with, 12 with, 11 with"),
        ("lavapipe-256", "wide", 10, "12 with, 12 with, 12 with, 11 alone 12"),
        ("lavapipe-256", "tall", 12, "11 with, 11 with, 11 with, 11 with, 11 alone 11"),
        ("nvidia", "digits", 7, "split alone split, split beside, split with"),
        ("nvidia", "paper", 10, "split alone split, split beside, split beside, split beside"),
        ("nvidia", "mnist", 12, "split/ alone 11, split/ beside, split beside"),
        ("nvidia", "wide", 16, "22/ alone 22, 22/ beside, 12/ beside, split beside×4"),
        (
            "nvidia",
            "tall",
            20,
            "11/ alone split×64, 11/ beside×64, 11/ beside×64, 11/ beside×64, 11 beside×64",
        ),
        ("apple", "digits", 7, "split alone split, split beside, split with"),
        ("apple", "paper", 9, "split alone 11, split beside, split beside, split with"),
        ("apple", "mnist", 10, "11 alone 12, 12/ beside, split beside"),
        ("apple", "wide", 16, "12/ alone 12, 12/ beside, 12/ beside, 11 beside×4"),
        (
            "apple",
            "tall",
            20,
            "12/ alone 11×64, 12/ beside×64, 12/ beside×64, 12/ beside×64, 11 beside×64",
        ),
        ("mali", "digits", 7, "11 alone 11, 11 beside, 11 with"),
        ("mali", "paper", 10, "11 alone 11, 11 beside, 11 beside, 11 beside"),
        ("mali", "mnist", 10, "11 alone 11, 11/ beside, 11 beside"),
        ("mali", "wide", 10, "11 alone 11, 11 beside, 11 beside, 11 beside×4"),
        (
            "mali",
            "tall",
            20,
            "11/ alone 11×64, 11/ beside×64, 11/ beside×64, 11/ beside×64, 11 beside×64",
        ),
        ("unknown", "digits", 7, "split alone split, split beside, split with"),
        ("unknown", "paper", 10, "split alone 11, split beside, split beside, split beside"),
        ("unknown", "mnist", 10, "11 alone 11, 11/ beside, split beside"),
        ("unknown", "wide", 10, "11 alone 11, 11 beside, 11 beside, 11 beside×4"),
        (
            "unknown",
            "tall",
            20,
            "11/ alone 11×64, 11/ beside×64, 11/ beside×64, 11/ beside×64, 11 beside×64",
        ),
    ];
    let mut found = Vec::new();
    for name in ["lavapipe-256", "nvidia", "apple", "mali", "unknown"] {
        for workload in WORKLOADS {
            let plan = plan(class(name), workload);
            let words: Vec<_> =
                plan.layers().iter().map(|&layer| word(layer, workload.1)).collect();
            found.push((name, workload.0, plan.dispatches().len(), words.join(", ")));
        }
    }
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(class, workload, dispatches, words)| (class, workload, dispatches, words.to_owned()))
        .collect();
    let lines = |plans: &[(&str, &str, usize, String)]| {
        plans.iter().map(|plan| format!("        {plan:?},\n")).collect::<String>()
    };
    assert_eq!(found, expected, "found:\n{}", lines(&found));
}

/// The times of a step that the model predicts for an NVIDIA H100, without the batch's gathering.
#[test]
fn predictions_of_the_workloads() {
    let of = |workload: Workload| {
        let dispatches = plan(class("nvidia"), workload).dispatches;
        let total: f64 = dispatches.iter().map(|dispatch| dispatch.microseconds).sum();
        (workload.0, total.round())
    };
    let expected =
        [("digits", 56.0), ("paper", 88.0), ("mnist", 112.0), ("wide", 772.0), ("tall", 324.0)];
    assert_eq!(WORKLOADS.map(of), expected);
}

/// The layers' matrices are listed once, and the gradients of all slabs fit behind the packed ones.
#[test]
fn matrices_have_room_for_every_batch() {
    for name in DeviceClass::NAMES {
        for workload in WORKLOADS {
            let plan = plan(class(name), workload);
            let gradients = plan.matrix(Role::Gradients).expect("gradients").columns;
            for rows in [2, 63, workload.1 / 2, workload.1] {
                for (layer, slabs) in plan.layers().iter().zip(plan.slabs()) {
                    let further = u64::from(layer.order(rows).slabs() - 1);
                    assert!(
                        slabs.first + further * slabs.length <= gradients,
                        "{name}: {rows} rows"
                    );
                }
                let ranges = plan.ranges(rows);
                assert!(ranges.len() <= MOST_RANGES);
                assert!(ranges.is_sorted_by(|a, b| a.end < b.end), "{ranges:?}");
                for (index, layer) in plan.layers().iter().enumerate() {
                    let Some(statistics) = plan.matrix(Role::Statistics(index)) else { continue };
                    assert!(u64::from(layer.statistics_rows(rows)) <= statistics.rows);
                }
            }
            for (index, matrix) in plan.matrices().iter().enumerate() {
                let before = &plan.matrices()[..index];
                assert!(before.iter().all(|other| other.label != matrix.label), "{}", matrix.label);
            }
        }
    }
}

#[test]
fn products_take_larger_patches_where_they_pay() {
    let patch = |name, shape, inner| {
        let tiling = tiling_of_product(class(name), shape, inner);
        [tiling.down, tiling.across]
    };
    assert_eq!(patch("nvidia", [4096, 4096], 4096), [2, 2]);
    assert_eq!(patch("nvidia", [64, 64], 4096), [1, 1]);
    assert_eq!(patch("lavapipe-256", [512, 512], 512), [1, 2]);
    assert_eq!(patch("lavapipe-256", [64, 64], 64), [1, 1]);
    assert_eq!(patch("mali", [4096, 4096], 4096), [1, 1]);
}

/// A dispatch of the profile: its name, the workgroups, reads and other microseconds of each of its kinds of
/// tasks, in patches of one tile or of four, the bytes, and the measured microseconds.
struct Measured(&'static str, u32, &'static [(u64, u64, f64)], u64, f64);

/// The dispatches of more than 10 µs in the profile of an NVIDIA H100 80GB HBM3 (driver 580.159.04, Vulkan), each
/// in a pass of its own. Steps were divided a little differently then: a leaf was a patch high, all weights had
/// as many slabs, and leaves and slabs were read one after the other.
#[test]
fn the_model_predicts_a_measured_profile() {
    use cost::{ADDED_VALUE as VALUE, JOINED_LANES as TREE, READ_SLAB as SLAB, SUMMED_TILE as SUM};
    use cost::{FINISHED_GRADIENT as GRAD, FINISHED_TILE as FINISH, READ_LEAF as LEAF};
    use cost::{LOSS, MEASURED_TILE as MEASURE, NARROW_READ as NARROW, STORED_TILE as STORE};
    const WHOLE: f64 = SUM + 2.0 * GRAD;
    let profile = [
        Measured("digits: layer 1 forward", 1, &[(4, 4, MEASURE + FINISH)], 0, 10.4),
        Measured("digits: layer 2 forward", 1, &[(2, 8, MEASURE + FINISH)], 0, 13.5),
        Measured("digits: output layer", 1, &[(1, 12, LOSS + 4.0 * NARROW)], 0, 19.4),
        Measured("digits: layer 2 backward", 1, &[(2, 17, WHOLE + 4.0 * STORE)], 0, 20.2),
        Measured("digits: layer 1 backward", 1, &[(4, 12, WHOLE + 2.0 * STORE)], 0, 17.3),
        Measured("paper: layer 1 forward", 1, &[(4, 49, MEASURE + FINISH)], 0, 34.1),
        Measured("paper: layer 2 forward", 1, &[(4, 7, MEASURE + FINISH)], 0, 13.0),
        Measured("paper: output layer", 1, &[(1, 23, LOSS + 7.0 * NARROW)], 0, 25.2),
        Measured("paper: layer 3 backward", 1, &[(4, 1, WHOLE), (4, 4, STORE)], 0, 12.9),
        Measured("paper: layer 2 backward", 1, &[(4, 7, WHOLE), (8, 4, STORE)], 0, 16.6),
        Measured("paper: layer 1 backward", 1, &[(4, 7, WHOLE), (8, 4, STORE)], 0, 16.4),
        Measured("mnist: layer 1 forward", 1, &[(64, 49, MEASURE)], 0, 31.7),
        Measured("mnist: layer 2 forward", 1, &[(32, 32, MEASURE)], 0, 23.8),
        Measured("mnist: output layer", 1, &[(4, 16, LOSS + 16.0 * NARROW)], 0, 20.1),
        Measured("mnist: layer 2 backward", 1, &[(32, 1, SUM), (8, 16, STORE)], 0, 13.9),
        Measured("mnist: layer 1 backward", 1, &[(64, 16, SUM), (64, 16, STORE)], 0, 16.8),
        Measured("mnist: layer 1 weights", 1, &[(200, 16, STORE)], 0, 18.0),
        Measured("wide: forward", 4, &[(128, 64, 4.0 * MEASURE)], 0, 83.0),
        Measured(
            "wide: forward, finished",
            4,
            &[(128, 0, 4.0 * FINISH + 8.0 * LEAF)],
            8 << 20,
            16.0,
        ),
        Measured("wide: output layer", 1, &[(16, 64, LOSS + 64.0 * NARROW)], 0, 62.9),
        Measured(
            "wide: layer 3 backward",
            4,
            &[(128, 1, 4.0 * SUM), (16, 64, 4.0 * STORE)],
            0,
            83.4,
        ),
        Measured(
            "wide: backward, finished",
            4,
            &[(128, 0, 4.0 * GRAD + 8.0 * LEAF)],
            12 << 20,
            16.9,
        ),
        Measured(
            "wide: layer 2 backward",
            4,
            &[(128, 64, 4.0 * SUM), (128, 64, 4.0 * STORE)],
            0,
            145.3,
        ),
        Measured("wide: layer 1 weights", 4, &[(128, 64, 4.0 * STORE)], 0, 80.9),
        Measured("wide: update", 1, &[(1024, 0, 0.0)], 88_000_000, 48.0),
        Measured("tall: layer 1 forward", 4, &[(64, 4, 8.0 * MEASURE)], 0, 24.4),
        Measured("tall: forward", 4, &[(64, 8, 8.0 * MEASURE)], 0, 25.2),
        Measured(
            "tall: forward, finished",
            4,
            &[(64, 0, 8.0 * FINISH + 63.0 * LEAF)],
            8 << 20,
            57.0,
        ),
        Measured("tall: output layer", 1, &[(256, 4, LOSS + 4.0 * NARROW)], 0, 13.3),
        // The workgroup had 64 invocations then, and three trees.
        Measured("tall: record of the step", 1, &[(1, 0, 256.0 * VALUE + 3.0 * TREE)], 0, 19.8),
        Measured(
            "tall: layer 4 backward",
            4,
            &[(64, 2, 8.0 * SUM), (36, 29, 4.0 * STORE)],
            0,
            48.5,
        ),
        Measured(
            "tall: layer 3 backward",
            4,
            &[(64, 8, 8.0 * SUM), (36, 29, 4.0 * STORE)],
            0,
            45.2,
        ),
        Measured(
            "tall: backward, finished",
            4,
            &[(64, 0, 8.0 * GRAD + 63.0 * LEAF)],
            12 << 20,
            52.4,
        ),
        Measured("tall: layer 1 weights", 4, &[(36, 29, 4.0 * STORE)], 0, 44.4),
        Measured("tall: update", 1, &[(15, 0, 35.0 * SLAB)], 2_300_000, 21.9),
    ];
    let class = class("nvidia");
    let mut faults = String::new();
    for Measured(name, tiles, tasks, bytes, measured) in profile {
        let side = if tiles == 4 { 2 } else { 1 };
        let tiling = Tiling { down: side, across: side, ..Tiling::single(class) };
        let tasks: Vec<_> = tasks
            .iter()
            .map(|&(workgroups, reads, rest)| Tasks { workgroups, tiling, reads, rest })
            .collect();
        let predicted = cost::OF_PASS + cost::dispatch(class, &tasks, bytes);
        let ratio = predicted / measured;
        if !(1.0 / 1.35..=1.35).contains(&ratio) {
            faults += &format!("{name}: {predicted:.1} µs predicted, {measured} measured\n");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Many rows and wide outputs have more than one invocation each.
#[test]
fn losses_take_microseconds() {
    let time = |workload: Workload, kernel: &str| {
        let plan = plan(class("nvidia"), workload);
        let found = plan.dispatches().iter().find(|dispatch| dispatch.name().ends_with(kernel));
        found.map(PlannedDispatch::microseconds).unwrap_or(f64::INFINITY)
    };
    let record = time(WORKLOADS[4], "record_step");
    assert!(record < 10.0, "tall: {record} µs");
    let loss = time(("classes", 1024, &[512, 1000]), "/loss");
    assert!(loss < 60.0, "1024 rows of 1000 classes: {loss} µs");
}

/// Sizes are checked later than a plan is made.
#[test]
fn the_largest_sizes_overflow_nothing() {
    for name in DeviceClass::NAMES {
        for batch_size in [0, 1, u32::MAX] {
            let options = TrainerOptions { batch_size, ..options(WORKLOADS[0]) };
            for sizes in [&[u32::MAX; 4][..], &[0, 0, 0], &[1, u32::MAX], &[7], &[]] {
                let plan = StepPlan::new(class(name), sizes, &NetworkOptions::default(), &options);
                assert_eq!(plan.layers().len(), sizes.len().saturating_sub(1), "{name}");
            }
        }
    }
}

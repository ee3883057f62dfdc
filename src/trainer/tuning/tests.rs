//! Tuning by a clock that says what a test wants.

use super::*;
use crate::gpu::testing::{TestGpu, own_gpu};
use crate::gpu::{Gpu, block_on};
use crate::options::NetworkOptions;
use crate::plan::DeviceClass;
use crate::trainer::cases::{ROWS, SIZES, numbers, parameters};

/// Times that a function makes up, and bits that a test may spoil.
struct Fake<T> {
    stopwatch: Stopwatch,
    /// The time of these dispatches.
    time: T,
    /// Whether every second plan after the first gives other bits.
    spoils: bool,
    plans: usize,
}

impl<T: FnMut(&[&Dispatch]) -> f64 + Send> Judge for Fake<T> {
    const MOST_OF_LAYER: usize = 4;

    async fn bits(&mut self, trainer: &Trainer) -> Result<Vec<u32>> {
        let mut bits = self.stopwatch.bits(trainer).await?;
        if self.spoils && self.plans % 2 == 1 {
            *bits.last_mut().expect("a gradient") ^= 1;
        }
        self.plans += 1;
        Ok(bits)
    }

    async fn time(&mut self, dispatches: &[&Dispatch], _times: u32) -> Result<f64> {
        Ok((self.time)(dispatches))
    }
}

fn network(gpu: &TestGpu) -> Network {
    let options = NetworkOptions { seed: 3, ..Default::default() };
    let TestGpu { gpu, .. } = gpu;
    Network::new(&gpu.device, &gpu.queue, &SIZES, options).expect("a network")
}

fn options() -> TrainerOptions {
    TrainerOptions { batch_size: ROWS, ..Default::default() }
}

/// The model's plan, and a tuning by these times.
fn tuned(
    gpu: &TestGpu,
    class: DeviceClass,
    spoils: bool,
    time: impl FnMut(&[&Dispatch]) -> f64 + Send,
) -> (StepPlan, Tuning) {
    let (plan, tuning) = tried(gpu, class, spoils, time);
    (plan, tuning.expect("a tuning"))
}

/// The same, or an error.
fn tried(
    gpu: &TestGpu,
    class: DeviceClass,
    spoils: bool,
    time: impl FnMut(&[&Dispatch]) -> f64 + Send,
) -> (StepPlan, Result<Tuning>) {
    let (network, options) = (network(gpu), options());
    let plan = StepPlan::of_layers(class, network.sizes(), &options);
    let stopwatch = Stopwatch::new(&gpu.gpu).expect("a stopwatch");
    let fake = Fake { stopwatch, time, spoils, plans: 0 };
    let tuning = Tuning::by(fake, &network, plan.clone(), &options);
    let tuning = block_on(&gpu.gpu.device, tuning);
    (plan, tuning)
}

/// All parameters after some steps that follow a plan.
fn learned(gpu: &TestGpu, plan: &StepPlan, steps: u32) -> Vec<f32> {
    let mut trainer = Trainer::with_plan(network(gpu), plan.clone(), options()).expect("a trainer");
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let values = ROWS * SIZES[0];
    let inputs: Vec<f32> = (0..values).map(|_| generator.random_range(-1.0..3.0)).collect();
    let classes: Vec<u32> = (0..ROWS).map(|_| generator.random_range(0..SIZES[3])).collect();
    for _ in 0..steps {
        trainer.step(&inputs, &classes[..]).expect("a step");
    }
    numbers(&parameters(&trainer))
}

/// Compares trainings by the model's plan and by the one that a tuning has found.
fn changes_no_bit(
    gpu: &TestGpu,
    class: DeviceClass,
    steps: u32,
    time: impl FnMut(&[&Dispatch]) -> f64 + Send,
) {
    let (plan, tuning) = tuned(gpu, class, false, time);
    let errors: Vec<_> = tuning.choices().iter().filter_map(TunedChoice::error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let found = text::known(&gpu.gpu.device, &plan, tuning.text()).expect("a plan");
    assert!(found != plan, "{}", tuning.text());
    let what = format!("{steps} steps by the plan of {}", tuning.text());
    let [expected, found] = [&plan, &found].map(|plan| learned(gpu, plan, steps));
    gpu.compare_bits(&what, &found, &expected);
}

/// A clock by which each way is faster than the plan by this share: the way is measured first.
fn faster(share: f64) -> impl FnMut(&[&Dispatch]) -> f64 + Send {
    let mut calls = 0;
    move |_| {
        calls += 1;
        if calls % 2 == 1 { 100.0 * (1.0 - share) } else { 100.0 }
    }
}

/// By the tilings of a GPU.
#[test]
fn tuning_by_random_times_changes_no_bit() {
    let (gpu, class) = TestGpu::nvidia();
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    changes_no_bit(&gpu, class, 500, move |_| generator.random_range(1.0..1e4));
}

#[test]
fn tuning_of_a_software_adapter_changes_no_bit() {
    let gpu = TestGpu::with_subgroups();
    changes_no_bit(&gpu, gpu.gpu.class, 20, faster(0.5));
}

/// By the clock all ways take no time, but every second one gives other bits.
#[test]
fn a_way_that_differs_in_a_bit_is_dropped() {
    let (gpu, class) = TestGpu::nvidia();
    let (plan, tuning) = tuned(&gpu, class, true, faster(0.9));
    let (dropped, kept): (Vec<_>, Vec<_>) =
        tuning.choices().iter().partition(|choice| choice.error().is_some());
    assert!(dropped.len() >= 3 && kept.len() >= 3, "{:?}", tuning.choices());
    for choice in dropped {
        assert_eq!((choice.error(), choice.microseconds()), (Some(DIFFERS), None));
        assert!(!choice.is_taken(), "{choice:?}");
    }
    for choice in kept {
        assert!(choice.microseconds().is_some() && choice.before() != choice.way(), "{choice:?}");
    }
    assert!(text::known(&gpu.gpu.device, &plan, tuning.text()).is_some());
}

/// The model's plan stays if no way takes at most nine tenths of its time.
#[test]
fn a_way_has_to_be_faster_by_a_tenth() {
    let (gpu, class) = TestGpu::nvidia();
    for (share, takes) in [(0.09, false), (0.11, true)] {
        let (plan, tuning) = tuned(&gpu, class, false, faster(share));
        let layers = |choices: Vec<&TunedChoice>| -> Vec<usize> {
            choices.into_iter().map(TunedChoice::layer).collect()
        };
        let (taken, others) = tuning.choices().iter().partition(|choice| choice.is_taken());
        let (taken, mut all) = (layers(taken), layers(others));
        all.extend(&taken);
        all.sort_unstable();
        all.dedup();
        assert!(all.len() >= 2, "{:?}", tuning.choices());
        assert_eq!(taken, if takes { all } else { Vec::new() }, "{share}: one way of each layer");
        let found = text::known(&gpu.gpu.device, &plan, tuning.text()).expect("a plan");
        assert_eq!(found != plan, takes, "{share}");
        let mut measured = tuning.choices().iter().filter_map(TunedChoice::microseconds);
        assert!(measured.all(|times| times == [100.0 * (1.0 - share), 100.0]));
    }
}

/// A way of a slow device is measured less often.
#[test]
fn long_measurements_are_few() {
    let (gpu, class) = TestGpu::nvidia();
    let calls = |microseconds: f64| {
        let mut calls = 0;
        let (_, tuning) = tuned(&gpu, class, false, |_| {
            calls += 1;
            microseconds
        });
        let ways = tuning.choices().len();
        assert!(ways >= 2, "{:?}", tuning.choices());
        calls / ways
    };
    // The first run of both ways, and then their rounds.
    assert_eq!([1e3, 1e6].map(calls), [2 + 2 * ROUNDS, 2 + 2 * FEW_ROUNDS]);
}

/// A device that is lost in the middle ends the tuning, and no way is dropped for it.
#[test]
fn a_lost_device_is_an_error() {
    let gpu = TestGpu::on(own_gpu());
    let nvidia = DeviceClass::named("nvidia").expect("a class");
    let class = nvidia.with_workgroup_memory(16 << 10);
    let (device, mut calls) = (gpu.gpu.device.clone(), 0);
    let (_, tuning) = tried(&gpu, class, false, move |_| {
        calls += 1;
        if calls == 7 {
            device.destroy();
        }
        1.0
    });
    assert!(matches!(tuning, Err(Error::DeviceLost(_))), "{tuning:?}");
}

/// Text that is damaged, or for something else, is as good as none; and a text may have many lines.
#[test]
fn other_texts_are_ignored() {
    let (gpu, class) = TestGpu::nvidia();
    let device = &gpu.gpu.device;
    let sizes = network(&gpu).sizes().to_vec();
    let plan = StepPlan::of_layers(class, &sizes, &options());
    let other = plan.others(0, 1).remove(0);
    let text = text::line(device, &other);
    let known = |text: &str| text::known(device, &plan, text);
    assert_eq!(known(&text), Some(other.clone()));
    assert!(text.len() < 700, "{text}");
    let replaced = |from: &str, to: &str| {
        let replaced = text.replacen(from, to, 1);
        assert_ne!(replaced, text, "{from}");
        replaced
    };
    let adapter = device.adapter_info().name;
    let damaged = [
        String::new(),
        "\n".to_owned(),
        "{}".to_owned(),
        "\u{0}\u{ff}".to_owned(),
        text[..text.len() / 2].to_owned(),
        replaced(env!("CARGO_PKG_VERSION"), "0.0.1"),
        replaced(&adapter, "another adapter"),
        replaced("530 rows", "531 rows"),
        replaced("-37n", "-37"),
        replaced(" × ", " + "),
        replaced("\"layers\":[", "\"layers\":[\"64 × 32; weights with the layer\","),
    ];
    for damaged in &damaged {
        assert_eq!(known(damaged), None, "{damaged}");
    }
    let all = damaged.join("\n");
    assert_eq!(known(&format!("{all}\n{text}\n{all}")), Some(other));
    // A line replaces the ones for the same step, and lines that cannot be read are removed.
    let tuning = |plan: &StepPlan| Tuning { text: text::line(device, plan), choices: Vec::new() };
    let (first, second) = (replaced("530 rows", "64 rows"), tuning(&plan));
    let kept = second.added_to(&format!("{first}\nno JSON\n{text}\n"));
    assert_eq!(kept, format!("{first}\n{}\n", second.text()));
    assert_eq!(known(&kept), Some(plan.clone()));
}

/// A trainer says whether it is tuned, also after a restore, and a tuning is no part of its snapshot.
#[test]
fn trainers_take_the_tuning_of_their_options() {
    let gpu = TestGpu::with_subgroups();
    let device = &gpu.gpu.device;
    let trainer = |tuning: &str| {
        let options = TrainerOptions { tuning: tuning.to_owned(), ..options() };
        Trainer::new(network(&gpu), options).expect("a trainer")
    };
    let plan = trainer("").plan().clone();
    let other = (0..3).find_map(|layer| plan.others(layer, 1).pop()).expect("another plan");
    let text = text::line(device, &other);
    let [own, tuned, foreign] = ["", &text, "foreign"].map(trainer);
    assert_eq!([&own, &tuned, &foreign].map(Trainer::is_tuned), [false, true, false]);
    assert!(tuned.plan() == &other && own.plan() == &plan && foreign.plan() == &plan);
    let snapshot = |trainer: &Trainer| block_on(device, trainer.snapshot()).expect("a snapshot");
    let mut taken = snapshot(&tuned);
    assert!(
        taken == snapshot(&own) && taken.to_bytes().unwrap() == snapshot(&own).to_bytes().unwrap()
    );
    let restore = |snapshot: &crate::snapshot::Snapshot| {
        Trainer::restore(device, &gpu.gpu.queue, snapshot).expect("a trainer")
    };
    assert!(!restore(&taken).is_tuned());
    taken.set_tuning(text);
    assert!(restore(&taken).is_tuned());
}

/// By the adapter's own clock. It never hangs, drops nothing, and its text is that of a trainer's plan.
#[test]
fn an_adapter_is_tuned_by_its_own_clock() {
    let gpu = TestGpu::with_subgroups();
    let (network, options) = (network(&gpu), options());
    let tuning = block_on(&gpu.gpu.device, Tuning::measure(&network, &options));
    let tuning = tuning.expect("a tuning");
    for choice in tuning.choices() {
        let times = choice.microseconds().expect("a time");
        assert!(times.iter().all(|&time| time > 0.0) && choice.error().is_none(), "{choice:?}");
        assert!(!choice.is_taken() || times[0] < ENOUGH * times[1], "{choice:?}");
    }
    let options = TrainerOptions { tuning: tuning.text().to_owned(), ..options };
    assert!(Trainer::new(network, options).expect("a trainer").is_tuned());
}

/// Whole steps of a small network leave no choice; and options are checked.
#[test]
fn there_may_be_nothing_to_choose() {
    let gpu = TestGpu::with_subgroups();
    let Gpu { device, queue, class, .. } = &gpu.gpu;
    let network = Network::new(device, queue, &[2, 16, 16, 3], NetworkOptions::default());
    let network = network.expect("a network");
    let measure = |options: &TrainerOptions| block_on(device, Tuning::measure(&network, options));
    let options = TrainerOptions { batch_size: 256, ..Default::default() };
    let tuning = measure(&options).expect("a tuning");
    let plan = StepPlan::of_layers(*class, network.sizes(), &options);
    // Other adapters than lavapipe may take several dispatches.
    assert_eq!(tuning.choices().is_empty(), plan.whole().is_some());
    assert!(text::known(device, &plan, tuning.text()).is_some());
    let wrong = measure(&TrainerOptions { batch_size: 1, ..Default::default() });
    assert!(matches!(wrong, Err(Error::BatchTooSmall { rows: 1 })), "{wrong:?}");
}

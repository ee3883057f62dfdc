//! `ztilde bench`: the speed of training steps, inference and matrix products, compared with the
//! adapter's own limit.

mod gpu;
mod limits;
mod profile;
mod row;
mod subject;
mod table;
mod times;
mod tuned;
mod workload;
mod workloads;

use std::time::Instant;

use clap::{
    ValueEnum, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use workloads::{WORKLOADS, Workload};
use ztilde::{DeviceClass, Method, Optimizer, kernels::Dispatch};

use self::{
    gpu::Gpu,
    limits::{Arrangement, Copy, Product, Single},
    row::Row,
    subject::{Case, Variant},
    table::Table,
    times::{Times, median},
    workload::describe,
};
use crate::{
    adapter::{self, Description},
    failure::Failure,
    output::{self, Json},
    values::{method, positive},
    wording::bytes,
};

/// The most steps that are timed by the GPU's own clock.
const TIMED_STEPS: u32 = 64;

/// Measures training steps, inference and matrix products
///
/// A training step gathers a mini-batch of a shuffled data set on the GPU, and trains on it. Inference reads
/// a mini-batch from a buffer: `running` normalizes with the running statistics, `folded` has them folded into
/// weights and biases. An epoch also reads the losses of its steps, and its row has the time of one step. Steps are submitted together, as many as take 20 ms. Times include recording,
/// submitting and one wait.
///
/// GFLOP/s count 6 · rows · inputs · outputs for each layer of a training step, 4 for the first layer, and 2
/// in inference. The limit is the fastest matrix product of the same run. GPU ms is the time of a step by the
/// GPU's own clock. Dispatches and GPU ms do not include the dispatch that gathers the mini-batch. Memory is
/// all that wgpu has allocated on the device; the planned bytes are printed first.
///
/// In JSON, `first_step_s` is the time from the start of the process to the end of its first step.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// The networks to measure [default: all; none with --matmul]
    #[arg(value_name = "WORKLOAD", value_parser = workload())]
    workloads: Vec<&'static Workload>,

    /// Matrix products to measure, such as 512 or 1024x256x512
    ///
    /// Each is measured in the three arrangements of a layer: 512 means square matrices,
    /// 1024x256x512 for 1024 rows, sums of 256 products, and 512 columns.
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    matmul: Vec<Product>,

    /// Whether to measure training, epochs or inference
    #[arg(long, value_enum, value_delimiter = ',',
        default_values_t = [Mode::Train, Mode::Epoch, Mode::Infer])]
    mode: Vec<Mode>,

    /// The optimizers, at the default learning rates of `train`
    #[arg(long, value_parser = method(), value_delimiter = ',',
        default_values = [Optimizer::default().method.name(), Method::GradientDescent.name()])]
    optimizer: Vec<Method>,

    /// How long to repeat each measurement, in seconds
    ///
    /// Each is repeated at least three times.
    #[arg(long, value_name = "NUMBER", default_value_t = 2.0, value_parser = positive)]
    seconds: f64,

    /// Show the time of each dispatch of a step, and of each kernel
    ///
    /// This needs an adapter with timestamps.
    #[arg(long)]
    profile: bool,

    /// Measure how each network is computed fastest, and train it in that way
    ///
    /// The JSON has an object of mode `tune` for each network. It helps the project to choose better for this
    /// adapter.
    #[arg(long)]
    tune: bool,

    /// Print how a training step is divided into dispatches, and measure nothing
    ///
    /// The times come from the model that the plan is chosen by. It is fitted to an NVIDIA H100; for other
    /// devices its times are estimates.
    #[arg(long, conflicts_with_all = ["matmul", "profile", "json", "tune"])]
    plan: bool,

    /// The device that --plan is for [default: the adapter]
    ///
    /// No adapter is needed then. `nvidia` stands for an H100, `apple` for a chip of the base model.
    #[arg(long, value_name = "CLASS", requires = "plan",
        value_parser = PossibleValuesParser::new(DeviceClass::NAMES))]
    device_class: Option<String>,

    /// Write the rows as JSON, an object a line, to a file or to stdout (-)
    ///
    /// With stdout, the table goes to stderr.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<Json>,
}

/// Training steps, whole epochs, or inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Train,
    Epoch,
    Infer,
}

impl Bench {
    /// `start` is when the process started.
    pub(crate) fn run(&self, start: Instant) -> Result<(), Failure> {
        self.json.as_ref().map_or(Ok(()), Json::check)?;
        let cases = self.cases();
        if self.plan {
            return self.print_plans(&cases);
        }
        let (adapter, device, queue) = adapter::open()?;
        let gpu = Gpu { device, queue };
        if self.profile && !gpu.has_timestamps() {
            output::note("this device has no timestamps: there is nothing to make a profile of");
        }
        self.matmul.iter().try_for_each(|&product| limits::check(&gpu, product))?;
        show_plans(&gpu, &cases, &self.matmul)?;
        let first_step = cases.first().map(|case| first_step(&gpu, case, start)).transpose()?;
        let table = Table::new(self.json.as_ref())?;
        let (seconds, limit, tuning) = (self.seconds, 0.0, String::new());
        let mut run = Run { gpu, adapter, seconds, table, limit, tuning };
        run.measure_limits(&self.matmul)?;
        for (index, case) in cases.iter().enumerate() {
            let first_step = first_step.filter(|_| index == 0);
            if self.tune {
                run.tune(case)?;
            }
            run.measure_case(case, first_step, self.profile)?;
        }
        run.table.finish();
        Ok(())
    }

    /// Prints the plan of each case that trains.
    fn print_plans(&self, cases: &[Case]) -> Result<(), Failure> {
        let named = self.device_class.as_deref().and_then(DeviceClass::named);
        let class = match named {
            Some(class) => class,
            None => {
                let (_, device, _) = adapter::open()?;
                DeviceClass::from(&device)
            }
        };
        for case in cases {
            let Some(plan) = case.step_plan(class) else { continue };
            let optimizer = case.optimizer_name().unwrap_or_default();
            let of = describe(case.workload);
            output::print(&format!("{of}, {optimizer}\n\n{plan}\n"))?;
        }
        Ok(())
    }

    fn cases(&self) -> Vec<Case> {
        let workloads = match &self.workloads[..] {
            [] if self.matmul.is_empty() => WORKLOADS.iter().collect(),
            chosen => chosen.to_vec(),
        };
        let mut cases = Vec::new();
        for workload in workloads {
            for mode in &self.mode {
                let variants: Vec<_> = match mode {
                    Mode::Train => self.optimizer.iter().copied().map(Variant::Resident).collect(),
                    Mode::Epoch => self.optimizer.iter().copied().map(Variant::Epoch).collect(),
                    Mode::Infer => vec![Variant::Running, Variant::Folded],
                };
                cases.extend(variants.into_iter().map(|variant| Case { workload, variant }));
            }
        }
        cases
    }
}

fn workload() -> impl TypedValueParser<Value = &'static Workload> {
    let names = WORKLOADS.each_ref().map(|workload| workload.name);
    PossibleValuesParser::new(names).try_map(|name| {
        WORKLOADS.iter().find(|workload| workload.name == name).ok_or("no workload")
    })
}

/// Shows the planned GPU memory of each workload and each product. The cases of a workload run one after
/// the other, so the largest one counts.
fn show_plans(gpu: &Gpu, cases: &[Case], products: &[Product]) -> Result<(), Failure> {
    for same in cases.chunk_by(|one, other| one.workload.name == other.workload.name) {
        let plans = same.iter().map(|case| case.plan(&gpu.device, ""));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let Some(largest) = plans.iter().max_by_key(|plan| plan.bytes()) else { continue };
        let workload = describe(same[0].workload);
        output::note(&format!("{workload}; planned {}", largest.describe()));
    }
    for product in products {
        output::note(&format!("{}: planned {}", product.name(), bytes(product.bytes())));
    }
    Ok(())
}

/// Seconds from the start of the process to the end of a first step.
fn first_step(gpu: &Gpu, case: &Case, start: Instant) -> Result<f64, Failure> {
    case.prepare(gpu, "")?.first_step(gpu)?;
    gpu.wait()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The measurements of one run.
struct Run {
    gpu: Gpu,
    adapter: Description,
    seconds: f64,
    table: Table,
    /// GFLOP/s of the fastest product.
    limit: f64,
    /// The tunings so far, with --tune.
    tuning: String,
}

impl Run {
    /// Measures the memory's bandwidth and the throughput of products: the requested ones, and one that
    /// is large enough to keep the adapter busy.
    fn measure_limits(&mut self, asked_for: &[Product]) -> Result<(), Failure> {
        self.table.begin("the adapter's limits");
        let copy = Copy::measure(&self.gpu, self.seconds)?;
        let size = copy.size;
        let gb_s = copy.gigabytes_per_second();
        let mut copy = self.single_row(copy.single, "bandwidth".to_owned(), "copy")?;
        copy.planned_bytes = Some(2 * size);
        copy.variant = "activate";
        copy.gb_s = Some(gb_s);

        let mut products = asked_for.to_vec();
        let telling = limits::telling_square(&self.gpu)?;
        if !products.contains(&telling) {
            products.push(telling);
        }
        let mut rows = Vec::new();
        for product in products {
            for arrangement in Arrangement::ALL {
                self.table.begin(&format!("{} {}", product.name(), arrangement.name()));
                // Frees the memory of the last row.
                self.gpu.wait()?;
                let single =
                    limits::measure_product(&self.gpu, self.seconds, product, arrangement)?;
                let mut row = self.single_row(single, product.name(), "matmul")?;
                row.variant = arrangement.name();
                row.planned_bytes = Some(product.bytes());
                row.set_operations(product.operations());
                rows.push(row);
            }
        }
        let speeds = rows.iter().filter_map(|row| row.gflop_s);
        self.limit = speeds.fold(0.0, f64::max);
        self.table.line(&format!(
            "memory {gb_s:.1} GB/s: {} read and as much written, by activate with the identity",
            bytes(size)
        ))?;
        self.table.line(&format!("products {:.1} GFLOP/s: the fastest below", self.limit))?;
        self.table.line("")?;
        self.table.line(&Row::head())?;
        self.table.row(&copy)?;
        for mut row in rows {
            row.set_limit(self.limit);
            self.table.row(&row)?;
        }
        Ok(())
    }

    fn single_row(
        &self,
        single: Single,
        workload: String,
        mode: &'static str,
    ) -> Result<Row, Failure> {
        let mut row = Row::new(&self.adapter.name, workload, mode, &single.times);
        row.gpu_bytes = single.gpu_bytes;
        row.gpu_ms = time_steps(&self.gpu, &[single.dispatch], &single.times)?;
        Ok(row)
    }

    fn measure_case(
        &mut self,
        case: &Case,
        first_step: Option<f64>,
        profile: bool,
    ) -> Result<(), Failure> {
        let gpu = &self.gpu;
        let with = case.optimizer_name().unwrap_or_else(|| case.variant().to_owned());
        let title = format!("{} {} {with}", case.workload.name, case.mode());
        self.table.begin(&title);
        // Frees the memory of the last row.
        gpu.wait()?;
        let mut subject = case.prepare(gpu, &self.tuning)?;
        let prepared = gpu.allocated();
        let times = Times::measure(gpu, self.seconds, |times| subject.submit(gpu, times))?;
        let times = times.of_parts(subject.steps());
        let gpu_bytes = prepared.max(gpu.allocated());
        subject.check(gpu)?;

        let mut row =
            Row::new(&self.adapter.name, case.workload.name.to_owned(), case.mode(), &times);
        row.variant = case.variant();
        row.opt = case.optimizer_name();
        row.samples_s = Some(row.steps_s * f64::from(case.workload.batch_size));
        row.set_operations(case.operations());
        row.set_limit(self.limit);
        let dispatches = subject.into_dispatches();
        row.dispatches = dispatches.len();
        row.gpu_ms = time_steps(gpu, &dispatches, &times)?;
        row.first_step_s = first_step;
        row.gpu_bytes = gpu_bytes;
        row.planned_bytes = Some(case.plan(&gpu.device, &self.tuning)?.bytes());
        self.table.row(&row)?;

        if profile && let Some(lines) = profile::profile(gpu, self.seconds, &dispatches)? {
            self.table.line("")?;
            self.table.line(&format!("{title}: {}", lines[0]))?;
            lines[1..].iter().try_for_each(|line| self.table.line(line))?;
            self.table.line("")?;
        }
        Ok(())
    }
}

/// Milliseconds of a step by the GPU's own clock: the median over the steps of a repetition, up to a
/// limit. `None` on a device without timestamps.
fn time_steps(gpu: &Gpu, dispatches: &[Dispatch], times: &Times) -> Result<Option<f64>, Failure> {
    let steps = times.steps_per_repetition.min(TIMED_STEPS);
    let Some(mut steps) = gpu.time_passes(&vec![dispatches; steps as usize])? else {
        return Ok(None);
    };
    steps.sort_by(f64::total_cmp);
    Ok(Some(median(&steps)))
}

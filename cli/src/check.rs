//! `ztilde check`: whether the kernels compute on this adapter what they should.

mod report;

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::Instant,
};

use clap::{ValueHint, builder::PossibleValuesParser};
use wgpu::{Adapter, Backend, Device, Queue};
use ztilde::{
    KernelCache,
    check::{Check as Single, Outcome, checks, subjects},
};

use self::report::{Report, Row};
use crate::{adapter, failure::Failure, output::Json, progress::GrowingTable};

/// Checks that every kernel computes correctly on this adapter
///
/// Runs each kernel on awkward shapes, in each tiling that this adapter has, and compares the results with the
/// kernel's formula in double precision. Hard columns have a mean that is large against the deviation, or are
/// constant; lopsided columns have one value in all rows but some. Short trainings are compared with the
/// formulas, and with each other, bit for bit. One check destroys its device.
///
/// Error is the largest one, relative to the error that is allowed: below 1, the check passes. It takes up to
/// a minute, and some minutes on a slow software adapter. If a check fails, the exit code is 1.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// Check only these kernels, trainings, or the loss of a device [default: all]
    #[arg(value_name = "SUBJECT", value_parser = PossibleValuesParser::new(subjects()))]
    subjects: Vec<String>,

    /// Write the results as JSON, to a file or to stdout (-)
    ///
    /// With stdout, the table goes to stderr.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<Json>,
}

impl Check {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.json.as_ref().map_or(Ok(()), Json::check)?;
        let adapter = adapter::find()?;
        let (device, _) = adapter::device(&adapter)?;
        let mut all = checks(&device);
        all.retain(|check| self.includes(check));
        let table = GrowingTable::new(None, self.json == Some(Json::Stdout));
        table.line(&Row::head())?;
        let start = Instant::now();
        let mut rows = run_all(&adapter, &all, &table)?;
        table.finish();
        rows.sort_by_key(|&(place, _)| place);
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        let report = Report::new(&adapter, rows, start.elapsed());
        report.lines().iter().try_for_each(|line| table.line(line))?;
        self.json.as_ref().map_or(Ok(()), |json| json.write(&report))?;
        report.result()
    }

    fn includes(&self, check: &Single) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|name| name == check.subject())
    }
}

/// A row, and its check's place in the list.
type Placed = (usize, Row);

/// Runs the checks, those of a subject one after the other, and prints each row when it is known.
fn run_all(
    adapter: &Adapter,
    checks: &[Single],
    table: &GrowingTable,
) -> Result<Vec<Placed>, Failure> {
    let places: Vec<_> = checks.iter().enumerate().collect();
    let of_subjects = places.chunk_by(|(_, one), (_, other)| one.subject() == other.subject());
    let left = Mutex::new(of_subjects);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers(adapter) {
            let (left, sender) = (&left, sender.clone());
            scope.spawn(move || work(adapter, left, table, &sender));
        }
        drop(sender);
        let mut rows = Vec::new();
        for (place, row) in receiver {
            row.lines().iter().try_for_each(|line| table.line(line))?;
            rows.push((place, row));
        }
        Ok(rows)
    })
}

/// Threads that run checks, mainly because drivers compile on the calling thread. In OpenGL all devices share a
/// context, which one thread uses at a time.
fn workers(adapter: &Adapter) -> usize {
    const MOST: usize = 4;
    match adapter.get_info().backend {
        Backend::Gl => 1,
        _ => thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST)),
    }
}

/// Checks one subject after the other, on a device of its own, until none is left.
fn work<'a>(
    adapter: &Adapter,
    left: &Mutex<impl Iterator<Item = &'a [(usize, &'a Single)]>>,
    table: &GrowingTable,
    sender: &Sender<Placed>,
) {
    let mut own = Own(None);
    loop {
        let subject = left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(subject) = subject else { return };
        for &(place, check) in subject {
            table.begin(format!("checking {}, {} …", check.subject(), check.property()));
            let start = Instant::now();
            let outcome = own.run(adapter, check);
            // Without a receiver, stdout cannot be written.
            if sender.send((place, Row::new(check, &outcome, start.elapsed()))).is_err() {
                return;
            }
        }
    }
}

/// A device, with the kernels that its checks have compiled; none before the first check, and after one that
/// failed or destroyed its device.
struct Own(Option<(Device, Queue, KernelCache)>);

impl Own {
    fn run(&mut self, adapter: &Adapter, check: &Single) -> Outcome {
        let make = || {
            let (device, queue) = adapter::device(adapter)?;
            let kernels = KernelCache::new(&device);
            Ok((device, queue, kernels))
        };
        match self.0.take().map_or_else(make, Ok) {
            Ok(own) => {
                let outcome = check.run(&own.0, &own.1);
                self.0 = Some(own).filter(|_| outcome.passed() && !check.is_destructive());
                outcome
            }
            Err::<_, Failure>(failure) => {
                Outcome { comparisons: Vec::new(), stopped: Some(failure.to_string()) }
            }
        }
    }
}

//! Saves a run to a file, and resumes it from there.
//!
//! The file is an uncompressed ZIP archive of `training.safetensors` (the library's snapshot: a model
//! with the optimizer's state), `best.safetensors` (the best parameters so far, if they are kept), and
//! `run.json` (everything else).

use std::{
    cell::Cell,
    fmt::Display,
    fs::File,
    io::{Cursor, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};
use ztilde::{Parameters, Snapshot, Trainer};

use crate::{
    data::{Prepared, Preprocessing, Rows},
    failure::Failure,
    options::LongRuns,
    output,
    report::Origin,
    state::State,
};

const TRAINING: &str = "training.safetensors";
const BEST: &str = "best.safetensors";
const RUN: &str = "run.json";

/// Options that may differ when a run resumes, because they do not change a step: they decide when the
/// run ends, or name its data. The learning rate may differ, too: a run that has diverged needs a
/// smaller one.
const FREE: [&str; 7] =
    ["epochs", "patience", "time_limit", "data", "test_data", "targets", LEARNING_RATE];

const LEARNING_RATE: &str = "learning_rate";

/// The state that a run resumes with.
pub(crate) struct Checkpoint {
    path: PathBuf,
    pub(crate) snapshot: Snapshot,
    pub(crate) best: Option<Parameters>,
    pub(crate) run: Description,
}

/// The contents of `run.json`. An unknown field is an error: it may change the run.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description<P = Preprocessing, S = State> {
    origin: Origin,
    preprocessing: P,
    /// The number of training rows.
    rows: u64,
    /// None in checkpoints of older versions.
    #[serde(default)]
    fingerprints: Option<Fingerprints>,
    pub(crate) state: S,
}

/// A fingerprint of each block of rows, as the network sees them and in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprints {
    learned: Vec<u64>,
    held_out: Vec<u64>,
}

impl Fingerprints {
    pub(crate) fn new(data: &Prepared) -> Result<Self, Failure> {
        let held_out = data.held_out.as_ref().map_or(Ok(Vec::new()), Rows::fingerprints)?;
        Ok(Self { learned: data.learned.fingerprints()?, held_out })
    }
}

impl Checkpoint {
    /// The checkpoint to resume from, or None at the beginning of a run. Without `--resume` an existing
    /// checkpoint is an error, so that it is not overwritten.
    pub(crate) fn find(options: &LongRuns) -> Result<Option<Self>, Failure> {
        let Some(path) = &options.checkpoint else { return Ok(None) };
        output::check_writable(path)?;
        match (path.exists(), options.resume) {
            (false, false) => Ok(None),
            (false, true) => {
                let path = path.display();
                output::note(&format!("note: there is no {path} yet; the run begins"));
                Ok(None)
            }
            (true, true) => Self::read(path).map(Some),
            (true, false) => Err(Failure::input(format!(
                "{} exists: --resume continues it; to start over, remove it or name another file",
                path.display()
            ))),
        }
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let opened = File::open(path).map_err(|error| error.to_string());
        let (run, snapshot, best) = opened.and_then(parse).map_err(|error| {
            Failure::input(format!("{}: it is not a whole checkpoint: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), snapshot, best, run })
    }

    /// Refuses to resume with other options, or on other data.
    pub(crate) fn check(
        &self,
        options: &Map<String, Value>,
        data: &Prepared,
        fingerprints: Option<&Fingerprints>,
    ) -> Result<(), Failure> {
        let refused = |why: String| {
            Err(Failure::input(format!(
                "{}: {why}. --resume needs the same options and data",
                self.path.display()
            )))
        };
        if let Some(why) = other_choice(&self.run.origin.options, options) {
            return refused(why);
        }
        let rows = data.learned.count();
        if self.run.rows != rows {
            return refused(format!(
                "the run was begun on {} training rows, but now there are {rows}",
                self.run.rows
            ));
        }
        if let Some(why) = other_option(&self.run.origin.options, options) {
            return refused(why);
        }
        let (before, now) = (self.run.fingerprints.as_ref(), fingerprints);
        let is_other = before.zip(now).is_some_and(|(before, now)| before != now);
        if is_other || self.run.preprocessing != data.preprocessing {
            let what = match before.zip(now) {
                Some((before, now)) if before == now => {
                    "columns with other names, or of another form"
                }
                Some((before, now)) if before.learned == now.learned => {
                    "test rows with other values, or in another order"
                }
                _ => "rows with other values, or in another order",
            };
            return refused(format!("the run was begun on {what}"));
        }
        Ok(())
    }

    /// Prints where the run resumes, and a note if its result may differ from an uninterrupted run's.
    /// Returns the number of steps already taken.
    pub(crate) fn tell(&self, origin: &Origin) -> u64 {
        let Self { path, snapshot, run, .. } = self;
        output::note(&format!(
            "resuming from {}: step {}, epoch {}",
            path.display(),
            snapshot.steps(),
            run.state.place.epoch
        ));
        let [then, now] = [&run.origin, origin].map(|origin| &origin.options[LEARNING_RATE]);
        if then != now {
            output::note(&format!(
                "note: the learning rate was {then}, and from here on it is {now}"
            ));
        }
        if (&run.origin.adapter, &run.origin.version) != (&origin.adapter, &origin.version) {
            output::note(
                "note: the checkpoint is of another adapter, driver or version; the results agree \
                 up to rounding",
            );
        }
        snapshot.steps()
    }
}

/// Options that decide the defaults of others, by their names in reports and in messages. They are checked
/// first, so that the message names the cause.
const CHOICES: [(&str, &str); 3] = [
    ("optimizer", "--optimizer"),
    ("schedule", "--schedule"),
    ("batch_norm", "batch normalization"),
];

/// A sentence on the first of the [`CHOICES`] that has changed.
fn other_choice(before: &Map<String, Value>, now: &Map<String, Value>) -> Option<String> {
    CHOICES.into_iter().find_map(|(name, typed)| other(name, typed, before, now))
}

/// A sentence on the first option that has changed.
fn other_option(before: &Map<String, Value>, now: &Map<String, Value>) -> Option<String> {
    let names = before.keys().chain(now.keys());
    names.filter(|name| !FREE.contains(&name.as_str())).find_map(|name| {
        let typed = format!("--{}", name.replace('_', "-"));
        let why = other(name, &typed, before, now)?;
        let epochs = [before, now].map(|options| options.get("epochs").and_then(Value::as_f64));
        let follows = |options: &Map<String, Value>, epochs: Option<f64>| {
            options.get(name).and_then(Value::as_f64) == epochs
        };
        // If the default of such an option is --epochs, it has changed with --epochs.
        if name.ends_with("_epochs") && epochs[0] != epochs[1] && follows(now, epochs[1]) {
            let [then, now] = [before, now].map(|options| shown(options, name));
            return Some(format!(
                "the run was begun with {typed} {then}, but now it is {now}, the number of --epochs: \
                 {typed} {then} keeps it"
            ));
        }
        Some(why)
    })
}

fn other(
    name: &str,
    typed: &str,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
) -> Option<String> {
    // Older versions left out options that were not set.
    let [then_value, now_value] =
        [before, now].map(|options| options.get(name).filter(|value| !value.is_null()));
    (then_value != now_value).then(|| {
        let [then, now] = [before, now].map(|options| shown(options, name));
        format!("the run was begun with {typed} {then}, but now it is {now}")
    })
}

/// A value as it is typed on the command line.
fn shown(options: &Map<String, Value>, name: &str) -> String {
    match options.get(name) {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            items.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
        }
        Some(value) => value.to_string(),
    }
}

/// Writes checkpoints.
pub(crate) struct Keeper<'a> {
    pub(crate) path: &'a Path,
    /// Steps between two checkpoints.
    pub(crate) every: u64,
    pub(crate) origin: &'a Origin,
    pub(crate) preprocessing: &'a Preprocessing,
    pub(crate) rows: u64,
    pub(crate) fingerprints: Option<&'a Fingerprints>,
    /// The number of steps in the last checkpoint.
    pub(crate) last: Cell<u64>,
}

impl Keeper<'_> {
    /// The number of steps until the next checkpoint.
    pub(crate) fn due_in(&self, trainer: &Trainer) -> u64 {
        (self.last.get() + self.every).saturating_sub(trainer.steps())
    }

    /// The file holds the old checkpoint or the new one at any moment.
    pub(crate) fn write(
        &self,
        snapshot: &Snapshot,
        best: Option<&Parameters>,
        state: &State,
    ) -> Result<(), Failure> {
        let &Self { origin, preprocessing, rows, fingerprints, .. } = self;
        let (origin, fingerprints) = (origin.clone(), fingerprints.cloned());
        let run = Description { origin, preprocessing, rows, fingerprints, state };
        let failed = |error: &dyn Display| {
            Failure::input(format!("{}: the checkpoint: {error}", self.path.display()))
        };
        let run = serde_json::to_vec_pretty(&run).map_err(|error| failed(&error))?;
        let mut files = vec![(RUN, run), (TRAINING, snapshot.to_bytes()?)];
        if let Some(best) = best {
            files.push((BEST, best.to_bytes()?));
        }
        let archive = archive(&files).map_err(|error| failed(&error))?;
        output::replace(self.path, &archive)?;
        self.last.set(snapshot.steps());
        Ok(())
    }
}

/// Reads an archive. The error is a sentence that describes its fault.
pub(crate) fn parse(
    file: impl Read + Seek,
) -> Result<(Description, Snapshot, Option<Parameters>), String> {
    let mut archive = ZipArchive::new(file).map_err(|error| error.to_string())?;
    let known = [RUN, TRAINING, BEST];
    for name in archive.file_names() {
        let name = name.map_err(|error| error.to_string())?;
        if !known.contains(&&*name) {
            return Err(format!("it contains {name:?}, which this version does not know"));
        }
    }
    let has_best = archive.index_for_name(BEST).is_some();
    let mut read = |name: &str| {
        let failed = |error: &dyn Display| format!("{name}: {error}");
        let mut entry = archive.by_name(name).map_err(|error| failed(&error))?;
        // A compressed entry may expand to any size. The file bounds the size of a stored entry.
        if entry.compression() != CompressionMethod::Stored {
            return Err(failed(&"it is compressed, which no checkpoint is"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        Ok(bytes)
    };
    let run = parse_run(&read(RUN)?).map_err(|error| format!("{RUN}: {error}"))?;
    let snapshot = Snapshot::from_bytes(&read(TRAINING)?);
    let snapshot = snapshot.map_err(|error| format!("{TRAINING}: {error}"))?;
    let best = has_best.then(|| read(BEST)).transpose()?;
    let best = best.map(|bytes| Parameters::from_bytes(&bytes)).transpose();
    let best = best.map_err(|error| format!("{BEST}: {error}"))?;
    let sizes = snapshot.parameters().layer_sizes();
    if let Some(other) = best.as_ref().map(Parameters::layer_sizes).filter(|other| *other != sizes)
    {
        return Err(format!("{BEST} has the layers {other:?}, but {TRAINING} has {sizes:?}"));
    }
    Ok((run, snapshot, best))
}

/// Reads `run.json`. The error is a sentence that describes its fault.
pub(crate) fn parse_run(bytes: &[u8]) -> Result<Description, String> {
    let run: Description = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    run.state.check()?;
    Ok(run)
}

fn archive(files: &[(&str, Vec<u8>)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() >= u32::MAX as usize);
        archive.start_file(*name, options)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every part of `run.json` refuses unknown fields.
    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/run/adamw");
        let whole = std::fs::read(path).unwrap();
        assert!(parse_run(&whole).is_ok());
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let places = ["", "/origin", "/origin/adapter", "/preprocessing", "/preprocessing/target"];
        let in_state = ["/state", "/state/place", "/state/seen", "/state/epochs/0"];
        for place in places.iter().chain(&in_state) {
            let mut changed = whole.clone();
            let part = changed.pointer_mut(place).and_then(Value::as_object_mut).expect(place);
            part.insert("future".to_owned(), 0.5.into());
            let error = parse_run(changed.to_string().as_bytes()).err().expect(place);
            assert!(error.contains("unknown field `future`"), "{place}: {error}");
        }
    }

    #[test]
    fn a_file_that_this_version_does_not_know_is_refused() {
        let bytes = archive(&[(RUN, b"{}".to_vec()), ("scaler.json", Vec::new())]).unwrap();
        let error = parse(Cursor::new(bytes)).err().unwrap();
        assert!(error.contains("\"scaler.json\""), "{error}");
    }
}

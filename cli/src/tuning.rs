//! `--tune`: the tunings of this user's adapters, in a file of the cache folder. A file that cannot be read or
//! written is a note, because a training needs none.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Instant,
};

use etcetera::BaseStrategy;
use wgpu::Device;
use ztilde::{Network, TrainerOptions, Tuning, block_on};

use crate::output::{self, note};

/// All tunings so far.
#[derive(Default)]
pub(crate) struct Tunings {
    /// The file that holds them, if the user has a cache folder.
    path: Option<PathBuf>,
    text: String,
}

impl Tunings {
    /// Those of the user's cache folder.
    pub(crate) fn of_user() -> Self {
        let folder = etcetera::choose_base_strategy().map(|user| user.cache_dir());
        match folder {
            Ok(folder) => Self::open(folder.join("ztilde").join("tuning.jsonl")),
            Err(error) => {
                note(&format!(
                    "note: no cache folder is known, so the tuning is not kept: {error}"
                ));
                Self::default()
            }
        }
    }

    fn open(path: PathBuf) -> Self {
        let text = read(&path).unwrap_or_else(|error| {
            note(&format!("note: the tuning cannot be read: {}: {error}", path.display()));
            String::new()
        });
        Self { path: Some(path), text }
    }

    /// The tuning for a trainer. What is not known is measured and kept.
    pub(crate) fn find(
        &mut self,
        device: &Device,
        network: &Network,
        options: &TrainerOptions,
    ) -> String {
        let with = |tuning: &str| TrainerOptions { tuning: tuning.to_owned(), ..options.clone() };
        if Tuning::is_known(network, &with(&self.text)) {
            return self.text.clone();
        }
        let start = Instant::now();
        match block_on(device, Tuning::measure(network, options)) {
            Ok(tuning) => {
                let seconds = start.elapsed().as_secs_f64();
                tell(&tuning, seconds);
                self.keep(&tuning);
            }
            Err(error) => note(&format!("note: nothing is tuned: {error}")),
        }
        self.text.clone()
    }

    fn keep(&mut self, tuning: &Tuning) {
        let Some(path) = &self.path else {
            self.text = tuning.added_to(&self.text);
            return;
        };
        // Another process may have added a line meanwhile.
        let latest = read(path).unwrap_or_else(|_| self.text.clone());
        self.text = tuning.added_to(&latest);
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder).map_err(|error| error.to_string());
        let written = written.and_then(|()| {
            output::replace(path, self.text.as_bytes()).map_err(|failure| failure.to_string())
        });
        if let Err(error) = written {
            note(&format!("note: the tuning is not kept: {}: {error}", path.display()));
        }
    }
}

/// The contents of the file; empty if there is no file.
fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}

fn tell(tuning: &Tuning, seconds: f64) {
    for choice in tuning.choices() {
        if let Some(error) = choice.error() {
            let [layer, way] = [&choice.layer().to_string(), choice.way()];
            note(&format!("note: layer {layer} is not computed by {way}: {error}"));
        }
    }
    note(&summary(tuning, seconds));
}

/// `tuning: 2 of 14 other ways to compute a layer are faster; measured in 3.1 s`
fn summary(tuning: &Tuning, seconds: f64) -> String {
    let all = tuning.choices().len();
    let taken = tuning.choices().iter().filter(|choice| choice.is_taken()).count();
    match all {
        0 => "tuning: there is one way to compute this network".to_owned(),
        _ => format!(
            "tuning: {taken} of {all} other ways to compute a layer are taken; measured in {seconds:.1} s"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter;

    fn network() -> (Device, Network) {
        let (_, device, queue) = adapter::open().expect("a device");
        let network = Network::new(&device, &queue, &[4, 24, 3], Default::default());
        (device, network.expect("a network"))
    }

    #[test]
    fn a_tuning_is_measured_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none yet").join("tuning.jsonl");
        let (device, network) = network();
        let options = TrainerOptions { batch_size: 100, ..Default::default() };
        let mut first = Tunings::open(path.clone());
        let text = first.find(&device, &network, &options);
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
        assert_eq!(text.lines().count(), 1, "{text}");
        // Known: it is not written again.
        fs::write(&path, "").expect("a file");
        assert_eq!(first.find(&device, &network, &options), text);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "");
        // Another process has added a line, and one is damaged.
        let other = text.replace("100 rows", "101 rows");
        fs::write(&path, format!("damaged\n{other}")).expect("a file");
        let both = Tunings::open(path.clone()).find(&device, &network, &options);
        assert_eq!(both.lines().count(), 2, "{both}");
        assert!(both.starts_with(&other), "{both}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), both);
    }

    /// A folder in its place can neither be read nor replaced.
    #[test]
    fn a_file_that_cannot_be_read_or_written_is_no_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tuning.jsonl");
        fs::create_dir(&path).expect("a folder");
        let (device, network) = network();
        let options = TrainerOptions { batch_size: 100, ..Default::default() };
        let mut tunings = Tunings::open(path);
        let text = tunings.find(&device, &network, &options);
        let tuned = TrainerOptions { tuning: text.clone(), ..options.clone() };
        assert!(Tuning::is_known(&network, &tuned), "{text}");
        assert_eq!(tunings.find(&device, &network, &options), text);
    }
}

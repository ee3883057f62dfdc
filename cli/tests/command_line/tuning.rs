//! `train --tune`: the same training, and a file in the cache folder.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::{output, stderr, stdout, typed};

/// Trains with this cache folder.
fn train(folder: &Path, cache: &Path, options: &str) -> Output {
    let line = format!("train --batch-size 32 {options}");
    output(typed(folder, &line).env("XDG_CACHE_HOME", cache).env("LOCALAPPDATA", cache))
}

#[test]
fn a_tuned_training_gives_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let cache = folder.join("cache");
    let file = cache.join("ztilde").join("tuning.jsonl");
    let model = |name: &str| fs::read(folder.join(name)).expect(name);
    let table = |output: &Output| {
        // Without the seconds of each epoch.
        let lines = stdout(output).lines().filter(|line| !line.contains("model saved"));
        let lines = lines.map(|line| line.rsplit_once("  ").map_or(line, |(values, _)| values));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = train(folder, &cache, "--epochs 2 --model plain.safetensors");
    stdout(&plain);
    assert!(!file.exists(), "nothing is tuned without --tune");

    let first = train(folder, &cache, "--epochs 2 --tune --model first.safetensors");
    assert_eq!(table(&first), table(&plain));
    assert!(stderr(&first).contains("tuning: "), "{}", stderr(&first));
    assert_eq!(model("first.safetensors"), model("plain.safetensors"));
    let kept = fs::read_to_string(&file).expect("a file");
    assert!(kept.contains("32 rows of 64-128n-64n-10") && kept.lines().count() == 1, "{kept}");

    // The next run measures nothing.
    let second = train(folder, &cache, "--epochs 2 --tune --model second.safetensors");
    assert_eq!(table(&second), table(&plain));
    assert!(!stderr(&second).contains("tuning: "), "{}", stderr(&second));
    assert_eq!(fs::read_to_string(&file).expect("a file"), kept);

    // A damaged file is as good as none, also for a run that continues.
    fs::write(&file, &kept[..kept.len() / 2]).expect("a file");
    let run = "--tune --checkpoint run.checkpoint --resume";
    stdout(&train(folder, &cache, &format!("{run} --epochs 1")));
    assert_eq!(fs::read_to_string(&file).expect("a file").lines().count(), 1);
    fs::remove_file(&file).expect("a file");
    let resumed = train(folder, &cache, &format!("{run} --epochs 2 --model third.safetensors"));
    assert_eq!(table(&resumed).last(), table(&plain).last());
    assert!(file.exists(), "the resumed network is tuned");
    assert_eq!(model("third.safetensors"), model("plain.safetensors"));
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_a_note() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let cache = folder.join("cache");
    fs::write(&cache, "a file instead of the folder").expect("a file");
    let output = train(folder, &cache, "--epochs 1 --tune --folds 2");
    stdout(&output);
    let notes = stderr(&output);
    assert!(notes.contains("note: the tuning is not kept: "), "{notes}");
    let measured = notes.lines().filter(|line| line.starts_with("tuning: ")).count();
    assert_eq!(measured, 1, "the second fold knows the tuning of the first: {notes}");
}

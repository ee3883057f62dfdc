//! Every public type has an example, and so has each function that people call first.

use std::path::Path;

use super::{files, read};

/// The functions that people call first, with their files.
const FUNCTIONS: [(&str, &str); 12] = [
    ("src/network.rs", "new"),
    ("src/trainer.rs", "new"),
    ("src/trainer.rs", "step"),
    ("src/trainer/epoch.rs", "upload"),
    ("src/trainer/epoch.rs", "epoch"),
    ("src/trainer/bound_batch.rs", "encode_step"),
    ("src/inference.rs", "new"),
    ("src/inference.rs", "predict"),
    ("src/parameters/disk.rs", "save"),
    ("src/parameters/disk.rs", "load"),
    ("src/evaluation.rs", "evaluate"),
    ("src/gpu/wait.rs", "block_on"),
];

/// Whether the comment above this line has an example, or names the type that has it.
fn has_example(lines: &[&str], item: usize) -> bool {
    lines[..item]
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .skip_while(|line| line.starts_with("#["))
        .take_while(|line| line.starts_with("///"))
        .any(|line| line.contains("```") || line.starts_with("/// See the example of [`"))
}

/// A `pub` type is public: `unreachable_pub` warns of others. Rustdoc runs the examples.
#[test]
fn public_types_have_examples() {
    let mut count = 0;
    for path in files("src", "rs") {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if ["pub struct ", "pub enum "].iter().any(|item| line.starts_with(item)) {
                let place = format!("{}:{}: {line}", path.display(), number + 1);
                assert!(has_example(&lines, number), "{place} has no example");
                count += 1;
            }
        }
    }
    assert!(count > 60, "only {count} types were found");
}

#[test]
fn the_functions_called_first_have_examples() {
    for (file, name) in FUNCTIONS {
        let text = read(Path::new(file));
        let lines: Vec<&str> = text.lines().collect();
        let is_item = |line: &&str| {
            let line = line.trim_start();
            ["pub fn ", "pub async fn "].iter().any(|start| {
                let rest = line.strip_prefix(start).and_then(|line| line.strip_prefix(name));
                rest.is_some_and(|rest| rest.starts_with(['(', '<']))
            })
        };
        let number = lines.iter().position(is_item).unwrap_or_else(|| panic!("{file}: no {name}"));
        assert!(has_example(&lines, number), "{file}: {name} has no example");
    }
}

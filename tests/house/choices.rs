//! A match over one of the library's choices names each variant: a wildcard would swallow a new one.

use super::{files, read};

/// The choices of the app, which grow.
const CHOICES: [&str; 7] = [
    "Activation::",
    "Loss::",
    "Method::",
    "OnFault::",
    "Remainder::",
    "Schedule::",
    "TargetKind::",
];

/// The arms of the match that the line at this place is an arm of, as rustfmt indents them.
fn arms<'a>(lines: &[&'a str], place: usize) -> Vec<&'a str> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let own = indentation(lines[place]);
    let is_inside = |line: &&&str| line.is_empty() || indentation(line) >= own;
    let before = lines[..place].iter().rev().take_while(is_inside);
    let after = lines[place + 1..].iter().take_while(is_inside);
    let arms = before.chain(after).filter(|line| indentation(line) == own);
    arms.map(|line| line.trim_start()).collect()
}

/// The wildcards of the text that stand beside variants of a choice: their lines, counted from 1.
fn wildcards(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_wildcard = |line: &str| line.trim_start().starts_with("_ =>") || line.contains("| _ =>");
    let is_choice = |arm: &str| {
        let pattern = arm.split("=>").next().unwrap_or_default();
        CHOICES.iter().any(|choice| pattern.contains(choice))
    };
    let found = (0..lines.len()).filter(|&place| {
        is_wildcard(lines[place]) && arms(&lines, place).into_iter().any(is_choice)
    });
    found.map(|place| place + 1).collect()
}

#[test]
fn no_wildcard_swallows_a_new_choice() {
    let folders = ["benches", "cli", "examples", "scripts", "src"];
    let mut faults = Vec::new();
    for path in folders.into_iter().flat_map(|folder| files(folder, "rs")) {
        for line in wildcards(&read(&path)) {
            faults.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(faults.is_empty(), "name the variants instead of `_`: {faults:#?}");
}

#[test]
fn a_wildcard_is_found_only_beside_variants() {
    let text = "match loss {\n    Loss::Huber { .. } => {\n        f()\n    }\n    _ => g(),\n}\n";
    assert_eq!(wildcards(text), [5]);
    assert_eq!(wildcards(&text.replace("Loss::Huber { .. }", "(1, Loss::Huber { .. })")), [5]);
    assert!(wildcards(&text.replace("Loss::Huber { .. }", "1")).is_empty());
    assert!(
        wildcards("match x {\n    1 => match y {\n        _ => Loss::A,\n    },\n}").is_empty()
    );
}

//! Texts for people are in plain English: no phrase of a list, each with the term to use instead.

use std::path::{Path, PathBuf};

use super::documents::documents;
use super::{files, read};

/// Phrases, and what to write instead. Most are translated word by word from German.
const PHRASES: [(&str, &str); 57] = [
    ("anew", "again"),
    ("apart from", "except, or without"),
    ("as far as", "if, up to, or within"),
    ("as it has", "as in, or like"),
    ("as they have", "as in, or like"),
    ("besides", "also, or the thing's own name: padding, tolerance, overhead"),
    ("brings along", "includes"),
    ("brings back", "restores"),
    ("by themselves", "themselves, or automatically"),
    ("by turns", "alternately, or interleaved"),
    ("colour", "color"),
    ("comes to", "is, or the result"),
    ("comes upon", "meets"),
    ("gives back", "returns, frees, or restores"),
    ("goes before", "overrides, or takes precedence over"),
    ("half-way", "halfway"),
    ("how like", "the similarity"),
    ("in the place of", "instead of"),
    ("in turns", "alternately, or interleaved"),
    ("is none of", "is not one of"),
    ("it is none", "it is missing, or the reason"),
    ("it likes", "it needs, or any"),
    ("lends", "passes"),
    ("licence", "license"),
    ("looks whether", "checks that"),
    ("makes of", "computes from, or the result"),
    ("neighbouring", "neighboring"),
    ("never saw", "held-out"),
    ("nobody", "the thing's own name, or the passive"),
    ("nothing of", "no knowledge of, or independent of"),
    ("of the test's own", "only for this test"),
    ("on its way", "in flight, or pending"),
    ("so far as", "if, or up to"),
    ("so many", "this many, or the number"),
    ("somebody", "a user, a caller, or the passive"),
    ("that are none", "the thing's own name: invalid, missing, a placeholder"),
    ("that is none", "the thing's own name: invalid, missing, a placeholder"),
    ("the aim", "the goal"),
    ("the ones that", "the noun: steps that, kernels that"),
    ("those that", "the noun: steps that, kernels that"),
    ("to the bit", "bit for bit"),
    ("told", "printed, reported, named, or recorded"),
    ("what became of", "the result of"),
    ("what belongs", "the parts, or the noun"),
    ("what came", "the inputs, or the noun"),
    ("what comes", "the outputs, or the noun"),
    ("what goes", "the inputs, or the noun"),
    ("what is learned", "the parameters"),
    ("what is left", "the rest, the difference, or the remaining values"),
    ("what there is", "the noun"),
    ("what was learned", "the parameters"),
    ("whatever", "any, or for all"),
    ("wherever", "in any place, or if"),
    ("whichever", "any, or for all"),
    ("whoever", "the user, the caller, or the passive"),
    ("without a word", "silently"),
    ("yardstick", "baseline, or tolerance"),
];

/// All texts but this list, and the notebook, whose entries stay as they were written.
fn texts() -> Vec<PathBuf> {
    let folders = ["benches", "cli", "examples", "fuzz", "scripts", "shaders", "src", "tests"];
    let kinds = ["html", "py", "rs", "toml", "wgsl"];
    let of_folder = |folder| kinds.into_iter().flat_map(move |kind| files(folder, kind));
    let mut found: Vec<PathBuf> = folders.into_iter().flat_map(of_folder).collect();
    found.extend(files(".github", "yml"));
    found.extend([".ci", "scripts"].into_iter().flat_map(|folder| files(folder, "")));
    found.extend(documents().into_iter().filter(|path| !path.starts_with("docs/notebook")));
    found.extend(["Cargo.toml", "clippy.toml", "deny.toml", "fuzz/rustc"].map(PathBuf::from));
    found.retain(|path| path != Path::new("tests/house/words.rs"));
    found
}

/// A text in one line, so that phrases may go over ends of lines: in lower case, without the marks of
/// comments, and with `_` as a space. Also where each line of the text begins in it.
fn flat(text: &str) -> (String, Vec<usize>) {
    let (mut flat, mut beginnings) = (String::new(), Vec::new());
    for line in text.lines() {
        beginnings.push(flat.len());
        let words = line.split_whitespace().skip_while(|word| word.chars().all(is_mark));
        for word in words {
            flat.push_str(&word.to_lowercase().replace('_', " "));
            flat.push(' ');
        }
    }
    (flat, beginnings)
}

fn is_mark(character: char) -> bool {
    "/!#*>-".contains(character)
}

/// Each phrase of the list in a text: the number of its line, the phrase, and what to write instead.
fn phrases(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let (flat, beginnings) = flat(text);
    let mut found = Vec::new();
    for (phrase, instead) in PHRASES {
        for (place, _) in flat.match_indices(phrase) {
            let [before, after] = [&flat[..place], &flat[place + phrase.len()..]];
            if !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
            {
                let line = beginnings.partition_point(|&beginning| beginning <= place);
                found.push((line, phrase, instead));
            }
        }
    }
    found
}

#[test]
fn texts_are_in_plain_english() {
    let texts = texts();
    assert!(texts.len() > 300, "only {} texts are found", texts.len());
    let mut faults = Vec::new();
    for path in texts {
        for (line, phrase, instead) in phrases(&read(&path)) {
            faults.push(format!("{}:{line}: \"{phrase}\": write {instead}", path.display()));
        }
    }
    assert!(faults.is_empty(), "{} phrases:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn phrases_are_found_over_ends_of_lines_and_in_names() {
    let text = "/// Those\n    /// that differ.\nfn what_is_told() {}\n// untold besidesx";
    let found = phrases(text).into_iter().map(|(line, phrase, _)| (line, phrase));
    assert_eq!(found.collect::<Vec<_>>(), [(1, "those that"), (3, "told")]);
}

//! Links in documents have targets, and quoted lines of shaders exist in the shaders.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{files, read, root};

/// All documents for people: those of the root, and of the folders below it that hold text.
pub(super) fn documents() -> Vec<PathBuf> {
    let folders = ["cli", "docs", "examples", "fuzz", "scripts"];
    let mut found: Vec<PathBuf> =
        folders.into_iter().flat_map(|folder| files(folder, "md")).collect();
    let entries = std::fs::read_dir(root()).expect("the root can be read");
    let names = entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name()));
    found.extend(names.filter(|name| name.extension().is_some_and(|end| end == "md")));
    found
}

/// The targets of the links of a line, `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// A path without `..`.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the root", path.display()),
            other => plain.push(other),
        }
    }
    plain
}

/// The names that GitHub gives the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let of_heading = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let is_kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
        kept.chars().filter(is_kept).collect::<String>().replace(' ', "-")
    };
    headings.map(of_heading).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = read(&document);
        for target in text.lines().flat_map(targets).filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => document.clone(),
                file => plain(&document.with_file_name("").join(file)),
            };
            let what = format!("{}: {target}", document.display());
            assert!(root().join(&file).exists(), "{what} does not exist");
            let is_there = anchor.is_empty() || anchors(&read(&file)).contains(anchor);
            assert!(is_there, "{what}: no heading has this name");
            links += 1;
        }
    }
    assert!(links > 20, "{links} links in all documents");
}

/// A block of WGSL quotes lines of the shader that the text before it links to.
#[test]
fn quoted_shaders_have_these_lines() {
    let mut quoted = 0;
    for document in documents() {
        let text = read(&document);
        let (mut shader, mut is_quote) = (None, false);
        for line in text.lines() {
            match line.trim() {
                "```wgsl" => is_quote = true,
                "```" => is_quote = false,
                line if is_quote => {
                    let shader: &PathBuf =
                        shader.as_ref().expect("a link to the shader before the quote");
                    let is_there = read(shader).lines().any(|found| found.trim() == line);
                    let [document, shader] = [&document, shader].map(|path| path.display());
                    assert!(is_there, "{document}: {shader} has no line {line}");
                    quoted += 1;
                }
                line => {
                    let links = targets(line).filter(|target| target.ends_with(".wgsl"));
                    shader = links
                        .last()
                        .map(|link| plain(&document.with_file_name("").join(link)))
                        .or(shader);
                }
            }
        }
    }
    assert!(quoted > 10, "{quoted} lines are quoted");
}

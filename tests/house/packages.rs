//! A package that is published builds from its own files.

use std::path::Path;

use super::documents::plain;
use super::{code, files, read};

/// Each package's sources, and what its `Cargo.toml` includes.
const PACKAGES: [(&str, &[&str]); 2] =
    [("src", &["src", "shaders", "README.md"]), ("cli/src", &["cli/src", "cli/data"])];

/// The files that a text takes in, as it writes them.
fn taken(code: &str) -> impl Iterator<Item = &str> {
    ["include_str!(\"", "include_bytes!(\"", "#[path = \""]
        .into_iter()
        .flat_map(move |start| code.split(start).skip(1))
        .filter_map(|rest| Some(rest.split_once('"')?.0))
}

#[test]
fn sources_take_in_only_files_of_their_package() {
    for (folder, included) in PACKAGES {
        let mut count = 0;
        for path in files(folder, "rs") {
            for file in taken(&code(&read(&path))) {
                let whole = plain(&path.with_file_name("").join(file));
                let is_included = included.iter().any(|part| whole.starts_with(Path::new(part)));
                assert!(is_included, "{}: {file} is not in the package", path.display());
                count += 1;
            }
        }
        assert!(count > 0, "{folder} takes in no files");
    }
}

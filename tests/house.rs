//! The rules of CONTRIBUTING.md that a program can check: a kernel has three files, imports go up the list
//! of modules only, the device is the app's, and texts are in plain English.

#[path = "house/choices.rs"]
mod choices;
#[path = "house/documents.rs"]
mod documents;
#[path = "house/examples.rs"]
mod examples;
#[path = "house/imports.rs"]
mod imports;
#[path = "house/packages.rs"]
mod packages;
#[path = "house/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The imports: each module of `src`, then the modules that it may name (its own aside), and wgpu. Names go
/// up in this list only, so there are no circles. Tests may name any module.
const MAY_NAME: [(&str, &[&str]); 18] = [
    // The modules for the CPU never name wgpu.
    ("error", &[]),
    ("options", &["error"]),
    ("random", &[]),
    ("atomic_file", &["error"]),
    ("data", &["error", "options", "random"]),
    ("parameters", &["atomic_file", "error", "options", "random"]),
    ("snapshot", &["data", "error", "options", "parameters"]),
    ("reference", &["data", "error", "options", "parameters"]),
    ("evaluation", &["data", "error", "options", "reference"]),
    ("plan", &["options"]),
    // The modules for the GPU. `gpu` has no networks; `kernels` and `fused` have matrices and no layers.
    ("gpu", &["error", "plan", "wgpu"]),
    ("kernels", &["error", "gpu", "options", "plan", "wgpu"]),
    ("fused", &["error", "gpu", "kernels", "options", "plan", "wgpu"]),
    ("layout", &["error", "gpu", "parameters", "plan", "wgpu"]),
    ("network", &["error", "fused", "gpu", "layout", "options", "parameters", "plan", "wgpu"]),
    (
        "inference",
        &["data", "error", "fused", "gpu", "layout", "network", "options", "plan", "wgpu"],
    ),
    (
        "trainer",
        &[
            "data", "error", "fused", "gpu", "kernels", "layout", "network", "options", "plan",
            "snapshot", "wgpu",
        ],
    ),
    ("check", &["fused", "gpu", "kernels", "plan", "trainer", "wgpu"]),
];

/// The modules of the reference that are no kernel's twin: two list the twins of a family each, one is a
/// layer, and two call the twins in order.
const ABOVE_THE_TWINS: [&str; 5] = ["fused", "kernels", "layer", "network", "trainer"];

/// The kernels that compute the same formula as another one, for other matrices, and share its twin.
const SAME_TWIN: [(&str, &str); 2] =
    [("matmul_quads", "matmul"), ("narrow_forward", "network_forward")];

/// The files of `src` that only hold tests, also those of `check`; see [`is_test`].
const TEST_FILES: [&str; 18] = [
    "src/gpu/read/tests.rs",
    "src/gpu/rough.rs",
    "src/gpu/rough/accuracy.rs",
    "src/gpu/rough/tests.rs",
    "src/gpu/test_device.rs",
    "src/gpu/testing.rs",
    "src/gpu/testing/devices.rs",
    "src/fused/layer_backward/tests.rs",
    "src/fused/layer_backward/tests/faults.rs",
    "src/fused/layer_forward/tests.rs",
    "src/fused/update/tests.rs",
    "src/fused/grad_weights/tests.rs",
    "src/network/tests.rs",
    "src/plan/pace/tests.rs",
    "src/plan/tests.rs",
    "src/trainer/tests.rs",
    "src/trainer/tests/submissions.rs",
    "src/trainer/whole/tests.rs",
];

/// Calls for which wgpu may report an error. Each must be within the parentheses of a `guarded(…)`,
/// which returns the error. Otherwise it would reach the app's handler, which panics by default.
const GUARDED: [&str; 8] = [
    ".create_bind_group(",
    ".create_buffer(",
    ".create_command_encoder(",
    ".create_compute_pipeline(",
    ".map_async(",
    ".unmap()",
    ".write_buffer",
    "queue.submit(",
];

/// The device is the app's: the library sets no handler on it. That the library makes no device, and only
/// `gpu` makes GPU objects, is in clippy.toml.
const ONLY_APPS: [&str; 2] = ["on_uncaptured_error(", "set_device_lost_callback("];

/// Calls that no browser supports: blocking, threads, clocks and files. The listed files leave them out
/// in browsers, or the calls do nothing there.
const NOT_IN_BROWSERS: [(&str, &[&str]); 6] = [
    ("wait_indefinitely", &[]),
    ("PollType::Wait", &["src/gpu/wait.rs"]),
    ("mpsc", &[]),
    ("thread::", &["src/gpu/side_by_side.rs", "src/gpu/wait.rs", "src/gpu/watch/waking.rs"]),
    ("Instant", &["src/gpu/wait.rs", "src/gpu/watch/clock.rs"]),
    ("fs::", &["src/atomic_file.rs", "src/parameters/disk.rs"]),
];

/// The only file with `unsafe`, which wgpu requires to compile a shader without runtime checks.
const UNSAFE: &str = "src/gpu/compile.rs";

const MOST_LINES: usize = 450;

/// Names that do not describe their contents.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "common", "misc", "type", "types"];

#[test]
fn every_kernel_has_its_shader_its_room_and_its_twin() {
    for family in ["kernels", "fused"] {
        let shaders = stems(&format!("shaders/{family}"), "wgsl");
        assert!(!shaders.is_empty(), "there are no shaders in shaders/{family}");
        let [rooms, mut twins] =
            ["src", "src/reference"].map(|folder| stems(&format!("{folder}/{family}"), "rs"));
        assert_eq!(shaders, rooms, "shaders (left) and their rooms in src/{family} (right)");
        for (name, twin) in SAME_TWIN.iter().filter(|(name, _)| shaders.contains(*name)) {
            assert!(twins.contains(*twin), "src/reference/{family}/{twin}.rs is gone");
            assert!(twins.insert((*name).to_owned()), "{name} has another twin than {twin}");
        }
        assert_eq!(shaders, twins, "shaders (left) and their twins in src/reference (right)");
    }
    for folder in ["shaders", "src/reference"] {
        let expected: &[&str] = if folder == "shaders" { &[] } else { &ABOVE_THE_TWINS };
        let found: Vec<String> =
            ["wgsl", "rs"].into_iter().flat_map(|extension| stems(folder, extension)).collect();
        assert_eq!(found, expected, "files in {folder} that belong to no family");
    }
}

#[test]
fn names_go_up_the_list_only() {
    let listed: BTreeSet<String> =
        MAY_NAME.iter().map(|(module, _)| (*module).to_owned()).collect();
    let mut found = stems("src", "rs");
    found.remove("lib");
    assert_eq!(found, listed, "modules of src (left) and of this list (right)");
    for (line, (module, names)) in MAY_NAME.iter().enumerate() {
        for name in *names {
            let is_above = MAY_NAME[..line].iter().any(|(above, _)| above == name);
            assert!(is_above || *name == "wgpu", "{module} → {name} goes down the list");
        }
    }
}

#[test]
fn modules_name_what_they_may() {
    let mut faults = Vec::new();
    for (file, imported) in imports::Imports::of("src").0 {
        let module = imports::module(&file);
        let Some((_, may_name)) = MAY_NAME.iter().find(|(listed, _)| *listed == module) else {
            assert_eq!(module, "lib", "src/{file}.rs is in no module of the list");
            continue;
        };
        let is_wgpu = names_wgpu(&code(&read(&Path::new("src").join(&file).with_extension("rs"))));
        let names = imported.iter().map(|file| imports::module(file));
        for name in names.chain(is_wgpu.then_some("wgpu")) {
            if name != module && !may_name.contains(&name) {
                faults.push(format!("src/{file}.rs names {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_device_is_the_apps() {
    let mut faults = Vec::new();
    for (path, code) in library() {
        for call in ONLY_APPS.iter().filter(|call| code.contains(**call)) {
            faults.push(format!("{} has {call}", path.display()));
        }
        if code.contains("unsafe ") && path != Path::new(UNSAFE) {
            faults.push(format!("{} has unsafe code", path.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn errors_of_wgpu_are_results() {
    let mut calls = 0;
    for (path, code) in library() {
        for call in GUARDED {
            for (place, _) in code.match_indices(call) {
                let is_guarded = is_within(&code[..place], "guarded(");
                assert!(is_guarded, "{}: {call} outside of guarded(…)", path.display());
                calls += 1;
            }
        }
    }
    assert!(calls > 5, "only {calls} guarded calls in src");
}

/// Whether the code ends within the parentheses of such a call.
fn is_within(code: &str, call: &str) -> bool {
    let is_open = |(place, _): (usize, &str)| {
        let mut depth = 1;
        code[place + call.len()..].chars().all(|character| {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth > 0
        })
    };
    code.match_indices(call).any(is_open)
}

/// Every object has a name for GPU debuggers.
#[test]
fn every_descriptor_has_a_label() {
    let mut descriptors = 0;
    for (path, code) in library() {
        for (place, name) in code.match_indices("Descriptor {") {
            let fields = code[place + name.len()..].split('}').next().unwrap_or_default();
            let has_label =
                fields.contains("label: Some(") || fields.trim_start().starts_with("label");
            assert!(has_label, "{}: a descriptor without a label:{fields}", path.display());
            descriptors += 1;
        }
        for unnamed in ["label: None", "Descriptor::default()", "(&Default::default())"] {
            assert!(!code.contains(unnamed), "{} has {unnamed}", path.display());
        }
    }
    assert!(descriptors > 5, "{descriptors} descriptors in src");
}

#[test]
fn nothing_is_beyond_a_browser() {
    for (path, code) in library() {
        for (call, places) in NOT_IN_BROWSERS {
            let is_allowed = places.iter().any(|place| path == Path::new(place));
            assert!(is_allowed || !code.contains(call), "{} has {call}", path.display());
        }
    }
    for (call, places) in NOT_IN_BROWSERS {
        for place in places {
            assert!(code(&read(Path::new(place))).contains(call), "{place} has no {call} any more");
        }
    }
}

#[test]
fn files_are_short_and_have_telling_names() {
    let folders = ["benches", "cli", "examples", "scripts", "shaders", "src", "tests"];
    let files = folders.into_iter().flat_map(|folder| [files(folder, "rs"), files(folder, "wgsl")]);
    for path in files.flatten() {
        let lines = read(&path).lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines: {MOST_LINES} at most", path.display());
        let says_nothing = path
            .with_extension("")
            .components()
            .any(|part| EMPTY_NAMES.iter().any(|name| part.as_os_str() == *name));
        assert!(!says_nothing, "{} does not say what is inside", path.display());
    }
}

/// The library's files with their code, without comments and tests.
fn library() -> impl Iterator<Item = (PathBuf, String)> {
    files("src", "rs").into_iter().filter(|path| !is_test(path)).map(|path| {
        let code = code(&read(&path));
        (path, code)
    })
}

/// Whether a file only holds tests: one of the list, or cases that tests and `check` run.
fn is_test(path: &Path) -> bool {
    let is_of_cases = |part: &OsStr| part == "cases" || part == "cases.rs";
    path.iter().any(is_of_cases) || TEST_FILES.iter().any(|test| path == Path::new(test))
}

/// The attributes of tests, and of cases that tests and `check` run.
const OF_TESTS: [&str; 2] = ["#[cfg(test)]", "#[cfg(any(test, feature = \"check\"))]"];

/// Leaves out comments, and items after an attribute of tests: as rustfmt writes them, an item ends with
/// the first line that is indented like its attribute and ends in `;` or `}`.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end());
    while let Some(line) = lines.next() {
        let indentation = line.len() - line.trim_start().len();
        if OF_TESTS.contains(&line.trim_start()) {
            lines.find(|line| {
                line.len() - line.trim_start().len() == indentation && line.ends_with([';', '}'])
            });
        } else {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn names_wgpu(code: &str) -> bool {
    let is_wgpu = |(place, _): (usize, &str)| !code[..place].ends_with(is_of_name);
    code.match_indices("wgpu::").any(is_wgpu) || code.contains("use wgpu;")
}

fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    path.split(|character| !is_of_name(character)).next().unwrap_or_default()
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The names of the files in a folder, without those in its subfolders.
fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    files(folder, extension)
        .into_iter()
        .filter(|path| path.parent() == Some(Path::new(folder)))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

/// The files in a folder and in the folders below it, as paths from the root of the repository. Build
/// folders are left out.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        // A folder that does not exist has no files.
        for entry in fs::read_dir(root().join(&folder)).into_iter().flatten() {
            let path = folder.join(entry.expect("an entry of a folder").file_name());
            if path.ends_with("target") {
                continue;
            }
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().unwrap_or_default() == extension {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

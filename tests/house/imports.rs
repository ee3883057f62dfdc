//! Which files import which, in the library and in the binary: no circles, and no import from a higher floor.
//!
//! A file imports the files that define the names in it. A name is followed through `pub use` to its
//! definition, so a module that only lists and re-exports others imports nothing. Methods are not followed,
//! and tests may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{code, files, first_name, is_of_name, is_test, read};

/// The modules of the binary, the lowest floor first: each imports only its own files and lower floors.
const FLOORS: [&[&str]; 9] = [
    &["failure", "nvidia", "optimizers", "values", "wording"],
    &["diverged", "forward", "output"],
    &["adapter", "config", "data", "interrupt", "plot", "progress", "tuning"],
    &["report"],
    &["class_weights", "model", "onnx", "options", "state"],
    &["checkpoint", "settle"],
    &["run"],
    // The commands.
    &[
        "adapters",
        "bench",
        "check",
        "completions",
        "evaluate",
        "examples",
        "export",
        "predict",
        "train",
    ],
    // What the binary and the fuzzer call.
    &["lib", "readers"],
];

/// The same for the files and folders of `cli/src/data`.
const DATA_FLOORS: [&[&str]; 9] = [
    &["cell"],
    &["options"],
    &["columns"],
    &["formats"],
    &["tables"],
    &["rows"],
    &["digits", "input"],
    &["testing", "training", "unlabeled"],
    &["bytes"],
];

#[test]
fn files_of_the_binary_are_on_no_circle() {
    let imports = Imports::of("cli/src");
    assert!(imports.0.len() > 80, "only {} files in cli/src", imports.0.len());
    assert!(imports.on_a_circle().is_empty(), "{:#?}", imports.between(&imports.on_a_circle()));
}

/// A file of the library may import the modules above it: it adds methods to their types.
#[test]
fn files_of_the_library_are_on_no_circle() {
    let mut imports = Imports::of("src");
    for (file, imported) in &mut imports.0 {
        imported.retain(|other| !Path::new(file).starts_with(other));
    }
    let found = imports.on_a_circle();
    assert!(found.is_empty(), "{:#?}", imports.between(&found));
}

#[test]
fn imports_of_the_binary_go_down_the_floors() {
    let Imports(imports) = Imports::of("cli/src");
    check_floors(&imports, &FLOORS, |file| Some(module(file)));
    check_floors(&imports, &DATA_FLOORS, |file| Some(module(file.strip_prefix("data/")?)));
}

/// The first part of a file's path.
pub(crate) fn module(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// Checks the imports between files that have a part by that function.
fn check_floors(
    imports: &BTreeMap<String, BTreeSet<String>>,
    floors: &[&[&str]],
    part: impl Fn(&str) -> Option<&str>,
) {
    let found: BTreeSet<&str> = imports.keys().filter_map(|file| part(file)).collect();
    let listed = floors.concat().into_iter().collect();
    assert_eq!(found, listed, "parts of cli/src (left) and of the list (right)");
    let floor = |part: &str| floors.iter().position(|floor| floor.contains(&part));
    let mut faults = Vec::new();
    for (file, imported) in imports {
        for (own, other) in imported.iter().filter_map(|other| Some((part(file)?, part(other)?))) {
            if own != other && floor(other) >= floor(own) {
                faults.push(format!("{file} imports {other}, which is on no lower floor"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// For each file, by its path without `.rs`, the files that it imports.
pub(crate) struct Imports(pub(crate) BTreeMap<String, BTreeSet<String>>);

impl Imports {
    pub(crate) fn of(folder: &str) -> Self {
        let modules = Modules::read(folder);
        let import = |(name, module): (&String, &Module)| {
            let uses = module.uses.iter().filter(|found| {
                !found.is_public || module.paths.iter().flatten().any(|word| *word == found.name)
            });
            let uses = uses.map(|found| &found.path);
            let paths = module.paths.iter().filter(|path| path.len() > 1).chain(uses);
            let mut imported: BTreeSet<String> =
                paths.filter_map(|path| modules.definition(name, path, 0)).collect();
            imported.remove(name);
            (name.clone(), imported)
        };
        Self(modules.0.iter().map(import).collect())
    }

    /// The files that import themselves, mostly through others.
    fn on_a_circle(&self) -> BTreeSet<&str> {
        let is_on_a_circle = |file: &&String| {
            let mut reached: BTreeSet<&String> = BTreeSet::new();
            let mut left: Vec<_> = self.0[*file].iter().collect();
            while let Some(next) = left.pop() {
                if reached.insert(next) {
                    left.extend(&self.0[next]);
                }
            }
            reached.contains(file)
        };
        self.0.keys().filter(is_on_a_circle).map(String::as_str).collect()
    }

    /// The imports between some files, for messages.
    fn between(&self, files: &BTreeSet<&str>) -> Vec<String> {
        let within = |file: &&str| {
            let imported = self.0[*file].iter().filter(|other| files.contains(other.as_str()));
            format!("{file} imports {:?}", imported.collect::<Vec<_>>())
        };
        files.iter().map(within).collect()
    }
}

/// The files of a folder, by their paths in it without `.rs`.
struct Modules(BTreeMap<String, Module>);

struct Module {
    /// The names that it defines itself.
    items: BTreeSet<String>,
    uses: Vec<Use>,
    /// The other paths in its code; most are single words.
    paths: Vec<Vec<String>>,
}

struct Use {
    path: Vec<String>,
    /// The name that it brings in; `*` for all.
    name: String,
    is_public: bool,
}

/// A name is followed through no more modules and re-exports than this.
const DEEPEST: usize = 8;

impl Modules {
    fn read(folder: &str) -> Self {
        let is_code = |path: &&PathBuf| {
            let is_left_out =
                |part: &OsStr| ["tests", "tests.rs", "main.rs"].iter().any(|name| part == *name);
            !is_test(path) && !path.iter().any(is_left_out)
        };
        let files = files(folder, "rs");
        let module = |path: &PathBuf| {
            let name = path.strip_prefix(folder).expect("in the folder").with_extension("");
            (name.to_str().expect("UTF-8").to_owned(), Module::parse(&code(&read(path))))
        };
        Self(files.iter().filter(is_code).map(module).collect())
    }

    /// The file that defines what a path in a module names; none if that is another crate's.
    fn definition(&self, module: &str, path: &[String], depth: usize) -> Option<String> {
        let found = self.0.get(module).filter(|_| depth < DEEPEST)?;
        let Some((first, rest)) = path.split_first() else { return Some(module.to_owned()) };
        let child = if module == "lib" { first.clone() } else { format!("{module}/{first}") };
        let go = |module: &str| self.definition(module, rest, depth + 1);
        match first.as_str() {
            "crate" => return go("lib"),
            "self" => return go(module),
            "super" => return go(module.rsplit_once('/').map_or("lib", |(parent, _)| parent)),
            _ if self.0.contains_key(&child) => return go(&child),
            _ if found.items.contains(first) => return Some(module.to_owned()),
            _ => {}
        }
        found.uses.iter().find_map(|found| {
            let path = match found.name.as_str() {
                "*" => [&found.path, path].concat(),
                name if name == first => [&found.path, rest].concat(),
                _ => return None,
            };
            self.definition(module, &path, depth + 1)
        })
    }
}

impl Module {
    fn parse(code: &str) -> Self {
        let mut module = Self { items: BTreeSet::new(), uses: Vec::new(), paths: Vec::new() };
        let mut lines = code.lines();
        while let Some(line) = lines.next() {
            let (is_public, item) = without_visibility(line.trim_start());
            if let Some(tree) = item.strip_prefix("use ") {
                let mut tree = tree.to_owned();
                while !tree.ends_with(';') {
                    tree += lines.next().expect("the end of a use");
                }
                let trees = expanded(tree.trim_end_matches(';'));
                module.uses.extend(trees.iter().map(|tree| Use::parse(tree, is_public)));
                continue;
            }
            let is_outer = !line.starts_with(' ');
            let defined = is_outer.then(|| defined(item)).flatten();
            module.items.extend(defined.map(str::to_owned));
            if !item.starts_with("mod ") {
                module.paths.extend(paths(line));
            }
        }
        module
    }
}

impl Use {
    fn parse(tree: &str, is_public: bool) -> Self {
        let (path, alias) =
            tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let mut path: Vec<_> = path.split("::").map(str::to_owned).collect();
        if path.len() > 1 {
            path.pop_if(|last| last == "self");
        }
        let name = alias.map_or_else(|| path[path.len() - 1].clone(), str::to_owned);
        path.pop_if(|last| last == "*");
        Self { path, name, is_public }
    }
}

/// An item without `pub`, `pub(crate)` and the like, and whether it had one.
fn without_visibility(item: &str) -> (bool, &str) {
    let Some(rest) = item.strip_prefix("pub") else { return (false, item) };
    let rest = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest),
        None => rest,
    };
    (true, rest.trim_start())
}

/// The name that an item defines.
fn defined(item: &str) -> Option<&str> {
    let mut words = item.split_whitespace();
    loop {
        match words.next()? {
            "async" | "unsafe" => {}
            "const" => {
                let name = words.next()?;
                return Some(first_name(if name == "fn" { words.next()? } else { name }));
            }
            "enum" | "fn" | "macro_rules!" | "static" | "struct" | "trait" | "type" | "union" => {
                return words.next().map(first_name);
            }
            _ => return None,
        }
    }
}

/// The paths of a tree: `a::b` and `a::c::d` for `a::{b, c::{d}}`.
fn expanded(tree: &str) -> Vec<String> {
    let Some((prefix, list)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let mut depth = 0;
    let members = list.split(|character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    let members = members.filter(|member| !member.trim().is_empty()).flat_map(expanded);
    members.map(|member| prefix.trim().to_owned() + &member).collect()
}

/// The words of a line, with those after `::` in the same path.
fn paths(line: &str) -> impl Iterator<Item = Vec<String>> {
    let is_path = |character: char| is_of_name(character) || character == ':';
    // A path after `<T as Trait>` begins with colons.
    let paths =
        line.split(move |character| !is_path(character)).filter(|path| !path.starts_with(':'));
    // A single colon separates a name from its type.
    let paths = paths.map(|path| path.trim_end_matches(':')).filter(|path| !path.is_empty());
    paths.map(|path| path.split("::").map(str::to_owned).collect())
}

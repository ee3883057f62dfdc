//! Lists the library's public names, one per line, from rustdoc's JSON output. `scripts/public-api`
//! calls it.

use std::env;
use std::error::Error;

use public_api::Builder;

/// Auto traits that hardly any user needs. `Send` and `Sync` are listed.
const LEFT_OUT: [&str; 6] = [
    "core::marker::Freeze for ",
    "core::marker::StructuralPartialEq for ",
    "core::marker::Unpin for ",
    "core::marker::UnsafeUnpin for ",
    "core::panic::unwind_safe::RefUnwindSafe for ",
    "core::panic::unwind_safe::UnwindSafe for ",
];

fn main() -> Result<(), Box<dyn Error>> {
    let json = env::args_os().nth(1).ok_or("usage: list-public-api RUSTDOC.json")?;
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        // The names of arguments show a swap of two arguments of the same type.
        .include_function_parameter_names(true)
        .build()?;
    // The type for which the last line implements a trait: its functions follow from the trait.
    let mut implemented_for = None;
    for item in api.items() {
        let line = item.to_string();
        if line.starts_with("impl") {
            implemented_for = line.split_once(" for ").map(|(_, name)| format!("pub fn {name}::"));
        } else if implemented_for.as_ref().is_some_and(|function| line.starts_with(function)) {
            continue;
        }
        if !LEFT_OUT.iter().any(|name| line.contains(name)) {
            println!("{line}");
        }
    }
    Ok(())
}

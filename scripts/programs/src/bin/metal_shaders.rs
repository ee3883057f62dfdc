//! Translates kernels to Metal's language, a file for each, with the options that wgpu gives naga.
//! `scripts/check-fast-math` compiles the files.
//!
//!     cargo run --package programs --bin metal_shaders -- FOLDER

#[allow(dead_code, reason = "only the tests of the shaders need the rest")]
#[path = "../../../../tests/library/shaders/texts.rs"]
mod texts;

use std::error::Error;
use std::path::Path;

use naga::ShaderStage;
use naga::back::msl;
use naga::back::pipeline_constants::process_overrides;
use naga::front::wgsl;
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use ztilde::{Activation, Loss, Method};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Overrides that select code, with the values to try. All combinations of a kernel's are written.
type Choices = &'static [(&'static str, &'static [u32])];
const KERNELS: [(&str, &str, Choices); 13] = [
    ("kernels/activate", "main", &[("ACTIVATION", &ACTIVATIONS)]),
    ("kernels/activate_backward", "main", &[("ACTIVATION", &ACTIVATIONS)]),
    ("fused/grad_weights", "main", &[]),
    ("fused/gradient_norm", "total", &[]),
    ("fused/layer_forward", "main", &[("PHASE", &[0]), ("NORMALIZATION", &[0, 2])]),
    ("fused/layer_backward", "main", &[("PHASE", &[0, 2]), ("BATCH_NORM", &[0, 1])]),
    ("kernels/loss", "main", &[("LOSS", &LOSSES)]),
    ("fused/narrow_forward", "main", &[]),
    ("fused/network_forward", "main", &[]),
    ("fused/output_layer", "main", &[("ROW_BY_ROW", &[0, 1]), ("LOSS", &LOSSES)]),
    ("fused/record_step", "main", &[]),
    ("fused/update", "main", &[("METHOD", &METHODS)]),
    ("fused/weigh_classes", "main", &[]),
];

const ACTIVATIONS: [u32; Activation::ALL.len()] = numbers();
const LOSSES: [u32; Loss::ALL.len()] = numbers();
const METHODS: [u32; Method::ALL.len()] = numbers();

/// 0, 1, …
const fn numbers<const COUNT: usize>() -> [u32; COUNT] {
    let mut numbers = [0; COUNT];
    let mut number = 0;
    while number < COUNT {
        numbers[number] = number as u32;
        number += 1;
    }
    numbers
}

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or("usage: metal_shaders FOLDER")?;
    for (path, entry_point, choices) in KERNELS {
        let room = texts::read(&format!("src/{path}.rs"));
        let name = path.split('/').next_back().unwrap_or(path);
        // Only software adapters get the texts for subgroups, and Metal has no software adapter.
        let texts = texts::texts(&room).into_iter().filter(|text| !texts::is_for_subgroups(text));
        for (number, text) in texts.enumerate() {
            let is_elsewhere = text.contains(&texts::read("shaders/shared/weights_elsewhere.wgsl"));
            let weights = if is_elsewhere { " elsewhere" } else { "" };
            for chosen in combinations(choices) {
                let words = chosen.iter().map(|(name, value)| format!(" {name}={value}"));
                let tiles = number + 1;
                let file = format!("{name} {tiles}{weights}{}.metal", words.collect::<String>());
                let text = in_metal(&text, entry_point, &chosen)?;
                std::fs::write(Path::new(&folder).join(file.to_lowercase()), text)?;
            }
        }
    }
    let probe = ["scripts/fast_math/probe.wgsl", "shaders/shared/magnitudes.wgsl"].map(texts::read);
    let text = in_metal(&probe.concat(), "main", &[])?;
    std::fs::write(Path::new(&folder).join("probe.metal"), text)?;
    Ok(())
}

fn combinations(choices: Choices) -> Vec<Vec<(&'static str, u32)>> {
    choices.iter().fold(vec![Vec::new()], |before, &(name, numbers)| {
        let with = |before: &Vec<_>, number| [&before[..], &[(name, number)]].concat();
        before
            .iter()
            .flat_map(|before| numbers.iter().map(|&number| with(before, number)))
            .collect()
    })
}

/// The text in Metal's language. All overrides except the chosen ones are 1, including the size of a
/// workgroup: one invocation then does all of a workgroup's work.
fn in_metal(text: &str, entry_point: &str, chosen: &[(&str, u32)]) -> Result<String> {
    let module = wgsl::parse_str(text)?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module)?;
    let value = |name: &str| match chosen.iter().find(|(of, _)| *of == name) {
        Some(&(_, number)) => f64::from(number),
        // A value of 1 would change the formula or make it 0.
        None if ["LABEL_SMOOTHING", "HAS_CLASS_WEIGHTS"].contains(&name) => 0.0,
        None if name == "NEGATIVE_SLOPE" => 0.01,
        None => 1.0,
    };
    let names = module.overrides.iter().filter_map(|(_, of)| of.name.clone());
    let constants = names.map(|name| (name.clone(), value(&name))).collect();
    let entry_point = (ShaderStage::Compute, entry_point);
    let (module, info) = process_overrides(&module, &info, Some(entry_point), &constants)?;
    let options = msl::Options {
        lang_version: (2, 4),
        // As wgpu compiles a trusted shader, because the kernels themselves stay within their buffers.
        bounds_check_policies: BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    Ok(msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())?.0)
}

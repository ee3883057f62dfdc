//! Every kernel's text is WGSL that any WebGPU device accepts. naga checks it, so no adapter is needed.

mod switches;
mod texts;

use std::collections::{HashMap, HashSet};
use std::fs;

use naga::back::pipeline_constants::process_overrides;
use naga::front::wgsl::{Frontend, Options};
use naga::proc::Layouter;
use naga::valid::{Capabilities, FunctionInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, BinaryOperator, Expression, Function, Handle, MathFunction, Module, ScalarKind,
    ShaderStage, Span, Statement, TypeInner,
};
use texts::declaration::Place;
use texts::{FAMILIES, for_each_kernel, is_for_subgroups, read, root, texts, texts_with};

/// The sizes of workgroups, which kernel modules define as `const NAME: u32 = …;`, by their names.
fn sizes(room: &str) -> HashMap<String, f64> {
    let kernels = FAMILIES.map(|family| read(&format!("src/{family}.rs"))).concat();
    let size = |line: &str| {
        let (name, value) = line.split_once("const ")?.1.split_once(": u32 = ")?;
        Some((name.to_owned(), value.strip_suffix(';')?.parse().ok()?))
    };
    kernels.lines().chain(room.lines()).filter_map(size).collect()
}

/// The features that a shader for devices with subgroups may use.
fn capabilities(text: &str) -> Capabilities {
    match is_for_subgroups(text) {
        true => Capabilities::SUBGROUP,
        false => Capabilities::empty(),
    }
}

fn parse(name: &str, text: &str) -> Module {
    let path = format!("shaders/{name}.wgsl");
    let options = Options { parse_doc_comments: false, capabilities: capabilities(text) };
    Frontend::new_with_options(options)
        .parse(text)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(text, &path)))
}

/// Calls `check` for each function of each kernel's texts, with the kernel's name, the text, its module, the
/// function and the types of its expressions.
fn for_each_function(mut check: impl FnMut(&str, &str, &Module, &Function, &FunctionInfo)) {
    for_each_kernel(|name, room| {
        for text in texts(room) {
            let module = parse(name, &text);
            let info = Validator::new(ValidationFlags::all(), Capabilities::all())
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            for (handle, function) in module.functions.iter() {
                check(name, &text, &module, function, &info[handle]);
            }
            for (index, entry_point) in module.entry_points.iter().enumerate() {
                check(name, &text, &module, &entry_point.function, info.get_entry_point(index));
            }
        }
    });
}

fn line_of(text: &str, span: Span) -> &str {
    let line = span.location(text).line_number as usize;
    text.lines().nth(line - 1).unwrap_or_default().trim()
}

#[test]
fn kernels_are_valid_without_features_and_within_the_default_limits() {
    for_each_kernel(|name, room| {
        for place in [Place::Uniform, Place::Storage, Place::Copied] {
            let texts = texts_with(room, place);
            assert!(!texts.is_empty(), "src/{name}.rs includes no shader");
            for text in texts {
                check_limits(name, &text, &sizes(room), place);
            }
        }
    });
}

fn check_limits(name: &str, text: &str, sizes: &HashMap<String, f64>, place: Place) {
    let limits = wgpu::Limits::default();
    let module = parse(name, text);
    let info = Validator::new(ValidationFlags::all(), capabilities(text))
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| {
            panic!("{}", error.emit_to_string_with_path(text, &format!("shaders/{name}.wgsl")))
        });
    let storage_buffers = module
        .global_variables
        .iter()
        .filter(|(_, variable)| matches!(variable.space, AddressSpace::Storage { .. }))
        .count() as u32;
    // src/gpu/uniform.rs leaves the uniform where it is if storage has no room for it.
    let most = limits.max_storage_buffers_per_shader_stage + u32::from(place != Place::Uniform);
    assert!(
        storage_buffers <= most,
        "{name} has {storage_buffers} storage buffers: {most} at most"
    );
    // The value of an override matters if it is a size. Other overrides select a choice or are operands.
    let constants = module
        .overrides
        .iter()
        .filter_map(|(_, value)| value.name.clone())
        .map(|name| (name.clone(), sizes.get(&name).copied().unwrap_or(1.0)))
        .collect();
    assert!(!module.entry_points.is_empty(), "{name} has no entry point");
    for entry_point in &module.entry_points {
        let entry_point = (ShaderStage::Compute, entry_point.name.as_str());
        let (module, _) = process_overrides(&module, &info, Some(entry_point), &constants)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        check_workgroup(name, &module, &limits);
    }
}

/// The information about a module with one entry point and no overrides.
fn check_workgroup(name: &str, module: &Module, limits: &wgpu::Limits) {
    let [x, y, z] = module.entry_points[0].workgroup_size;
    let most = limits.max_compute_invocations_per_workgroup;
    assert!(
        x * y * z <= most && z <= limits.max_compute_workgroup_size_z,
        "{name} has workgroups of {x} × {y} × {z}: {most} invocations at most"
    );
    assert!(x * y * z > 1, "{name}: its room has no `const` of the name of its workgroup's size");
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("valid types have a layout");
    let bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16))
        .sum();
    let most = limits.max_compute_workgroup_storage_size;
    assert!(bytes <= most, "{name} has {bytes} bytes of workgroup memory: {most} at most");
}

/// A compiler that reorders additions, such as Metal's, loses the digits that a difference of a
/// difference should keep. So the first difference must go through shaders/shared/rounded.wgsl.
#[test]
fn differences_are_rounded_before_more_is_subtracted() {
    for_each_function(check_differences);
}

fn check_differences(
    name: &str,
    text: &str,
    module: &Module,
    function: &Function,
    info: &FunctionInfo,
) {
    let expressions = &function.expressions;
    let is_product = |expression: Handle<Expression>| {
        matches!(expressions[expression], Expression::Binary { op: BinaryOperator::Multiply, .. })
    };
    // The minuend of a subtraction of floats.
    let subtracts = |expression: Handle<Expression>| match expressions[expression] {
        Expression::Binary { op: BinaryOperator::Subtract, left, right } => {
            let kind = info[expression].ty.inner_with(&module.types).scalar_kind();
            (kind == Some(ScalarKind::Float) && !is_product(right)).then_some(left)
        }
        _ => None,
    };
    for (expression, _) in expressions.iter() {
        let of_a_difference = subtracts(expression).and_then(subtracts).is_some();
        let line = line_of(text, expressions.get_span(expression));
        assert!(!of_a_difference, "{name}: not rounded in between: {line}");
    }
}

/// FXC is Microsoft's older shader compiler, which wgpu uses for Direct3D 12 without dxcompiler.dll. If
/// some invocations leave a loop early, it assumes that they never rejoin the others, and refuses any
/// barrier in the same shader; sometimes it also does so if only the loop's condition differs. So loops
/// have the same length for all invocations where possible, with an `if` inside.
#[test]
fn no_loop_is_left_in_a_kernel_with_barriers() {
    for_each_kernel(|name, room| {
        for text in texts(room).iter().filter(|text| text.contains("Barrier()")) {
            let left = text.lines().find(|line| line.trim_start().starts_with("break;"));
            assert_eq!(left, None, "{name} has barriers, and leaves a loop");
        }
    });
}

/// A compiler with fast math, such as Metal's, assumes that no float is NaN, and removes the code behind
/// a recognized test for NaN. So the bits of a float are combined with a value that the compiler cannot
/// know.
#[test]
fn bits_of_floats_are_taken_with_an_unknown_in_them() {
    const WITH_AN_UNKNOWN: [&str; 4] = ["bits_of", "bits_of_quad", "rounded", "rounded_quad"];
    for_each_function(|name, text, module, function, info| {
        let kind = |expression: Handle<Expression>| {
            info[expression].ty.inner_with(&module.types).scalar_kind()
        };
        let takes_bits = |expression: Handle<Expression>| {
            matches!(function.expressions[expression], Expression::As {
                expr, kind: ScalarKind::Uint | ScalarKind::Sint, convert: None,
            } if kind(expr) == Some(ScalarKind::Float))
        };
        let is_unknown = |expression: Handle<Expression>| {
            let expression = match function.expressions[expression] {
                Expression::Splat { value, .. } => value,
                _ => expression,
            };
            matches!(
                function.expressions[expression],
                Expression::CallResult(_)
                    | Expression::Binary { op: BinaryOperator::ShiftRight, .. }
            )
        };
        let of = function.name.as_deref().unwrap_or_default();
        let may = WITH_AN_UNKNOWN.contains(&of);
        for (expression, _) in function.expressions.iter() {
            if !takes_bits(expression) {
                continue;
            }
            let has_unknown = function.expressions.iter().any(|(_, user)| {
                matches!(*user, Expression::Binary { op: BinaryOperator::ExclusiveOr, left, right }
                    if left == expression && is_unknown(right))
            });
            let line = line_of(text, function.expressions.get_span(expression));
            assert!(may && has_unknown, "{name}: the bits of a float without bits_of: {line}");
        }
    });
}

/// WGSL does not define max, min and clamp of NaN, and GPUs return the other value, so a broken sensor
/// would give a plausible prediction.
#[test]
fn nothing_takes_the_larger_or_smaller_of_floats() {
    for_each_function(|name, text, module, function, info| {
        for (expression, content) in function.expressions.iter() {
            let Expression::Math { fun, arg, .. } = *content else { continue };
            let kind = info[arg].ty.inner_with(&module.types).scalar_kind();
            let is_open = matches!(
                fun,
                MathFunction::Max
                    | MathFunction::Min
                    | MathFunction::Clamp
                    | MathFunction::Saturate
            );
            let line = line_of(text, function.expressions.get_span(expression));
            let of_floats =
                is_open && kind != Some(ScalarKind::Uint) && kind != Some(ScalarKind::Sint);
            assert!(!of_floats, "{name}: {fun:?} of floats: {line}");
        }
    });
}

/// A compiler may write one component by reading and writing back the whole vector, which undoes
/// concurrent writes of other invocations. So a vector that several invocations write is written as a
/// whole.
#[test]
fn no_component_of_a_vector_in_memory_is_written() {
    // One invocation writes all vectors of a row of outputs.
    const WRITTEN_BY_ONE: [(&str, &str); 1] = [("fused/output_layer", "put_gradient")];
    let mut seen = HashSet::new();
    for_each_function(|name, text, module, function, info| {
        let of = (name, function.name.as_deref().unwrap_or_default());
        for span in component_stores(module, function, info) {
            if WRITTEN_BY_ONE.contains(&of) {
                seen.insert(name.to_owned());
                continue;
            }
            panic!("{name}: writes a component of a vector: {}", line_of(text, span));
        }
    });
    assert_eq!(seen.len(), WRITTEN_BY_ONE.len(), "of the exceptions, only {seen:?} do so");
}

/// The statements of a function that write a component of a vector that other invocations see.
fn component_stores(module: &Module, function: &Function, info: &FunctionInfo) -> Vec<Span> {
    let is_component = |pointer: Handle<Expression>| match function.expressions[pointer] {
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
            let of = info[base].ty.inner_with(&module.types);
            let is_shared = !matches!(
                of.pointer_space(),
                None | Some(AddressSpace::Function | AddressSpace::Private)
            );
            let of = match *of {
                TypeInner::Pointer { base, .. } => &module.types[base].inner,
                ref other => other,
            };
            let is_vector = matches!(
                of,
                TypeInner::Vector { .. } | TypeInner::ValuePointer { size: Some(_), .. }
            );
            is_shared && is_vector
        }
        _ => false,
    };
    let mut found = Vec::new();
    let mut blocks = vec![&function.body];
    while let Some(block) = blocks.pop() {
        for (statement, span) in block.span_iter() {
            match statement {
                Statement::Store { pointer, .. } if is_component(*pointer) => found.push(*span),
                Statement::Block(block) => blocks.push(block),
                Statement::If { accept, reject, .. } => blocks.extend([accept, reject]),
                Statement::Switch { cases, .. } => {
                    blocks.extend(cases.iter().map(|case| &case.body));
                }
                Statement::Loop { body, continuing, .. } => blocks.extend([body, continuing]),
                _ => {}
            }
        }
    }
    found
}

/// Kernels that read small matrices as uniforms.
const WITH_UNIFORM_MATRICES: [&str; 1] = ["fused/narrow_forward"];

/// Bindings must be as `gpu` binds them: all in group 0, the uniform first, then the buffers.
#[test]
fn bindings_are_a_uniform_and_then_buffers() {
    for_each_kernel(|name, room| {
        for text in texts(room) {
            let module = parse(name, &text);
            // If a variable is declared after its first use, naga lists it at that use.
            let variables = module.global_variables.iter().map(|(_, variable)| variable);
            let mut variables: Vec<_> = variables.collect();
            variables
                .sort_by_key(|variable| variable.binding.as_ref().map(|binding| binding.binding));
            let mut next = 0;
            for variable in variables {
                let Some(binding) = &variable.binding else { continue };
                let place = (binding.group, binding.binding);
                assert_eq!(place, (0, next), "{name}: group and binding of {:?}", variable.name);
                let is_uniform = variable.space == AddressSpace::Uniform;
                let is_array = matches!(module.types[variable.ty].inner, TypeInner::Array { .. });
                let is_matrix = is_array && WITH_UNIFORM_MATRICES.contains(&name);
                let may_be = next == 0 || is_matrix;
                let is_right = if is_uniform { may_be } else { next > 0 };
                assert!(is_right, "{name}: binding 0 is the uniform, no other is");
                next += 1;
            }
            assert!(next > 1, "{name} binds nothing");
        }
    });
}

/// If the uniform is copied to private memory, it holds zeros before.
#[test]
fn every_entry_point_begins_with_reading_the_uniform() {
    for_each_kernel(|name, room| {
        for text in texts_with(room, Place::Copied) {
            let module = parse(name, &text);
            for entry_point in &module.entry_points {
                let is_emit = |statement: &&Statement| matches!(statement, Statement::Emit(_));
                let mut body = entry_point.function.body.iter();
                let called = match body.find(|statement| !is_emit(statement)) {
                    Some(Statement::Call { function, .. }) => &module.functions[*function].name,
                    _ => &None,
                };
                let of = &entry_point.name;
                assert_eq!(called.as_deref(), Some("read_uniform"), "{name}: {of} begins with");
            }
        }
    });
}

/// "Normalize, backward: …" begins `normalize_backward.wgsl`, which is the first file that its kernel
/// module includes.
#[test]
fn shaders_open_with_their_names() {
    for_each_kernel(|name, room| {
        let text = read(&format!("shaders/{name}.wgsl"));
        let title = text.strip_prefix("// ").and_then(|text| text.split(':').next());
        let title = title.unwrap_or_default().to_lowercase().replace(", ", "_").replace(' ', "_");
        assert_eq!(
            Some(&*title),
            name.split('/').next_back(),
            "shaders/{name}.wgsl opens with a comment that names it"
        );
        let first = texts(room).into_iter().next().unwrap_or_default();
        assert!(first.starts_with(&text), "src/{name}.rs includes another shader first");
    });
}

/// A shared file without a kernel that includes it is dead code.
#[test]
fn every_shared_file_has_its_users_and_opens_with_a_comment() {
    // The tiles follow what `tiled![…]` lists.
    let mut rooms = read("src/gpu/texts.rs");
    for_each_kernel(|_, room| rooms.push_str(room));
    for entry in fs::read_dir(root().join("shaders/shared")).expect("the folder of shared files") {
        let name = entry.expect("an entry of a folder").file_name();
        let name = format!("shared/{}", name.display());
        assert!(rooms.contains(&name), "no room includes {name}");
        assert!(
            read(&format!("shaders/{name}")).starts_with("// "),
            "{name} does not open with a comment"
        );
    }
}

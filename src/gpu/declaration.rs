//! How a shader's text gets binding 0, its uniform. The shader itself declares the struct, and each entry point
//! begins with `read_uniform();`.

/// Where the uniform is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Uniform,
    /// On Mesa's software adapters. Their driver turns uniforms on which loops or branches depend into
    /// constants, and where this makes a shader much shorter, it compiles the shader again for every dispatch.
    Storage,
    /// In storage, and each invocation copies it to private memory once: the driver would read it again in
    /// every round of a loop.
    Copied,
}

/// The declaration to append to a text, for a struct of this name. The variable has the same name in lower
/// case.
pub(crate) fn declaration(name: &str, place: Place) -> String {
    let variable = name.to_lowercase();
    let (space, bound, memory) = match place {
        Place::Uniform => ("uniform", &*variable, String::new()),
        Place::Storage => ("storage, read", &*variable, String::new()),
        Place::Copied => {
            ("storage, read", "in_storage", format!("var<private> {variable}: {name};\n"))
        }
    };
    let copy = if memory.is_empty() { String::new() } else { format!(" {variable} = {bound}; ") };
    format!(
        "\n@group(0) @binding(0) var<{space}> {bound}: {name};\n{memory}fn read_uniform() {{{copy}}}\n"
    )
}

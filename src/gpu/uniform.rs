//! The numbers of a dispatch: a struct that has the same name and fields here and in the shader.

use wgpu::Device;

use super::declaration::{self, Place};
use crate::plan::DeviceClass;

/// The largest uniform that is copied to private memory, which is slow to index: a table is larger.
const LARGEST_COPY: usize = 128;

/// A struct of the same name and fields as the struct of a shader. [`uniform!`](crate::gpu::uniform!) makes it.
pub(crate) trait Uniform: bytemuck::Pod {
    const NAME: &'static str;

    /// The name, type and offset of each field.
    #[cfg(test)]
    const FIELDS: &'static [(&'static str, &'static str, usize)];
}

/// Defines a struct, and implements [`Uniform`] for it.
macro_rules! uniform {
    ($(#[$attribute:meta])* struct $name:ident {
        $($(#[$of_field:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name {
            $($(#[$of_field])* pub(crate) $field: $type,)*
        }

        impl $crate::gpu::Uniform for $name {
            const NAME: &'static str = stringify!($name);

            #[cfg(test)]
            const FIELDS: &'static [(&'static str, &'static str, usize)] = &[$(
                (stringify!($field), stringify!($type), std::mem::offset_of!($name, $field)),
            )*];
        }
    };
}
pub(crate) use uniform;

/// The text with the declaration of its uniform for a device.
pub(super) fn declared<U: Uniform>(device: &Device, text: &str) -> String {
    text.to_owned() + &declaration::declaration(U::NAME, place::<U>(device, text))
}

/// Storage is for Mesa's software adapters, if the device allows one more storage buffer. Shaders with barriers
/// do not copy: a browser must see that all invocations have the same values.
fn place<U: Uniform>(device: &Device, text: &str) -> Place {
    let storage_buffers = text.matches("var<storage").count() as u32;
    let has_room = storage_buffers < device.limits().max_storage_buffers_per_shader_stage;
    let is_copied = size_of::<U>() <= LARGEST_COPY && !text.contains("workgroupBarrier()");
    match has_room && DeviceClass::from(device).specializes_uniforms() {
        false => Place::Uniform,
        true if is_copied => Place::Copied,
        true => Place::Storage,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use naga::valid::{Capabilities, ValidationFlags, Validator};
    use naga::{AddressSpace, Handle, Module, Scalar, Type, TypeInner};

    use super::*;
    use crate::gpu::Layout;
    use crate::{fused, kernels};

    /// A struct of Rust, and its shader, such as `kernels/matmul`.
    struct Pair {
        shader: String,
        name: &'static str,
        fields: &'static [(&'static str, &'static str, usize)],
        size: usize,
    }

    fn pair<U: Uniform>() -> Pair {
        let module = std::any::type_name::<U>().trim_start_matches("ztilde::");
        let shader = module.rsplit_once("::").expect("a path").0.replace("::", "/");
        Pair { shader, name: U::NAME, fields: U::FIELDS, size: size_of::<U>() }
    }

    /// Every shader's uniform.
    fn pairs() -> [Pair; 25] {
        [
            pair::<kernels::activate::Shape>(),
            pair::<kernels::activate_backward::Shape>(),
            pair::<kernels::add_biases::Shape>(),
            pair::<kernels::batch_statistics::Batch>(),
            pair::<kernels::column_sums::Shape>(),
            pair::<kernels::loss::Shape>(),
            pair::<kernels::matmul::Product>(),
            pair::<kernels::matmul_quads::Shape>(),
            pair::<kernels::normalize::Shape>(),
            pair::<kernels::normalize_backward::Shape>(),
            pair::<kernels::normalize_gradients::Shape>(),
            pair::<fused::copy_rows::Shape>(),
            pair::<fused::gather_rows::Batch>(),
            pair::<fused::grad_weights::Layer>(),
            pair::<fused::gradient_norm::Length>(),
            pair::<fused::layer_backward::Layer>(),
            pair::<fused::layer_forward::Layer>(),
            pair::<fused::narrow_forward::Network>(),
            pair::<fused::network_forward::Network>(),
            pair::<fused::output_layer::Layer>(),
            pair::<fused::record_step::Batch>(),
            pair::<fused::skip_step::Skip>(),
            pair::<fused::update::Sizes>(),
            pair::<fused::weigh_classes::Batch>(),
            pair::<fused::whole_steps::Run>(),
        ]
    }

    /// The structs that are fields of uniforms.
    fn parts() -> [Pair; 4] {
        [
            pair::<Layout>(),
            pair::<fused::network_forward::Entry>(),
            pair::<fused::grad_weights::Weights>(),
            pair::<fused::update::Range>(),
        ]
    }

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders"))
    }

    /// The structs of a shader with its uniform, as naga reads them.
    fn module(pair: &Pair) -> Module {
        let files = [
            &*pair.shader,
            "shared/layout",
            "shared/moments",
            "shared/weights_patch",
            "shared/slab_sum",
            "shared/rounded",
        ];
        let text = files.map(|file| {
            fs::read_to_string(folder().join(file).with_extension("wgsl")).expect("a shader")
        });
        // The quads of a row are appended to the shader that needs them.
        let mut structs = "const QUADS = 1u;\n".to_owned();
        let mut is_inside = false;
        for line in text.concat().lines() {
            is_inside |= line.starts_with("struct ");
            if is_inside || line.starts_with("alias Row") {
                structs += &format!("{line}\n");
            }
            is_inside &= line != "}";
        }
        let entry_point = "@compute @workgroup_size(1) fn main() { read_uniform(); }";
        let uniform = declaration::declaration(pair.name, Place::Uniform);
        let text = [&structs, &*uniform, entry_point].concat();
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|error| panic!("{}: {}", pair.shader, error.emit_to_string(&text)));
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {error:?}", pair.shader));
        module
    }

    /// The type as Rust writes it, without the length of an array.
    fn name_of(module: &Module, of: Handle<Type>) -> String {
        match &module.types[of] {
            Type { name: Some(name), .. } => name.clone(),
            Type { inner: TypeInner::Array { base, .. }, .. } => {
                format!("[{}", name_of(module, *base))
            }
            Type { inner: TypeInner::Scalar(Scalar::U32), .. } => "u32".to_owned(),
            Type { inner: TypeInner::Scalar(Scalar::F32), .. } => "f32".to_owned(),
            other => panic!("{other:?} in a uniform"),
        }
    }

    fn compare(module: &Module, of: Handle<Type>, pair: &Pair) {
        let what = format!("{} of {}", pair.name, pair.shader);
        let Type { name, inner: TypeInner::Struct { members, span } } = &module.types[of] else {
            panic!("{what} is no struct");
        };
        assert_eq!(name.as_deref(), Some(pair.name), "{what}");
        let found: Vec<_> = members
            .iter()
            .map(|member| {
                let name = member.name.clone().unwrap_or_default();
                (name, name_of(module, member.ty), member.offset as usize)
            })
            .collect();
        let of_rust = |&(name, of, offset): &(&str, &str, usize)| {
            (name.to_owned(), of.split(';').next().unwrap_or_default().to_owned(), offset)
        };
        let expected: Vec<_> = pair.fields.iter().map(of_rust).collect();
        assert_eq!(found, expected, "{what}: fields of the shader (left) and of Rust (right)");
        assert_eq!(
            *span as usize, pair.size,
            "{what}: bytes of the shader (left), of Rust (right)"
        );
        for member in members {
            let of = match module.types[member.ty].inner {
                TypeInner::Struct { .. } => member.ty,
                TypeInner::Array { base, .. } => base,
                _ => continue,
            };
            let name = name_of(module, of);
            let part = parts().into_iter().find(|part| part.name == name);
            compare(module, of, &part.unwrap_or_else(|| panic!("{what}: no pair for {name}")));
        }
    }

    #[test]
    fn structs_are_those_of_the_shaders() {
        let mut shaders = BTreeSet::new();
        for family in ["kernels", "fused"] {
            for file in fs::read_dir(folder().join(family)).expect("a folder of shaders") {
                let name = file.expect("a file").path().with_extension("");
                let name = name.file_name().expect("a name").to_string_lossy().into_owned();
                shaders.insert(format!("{family}/{name}"));
            }
        }
        let paired: BTreeSet<String> = pairs().into_iter().map(|pair| pair.shader).collect();
        assert_eq!(shaders, paired, "shaders (left) and their structs in this list (right)");
        for pair in pairs() {
            let module = module(&pair);
            let is_uniform = |space: AddressSpace| space == AddressSpace::Uniform;
            let mut variables = module.global_variables.iter();
            let (_, uniform) =
                variables.find(|(_, variable)| is_uniform(variable.space)).expect("the uniform");
            compare(&module, uniform.ty, &pair);
        }
    }
}

//! A compute pipeline, and a pipeline bound to its buffers.

use std::borrow::Cow;
use std::sync::Arc;

use wgpu::{
    BindGroup, BindGroupEntry, Buffer, BufferUsages, ComputePass, ComputePipeline, Device,
    ShaderModule, ShaderModuleDescriptor, ShaderRuntimeChecks, ShaderSource,
};

use super::counting::check_countable;
use super::pipelines::{SharedPipeline, Source};
use super::rounds::is_mesa_software;
use super::{Matrix, check_usage, guarded, unmap};
use crate::error::{Error, Result};

/// The most workgroups that WebGPU promises for one dimension of a dispatch. Kernels walk on in
/// strides when there is more work than that.
pub(crate) const MAX_WORKGROUPS: u32 = 65_535;

/// A WGSL text compiled for a device. All bindings are in group 0: first the uniform, then the
/// buffers.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    name: &'static str,
    pipeline: ComputePipeline,
    /// Kept alive, here and in each [`Dispatch`], so that it is found when the same is compiled again.
    shared: Arc<SharedPipeline>,
}

/// A kernel bound to its buffers: an app may encode it any number of times.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::kernels::{Dispatch, Matrix, add_biases};
///
/// let biases = upload(&device, &[10.0_f32, 20.0]);
/// let sums = upload(&device, &[1.0_f32, 2.0, 3.0, 4.0]);
/// let kernel = add_biases::AddBiases::new(&device)?;
/// let dispatch: Dispatch = kernel.bind(&device, "layer 3", add_biases::Buffers {
///     biases: &Matrix::vector(&biases, 0, 2)?,
///     sums: &Matrix::new(&sums, 0, 2, 2)?,
/// })?;
/// assert_eq!(dispatch.name(), "layer 3/add_biases");
///
/// let mut encoder = device.create_command_encoder(&Default::default());
/// let mut pass = encoder.begin_compute_pass(&Default::default());
/// dispatch.encode(&mut pass);
/// dispatch.encode(&mut pass); // reads the results of the first
/// drop(pass);
/// queue.submit([encoder.finish()]);
/// assert_eq!(read(&device, &queue, &sums), [21.0, 42.0, 23.0, 44.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dispatch {
    name: String,
    pipeline: ComputePipeline,
    bindings: BindGroup,
    workgroups: [u32; 3],
    _shared: Arc<SharedPipeline>,
}

impl Kernel {
    /// Compiles the entry point `main` of a shader with its overrides.
    pub(crate) fn new(
        device: &Device,
        name: &'static str,
        source: &str,
        constants: &[(&str, f64)],
    ) -> Result<Self> {
        Self::with_entry_point(device, name, source, "main", constants)
    }

    /// Compiles a named entry point of a shader with its overrides.
    pub(crate) fn with_entry_point(
        device: &Device,
        name: &'static str,
        source: &str,
        entry_point: &str,
        constants: &[(&str, f64)],
    ) -> Result<Self> {
        Self::compile(device, name, source, entry_point, constants, false)
    }

    /// Compiles the entry point `main` of a shader whose indices stay within its buffers, and whose loops
    /// end, without the compiler's runtime checks.
    ///
    /// The feature `checked-shaders` adds them.
    pub(crate) fn trusted(
        device: &Device,
        name: &'static str,
        source: &str,
        constants: &[(&str, f64)],
    ) -> Result<Self> {
        Self::compile(device, name, source, "main", constants, true)
    }

    /// Compiles a pipeline, or shares one that exists.
    fn compile(
        device: &Device,
        name: &'static str,
        text: &str,
        entry_point: &str,
        constants: &[(&str, f64)],
        is_trusted: bool,
    ) -> Result<Self> {
        let label = format!("ztilde/{name}");
        let text = &without_uniform(device, text);
        #[cfg(test)]
        let text = &super::rough::marked(device, text);
        let bits = constants.iter().map(|&(name, value)| (name.to_owned(), value.to_bits()));
        let shared = SharedPipeline::find_or_insert(
            device,
            Source {
                label: label.clone(),
                entry_point: entry_point.to_owned(),
                constants: bits.collect(),
                is_trusted,
                text: text.clone().into_owned(),
            },
        );
        let pipeline = shared.get_or_compile(|| {
            guarded(device, || {
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&label),
                    layout: None, // The shader's own declarations are the layout.
                    module: &module(device, &label, text, is_trusted),
                    entry_point: Some(entry_point),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants,
                        // Every kernel writes its workgroup memory before it reads it.
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: None,
                })
            })
        })?;
        Ok(Self { name, pipeline, shared })
    }

    /// Binds `uniform` to binding 0 and `matrices` to the bindings 1, 2, … in their order.
    ///
    /// `place` says where in a network this is, for GPU debuggers: `layer 2`.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        uniform: &[u8],
        matrices: &[&Matrix],
        workgroups: [u32; 3],
    ) -> Result<Dispatch> {
        let name = format!("{place}/{}", self.name);
        let label = format!("ztilde/{name}");
        for (binding, matrix) in (1..).zip(matrices) {
            check_countable(&name, matrix)?;
            let what = || format!("{name}: the buffer of binding {binding}");
            check_usage(what, matrix.buffer(), BufferUsages::STORAGE)?;
        }
        let uniform = uniform_buffer(device, &label, uniform)?;
        let bindings = guarded(device, || {
            let resources = std::iter::once(uniform.as_entire_binding())
                .chain(matrices.iter().map(|m| m.binding()));
            let entries: Vec<_> = (0..)
                .zip(resources)
                .map(|(binding, resource)| BindGroupEntry { binding, resource })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&label),
                layout: &self.pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        let Self { pipeline, shared, .. } = self.clone();
        Ok(Dispatch { name, pipeline, bindings, workgroups, _shared: shared })
    }
}

impl Dispatch {
    /// The place that `bind` was given, and the name of the kernel: `layer 2/normalize`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records the kernel into the caller's pass. It replaces the pass's pipeline and bind group 0.
    pub fn encode(&self, pass: &mut ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

fn module(device: &Device, label: &str, text: &str, is_trusted: bool) -> ShaderModule {
    let label = Some(label);
    let descriptor = ShaderModuleDescriptor { label, source: source(text) };
    if !is_trusted {
        return device.create_shader_module(descriptor);
    }
    let checks = if cfg!(feature = "checked-shaders") {
        ShaderRuntimeChecks::checked()
    } else {
        ShaderRuntimeChecks::unchecked()
    };
    #[expect(unsafe_code, reason = "a shader cannot be compiled without checks otherwise")]
    // SAFETY: the shader clamps every index to the matrices whose shapes its room has checked, and
    // its loops end at numbers that the room gives; `checked-shaders` tests the same text.
    unsafe {
        device.create_shader_module_trusted(descriptor, checks)
    }
}

fn source(text: &str) -> ShaderSource<'_> {
    #[cfg(test)]
    if let Some(module) = super::rough::module(text) {
        return ShaderSource::Naga(Cow::Owned(module));
    }
    ShaderSource::Wgsl(text.into())
}

/// The text for a device: on Mesa's software adapter with storage instead of the uniform, if the device
/// allows one more storage buffer. That driver turns uniforms on which loops or branches depend into
/// constants, and where this makes a shader much shorter, it compiles the shader again for every
/// dispatch.
fn without_uniform<'a>(device: &Device, text: &'a str) -> Cow<'a, str> {
    let storage_buffers = text.matches("var<storage").count() as u32;
    let has_room = storage_buffers < device.limits().max_storage_buffers_per_shader_stage;
    match has_room && is_mesa_software(&device.adapter_info()) {
        true => in_storage(text).map_or(text.into(), Cow::from),
        false => text.into(),
    }
}

/// The text with storage instead of its uniform, if it has one. Each invocation copies it to private
/// memory once: the driver would read it again in every round of a loop. Tables stay in storage, as
/// private memory is slow to index. So do the uniforms of shaders with barriers: a browser must see that
/// all invocations have the same values.
fn in_storage(text: &str) -> Option<String> {
    let (before, after) = text.split_once("var<uniform> ")?;
    let (declaration, rest) = after.split_once(';')?;
    let (name, of) = declaration.split_once(": ")?;
    let (_, members) = text.split_once(&format!("struct {of} {{"))?;
    let has_table = members.split_once('}')?.0.contains("array<");
    if has_table || text.contains("workgroupBarrier()") {
        return Some(text.replace("var<uniform>", "var<storage, read>"));
    }
    let own = format!("var<storage, read> {name}_in_memory: {of};\nvar<private> {declaration};");
    let mut parts = rest.split("@compute");
    let mut found = [before, &own, parts.next()?].concat();
    for entry_point in parts {
        let (signature, body) = entry_point.split_once(") {\n")?;
        found += &format!("@compute{signature}) {{\n    {name} = {name}_in_memory;\n{body}");
    }
    Some(found)
}

/// A buffer with these contents. wgpu's own function for that panics where the device is lost.
fn uniform_buffer(device: &Device, label: &str, contents: &[u8]) -> Result<Buffer> {
    let buffer = guarded(device, || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: contents.len() as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::STORAGE,
            mapped_at_creation: true,
        })
    })?;
    buffer
        .get_mapped_range_mut(..)
        .map_err(|error| Error::DeviceLost(error.to_string()))?
        .copy_from_slice(contents);
    unmap(device, &buffer)?;
    Ok(buffer)
}

/// Workgroups of `size` invocations for `items`: from 1 to [`MAX_WORKGROUPS`]. Kernels loop over the
/// rest.
pub(crate) fn workgroups(items: u64, size: u32) -> u32 {
    items.div_ceil(size.into()).clamp(1, MAX_WORKGROUPS.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shaders_without_barriers_read_their_uniform_once() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let files = ["kernels", "fused"].map(|family| std::fs::read_dir(folder.join(family)));
        for file in files.into_iter().flat_map(Result::unwrap) {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).unwrap();
            let changed = in_storage(&text).expect(&name);
            assert!(!changed.contains("var<uniform>"), "{name}");
            let has_table = name == "network_forward";
            let stays = has_table || text.contains("workgroupBarrier()");
            let expected = if stays { 0 } else { text.matches("@compute").count() };
            assert_eq!(changed.matches("_in_memory;\n").count(), expected, "{name}");
        }
    }
}

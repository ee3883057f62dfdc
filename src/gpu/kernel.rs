//! A compute pipeline, and a pipeline bound to its buffers.

use std::marker::PhantomData;
use std::sync::Arc;

use wgpu::{BindGroup, BindGroupEntry, Buffer, BufferUsages, ComputePass, ComputePipeline, Device};

use super::compile::Source;
use super::counting::check_countable;
use super::pipelines::SharedPipeline;
use super::side_by_side::compile_or_list;
use super::uniform::declared;
use super::{Matrix, Uniform, check_usage, guarded, unmap};
use crate::error::{Error, Result};

/// The most workgroups that WebGPU promises for one dimension of a dispatch. Kernels walk on in
/// strides when there is more work than that. The kernels' own tests have fewer, so that small matrices
/// exceed them; tests/library/edges.rs exceeds the real number.
pub(crate) const MAX_WORKGROUPS: u32 = if cfg!(test) { 251 } else { 65_535 };

/// A WGSL text compiled for a device, or to be compiled with others
/// ([`side_by_side`](super::side_by_side())). All bindings are in group 0: first the uniform, a `U`, then the
/// buffers.
#[derive(Clone, Debug)]
pub(crate) struct Kernel<U> {
    name: &'static str,
    uniform: PhantomData<U>,
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
    /// The same work, part by part, if it may take long.
    parts: Vec<Self>,
    _shared: Arc<SharedPipeline>,
}

/// The workgroups of a dispatch that one of its parts runs, along x: the first one, and the number of all. A
/// kernel that can be divided has both in its uniform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) first: u32,
    pub(crate) groups: u32,
}

impl<U: Uniform> Kernel<U> {
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
        let text = declared::<U>(device, text);
        #[cfg(test)]
        let text = super::rough::marked(device, &text);
        let bits = constants.iter().map(|&(name, value)| (name.to_owned(), value.to_bits()));
        let shared = SharedPipeline::find_or_insert(
            device,
            Source {
                label: format!("ztilde/{name}"),
                entry_point: entry_point.to_owned(),
                constants: bits.collect(),
                is_trusted,
                text,
            },
        );
        compile_or_list(&shared)?;
        Ok(Self { name, uniform: PhantomData, shared })
    }

    /// Binds `uniform` to binding 0 and `matrices` to the bindings 1, 2, … in their order.
    ///
    /// `place` says where in a network this is, for GPU debuggers: `layer 2`.
    pub(crate) fn bind(
        &self,
        device: &Device,
        place: &str,
        uniform: U,
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
        let pipeline = self.shared.pipeline()?;
        let uniform = uniform_buffer(device, &label, bytemuck::bytes_of(&uniform))?;
        let bindings = guarded(device, || {
            let resources = std::iter::once(uniform.as_entire_binding())
                .chain(matrices.iter().map(|m| m.binding()));
            let entries: Vec<_> = (0..)
                .zip(resources)
                .map(|(binding, resource)| BindGroupEntry { binding, resource })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&label),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        let shared = Arc::clone(&self.shared);
        Ok(Dispatch { name, pipeline, bindings, workgroups, parts: Vec::new(), _shared: shared })
    }

    /// The same, also in parts, which share the workgroups along x.
    pub(crate) fn bind_divided(
        &self,
        device: &Device,
        place: &str,
        uniform: impl Fn(Share) -> U,
        matrices: &[&Matrix],
        [groups, y, z]: [u32; 3],
        parts: u32,
    ) -> Result<Dispatch> {
        let bind = |first: u32, end: u32| {
            let uniform = uniform(Share { first, groups });
            self.bind(device, place, uniform, matrices, [end - first, y, z])
        };
        let mut whole = bind(0, groups)?;
        let parts = parts.min(groups);
        if parts > 1 {
            let end = |part: u32| (u64::from(groups) * u64::from(part) / u64::from(parts)) as u32;
            let bound = (0..parts).map(|part| bind(end(part), end(part + 1)));
            whole.parts = bound.collect::<Result<_>>()?;
        }
        Ok(whole)
    }
}

impl Dispatch {
    /// The place that `bind` was given, and the name of the kernel: `layer 2/normalize`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parts, which together do the same; none if it is not divided.
    pub(crate) fn parts(&self) -> &[Self] {
        &self.parts
    }

    /// Records the kernel into the caller's pass. It replaces the pass's pipeline and bind group 0.
    pub fn encode(&self, pass: &mut ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
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

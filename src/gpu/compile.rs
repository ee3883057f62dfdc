//! The compilation of a pipeline, from its text.

#[cfg(test)]
use std::borrow::Cow;

use wgpu::{
    ComputePipeline, ComputePipelineDescriptor, Device, PipelineCompilationOptions, ShaderModule,
    ShaderModuleDescriptor, ShaderRuntimeChecks, ShaderSource,
};

use super::guarded;
use crate::error::Result;

/// The input of a pipeline's compilation. On one device, equal inputs share a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) label: String,
    pub(super) entry_point: String,
    /// The overrides, each with the bits of its value: 0 and −0 differ.
    pub(super) constants: Vec<(String, u64)>,
    /// Whether the shader is compiled without wgpu's runtime checks.
    pub(super) is_trusted: bool,
    pub(super) text: String,
}

impl Source {
    pub(super) fn compile(&self, device: &Device) -> Result<ComputePipeline> {
        let constants = self.constants.iter().map(|(name, bits)| (&**name, f64::from_bits(*bits)));
        let constants: Vec<_> = constants.collect();
        guarded(device, || {
            device.create_compute_pipeline(&ComputePipelineDescriptor {
                label: Some(&self.label),
                layout: None, // The shader's own declarations are the layout.
                module: &self.module(device),
                entry_point: Some(&self.entry_point),
                compilation_options: PipelineCompilationOptions {
                    constants: &constants,
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        })
    }

    fn module(&self, device: &Device) -> ShaderModule {
        let label = Some(&*self.label);
        let descriptor = ShaderModuleDescriptor { label, source: source(&self.text) };
        if !self.is_trusted {
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
}

fn source(text: &str) -> ShaderSource<'_> {
    #[cfg(test)]
    if let Some(module) = super::rough::module(text) {
        return ShaderSource::Naga(Cow::Owned(module));
    }
    ShaderSource::Wgsl(text.into())
}

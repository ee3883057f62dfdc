//! wgpu's own counters.

use wgpu::Device;

/// The objects that were created for the device and not dropped.
pub(crate) fn objects(device: &Device) -> [(&'static str, isize); 8] {
    let counters = device.get_internal_counters().hal;
    [
        ("buffers", counters.buffers.read()),
        ("bytes of buffers", counters.buffer_memory.read()),
        ("memory allocations", counters.memory_allocations.read()),
        ("bind groups", counters.bind_groups.read()),
        ("bind group layouts", counters.bind_group_layouts.read()),
        ("compute pipelines", counters.compute_pipelines.read()),
        ("pipeline layouts", counters.pipeline_layouts.read()),
        ("shader modules", counters.shader_modules.read()),
    ]
}

//! The app's own code, in plain wgpu: moving shapes, training samples of them, and the picture.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use wgpu::{
    BindGroup, BindGroupEntry, BindGroupLayout, Buffer, BufferUsages, CommandEncoder,
    ComputePipeline, Device, Extent3d, Queue, RenderPipeline, Texture, TextureUsages, TextureView,
};

/// The number of rows and columns of the network's picture; scene.wgsl repeats it.
pub(crate) const SIDE: u32 = 192;

/// The network's picture on the left, the truth on the right.
const SIZE: Extent3d = Extent3d { width: 2 * SIDE, height: SIDE, depth_or_array_layers: 1 };

/// Invocations in a workgroup of `sample`.
const WORKGROUP_SIZE: u32 = 64;

pub(crate) struct Scene {
    moment: Buffer,
    sample: ComputePipeline,
    sampled: BindGroup,
    draw: RenderPipeline,
    drawn: BindGroup,
    workgroups: u32,
    target: Texture,
    view: TextureView,
}

impl Scene {
    /// Samples go to `positions` and `distances`, `rows` of them; the left picture shows `outputs`.
    pub(crate) fn new(
        device: &Device,
        positions: &Buffer,
        distances: &Buffer,
        outputs: &Buffer,
        rows: u32,
    ) -> Self {
        let moment = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("moment"),
            size: 4,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("target"),
            size: SIZE,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: TextureUsages::RENDER_ATTACHMENT | TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let module = &device.create_shader_module(wgpu::include_wgsl!("scene.wgsl"));
        let sample = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("sample"),
            layout: None,
            module,
            entry_point: Some("sample"),
            compilation_options: Default::default(),
            cache: None,
        });
        let draw = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("draw"),
            layout: None,
            vertex: wgpu::VertexState {
                module,
                entry_point: Some("cover"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module,
                entry_point: Some("paint"),
                compilation_options: Default::default(),
                targets: &[Some(target.format().into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let buffers = [(0, &moment), (1, positions), (2, distances)];
        let sampled = bind(device, &sample.get_bind_group_layout(0), &buffers);
        let buffers = [(0, &moment), (3, outputs)];
        let drawn = bind(device, &draw.get_bind_group_layout(0), &buffers);
        let workgroups = rows.div_ceil(WORKGROUP_SIZE);
        let view = target.create_view(&Default::default());
        Self { moment, sample, sampled, draw, drawn, workgroups, target, view }
    }

    /// Sets the positions of the shapes for later submissions.
    pub(crate) fn move_to(&self, queue: &Queue, seconds: f32) {
        queue.write_buffer(&self.moment, 0, bytemuck::bytes_of(&seconds));
    }

    pub(crate) fn sample(&self, encoder: &mut CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.sample);
        pass.set_bind_group(0, &self.sampled, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
    }

    pub(crate) fn draw(&self, encoder: &mut CommandEncoder) {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &self.view,
                depth_slice: None,
                resolve_target: None,
                ops: Default::default(),
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.draw);
        pass.set_bind_group(0, &self.drawn, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Waits for the last frame, and writes it to a file.
    pub(crate) fn save(
        &self,
        device: &Device,
        queue: &Queue,
        path: &Path,
    ) -> Result<(), Box<dyn Error>> {
        let bytes_per_row = 4 * SIZE.width; // wgpu requires a multiple of 256
        let copy = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("copy"),
            size: u64::from(bytes_per_row * SIZE.height),
            usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(bytes_per_row),
            rows_per_image: None,
        };
        let mut encoder = device.create_command_encoder(&Default::default());
        let to = wgpu::TexelCopyBufferInfo { buffer: &copy, layout };
        encoder.copy_texture_to_buffer(self.target.as_image_copy(), to, SIZE);
        queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| ());
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let mut png = png::Encoder::new(File::create(path)?, SIZE.width, SIZE.height);
        png.set_color(png::ColorType::Rgba);
        png.write_header()?.write_image_data(&copy.get_mapped_range(..)?)?;
        Ok(())
    }
}

fn bind(device: &Device, layout: &BindGroupLayout, buffers: &[(u32, &Buffer)]) -> BindGroup {
    let mut entries = Vec::new();
    for &(binding, buffer) in buffers {
        entries.push(BindGroupEntry { binding, resource: buffer.as_entire_binding() });
    }
    let entries = &entries;
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries })
}

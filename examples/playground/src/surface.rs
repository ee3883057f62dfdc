//! The decision surface: a render pipeline that reads the network's outputs where `Inference` writes
//! them. Nothing is copied.

use std::sync::atomic::{AtomicU64, Ordering};

use eframe::egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor};
use egui::{Color32, Rect};
use wgpu::util::DeviceExt;
use wgpu::{
    BindGroup, BindGroupLayout, Buffer, BufferUsages, CommandBuffer, CommandEncoder, Device, Queue,
    RenderPass, RenderPipeline, ShaderStages, TextureFormat,
};
use ztilde::{Inference, Network};

use crate::data_sets::{EXTENT, Points};
use crate::theme::Palette;

/// Points of the grid in each direction. The shader interpolates between them.
const SIDE: u32 = 160;

/// A point's radius, in egui's points.
const RADIUS: f32 = 3.2;

/// The GPU objects that all surfaces on a device share.
#[derive(Debug)]
pub(crate) struct SurfacePipelines {
    layout: BindGroupLayout,
    surface: RenderPipeline,
    points: RenderPipeline,
}

/// A network's surface: the grid, the network's outputs there, and the objects that draw it.
#[derive(Debug)]
pub(crate) struct Surface {
    inference: Inference,
    picture: Buffer,
    bind_group: BindGroup,
    points: Buffer,
    /// The number of training points, and the number of all points including the held-out ones.
    learned_points: u32,
    all_points: u32,
    /// The step of the network that was drawn last, plus 1; 0 before the first drawing.
    drawn: AtomicU64,
}

/// `Picture` in `surface.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Picture {
    colors: [[f32; 4]; 4],
    side: u32,
    extent: f32,
    width_in_pixels: f32,
    radius_in_pixels: f32,
}

/// An instance of `point_vertex`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Instance {
    place: [f32; 2],
    class: u32,
    held_out: u32,
}

impl SurfacePipelines {
    pub(crate) fn new(device: &Device, format: TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::include_wgsl!("surface.wgsl"));
        let entry = |binding, visibility, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let read_only = wgpu::BufferBindingType::Storage { read_only: true };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("playground/surface"),
            entries: &[
                entry(0, ShaderStages::VERTEX_FRAGMENT, wgpu::BufferBindingType::Uniform),
                entry(1, ShaderStages::FRAGMENT, read_only),
            ],
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("playground/surface"),
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = |name: &str, buffers: &[Option<wgpu::VertexBufferLayout<'_>>]| {
            let [vertex, fragment] = ["vertex", "fragment"].map(|stage| format!("{name}_{stage}"));
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some(&format!("playground/{name}")),
                layout: Some(&pipeline_layout),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some(&vertex),
                    compilation_options: Default::default(),
                    buffers,
                },
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some(&fragment),
                    compilation_options: Default::default(),
                    targets: &[Some(wgpu::ColorTargetState {
                        format,
                        blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                        write_mask: wgpu::ColorWrites::ALL,
                    })],
                }),
                primitive: wgpu::PrimitiveState::default(),
                depth_stencil: None,
                multisample: wgpu::MultisampleState::default(),
                multiview_mask: None,
                cache: None,
            })
        };
        let instances = wgpu::VertexBufferLayout {
            array_stride: size_of::<Instance>() as u64,
            step_mode: wgpu::VertexStepMode::Instance,
            attributes: &wgpu::vertex_attr_array![0 => Float32x2, 1 => Uint32x2],
        };
        Self {
            surface: pipeline("surface", &[]),
            points: pipeline("point", &[Some(instances)]),
            layout,
        }
    }
}

impl Surface {
    pub(crate) fn new(
        device: &Device,
        pipelines: &SurfacePipelines,
        network: &Network,
        [learned, held_out]: [&Points; 2],
    ) -> ztilde::Result<Self> {
        let buffer = |label, contents: &[u8], usage| {
            let descriptor =
                wgpu::util::BufferInitDescriptor { label: Some(label), contents, usage };
            device.create_buffer_init(&descriptor)
        };
        let places = bytemuck::cast_slice::<[f32; 2], u8>;
        let grid = buffer("playground/grid", places(&grid()), BufferUsages::STORAGE);
        let logits = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("playground/logits"),
            size: u64::from(4 * SIDE * SIDE),
            usage: BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let picture = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("playground/picture"),
            size: size_of::<Picture>() as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("playground/surface"),
            layout: &pipelines.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: picture.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: logits.as_entire_binding() },
            ],
        });
        let mut instances = instances(learned, 0);
        let learned_points = instances.len() as u32;
        instances.extend(self::instances(held_out, 1));
        let points = bytemuck::cast_slice::<Instance, u8>(&instances);
        Ok(Self {
            inference: Inference::new(network, &grid, &logits, SIDE * SIDE)?,
            picture,
            bind_group,
            points: buffer("playground/points", points, BufferUsages::VERTEX),
            learned_points,
            all_points: instances.len() as u32,
            drawn: AtomicU64::new(0),
        })
    }
}

/// The middles of the grid's cells, row by row from the top.
fn grid() -> Vec<[f32; 2]> {
    let middle = |index: u32| EXTENT * (2.0 * (index as f32 + 0.5) / SIDE as f32 - 1.0);
    let row = |y: f32| (0..SIDE).map(move |column| [middle(column), y]);
    (0..SIDE).flat_map(|index| row(-middle(index))).collect()
}

fn instances(points: &Points, held_out: u32) -> Vec<Instance> {
    let pairs = points.places.iter().zip(&points.classes);
    pairs.map(|(&place, &class)| Instance { place, class, held_out }).collect()
}

/// Draws a surface in a frame of egui's.
pub(crate) struct SurfaceCallback {
    pub(crate) surface: std::sync::Arc<Surface>,
    pub(crate) pipelines: std::sync::Arc<SurfacePipelines>,
    pub(crate) palette: Palette,
    /// The rectangle of the surface, in egui's points.
    pub(crate) rect: Rect,
    /// The steps of the network so far.
    pub(crate) steps: u64,
    pub(crate) shows_held_out: bool,
}

impl CallbackTrait for SurfaceCallback {
    fn prepare(
        &self,
        _: &Device,
        queue: &Queue,
        screen: &ScreenDescriptor,
        encoder: &mut CommandEncoder,
        _: &mut CallbackResources,
    ) -> Vec<CommandBuffer> {
        let Palette { classes: [class_0, class_1], neutral, line, .. } = self.palette;
        let picture = Picture {
            colors: [class_0, class_1, neutral, line].map(components),
            side: SIDE,
            extent: EXTENT,
            width_in_pixels: self.rect.width() * screen.pixels_per_point,
            radius_in_pixels: RADIUS * screen.pixels_per_point + 0.5,
        };
        queue.write_buffer(&self.surface.picture, 0, bytemuck::bytes_of(&picture));
        // A network that has not changed has the same outputs.
        if self.surface.drawn.swap(self.steps + 1, Ordering::Relaxed) != self.steps + 1 {
            self.surface.inference.encode(encoder);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _: egui::PaintCallbackInfo,
        pass: &mut RenderPass<'static>,
        _: &CallbackResources,
    ) {
        let Surface { bind_group, points, learned_points, all_points, .. } = &*self.surface;
        pass.set_bind_group(0, bind_group, &[]);
        pass.set_pipeline(&self.pipelines.surface);
        pass.draw(0..3, 0..1);
        pass.set_pipeline(&self.pipelines.points);
        pass.set_vertex_buffer(0, points.slice(..));
        pass.draw(0..6, 0..if self.shows_held_out { *all_points } else { *learned_points });
    }
}

/// As egui's own shader blends: with the values that the screen shows.
fn components(color: Color32) -> [f32; 4] {
    color.to_normalized_gamma_f32()
}

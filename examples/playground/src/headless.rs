//! The view as a picture, without a window.

#[cfg(test)]
mod tests;

use std::path::Path;

use eframe::egui_wgpu::{Renderer, RendererOptions, ScreenDescriptor};
use egui::{self, Context, RawInput, Theme, ViewportId, ViewportInfo, pos2, vec2};
use wgpu::{
    Adapter, Backends, Device, Instance, InstanceDescriptor, Queue, Texture, TextureFormat,
    TextureUsages,
};

use crate::graphics::{Graphics, device_descriptor};
use crate::settings::Settings;
use crate::theme;
use crate::view::View;

/// The format that egui also uses in a window: it blends the values that a screen shows.
const FORMAT: TextureFormat = TextureFormat::Rgba8Unorm;

/// Steps between two measurements of the networks, which are the values of a curve.
const STEPS_PER_LOOK: u32 = 20;

/// The settings and the size of the picture.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) steps: u32,
    /// Width and height, in egui's points.
    pub(crate) size: [u32; 2],
    /// Pixels per point.
    pub(crate) scale: f32,
    pub(crate) theme: Theme,
}

/// The view after the steps.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Red, green, blue and alpha of each pixel, row by row from the top.
    pub(crate) pixels: Vec<u8>,
    /// The results of the networks.
    pub(crate) results: Vec<NetworkResult>,
}

#[derive(Clone, Debug)]
pub(crate) struct NetworkResult {
    pub(crate) batch_norm: bool,
    /// The results on the held-out points.
    pub(crate) accuracy: f64,
    pub(crate) loss: f64,
    /// The position of its surface in the picture, in pixels.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look there"))]
    pub(crate) surface: egui::Rect,
}

/// Trains, and draws.
pub(crate) fn render(options: &Options) -> Result<Picture, Box<dyn std::error::Error>> {
    let (adapter, device, queue) = headless_device()?;
    let graphics = Graphics::new(&adapter, &device, &queue, FORMAT);
    let mut view = View::new(graphics, options.settings.clone());
    let mut left = options.steps;
    while left > 0 && view.session.problem.is_none() {
        let steps = left.min(STEPS_PER_LOOK);
        view.session.train(steps);
        left -= steps;
        settle(&mut view, &device)?;
    }
    settle(&mut view, &device)?;
    if let Some(problem) = view.session.problem.take() {
        return Err(problem.into());
    }
    let [width, height] = options.size.map(|length| (length as f32 * options.scale).round() as u32);
    let texture = draw(&mut view, options, &device, &queue, [width, height]);
    let pixels = read(&texture, &device, &queue)?;
    if let Some(complaint) = view.session.graphics.take_complaint() {
        return Err(complaint.into());
    }
    let results = view.session.learners.iter().zip(&view.surface_places);
    let results = results.map(|(learner, &place)| NetworkResult {
        batch_norm: learner.batch_norm,
        accuracy: learner.progress.held_out_accuracy.last().unwrap_or(f64::NAN),
        loss: learner.progress.held_out_loss.last().unwrap_or(f64::NAN),
        surface: place * options.scale,
    });
    Ok(Picture { width, height, pixels, results: results.collect() })
}

/// A device without a window: a GPU if possible, and OpenGL only if there is no other.
fn headless_device() -> Result<(Adapter, Device, Queue), String> {
    let modern = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let choices = Backends::from_env().map_or(vec![modern, Backends::GL], |chosen| vec![chosen]);
    let request = |backends| {
        let descriptor = InstanceDescriptor::new_without_display_handle_from_env();
        let instance = Instance::new(InstanceDescriptor { backends, ..descriptor });
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        pollster::block_on(instance.request_adapter(&options)).ok()
    };
    let adapter = choices.into_iter().find_map(request).ok_or(
        "no adapter found: install your GPU's driver, or put scripts/with-adapter before the command",
    )?;
    let device = pollster::block_on(adapter.request_device(&device_descriptor(&adapter)));
    let (device, queue) = device.map_err(|error| format!("the adapter gave no device: {error}"))?;
    Ok((adapter, device, queue))
}

/// Waits for the pending results, and takes them.
fn settle(view: &mut View, device: &Device) -> Result<(), wgpu::PollError> {
    device.poll(wgpu::PollType::wait_indefinitely())?;
    view.session.collect();
    Ok(())
}

/// Lays out and draws the view.
fn draw(
    view: &mut View,
    options: &Options,
    device: &Device,
    queue: &Queue,
    size_in_pixels: [u32; 2],
) -> Texture {
    let context = Context::default();
    theme::install(&context);
    context.set_theme(options.theme);
    let [width, height] = options.size.map(|length| length as f32);
    let viewport =
        ViewportInfo { native_pixels_per_point: Some(options.scale), ..Default::default() };
    let mut renderer = Renderer::new(device, FORMAT, RendererOptions::PREDICTABLE);
    let mut output = egui::FullOutput::default();
    // The first passes determine the sizes of all elements.
    for pass in 0..4 {
        let input = RawInput {
            screen_rect: Some(egui::Rect::from_min_size(pos2(0.0, 0.0), vec2(width, height))),
            time: Some(f64::from(pass)),
            viewports: std::iter::once((ViewportId::ROOT, viewport.clone())).collect(),
            ..Default::default()
        };
        output.append(context.run_ui(input, |ui| view.show(ui)));
    }
    for (id, deltas) in std::mem::take(&mut output.textures_delta.set) {
        for delta in deltas {
            renderer.update_texture(device, queue, id, &delta);
        }
    }
    let shapes = context.tessellate(output.shapes, output.pixels_per_point);
    let screen = ScreenDescriptor { size_in_pixels, pixels_per_point: options.scale };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("playground/picture"),
        size: wgpu::Extent3d {
            width: size_in_pixels[0],
            height: size_in_pixels[1],
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: TextureUsages::RENDER_ATTACHMENT | TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let target = texture.create_view(&Default::default());
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut commands = renderer.update_buffers(device, queue, &mut encoder, &shapes, &screen);
    let pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some("playground/view"),
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view: &target,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations {
                load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                store: wgpu::StoreOp::Store,
            },
        })],
        ..Default::default()
    });
    renderer.render(&mut pass.forget_lifetime(), &shapes, &screen);
    commands.push(encoder.finish());
    queue.submit(commands);
    texture
}

/// The pixels of a texture, without the padding that a copy needs.
fn read(
    texture: &Texture,
    device: &Device,
    queue: &Queue,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let row = 4 * texture.width();
    let padded_row = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("playground/pixels"),
        size: u64::from(padded_row * texture.height()),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(padded_row),
        rows_per_image: None,
    };
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo { buffer: &buffer, layout },
        texture.size(),
    );
    encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., |_| {});
    queue.submit([encoder.finish()]);
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = buffer.get_mapped_range(..)?;
    let rows = bytes.chunks(padded_row as usize);
    Ok(rows.flat_map(|padded| &padded[..row as usize]).copied().collect())
}

impl Picture {
    /// Writes the picture as a PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let bytes = self.png()?;
        std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The bytes of a PNG.
    pub(crate) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        // All pixels are opaque.
        let opaque: Vec<u8> =
            self.pixels.chunks(4).flat_map(|pixel| &pixel[..3]).copied().collect();
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&opaque)?;
        writer.finish()?;
        Ok(bytes)
    }
}

//! The window.

use std::sync::Arc;

use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use egui::{self, Theme, Ui, ViewportBuilder};

use crate::graphics::{Graphics, device_descriptor};
use crate::settings::Settings;
use crate::theme;
use crate::view::View;

struct Window(View);

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        self.0.session.frame();
        self.0.show(ui);
        // What is under way arrives only if somebody looks.
        if self.0.session.is_playing || self.0.session.is_waiting() {
            ui.ctx().request_repaint();
        }
    }
}

/// Opens the window, and returns when it is closed.
pub(crate) fn open(
    settings: Settings,
    size: [u32; 2],
    theme: Option<Theme>,
) -> Result<(), Box<dyn std::error::Error>> {
    let setup = WgpuSetupCreateNew {
        device_descriptor: Arc::new(device_descriptor),
        ..WgpuSetupCreateNew::without_display_handle()
    };
    let options = eframe::NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title("z̃ playground")
            .with_inner_size(size.map(|length| length as f32))
            .with_min_inner_size(crate::LEAST_SIZE.map(|length| length as f32)),
        wgpu_options: WgpuConfiguration {
            wgpu_setup: WgpuSetup::CreateNew(setup),
            ..Default::default()
        },
        ..Default::default()
    };
    let start = move |context: &eframe::CreationContext<'_>| {
        theme::install(&context.egui_ctx);
        if let Some(theme) = theme {
            context.egui_ctx.set_theme(egui::ThemePreference::from(theme));
        }
        let state = context.wgpu_render_state.as_ref().ok_or("the window has no wgpu device")?;
        let graphics =
            Graphics::new(&state.adapter, &state.device, &state.queue, state.target_format);
        let mut view = View::new(graphics, settings);
        view.session.is_playing = true;
        Ok(Box::new(Window(view)) as Box<dyn eframe::App>)
    };
    eframe::run_native("z̃ playground", options, Box::new(start))?;
    Ok(())
}

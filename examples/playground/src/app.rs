//! The app that eframe runs, in a window or on a page.

use std::sync::Arc;

use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use egui::{Theme, ThemePreference, Ui};

use crate::graphics::{Graphics, device_descriptor};
use crate::settings::Settings;
use crate::theme;
use crate::view::View;

pub(crate) struct App(pub(crate) View);

type Started = Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>>;

impl App {
    /// Creates the app on eframe's device, and starts training at once. Without a theme it follows the
    /// system.
    pub(crate) fn start(
        context: &eframe::CreationContext<'_>,
        settings: Settings,
        theme: Option<Theme>,
    ) -> Started {
        theme::install(&context.egui_ctx);
        if let Some(theme) = theme {
            context.egui_ctx.set_theme(ThemePreference::from(theme));
        }
        let state = context.wgpu_render_state.as_ref().ok_or("eframe has no wgpu device")?;
        let graphics =
            Graphics::new(&state.adapter, &state.device, &state.queue, state.target_format);
        let mut view = View::new(graphics, settings);
        view.session.is_playing = true;
        Ok(Box::new(Self(view)))
    }
}

impl eframe::App for App {
    /// Tests read here what a page shows.
    #[cfg(target_arch = "wasm32")]
    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }

    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        self.0.session.frame();
        self.0.show(ui);
        // Pending results only arrive if the next frame polls them.
        if self.0.session.is_playing || self.0.session.is_waiting() {
            ui.ctx().request_repaint();
        }
    }
}

/// The device that eframe makes.
pub(crate) fn wgpu_options() -> WgpuConfiguration {
    let setup = WgpuSetupCreateNew {
        device_descriptor: Arc::new(device_descriptor),
        ..WgpuSetupCreateNew::without_display_handle()
    };
    WgpuConfiguration { wgpu_setup: WgpuSetup::CreateNew(setup), ..Default::default() }
}

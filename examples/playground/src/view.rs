//! The whole view, the same in a window and in a picture.

use std::sync::Arc;

use eframe::egui_wgpu::Callback;
use egui::{
    self, CentralPanel, Color32, Frame, Margin, Panel, Pos2, Rect, RichText, Sense, Stroke, Theme,
    Ui, pos2, vec2,
};

use crate::data_sets::EXTENT;
use crate::graphics::Graphics;
use crate::learner::Learner;
use crate::session::Session;
use crate::settings::Settings;
use crate::surface::SurfaceCallback;
use crate::theme::Palette;
use crate::{charts, controls, hidden_layers};

pub(crate) struct View {
    pub(crate) session: Session,
    settings: Settings,
    shows_held_out: bool,
    /// The unit of each hidden layer that is shown.
    units: Vec<usize>,
    /// The rectangles of the surfaces in the last frame, in egui's points.
    pub(crate) surface_places: Vec<Rect>,
}

const GAP: f32 = 12.0;
const CHART_HEIGHT: f32 = 190.0;

impl View {
    pub(crate) fn new(graphics: Graphics, settings: Settings) -> Self {
        let session = Session::new(graphics, &settings);
        Self {
            session,
            settings,
            shows_held_out: false,
            units: Vec::new(),
            surface_places: Vec::new(),
        }
    }

    pub(crate) fn show(&mut self, ui: &mut Ui) {
        let palette = Palette::of(ui.ctx());
        let fill = ui.visuals().panel_fill;
        let frame = |margin| Frame::new().fill(fill).inner_margin(margin);
        let bar = frame(Margin::symmetric(GAP as i8, 8));
        Panel::top("bar").frame(bar).show(ui, |ui| self.bar(ui, &palette));
        let side = frame(Margin::same(GAP as i8));
        Panel::left("controls").frame(side).resizable(false).exact_size(controls::WIDTH).show(
            ui,
            |ui| {
                controls::show(ui, &mut self.settings, &mut self.session.pace.budget);
            },
        );
        Panel::right("hidden layers")
            .frame(side)
            .resizable(false)
            .exact_size(hidden_layers::WIDTH)
            .show(ui, |ui| {
                hidden_layers::show(ui, &self.session.learners, &mut self.units, &palette);
            });
        CentralPanel::default().frame(side).show(ui, |ui| self.center(ui, &palette));
        self.session.apply(&self.settings);
    }

    fn bar(&mut self, ui: &mut Ui, palette: &Palette) {
        ui.horizontal(|ui| {
            hidden_layers::accented_z(ui, "˜", 22.0, palette.normalized);
            ui.label(RichText::new("playground").size(17.0).strong());
            ui.add_space(GAP);
            let session = &mut self.session;
            let play = if session.is_playing { "⏸ pause" } else { "▶ play" };
            if ui.button(play).clicked() {
                session.is_playing = !session.is_playing;
            }
            if ui.button("⏭ step").clicked() {
                session.is_playing = false;
                session.train(1);
            }
            if ui.button("⟲ reset").clicked() {
                session.reset();
            }
            ui.add_space(GAP);
            ui.label(RichText::new(format!("step {}", grouped(session.steps()))).strong());
            ui.label(RichText::new(format!("epoch {:.0}", session.epochs().floor())).weak());
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let is_dark = ui.ctx().theme() == Theme::Dark;
                if ui
                    .button(if is_dark { "☀" } else { "🌙" })
                    .on_hover_text("light or dark")
                    .clicked()
                {
                    ui.ctx().set_theme(if is_dark { Theme::Light } else { Theme::Dark });
                }
                ui.checkbox(&mut self.shows_held_out, "show held-out points");
                if let Some((steps, time)) = session.pace.measured() {
                    let plural = if steps == 1 { "" } else { "s" };
                    let pace = format!("{steps} step{plural} per frame, {time:.2} ms each");
                    ui.label(RichText::new(pace).weak()).on_hover_text(&session.graphics.adapter);
                }
            });
        });
    }

    fn center(&mut self, ui: &mut Ui, palette: &Palette) {
        self.surface_places.clear();
        if let Some(problem) = &self.session.problem {
            ui.label(RichText::new("This cannot be trained").strong().size(17.0));
            ui.label(RichText::new(problem).color(ui.visuals().error_fg_color).size(14.0));
            ui.label(RichText::new("Change a setting, or reset, to start again.").weak());
            return;
        }
        let count = self.session.learners.len() as f32;
        let all = ui.available_rect_before_wrap();
        let width = (all.width() - GAP * (count - 1.0)) / count;
        let top = 46.0;
        let bottom = 22.0 + GAP + CHART_HEIGHT;
        let side = width.min(all.height() - top - bottom).max(80.0).floor();
        let used = count * side + GAP * (count - 1.0);
        let left = all.left() + (0.5 * (all.width() - used)).floor();
        for (index, learner) in self.session.learners.iter().enumerate() {
            let corner = pos2(left + index as f32 * (side + GAP), all.top());
            title(ui, learner, palette, corner, side);
            let place = Rect::from_min_size(corner + vec2(0.0, top), vec2(side, side));
            surface(ui, &self.session.graphics, learner, palette, place, self.shows_held_out);
            self.surface_places.push(place);
        }
        let key = Rect::from_min_size(pos2(left, all.top() + top + side + 6.0), vec2(used, 16.0));
        color_key(ui, palette, key);
        let charts = Rect::from_min_max(pos2(all.left(), key.bottom() + GAP), all.max);
        ui.scope_builder(egui::UiBuilder::new().max_rect(charts), |ui| {
            charts::show(ui, &self.session.learners, palette, charts.height());
        });
    }
}

/// The network's name, and its accuracy and loss on held-out points.
fn title(ui: &Ui, learner: &Learner, palette: &Palette, corner: Pos2, width: f32) {
    let painter = ui.painter();
    let color = palette.network(learner.batch_norm);
    let font = |size| egui::FontId::proportional(size);
    let name =
        if learner.batch_norm { "with batch normalization" } else { "without batch normalization" };
    painter.text(corner, egui::Align2::LEFT_TOP, name, font(15.0), color);
    let progress = &learner.progress;
    let status = if let Some(fault) = learner.fault() {
        format!("diverged in {fault}")
    } else {
        let [accuracy, loss] =
            [&progress.held_out_accuracy, &progress.held_out_loss].map(|curve| curve.last());
        match (accuracy, loss) {
            (Some(accuracy), Some(loss)) => {
                format!("held out: {:.1} % right, loss {loss:.3}", 100.0 * accuracy)
            }
            _ => String::new(),
        }
    };
    let galley = painter.layout(status, font(12.5), palette.text, width);
    painter.galley(corner + vec2(0.0, 22.0), galley, palette.text);
}

fn surface(
    ui: &mut Ui,
    graphics: &Graphics,
    learner: &Learner,
    palette: &Palette,
    place: Rect,
    shows_held_out: bool,
) {
    let callback = SurfaceCallback {
        surface: Arc::clone(&learner.surface),
        pipelines: Arc::clone(&graphics.pipelines),
        palette: *palette,
        rect: place,
        steps: learner.steps(),
        shows_held_out,
    };
    ui.painter().add(Callback::new_paint_callback(place, callback));
    let line = Stroke::new(1.0, palette.card_line);
    ui.painter().rect_stroke(place, 0.0, line, egui::StrokeKind::Outside);
    let response = ui.allocate_rect(place, Sense::hover());
    if let Some(pointer) = response.hover_pos() {
        let from_middle = (pointer - place.center()) / (0.5 * place.size()) * EXTENT;
        response.on_hover_text(format!("x {:.2}, y {:.2}", from_middle.x, -from_middle.y));
    }
}

/// The legend of the surface's colors.
fn color_key(ui: &Ui, palette: &Palette, place: Rect) {
    let painter = ui.painter();
    let font = egui::FontId::proportional(11.0);
    let text = |x: f32, align, text: &str| {
        painter.text(pos2(x, place.center().y), align, text, font.clone(), palette.weak_text)
    };
    let first = text(place.left(), egui::Align2::LEFT_CENTER, "surely class 0");
    let bar =
        Rect::from_min_size(pos2(first.right() + 8.0, place.center().y - 4.0), vec2(120.0, 8.0));
    gradient(painter, bar, [palette.classes[0], palette.neutral, palette.classes[1]]);
    let second = text(bar.right() + 8.0, egui::Align2::LEFT_CENTER, "surely class 1");
    text(second.right() + 20.0, egui::Align2::LEFT_CENTER, "line: undecided");
}

fn gradient(painter: &egui::Painter, place: Rect, colors: [Color32; 3]) {
    let mut mesh = egui::Mesh::default();
    for (index, color) in colors.into_iter().enumerate() {
        let x = place.left() + 0.5 * index as f32 * place.width();
        mesh.colored_vertex(pos2(x, place.top()), color);
        mesh.colored_vertex(pos2(x, place.bottom()), color);
        if index > 0 {
            let first = 2 * index as u32 - 2;
            mesh.add_triangle(first, first + 1, first + 2);
            mesh.add_triangle(first + 1, first + 3, first + 2);
        }
    }
    painter.add(egui::Shape::mesh(mesh));
}

/// `12 345`: a number with its thousands separated.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let chunks: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|chunk| std::str::from_utf8(chunk).unwrap_or(""))
        .collect();
    chunks.join("\u{2009}")
}

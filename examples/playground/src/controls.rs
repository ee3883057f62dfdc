//! The panel on the left, with the user's settings.

use egui::{ComboBox, DragValue, Grid, RichText, ScrollArea, Slider, SliderClamping, Ui};
use ztilde::{Activation, Method};

use crate::data_sets::DataSet;
use crate::settings::{Networks, Settings};

/// The width of the panel.
pub(crate) const WIDTH: f32 = 250.0;

const MOST_LAYERS: usize = 6;
const MOST_UNITS: u32 = 64;

/// Shows all settings, and applies the user's changes to them.
pub(crate) fn show(ui: &mut Ui, settings: &mut Settings, budget: &mut f32) {
    ScrollArea::vertical().show(ui, |ui| {
        section(ui, "Data", |ui| data(ui, settings));
        section(ui, "Network", |ui| network(ui, settings));
        section(ui, "Learning", |ui| learning(ui, settings));
        section(ui, "Pace", |ui| {
            row(ui, "per frame", Slider::new(budget, 0.5..=50.0).logarithmic(true).suffix(" ms"));
        });
        let about = "what a frame's steps may take on the GPU";
        ui.label(RichText::new(about).weak().size(11.0));
    });
}

fn section(ui: &mut Ui, title: &str, contents: impl FnOnce(&mut Ui)) {
    ui.add_space(4.0);
    ui.label(RichText::new(title).strong().size(14.0));
    let grid = Grid::new(title).num_columns(2).spacing([8.0, 6.0]).min_col_width(86.0);
    grid.show(ui, contents);
    ui.add_space(8.0);
}

fn data(ui: &mut Ui, settings: &mut Settings) {
    choose(ui, "shape", &mut settings.data_set, &DataSet::ALL, DataSet::name);
    row(ui, "points", Slider::new(&mut settings.points, 2..=2000).logarithmic(true));
    row(ui, "noise", Slider::new(&mut settings.noise, 0.0..=0.3));
}

fn network(ui: &mut Ui, settings: &mut Settings) {
    ui.label("batch norm");
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        ui.spacing_mut().button_padding.x = 6.0;
        for networks in Networks::ALL {
            ui.selectable_value(&mut settings.networks, networks, networks.name());
        }
    });
    ui.end_row();
    let layers = &mut settings.hidden_layers;
    let mut count = layers.len();
    ui.label("hidden layers");
    ui.horizontal(|ui| {
        if ui.small_button("−").clicked() {
            count = count.saturating_sub(1);
        }
        ui.add(
            DragValue::new(&mut count)
                .range(0..=MOST_LAYERS)
                .clamp_existing_to_range(false)
                .speed(0.05),
        );
        if ui.small_button("+").clicked() {
            count = (count + 1).min(MOST_LAYERS);
        }
    });
    ui.end_row();
    layers.resize(count, layers.last().copied().unwrap_or(16));
    for (row, units_of_layers) in layers.chunks_mut(3).enumerate() {
        ui.label(if row == 0 { "units" } else { "" });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            ui.spacing_mut().interact_size.x = 34.0;
            for units in units_of_layers {
                ui.add(
                    DragValue::new(units)
                        .range(1..=MOST_UNITS)
                        .clamp_existing_to_range(false)
                        .speed(0.2),
                );
            }
        });
        ui.end_row();
    }
    choose(ui, "activation", &mut settings.activation, &Activation::ALL, Activation::name);
}

fn learning(ui: &mut Ui, settings: &mut Settings) {
    choose(ui, "optimizer", &mut settings.method, &Method::ALL, Method::name);
    let rate = Slider::new(&mut settings.learning_rate, 1e-4..=10.0).logarithmic(true);
    row(ui, "learning rate", rate);
    for (name, value) in settings.method.hyperparameters() {
        if name != "epsilon" {
            row(ui, name, Slider::new(value, 0.0..=0.9999));
        }
    }
    row(ui, "weight decay", Slider::new(&mut settings.weight_decay, 0.0..=0.1));
    row(ui, "batch size", Slider::new(&mut settings.batch_size, 1..=512).logarithmic(true));
    ui.label("seed");
    ui.add(DragValue::new(&mut settings.seed).speed(0.1));
    ui.end_row();
}

/// A slider that keeps a number from the command line, even if it is out of the slider's range.
fn row(ui: &mut Ui, label: &str, slider: Slider<'_>) {
    ui.label(label);
    ui.add(slider.clamping(SliderClamping::Edits).custom_formatter(|value, _| short(value)));
    ui.end_row();
}

/// Four significant digits, without zeros at the end.
fn short(value: f64) -> String {
    let digits = (3 - value.abs().log10().floor().clamp(-4.0, 3.0) as i32) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn choose<T: Copy + PartialEq>(
    ui: &mut Ui,
    label: &str,
    chosen: &mut T,
    choices: &[T],
    name: fn(T) -> &'static str,
) {
    ui.label(label);
    ComboBox::from_id_salt(label).selected_text(name(*chosen)).show_ui(ui, |ui| {
        for &choice in choices {
            ui.selectable_value(chosen, choice, name(choice));
        }
    });
    ui.end_row();
}

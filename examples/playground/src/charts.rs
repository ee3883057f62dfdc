//! The curves of loss and accuracy.

use egui::{Rangef, RichText, Stroke, Ui, Vec2, Vec2b, vec2};
use egui_plot::{AxisHints, GridInput, GridMark, Line, Plot, PlotPoints};

use crate::curve::Curve;
use crate::learner::{Learner, Progress};
use crate::theme::Palette;

/// Both charts, side by side.
pub(crate) fn show(ui: &mut Ui, learners: &[Learner], palette: &Palette, height: f32) {
    let width = 0.5 * (ui.available_width() - ui.spacing().item_spacing.x);
    let charts: [(&str, Select); 2] = [
        ("loss", |progress| [&progress.loss, &progress.held_out_loss]),
        ("accuracy", |progress| [&progress.accuracy, &progress.held_out_accuracy]),
    ];
    ui.horizontal(|ui| {
        for (name, select) in charts {
            ui.allocate_ui(vec2(width, height), |ui| {
                ui.vertical(|ui| chart(ui, (name, select), learners, palette, vec2(width, height)));
            });
        }
    });
}

/// The curve of the batches, and that of the held-out points.
type Select = fn(&Progress) -> [&Curve; 2];

fn chart(
    ui: &mut Ui,
    (name, select): (&str, Select),
    learners: &[Learner],
    palette: &Palette,
    size: Vec2,
) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(name).strong());
        ui.label(RichText::new("thick: held out, thin: batches").weak().size(11.0));
    });
    // The plot derives the colors of its lines and numbers from this color.
    ui.visuals_mut().override_text_color = Some(palette.weak_text.gamma_multiply(0.8));
    let is_share = name == "accuracy";
    let height = size.y - ui.spacing().interact_size.y - 6.0;
    let plot = Plot::new(name)
        // The last number of the axis extends this far beyond the axis.
        .width(size.x - 14.0)
        .height(height)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .show_grid([false, true])
        .set_margin_fraction(vec2(0.0, 0.04))
        .auto_bounds(Vec2b::TRUE)
        .x_grid_spacer(|input| marks(input, 5.0))
        .y_grid_spacer(move |input| marks(input, f64::from(height / 30.0).clamp(2.0, 8.0)))
        .custom_x_axes(vec![AxisHints::new_x().label_spacing(Rangef::new(24.0, 30.0))])
        .include_x(0.0)
        .include_x(100.0)
        .include_y(if is_share { 1.0 } else { 0.0 })
        .include_y(if is_share { 0.5 } else { 0.7 })
        .y_axis_min_width(34.0)
        .y_axis_formatter(move |mark, _| match mark.value {
            share if is_share => format!("{:.0} %", 100.0 * share),
            loss if loss >= 100.0 => format!("{loss:.1e}"),
            loss => format!("{loss:.1}"),
        });
    plot.show(ui, |plot| {
        for learner in learners {
            let color = palette.network(learner.batch_norm);
            let [batches, held_out] = select(&learner.progress);
            let name = format!("{name}, {}", if learner.batch_norm { "with" } else { "without" });
            let points = PlotPoints::from(batches.points());
            let stroke = Stroke::new(1.0, color.gamma_multiply(0.45));
            plot.line(Line::new(format!("{name}, batches"), points).stroke(stroke));
            let points = PlotPoints::from(held_out.points());
            let line = Line::new(format!("{name}, held out"), points);
            plot.line(line.stroke(Stroke::new(2.0, color)));
        }
    });
}

/// Round numbers at equal distances, about `most` of them or half as many.
fn marks(input: GridInput, most: f64) -> Vec<GridMark> {
    let (first, last) = input.bounds;
    let finest = (last - first) / most;
    let power = 10_f64.powf(finest.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step_size = round.into_iter().find(|step| *step >= finest).unwrap_or(10.0 * power);
    let mark = |index| GridMark { value: index as f64 * step_size, step_size };
    ((first / step_size).ceil() as i64..=(last / step_size).floor() as i64).map(mark).collect()
}

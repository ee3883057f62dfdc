//! The panel on the right: a unit's values for the points in each hidden layer, which show what batch
//! normalization does.

use egui::{
    Align2, Color32, CornerRadius, DragValue, FontId, Frame, Galley, Margin, Painter, Rect,
    RichText, ScrollArea, Sense, Shape, Stroke, Ui, pos2, vec2,
};
use std::sync::Arc;

use crate::learner::Learner;
use crate::look::{NormalizedValues, UnitValues};
use crate::theme::Palette;

/// The width of the panel.
pub(crate) const WIDTH: f32 = 316.0;

const BINS: usize = 44;

/// Shows a card per hidden layer. `chosen` is the unit of each, counted from 0.
pub(crate) fn show(ui: &mut Ui, learners: &[Learner], chosen: &mut Vec<usize>, palette: &Palette) {
    ui.label(RichText::new("Inside the hidden layers").strong().size(14.0));
    let about = "one unit of each, over the last batches; heights are relative";
    ui.label(RichText::new(about).weak().size(11.0));
    let has_batch_norm = learners.iter().any(|learner| learner.batch_norm);
    key(ui, palette, has_batch_norm);
    let layers = learners.first().map_or(0, |learner| learner.look.layers.len());
    chosen.resize(layers, 0);
    // The height of a card without its strips, and of a strip's line of text.
    let (around, text) = (62.0, 17.0);
    let height = ui.available_height() / layers.max(1) as f32 - around;
    let height = (height / learners.len().max(1) as f32 - text).clamp(36.0, 110.0);
    ScrollArea::vertical().show(ui, |ui| {
        for (layer, unit) in chosen.iter_mut().enumerate() {
            card(ui, learners, layer, unit, height, palette);
        }
        if layers == 0 && !learners.is_empty() {
            ui.label(RichText::new("There is none: the network is linear.").weak());
        }
    });
}

/// The legend of the colors.
fn key(ui: &mut Ui, palette: &Palette, has_batch_norm: bool) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 5.0;
        let square = |ui: &mut Ui, color: Color32| {
            let (place, _) = ui.allocate_exact_size(vec2(9.0, 12.0), Sense::hover());
            let square = Rect::from_center_size(place.center(), vec2(9.0, 9.0));
            ui.painter().rect_filled(square, 2.0, color);
        };
        let word = |ui: &mut Ui, text: &str| {
            ui.label(RichText::new(text).size(11.5));
        };
        square(ui, if has_batch_norm { palette.sums } else { palette.plain });
        word(ui, "z");
        if has_batch_norm {
            ui.add_space(4.0);
            square(ui, palette.standardized);
            accented_z(ui, "ˆ", 11.5, palette.text);
            word(ui, "normalized");
            ui.add_space(4.0);
            square(ui, palette.ztilde);
            accented_z(ui, "˜", 11.5, palette.text);
            word(ui, "= γ ·");
            accented_z(ui, "ˆ", 11.5, palette.text);
            word(ui, "+ β");
        }
    });
}

/// A z with an accent, which the font only has as separate characters.
pub(crate) fn accented_z(ui: &mut Ui, accent: &str, size: f32, color: Color32) {
    let layout = |text: &str| -> Arc<Galley> {
        ui.painter().layout_no_wrap(text.to_owned(), FontId::proportional(size), color)
    };
    let [letter, accent] = [layout("z"), layout(accent)];
    let (place, _) = ui.allocate_exact_size(letter.size(), Sense::hover());
    let middle = place.center().x - 0.5 * accent.size().x;
    ui.painter().galley(place.min, letter, color);
    ui.painter().galley(pos2(middle, place.top()), accent, color);
}

fn card(
    ui: &mut Ui,
    learners: &[Learner],
    layer: usize,
    unit: &mut usize,
    height: f32,
    palette: &Palette,
) {
    let frame = Frame::new()
        .fill(palette.card)
        .stroke(Stroke::new(1.0, palette.card_line))
        .corner_radius(CornerRadius::same(6))
        .inner_margin(Margin::symmetric(9, 7));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 3.0;
        let units = learners[0].look.layers[layer].units;
        *unit = (*unit).min(units - 1);
        ui.horizontal(|ui| {
            ui.label(RichText::new(format!("hidden layer {}", layer + 1)).strong());
            let right = egui::Layout::right_to_left(egui::Align::Center);
            ui.with_layout(right, |ui| {
                let mut number = *unit + 1;
                let drag = DragValue::new(&mut number).range(1..=units).speed(0.05);
                ui.add(drag.prefix("unit ").suffix(format!(" of {units}")));
                *unit = number - 1;
            });
        });
        let seen = learners.iter().map(|learner| learner.look.layers[layer].unit(*unit));
        let seen: Vec<Option<UnitValues>> = seen.collect();
        let limit = limit(seen.iter().flatten());
        for values in &seen {
            strip(ui, values.as_ref(), limit, height, palette);
        }
        axis(ui, limit, palette);
    });
}

/// The numbers of a unit, and below them the distribution of its values.
fn strip(ui: &mut Ui, values: Option<&UnitValues>, limit: f32, height: f32, palette: &Palette) {
    let Some(values) = values else {
        ui.label(RichText::new("no step yet").weak().size(11.0));
        ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        return;
    };
    let [mean, deviation] = moments(&values.sums);
    let sums = format!("z {mean:.2} ± {deviation:.2}");
    let (text, color) = match &values.normalized {
        Some(normalized) => {
            let learned = format!("γ {:.2}   β {:.2}", normalized.gamma, normalized.beta);
            (format!("with:  {learned}   {sums}"), palette.normalized)
        }
        None => (format!("without:  {sums}"), palette.plain),
    };
    ui.label(RichText::new(text.replace('-', "−")).size(11.0).color(color));
    let size = vec2(ui.available_width(), height);
    let (place, _) = ui.allocate_exact_size(size, Sense::hover());
    let painter = ui.painter_at(place.expand(1.0));
    let x = |value: f32| place.center().x + 0.5 * place.width() * value / limit;
    let line = Stroke::new(1.0, palette.card_line);
    painter.line_segment([pos2(x(0.0), place.top()), pos2(x(0.0), place.bottom())], line);
    match &values.normalized {
        Some(normalized) => {
            let NormalizedValues { standardized, ztilde, .. } = normalized;
            histogram(&painter, place, &values.sums, limit, (palette.sums, 0.4, 0.0));
            histogram(&painter, place, ztilde, limit, (palette.ztilde, 0.2, 1.6));
            histogram(&painter, place, standardized, limit, (palette.standardized, 0.0, 1.6));
        }
        None => histogram(&painter, place, &values.sums, limit, (palette.plain, 0.2, 1.6)),
    }
    painter.line_segment([place.left_bottom(), place.right_bottom()], line);
}

/// A histogram of the values between −limit and limit. The style is a color, the opacity of the bins,
/// and the width of their outline.
fn histogram(
    painter: &Painter,
    place: Rect,
    values: &[f32],
    limit: f32,
    (color, fill, outline_width): (Color32, f32, f32),
) {
    let mut counts = [0_u32; BINS];
    for value in values {
        let bin = (0.5 * (value / limit + 1.0) * BINS as f32).floor();
        if (0.0..BINS as f32).contains(&bin) {
            counts[bin as usize] += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or(0).max(1) as f32;
    let width = place.width() / BINS as f32;
    let first = counts.iter().position(|&count| count > 0);
    let last = counts.iter().rposition(|&count| count > 0);
    let (Some(first), Some(last)) = (first, last) else { return };
    let left = |bin: usize| place.left() + bin as f32 * width;
    let mut outline = vec![pos2(left(first), place.bottom())];
    for (bin, &count) in counts.iter().enumerate().take(last + 1).skip(first) {
        let y = place.bottom() - 0.94 * place.height() * count as f32 / most;
        let bar = Rect::from_min_max(pos2(left(bin), y), pos2(left(bin + 1), place.bottom()));
        painter.rect_filled(bar, 0.0, color.gamma_multiply(fill));
        outline.extend([pos2(left(bin), y), pos2(left(bin + 1), y)]);
    }
    outline.push(pos2(left(last + 1), place.bottom()));
    painter.add(Shape::line(outline, Stroke::new(outline_width, color)));
}

fn axis(ui: &mut Ui, limit: f32, palette: &Palette) {
    let size = vec2(ui.available_width(), 12.0);
    let (place, _) = ui.allocate_exact_size(size, Sense::hover());
    for (share, align) in [
        (0.0, Align2::LEFT_TOP),
        (0.25, Align2::CENTER_TOP),
        (0.5, Align2::CENTER_TOP),
        (0.75, Align2::CENTER_TOP),
        (1.0, Align2::RIGHT_TOP),
    ] {
        let text = format!("{}", (2.0 * share - 1.0) * limit).replace('-', "−");
        let at = pos2(place.left() + share * place.width(), place.top());
        ui.painter().text(at, align, text, FontId::proportional(10.0), palette.weak_text);
    }
}

/// The limit of a card's histograms: 3, or more if many values are larger.
fn limit<'a>(seen: impl Iterator<Item = &'a UnitValues>) -> f32 {
    let of_unit = |unit: &UnitValues| {
        let ztilde = unit.normalized.as_ref().map(|normalized| &normalized.ztilde);
        [Some(&unit.sums), ztilde]
            .into_iter()
            .flatten()
            .map(|values| far(values))
            .fold(0.0, f32::max)
    };
    let farthest = seen.map(of_unit).fold(3.0, f32::max);
    farthest.ceil().min(1000.0)
}

/// The 99th percentile of the magnitudes.
fn far(values: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let place = (0.99 * sizes.len() as f32) as usize;
    sizes.get(place).copied().filter(|size| size.is_finite()).unwrap_or(0.0)
}

/// The mean and the standard deviation.
fn moments(values: &[f32]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
    [mean, (squares / count).sqrt()]
}

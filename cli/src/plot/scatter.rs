//! Predicted values against true ones.

use plotters::{
    chart::ChartBuilder,
    element::{Circle, PathElement},
    style::Color,
};

use super::{PictureFile, Theme, curves::short};
use crate::failure::Failure;

const SIZE: [u32; 2] = [600, 600];

/// More points than this cover each other: that many are drawn, evenly spaced among all.
const MOST_POINTS: usize = 5000;

/// Draws `(true, predicted)` with the line on which they are the same.
pub(crate) fn scatter(
    file: &PictureFile,
    theme: Theme,
    title: &str,
    what: &str,
    points: &[(f64, f64)],
) -> Result<(), Failure> {
    let values = || points.iter().flat_map(|&(x, y)| [x, y]).filter(|value| value.is_finite());
    let low = values().fold(f64::MAX, f64::min);
    let high = values().fold(f64::MIN, f64::max);
    let space = if high > low { 0.04 * (high - low) } else { 0.5 };
    let range = if low <= high { low - space..high + space } else { 0.0..1.0 };
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    file.save(SIZE, theme, |area| {
        let area = area.titled(title, theme.text(18))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(range.clone(), range.clone())?;
        chart
            .configure_mesh()
            .x_desc(format!("true {what}"))
            .y_desc(format!("predicted {what}"))
            .axis_desc_style(theme.text(15))
            .label_style(theme.text(13))
            .axis_style(theme.ink())
            .bold_line_style(theme.grid())
            .light_line_style(theme.background())
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        let line = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series([PathElement::new(line, theme.line(theme.series(1), 2))])?;
        let style = theme.series(0).mix(0.6).filled();
        let points = points.iter().step_by(step).map(|&point| Circle::new(point, 3, style));
        chart.draw_series(points)?;
        Ok(())
    })
}

//! Curves over the epochs, in panels side by side.

use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{
        cartesian::Cartesian2d,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    element::{Circle, PathElement, Text},
    series::{DashedLineSeries, LineSeries},
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Area, DrawResult, PictureFile, Theme};
use crate::failure::Failure;

/// The most numbers under an axis of epochs.
const MOST_EPOCH_LABELS: f64 = 10.0;

const HEIGHT: u32 = 440;
const PANEL_WIDTH: u32 = 560;

/// Values that span more than this are drawn on a logarithmic axis.
const WIDE_SPAN: f64 = 30.0;

/// The strip over the panels with the legend.
const LEGEND_HEIGHT: u32 = 28;
const LEGEND_SAMPLE: i32 = 28;
const LETTER_WIDTH: i32 = 7;

/// Two axes, and the lines on them.
pub(crate) struct Panel {
    /// The name of the values, with their unit.
    pub(crate) values: String,
    /// Percentages end at 100; other values that span much are drawn logarithmically.
    pub(crate) is_percentage: bool,
    pub(crate) series: Vec<Series>,
}

/// A line: a value for each epoch that has one.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Series of the same color belong together.
    pub(crate) color: usize,
    pub(crate) is_dashed: bool,
    /// Epochs, counted from 1, and values.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws the panels side by side, under one title. All have the same lines.
pub(crate) fn curves(
    file: &PictureFile,
    theme: Theme,
    title: &str,
    panels: &[Panel],
) -> Result<(), Failure> {
    let width = PANEL_WIDTH * panels.len().max(1) as u32;
    file.save([width, HEIGHT], theme, |area| {
        let area = area.titled(title, theme.text(20))?;
        let (legend, area) = area.split_vertically(LEGEND_HEIGHT);
        draw_legend(&legend, theme, panels.first().map_or(&[], |panel| &panel.series))?;
        for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len().max(1)))) {
            panel.draw(&area, theme)?;
        }
        Ok(())
    })
}

impl Panel {
    fn draw(&self, area: &Area<'_>, theme: Theme) -> DrawResult {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let finite = || points().map(|point| point.1).filter(|value| value.is_finite());
        let last = points().map(|point| point.0).fold(2.0, f64::max);
        let (low, high) = finite()
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Ok(());
        }
        let mut chart = ChartBuilder::on(area);
        chart.margin(12).margin_right(24).x_label_area_size(44).y_label_area_size(64);
        if low > 0.0 && !self.is_percentage && high > WIDE_SPAN * low {
            let range = Logarithmic { low: low / 1.3, high: high * 1.3 };
            self.draw_on(chart.build_cartesian_2d(1.0..last, range)?, theme)
        } else {
            let space = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
            // A loss does not go below 0 for the sake of some space, nor a share over 100 %.
            let low = if low >= 0.0 { (low - space).max(0.0) } else { low - space };
            let high = if self.is_percentage { 100.0 } else { high + space };
            self.draw_on(chart.build_cartesian_2d(1.0..last, low..high)?, theme)
        }
    }

    fn draw_on<'a, Values>(
        &self,
        mut chart: ChartContext<'a, super::Surface<'a>, Cartesian2d<RangedCoordf64, Values>>,
        theme: Theme,
    ) -> DrawResult
    where
        Values: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let last_epoch = chart.x_range().end;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .x_labels(last_epoch.min(MOST_EPOCH_LABELS) as usize)
            .y_desc(self.values.as_str())
            .axis_desc_style(theme.text(15))
            .label_style(theme.text(13))
            .axis_style(theme.ink())
            .bold_line_style(theme.grid())
            .light_line_style(theme.background())
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for series in &self.series {
            series.draw(&mut chart, theme)?;
        }
        Ok(())
    }
}

/// A logarithmic axis of positive values, whose marks leave room for their labels.
#[derive(Clone, Copy)]
struct Logarithmic {
    low: f64,
    high: f64,
}

impl Logarithmic {
    /// An axis of at most this many decades has marks at 1, 2 and 5 times each power of ten, a longer one
    /// only at powers of ten.
    const FEW_DECADES: f64 = 3.5;
    const MOST_MARKS: f64 = 10.0;

    fn decades(self) -> f64 {
        (self.high / self.low).log10()
    }

    fn marks(self) -> Vec<f64> {
        let factors: &[f64] =
            if self.decades() <= Self::FEW_DECADES { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let step = (self.decades() / Self::MOST_MARKS).ceil().max(1.0) as usize;
        let [first, last] = [self.low, self.high].map(|end| end.log10().floor() as i32);
        let decades = (first..=last).step_by(step).map(|power| 10_f64.powi(power));
        let marks = decades.flat_map(|decade| factors.iter().map(move |factor| factor * decade));
        marks.filter(|mark| (self.low..=self.high).contains(mark)).collect()
    }
}

impl Ranged for Logarithmic {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value / self.low).log10() / self.decades();
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl Series {
    fn draw<'a, Values: Ranged<ValueType = f64>>(
        &self,
        chart: &mut ChartContext<'a, super::Surface<'a>, Cartesian2d<RangedCoordf64, Values>>,
        theme: Theme,
    ) -> DrawResult {
        let style = theme.line(theme.series(self.color), 2);
        let points = || self.points.iter().copied().filter(|point| point.1.is_finite());
        if self.points.len() == 1 {
            // A line of one point is none.
            chart.draw_series(points().map(|point| Circle::new(point, 3, style.filled())))?;
        }
        if self.is_dashed {
            chart.draw_series(DashedLineSeries::new(points(), 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points(), style))?;
        }
        Ok(())
    }
}

/// A short piece of each line with its name, in a row.
fn draw_legend(area: &Area<'_>, theme: Theme, series: &[Series]) -> DrawResult {
    let name_width = |series: &Series| LETTER_WIDTH * series.name.chars().count() as i32;
    let width = |series: &Series| LEGEND_SAMPLE + 8 + name_width(series) + 24;
    let middle = LEGEND_HEIGHT as i32 / 2;
    let mut left = (area.dim_in_pixel().0 as i32 - series.iter().map(width).sum::<i32>()) / 2;
    for series in series {
        let style = theme.line(theme.series(series.color), 2);
        let pieces =
            if series.is_dashed { vec![(0, 8), (10, 18), (20, 28)] } else { vec![(0, 28)] };
        for (begin, end) in pieces {
            area.draw(&PathElement::new([(left + begin, middle), (left + end, middle)], style))?;
        }
        let place = (left + LEGEND_SAMPLE + 8, middle);
        let text = theme.text(14).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(series.name.as_str(), place, text))?;
        left += width(series);
    }
    Ok(())
}

/// A number with as many digits as a label has room for.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.0e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_a_logarithmic_axis_are_apart_and_reach_its_ends() {
        let marks = |low: f64, high: f64| Logarithmic { low, high }.marks();
        assert_eq!(marks(0.03, 1.2), [0.05, 0.1, 0.2, 0.5, 1.0]);
        for (low, high) in [(1e-3, 0.7), (0.02, 0.9), (3.0, 1e4), (2e-9, 5.0), (1e-30, 1e30)] {
            let (axis, marks) = (Logarithmic { low, high }, marks(low, high));
            let places: Vec<_> = marks.iter().map(|mark| axis.map(mark, (0, 300))).collect();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 18), "{marks:?}");
            let widest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(places[0] <= widest && 300 - places[places.len() - 1] <= widest, "{marks:?}");
            assert_eq!((axis.map(&low, (0, 300)), axis.map(&high, (0, 300))), (0, 300));
        }
    }
}

//! The confusion matrix: how often rows of each class were taken for which.

use plotters::{
    element::{Rectangle, Text},
    style::{
        Color, FontTransform, IntoFont,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{DrawResult, PictureFile, Theme, surface::FONT};
use crate::failure::Failure;

/// The picture's longer side, without the names.
const MATRIX: i32 = 560;

/// Few classes make no huge cells.
const LARGEST_CELL: i32 = 96;

/// Cells smaller than this have no room for their count.
const SMALLEST_WITH_COUNT: i32 = 18;

/// Draws `counts[class][predicted]`.
pub(crate) fn confusion_matrix(
    file: &PictureFile,
    theme: Theme,
    title: &str,
    classes: &[String],
    counts: &[Vec<u64>],
) -> Result<(), Failure> {
    let cell = (MATRIX / classes.len().max(1) as i32).clamp(2, LARGEST_CELL);
    let side = cell * classes.len() as i32;
    let longest = classes.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(24) as i32;
    let (left, top) = (52 + 8 * longest, 56);
    let bottom = 44 + if longest > 3 { 8 * longest } else { 16 };
    let size = [(left + side + 24) as u32, (top + side + bottom) as u32];
    let place = Place { left, top, cell, side };
    file.save(size, theme, |area| {
        area.draw(&Text::new(title, (left, 20), theme.text(18)))?;
        for (class, row) in counts.iter().enumerate() {
            let rows = row.iter().sum::<u64>().max(1);
            for (predicted, &count) in row.iter().enumerate() {
                // The root lets a few mistakes show.
                let share = (count as f64 / rows as f64).sqrt();
                let [x, y] = place.corner(predicted, class);
                let corners = [(x, y), (x + cell, y + cell)];
                area.draw(&Rectangle::new(corners, theme.shade(share).filled()))?;
                if cell >= SMALLEST_WITH_COUNT {
                    area.draw(&Rectangle::new(corners, theme.grid()))?;
                }
                let digits = count.to_string();
                if count > 0 && cell >= SMALLEST_WITH_COUNT.max(8 * digits.len() as i32) {
                    let font = theme.text_on_shade(share, (cell as u32 / 3).clamp(10, 16));
                    let style = font.pos(Pos::new(HPos::Center, VPos::Center));
                    area.draw(&Text::new(digits, (x + cell / 2, y + cell / 2), style))?;
                }
            }
        }
        let frame = [(left, top), (left + side, top + side)];
        area.draw(&Rectangle::new(frame, theme.line(theme.grid(), 1)))?;
        place.draw_names(area, theme, classes, longest > 3)
    })
}

/// Where the cells are.
struct Place {
    left: i32,
    top: i32,
    cell: i32,
    side: i32,
}

impl Place {
    fn corner(&self, column: usize, row: usize) -> [i32; 2] {
        [self.left + self.cell * column as i32, self.top + self.cell * row as i32]
    }

    fn draw_names(
        &self,
        area: &super::Area<'_>,
        theme: Theme,
        classes: &[String],
        is_upright: bool,
    ) -> DrawResult {
        let middle = |index: usize| self.cell * index as i32 + self.cell / 2;
        // If names would overlap, only every `step`-th is drawn.
        let step = (14 / self.cell.max(1)).max(0) as usize + 1;
        let right = Pos::new(HPos::Right, VPos::Center);
        let under = Pos::new(HPos::Center, VPos::Top);
        for (index, name) in classes.iter().enumerate().step_by(step) {
            let name: String = name.chars().take(24).collect();
            let place = (self.left - 8, self.top + middle(index));
            area.draw(&Text::new(name.clone(), place, theme.text(13).pos(right)))?;
            let place = (self.left + middle(index), self.top + self.side + 8);
            let style = match is_upright {
                true => theme.text(13).transform(FontTransform::Rotate270).pos(right),
                false => theme.text(13).pos(under),
            };
            area.draw(&Text::new(name, place, style))?;
        }
        let end = area.dim_in_pixel().1 as i32;
        let style = theme.text(15).pos(Pos::new(HPos::Center, VPos::Bottom));
        area.draw(&Text::new("predicted", (self.left + self.side / 2, end - 10), style))?;
        let style = (FONT, 15).into_font().transform(FontTransform::Rotate270).color(&theme.ink());
        let style = style.pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new("true class", (12, self.top + self.side / 2), style))?;
        Ok(())
    }
}

//! Pictures of the results of a training, as SVG or PNG.
//!
//! The same calls draw on an SVG and on the pixels of a PNG, which has twice the size for sharp screens.

mod confusion;
mod curves;
mod scatter;
mod surface;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::ValueEnum;
use plotters::{
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE},
};

use crate::{failure::Failure, output};

pub(crate) use confusion::confusion_matrix;
pub(crate) use curves::{Panel, Series, curves};
pub(crate) use scatter::scatter;
use surface::{FONT, Surface};

/// The surface to draw on.
type Area<'a> = DrawingArea<Surface<'a>, Shift>;

/// Why a picture could not be drawn, in plotters' words.
type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Colors that carry a picture on paper or on a dark screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Theme {
    #[default]
    Light,
    Dark,
}

/// A file that will hold a picture; its name decides the format.
#[derive(Clone, Debug)]
pub(crate) struct PictureFile {
    path: PathBuf,
    is_png: bool,
}

impl Theme {
    fn background(self) -> RGBColor {
        match self {
            Self::Light => WHITE,
            Self::Dark => RGBColor(24, 26, 31),
        }
    }

    /// Letters and axes.
    fn ink(self) -> RGBColor {
        match self {
            Self::Light => RGBColor(40, 44, 52),
            Self::Dark => RGBColor(214, 218, 226),
        }
    }

    fn grid(self) -> RGBColor {
        match self {
            Self::Light => RGBColor(226, 229, 234),
            Self::Dark => RGBColor(52, 56, 64),
        }
    }

    /// The colors of lines. Those who see no red or green can tell them apart (Okabe and Ito 2008).
    fn series(self, index: usize) -> RGBColor {
        let colors = match self {
            Self::Light => [RGBColor(0, 114, 178), RGBColor(213, 94, 0)],
            Self::Dark => [RGBColor(86, 180, 233), RGBColor(240, 148, 66)],
        };
        colors[index % colors.len()]
    }

    /// From the background to the first color of the lines, by a share between 0 and 1.
    fn shade(self, share: f64) -> RGBColor {
        let (RGBColor(r0, g0, b0), RGBColor(r1, g1, b1)) = (self.background(), self.series(0));
        let between = |from: u8, to: u8| {
            (f64::from(from) + share * (f64::from(to) - f64::from(from))).round() as u8
        };
        RGBColor(between(r0, r1), between(g0, g1), between(b0, b1))
    }

    fn text(self, size: u32) -> TextStyle<'static> {
        (FONT, size).into_font().color(&self.ink())
    }

    /// Readable letters on a cell of that shade.
    fn text_on_shade(self, share: f64, size: u32) -> TextStyle<'static> {
        let color = match self {
            Self::Light if share > 0.5 => WHITE,
            Self::Dark if share > 0.5 => BLACK,
            _ => self.ink(),
        };
        (FONT, size).into_font().color(&color)
    }

    fn line(self, color: RGBColor, width: u32) -> ShapeStyle {
        color.stroke_width(width)
    }
}

impl FromStr for PictureFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_png = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("png") => true,
            Some("svg") => false,
            _ => return Err("a picture's name must end in .svg or .png".to_owned()),
        };
        Ok(Self { path, is_png })
    }
}

impl PictureFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Draws a picture of that size and puts it into the file, which always holds a whole one.
    fn save(
        &self,
        size: [u32; 2],
        theme: Theme,
        draw: impl FnOnce(&Area<'_>) -> DrawResult,
    ) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::input(format!("{}: the picture: {error}", self.path.display()))
        };
        surface::register_letters();
        let paint = |surface: Surface<'_>| {
            let area = surface.into_drawing_area();
            area.fill(&theme.background())?;
            draw(&area)?;
            area.present()?;
            DrawResult::Ok(())
        };
        let bytes = if self.is_png {
            let mut samples = surface::samples(size);
            paint(Surface::pixels(&mut samples, size)).map_err(|error| failed(&error))?;
            surface::png(&samples, size).map_err(|error| failed(&error))?
        } else {
            let mut text = String::new();
            paint(Surface::svg(&mut text, size)).map_err(|error| failed(&error))?;
            text.into_bytes()
        };
        output::replace(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn series(name: &str, color: usize, is_dashed: bool, last: f64) -> Series {
        let value = |epoch: f64| last + 2.3 * (-epoch / (4.0 + color as f64)).exp();
        let points = (1..=30).map(|epoch| (f64::from(epoch), value(epoch.into()))).collect();
        Series { name: name.to_owned(), color, is_dashed, points }
    }

    fn panels() -> [Panel; 2] {
        let all = |last: f64| {
            vec![
                series("with batch norm, learned", 0, true, 0.01 * last),
                series("with batch norm, held out", 0, false, 0.05 * last),
                series("without, learned", 1, true, 0.2 * last),
                series("without, held out", 1, false, 0.3 * last),
            ]
        };
        [
            Panel {
                values: "loss (softmax-cross-entropy)".to_owned(),
                is_percentage: false,
                series: all(1.0),
            },
            Panel { values: "accuracy (%)".to_owned(), is_percentage: true, series: all(97.0) },
        ]
    }

    fn draw_all(directory: &Path, extension: &str, theme: Theme) -> Vec<PathBuf> {
        let file = |name: &str| -> PictureFile {
            let path = directory.join(format!("{name}-{theme:?}.{extension}"));
            path.to_str().unwrap().parse().unwrap()
        };
        let files = ["curves", "digits", "names", "many", "scatter"].map(file);
        curves(&files[0], theme, "digits: 64-128-64-10", &panels()).unwrap();
        let counts = |classes: usize| -> Vec<Vec<u64>> {
            let count = |row: usize, column: usize| match row.abs_diff(column) {
                0 => 170 + row as u64,
                1 => (row % 4) as u64,
                _ => u64::from((row * 7 + column).is_multiple_of(23)),
            };
            (0..classes)
                .map(|row| (0..classes).map(|column| count(row, column)).collect())
                .collect()
        };
        let names =
            |classes: usize| -> Vec<String> { (0..classes).map(|n| n.to_string()).collect() };
        let title = "digits: 97.8 % of 360 rows";
        confusion_matrix(&files[1], theme, title, &names(10), &counts(10)).unwrap();
        let species = ["setosa", "versicolor", "virginica"].map(str::to_owned);
        confusion_matrix(&files[2], theme, "iris.csv: 96.7 % of 30 rows", &species, &counts(3))
            .unwrap();
        confusion_matrix(&files[3], theme, title, &names(100), &counts(100)).unwrap();
        let points: Vec<_> = (0..20_000)
            .map(|n| f64::from(n) / 50.0)
            .map(|x| (x, x + 30.0 * (x * 12.9898).sin()))
            .collect();
        scatter(&files[4], theme, "diabetes.csv: RMSE 21.2, R² 0.96", "progression", &points)
            .unwrap();
        files.map(|file| file.path().to_owned()).to_vec()
    }

    #[test]
    fn every_picture_is_drawn() {
        let directory = tempfile::tempdir().unwrap();
        for theme in Theme::value_variants() {
            for path in draw_all(directory.path(), "svg", *theme) {
                let svg = fs::read_to_string(&path).unwrap();
                assert!(svg.starts_with("<svg") && svg.contains("</text>"), "{path:?}");
            }
            for path in draw_all(directory.path(), "png", *theme) {
                let png = fs::read(&path).unwrap();
                assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{path:?}");
            }
        }
        if let Ok(kept) = std::env::var("KEEP_PICTURES") {
            draw_all(Path::new(&kept), "png", Theme::Light);
            draw_all(Path::new(&kept), "png", Theme::Dark);
        }
    }

    #[test]
    fn the_name_tells_the_format() {
        assert!("a.PNG".parse::<PictureFile>().unwrap().is_png);
        assert!(!"a.svg".parse::<PictureFile>().unwrap().is_png);
        for name in ["a.jpg", "png", "", "svg/"] {
            assert!(name.parse::<PictureFile>().unwrap_err().contains(".svg or .png"), "{name:?}");
        }
    }
}

//! The surface that pictures are drawn on: an SVG, or the pixels of a PNG.

use std::io::{self, Error};

use plotters::{
    backend::{BitMapBackend, SVGBackend},
    style::{FontDesc, FontStyle, FontTransform, TextStyle, register_font, text_anchor::Pos},
};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// The font of all letters.
pub(super) const FONT: &str = "sans-serif";

/// Pixels of a PNG per unit of the picture, for sharp screens.
const SCALE: u32 = 2;

/// Plotters draws hard edges, so each pixel is the mean of a square of this many by as many.
const SAMPLES: u32 = 3;

/// Plotters' letters on pixels are larger than those in an SVG, and higher by a share of their size.
const LETTERS: f64 = 0.904;
const UPWARD: f64 = 0.14;

const FACTOR: i32 = (SCALE * SAMPLES) as i32;

/// Bytes of a pixel: red, green and blue.
const CHANNELS: usize = 3;

type Drawn = Result<(), DrawingErrorKind<Error>>;

pub(crate) enum Surface<'a> {
    Svg(SVGBackend<'a>),
    Pixels(BitMapBackend<'a>),
}

/// The samples of a PNG of a picture of this size.
pub(super) fn samples([width, height]: [u32; 2]) -> Vec<u8> {
    vec![0; CHANNELS * (FACTOR * FACTOR) as usize * width as usize * height as usize]
}

/// Both surfaces measure texts in this font: a machine without a screen may have no other.
pub(super) fn register_letters() {
    let font = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    debug_assert!(font.is_ok(), "the font is a font");
}

impl<'a> Surface<'a> {
    pub(super) fn svg(text: &'a mut String, size: [u32; 2]) -> Self {
        Self::Svg(SVGBackend::with_string(text, size.into()))
    }

    pub(super) fn pixels(samples: &'a mut [u8], size: [u32; 2]) -> Self {
        let size = size.map(|side| side * FACTOR as u32);
        Self::Pixels(BitMapBackend::with_buffer(samples, size.into()))
    }
}

/// The samples as a PNG.
pub(super) fn png(samples: &[u8], size: [u32; 2]) -> io::Result<Vec<u8>> {
    let [width, height] = size.map(|side| (side * SCALE) as usize);
    let mut pixels = vec![0; CHANNELS * width * height];
    let count = SAMPLES as usize;
    for (index, value) in pixels.iter_mut().enumerate() {
        let (pixel, channel) = (index / CHANNELS, index % CHANNELS);
        let [x, y] = [pixel % width, pixel / width].map(|place| place * count);
        let row = |row| (row * width * count + x) * CHANNELS + channel;
        let sum: usize = (y..y + count)
            .flat_map(|y| (0..count).map(move |column| row(y) + column * CHANNELS))
            .map(|sample| usize::from(samples[sample]))
            .sum();
        *value = (sum / (count * count)) as u8;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(Error::other)?;
    writer.write_image_data(&pixels).map_err(Error::other)?;
    writer.finish().map_err(Error::other)?;
    Ok(file)
}

/// A style with strokes of as many samples.
struct Scaled<'s, S>(&'s S);

impl<S: BackendStyle> BackendStyle for Scaled<'_, S> {
    fn color(&self) -> BackendColor {
        self.0.color()
    }

    fn stroke_width(&self) -> u32 {
        self.0.stroke_width() * FACTOR as u32
    }
}

fn scaled((x, y): BackendCoord) -> BackendCoord {
    (x * FACTOR, y * FACTOR)
}

fn drawn<T>(
    result: Result<T, DrawingErrorKind<impl std::error::Error + Send + Sync + 'static>>,
) -> Result<T, DrawingErrorKind<Error>> {
    result.map_err(|error| DrawingErrorKind::DrawingError(Error::other(error.to_string())))
}

impl DrawingBackend for Surface<'_> {
    type ErrorType = Error;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Self::Svg(svg) => svg.get_size(),
            Self::Pixels(bitmap) => {
                let (width, height) = bitmap.get_size();
                (width / FACTOR as u32, height / FACTOR as u32)
            }
        }
    }

    fn ensure_prepared(&mut self) -> Drawn {
        match self {
            Self::Svg(svg) => svg.ensure_prepared(),
            Self::Pixels(bitmap) => drawn(bitmap.ensure_prepared()),
        }
    }

    fn present(&mut self) -> Drawn {
        match self {
            Self::Svg(svg) => svg.present(),
            Self::Pixels(bitmap) => drawn(bitmap.present()),
        }
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_pixel((x, y), color),
            Self::Pixels(bitmap) => {
                drawn(bitmap.draw_rect(scaled((x, y)), scaled((x + 1, y + 1)), &color, true))
            }
        }
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_line(from, to, style),
            Self::Pixels(bitmap) => {
                drawn(bitmap.draw_line(scaled(from), scaled(to), &Scaled(style)))
            }
        }
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_rect(upper_left, bottom_right, style, fill),
            Self::Pixels(bitmap) => {
                let corners = [upper_left, bottom_right].map(scaled);
                drawn(bitmap.draw_rect(corners[0], corners[1], &Scaled(style), fill))
            }
        }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_path(path, style),
            Self::Pixels(bitmap) => {
                drawn(bitmap.draw_path(path.into_iter().map(scaled), &Scaled(style)))
            }
        }
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_circle(center, radius, style, fill),
            Self::Pixels(bitmap) => {
                let radius = radius * FACTOR as u32;
                drawn(bitmap.draw_circle(scaled(center), radius, &Scaled(style), fill))
            }
        }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.fill_polygon(corners, style),
            Self::Pixels(bitmap) => {
                drawn(bitmap.fill_polygon(corners.into_iter().map(scaled), &Scaled(style)))
            }
        }
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        place: BackendCoord,
    ) -> Drawn {
        match self {
            Self::Svg(svg) => svg.draw_text(text, style, place),
            Self::Pixels(bitmap) => {
                let size = style.size() * f64::from(FACTOR) * LETTERS;
                let below = (size * UPWARD) as i32;
                let (right, down) = match style.transform() {
                    FontTransform::None => (0, below),
                    FontTransform::Rotate90 => (-below, 0),
                    FontTransform::Rotate180 => (0, -below),
                    FontTransform::Rotate270 => (below, 0),
                };
                let (x, y) = scaled(place);
                let font = FontDesc::new(style.family(), size, style.style());
                let font = font.transform(style.transform());
                let pos = Pos::new(style.anchor().h_pos, style.anchor().v_pos);
                let style = TextStyle { font, color: style.color(), pos };
                drawn(bitmap.draw_text(text, &style, (x + right, y + down)))
            }
        }
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Error>> {
        match self {
            Self::Svg(svg) => svg.estimate_text_size(text, style),
            Self::Pixels(bitmap) => drawn(bitmap.estimate_text_size(text, style)),
        }
    }
}

#[cfg(test)]
mod tests {
    use plotters::{
        drawing::IntoDrawingArea,
        style::{BLACK, Color, IntoFont, WHITE, text_anchor::HPos, text_anchor::VPos},
    };

    use super::*;

    const SIZE: [u32; 2] = [200, 120];

    /// The gray values of a white picture with this text around its center, and their width.
    fn gray(transform: FontTransform) -> (Vec<u8>, usize) {
        register_letters();
        let mut samples = samples(SIZE);
        let area = Surface::pixels(&mut samples, SIZE).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let pos = Pos::new(HPos::Center, VPos::Center);
        let font = (FONT, 20).into_font().transform(transform);
        area.draw_text("0000", &font.color(&BLACK.to_rgba()).pos(pos), (100, 60)).unwrap();
        area.present().unwrap();
        drop(area);
        let file = png(&samples, SIZE).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!([info.width, info.height], SIZE.map(|side| SCALE * side));
        (pixels.iter().copied().step_by(CHANNELS).collect(), info.width as usize)
    }

    #[test]
    fn texts_are_smooth_and_around_their_anchor() {
        for transform in [FontTransform::None, FontTransform::Rotate90, FontTransform::Rotate270] {
            let is_upright = matches!(transform, FontTransform::None);
            let (gray, width) = gray(transform);
            assert!(gray.contains(&255) && gray.iter().any(|value| (90..160).contains(value)));
            let ink = gray.iter().enumerate().filter(|&(_, &value)| value < 128);
            let (x, y): (Vec<_>, Vec<_>) =
                ink.map(|(index, _)| (index % width, index / width)).unzip();
            for (places, center) in [(x, 200), (y, 120)] {
                let (first, last) = (*places.iter().min().unwrap(), *places.iter().max().unwrap());
                let middle = (first + last) / 2;
                assert!(middle.abs_diff(center) <= 4, "{first} to {last}, not around {center}");
                let is_long = (center == 200) == is_upright;
                assert_eq!(last - first > 50, is_long, "{first} to {last}");
            }
        }
    }
}

//! A picture: painted, or read from a file; compared, and written.

use std::error::Error;
use std::f32::consts::PI;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The most pixels on a side. A larger picture is reduced by averaging.
const MOST_PIXELS: usize = 256;

/// Rows of pixels, from the top; red, green and blue from 0 to 255.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// An evening in the mountains, and the letter z̃ that the library is named after.
    pub(crate) fn paint() -> Self {
        let [width, height] = [MOST_PIXELS; 2];
        let place = |pixel: usize| (pixel as f32 + 0.5) / MOST_PIXELS as f32;
        let pixels = (0..width * height)
            .map(|pixel| color(place(pixel % width), place(pixel / width)))
            .map(|color| color.map(|value| (255.0 * value).round() as u8))
            .collect();
        Self { width, height, pixels }
    }

    /// Reads a PNG file. A large picture is reduced by a whole factor. Transparency is ignored.
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path)?));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let mut bytes = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
        let info = reader.next_frame(&mut bytes)?;
        let channels = info.color_type.samples();
        let [whole_width, whole_height] = [info.width as usize, info.height as usize];
        let shrink = whole_width.max(whole_height).div_ceil(MOST_PIXELS);
        let [width, height] = [whole_width, whole_height].map(|size| (size / shrink).max(1));
        let average = |pixel: usize| {
            [0, 1, 2].map(|channel| {
                let channel = if channels < 3 { 0 } else { channel };
                let (mut sum, mut count) = (0, 0);
                for row in (pixel / width * shrink..).take(shrink.min(whole_height)) {
                    for column in (pixel % width * shrink..).take(shrink.min(whole_width)) {
                        sum +=
                            usize::from(bytes[(row * whole_width + column) * channels + channel]);
                        count += 1;
                    }
                }
                ((sum + count / 2) / count) as u8
            })
        };
        Ok(Self { width, height, pixels: (0..width * height).map(average).collect() })
    }

    /// A picture of the same size with other colors: three values per pixel, from 0 to 1.
    pub(crate) fn with_values(&self, values: &[f32]) -> Self {
        let byte = |value: &f32| (255.0 * value.clamp(0.0, 1.0)).round() as u8;
        let (pixels, _) = values.as_chunks::<3>();
        let pixels = pixels.iter().map(|color| color.each_ref().map(byte)).collect();
        Self { pixels, ..*self }
    }

    /// The similarity to the original in decibels: the peak signal-to-noise ratio.
    pub(crate) fn psnr(&self, original: &Self) -> f64 {
        let differences = self.pixels.as_flattened().iter().zip(original.pixels.as_flattened());
        let squares: f64 = differences.map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum();
        let mean = squares / (3 * self.pixels.len()) as f64;
        10.0 * (255.0_f64.powi(2) / mean).log10()
    }

    /// Writes pictures of one size side by side.
    pub(crate) fn write(pictures: &[&Self], path: &Path) -> Result<(), Box<dyn Error>> {
        let [width, height] = [pictures[0].width, pictures[0].height];
        let bytes: Vec<u8> = (0..height)
            .flat_map(|row| pictures.iter().map(move |picture| (row, picture)))
            .flat_map(|(row, picture)| picture.pixels[row * width..][..width].as_flattened())
            .copied()
            .collect();
        let file = File::create(path)?;
        let mut png = png::Encoder::new(file, (pictures.len() * width) as u32, height as u32);
        png.set_color(png::ColorType::Rgb);
        png.write_header()?.write_image_data(&bytes)?;
        Ok(())
    }
}

/// The color of the painted picture at a position: `x` and `y` from 0 to 1, from the upper left corner.
fn color(x: f32, y: f32) -> [f32; 3] {
    let mix = |from: [f32; 3], to: [f32; 3], share: f32| {
        [0, 1, 2].map(|channel| from[channel] + share * (to[channel] - from[channel]))
    };
    let ridge = |peaks: f32, shift: f32| ((x * peaks + shift).rem_euclid(1.0) - 0.5).abs();
    if is_letter(x, y) {
        [0.98, 0.96, 0.9]
    } else if y > 0.76 {
        // A floor of tiles, smaller where they are farther.
        let depth = 0.12 / (y - 0.7);
        let is_dark = (((x - 0.5) * depth * 9.0).floor() + (7.0 * depth).floor()) % 2.0 == 0.0;
        if is_dark { [0.15, 0.3, 0.35] } else { [0.75, 0.7, 0.55] }
    } else if y > 0.5 + 0.4 * ridge(2.0, 0.1) {
        mix([0.2, 0.13, 0.3], [0.35, 0.25, 0.35], (y - 0.5) / 0.26)
    } else if y > 0.4 + 0.5 * ridge(1.3, 0.55) {
        [0.5, 0.3, 0.45]
    } else if (x - 0.82).hypot(y - 0.22) < 0.1 {
        [1.0, 0.85, 0.3]
    } else {
        mix([0.1, 0.2, 0.5], [0.95, 0.55, 0.35], y / 0.6)
    }
}

/// Whether the position is on the z, or on the tilde above it.
fn is_letter(x: f32, y: f32) -> bool {
    let [left, right, top, bottom] = [0.3, 0.7, 0.3, 0.7];
    let is_inside = (left..right).contains(&x) && (top..bottom).contains(&y);
    let on_diagonal = ((x - left) / (right - left) + (y - top) / (bottom - top) - 1.0).abs() < 0.14;
    let on_bar = y - top < 0.07 || bottom - y < 0.07;
    let wave = 0.19 - 0.03 * (2.0 * PI * (x - left) / (right - left)).sin();
    is_inside && (on_diagonal || on_bar) || (left..right).contains(&x) && (y - wave).abs() < 0.03
}

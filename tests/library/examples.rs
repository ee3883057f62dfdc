//! The examples show the promised results: the tests examine their pictures.
//!
//! The examples are compiled into this program, because cargo does not always rebuild them for a test.

#[allow(dead_code, reason = "its main")]
#[path = "../../examples/batch_norm.rs"]
mod batch_norm;
#[allow(dead_code, reason = "their main")]
#[path = "../../examples/image.rs"]
mod image;
#[allow(dead_code, reason = "its main")]
#[path = "../../examples/in_frame.rs"]
mod in_frame;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A picture of several panels, side by side, each as wide as the others.
struct Panels {
    width: usize,
    height: usize,
    panels: usize,
    pixels: Vec<[u8; 3]>,
}

impl Panels {
    fn read(path: &Path, panels: usize) -> Self {
        let decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let channels = info.color_type.samples();
        let pixels = bytes.chunks(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Self { width: info.width as usize / panels, height: info.height as usize, panels, pixels }
    }

    fn pixel(&self, panel: usize, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.panels * self.width + panel * self.width + x]
    }

    /// The similarity of two panels in decibels: the peak signal-to-noise ratio.
    fn psnr(&self, panel: usize, other: usize) -> f64 {
        let mut squares = 0.0;
        for y in 0..self.height {
            for x in 0..self.width {
                let pair = self.pixel(panel, x, y).into_iter().zip(self.pixel(other, x, y));
                squares += pair.map(|(a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>();
            }
        }
        let mean = squares / (3 * self.width * self.height) as f64;
        10.0 * (255.0_f64.powi(2) / mean).log10()
    }
}

fn words<const COUNT: usize>(words: [&str; COUNT]) -> impl Iterator<Item = String> {
    words.into_iter().map(str::to_owned)
}

/// A network follows the shapes, within the app's frames.
#[test]
fn in_frame_learns_what_moves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    in_frame::run(words(["--frames", "60", "--out", path.to_str().unwrap()])).unwrap();
    let psnr = Panels::read(&path, 2).psnr(0, 1);
    assert!(psnr > 15.0, "{psnr} dB between what the network says and the truth");
}

/// Both networks reproduce the picture; the one with batch normalization does so sooner.
#[test]
fn image_learns_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("painted/image-000100.png");
    let painted = folder.path().join("painted");
    image::run(words(["--steps", "100", painted.to_str().unwrap()])).unwrap();
    let picture = Panels::read(&path, 3);
    let [with, without] = [1, 2].map(|panel| picture.psnr(0, panel));
    assert!(with > 17.0 && without > 14.0, "{with} dB with batch normalization, {without} without");

    // A file that is large enough to be reduced: the three panels, each pixel the mean of 3 × 3.
    let read = folder.path().join("read");
    let arguments = ["--steps", "1", "--picture", path.to_str().unwrap(), read.to_str().unwrap()];
    image::run(words(arguments)).unwrap();
    let shrunk = Panels::read(&read.join("image-000001.png"), 3);
    assert_eq!([shrunk.width, shrunk.height], [256, 85]);
    let mean = |channel: usize| {
        let places = (0..9).map(|place| picture.pixel(0, 210 + place % 3, 54 + place / 3)[channel]);
        (places.map(u32::from).sum::<u32>() + 4) / 9
    };
    assert_eq!(shrunk.pixel(0, 70, 18).map(u32::from), [0, 1, 2].map(mean));
}

/// The forward and backward pass on an app's images agree with the example's results on the CPU.
#[test]
fn batch_norm_is_what_the_cpu_computes() {
    batch_norm::run().unwrap();
}

#[test]
fn wrong_arguments_are_refused() {
    let cases = [
        (in_frame::run(words(["--frames", "0"])), "zero"),
        (in_frame::run(words(["--window"])), "usage: in_frame"),
        (image::run(words([])), "usage: image"),
        (image::run(words(["--steps"])), "--steps NUMBER"),
        (image::run(words(["--batch", "folder"])), "usage: image"),
    ];
    for (result, expected) in cases {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

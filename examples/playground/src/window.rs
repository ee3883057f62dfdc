//! The command: a window, or a picture of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use egui::{Theme, ViewportBuilder};

use crate::app::{self, App};
use crate::arguments::Arguments;
use crate::headless;
use crate::settings::Settings;

/// The smallest size of the view, in egui's points.
pub(crate) const LEAST_SIZE: [u32; 2] = [1080, 660];

/// The options of the command alone.
#[derive(Debug, clap::Args)]
pub(crate) struct WindowArguments {
    /// Train without a window and write the view to this PNG
    #[arg(long, value_name = "PNG")]
    headless: Option<PathBuf>,

    /// Steps before the picture
    #[arg(long, default_value_t = 2000, requires = "headless")]
    steps: u32,

    /// Width and height, in points
    #[arg(long, value_parser = size, default_value = "1200x760")]
    size: [u32; 2],

    /// Pixels per point of the picture
    #[arg(long, default_value_t = 1.0, requires = "headless")]
    scale: f32,
}

fn size(text: &str) -> Result<[u32; 2], String> {
    let expected = || format!("{text} is not a size, as 1200x760 is one");
    let (width, height) = text.split_once('x').ok_or_else(expected)?;
    let lengths = [width, height].map(|length| length.parse::<u32>().ok());
    let [Some(width), Some(height)] = lengths else { return Err(expected()) };
    let [least_width, least_height] = LEAST_SIZE;
    if !(least_width..=8192).contains(&width) || !(least_height..=8192).contains(&height) {
        return Err(format!("must be between {least_width}x{least_height} and 8192x8192"));
    }
    Ok([width, height])
}

pub(crate) fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("playground: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let (settings, theme) = (arguments.settings(), arguments.theme());
    let WindowArguments { size, scale, steps, .. } = arguments.window;
    let Some(path) = &arguments.window.headless else { return open(settings, size, theme) };
    let theme = theme.unwrap_or(Theme::Light);
    let picture = headless::render(&headless::Options { settings, steps, size, scale, theme })?;
    for result in &picture.results {
        let name = if result.batch_norm { "with" } else { "without" };
        let accuracy = 100.0 * result.accuracy;
        println!(
            "{name} batch normalization: {accuracy:.1} % of the held-out points are right, loss {:.4}",
            result.loss
        );
    }
    picture.save(path)
}

/// Opens the window, and returns when it is closed.
fn open(
    settings: Settings,
    size: [u32; 2],
    theme: Option<Theme>,
) -> Result<(), Box<dyn std::error::Error>> {
    let options = eframe::NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title("z̃ playground")
            .with_inner_size(size.map(|length| length as f32))
            .with_min_inner_size(LEAST_SIZE.map(|length| length as f32)),
        wgpu_options: app::wgpu_options(),
        ..Default::default()
    };
    let start =
        Box::new(move |context: &eframe::CreationContext<'_>| App::start(context, settings, theme));
    eframe::run_native("z̃ playground", options, start)?;
    Ok(())
}

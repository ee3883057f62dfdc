//! The page: `index.html` calls [`start`].

#[cfg(test)]
mod tests;

use clap::Parser;
use eframe::{WebOptions, WebRunner};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::HtmlCanvasElement;

use crate::app::{self, App};
use crate::arguments::Arguments;

/// Runs in the canvas until the page is closed. `words` are options as the command takes them, `--data=circles`.
///
/// # Errors
///
/// A fault in the options, or eframe's message for a browser without WebGPU.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "what JavaScript calls has to be public")]
pub async fn start(canvas: HtmlCanvasElement, words: Vec<String>) -> Result<(), JsValue> {
    run(canvas, words).await?;
    Ok(())
}

async fn run(canvas: HtmlCanvasElement, words: Vec<String>) -> Result<WebRunner, JsValue> {
    let words = std::iter::once("playground".to_owned()).chain(words);
    let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
    let (settings, theme) = (arguments.settings(), arguments.theme());
    let options = WebOptions { wgpu_options: app::wgpu_options(), ..Default::default() };
    let app = move |context: &eframe::CreationContext<'_>| App::start(context, settings, theme);
    let runner = WebRunner::new();
    runner.start(canvas, options, Box::new(app)).await?;
    Ok(runner)
}

//! A network learns to tell two classes of points in the plane, with and without batch normalization, in
//! the spirit of TensorFlow Playground: in a window, or in a browser. Everything stays on the GPU: the
//! network is trained there, and its outputs are drawn from the buffer that it writes.

mod app;
mod arguments;
mod charts;
mod controls;
mod curve;
mod data_sets;
mod graphics;
#[cfg(not(target_arch = "wasm32"))]
mod headless;
mod hidden_layers;
mod learner;
mod look;
mod pace;
#[cfg(target_arch = "wasm32")]
mod page;
mod readback;
mod session;
mod settings;
mod surface;
mod theme;
mod view;
#[cfg(not(target_arch = "wasm32"))]
mod window;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    window::main()
}

/// The page calls `page::start`.
#[cfg(target_arch = "wasm32")]
fn main() {}

//! The browser's compiler accepts every kernel's text. It is stricter than naga: for example, it refuses a
//! barrier after a condition that it cannot prove to be the same for all invocations.
#![cfg(target_arch = "wasm32")]

mod devices;
#[path = "shaders/texts.rs"]
mod texts;

use devices::devices;
use texts::{for_each_kernel, is_for_subgroups, texts};
use wasm_bindgen_test::wasm_bindgen_test;
use wgpu::{CompilationMessageType, ShaderModuleDescriptor, ShaderSource};

#[wasm_bindgen_test]
async fn the_browser_takes_all_texts() {
    let (device, _) = devices().await.remove(0);
    let mut modules = Vec::new();
    for_each_kernel(|name, room| {
        // wgpu has no subgroups in browsers, which some shaders need.
        for text in texts(room).into_iter().filter(|text| !is_for_subgroups(text)) {
            let source = ShaderSource::Wgsl(text.into());
            let descriptor = ShaderModuleDescriptor { label: Some(name), source };
            modules.push((name.to_owned(), device.create_shader_module(descriptor)));
        }
    });
    let mut errors = Vec::new();
    for (name, module) in &modules {
        for message in module.get_compilation_info().await.messages {
            if message.message_type == CompilationMessageType::Error {
                errors.push(format!("{name}: {} {:?}", message.message, message.location));
            }
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

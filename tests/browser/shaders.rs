//! The browser's compiler accepts every kernel's text. It is stricter than naga: for example, it refuses a
//! barrier after a condition that it cannot prove to be the same for all invocations.

use wasm_bindgen_test::wasm_bindgen_test;
use wgpu::{CompilationMessageType, ShaderModuleDescriptor, ShaderSource};

use crate::fixtures::devices::devices;
use crate::texts::{for_each_kernel, is_for_subgroups, texts};

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

//! Every object has a name that begins with `ztilde/`, so that a GPU debugger shows its owner.

use std::collections::BTreeSet;

use super::app::App;
use crate::fixtures::journal;

/// The kinds of objects that wgpu logs by name when it begins or drops them.
const NAMED: [&str; 6] =
    ["BindGroup", "Buffer", "CommandEncoder", "ComputePipeline", "ShaderModule", "compute pass"];

/// The kinds of objects that an app makes, and that wgpu makes from a shader and an encoder, without a name
/// from the caller. The search for a device's objects may drop the last handle of another test's device.
const NOT_OURS: [&str; 4] = ["BindGroupLayout", "CommandBuffer", "Device", "PipelineLayout"];

#[test]
fn every_object_has_a_name() {
    let app = App::new();
    let ((), lines) = journal::record(|| app.call_everything());
    let begins = ["Destroy raw ", "Drop ", "Begin encoding "];
    let mut kinds = BTreeSet::new();
    for line in &lines {
        let Some((kind, name)) = begins
            .iter()
            .find_map(|begin| line.strip_prefix(begin))
            .and_then(|object| object.strip_suffix("' label"))
            .and_then(|object| object.split_once(" with '"))
            .filter(|(kind, _)| !NOT_OURS.contains(kind))
        else {
            continue;
        };
        assert!(name.starts_with("ztilde/") || name == "the app's", "{line}");
        if name != "the app's" {
            kinds.insert(kind);
        }
    }
    assert_eq!(kinds, BTreeSet::from(NAMED), "kinds of objects in wgpu's log");
}

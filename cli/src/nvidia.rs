//! Finds NVIDIA GPUs whose driver is installed without Vulkan.

use std::{fs, path::Path};

pub(crate) const ADVICE: &str = "\
there is an NVIDIA GPU, but its driver offers no Vulkan. In a container, set \
NVIDIA_DRIVER_CAPABILITIES=graphics,compute,utility when you start it, and install the packages \
libegl1, libglvnd0 and libvulkan1. Elsewhere, install the driver's graphics package: \
libnvidia-gl-VERSION on Ubuntu, nvidia-vulkan-icd on Debian";

/// Whether the file system below `root` shows an NVIDIA GPU.
pub(crate) fn is_visible(root: &Path) -> bool {
    let is_device = |name: &str| name.strip_prefix("nvidia").is_some_and(is_number_or_control);
    let mut devices = fs::read_dir(root.join("dev")).into_iter().flatten().flatten();
    devices.any(|entry| entry.file_name().to_str().is_some_and(is_device))
        || root.join("proc/driver/nvidia/version").exists()
}

/// The driver creates its other devices even without a GPU.
fn is_number_or_control(rest: &str) -> bool {
    rest == "ctl" || (!rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_seen_by_its_devices_or_its_driver() {
        let is_seen = |path: &str| {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
            is_visible(root.path())
        };
        for path in ["dev/nvidia0", "dev/nvidia12", "dev/nvidiactl", "proc/driver/nvidia/version"] {
            assert!(is_seen(path), "{path}");
        }
        for path in ["dev/nvram", "dev/nvidia-caps", "dev/dri/card0", "proc/version"] {
            assert!(!is_seen(path), "{path}");
        }
    }

    #[test]
    fn the_advice_names_the_variable_and_the_packages() {
        for word in ["NVIDIA_DRIVER_CAPABILITIES=graphics", "libegl1", "libglvnd0", "libnvidia-gl"]
        {
            assert!(ADVICE.contains(word), "{word}");
        }
    }
}

//! The `ztilde` binary: all code is in the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    silence_wayland();
    ztilde_cli::readers::silence_guarded_panics();
    ztilde_cli::main()
}

/// Without a desktop, Mesa makes libwayland write `error: XDG_RUNTIME_DIR is invalid or not set` to stderr.
/// With a directory that does not exist, libwayland is silent.
#[cfg(all(unix, not(target_vendor = "apple")))]
#[allow(unsafe_code, reason = "another thread could read the environment meanwhile")]
fn silence_wayland() {
    use std::{env, path::Path};

    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    let is_valid = env::var_os(VARIABLE).is_some_and(|path| Path::new(&path).is_absolute());
    if !is_valid {
        // SAFETY: this is the first action of the process, which has no other thread yet.
        unsafe { env::set_var(VARIABLE, "/nonexistent") };
    }
}

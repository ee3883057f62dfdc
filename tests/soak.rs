//! The short version of `scripts/programs/src/bin/soak.rs`, in a process of its own: other tests' memory is not counted.

#[allow(dead_code, reason = "its main")]
#[path = "../scripts/programs/src/bin/soak.rs"]
mod soak;

#[test]
fn twenty_thousand_steps_hold_what_ten_thousand_did() {
    soak::run(["--steps", "20000"].map(str::to_owned).into_iter()).unwrap();
}

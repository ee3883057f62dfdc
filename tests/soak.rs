//! The short version of `examples/soak.rs`, in a process of its own: other tests' memory is not counted.

#[allow(dead_code, reason = "its main")]
#[path = "../examples/soak.rs"]
mod soak;

#[test]
fn twenty_thousand_steps_hold_what_ten_thousand_did() {
    soak::run(["--steps", "20000"].map(str::to_owned).into_iter()).unwrap();
}

use ndarray::Array1;

/// Running statistics after a step that moved them from `before` to `moved`: these, or `before` if the
/// step has a fault.
pub fn skip_step(before: &Array1<f64>, moved: &Array1<f64>, has_fault: bool) -> Array1<f64> {
    if has_fault { before.clone() } else { moved.clone() }
}

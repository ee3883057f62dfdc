use ndarray::Array1;

/// How much each class counts in a batch, over what its rows count on average:
/// `class_weights · rows / Σ class_weights[class of the row]`, or 0 where all rows weigh 0.
///
/// # Panics
///
/// If a class has no weight.
pub fn weigh_classes(class_weights: &Array1<f64>, classes: &[u32]) -> Array1<f64> {
    let total: f64 = classes.iter().map(|&class| class_weights[class as usize]).sum();
    let scale = if total == 0.0 { 0.0 } else { classes.len() as f64 / total };
    class_weights * scale
}

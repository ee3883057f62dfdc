/// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, then
/// `p −= rate / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + epsilon)`, with the step t counted from 1
/// (Kingma and Ba, arXiv 1412.6980).
#[expect(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn adam(
    parameter: &mut f64,
    gradient: f64,
    mean: &mut f64,
    mean_square: &mut f64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    step: u64,
) {
    *mean = beta1 * *mean + (1.0 - beta1) * gradient;
    *mean_square = beta2 * *mean_square + (1.0 - beta2) * gradient * gradient;
    let corrected_mean = *mean / (1.0 - beta1.powf(step as f64));
    let corrected_square = *mean_square / (1.0 - beta2.powf(step as f64));
    *parameter -= learning_rate * corrected_mean / (corrected_square.sqrt() + epsilon);
}

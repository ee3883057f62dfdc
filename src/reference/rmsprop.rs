/// `s = smoothing · s + (1 − smoothing) · g²`, then `p −= rate · g / (√s + epsilon)`.
pub fn rmsprop(
    parameter: &mut f64,
    gradient: f64,
    mean_square: &mut f64,
    learning_rate: f64,
    smoothing: f64,
    epsilon: f64,
) {
    *mean_square = smoothing * *mean_square + (1.0 - smoothing) * gradient * gradient;
    *parameter -= learning_rate * gradient / (mean_square.sqrt() + epsilon);
}

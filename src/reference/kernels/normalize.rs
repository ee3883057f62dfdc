use ndarray::{Array1, Array2};

/// `gamma · (inputs − mean) / √(variance + epsilon) + beta`, column by column.
pub fn normalize(
    inputs: &Array2<f64>,
    mean: &Array1<f64>,
    variance: &Array1<f64>,
    gamma: &Array1<f64>,
    beta: &Array1<f64>,
    epsilon: f64,
) -> Array2<f64> {
    let inverse_std = variance.mapv(|variance| (variance + epsilon).sqrt().recip());
    (inputs - mean) * &inverse_std * gamma + beta
}

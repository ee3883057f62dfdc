use super::*;

/// How far off the gradients of each column may be.
pub(super) struct Bounds {
    pub(super) grad_sums: Array1<f64>,
    pub(super) grad_gamma: Array1<f64>,
    /// Or of the biases.
    pub(super) grad_beta: Array1<f64>,
    pub(super) grad_weights: Array1<f64>,
}

impl Bounds {
    /// Against what the gradients are made of. Inputs are not above 1.
    pub(super) fn new(
        grad_outputs: &Array2<f64>,
        grad_ztilde: &Array2<f64>,
        statistics: &Statistics,
        gamma: &Array1<f64>,
        way: Way,
    ) -> Self {
        let rows = grad_outputs.nrows() as f64;
        let size = grad_outputs.mapv(f64::abs).sum_axis(Axis(0));
        let most = |matrix: &Array2<f64>| {
            matrix.map_axis(Axis(0), |column| column.fold(0.0, |most: f64, x| most.max(x.abs())))
        };
        // Of the activation's slope; those of ReLU and identity are exact.
        let exact = [Activation::Relu, Activation::Identity];
        let slope = if exact.contains(&way.activation) { 0.0 } else { 2e-6 };
        let from_slopes = slope * most(grad_outputs);
        if !way.batch_norm {
            let [grad_gamma, grad_beta] = [size.clone(), 1e-6 * &size];
            let grad_weights = rows * &from_slopes + 2e-6 * size;
            return Self { grad_sums: from_slopes, grad_gamma, grad_beta, grad_weights };
        }
        let center = grad_ztilde.sum_axis(Axis(0)) / rows;
        let centered = grad_ztilde - &center;
        let spread = centered.mapv(f64::abs).sum_axis(Axis(0));
        let inverse_std = statistics.variance.mapv(|x| (x + f64::from(EPSILON)).sqrt().recip());
        let scale = gamma.mapv(f64::abs) * inverse_std;
        // Two floats hold 48 bits of the mean that is taken out, less what a tile's sum rounds.
        let grad_sums =
            &scale * (1e-5 * most(&centered) + from_slopes + 1e-13 * center.mapv(f64::abs));
        Self {
            // The last part: `center`'s rounding times that of the mean of `normalized`.
            grad_gamma: 3e-6 * &spread + slope * &size + 3e-14 * &size,
            // A sum of as many terms as there are rows, whose roundings mostly cancel.
            grad_beta: 1e-6 * size,
            grad_weights: rows * &grad_sums + 2e-6 * scale * spread,
            grad_sums,
        }
    }
}

use ndarray::{Array1, Array2, Axis};

/// The statistics of each column of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The average of each column.
    pub mean: Array1<f64>,
    /// The average squared distance from that mean: it divides by the number of rows.
    pub variance: Array1<f64>,
}

/// The mean and the variance of each column, in two passes.
///
/// # Panics
///
/// If there are no rows.
pub fn batch_statistics(inputs: &Array2<f64>) -> Statistics {
    let mean = inputs.mean_axis(Axis(0)).expect("statistics need at least one row");
    let squares = (inputs - &mean).powi(2);
    let variance = squares.mean_axis(Axis(0)).expect("statistics need at least one row");
    Statistics { mean, variance }
}

impl Statistics {
    /// `running = (1 − momentum) · running + momentum · batch`, where the batch's variance divides
    /// by `rows − 1`: the convention of PyTorch's `BatchNorm1d`.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 rows: they have no such variance.
    pub fn move_running(
        &self,
        rows: usize,
        momentum: f64,
        running_mean: &mut Array1<f64>,
        running_var: &mut Array1<f64>,
    ) {
        assert!(rows >= 2, "the running statistics move by 2 rows or more, not by {rows}");
        let unbiased = &self.variance * (rows as f64 / (rows as f64 - 1.0));
        *running_mean = &*running_mean * (1.0 - momentum) + &self.mean * momentum;
        *running_var = &*running_var * (1.0 - momentum) + unbiased * momentum;
    }
}

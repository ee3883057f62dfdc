use ndarray::{Array1, Array2, Axis};

/// The statistics of each column of a batch.
///
/// ```
/// use ztilde::ndarray::array;
/// use ztilde::reference::batch_statistics;
///
/// let statistics = batch_statistics(&array![[1.0, 10.0], [5.0, 14.0]]);
/// assert_eq!(statistics.mean, array![3.0, 12.0]);
/// assert_eq!(statistics.variance, array![4.0, 4.0]);
///
/// let [mut running_mean, mut running_var] = [array![0.0, 0.0], array![1.0, 1.0]];
/// statistics.move_running(2, 0.5, &mut running_mean, &mut running_var);
/// assert_eq!(running_mean, array![1.5, 6.0]);
/// assert_eq!(running_var, array![4.5, 4.5]); // half of 1, and half of 8, which divides by 2 − 1
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// `[columns]`: the average of each column.
    pub mean: Array1<f64>,
    /// `[columns]`: the average squared distance from that mean, which divides by `rows`.
    pub variance: Array1<f64>,
}

/// The mean and the variance of each column of `[rows, columns]`, in two passes (Ioffe and Szegedy, arXiv
/// 1502.03167, algorithm 1).
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

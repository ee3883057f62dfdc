//! How well outputs fit their targets, in f64 on the CPU.

use ndarray::{Array2, Axis, Zip};

use crate::data::Targets;
use crate::error::{Error, Result};
use crate::options::Loss;
use crate::reference;

/// How well outputs fit their targets.
///
/// See the example of [`evaluate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean over the rows and outputs: the plain loss, without label smoothing or class weights,
    /// so that it can be compared with the losses of other libraries. NaN if an output is NaN: the
    /// training has diverged.
    pub loss: f64,
    /// For softmax cross-entropy, the share of rows whose largest output (the first of equal ones) is
    /// that of their class. For binary cross-entropy, the share of outputs that are above 0 if their
    /// target is above ½, or below 0 if it is below.
    pub accuracy: Option<f64>,
    /// For losses without an accuracy, the root mean squared error, over all rows and outputs.
    pub rmse: Option<f64>,
    /// For losses without an accuracy, if there are at least two rows: the coefficient of determination,
    /// `1 − Σ(target − output)² / Σ(target − mean target)²`, of each output, averaged.
    ///
    /// As in `sklearn.metrics.r2_score` by default: if the targets of an output are all equal, it is 1
    /// if the outputs equal them, and 0 otherwise.
    pub r2: Option<f64>,
}

/// Compares `outputs`, `[rows, outputs]`, with their targets.
///
/// ```
/// use ztilde::{Loss, Targets, evaluate, ndarray::arr2};
///
/// let outputs = arr2(&[[1.0, 3.0], [2.0, 0.0], [0.0, 1.0]]); // The largest are those of 1, 0, 1.
/// let targets = Targets::from(vec![1_u32, 0, 0]);
/// let found = evaluate(&outputs, &targets, Loss::SoftmaxCrossEntropy)?;
/// assert_eq!(found.accuracy, Some(2.0 / 3.0));
/// assert_eq!((found.rmse, found.r2), (None, None));
/// # Ok::<(), ztilde::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Targets`] if the loss needs targets of another kind;
/// [`Error::Length`] without outputs, or if the targets do not fit them; [`Error::Class`] with a
/// class that has no output; [`Error::Probability`] with a target of binary cross-entropy outside
/// 0 to 1; [`Error::Option`] if a hyperparameter of the loss is out of range.
pub fn evaluate(outputs: &Array2<f32>, targets: &Targets<'_>, loss: Loss) -> Result<Evaluation> {
    let [rows, columns] = outputs.dim().into();
    if outputs.is_empty() {
        let why = format!("{rows} rows × {columns} outputs, and at least one of each");
        return Err(Error::Length { what: "outputs", found: 0, needed: 1, why });
    }
    loss.check()?;
    targets.check(loss, rows as u64, columns as u64)?;
    let outputs = outputs.mapv(f64::from);
    let rated = reference::loss(loss, &outputs, targets);
    let mean_loss = rated.row_losses.sum() / rows as f64;
    let mut evaluation = Evaluation { loss: mean_loss, accuracy: None, rmse: None, r2: None };
    match targets {
        Targets::Values(targets) if !loss.has_accuracy() => {
            let targets = targets.iter().map(|&target| target.into()).collect();
            let targets = Array2::from_shape_vec(outputs.dim(), targets).expect("checked targets");
            let squares = (&targets - &outputs).powi(2);
            evaluation.rmse = squares.mean().map(f64::sqrt);
            evaluation.r2 = r2(&targets, &squares);
        }
        Targets::Values(_) | Targets::Classes(_) => {
            evaluation.accuracy = Some(rated.row_accuracies.sum() / rows as f64);
        }
    }
    Ok(evaluation)
}

/// The mean of the outputs' coefficients of determination. None for a single row.
fn r2(targets: &Array2<f64>, squares: &Array2<f64>) -> Option<f64> {
    if targets.nrows() < 2 {
        return None;
    }
    let error = squares.sum_axis(Axis(0));
    let spread = (targets - &targets.mean_axis(Axis(0))?).powi(2).sum_axis(Axis(0));
    let of_output = |&error: &f64, &spread: &f64| match spread {
        0.0 if error == 0.0 => 1.0,
        0.0 => 0.0,
        _ => 1.0 - error / spread,
    };
    Zip::from(&error).and(&spread).map_collect(of_output).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;
    use ndarray::array;

    #[test]
    fn cross_entropy_has_an_accuracy() {
        let outputs = array![[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 1.0, 0.0]];
        let targets = Targets::from(&[0, 1, 0]);
        let found = evaluate(&outputs, &targets, Loss::SoftmaxCrossEntropy).unwrap();
        // log(1 + e⁻¹ + e⁻²), the same plus 1, and log(2 + e⁻¹).
        let expected = (0.407_605_964_4 + 1.407_605_964_4 + 0.861_994_804) / 3.0;
        assert_abs_diff_eq!(found.loss, expected, epsilon = 1e-9);
        assert_eq!(found.accuracy, Some(2.0 / 3.0), "the first of equal outputs counts");
        assert_eq!((found.rmse, found.r2), (None, None));

        let outputs = array![[1.0, -1.0], [-1.0, 0.0]];
        let targets = Targets::from(&[1.0, 1.0, 0.0, 0.0]);
        let found = evaluate(&outputs, &targets, Loss::BinaryCrossEntropy).unwrap();
        // log(1 + e⁻¹) twice, log(1 + e) and log 2.
        let expected = (2.0 * 0.313_261_687_5 + 1.313_261_687_5 + std::f64::consts::LN_2) / 4.0;
        assert_abs_diff_eq!(found.loss, expected, epsilon = 1e-9);
        assert_eq!(found.accuracy, Some(0.75));
    }

    /// The numbers of scikit-learn 1.9.1:
    ///
    /// ```python
    /// from sklearn.metrics import mean_squared_error, r2_score
    /// targets = [[0.5, 1], [-1, 1], [7, 1]]
    /// outputs = [[0, 2], [-1, 2], [8, 1]]
    /// print(mean_squared_error(targets, outputs), r2_score(targets, outputs))
    /// print(r2_score([[1], [1]], [[1], [1]]), r2_score([[1], [1]], [[1], [2]]))
    /// ```
    #[test]
    fn mean_squared_error_has_rmse_and_r2() {
        let evaluate = |outputs: Array2<f32>, targets: &[f32]| {
            evaluate(&outputs, &targets.into(), Loss::MeanSquaredError).unwrap()
        };
        let outputs = array![[0.0, 2.0], [-1.0, 2.0], [8.0, 1.0]];
        let found = evaluate(outputs, &[0.5, 1.0, -1.0, 1.0, 7.0, 1.0]);
        assert_abs_diff_eq!(found.loss, 0.541_666_666_666_666_6, epsilon = 1e-12);
        assert_abs_diff_eq!(found.rmse.unwrap(), found.loss.sqrt(), epsilon = 1e-12);
        assert_abs_diff_eq!(found.r2.unwrap(), 0.482_718_894_009_216_6, epsilon = 1e-12);
        assert_eq!(found.accuracy, None);

        assert_eq!(evaluate(array![[1.0], [1.0]], &[1.0, 1.0]).r2, Some(1.0));
        assert_eq!(evaluate(array![[1.0], [2.0]], &[1.0, 1.0]).r2, Some(0.0));
        assert_eq!(evaluate(array![[1.0]], &[1.0]).r2, None, "one row has no spread");
    }

    #[test]
    fn every_loss_of_numbers_has_the_same_rmse_and_r2() {
        let outputs = array![[0.0, 2.0], [-1.0, 2.0], [8.0, 1.0]];
        let targets = [0.5, 1.0, -1.0, 1.0, 7.0, 1.0];
        let found = Loss::ALL.into_iter().filter(|loss| !loss.has_accuracy()).map(|loss| {
            let found = evaluate(&outputs, &(&targets).into(), loss).unwrap();
            assert_eq!(found.accuracy, None);
            (found.rmse, found.r2)
        });
        let found: Vec<_> = found.collect();
        assert!(found.len() > 1 && found.iter().all(|pair| *pair == found[0]), "{found:?}");
    }

    #[test]
    fn targets_must_fit_the_outputs() {
        let message = |outputs: Array2<f32>, targets: Targets<'_>, loss| {
            evaluate(&outputs, &targets, loss).unwrap_err().to_string()
        };
        let outputs = Array2::zeros([2, 3]);
        let found = message(outputs.clone(), (&[0, 3]).into(), Loss::SoftmaxCrossEntropy);
        assert!(found.contains("row 1 is class 3") && found.contains("3 classes"), "{found}");
        let found = message(outputs.clone(), (&[0]).into(), Loss::SoftmaxCrossEntropy);
        assert!(found.contains("1 values") && found.contains("2 are needed"), "{found}");
        let found = message(outputs.clone(), (&[0.0; 5]).into(), Loss::MeanSquaredError);
        assert!(found.contains("5 values") && found.contains("6 are needed"), "{found}");
        let found = message(outputs.clone(), (&[0, 1]).into(), Loss::BinaryCrossEntropy);
        assert!(found.contains("got one class index"), "{found}");
        let found = message(outputs.clone(), (&[0.0; 6]).into(), Loss::SoftmaxCrossEntropy);
        assert!(found.contains("got one value"), "{found}");
        for none in [1.001, -0.1, f32::INFINITY, f32::NAN] {
            let targets = [0.0, 1.0, 0.5, 0.0, 1.0, none];
            let found = message(outputs.clone(), (&targets).into(), Loss::BinaryCrossEntropy);
            let expected = format!("row 1, column 2 is {none}, but binary-cross-entropy needs it");
            assert!(found.contains(&expected) && found.contains("between 0 and 1"), "{found}");
        }
        let found = message(Array2::zeros([0, 3]), (&[0; 0]).into(), Loss::SoftmaxCrossEntropy);
        assert!(found.contains("0 rows × 3"), "{found}");
    }
}

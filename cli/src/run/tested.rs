//! The result of a test whose rows are evaluated in pieces.

use ztilde::{Evaluation, Targets};

use crate::data::Statistics;

/// The sums over the parts of a test; losses and accuracies are multiplied by their rows.
pub(crate) struct Tested {
    rows: f64,
    loss: f64,
    accuracy: Option<f64>,
    /// The squared errors, if the targets are numbers.
    squares: Option<f64>,
    /// The sums over the targets, if they are numbers.
    targets: Statistics,
}

impl Tested {
    pub(crate) const fn new() -> Self {
        Self { rows: 0.0, loss: 0.0, accuracy: None, squares: None, targets: Statistics::NONE }
    }

    pub(crate) fn take(&mut self, part: &Evaluation, targets: &Targets<'_>) {
        let rows = targets.len() as f64;
        self.rows += rows;
        self.loss += part.loss * rows;
        if let Some(accuracy) = part.accuracy {
            *self.accuracy.get_or_insert(0.0) += accuracy * rows;
        }
        if let Some(rmse) = part.rmse {
            *self.squares.get_or_insert(0.0) += rmse * rmse * rows;
        }
        if let Targets::Values(values) = targets {
            values.iter().for_each(|&value| self.targets.take(value.into()));
        }
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        let loss = self.loss / self.rows;
        let accuracy = self.accuracy.map(|accuracy| accuracy / self.rows);
        let rmse = self.squares.map(|squares| (squares / self.rows).sqrt());
        // As in ztilde::evaluate: targets that are all equal have no spread.
        let spread = self.targets.squares();
        let squares = self.squares.filter(|_| spread > 0.0);
        let r2 = squares.map(|squares| 1.0 - squares / spread);
        Evaluation { loss, accuracy, rmse, r2 }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use ztilde::Loss;

    use super::*;

    #[test]
    fn a_test_in_parts_is_that_of_the_whole() {
        let outputs = Array2::from_shape_fn((7, 1), |(row, _)| (row as f32 * 1.7).sin());
        let targets: Vec<f32> = (0..7).map(|row| row as f32 / 3.0).collect();
        let loss = Loss::MeanSquaredError;
        let whole = ztilde::evaluate(&outputs, &(&targets).into(), loss).unwrap();
        let mut tested = Tested::new();
        for rows in [0..3, 3..4, 4..7] {
            let part = Targets::from(&targets[rows.clone()]);
            let outputs = outputs.slice(ndarray::s![rows, ..]).to_owned();
            tested.take(&ztilde::evaluate(&outputs, &part, loss).unwrap(), &part);
        }
        let found = tested.evaluation();
        assert!((found.loss - whole.loss).abs() < 1e-12, "{found:?} {whole:?}");
        assert!((found.rmse.unwrap() - whole.rmse.unwrap()).abs() < 1e-12);
        assert!((found.r2.unwrap() - whole.r2.unwrap()).abs() < 1e-12, "{found:?} {whole:?}");
    }
}

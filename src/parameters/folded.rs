//! Batch normalization folded into weights and biases.

use ndarray::{Array1, Axis};

use super::{Layer, Parameters};

impl Parameters {
    /// The same network for inference alone, with every layer linear: batch normalization with the
    /// running statistics is one more linear map, folded into
    ///
    /// ```text
    /// weights' = weights · gamma / √(running_var + epsilon)        row by row
    /// biases'  = beta − running_mean · gamma / √(running_var + epsilon)
    /// ```
    ///
    /// in double precision, rounded once. The outputs in inference are the same up to rounding.
    ///
    /// The folded network loses gamma, beta and the statistics. It can be trained further, but as a
    /// network without batch normalization. Layers without batch normalization stay unchanged.
    #[must_use]
    pub fn folded(&self) -> Self {
        let layers = self.layers.iter().map(|layer| layer.folded(self.epsilon)).collect();
        Self { layers, notes: self.notes.clone(), ..*self }
    }
}

impl Layer {
    fn folded(&self, epsilon: f32) -> Self {
        let Self::Normalized { weights, batch_norm } = self else { return self.clone() };
        let in_double = |vector: &Array1<f32>| vector.mapv(f64::from);
        let deviation = (in_double(&batch_norm.running_var) + f64::from(epsilon)).sqrt();
        let scale = in_double(&batch_norm.gamma) / deviation;
        let weights = weights.mapv(f64::from) * scale.view().insert_axis(Axis(1));
        let biases = in_double(&batch_norm.beta) - in_double(&batch_norm.running_mean) * scale;
        let rounded = |value: f64| value as f32;
        Self::Linear { weights: weights.mapv(rounded), biases: biases.mapv(rounded) }
    }
}

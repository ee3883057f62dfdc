//! Applies a trained network to rows in memory.

use ndarray::{Array2, ArrayView1};
use wgpu::Device;
use ztilde::{Inference, Network};

use crate::failure::Failure;

/// The number of outputs that are computed together.
const OUTPUTS: usize = 1 << 22;

/// The number of rows that are computed together.
pub(crate) fn rows_at_once(network: &Network) -> u32 {
    (OUTPUTS / network.outputs() as usize).max(1) as u32
}

/// The outputs for rows that are stored one after the other, with one row of outputs for each.
pub(crate) fn outputs(
    device: &Device,
    network: &Network,
    inputs: &[f32],
) -> Result<Array2<f32>, Failure> {
    let outputs = ztilde::block_on(device, Inference::predict(network, inputs))?;
    let shape = (inputs.len() / network.inputs() as usize, network.outputs() as usize);
    Array2::from_shape_vec(shape, outputs)
        .map_err(|error| Failure::device(format!("the outputs: {error}")))
}

/// Refuses outputs that are not finite. `before` is the number of earlier rows.
pub(crate) fn check_finite(outputs: &Array2<f32>, before: u64) -> Result<(), Failure> {
    let found = outputs.indexed_iter().find(|(_, output)| !output.is_finite());
    let Some(((row, _), output)) = found else { return Ok(()) };
    Err(Failure::input(format!(
        "row {}: the network's output is {output}: the row's numbers are too large, or the network is broken",
        before + row as u64 + 1
    )))
}

/// The index of the first of the largest outputs.
pub(crate) fn largest(outputs: ArrayView1<'_, f32>) -> usize {
    let larger = |best, place| if outputs[place] > outputs[best] { place } else { best };
    (0..outputs.len()).fold(0, larger)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn outputs_that_are_not_finite_are_refused() {
        let finite = array![[0.0, f32::MAX], [-1.0, 2.0]];
        check_finite(&finite, 0).unwrap();
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = check_finite(&array![[0.0, 1.0], [2.0, broken]], 7).unwrap_err();
            let expected = format!("row 9: the network's output is {broken}:");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn the_first_of_equal_outputs_is_the_largest() {
        assert_eq!(largest(array![-1.0_f32, 3.0, 3.0].view()), 1);
        assert_eq!(largest(array![f32::MIN].view()), 0);
    }
}

//! The errors for numbers that are not finite.

use ztilde::Fault;

use crate::failure::Failure;

/// Names the step, the layer (of this many) and the quantity at which the training has stopped.
pub(crate) fn diverged(fault: Fault, layers: usize) -> Failure {
    let Fault { step, layer, quantity } = fault;
    let place = match layer {
        None => String::new(),
        Some(layer) if layer == layers => " of the output layer".to_owned(),
        Some(layer) => format!(" of hidden layer {layer}"),
    };
    after(&format!("in step {step} {quantity}{place} is not finite"))
}

/// For a test whose loss is not finite, although the parameters are.
pub(crate) fn diverged_in_test(loss: f64) -> Failure {
    after(&format!("the test loss is {loss}"))
}

fn after(seen: &str) -> Failure {
    let advice = "A smaller --learning-rate or a --clip-norm may help";
    Failure::diverged(format!("training diverged: {seen}. {advice}"))
}

#[cfg(test)]
mod tests {
    use ztilde::Quantity;

    use super::*;

    #[test]
    fn names_step_layer_and_quantity() {
        let message = |layer, quantity| {
            let fault = Fault { step: 57, layer, quantity };
            diverged(fault, 3).to_string()
        };
        for (layer, quantity, expected) in [
            (Some(2), Quantity::GradGamma, "in step 57 the gradient of gamma of hidden layer 2 is"),
            (Some(3), Quantity::Loss, "in step 57 the loss of the output layer is not finite"),
            (None, Quantity::Update, "in step 57 a parameter after the update is not finite"),
        ] {
            let found = message(layer, quantity);
            assert!(found.contains(expected), "{found}");
        }
    }
}

//! Which kernels compute the layers changes no bit of the outputs.

use ndarray::Array1;

use super::*;
use crate::gpu::block_on;
use crate::gpu::testing::TestGpu;
use crate::options::Activation;
use crate::parameters::{BatchNorm, Layer, Parameters};

/// A network none of whose vectors is of round numbers.
fn parameters(sizes: &[u32], options: NetworkOptions) -> Parameters {
    let mut parameters = Parameters::initialize(sizes, &options).unwrap();
    let change = |vector: &mut Array1<f32>| {
        for (index, value) in vector.indexed_iter_mut() {
            *value += 0.37 * (index as f32 + 0.1).sin();
        }
    };
    for layer in &mut parameters.layers {
        match layer {
            Layer::Linear { biases, .. } => change(biases),
            Layer::Normalized { batch_norm, .. } => {
                let BatchNorm { gamma, beta, running_mean, running_var, .. } = batch_norm;
                [gamma, beta, running_mean, running_var].into_iter().for_each(change);
            }
        }
    }
    parameters
}

#[test]
fn every_plan_gives_the_same_bits() {
    for gpu in [TestGpu::new().gpu, TestGpu::with_subgroups().gpu] {
        for (sizes, activation, batch_norm) in [
            (&[2, 16, 16, 3][..], Activation::Relu, true),
            (&[2, 4, 2, 3], Activation::LeakyRelu, false),
            (&[5, 7, 17, 1], Activation::Gelu, true),
            (&[3, 4, 4], Activation::Mish, false),
            (&[32, 17, 5], Activation::Tanh, true),
        ] {
            let options = NetworkOptions { activation, batch_norm, ..Default::default() };
            let parameters = parameters(sizes, options);
            let mut network =
                Network::from_parameters(&gpu.device, &gpu.queue, &parameters).unwrap();
            let values = 130 * sizes[0];
            let inputs: Vec<f32> = (0..values).map(|value| (value as f32 * 0.7).sin()).collect();
            let mut bits = |plan| {
                network.follow(plan, &parameters).unwrap();
                let outputs = block_on(&gpu.device, Inference::predict(&network, &inputs)).unwrap();
                outputs.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let expected = bits(InferencePlan::Layers);
            for plan in [InferencePlan::InOne, InferencePlan::Narrow] {
                let found = bits(plan);
                let place =
                    found.iter().zip(&expected).position(|(found, expected)| found != expected);
                assert_eq!(place, None, "a bit of {plan:?}: {sizes:?}, {activation:?}");
            }
        }
    }
}

//! Each operator with the kernels that compute it, and each optimizer with its twin.

mod batch_norm;
mod loss;
mod optimizers;
mod products;

use std::error::Error;

use ztilde::Activation;
use ztilde::kernels::activate::{self, Activate};

use crate::case::Case;
use crate::gpu::Gpu;

/// The operators of ONNX that the library computes.
pub(crate) const OPERATORS: [&str; 15] = [
    "BatchNormalization",
    "SoftmaxCrossEntropyLoss",
    "Adam",
    "Momentum",
    "Relu",
    "LeakyRelu",
    "Gelu",
    "Elu",
    "Mish",
    "Softplus",
    "Swish",
    "Sigmoid",
    "Tanh",
    "Gemm",
    "MatMul",
];

/// The result of replaying a case.
pub(crate) enum Replay {
    /// The outputs of each way to compute the case, with the name of the way (empty if there is only
    /// one).
    Outputs(Vec<(&'static str, Vec<Vec<f32>>)>),
    /// The reason why the case does not apply.
    DoesNotApply(String),
}

pub(crate) type Replayed = Result<Replay, Box<dyn Error>>;

pub(crate) fn replay(gpu: &Gpu, case: &Case) -> Replayed {
    if let Some(reason) = case.foreign_type() {
        return does_not_apply(reason);
    }
    match case.operator() {
        "BatchNormalization" => batch_norm::replay(gpu, case),
        "SoftmaxCrossEntropyLoss" => loss::replay(gpu, case),
        "Adam" => optimizers::adam(case),
        "Momentum" => optimizers::momentum(case),
        "Gemm" => products::gemm(gpu, case),
        "MatMul" => products::matmul(gpu, case),
        _ => match activation(case) {
            Ok(activation) => activate(gpu, case, activation),
            Err(reason) => does_not_apply(reason),
        },
    }
}

fn does_not_apply(reason: impl Into<String>) -> Replayed {
    Ok(Replay::DoesNotApply(reason.into()))
}

fn outputs(outputs: Vec<Vec<f32>>) -> Replayed {
    Ok(Replay::Outputs(vec![("", outputs)]))
}

/// The activation of the case, or the reason why the library lacks it.
fn activation(case: &Case) -> Result<Activation, String> {
    match case.operator() {
        "Relu" => Ok(Activation::Relu),
        "Sigmoid" => Ok(Activation::Sigmoid),
        "Tanh" => Ok(Activation::Tanh),
        "LeakyRelu" => match case.float("alpha", 0.01) {
            Activation::NEGATIVE_SLOPE => Ok(Activation::LeakyRelu),
            other => Err(format!("slope {other}: ours is {}", Activation::NEGATIVE_SLOPE)),
        },
        "Gelu" => match &*case.text("approximate", "none") {
            "none" => Ok(Activation::Gelu),
            "tanh" => Ok(Activation::GeluTanh),
            other => Err(format!("approximated by {other}: ours are exact, or by tanh")),
        },
        "Elu" => match case.float("alpha", 1.0) {
            1.0 => Ok(Activation::Elu),
            other => Err(format!("alpha {other}: ours is 1")),
        },
        "Mish" => Ok(Activation::Mish),
        "Softplus" => Ok(Activation::Softplus),
        "Swish" => match case.float("alpha", 1.0) {
            1.0 => Ok(Activation::Silu),
            other => Err(format!("alpha {other}: ours is 1")),
        },
        other => Err(format!("no kernel is written down for {other}")),
    }
}

fn activate(gpu: &Gpu, case: &Case, activation: Activation) -> Replayed {
    let values = case.inputs[0].floats();
    let (_, inputs) = gpu.vector(values)?;
    let (found, results) = gpu.vector(&vec![0.0_f32; values.len()])?;
    let buffers = activate::Buffers { inputs: &inputs, outputs: &results };
    gpu.run(&[Activate::new(&gpu.device, activation)?.bind(&gpu.device, "node", buffers)?]);
    outputs(vec![gpu.read(&found)])
}

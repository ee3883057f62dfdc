//! Model files in, model files out: training and inference for a program in another language.
//!
//! ```sh
//! cargo run --release --package programs --bin exchange -- adopt state_dict.safetensors gelu model.safetensors
//! cargo run --release --package programs --bin exchange -- predict model.safetensors inputs.safetensors outputs.safetensors
//! cargo run --release --package programs --bin exchange -- train snapshot.safetensors batches.safetensors folder
//! ```
//!
//! `adopt` reads PyTorch's file of a network, which lacks the activation, and writes a model that has
//! it. `predict` applies a model to the tensor `inputs`. `train` continues from a snapshot: it takes a
//! step on `inputs.0` and `targets.0`, one on `inputs.1` and `targets.1`, and so on. It prints each
//! step's loss, and writes the snapshots after each step, `0.safetensors`, `1.safetensors`, …, and
//! finally `model.safetensors`.
//!
//! `scripts/check-pytorch` compares the results with PyTorch's from the same files.

use std::error::Error;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use wgpu::{Device, DeviceDescriptor, Features, Queue};
use ztilde::{Activation, Inference, Network, Parameters, Snapshot, Targets, Trainer, block_on};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words {
        ["adopt", state, activation, model] => adopt(state, activation, model),
        ["predict", model, inputs, outputs] => predict(model, inputs, outputs),
        ["train", snapshot, batches, folder] => train(snapshot, batches, Path::new(folder)),
        _ => Err("adopt STATE ACTIVATION MODEL, predict MODEL INPUTS OUTPUTS, \
                  or train SNAPSHOT BATCHES FOLDER"
            .into()),
    }
}

fn adopt(state: &str, activation: &str, model: &str) -> Result<()> {
    let mut parameters = Parameters::load(state)?;
    parameters.activation = Activation::from_name(activation).ok_or("no such activation")?;
    Ok(parameters.save(model)?)
}

fn predict(model: &str, inputs: &str, outputs: &str) -> Result<()> {
    let (device, queue) = device()?;
    let network = Network::from_parameters(&device, &queue, &Parameters::load(model)?)?;
    let bytes = fs::read(inputs)?;
    let rows = floats(&SafeTensors::deserialize(&bytes)?.tensor("inputs")?)?;
    let found = block_on(&device, Inference::predict(&network, &rows))?;
    let columns = network.outputs() as usize;
    let shape = vec![found.len() / columns, columns];
    let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&found))?;
    Ok(serialize_to_file([("outputs", view)], None, Path::new(outputs))?)
}

fn train(snapshot: &str, batches: &str, folder: &Path) -> Result<()> {
    let (device, queue) = device()?;
    let mut trainer = Trainer::restore(&device, &queue, &Snapshot::load(snapshot)?)?;
    let bytes = fs::read(batches)?;
    let batches = SafeTensors::deserialize(&bytes)?;
    for step in 0.. {
        let Ok(inputs) = batches.tensor(&format!("inputs.{step}")) else { break };
        let targets = batches.tensor(&format!("targets.{step}"))?;
        let targets: Targets = match targets.dtype() {
            Dtype::I64 => classes(&targets)?.into(),
            _ => floats(&targets)?.into(),
        };
        trainer.step(&floats(&inputs)?, targets)?;
        println!("{:e}", block_on(&device, trainer.loss())?);
        let snapshot = block_on(&device, trainer.snapshot())?;
        snapshot.save(folder.join(format!("{step}.safetensors")))?;
    }
    let parameters = block_on(&device, trainer.network().parameters())?;
    Ok(parameters.save(folder.join("model.safetensors"))?)
}

fn device() -> Result<(Device, Queue)> {
    let instance = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(instance);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let required_features = adapter.features() & Features::SUBGROUP;
    let descriptor = DeviceDescriptor { required_features, ..Default::default() };
    Ok(pollster::block_on(adapter.request_device(&descriptor))?)
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("a tensor of {:?}, but F32 is needed", tensor.dtype()).into());
    }
    Ok(bytemuck::pod_collect_to_vec(tensor.data()))
}

fn classes(tensor: &TensorView<'_>) -> Result<Vec<u32>> {
    let (numbers, _) = tensor.data().as_chunks();
    let class = |&bytes: &[u8; 8]| u32::try_from(i64::from_le_bytes(bytes));
    Ok(numbers.iter().map(class).collect::<std::result::Result<_, _>>()?)
}

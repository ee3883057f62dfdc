//! Gemm and `MatMul`.

use ztilde::kernels::add_biases::{self, AddBiases};
use ztilde::kernels::matmul::{self, Matmul, Operand};

use super::{Replayed, does_not_apply, outputs};
use crate::case::Case;
use crate::gpu::Gpu;

/// The rows and columns of a matrix in memory, and whether it is transposed.
#[derive(Clone, Copy)]
struct Factor([u32; 2], bool);

pub(super) fn gemm(gpu: &Gpu, case: &Case) -> Replayed {
    for name in ["alpha", "beta"] {
        let scale = case.float(name, 1.0);
        if scale != 1.0 {
            return does_not_apply(format!("{name} {scale}: no kernel scales a product or a bias"));
        }
    }
    let factor = |index: usize, name: &str| match *case.inputs[index].shape {
        [rows, columns] => Ok(Factor([rows, columns], case.integer(name) == Some(1))),
        _ => Err(format!("input {index} of Gemm is not a matrix")),
    };
    let factors = [factor(0, "transA")?, factor(1, "transB")?];
    let columns = *case.outputs[0].shape.last().ok_or("an output of Gemm without columns")?;
    match case.inputs.get(2).map(|bias| (&*bias.shape, bias.floats())) {
        None => product(gpu, case, factors, None),
        Some(([] | [1] | [1, 1], &[bias])) => {
            product(gpu, case, factors, Some(&vec![bias; columns as usize]))
        }
        Some(([length] | [1, length], biases)) if *length == columns => {
            product(gpu, case, factors, Some(biases))
        }
        Some((shape, _)) => does_not_apply(format!("a bias of {shape:?}: ours has one per column")),
    }
}

pub(super) fn matmul(gpu: &Gpu, case: &Case) -> Replayed {
    let [left, right] = [0, 1].map(|index| &*case.inputs[index].shape);
    // All left matrices have the same right factor, so their rows form one matrix.
    let left = match left {
        [inner] => [1, *inner],
        [rows @ .., inner] => [rows.iter().product(), *inner],
        [] => return does_not_apply("a scalar"),
    };
    let right = match right {
        [inner] => [*inner, 1],
        [inner, columns] => [*inner, *columns],
        shape => {
            return does_not_apply(format!("right factors of {shape:?}: ours is one matrix"));
        }
    };
    product(gpu, case, [left, right].map(|shape| Factor(shape, false)), None)
}

fn product(gpu: &Gpu, case: &Case, factors: [Factor; 2], biases: Option<&[f32]>) -> Replayed {
    let Gpu { device, .. } = gpu;
    let shape = |Factor([rows, columns], is_transposed): Factor| {
        if is_transposed { [columns, rows] } else { [rows, columns] }
    };
    let [[rows, _], [_, columns]] = factors.map(shape);
    let left = gpu.matrix(case.inputs[0].floats(), factors[0].0)?;
    let right = gpu.matrix(case.inputs[1].floats(), factors[1].0)?;
    let (found, sums) = gpu.matrix(&vec![0.0_f32; (rows * columns) as usize], [rows, columns])?;
    let operand = |matrix, Factor(_, is_transposed): Factor| {
        if is_transposed { Operand::Transposed(matrix) } else { Operand::Plain(matrix) }
    };
    let [left, right] = [operand(&left.1, factors[0]), operand(&right.1, factors[1])];
    let buffers = matmul::Buffers { left, right, outputs: &sums };
    let mut dispatches = vec![Matmul::new(device)?.bind(device, "node", buffers)?];
    if let Some(biases) = biases {
        let (_, biases) = gpu.vector(biases)?;
        let buffers = add_biases::Buffers { biases: &biases, sums: &sums };
        dispatches.push(AddBiases::new(device)?.bind(device, "node", buffers)?);
    }
    gpu.run(&dispatches);
    outputs(vec![gpu.read(&found)])
}

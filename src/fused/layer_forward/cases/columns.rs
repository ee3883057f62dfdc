//! Columns whose digits are easily lost.

use super::*;
use crate::kernels::normalize::cases::{hard_columns, lopsided_columns};

/// Batches of several numbers of rows, through identity weights, so that their columns are the sums.
fn compare_columns(
    gpu: &mut TestGpu,
    (class, tiling): (DeviceClass, Tiling),
    columns: impl Fn(&mut TestGpu, u32) -> Array2<f64>,
    bounds: Bounds,
) {
    let _kernels = KernelCache::new(&gpu.gpu.device);
    for is_divided in [true, false] {
        let way = Way { activation: Activation::Identity, is_divided, ..batch() };
        for rows in [2, 3, 33, 60, 1000, 20_000] {
            let inputs = columns(gpu, rows);
            let columns = inputs.ncols();
            let layer = Layer::Normalized {
                weights: Array2::eye(columns),
                gamma: Array1::ones(columns),
                beta: Array1::zeros(columns),
                running_mean: Array1::zeros(columns),
                running_var: Array1::ones(columns),
                batches: 0,
            };
            let loops =
                u64::from(tiling.row_patches(rows)) * tiling.rounds_of_patch(columns as u32);
            if is_divided || gpu.gpu.class.can_loop(loops) {
                compare(gpu, (class, tiling), way, &inputs, &layer, bounds);
            }
        }
    }
}

pub(crate) fn hard_columns_normalize_within_1e_5(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    // Up to 625 tiles are joined. Where the values are few floats apart, the roundings of the sum of
    // their squares do not cancel, even with exact quotients: in 300 random columns 2.3e-6 on average,
    // 3.9e-6 at most. A rough quotient adds 3e-7.
    let bounds = Bounds { variance: 5e-6, ..Bounds::new(1e-5, 0.0) };
    compare_columns(gpu, of, hard_columns, bounds);
}

pub(crate) fn lopsided_columns_normalize(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    // An odd row's ẑ reaches 141. 313 tiles are joined. Each rounds the mean's distance from the first
    // rows, up to 4 deviations, and the sum of the squares, by 2⁻²⁵ of it. The root halves that error,
    // and adds its own.
    let bounds = Bounds { outputs: [1e-5, 6e-6], mean: 1e-5, variance: 1e-5 };
    compare_columns(gpu, of, |_, rows| lopsided_columns(rows), bounds);
}

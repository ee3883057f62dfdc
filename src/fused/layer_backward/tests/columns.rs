//! Columns whose digits are easily lost.

use super::*;

/// Hard sums with easy gradients; then gradients with means that are large against their deviations,
/// on easy sums. Through identity weights, so that `next_grad_sums` are the gradients of the outputs.
#[test]
fn hard_columns_keep_their_digits() {
    let whole = whole(Activation::Identity, true);
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        let _kernels = KernelCache::new(&gpu.gpu.device);
        for rows in [2, 3, 33, 60, 1000, 20_000] {
            for way in [whole, divided(whole, GradWeights::None)] {
                let hard = hard_columns(&mut gpu, rows);
                let columns = hard.ncols();
                if !way.is_divided && !can_walk(&gpu, tiling, [rows, columns as u32, 3]) {
                    continue;
                }
                let easy = given(&mut gpu, [rows, columns as u32, columns as u32, 3]);
                let next_weights = Array2::eye(columns);
                let sums = hard.clone();
                check(&mut gpu, (class, tiling), way, &Given { sums, next_weights, ..easy });

                let easy = given(&mut gpu, [rows, columns as u32, columns as u32, 3]);
                let next_weights = Array2::eye(columns);
                let next_grad_sums = hard.mapv(|value| value.clamp(-1e6, 1e6));
                check(
                    &mut gpu,
                    (class, tiling),
                    way,
                    &Given { next_grad_sums, next_weights, ..easy },
                );
            }
        }
    }
}

/// The gradients of a normalized column's sums have mean 0. A mean left by rounding is multiplied by the
/// number of rows and the mean of the inputs in the gradients of the weights. Here the first rows, with
/// which all are compared, are unlike the others.
#[test]
fn gradients_of_a_long_column_keep_no_mean() {
    const ROWS: u32 = 20_000;
    const COLUMNS: u32 = 9;
    const SHIFT: f64 = 10.0;
    let whole = whole(Activation::Identity, true);
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        for way in [whole, divided(whole, GradWeights::None)] {
            if !way.is_divided && !can_walk(&gpu, tiling, [ROWS, COLUMNS, 1]) {
                continue;
            }
            let mut given = given(&mut gpu, [ROWS, COLUMNS, COLUMNS, 1]);
            given.next_weights = Array2::eye(COLUMNS as usize);
            given.next_grad_sums = gpu.random([ROWS, COLUMNS]);
            given.next_grad_sums.slice_mut(s![..64, ..]).mapv_inplace(|value| value + SHIFT);
            let statistics = statistics(&given.sums);
            let left = run(&mut gpu, (class, tiling), way, &given, &statistics);
            let found = gpu.read_padded("grad_sums", &left.grad_sums);
            for (column, variance) in statistics.variance.iter().enumerate() {
                let rows = found.iter().skip(column).step_by(COLUMNS as usize);
                let mean = rows.map(|&value| f64::from(value)).sum::<f64>() / f64::from(ROWS);
                let scale = given.gamma[column].abs() / (variance + f64::from(EPSILON)).sqrt();
                // The subtracted mean is off by half a unit in the last place, 5e-8. The sums of lanes
                // and of leaves round by up to 4e-8 each, which mostly cancels: 4e-8 on average.
                let bound = 1.5e-7 * SHIFT * scale;
                assert!(mean.abs() <= bound, "{tiling:?}, {way:?}: {mean:e}, above {bound:e}");
            }
        }
    }
}

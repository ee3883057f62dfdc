//! Columns whose digits are easily lost.

use super::*;

/// Hard sums with easy gradients; then gradients with means that are large against their deviations,
/// on easy sums. Through identity weights, so that `next_grad_sums` are the gradients of the outputs.
pub(crate) fn hard_columns_keep_their_digits(gpu: &mut TestGpu, of: (DeviceClass, Tiling)) {
    let whole = whole(Activation::Identity, true);
    let _kernels = KernelCache::new(&gpu.gpu.device);
    for rows in [2, 3, 33, 60, 1000, 20_000] {
        for way in [whole, divided(whole, GradWeights::None)] {
            let hard = hard_columns(gpu, rows);
            let columns = hard.ncols();
            if !way.is_divided && !can_walk(gpu, of.1, [rows, columns as u32, 3]) {
                continue;
            }
            let easy = given(gpu, [rows, columns as u32, columns as u32, 3]);
            let next_weights = Array2::eye(columns);
            let sums = hard.clone();
            compare(gpu, of, way, &Given { sums, next_weights, ..easy });

            let easy = given(gpu, [rows, columns as u32, columns as u32, 3]);
            let next_weights = Array2::eye(columns);
            let next_grad_sums = hard.mapv(|value| value.clamp(-1e6, 1e6));
            compare(gpu, of, way, &Given { next_grad_sums, next_weights, ..easy });
        }
    }
}

/// The gradients of a normalized column's sums have mean 0. A mean left by rounding is multiplied by the
/// number of rows and the mean of the inputs in the gradients of the weights. Here the first rows, with
/// which all are compared, are unlike the others.
pub(crate) fn gradients_of_a_long_column_keep_no_mean(
    gpu: &mut TestGpu,
    (class, tiling): (DeviceClass, Tiling),
) {
    const ROWS: u32 = 20_000;
    const COLUMNS: u32 = 9;
    const SHIFT: f64 = 10.0;
    let whole = whole(Activation::Identity, true);
    for way in [whole, divided(whole, GradWeights::None)] {
        if !way.is_divided && !can_walk(gpu, tiling, [ROWS, COLUMNS, 1]) {
            continue;
        }
        let mut given = given(gpu, [ROWS, COLUMNS, COLUMNS, 1]);
        given.next_weights = Array2::eye(COLUMNS as usize);
        given.next_grad_sums = gpu.random([ROWS, COLUMNS]);
        given.next_grad_sums.slice_mut(s![..64, ..]).mapv_inplace(|value| value + SHIFT);
        let statistics = statistics(&given.sums);
        let left = run(gpu, (class, tiling), way, &given, &statistics);
        let found = gpu.read_padded("grad_sums", &left.grad_sums);
        let mean = |column: usize| {
            let rows = found.iter().skip(column).step_by(COLUMNS as usize);
            (rows.map(|&value| f64::from(value)).sum::<f64>() / f64::from(ROWS)) as f32
        };
        let means: Vec<f32> = (0..COLUMNS as usize).map(mean).collect();
        // The subtracted mean is off by half a unit in the last place, 5e-8. The sums of lanes
        // and of leaves round by up to 4e-8 each, which mostly cancels: 4e-8 on average.
        let inverse_std = statistics.variance.mapv(|x| (x + f64::from(EPSILON)).sqrt().recip());
        let bounds = 1.5e-7 * SHIFT * given.gamma.mapv(f64::abs) * inverse_std;
        let what = format!("{tiling:?}, {way:?}, {ROWS} rows: means of grad_sums");
        gpu.compare_within(&what, &means, &Array1::zeros(COLUMNS as usize), &bounds);
    }
}

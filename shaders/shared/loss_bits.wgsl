// Loss bits: the loss and accuracy of a row, and of a batch, as bits. Needs magnitudes.wgsl.
//
// A loss may be NaN. A compiler with fast math may assume that no float is NaN, and compute any result from
// such a loss. So NaN is written as an integer, and rows whose loss is NaN are counted.

fn loss_bits(loss: f32, accuracy: f32, is_nan: bool) -> vec2<u32> {
    return vec2<u32>(select(bits_of(loss), NOT_A_NUMBER, is_nan), bits_of(accuracy));
}

// Adds a row to the sums of the losses and of the accuracies, and to the number of rows whose loss is
// NaN.
fn with_row(sum: vec3<f32>, row: vec2<u32>) -> vec3<f32> {
    let is_nan = is_nan(bitcast<f32>(row.x));
    let loss = select(bitcast<f32>(row.x), 0.0, is_nan);
    return sum + vec3<f32>(loss, bitcast<f32>(row.y), select(0.0, 1.0, is_nan));
}

fn mean_bits(sum: vec3<f32>, rows: u32) -> vec2<u32> {
    let mean = sum.xy / f32(rows);
    return loss_bits(mean.x, mean.y, sum.z > 0.0);
}

// The magnitude of the loss that note_fault compares.
fn loss_magnitude(bits: vec2<u32>) -> vec4<u32> {
    return magnitudes(vec4<f32>(bitcast<f32>(bits.x)));
}

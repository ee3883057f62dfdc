// Loss bits: the loss and accuracy of a row, and of a batch, as bits. Needs magnitudes.wgsl.
//
// A loss may be NaN, which a compiler with fast math takes for impossible in a float: what is computed with
// it is whatever the compiler likes. So NaN is written as a number, and rows with such a loss are counted.

fn loss_bits(loss: f32, accuracy: f32, is_nan: bool) -> vec2<u32> {
    return vec2<u32>(select(bits_of(loss), NOT_A_NUMBER, is_nan), bits_of(accuracy));
}

// The sum of losses and of accuracies, and how many rows have a loss that is NaN.
fn with_row(sum: vec3<f32>, row: vec2<u32>) -> vec3<f32> {
    let is_nan = is_nan(bitcast<f32>(row.x));
    let loss = select(bitcast<f32>(row.x), 0.0, is_nan);
    return sum + vec3<f32>(loss, bitcast<f32>(row.y), select(0.0, 1.0, is_nan));
}

fn mean_bits(sum: vec3<f32>, rows: u32) -> vec2<u32> {
    let mean = sum.xy / f32(rows);
    return loss_bits(mean.x, mean.y, sum.z > 0.0);
}

// What a fault of the loss is noted by.
fn loss_magnitude(bits: vec2<u32>) -> vec4<u32> {
    return magnitudes(vec4<f32>(bitcast<f32>(bits.x)));
}

// The functions of batch_kept.wgsl for inference, which binds two storage buffers less: the buffer of
// outputs holds each product until its output replaces it.

fn put_product(index: u32, product: vec4<f32>) {
    outputs[index] = product;
}

fn product_at(index: u32) -> vec4<f32> {
    return outputs[index];
}

fn keep_sum(index: u32, sum: vec4<f32>) {}

fn put_statistic(index: u32, statistic: vec4<f32>) {}

fn statistic_at(index: u32) -> vec4<f32> {
    return vec4<f32>();
}

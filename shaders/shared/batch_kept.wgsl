// The sums and the statistics of a batch that layer_forward.wgsl keeps in training, as matrices of
// quads.

@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec4<f32>>;

fn put_product(index: u32, product: vec4<f32>) {
    sums[index] = product;
}

fn product_at(index: u32) -> vec4<f32> {
    return sums[index];
}

fn keep_sum(index: u32, sum: vec4<f32>) {
    sums[index] = sum;
}

fn put_statistic(index: u32, statistic: vec4<f32>) {
    statistics[index] = statistic;
}

fn statistic_at(index: u32) -> vec4<f32> {
    return statistics[index];
}

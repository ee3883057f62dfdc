// Quads: rows of a matrix are whole vectors of four, padded with zeros.

fn quads(length: u32) -> u32 {
    return (length + 3u) / 4u;
}

// A quad of columns, with zeros after the last column.
fn inside(values: vec4<f32>, quad: u32, columns: u32) -> vec4<f32> {
    let column = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), values, column < vec4<u32>(columns));
}

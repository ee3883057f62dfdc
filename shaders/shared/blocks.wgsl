// Blocks: 4 × 4 values of the factors of a product, for the tiles (tile_subgroup.wgsl and
// tile_workgroup.wgsl) that multiply them. Needs quads.wgsl.
//
// Rows of a matrix are whole vectors of four ("quads"), padded with zeros. A block of the left factor holds
// four rows, one after the other, at k, k + 1, k + 2, k + 3; a block of the right one holds the rows k, k +
// 1, k + 2, k + 3, each at the four columns of a quad. The kernel reads the factors with its functions
// left_quad and right_quad. Indices are clamped to the matrices here: rows and columns past the end repeat
// the last one, and their products must not be stored.

struct Product {
    number: u32,   // left_quad and right_quad may serve several products
    rows: u32,     // of the outputs
    columns: u32,  // of the outputs
    begin: u32,    // the first k, a multiple of four
    inner: u32,    // the last k plus 1, more than `begin`
    left: Factor,
    right: Factor,
}

struct Factor {
    first: u32,  // quads before it in its buffer
    is_transposed: bool,
}

// The quads of a block of the left factor, in memory order: rows `row` to `row` + 3, each at k to k + 3. If
// the factor is transposed: k to k + 3, each at these rows.
fn left_quads(product: Product, row: u32, k: u32) -> mat4x4<f32> {
    let number = product.number;
    if product.left.is_transposed {
        let stride = quads(product.rows);
        let first = product.left.first + min(row / 4u, stride - 1u);
        let last = product.inner - 1u;
        return mat4x4<f32>(
            left_quad(number, first + k * stride),
            left_quad(number, first + min(k + 1u, last) * stride),
            left_quad(number, first + min(k + 2u, last) * stride),
            left_quad(number, first + min(k + 3u, last) * stride),
        );
    }
    let stride = quads(product.inner);
    let first = product.left.first + k / 4u;
    let last = product.rows - 1u;
    return mat4x4<f32>(
        left_quad(number, first + min(row, last) * stride),
        left_quad(number, first + min(row + 1u, last) * stride),
        left_quad(number, first + min(row + 2u, last) * stride),
        left_quad(number, first + min(row + 3u, last) * stride),
    );
}

// The block of these quads: four rows of the left factor, each at k to k + 3.
fn left_block(product: Product, raw: mat4x4<f32>, k: u32) -> mat4x4<f32> {
    if !product.left.is_transposed {
        return raw;
    }
    // Zeros after the last k, because the right factor repeats its last row there.
    let last = product.inner - 1u;
    return transpose(mat4x4<f32>(
        raw[0],
        raw[1] * select(0.0, 1.0, k + 1u <= last),
        raw[2] * select(0.0, 1.0, k + 2u <= last),
        raw[3] * select(0.0, 1.0, k + 3u <= last),
    ));
}

// The quads of a block of the right factor, in memory order: rows k to k + 3, each at the four columns of a
// quad. If the factor is transposed: these columns, each at k to k + 3.
fn right_quads(product: Product, quad: u32, k: u32) -> mat4x4<f32> {
    let number = product.number;
    if product.right.is_transposed {
        let stride = quads(product.inner);
        let first = product.right.first + k / 4u;
        let last = product.columns - 1u;
        return mat4x4<f32>(
            right_quad(number, first + min(4u * quad, last) * stride),
            right_quad(number, first + min(4u * quad + 1u, last) * stride),
            right_quad(number, first + min(4u * quad + 2u, last) * stride),
            right_quad(number, first + min(4u * quad + 3u, last) * stride),
        );
    }
    let stride = quads(product.columns);
    let first = product.right.first + min(quad, stride - 1u);
    let last = product.inner - 1u;
    return mat4x4<f32>(
        right_quad(number, first + k * stride),
        right_quad(number, first + min(k + 1u, last) * stride),
        right_quad(number, first + min(k + 2u, last) * stride),
        right_quad(number, first + min(k + 3u, last) * stride),
    );
}

// The block of these quads: rows k to k + 3 of the right factor, each at the four columns of a quad.
fn right_block(product: Product, raw: mat4x4<f32>) -> mat4x4<f32> {
    if product.right.is_transposed {
        return transpose(raw);
    }
    return raw;
}

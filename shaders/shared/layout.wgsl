// Where the values of a matrix are: in contiguous rows, in rows some distance apart, or in images.
//
// A column is a feature, and a row is a sample. For images a column is a channel with contiguous pixels, and
// a row is a pixel of a sample: (N, C, H·W). IS_IMAGES says that some matrix holds images.

override IS_IMAGES: bool;

struct Layout {
    first: u32,          // values before the matrix
    plane: u32,          // rows of a sample: the pixels of an image, or 1
    sample_stride: u32,  // values from one sample to the next
    column_stride: u32,  // values from one feature to the next
}

fn place(matrix: Layout, row: u32, column: u32) -> u32 {
    if !IS_IMAGES {
        return matrix.first + row * matrix.sample_stride + column;
    }
    let sample = row / matrix.plane;
    let pixel = row - sample * matrix.plane;
    return matrix.first + sample * matrix.sample_stride + column * matrix.column_stride + pixel;
}

// Neighboring invocations should read neighboring values, which are in a row, or for images in a column. The
// result is the column and the row for the two numbers of an invocation or a dispatch.
fn columns_and_rows(number: vec3<u32>) -> vec2<u32> {
    return select(number.xy, number.yx, IS_IMAGES);
}

// Where the values of a matrix lie: rows one behind the other or some distance apart, or images.
//
// A column is a feature. A row is a sample; of images a row is a pixel of a sample, and a column is a
// channel, whose pixels lie one behind the other: (N, C, H·W). IS_IMAGES says that some matrix is.

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

// Neighbors read neighbors: these are in a row, or, IS_IMAGES, in a column. Of an invocation's or a
// dispatch's two numbers, the first is for the columns then, the second for the rows.
fn columns_and_rows(number: vec3<u32>) -> vec2<u32> {
    return select(number.xy, number.yx, IS_IMAGES);
}

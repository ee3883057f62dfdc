//! The comparisons of `cases` on the devices of the tests, and what they leave out.

use super::cases::{self, Case, DENSE, Normalized, compare};
use super::*;
use crate::gpu::testing::{Arrangement, TestGpu};

#[test]
fn matches_the_reference() {
    for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
        cases::matches_the_reference(&mut gpu);
    }
}

#[test]
fn every_activation_matches_the_reference() {
    let mut gpu = TestGpu::with_subgroups();
    for activation in Activation::ALL {
        for normalized in [Normalized::All, Normalized::None] {
            let case =
                Case { rows: 130, sizes: &[2, 6, 3], activation, normalized, arrangements: DENSE };
            compare(&mut gpu, case);
        }
    }
}

/// Rows of single values are read and written at any place; between them nothing changes.
#[test]
fn rows_may_be_any_distance_apart() {
    use Arrangement::{Dense, Strided};
    let mut gpu = TestGpu::with_subgroups();
    for arrangements in [[Strided; 2], [Dense, Strided], [Strided, Dense]] {
        for sizes in [&[3, 4, 5][..], &[1, 2, 1]] {
            let (activation, normalized) = (Activation::Tanh, Normalized::All);
            compare(&mut gpu, Case { rows: 77, sizes, activation, normalized, arrangements });
        }
    }
}

/// Rows of whole vectors of four or two start at such vectors, or are copied first.
#[test]
fn takes_rows_that_start_at_whole_vectors() {
    let gpu = TestGpu::new();
    let buffer = gpu.zeros([1, 1000]);
    let takes = |first, columns, stride| {
        let matrix = Matrix::strided(buffer.buffer(), first, 9, columns, stride).unwrap();
        NarrowForward::takes(&gpu.gpu.device, &matrix)
    };
    for (first, columns, stride, expected) in [
        (0, 3, 3, true),
        (5, 3, 7, true),
        (0, 2, 2, true),
        (2, 6, 8, true),
        (1, 2, 2, false),
        (0, 2, 3, false),
        (4, 4, 8, true),
        (2, 4, 8, false),
        (0, 4, 6, false),
        (68, 8, 8, true),
    ] {
        assert_eq!(takes(first, columns, stride), expected, "{first} {columns} {stride}");
    }
}

#[test]
fn walks_more_rows_than_workgroups_in_a_line() {
    let mut gpu = TestGpu::with_subgroups();
    let rows = WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 5;
    let (activation, normalized) = (Activation::Relu, Normalized::All);
    compare(
        &mut gpu,
        Case { rows, sizes: &[1, 2, 1], activation, normalized, arrangements: DENSE },
    );
}

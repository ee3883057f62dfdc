//! The kernel against its twin, and against the other kernels of inference by their bits.

use super::*;
use crate::fused::network_forward::tests::{EPSILON, Packed};
use crate::gpu::testing::{Arrangement, TestGpu, assert_close};
use crate::reference;

/// Which hidden layers are normalized.
#[derive(Clone, Copy, Debug)]
enum Normalized {
    All,
    None,
    EveryOther,
}

/// A network, and rows in the app's buffers.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    rows: u32,
    sizes: &'a [u32],
    activation: Activation,
    normalized: Normalized,
    arrangements: [Arrangement; 2],
}

const DENSE: [Arrangement; 2] = [Arrangement::Dense; 2];

fn check(gpu: &mut TestGpu, case: Case<'_>) {
    let Case { rows, sizes, activation, normalized, arrangements } = case;
    let device = gpu.gpu.device.clone();
    let packed = Packed::random(gpu, sizes, |index| match normalized {
        Normalized::All => true,
        Normalized::None => false,
        Normalized::EveryOther => index % 2 == 1,
    });
    let layers = packed.bound();
    let kernel = NarrowForward::new(&device, packed.tensors(&layers), activation, EPSILON).unwrap();
    let inputs = gpu.random([rows, sizes[0]]);
    let on_gpu = gpu.arrange(&inputs, arrangements[0]);
    let outputs = gpu.arranged([rows, *sizes.last().unwrap()], arrangements[1]);
    for matrix in [&on_gpu, &outputs] {
        assert!(NarrowForward::takes(&device, matrix), "{case:?}");
    }
    let tensors = [&packed.parameters, &packed.running];
    let dispatch = kernel.bind(&device, "test", tensors, [&on_gpu, &outputs]).unwrap();
    gpu.run(&[&dispatch]);

    let expected = reference::network_forward(&packed.layers, &inputs, activation, EPSILON.into());
    let what = format!("{case:?}");
    // Sums of up to 33 products, whose roundings mostly cancel, through a few layers. A normalized value is up
    // to twice as large as its sum, and so is its error.
    assert_close(&what, &gpu.read_arranged(&what, &outputs), &expected, 1e-5, 4e-6);
}

#[test]
fn matches_the_reference() {
    for mut gpu in [TestGpu::new(), TestGpu::with_subgroups()] {
        let activation = Activation::Relu;
        for (sizes, normalized) in [
            (&[1, 1][..], Normalized::All),
            (&[2, 16, 16, 3], Normalized::All),
            (&[3, 5, 17, 2], Normalized::None),
            (&[5, 1, 2, 3, 4], Normalized::EveryOther),
            (&[3, 32, 4], Normalized::All),
            (&[33, 6, 1], Normalized::None),
        ] {
            for rows in [1, 7, 63, 65, 1000] {
                let case = Case { rows, sizes, activation, normalized, arrangements: DENSE };
                check(&mut gpu, case);
            }
        }
    }
}

#[test]
fn every_activation_matches_the_reference() {
    let mut gpu = TestGpu::with_subgroups();
    for activation in Activation::ALL {
        for normalized in [Normalized::All, Normalized::None] {
            let case =
                Case { rows: 130, sizes: &[2, 6, 3], activation, normalized, arrangements: DENSE };
            check(&mut gpu, case);
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
            check(&mut gpu, Case { rows: 77, sizes, activation, normalized, arrangements });
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
    check(&mut gpu, Case { rows, sizes: &[1, 2, 1], activation, normalized, arrangements: DENSE });
}

//! The kernel against its twin.

use super::*;
use crate::fused::network_forward::cases::{EPSILON, Packed};
use crate::gpu::testing::{Arrangement, TestGpu};
use crate::reference;

/// Which hidden layers are normalized.
#[derive(Clone, Copy, Debug)]
pub(super) enum Normalized {
    All,
    None,
    EveryOther,
}

/// A network, and rows in the app's buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) rows: u32,
    pub(super) sizes: &'a [u32],
    pub(super) activation: Activation,
    pub(super) normalized: Normalized,
    pub(super) arrangements: [Arrangement; 2],
}

pub(super) const DENSE: [Arrangement; 2] = [Arrangement::Dense; 2];

pub(super) fn compare(gpu: &mut TestGpu, case: Case<'_>) {
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
    gpu.compare(&what, &gpu.read_arranged(&what, &outputs), &expected, 1e-5, 4e-6);
}

pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
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
            compare(gpu, case);
        }
    }
}

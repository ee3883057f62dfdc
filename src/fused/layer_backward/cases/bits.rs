//! Who computes a sum changes no bit of it.

use super::*;

const SHAPES: [[u32; 4]; 2] = [[33, 31, 10, 3], [1000, 70, 33, 40]];

/// Whether sums are split, whether it is normalized, the shape, and what was written.
type Compared = (bool, bool, [u32; 4], Written);

/// In any tiling of the class, divided or not.
pub(crate) fn are_the_same(gpu: &mut TestGpu, class: DeviceClass) {
    let mut found: Vec<(Compared, Vec<f32>)> = Vec::new();
    for tiling in Tiling::orders(class).concat() {
        for way in ways(class) {
            for shape in SHAPES {
                for (written, values) in written(gpu, (class, tiling), way, shape) {
                    let of = (tiling.is_split(), way.batch_norm, shape, written);
                    match found.iter().find(|(first, _)| *first == of) {
                        Some((_, expected)) => {
                            let what = format!("{tiling:?}, {way:?}, {shape:?}: {written:?}");
                            gpu.compare_bits(&what, &values, expected);
                        }
                        None => found.push((of, values)),
                    }
                }
            }
        }
    }
}

fn ways(class: DeviceClass) -> impl Iterator<Item = Way> {
    let of_next = GradWeights::OfNext { has_biases: true };
    [false, true].into_iter().flat_map(move |batch_norm| {
        // The activations of the comparisons with the twin, whose kernels are compiled already.
        let activation = if batch_norm { Activation::Tanh } else { Activation::Gelu };
        let whole = whole(activation, batch_norm);
        // Each place of the weights' gradients, with all rows in one workgroup and divided.
        let others = match batch_norm {
            true => [whole, divided(whole, of_next)],
            false => [Way { weights: of_next, ..whole }, divided(whole, GradWeights::None)],
        };
        // On a CPU a layer that is divided has other leaves.
        others.into_iter().filter(move |way| !(class.is_software() && way.is_divided))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    GradSums,
    /// A slab of a part of the gradients.
    Part {
        index: usize,
        slab: u32,
    },
}

/// All that the kernel writes.
fn written(
    gpu: &TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    shape: [u32; 4],
) -> Vec<(Written, Vec<f32>)> {
    let mut gpu = TestGpu::on(gpu.gpu.clone());
    let given = given(&mut gpu, shape);
    let left = run(&mut gpu, of, way, &given, &statistics(&given.sums));
    let vectors: &[usize] = if way.batch_norm { &[2, 3] } else { &[] };
    let of_weights: &[usize] = match way.weights {
        GradWeights::OfLayer if way.batch_norm => &[1],
        GradWeights::OfLayer => &[1, 3],
        GradWeights::OfNext { .. } => &[0, 6],
        GradWeights::None => &[],
    };
    let mut read = vec![(Written::GradSums, gpu.read_inside(&left.grad_sums))];
    read.extend(
        vectors
            .iter()
            .map(|&index| (Written::Part { index, slab: 0 }, gpu.read_inside(&left.part(index)))),
    );
    for &index in of_weights {
        let slabs = (0..left.count).map(|slab| {
            let part = left.part_of_slab(slab, index, of_weights[0]);
            (Written::Part { index, slab }, gpu.read_inside(&part))
        });
        read.extend(slabs);
    }
    read
}

//! Who computes a sum changes no bit of it.

use super::*;

const SHAPES: [[u32; 4]; 2] = [[33, 31, 10, 3], [1000, 70, 33, 40]];

/// Of a class, and whether sums are split: whether it is normalized, the shape, and what was written.
type Compared = (DeviceClass, bool, bool, [u32; 4], Written);

/// In any tiling of a class, divided or not, the gradients are the same.
#[test]
fn any_tiling_gives_the_same_bits() {
    let mut found: Vec<(Compared, Vec<u32>)> = Vec::new();
    for (gpu, class, tiling) in TestGpu::with_each_tiling() {
        for way in ways(class) {
            for shape in SHAPES {
                for (written, bits) in bits(&gpu, (class, tiling), way, shape) {
                    let what = (class, tiling.is_split(), way.batch_norm, shape, written);
                    match found.iter().find(|(of, _)| *of == what) {
                        Some((_, expected)) => {
                            assert!(bits == *expected, "{tiling:?}, {way:?}: {what:?}");
                        }
                        None => found.push((what, bits)),
                    }
                }
            }
        }
    }
}

fn ways(class: DeviceClass) -> impl Iterator<Item = Way> {
    let of_next = GradWeights::OfNext { has_biases: true };
    [false, true].into_iter().flat_map(move |batch_norm| {
        let whole = whole(Activation::Identity, batch_norm);
        let [alone, with_next] =
            [GradWeights::None, of_next].map(|weights| divided(whole, weights));
        let all = [whole, Way { weights: of_next, ..whole }, alone, with_next];
        // On a CPU a layer that is divided has other leaves.
        all.into_iter().filter(move |way| !(class.is_software() && way.is_divided))
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

/// The bits of all that the kernel writes.
fn bits(
    gpu: &TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    shape: [u32; 4],
) -> Vec<(Written, Vec<u32>)> {
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
    let bits = |matrix: &Matrix| gpu.read_inside(matrix).into_iter().map(f32::to_bits).collect();
    let mut read = vec![(Written::GradSums, bits(&left.grad_sums))];
    read.extend(
        vectors.iter().map(|&index| (Written::Part { index, slab: 0 }, bits(&left.part(index)))),
    );
    for &index in of_weights {
        let slabs = (0..left.count).map(|slab| {
            let part = left.part_of_slab(slab, index, of_weights[0]);
            (Written::Part { index, slab }, bits(&part))
        });
        read.extend(slabs);
    }
    read
}

//! Who computes a sum changes no bit of it.

use super::*;

/// Divided or not, and in any tiling of a class, the gradients are the same.
#[test]
fn any_tiling_gives_the_same_bits() {
    let whole = whole(Activation::Tanh, true);
    let mut found: Vec<(DeviceClass, Vec<u32>)> = Vec::new();
    for (gpu, class, tiling) in TestGpu::with_each_tiling() {
        for is_divided in [false, true] {
            // On a CPU a layer that is divided has other leaves.
            if class.is_software() && is_divided {
                continue;
            }
            let way =
                Way { is_divided, weights: GradWeights::OfNext { has_biases: true }, ..whole };
            let mut gpu = TestGpu::on(gpu.gpu.clone());
            let given = given(&mut gpu, [1000, 70, 33, 40]);
            let left = run(&mut gpu, (class, tiling), way, &given, &statistics(&given.sums));
            let parts = [2, 3, 0, 6].map(|index| gpu.read_inside(&left.part(index)));
            let read = [parts.concat(), gpu.read_inside(&left.grad_sums)].concat();
            let bits: Vec<u32> = read.into_iter().map(f32::to_bits).collect();
            match found.iter().find(|(of, _)| *of == class) {
                Some((_, expected)) => assert!(bits == *expected, "{tiling:?}, {way:?}"),
                None => found.push((class, bits)),
            }
        }
    }
}

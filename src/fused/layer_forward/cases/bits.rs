//! Who computes a sum changes no bit of it.

use super::*;

/// Divided or not, and in any tiling of the class.
pub(crate) fn are_the_same(gpu: &mut TestGpu, class: DeviceClass) {
    const SHAPE: [u32; 3] = [1000, 70, 33];
    for tilings in Tiling::orders(class) {
        let first = values(gpu, (class, tilings[0]), batch(), SHAPE);
        for tiling in tilings {
            for way in [batch(), divided()] {
                // On a CPU a layer that is divided has other leaves.
                if !(class.is_software() && way.is_divided) {
                    let what = format!("{tiling:?}, {way:?}, {SHAPE:?}");
                    gpu.compare_bits(&what, &values(gpu, (class, tiling), way, SHAPE), &first);
                }
            }
        }
    }
}

/// The outputs and the running statistics.
fn values(gpu: &TestGpu, of: (DeviceClass, Tiling), way: Way, shape: [u32; 3]) -> Vec<f32> {
    let gpu = &mut TestGpu::on(gpu.gpu.clone());
    let before = [(); 2].map(|()| gpu.random([2, shape[1]]));
    let [outputs, mean, var] = run(gpu, of, way, shape, &before, 0.0);
    [&outputs, &mean, &var].map(|matrix| gpu.read_inside(matrix)).concat()
}

/// The outputs, and the running mean and variance, which were `before`. `stop` is not 0 after a fault.
pub(in super::super) fn run(
    gpu: &mut TestGpu,
    of: (DeviceClass, Tiling),
    way: Way,
    [rows, columns, inner]: [u32; 3],
    before: &[Array2<f64>; 2],
    stop: f64,
) -> [Matrix; 3] {
    let kernel = kernel(gpu, of, way, [columns, inner]);
    let [inputs, weights] = [[rows, inner], [columns, inner]].map(|shape| gpu.random(shape));
    let vector = gpu.random([1, columns]);
    let stop = array![[stop, 0.0, 0.0, 0.0]];
    let (parameters, parts) = gpu.upload_packed(&[&weights, &vector, &vector, &stop]);
    let (running_statistics, running) = gpu.upload_packed(&before.each_ref());
    let needed = kernel.plan.expect("it is for training").statistics_rows(rows);
    let outputs = gpu.garbage([rows, columns]);
    let buffers = Buffers {
        inputs: &gpu.upload_padded(&inputs),
        parameters: &parameters,
        weights: &parts[0],
        gamma: Some(&parts[1]),
        beta: &parts[2],
        running_statistics: &running_statistics,
        running: Some([&running[0], &running[1]]),
        stop: &parts[3],
        kept: Some(Kept {
            sums: &gpu.garbage([rows, columns]),
            statistics: &gpu.garbage([needed, columns]),
        }),
        outputs: &outputs,
    };
    let dispatches = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap();
    gpu.run(&dispatches.iter().collect::<Vec<_>>());
    [outputs, running[0].clone(), running[1].clone()]
}

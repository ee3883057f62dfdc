//! Shapes that do not fit are refused.

use super::*;

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let gpu = TestGpu::new();
    let of = (gpu.gpu.class, Tiling::single(gpu.gpu.class));
    let [plan, next] = plans(of, whole(Activation::Tanh, true), [6, 2, 3]);
    let options = Options { activation: Activation::Tanh, epsilon: EPSILON };
    let kernel = LayerBackward::new(&gpu.gpu.device, plan, next, options).unwrap();
    let [inputs, grad_sums, next_grad_sums] =
        [[5, 3], [5, 6], [5, 2]].map(|shape| gpu.garbage(shape));
    let [statistics, wrong] = [[3, 6], [2, 7]].map(|shape| gpu.garbage(shape));
    let matrices = [[6, 3], [2, 6], [1, 6], [1, 4], [4, 4]].map(Array2::<f64>::zeros);
    let (parameters, parts) = gpu.upload_packed(&matrices.each_ref());
    let targets = Targets {
        parameters: &parameters,
        weights: &parts[0],
        biases: None,
        faults: &parts[4],
        slabs: Slabs { first: 0, length: 0 },
    };
    let right = Buffers {
        next_grad_sums: &next_grad_sums,
        next_weights: &parts[1],
        parameters: &parameters,
        gamma: Some(&parts[2]),
        beta: Some(&parts[2]),
        stop: [&parts[3], &parts[4]],
        sums: &grad_sums,
        statistics: &statistics,
        weights: Some((&inputs, targets)),
        grad_sums: &grad_sums,
        gradients: &gpu.garbage([1, parameters.columns()]),
    };
    kernel.bind(&gpu.gpu.device, "test", right).unwrap();
    let with = |inputs, targets| Buffers { weights: Some((inputs, targets)), ..right };
    let dense = gpu.zeros([5, 6]);
    let refused = [
        (with(&wrong, targets), "the weights' inputs is 2 × 7, but 5 × 3 is needed"),
        (
            with(&inputs, Targets { biases: Some(&wrong), ..targets }),
            "biases is 2 × 7, but 1 × 6 is needed",
        ),
        (
            with(&inputs, Targets { faults: &parts[3], ..targets }),
            "the matrix of faults is 1 × 4, but 4 × 4 is needed",
        ),
        (Buffers { grad_sums: &wrong, ..right }, "grad_sums is 2 × 7, but 5 × 6 is needed"),
        (Buffers { gamma: Some(&wrong), ..right }, "gamma or beta is 2 × 7, but 1 × 6 is needed"),
        (Buffers { beta: Some(&wrong), ..right }, "gamma or beta is 2 × 7, but 1 × 6 is needed"),
        (
            Buffers { stop: [&parts[2], &parts[4]], ..right },
            "the stop is 1 × 6, but 1 × 4 is needed",
        ),
        (
            Buffers { stop: [&parts[3]; 2], ..right },
            "the matrix of faults is 1 × 4, but 4 × 4 is needed",
        ),
        (
            Buffers { next_grad_sums: &wrong, ..right },
            "next_grad_sums is 2 × 7, but 5 × 2 is needed",
        ),
        (Buffers { next_weights: &wrong, ..right }, "next_weights is 2 × 7, but 2 × 6 is needed"),
        (Buffers { statistics: &wrong, ..right }, "statistics is 2 × 7, but 3 × 6 is needed"),
        (
            Buffers { grad_sums: &dense, ..right },
            "grad_sums's rows of 6 values start 6 apart, not 8",
        ),
    ];
    let short = gpu.garbage([1, parameters.columns() - 1]);
    let error = kernel.bind(&gpu.gpu.device, "test", Buffers { gradients: &short, ..right });
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("gradients holds") && error.contains("layer_backward"), "{error}");
    for (buffers, expected) in refused {
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.ends_with(&format!("layer_backward: {expected}")), "{error}");
    }
}

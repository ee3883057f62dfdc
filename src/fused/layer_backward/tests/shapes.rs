//! Shapes that do not fit are refused.

use super::*;

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let gpu = TestGpu::new();
    let core = Core::for_device(&gpu.gpu.device);
    let kernel = LayerBackward::new(&gpu.gpu.device, core, hidden(Activation::Tanh, true)).unwrap();
    let [inputs, grad_sums, next_grad_sums] =
        [[5, 3], [5, 6], [5, 2]].map(|shape| gpu.garbage(shape));
    let [statistics, wrong] = [[3, 6], [2, 7]].map(|shape| gpu.garbage(shape));
    let matrices = [[6, 3], [2, 6], [1, 6], [1, 4], [1, 2], [4, 4]].map(Array2::<f64>::zeros);
    let (parameters, parts) = gpu.upload_packed(&matrices.each_ref());
    let gradients = gpu.garbage([1, parameters.columns()]);
    let hidden = Hidden {
        next_grad_sums: &next_grad_sums,
        next_weights: &parts[1],
        sums: &grad_sums,
        next: None,
    };
    let right = Buffers {
        inputs: &inputs,
        parameters: &parameters,
        weights: &parts[0],
        vectors: [&parts[2]; 2],
        stop: [&parts[3], &parts[5]],
        hidden: Some(hidden),
        grad_sums: &grad_sums,
        gradients: &gradients,
        statistics: Some(&statistics),
    };
    kernel.bind(&gpu.gpu.device, "test", right).unwrap();
    let with = |hidden| Buffers { hidden: Some(hidden), ..right };
    let next = NextWeights { outputs: &grad_sums, biases: &parts[4], faults: &parts[5] };
    let with_next = |next| with(Hidden { next: Some(next), ..hidden });
    let dense = gpu.zeros([5, 6]);
    let refused = [
        (Buffers { inputs: &wrong, ..right }, "inputs is 2 × 7, but 2 × 3 is needed"),
        (Buffers { grad_sums: &wrong, ..right }, "grad_sums is 2 × 7, but 5 × 6 is needed"),
        (
            Buffers { vectors: [&parts[2], &wrong], ..right },
            "gamma, beta or the biases is 2 × 7, but 1 × 6 is needed",
        ),
        (
            Buffers { stop: [&parts[2], &parts[5]], ..right },
            "the stop is 1 × 6, but 1 × 4 is needed",
        ),
        (
            Buffers { stop: [&parts[3]; 2], ..right },
            "the matrix of faults is 1 × 4, but 4 × 4 is needed",
        ),
        (Buffers { gradients: &wrong, ..right }, "gradients is 2 × 7, but 2 × 84 is needed"),
        (
            with(Hidden { next_grad_sums: &wrong, ..hidden }),
            "next_grad_sums is 2 × 7, but 5 × 2 is needed",
        ),
        (
            with(Hidden { next_weights: &wrong, ..hidden }),
            "next_weights is 2 × 7, but 2 × 6 is needed",
        ),
        (with(Hidden { sums: &wrong, ..hidden }), "sums is 2 × 7, but 5 × 6 is needed"),
        (
            with_next(NextWeights { outputs: &wrong, ..next }),
            "outputs is 2 × 7, but 5 × 6 is needed",
        ),
        (
            with_next(NextWeights { biases: &parts[2], ..next }),
            "the next layer's biases is 1 × 6, but 1 × 2 is needed",
        ),
        (
            with_next(NextWeights { faults: &parts[2], ..next }),
            "the next layer's faults is 1 × 6, but 4 × 4 is needed",
        ),
        (Buffers { statistics: Some(&wrong), ..right }, "statistics is 2 × 7, but 3 × 6 is needed"),
        (
            Buffers { grad_sums: &dense, ..right },
            "grad_sums's rows of 6 values start 6 apart, not 8",
        ),
    ];
    for (buffers, expected) in refused {
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.ends_with(&format!("layer_backward: {expected}")), "{error}");
    }
}

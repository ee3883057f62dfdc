use super::cases::{batch, compare_layer, divided, kernel, way};
use super::*;
use crate::gpu::testing::{TestGpu, assert_close};
use crate::gpu::{MAX_WORKGROUPS, rough};
use crate::plan::Tile;

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tiling() {
        cases::matches_the_reference(&mut gpu, (class, tiling));
    }
}

/// Divided or not, and in any tiling of a class, the outputs and the running statistics are the same.
#[test]
fn any_tiling_gives_the_same_bits() {
    for (mut gpu, class) in TestGpu::with_each_class() {
        cases::bits::are_the_same(&mut gpu, class);
    }
}

#[test]
fn hard_columns_normalize_within_1e_5() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        cases::columns::hard_columns_normalize_within_1e_5(&mut gpu, (class, tiling));
    }
}

/// In several modes of arithmetic, as equal rows must become 0 on any GPU.
#[test]
fn lopsided_columns_normalize_on_any_gpu() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        for mode in rough::Mode::EACH_DIRECTION {
            rough::with(mode, || {
                cases::columns::lopsided_columns_normalize(&mut gpu, (class, tiling));
            });
        }
    }
}

#[test]
fn walks_more_tiles_than_workgroups() {
    // A software adapter without subgroups takes minutes for patches of that size.
    let is_small = |tiling: Tiling| {
        let is_for_subgroups = matches!(tiling.tile, Tile::Subgroup { .. });
        is_for_subgroups || [tiling.down, tiling.across] == [1, 1]
    };
    let tilings = TestGpu::with_each_tiling().filter(|&(_, _, tiling)| is_small(tiling));
    for (mut gpu, class, tiling) in tilings {
        let columns = tiling.patch_columns() * MAX_WORKGROUPS + 5;
        compare_layer(&mut gpu, (class, tiling), batch(), [2, columns, 1]);
        compare_layer(&mut gpu, (class, tiling), divided(), [2, columns, 1]);
        let rows = tiling.patch_rows() * MAX_WORKGROUPS + 5;
        let running = way(Normalization::Running, Activation::Gelu, false);
        compare_layer(&mut gpu, (class, tiling), running, [rows, 2, 1]);
    }
}

/// After a fault, the running statistics are those before its step.
#[test]
fn a_stop_brings_the_running_statistics_back() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        for way in [batch(), divided()] {
            let before = [(); 2].map(|()| gpu.random([2, 37]));
            let [_, mean, var] =
                cases::bits::run(&mut gpu, (class, tiling), way, [70, 37, 5], &before, 1.0);
            for (running, values) in [mean, var].iter().zip(&before) {
                let before = values.row(1);
                let expected = before.iter().chain(&before);
                assert_close("running", &gpu.read_inside(running), expected, 0.0, 0.0);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let gpu = TestGpu::new();
    let of = (gpu.gpu.class, Tiling::single(gpu.gpu.class));
    let kernel = kernel(&gpu, of, batch(), [6, 3]);
    let [inputs, weights, outputs] = [[5, 3], [6, 3], [5, 6]].map(|shape| gpu.garbage(shape));
    let [vector, statistics, wrong] = [[1, 6], [3, 6], [2, 7]].map(|shape| gpu.garbage(shape));
    let [running, stop] = [[2, 6], [1, 4]].map(|shape| gpu.garbage(shape));
    let kept = Kept { sums: &outputs, statistics: &statistics };
    let right = Buffers {
        inputs: &inputs,
        parameters: &weights,
        weights: &weights,
        gamma: Some(&vector),
        beta: &vector,
        running_statistics: &running,
        running: Some([&running; 2]),
        stop: &stop,
        kept: Some(kept),
        outputs: &outputs,
    };
    kernel.bind(&gpu.gpu.device, "test", right).unwrap();
    let with = |kept| Buffers { kept: Some(kept), ..right };
    let dense = gpu.zeros([5, 6]);
    let refused = [
        (Buffers { inputs: &wrong, ..right }, "inputs is 2 × 7, but 2 × 3 is needed"),
        (Buffers { outputs: &wrong, ..right }, "outputs is 2 × 7, but 5 × 6 is needed"),
        (
            Buffers { beta: &wrong, ..right },
            "gamma, beta or the biases is 2 × 7, but 1 × 6 is needed",
        ),
        (
            Buffers { running: Some([&wrong, &running]), ..right },
            "running_mean is 2 × 7, but 2 × 6 is needed",
        ),
        (
            Buffers { running: Some([&running, &wrong]), ..right },
            "running_var is 2 × 7, but 2 × 6 is needed",
        ),
        (Buffers { stop: &vector, ..right }, "stop is 1 × 6, but 1 × 4 is needed"),
        (with(Kept { statistics: &wrong, ..kept }), "statistics is 2 × 7, but 3 × 6 is needed"),
        (with(Kept { sums: &wrong, ..kept }), "sums is 2 × 7, but 5 × 6 is needed"),
        (Buffers { outputs: &dense, ..right }, "outputs's rows of 6 values start 6 apart, not 8"),
    ];
    for (buffers, expected) in refused {
        let error = kernel.bind(&gpu.gpu.device, "test", buffers).unwrap_err().to_string();
        assert!(error.ends_with(&format!("layer_forward: {expected}")), "{error}");
    }

    let [inputs, outputs] = [[1, 3], [1, 6]].map(|shape| gpu.garbage(shape));
    let kept = Some(Kept { sums: &outputs, ..kept });
    let row = Buffers { inputs: &inputs, kept, outputs: &outputs, ..right };
    let error = kernel.bind(&gpu.gpu.device, "test", row).unwrap_err();
    assert!(matches!(error, Error::BatchTooSmall { rows: 1 }), "{error}");
}

//! The faults that the kernel records.

use super::*;

/// Which quads of a part are noted; all others are as they were.
fn noted(gpu: &TestGpu, left: &Left, part: usize) -> Vec<bool> {
    let values = gpu.read_all(&left.part(part));
    let (quads, _) = values.as_chunks::<4>();
    let is_noted = |quad: &[f32; 4]| {
        let is_noted = *quad == [1.0; 4];
        assert!(is_noted || quad.iter().all(|value| value.is_nan()), "{quad:?}");
        is_noted
    };
    quads.iter().map(is_noted).collect()
}

/// A value that is not finite, or too large, is noted by its kind; one that is just small enough is not.
#[test]
fn notes_what_is_not_finite() {
    const LARGEST: f64 = (1_u64 << 50) as f64;
    let [nothing, statistics_are, vector, beta, weights]: [&[usize]; 5] =
        [&[], &[0], &[1], &[2], &[3]];
    let [rows, columns, next, inner] = [131, 70, 3, 33];
    let ways = [whole(Activation::Identity, false), whole(Activation::Identity, true)];
    // Larger patches have the same code, once for each tile.
    let of_patch = |is_tile| {
        let of_tile = ways.into_iter().chain(ways.map(|way| divided(way, GradWeights::None)));
        of_tile.filter(move |way| is_tile || (way.batch_norm && !way.is_divided))
    };
    for ((mut gpu, class, tiling), way) in
        TestGpu::with_each_tiling().flat_map(|(gpu, class, tiling)| {
            of_patch([tiling.down, tiling.across] == [1, 1])
                .map(move |way| ((TestGpu::on(gpu.gpu.clone()), class, tiling), way))
        })
    {
        let Way { batch_norm, is_divided, .. } = way;
        // The gradients of the last column's outputs, those of the last row of the inputs, and the
        // batch's variance of the last column.
        let mut check = |grads: [f64; 3], input: f64, variance: f64, expected: &[usize]| {
            let mut given = given(&mut gpu, [rows, columns, next, inner]);
            given.inputs.fill(0.0);
            given.inputs.row_mut(rows as usize - 1).fill(input);
            given.next_weights.fill(0.0);
            given.next_weights[[0, columns as usize - 1]] = 1.0;
            let [first, others, end] = grads;
            given.next_grad_sums.fill(others);
            given.next_grad_sums[[0, 0]] = first;
            given.next_grad_sums[[rows as usize - 1, 0]] = end;
            let mut statistics = statistics(&given.sums);
            statistics.variance[columns as usize - 1] = variance;
            let left = run(&mut gpu, (class, tiling), way, &given, &statistics);
            let is_noted = noted(&gpu, &left, 4) == [true];
            let found = noted(&gpu, &left, 5);
            let found: Vec<usize> = (0..4).filter(|&fault| found[fault]).collect();
            let expected: Vec<usize> = expected
                .iter()
                .copied()
                // Weights and biases are computed elsewhere.
                .filter(|&fault| !is_divided || fault != 3 && (batch_norm || fault != 1))
                .collect();
            let what = format!("{tiling:?}, {way:?}: {grads:?}, {input}, {variance}");
            assert_eq!(found, expected, "{what}");
            assert_eq!(is_noted, !expected.is_empty(), "{what}");
        };
        let both = LARGEST / 2.0;
        let beyond = f64::from(f32::EPSILON) * LARGEST;
        let ends = |size: f64| [size, 0.0, -size];
        check(ends(1.0), 1.0, 1.0, nothing);
        check(ends(1.0), 1e6 * LARGEST, 1.0, weights);
        check([f64::NAN, 0.0, 0.0], 0.0, 1.0, if batch_norm { &[1, 2, 3] } else { &[1, 3] });
        if batch_norm {
            check([LARGEST; 3], 0.0, 1.0, beta);
            check(ends(64.0 * LARGEST), 0.0, 1.0, vector);
            check(ends(1.0), 1.0, f64::INFINITY, statistics_are);
            check(ends(1.0), 1.0, f64::from(f32::MAX), statistics_are);
            check(ends(1.0), 1.0, f64::NAN, &[0, 1, 2, 3]);
        } else {
            check([both, 0.0, both], 0.0, 1.0, nothing);
            check([LARGEST + beyond, 0.0, 0.0], 0.0, 1.0, vector);
            check([both + beyond, 0.0, both], 0.0, 1.0, vector);
            check(ends(f64::INFINITY), 0.0, 1.0, &[1, 3]);
        }
    }
}

/// A fault in the gradients that the next layer leaves to this one is recorded as the next layer's.
#[test]
fn notes_what_is_not_finite_for_the_next_layer() {
    for ((mut gpu, class, tiling), has_biases) in [false, true]
        .into_iter()
        .flat_map(|has| TestGpu::with_each_tile().map(move |gpu| (gpu, has)))
    {
        let weights = GradWeights::OfNext { has_biases };
        let way = divided(whole(Activation::Identity, true), weights);
        let mut given = given(&mut gpu, [131, 70, 3, 33]);
        given.next_grad_sums[[130, 2]] = f64::INFINITY;
        let statistics = statistics(&given.sums);
        let left = run(&mut gpu, (class, tiling), way, &given, &statistics);
        assert_eq!(noted(&gpu, &left, 4), [true]);
        let found = noted(&gpu, &left, 7);
        assert_eq!(found, [false, has_biases, false, true], "{tiling:?}");
    }
}

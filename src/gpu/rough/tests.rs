use super::*;
use crate::gpu::testing::TestGpu;
use crate::gpu::{Kernel, uniform};

uniform! {
    struct Shape {
        rows: u32,
    }
}

/// The value of `expression` for each row of three floats, in the current mode.
fn computed(expression: &str, rows: &[[f32; 3]]) -> Vec<f32> {
    let text = format!(
        "struct Shape {{ rows: u32 }}
        @group(0) @binding(1) var<storage, read> inputs: array<f32>;
        @group(0) @binding(2) var<storage, read_write> outputs: array<f32>;
        @compute @workgroup_size(1) fn main() {{
            read_uniform();
            for (var row = 0u; row < shape.rows; row++) {{
                let x = inputs[3u * row];
                let y = inputs[3u * row + 1u];
                let z = inputs[3u * row + 2u];
                outputs[row] = {expression};
            }}
        }}"
    );
    let gpu = TestGpu::new();
    let count = rows.len() as u32;
    let kernel = Kernel::new(&gpu.gpu.device, "test", &text, &[]).expect("a valid shader");
    let [inputs, outputs] = [gpu.zeros([count, 3]), gpu.zeros([1, count])];
    gpu.gpu.write(inputs.buffer(), 0, rows).expect("the matrix is as large as that");
    let shape = Shape { rows: count };
    let dispatch = kernel.bind(&gpu.gpu.device, "test", shape, &[&inputs, &outputs], [1; 3]);
    gpu.run(&[&dispatch.expect("a binding")]);
    gpu.read(&outputs)
}

/// The distance of a value from the exact one, positive away from zero, in units in the last place.
fn units_up(found: f32, exact: f64) -> f64 {
    let unit = exact.abs().log2().floor() - 23.0;
    (f64::from(found).abs() - exact.abs()) / unit.exp2()
}

fn assert_rough(what: &str, mode: Mode, units: &[f64], allowed: f64) {
    let most = units.iter().fold(0.0, |most: f64, units| most.max(units.abs()));
    assert!(most <= allowed, "{what}: {most} units off, {allowed} are allowed");
    let up = units.iter().filter(|&&units| units > 0.4).count();
    let down = units.iter().filter(|&&units| units < -0.4).count();
    let is_so = match mode.direction {
        Direction::Up => up == units.len(),
        Direction::Down => down == units.len(),
        Direction::Mixed => up.min(down) > units.len() / 8,
    };
    assert!(is_so, "{what}: of {} values {up} are above, {down} below", units.len());
}

#[test]
fn quotients_roots_and_exponentials_are_as_far_off_as_allowed() {
    if !TestGpu::new().gpu.class.is_software() {
        return;
    }
    type Exact = fn(f64, f64) -> f64;
    /// An expression, and its largest allowed error in units in the last place.
    const EXACT: [(&str, Exact, f64); 4] = [
        ("x / y", |x, y| x / y, 2.5),
        ("(vec2<f32>(1.0, x) / y).y", |x, y| x / y, 2.5),
        ("(vec4<f32>(x) / vec4<f32>(1.0, 2.0, y, 3.0)).z", |x, y| x / y, 2.5),
        ("sqrt(x)", |x, _| x.sqrt(), 3.5),
    ];
    /// Adapters compute these less exactly, so only the difference between plain and rough values is
    /// tested.
    const INEXACT: [(&str, f64); 7] = [
        ("inverseSqrt(vec3<f32>(x)).x", 1.0),
        ("exp(x)", 2.0 + 2.0 * 20.0),
        ("exp2(x)", 2.0 + 2.0 * 20.0),
        // 2⁻²¹, where the logarithm is 0.1 or more.
        ("log(x)", 64.5),
        ("log2(x)", 64.5),
        ("pow(x, y)", 200.0),
        ("tanh(x)", 4096.0),
    ];
    // A quotient by a power of two may be inexact, too.
    let mut rows: Vec<_> =
        (0..200).map(|row| [1.0 + 0.0937 * row as f32, 0.3 + 0.0171 * row as f32, 0.0]).collect();
    rows.push([3.3e15, 33.0, 0.0]);
    rows.push([7.0, 8.0, 0.0]);
    for mode in Mode::ALL {
        for (expression, exact, allowed) in EXACT {
            let found = with(mode, || computed(expression, &rows));
            let of_row = |(found, [x, y, _]): (f32, &[f32; 3])| {
                units_up(found, exact(f64::from(*x), f64::from(*y)))
            };
            let units: Vec<_> = found.into_iter().zip(&rows).map(of_row).collect();
            assert_rough(&format!("{expression} {}", mode.name()), mode, &units, allowed);
        }
    }
    let rows = &rows[..200];
    for mode in [Mode::ALL[3], Mode::ALL[4], Mode::ALL[5]] {
        for (expression, allowed) in INEXACT {
            let plain = computed(expression, rows);
            let found = with(mode, || computed(expression, rows));
            let units = found.into_iter().zip(plain).filter(|(_, plain)| plain.abs() > 0.1);
            let units: Vec<_> =
                units.map(|(found, plain)| units_up(found, f64::from(plain))).collect();
            assert_rough(&format!("{expression} {}", mode.name()), mode, &units, allowed);
        }
    }
}

#[test]
fn what_has_no_neighbors_stays() {
    if !TestGpu::new().gpu.class.is_software() {
        return;
    }
    let [zero, large] = [[0.0, 1.0, 0.0], [f32::MAX, f32::MIN_POSITIVE, 0.0]];
    for mode in Mode::ALL {
        for expression in ["x / y", "sqrt(x)", "tanh(x)"] {
            let found = with(mode, || computed(expression, &[zero]));
            assert_eq!(found, [0.0], "{expression} {}", mode.name());
        }
        let found = with(mode, || computed("x / y", &[large, [f32::MAX, 1.0, 0.0]]));
        assert_eq!(found, [f32::INFINITY, f32::MAX], "{}", mode.name());
    }
}

/// Products on either side of the sum, with factors that are numbers or vectors.
#[test]
fn products_are_fused_or_apart() {
    if !TestGpu::new().gpu.class.is_software() {
        return;
    }
    const SUMS: [&str; 6] = [
        "x * y + z",
        "z + x * y",
        "x * y - -z",
        "-(-z - x * y)",
        "(x * vec4<f32>(y) + vec4<f32>(z)).w",
        "(vec3<f32>(z) + vec3<f32>(x) * y).y",
    ];
    // The square of the factors is 1 + 2⁻¹¹ + 2⁻²⁴, of which a float holds all but the last term.
    let small = 2.0_f32.powi(-12);
    let factors = [[1.0 + small, 1.0 + small, -1.0 - 2.0 * small]];
    for mode in Mode::ALL {
        let expected = match mode.products {
            Products::Fused => small * small,
            Products::Apart => 0.0,
        };
        for sum in SUMS {
            let found = with(mode, || computed(sum, &factors));
            assert_eq!(found, [expected], "{sum} {}", mode.name());
        }
        if mode.products == Products::Apart {
            let found = with(mode, || computed("fma(x, y, z)", &factors));
            assert_eq!(found, [0.0], "fma {}", mode.name());
        }
    }
}

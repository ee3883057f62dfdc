//! Properties that hold for all shapes, scales and options. Each is tested on random cases, and a failure
//! names the smallest case that fails.
//!
//! The cases are the same in every run. `PROPTEST_RNG_SEED=random` draws other cases, and
//! `PROPTEST_CASES=5000` more of them. A failing case is written to a file beside the property, and is tried
//! first in later runs.
//!
//! Each bound is derived. The error of a sum of n terms is at most `rounding(n)` times the sum of its terms'
//! magnitudes, in any order of addition (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
//! Further roundings are counted beside the bound. For long chains of roundings such bounds are too wide to
//! be useful. There the module `network` measures the condition: it perturbs the reference's inputs by the
//! rounding of the sums, and takes the change of the outputs.

mod batch_norm;
mod gradients;
mod kernels;
mod network;
mod training;

use std::env;
use std::ops::Range;

use ndarray::{Array1, Array2};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Half the distance of neighboring floats, relative to their magnitude.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// Below the smallest normal float, numbers may count as zero.
const TINY: f64 = 1e-37;

/// The number of cases, unless `PROPTEST_CASES` sets it.
fn config(cases: u32) -> Config {
    let is_set = |name: &str| env::var_os(name).is_some();
    let default = Config::default();
    Config {
        cases: if is_set("PROPTEST_CASES") { default.cases } else { cases },
        rng_seed: match env::var("PROPTEST_RNG_SEED") {
            Ok(seed) => seed.parse().map_or(RngSeed::Random, RngSeed::Fixed),
            Err(_) => RngSeed::Fixed(7),
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_iters: 500,
        ..default
    }
}

/// The bound of this many roundings in sequence, relative to the rounded number.
fn rounding(count: usize) -> f64 {
    let bound = count as f64 * UNIT;
    bound / (1.0 - bound)
}

fn float(value: f64) -> f64 {
    f64::from(value as f32)
}

/// Numbers between −1 and 1.
fn uniform(seed: u64, [rows, columns]: [usize; 2]) -> Array2<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn([rows, columns], || {
        f64::from(generator.random::<f32>() * 2.0 - 1.0)
    })
}

fn uniform_vector(seed: u64, length: usize) -> Array1<f64> {
    uniform(seed, [1, length]).row(0).to_owned()
}

/// A matrix that is determined by its sizes, a seed and a scale.
#[derive(Clone, Debug)]
struct Batch {
    rows: usize,
    columns: usize,
    seed: u64,
    center: f64,
    spread: f64,
}

impl Batch {
    /// The values as floats, like those on the GPU.
    fn values(&self) -> Array2<f64> {
        let values = uniform(self.seed, [self.rows, self.columns]);
        values.mapv(|value| float(self.center + self.spread * value))
    }
}

/// Centers from −10⁴ to 10⁴ and 0, spreads from 10⁻³ to 10³.
fn batches(rows: Range<usize>, columns: Range<usize>) -> impl Strategy<Value = Batch> {
    let center = prop_oneof![
        Just(0.0),
        (-2.0..4.0_f64, any::<bool>()).prop_map(|(exponent, is_negative)| {
            10_f64.powf(exponent) * if is_negative { -1.0 } else { 1.0 }
        })
    ];
    let spread = (-3.0..3.0_f64).prop_map(|exponent| 10_f64.powf(exponent));
    (rows, columns, any::<u64>(), center, spread).prop_map(
        |(rows, columns, seed, center, spread)| Batch { rows, columns, seed, center, spread },
    )
}

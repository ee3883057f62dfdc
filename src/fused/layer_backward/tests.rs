mod faults;
mod shapes;

use ndarray::Array2;

use super::cases::{
    EPSILON, GradWeights, Left, Way, compare, divided, given, plans, run, statistics, whole,
};
use super::*;
use crate::gpu::MAX_WORKGROUPS;
use crate::gpu::testing::TestGpu;
use crate::plan::{Slabs, Tiling};

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        cases::matches_the_reference(&mut gpu, (class, tiling));
    }
}

/// In any tiling of a class, divided or not, the gradients are the same.
#[test]
fn any_tiling_gives_the_same_bits() {
    for (mut gpu, class) in TestGpu::with_each_class() {
        cases::bits::are_the_same(&mut gpu, class);
    }
}

#[test]
fn hard_columns_keep_their_digits() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        cases::columns::hard_columns_keep_their_digits(&mut gpu, (class, tiling));
    }
}

#[test]
fn gradients_of_a_long_column_keep_no_mean() {
    for (mut gpu, class, tiling) in TestGpu::with_each_tile() {
        cases::columns::gradients_of_a_long_column_keep_no_mean(&mut gpu, (class, tiling));
    }
}

/// In the tiling that the adapter likes: a software one takes ten times as long with the other.
#[test]
fn walks_more_strips_than_workgroups() {
    let mut gpu = TestGpu::with_subgroups();
    let of = (gpu.gpu.class, Tiling::single(gpu.gpu.class));
    let columns = of.1.patch_columns() * MAX_WORKGROUPS + 5;
    let given = given(&mut gpu, [2, columns, 1, 1]);
    compare(&mut gpu, of, whole(Activation::Tanh, true), &given);
}

mod faults;
mod shapes;

use ndarray::Array2;

use super::cases::{
    EPSILON, GradWeights, Left, Way, compare, divided, every_way, given, match_the_reference,
    plans, run, statistics, whole,
};
use super::*;
use crate::gpu::MAX_WORKGROUPS;
use crate::gpu::testing::TestGpu;
use crate::plan::{DeviceClass, Slabs, Tiling};

#[test]
fn matches_the_reference() {
    for (mut gpu, class, tiling) in first_and_last_tile() {
        cases::matches_the_reference(&mut gpu, (class, tiling));
    }
}

/// A tile of a GPU with many registers, and one of the adapter's own class, if it has one.
fn first_and_last_tile() -> [(TestGpu, DeviceClass, Tiling); 2] {
    let mut tiles = TestGpu::with_each_tile();
    let first = tiles.next().expect("a GPU's tile");
    [first, tiles.last().expect("another tile")]
}

/// Every second way with each: the text of a tile and that of a way are files of their own.
#[test]
fn other_tiles_match_the_reference() {
    let [first, last] = first_and_last_tile().map(|(_, class, tiling)| (class, tiling));
    let others = TestGpu::with_each_tile()
        .filter(|&(_, class, tiling)| ![first, last].contains(&(class, tiling)));
    for (number, (mut gpu, class, tiling)) in others.enumerate() {
        let ways = every_way().into_iter().skip(number % 2).step_by(2);
        match_the_reference(&mut gpu, (class, tiling), ways);
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

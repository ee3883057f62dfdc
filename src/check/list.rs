//! The list of the checks.

use crate::fused::*;
use crate::gpu::testing::TestGpu;
use crate::kernels::*;
use crate::plan::{DeviceClass, Tiling};
use crate::trainer;

/// Functions that compare on a device.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cases {
    OfDevice(fn(&mut TestGpu)),
    /// In one tiling of the device's class.
    OfTiling(fn(&mut TestGpu, (DeviceClass, Tiling))),
    /// Between the tilings of the device's class.
    OfClass(fn(&mut TestGpu, DeviceClass)),
    /// On a device that is lost afterwards.
    Destructive(fn(&mut TestGpu)),
}

use Cases::{Destructive, OfClass, OfDevice, OfTiling};

pub(super) const FORMULA: &str = "formula in f64";
const HARD: &str = "hard columns";
const LOPSIDED: &str = "lopsided columns";
const NOT_FINITE: &str = "NaN and infinity";
const BITS: &str = "same bits, any tiling";

/// Subject, property, cases. The longest is first, as several threads take the subjects in this order; then the
/// other kernels of a training, and the public ones.
pub(super) const LIST: &[(&str, &str, Cases)] = &[
    ("layer_backward", FORMULA, OfTiling(layer_backward::cases::matches_the_reference)),
    (
        "layer_backward",
        HARD,
        OfTiling(layer_backward::cases::columns::hard_columns_keep_their_digits),
    ),
    (
        "layer_backward",
        "means of long columns",
        OfTiling(layer_backward::cases::columns::gradients_of_a_long_column_keep_no_mean),
    ),
    ("layer_backward", BITS, OfClass(layer_backward::cases::bits::are_the_same)),
    ("copy_rows", FORMULA, OfDevice(copy_rows::cases::matches_the_reference)),
    ("gather_rows", FORMULA, OfDevice(gather_rows::cases::matches_the_reference)),
    ("weigh_classes", FORMULA, OfDevice(weigh_classes::cases::matches_the_reference)),
    ("layer_forward", FORMULA, OfTiling(layer_forward::cases::matches_the_reference)),
    (
        "layer_forward",
        HARD,
        OfTiling(layer_forward::cases::columns::hard_columns_normalize_within_1e_5),
    ),
    (
        "layer_forward",
        LOPSIDED,
        OfTiling(layer_forward::cases::columns::lopsided_columns_normalize),
    ),
    ("layer_forward", BITS, OfClass(layer_forward::cases::bits::are_the_same)),
    ("output_layer", FORMULA, OfDevice(output_layer::cases::matches_the_reference)),
    ("record_step", FORMULA, OfDevice(record_step::cases::matches_the_reference)),
    ("record_step", NOT_FINITE, OfDevice(record_step::cases::notes_a_loss_that_is_not_finite)),
    ("grad_weights", FORMULA, OfTiling(grad_weights::cases::matches_the_reference)),
    ("grad_weights", BITS, OfClass(grad_weights::cases::bits_are_the_same)),
    ("gradient_norm", FORMULA, OfDevice(gradient_norm::cases::matches_the_reference)),
    ("update", FORMULA, OfDevice(update::cases::matches_the_reference)),
    ("skip_step", FORMULA, OfDevice(skip_step::cases::matches_the_reference)),
    ("network_forward", FORMULA, OfDevice(network_forward::cases::matches_the_reference)),
    ("narrow_forward", FORMULA, OfDevice(narrow_forward::cases::matches_the_reference)),
    ("whole_steps", FORMULA, OfClass(trainer::cases::whole_steps::matches_the_reference)),
    (
        "whole_steps",
        "same bits, any division",
        OfClass(trainer::cases::whole_steps::any_division_gives_the_same_bits),
    ),
    ("training", FORMULA, OfDevice(trainer::cases::matches_the_reference)),
    ("training", "same bits, twice", OfDevice(trainer::cases::the_same_seed_gives_the_same_bits)),
    ("training", "same bits, any plan", OfClass(trainer::cases::plans_give_the_same_bits)),
    ("device", "a loss is an error", Destructive(trainer::cases::a_lost_device_is_an_error)),
    ("matmul", FORMULA, OfDevice(matmul::cases::matches_the_reference)),
    ("matmul_quads", FORMULA, OfTiling(matmul_quads::cases::matches_the_reference)),
    ("add_biases", FORMULA, OfDevice(add_biases::cases::matches_the_reference)),
    ("column_sums", FORMULA, OfDevice(column_sums::cases::matches_the_reference)),
    ("activate", FORMULA, OfDevice(activate::cases::matches_the_reference)),
    (
        "activate",
        NOT_FINITE,
        OfDevice(activate::cases::nan_stays_nan_and_infinity_becomes_the_limit),
    ),
    ("activate_backward", FORMULA, OfDevice(activate_backward::cases::matches_the_reference)),
    (
        "activate_backward",
        NOT_FINITE,
        OfDevice(activate_backward::cases::nan_stays_nan_and_infinity_becomes_the_limit),
    ),
    ("batch_statistics", FORMULA, OfDevice(batch_statistics::cases::matches_the_reference)),
    ("batch_statistics", HARD, OfDevice(batch_statistics::cases::hard_columns_keep_their_digits)),
    ("normalize", FORMULA, OfDevice(normalize::cases::matches_the_reference)),
    ("normalize", HARD, OfDevice(normalize::cases::hard_columns_normalize_within_1e_5)),
    ("normalize", LOPSIDED, OfDevice(normalize::cases::lopsided_columns_normalize)),
    ("normalize_gradients", FORMULA, OfDevice(normalize_gradients::cases::matches_the_reference)),
    (
        "normalize_gradients",
        HARD,
        OfDevice(normalize_gradients::cases::hard_columns_keep_their_digits),
    ),
    ("normalize_backward", FORMULA, OfDevice(normalize_backward::cases::matches_the_reference)),
    (
        "normalize_backward",
        HARD,
        OfDevice(normalize_backward::cases::hard_columns_keep_their_digits),
    ),
    ("loss", FORMULA, OfDevice(loss::cases::matches_the_reference)),
];

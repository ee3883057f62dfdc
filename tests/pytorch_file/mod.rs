//! The tensors of a model file that PyTorch wrote, from which tests make other files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, View};
use ztilde::Result;

/// The state dictionary of `Linear(3, 4, bias=False)`, `BatchNorm1d`, an activation, `Linear(4, 3)`, an
/// activation and `Linear(3, 2)`.
pub(crate) const PYTORCH: &[u8] = include_bytes!("../data/pytorch.safetensors");

/// A type, a shape and the bytes of the values.
#[derive(Clone)]
pub(crate) struct Tensor(pub(crate) Dtype, pub(crate) Vec<usize>, pub(crate) Vec<u8>);

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.0
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&self.2).into()
    }

    fn data_len(&self) -> usize {
        self.2.len()
    }
}

/// Tensors by their names.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

pub(crate) fn tensors(bytes: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let copy = |(name, view): (String, TensorView<'_>)| {
        (name, Tensor(view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(copy).collect()
}

/// Checks that reading a file fails, with a message that contains all of these words.
#[track_caller]
pub(crate) fn assert_refused<T: Debug>(found: Result<T>, words: &[&str]) {
    let message = found.expect_err("this file must be refused").to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

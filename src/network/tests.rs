//! A device needs exactly the limits of `required_limits`.

use wgpu::{DeviceDescriptor, Limits};

use super::*;
use crate::gpu::{block_on, test_device};
use crate::inference::Inference;
use crate::options::TrainerOptions;
use crate::trainer::Trainer;

/// A step and an inference, on a device that allows this many bytes.
fn learn(allowed: u64, sizes: &[u32], batch_size: u32) -> Result<f32> {
    let required_limits = Limits {
        max_buffer_size: allowed,
        max_storage_buffer_binding_size: allowed,
        ..Limits::default()
    };
    let descriptor = DeviceDescriptor { required_limits, ..Default::default() };
    let request = test_device::adapter().request_device(&descriptor);
    let (device, queue) = pollster::block_on(request).expect("fewer bytes than any adapter has");
    let network = Network::new(&device, &queue, sizes, NetworkOptions::default())?;
    let options = TrainerOptions { batch_size, ..Default::default() };
    let mut trainer = Trainer::new(network, options)?;
    let inputs = vec![0.5; (batch_size * sizes[0]) as usize];
    trainer.step(&inputs, vec![0; batch_size as usize])?;
    let rows = vec![0.5; (FEWEST_ROWS * sizes[0]) as usize];
    block_on(&device, Inference::predict(trainer.network(), &rows))?;
    block_on(&device, trainer.loss())
}

/// The largest matrix belongs to the batch, to the rows of inference, or to the parameters.
#[test]
fn what_is_required_suffices_and_a_byte_less_does_not() {
    for (sizes, batch_size) in [([3, 9, 2], 8000), ([1, 1201, 2], 2), ([40, 600, 90], 20)] {
        let bytes = largest_matrix(&sizes, batch_size);
        learn(bytes, &sizes, batch_size).unwrap_or_else(|error| panic!("{sizes:?}: {error}"));
        match learn(bytes - 1, &sizes, batch_size).unwrap_err() {
            Error::TooLarge { needed, allowed, .. } => {
                assert_eq!([needed, allowed], [bytes, bytes - 1], "{sizes:?}");
            }
            error => panic!("{sizes:?}: {error}"),
        }
    }
}

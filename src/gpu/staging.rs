//! Copies CPU memory to the GPU, through a buffer that is reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, BufferViewMut, CommandEncoder, MapMode, SubmissionIndex,
};

use super::{Gpu, check_size, guarded, unmap, wait};
use crate::error::Result;

/// A buffer that the CPU writes and the GPU copies from, alternately.
#[derive(Debug)]
pub(crate) struct Staging {
    label: String,
    buffer: Buffer,
    mapping: Arc<Mapping>,
    /// The last submission that copies from it.
    submission: Option<SubmissionIndex>,
}

/// The state of the request to map the buffer again.
#[derive(Debug)]
struct Mapping {
    is_answered: AtomicBool,
    is_mapped: AtomicBool,
}

impl Mapping {
    fn set(&self, is_answered: bool, is_mapped: bool) {
        self.is_mapped.store(is_mapped, Ordering::Release);
        self.is_answered.store(is_answered, Ordering::Release);
    }
}

impl Staging {
    /// A buffer for `values` values of four bytes, which the CPU may write at once.
    pub(crate) fn new(gpu: &Gpu, label: &str, values: u64) -> Result<Self> {
        check_size(&gpu.device, label, 4 * values)?;
        gpu.watch.check()?;
        let buffer = guarded(&gpu.device, || {
            gpu.device.create_buffer(&BufferDescriptor {
                label: Some(&format!("ztilde/{label}")),
                size: 4 * values,
                usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        })?;
        let [is_answered, is_mapped] = [(); 2].map(|()| AtomicBool::new(true));
        let mapping = Arc::new(Mapping { is_answered, is_mapped });
        Ok(Self { label: label.to_owned(), buffer, mapping, submission: None })
    }

    /// Lets the CPU write, from the beginning on. Waits until the GPU has copied the previous contents;
    /// in a browser, which must not block, a new buffer replaces the old one.
    pub(crate) fn write(
        &mut self,
        gpu: &Gpu,
        write: impl FnOnce(&mut BufferViewMut),
    ) -> Result<()> {
        let is_answered = || self.mapping.is_answered.load(Ordering::Acquire);
        wait::wait(&gpu.watch, self.submission.clone(), is_answered)?;
        if !self.mapping.is_mapped.load(Ordering::Acquire) {
            *self = Self::new(gpu, &self.label, self.buffer.size() / 4)?;
        }
        let mut view = self
            .buffer
            .get_mapped_range_mut(..)
            .map_err(|error| gpu.watch.lose(error.to_string()))?;
        write(&mut view);
        Ok(())
    }

    /// Submits commands that copy from the buffer; does not wait. Then the CPU may write again.
    pub(crate) fn submit(
        &mut self,
        gpu: &Gpu,
        label: &str,
        record: impl FnOnce(&mut CommandEncoder, &Buffer),
    ) -> Result<SubmissionIndex> {
        unmap(&gpu.device, &self.buffer)?;
        self.mapping.set(false, false);
        let mapping = Arc::clone(&self.mapping);
        let submission = gpu.submit(label, |encoder| {
            record(encoder, &self.buffer);
            encoder.map_buffer_on_submit(&self.buffer, MapMode::Write, .., move |result| {
                mapping.set(true, result.is_ok());
            });
        });
        // No callback comes for a submission that was refused, so the next write takes a new buffer.
        let submission = submission.inspect_err(|_| self.mapping.set(true, false))?;
        self.submission = Some(submission.clone());
        Ok(submission)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;
    use crate::gpu::block_on_for;
    use crate::gpu::testing::{TestGpu, own_gpu};

    /// Values written while the GPU may still copy earlier ones arrive after them, in order.
    #[test]
    fn the_cpu_and_the_gpu_take_turns() {
        let gpu = TestGpu::new().gpu;
        let target = gpu.matrix("target", 100, 1000).unwrap();
        let mut staging = Staging::new(&gpu, "staging", 1000).unwrap();
        for row in 0..100_u32 {
            staging
                .write(&gpu, |view| view.copy_from_slice(bytemuck::cast_slice(&[row; 1000])))
                .unwrap();
            staging
                .submit(&gpu, "copy", |encoder, buffer| {
                    let place = 4000 * u64::from(row);
                    encoder.copy_buffer_to_buffer(buffer, 0, target.buffer(), place, 4000);
                })
                .unwrap();
        }
        let reading = crate::gpu::read::<u32>(&gpu, target.buffer(), 0, 100_000);
        let found = crate::gpu::block_on(&gpu.device, reading).unwrap();
        assert!(found.iter().zip(0..).all(|(&value, place)| value == place / 1000));
    }

    /// A write within a future waits for the GPU no longer than the future's limit, and can be repeated.
    #[test]
    fn waiting_for_the_gpu_can_have_an_end() {
        const VALUES: u64 = 1 << 24;
        let gpu = TestGpu::new().gpu;
        let target = gpu.buffer("target", VALUES).unwrap();
        let mut staging = Staging::new(&gpu, "staging", VALUES).unwrap();
        let fill = |staging: &mut Staging, value: u8| {
            let bytes = vec![value; 4 * VALUES as usize];
            staging.write(&gpu, |view| view.copy_from_slice(&bytes))
        };
        let copy = |encoder: &mut CommandEncoder, buffer: &Buffer| {
            for _ in 0..4 {
                encoder.copy_buffer_to_buffer(buffer, 0, &target, 0, 4 * VALUES);
            }
        };
        // On a busy machine the GPU may be done before the test asks. Then the test tries again.
        let answer = (0..100).find_map(|_| {
            fill(&mut staging, 1).unwrap();
            staging.submit(&gpu, "copy", copy).unwrap();
            let writing = async { staging.write(&gpu, |_| {}) };
            block_on_for(&gpu.device, Duration::ZERO, writing).err()
        });
        assert!(matches!(answer, Some(Error::Timeout { .. })), "{answer:?}");
        fill(&mut staging, 2).unwrap();
        staging.submit(&gpu, "copy", copy).unwrap();
        let reading = crate::gpu::read::<u32>(&gpu, &target, VALUES - 1, 1);
        assert_eq!(crate::gpu::block_on(&gpu.device, reading).unwrap(), [0x0202_0202]);
    }

    /// The device is lost after the CPU has written and before the GPU may copy.
    #[test]
    fn a_device_is_lost_between_the_two() {
        let gpu = own_gpu();
        let mut staging = Staging::new(&gpu, "staging", 1000).unwrap();
        staging.write(&gpu, |_| {}).unwrap();
        gpu.device.destroy();
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let answer = staging.submit(&gpu, "copy", |_, _| {});
        assert!(matches!(answer, Err(Error::DeviceLost(_))), "{answer:?}");
    }

    /// The loss of the device ends a wait before its limit.
    #[test]
    fn waiting_ends_with_the_device() {
        let gpu = own_gpu();
        let target = gpu.buffer("target", 1000).unwrap();
        let mut staging = Staging::new(&gpu, "staging", 1000).unwrap();
        for destroyed in [false, true] {
            if destroyed {
                gpu.device.destroy();
            }
            let copy = |encoder: &mut CommandEncoder, buffer: &Buffer| {
                encoder.copy_buffer_to_buffer(buffer, 0, &target, 0, 4000);
            };
            staging.submit(&gpu, "copy", copy).unwrap();
            let writing = async { staging.write(&gpu, |_| {}) };
            let answer = block_on_for(&gpu.device, Duration::from_secs(60), writing);
            assert_eq!(matches!(answer, Err(Error::DeviceLost(_))), destroyed, "{answer:?}");
        }
    }
}

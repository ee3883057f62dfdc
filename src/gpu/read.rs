//! Reads GPU memory on the CPU, without blocking.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use wgpu::{Buffer, BufferUsages, CommandEncoder, SubmissionIndex};

use super::shared::lock;
use super::watch::{Answer, Watch};
use super::{Gpu, Matrix, guarded, wait};
use crate::error::Result;

/// `count` values of four bytes in a buffer, from the one with index `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) buffer: &'a Buffer,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl<'a> Source<'a> {
    /// The beginning of a buffer.
    pub(crate) fn new(buffer: &'a Buffer, count: u64) -> Self {
        Self { buffer, first: 0, count }
    }

    /// All values of a matrix, with those between its rows.
    pub(crate) fn of(matrix: &'a Matrix) -> Self {
        Self { buffer: matrix.buffer(), first: matrix.first(), count: matrix.values() }
    }
}

/// Reads `count` values of four bytes from `first` on, as they will be after everything that was
/// submitted so far.
///
/// The copy is submitted at once; the future waits for it.
pub(crate) fn read<T: bytemuck::Pod>(
    gpu: &Gpu,
    buffer: &Buffer,
    first: u64,
    count: u64,
) -> impl Future<Output = Result<Vec<T>>> + use<T> {
    let values = read_all(gpu, [Source { buffer, first, count }]);
    async move {
        let [values] = values.await?;
        Ok(values)
    }
}

/// Reads values of several buffers at the same moment: one submission copies them all.
pub(crate) fn read_all<T: bytemuck::Pod, const N: usize>(
    gpu: &Gpu,
    sources: [Source<'_>; N],
) -> impl Future<Output = Result<[Vec<T>; N]>> + use<T, N> {
    let submitted = Copies::new(gpu, sources).and_then(|copies| copies.submit(gpu));
    async move { submitted?.await }
}

/// Copies of values of several buffers, at the end of an encoder. They are read after its submission.
pub(crate) struct Copies<'a, const N: usize> {
    sources: [Source<'a>; N],
    stagings: Vec<Buffer>,
}

impl<'a, const N: usize> Copies<'a, N> {
    pub(crate) fn new(gpu: &Gpu, sources: [Source<'a>; N]) -> Result<Self> {
        let staging_buffer = |source: &Source<'_>| {
            guarded(&gpu.device, || {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("ztilde/read"),
                    size: 4 * source.count,
                    usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
        };
        let stagings = sources.iter().map(staging_buffer).collect::<Result<_>>()?;
        Ok(Self { sources, stagings })
    }

    pub(crate) fn record(&self, encoder: &mut CommandEncoder) {
        for (Source { buffer, first, count }, staging) in self.sources.iter().zip(&self.stagings) {
            encoder.copy_buffer_to_buffer(buffer, 4 * first, staging, 0, 4 * count);
        }
    }

    /// Reads the copies, which this submission makes.
    pub(crate) fn read<T: bytemuck::Pod>(
        self,
        gpu: &Gpu,
        submission: &SubmissionIndex,
    ) -> impl Future<Output = Result<[Vec<T>; N]>> + use<T, N> {
        let readings = self.readings(gpu, submission);
        async move {
            let mut values = std::array::from_fn(|_| Vec::new());
            for (values, reading) in values.iter_mut().zip(readings) {
                *values = reading.values().await?;
            }
            Ok(values)
        }
    }

    /// Submits the copies alone, and reads them.
    fn submit<T: bytemuck::Pod>(
        self,
        gpu: &Gpu,
    ) -> Result<impl Future<Output = Result<[Vec<T>; N]>> + use<T, N>> {
        let submission = gpu.submit("ztilde/read", |encoder| self.record(encoder))?;
        Ok(self.read(gpu, &submission))
    }

    fn readings(self, gpu: &Gpu, submission: &SubmissionIndex) -> Vec<Reading> {
        let stagings = self.stagings.into_iter();
        stagings.map(|staging| Reading::new(gpu, staging, submission)).collect()
    }
}

/// A read without a future. Its values are available once wgpu has called back, which happens when the
/// app submits or polls.
#[derive(Debug)]
pub(crate) struct Glance(Reading);

impl Glance {
    pub(crate) fn start(gpu: &Gpu, source: Source<'_>) -> Result<Self> {
        let copies = Copies::new(gpu, [source])?;
        let submission = gpu.submit("ztilde/read", |encoder| copies.record(encoder))?;
        Ok(Self(copies.readings(gpu, &submission).remove(0)))
    }

    /// The values, if they are available. Does not poll the device.
    pub(crate) fn values(&self) -> Option<Result<Vec<u32>>> {
        let result = lock(&self.0.answer).result.take()?;
        let result = result.map_err(|error| self.0.watch.lose(error.to_string()));
        Some(result.and_then(|()| self.0.mapped()))
    }
}

/// A buffer that is being mapped.
#[derive(Debug)]
struct Reading {
    watch: Arc<Watch>,
    submission: SubmissionIndex,
    staging: Buffer,
    answer: Arc<Mutex<Answer>>,
}

impl Reading {
    fn new(gpu: &Gpu, staging: Buffer, submission: &SubmissionIndex) -> Self {
        let answer = Arc::new(Mutex::new(Answer::default()));
        let callbacks = Arc::clone(&answer);
        // An error means that the device is lost. The callback receives it, too, and the future returns
        // it.
        let _ = guarded(&gpu.device, || {
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                Answer::set(&callbacks, result);
            });
        });
        let watch = Arc::clone(&gpu.watch);
        Self { watch, submission: submission.clone(), staging, answer }
    }

    async fn values<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        let mut reading = self;
        (&mut reading).await?;
        reading.mapped()
    }

    /// The values of the buffer, which is mapped.
    fn mapped<T: bytemuck::Pod>(&self) -> Result<Vec<T>> {
        let lost = |error: wgpu::MapRangeError| self.watch.lose(error.to_string());
        let values = {
            let bytes = self.staging.get_mapped_range(..).map_err(lost)?;
            bytemuck::pod_collect_to_vec(&bytes)
        };
        // `unmap` fails if another thread has just destroyed the device; `destroy` never does.
        self.staging.destroy();
        Ok(values)
    }
}

impl Future for Reading {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { watch, submission, answer, .. } = &*self;
        // `look` lets wgpu run the callback; a lost device has answered already. In a browser `look`
        // does nothing, and the callback wakes the task.
        if lock(answer).result.is_none() {
            watch.look()?;
        }
        let mut locked = lock(answer);
        match locked.result.take() {
            Some(Ok(())) => return Poll::Ready(Ok(())),
            Some(Err(error)) => return Poll::Ready(Err(watch.lose(error.to_string()))),
            None => locked.waker = Some(context.waker().clone()),
        }
        drop(locked);
        wait::await_submission(watch, submission);
        #[cfg(not(target_arch = "wasm32"))]
        if !wait::asks_by_itself(context.waker()) {
            watch.wake_when_answered(answer);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;

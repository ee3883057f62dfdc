//! Wakes the futures that wait for a device. Natively wgpu calls back only when the device is polled, so
//! a thread for each device polls while futures wait.
//!
//! The thread polls, with pauses, and never waits inside wgpu: that would hold a lock that an app's next
//! frame may need. The thread keeps the device alive only while it polls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::{Answer, Watch};
use crate::gpu::pause::Pause;
use crate::gpu::shared::lock;

pub(in crate::gpu) use std::thread::Thread;

/// How long a thread without work stays alive, so that an app that awaits in a loop needs only one.
const LINGER: Duration = Duration::from_millis(100);

/// The futures that a thread has to wake.
#[derive(Debug, Default)]
pub(in crate::gpu) struct Waiting {
    answers: Vec<Weak<Mutex<Answer>>>,
    /// Whether a future was added since the thread last checked them.
    is_new: bool,
    pub(in crate::gpu) thread: Option<Thread>,
}

impl Watch {
    /// Asks a thread to wake the task that waits for this answer. If no thread can be started, the task
    /// is woken at once, and polls again.
    pub(in crate::gpu) fn wake_when_answered(self: &Arc<Self>, answer: &Arc<Mutex<Answer>>) {
        let mut waiting = lock(&self.waiting);
        if lock(answer).thread.is_some() {
            return;
        }
        let thread = match &waiting.thread {
            Some(thread) => thread.clone(),
            None => match start(Arc::downgrade(self)) {
                Ok(thread) => waiting.thread.insert(thread).clone(),
                Err(_) => {
                    drop(waiting);
                    let waker = lock(answer).waker.take();
                    return waker.into_iter().for_each(Waker::wake);
                }
            },
        };
        lock(answer).thread = Some(thread.clone());
        waiting.answers.push(Arc::downgrade(answer));
        waiting.is_new = true;
        thread.unpark();
    }

    /// Polls the device if futures wait. Returns the wakers of the ready futures, and the next action of
    /// the thread.
    fn look_for_others(&self, pause: &mut Pause) -> (Vec<Waker>, Next) {
        if lock(&self.waiting).answers.is_empty() {
            return (Vec::new(), Next::End);
        }
        // A callback of the app may panic here. Then the thread ends, after the panic's message.
        let looked = catch_unwind(AssertUnwindSafe(|| self.look()));
        if !matches!(looked, Ok(Ok(()))) {
            return (Vec::new(), Next::End);
        }
        let mut waiting = lock(&self.waiting);
        let mut wakers = Vec::new();
        waiting.answers.retain(|answer| {
            let Some(answer) = answer.upgrade() else { return false };
            let mut answer = lock(&answer);
            if answer.result.is_some() {
                wakers.extend(answer.waker.take());
            }
            answer.result.is_none()
        });
        if std::mem::take(&mut waiting.is_new) {
            *pause = Pause::default();
        }
        let next = if waiting.answers.is_empty() { Next::Linger } else { Next::Look };
        (wakers, next)
    }
}

/// The next action of the thread.
enum Next {
    Look,
    Linger,
    End,
}

fn start(watch: Weak<Watch>) -> std::io::Result<Thread> {
    let thread = thread::Builder::new().name("ztilde/waker".to_owned());
    Ok(thread.spawn(move || run(Ending(watch)))?.thread().clone())
}

/// The thread drops its handle of the device before it wakes a task: the task may end the process.
fn run(ending: Ending) {
    let mut pause = Pause::default();
    while let Some(watch) = ending.0.upgrade() {
        let (wakers, next) = watch.look_for_others(&mut pause);
        drop(watch);
        wakers.into_iter().for_each(Waker::wake);
        match next {
            Next::Look => thread::park_timeout(pause.next()),
            Next::Linger => thread::park_timeout(LINGER),
            Next::End => return,
        }
    }
}

/// Wakes all tasks when the thread ends, even by a panic: each task sees the error, or starts another
/// thread.
struct Ending(Weak<Watch>);

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(watch) = self.0.upgrade() else { return };
        let answers = {
            let mut waiting = lock(&watch.waiting);
            waiting.thread = None;
            std::mem::take(&mut waiting.answers)
        };
        drop(watch);
        for answer in answers.iter().filter_map(Weak::upgrade) {
            let waker = {
                let mut answer = lock(&answer);
                answer.thread = None;
                answer.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

//! Waking a task at a moment of the simulation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::time::{Instant, TimeHandle};

/// Longer than any run. madsim's clock cannot count much further.
pub const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A moment to be woken at. madsim's own sleep sets one more timer whenever it is polled, and a node's run
/// loop polls its timers at every event.
pub struct Alarm {
    sleep: madsim::time::Sleep,
    waker: Option<Waker>,
}

impl Alarm {
    /// Rings at this time, but not within the next millisecond: that is madsim's shortest sleep; and early rather than
    /// after a time that no run lasts.
    pub fn new(clock: &TimeHandle, at: Duration) -> Self {
        Self { sleep: clock.sleep(at.saturating_sub(clock.elapsed()).min(FAR)), waker: None }
    }

    /// Rings at this moment instead, however soon that is.
    pub fn set(&mut self, at: Instant) {
        Pin::new(&mut self.sleep).reset(at);
        self.waker = None;
    }

    /// Whether it will wake this task.
    pub fn wakes(&self, cx: &Context<'_>) -> bool {
        self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Whether it rings.
    pub fn rings(&self) -> Poll<()> {
        if self.sleep.is_elapsed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether it rings. If not, it wakes the task when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wakes(cx) {
            return self.rings();
        }
        self.waker = Some(cx.waker().clone());
        Pin::new(&mut self.sleep).poll(cx)
    }

    /// Wakes whoever this wakes at this moment, and never waits itself.
    pub fn wake_at(&mut self, at: Instant, waker: &Waker) {
        self.set(at);
        if Pin::new(&mut self.sleep).poll(&mut Context::from_waker(waker)).is_ready() {
            waker.wake_by_ref();
        }
    }
}

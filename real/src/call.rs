//! Whether something that is waited for has called since it was last looked at.
//!
//! A task that waits for several things polls all of them whenever one has called. Where that is often, asking
//! the others costs more than it should: a clock and a channel take locks to say "not yet".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::lock::lock;

/// Stands between a task and one thing that it waits for.
pub(crate) struct Call {
    line: Arc<Line>,
    /// Calls.
    waker: Waker,
    /// The task, as the line knows it.
    task: Option<Waker>,
}

struct Line {
    has_called: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Default for Call {
    fn default() -> Self {
        let line = Arc::new(Line { has_called: AtomicBool::new(true), task: Mutex::new(None) });
        Self { waker: Arc::clone(&line).into(), line, task: None }
    }
}

impl Call {
    /// Polls the thing, if it has called since it was last pending.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        thing: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            *lock(&self.line.task) = self.task.clone();
        }
        if !self.line.has_called.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let polled = thing(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.look_again();
        }
        polled
    }

    /// It is a new thing, or there may be more: it is polled the next time.
    pub(crate) fn look_again(&self) {
        self.line.has_called.store(true, Ordering::Release);
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_called.swap(true, Ordering::AcqRel) {
            let task = lock(&self.task).clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }
}

//! One task that waits for many things, and looks at those alone that have called it.
//!
//! Each thing is polled with a waker of its own, its bell. A bell that rings wakes the task and says whose it
//! is; so a wake-up costs the same among two connections and among two hundred. They are answered in the order
//! in which they rang, and nobody twice before everybody once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// All bells of one task.
pub(super) struct Bells<T> {
    shared: Arc<Mutex<Shared<T>>>,
    /// Who has rung and is being answered.
    round: VecDeque<T>,
    /// Who comes again in the next round, whether it rings or not.
    again: VecDeque<T>,
}

struct Shared<T> {
    rung: VecDeque<T>,
    /// The task, while it is to be woken.
    task: Option<Waker>,
}

/// The bell of one thing, and the waker that rings it.
pub(super) struct Bell<T> {
    rope: Arc<Rope<T>>,
    waker: Waker,
}

struct Rope<T> {
    whose: T,
    /// It has rung, and was not answered yet.
    has_rung: AtomicBool,
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T: Copy + Send + Sync + 'static> Bells<T> {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Mutex::new(Shared { rung: VecDeque::new(), task: None }));
        Self { shared, round: VecDeque::new(), again: VecDeque::new() }
    }

    /// A bell for a new thing. It rings: somebody has to look at the thing for the first time.
    pub(super) fn hang(&self, whose: T) -> Bell<T> {
        let (has_rung, shared) = (AtomicBool::new(false), Arc::clone(&self.shared));
        let rope = Arc::new(Rope { whose, has_rung, shared });
        let bell = Bell { waker: Arc::clone(&rope).into(), rope };
        bell.waker.wake_by_ref();
        bell
    }

    /// Whose bell is next in this round. Whoever looks at the thing [answers](Bell::answer) it before.
    pub(super) fn next(&mut self) -> Option<T> {
        self.round.pop_front()
    }

    /// It comes again in the next round. Only for a task that is about to ask for that round.
    pub(super) fn again(&mut self, bell: &Bell<T>) {
        if !bell.rope.has_rung.swap(true, Ordering::AcqRel) {
            self.again.push_back(bell.rope.whose);
        }
    }

    /// Begins a round with all that have rung, after the last one; whoever rings from now on wakes the task.
    pub(super) fn next_round(&mut self, cx: &Context<'_>) {
        std::mem::swap(&mut self.round, &mut self.again);
        let mut shared = lock(&self.shared);
        while let Some(whose) = shared.rung.pop_front() {
            self.round.push_back(whose);
        }
        if shared.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            shared.task = Some(cx.waker().clone());
        }
    }
}

impl<T> Bell<T> {
    /// From here on it may ring again.
    pub(super) fn answer(&self) -> &Waker {
        self.rope.has_rung.store(false, Ordering::Release);
        &self.waker
    }

    /// What rings it.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl<T: Copy + Send + Sync> Wake for Rope<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.has_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut shared = lock(&self.shared);
            shared.rung.push_back(self.whose);
            shared.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

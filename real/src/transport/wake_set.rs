//! One task that waits for many things, and looks at those alone that have called it.
//!
//! Each thing is polled with a waker of its own, which wakes the task and says whose it is; so a wake-up costs the
//! same among two connections and among two hundred. They are polled in the order in which they woke the task, and
//! nobody twice before everybody once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use crate::lock::lock;

/// All wakers of one task.
pub(super) struct WakeSet<T> {
    shared: Arc<Mutex<Shared<T>>>,
    /// Who has woken the task, and is polled in this round.
    round: VecDeque<T>,
    /// Who comes again in the next round, whether it wakes the task or not.
    again: VecDeque<T>,
}

struct Shared<T> {
    woken: VecDeque<T>,
    /// The task, while it is to be woken.
    task: Option<Waker>,
}

/// The waker of one thing.
pub(super) struct SlotWaker<T> {
    slot: Arc<Slot<T>>,
    waker: Waker,
}

struct Slot<T> {
    whose: T,
    /// It has woken the task, and was not polled since.
    is_woken: AtomicBool,
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T: Copy + Send + Sync + 'static> WakeSet<T> {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Mutex::new(Shared { woken: VecDeque::new(), task: None }));
        Self { shared, round: VecDeque::new(), again: VecDeque::new() }
    }

    /// A waker for a new thing. It wakes the task: somebody has to poll the thing for the first time.
    pub(super) fn waker(&self, whose: T) -> SlotWaker<T> {
        let (is_woken, shared) = (AtomicBool::new(false), Arc::clone(&self.shared));
        let slot = Arc::new(Slot { whose, is_woken, shared });
        let waker = SlotWaker { waker: Arc::clone(&slot).into(), slot };
        waker.waker.wake_by_ref();
        waker
    }

    /// Who is next in this round. Whoever polls the thing [answers](SlotWaker::answer) its waker before.
    pub(super) fn next(&mut self) -> Option<T> {
        self.round.pop_front()
    }

    /// It comes again in the next round. Only for a task that is about to ask for that round.
    pub(super) fn again(&mut self, waker: &SlotWaker<T>) {
        if !waker.slot.is_woken.swap(true, Ordering::AcqRel) {
            self.again.push_back(waker.slot.whose);
        }
    }

    /// Begins a round with all that have woken, after the last one; whoever wakes from now on wakes the task itself.
    pub(super) fn next_round(&mut self, cx: &Context<'_>) {
        std::mem::swap(&mut self.round, &mut self.again);
        let mut shared = lock(&self.shared);
        while let Some(whose) = shared.woken.pop_front() {
            self.round.push_back(whose);
        }
        if shared.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            shared.task = Some(cx.waker().clone());
        }
    }
}

impl<T> SlotWaker<T> {
    /// From here on it may wake the task again.
    pub(super) fn answer(&self) -> &Waker {
        self.slot.is_woken.store(false, Ordering::Release);
        &self.waker
    }

    /// Whether it has woken the task, and nobody has looked since.
    pub(super) fn has_woken(&self) -> bool {
        self.slot.is_woken.load(Ordering::Acquire)
    }

    /// The waker to poll with.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl<T: Copy + Send + Sync> Wake for Slot<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut shared = lock(&self.shared);
            shared.woken.push_back(self.whose);
            shared.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

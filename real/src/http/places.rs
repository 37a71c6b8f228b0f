//! The places for connections, and who gives his up when all are taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::lock::lock;
use tokio::sync::Notify;

/// A client that lets its connection wait for so long in the midst of a request may have to make room. Few bodies take so
/// long, and they go only where nothing is idle; without this, a byte now and then would keep a place for ever.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// How a connection stands. The lesser one gives way before the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// No request is in flight.
    Idle {
        /// Since its beginning, or since the last answer.
        since: Duration,
    },
    /// A request is in flight, and goes on when its client does something.
    Awaited {
        /// Since the head was there, while the body is on its way; since bytes last moved, if the client takes nothing.
        since: Duration,
    },
    /// It is being answered.
    Busy,
}

impl Standing {
    /// Whether it can be asked to make room.
    fn may_go(self, now: Duration) -> bool {
        match self {
            Self::Idle { .. } => true,
            Self::Awaited { since } => now.saturating_sub(since) >= LONG_WAIT,
            Self::Busy => false,
        }
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    /// Somebody waits for one.
    is_wanted: AtomicBool,
    /// A place has become free, or may be made free now.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many have been taken so far.
    count: u64,
    seats: BTreeMap<u64, Arc<Mutex<Seat>>>,
}

/// What is known of the connection at a place.
#[derive(Debug)]
struct Seat {
    standing: Standing,
    /// It has been asked to make room, and has not said anything yet.
    is_asked: bool,
    /// Its task.
    task: Option<Waker>,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    seat: Arc<Mutex<Seat>>,
    places: Arc<Places>,
}

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default(), is_wanted: AtomicBool::new(false), changed: Notify::new() }
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Arc<Self>, now: Duration) -> Option<Place> {
        let mut taken = lock(&self.taken);
        if taken.seats.len() >= self.most {
            return None;
        }
        self.is_wanted.store(false, Ordering::SeqCst);
        taken.count += 1;
        let number = taken.count;
        let seat = Seat { standing: Standing::Idle { since: now }, is_asked: false, task: None };
        let seat = Arc::new(Mutex::new(seat));
        taken.seats.insert(number, Arc::clone(&seat));
        Some(Place { number, seat, places: Arc::clone(self) })
    }

    /// Asks the one to go that can be spared best, unless somebody is asked already. It goes if nothing has come for it
    /// meanwhile: that only its own task can know. [`changed`](Self::changed) tells when it has answered.
    pub(super) fn make_room(&self, now: Duration) {
        self.is_wanted.store(true, Ordering::SeqCst);
        let task = self.ask_one(now);
        if let Some(task) = task {
            task.wake();
        }
    }

    fn ask_one(&self, now: Duration) -> Option<Waker> {
        let taken = lock(&self.taken);
        let mut first: Option<(Standing, &Arc<Mutex<Seat>>)> = None;
        for seat in taken.seats.values() {
            let Seat { standing, is_asked, .. } = *lock(seat);
            if is_asked {
                return None;
            }
            if standing.may_go(now) && first.is_none_or(|(least, _)| standing < least) {
                first = Some((standing, seat));
            }
        }
        let mut seat = lock(first?.1);
        seat.is_asked = true;
        seat.task.clone() // one that has not run yet will see it when it does
    }

    /// Waits until it may be worth while to look again.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Place {
    /// Says how the connection stands, to whoever looks for a place. Whether it has to go; until then it can be asked.
    pub(super) fn report(&self, standing: Standing, now: Duration, cx: &Context<'_>) -> bool {
        let mut seat = lock(&self.seat);
        seat.standing = standing;
        if seat.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            seat.task = Some(cx.waker().clone());
        }
        let may_go = standing.may_go(now);
        let was_asked = seat.is_asked;
        seat.is_asked &= may_go;
        drop(seat);
        // Somebody else has to be asked, or this one can be.
        if was_asked != may_go && (was_asked || self.places.is_wanted.load(Ordering::SeqCst)) {
            self.places.changed.notify_one();
        }
        was_asked && may_go
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.taken).seats.remove(&self.number);
        self.places.changed.notify_one();
    }
}

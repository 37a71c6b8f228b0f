//! Which send a frame comes from. The production frames carry no number, and equal messages have equal bytes;
//! so the numbers are kept beside them, all the way: queues and connections keep the order, and whatever
//! loses frames on the way says so here. Only kept for a story.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coalmine_core::node::NodeId;

/// A transport takes a message as soon as it is sent, unless it is connecting or waits to do so again; and
/// that takes longer than this.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The numbers of all frames under way, if they are kept.
#[derive(Clone, Default)]
pub struct Numbers(Option<Arc<Mutex<Book>>>);

#[derive(Default)]
struct Book {
    directions: BTreeMap<(NodeId, NodeId), Direction>,
}

#[derive(Default)]
struct Direction {
    /// What the sender gave to its transport, in order.
    sent: VecDeque<Sent>,
    /// The last attempt to connect has failed: what waited for it is lost.
    failed: bool,
    /// What the receiver has read, in order, and not taken yet.
    read: VecDeque<Option<u64>>,
}

struct Sent {
    number: u64,
    at: Duration,
    frame: Vec<u8>,
}

impl Numbers {
    /// Numbers that are kept, or none.
    pub fn new(keep: bool) -> Self {
        Self(keep.then(Arc::default))
    }

    /// Whether anybody asks.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// A node gives a frame to its transport.
    pub fn sent(
        &self,
        direction: (NodeId, NodeId),
        number: u64,
        at: Duration,
        frame: impl FnOnce() -> Vec<u8>,
    ) {
        self.with(|book| book.direction(direction).sent.push_back(Sent { number, at, frame: frame() }));
    }

    /// A node begins a new life: its transport and its connections are new.
    pub fn boots(&self, node: NodeId) {
        self.with(|book| {
            for (&(from, to), direction) in &mut book.directions {
                if from == node {
                    direction.sent.clear();
                    direction.failed = false;
                }
                if to == node {
                    direction.read.clear();
                }
            }
        });
    }

    /// A transport connects, for the oldest frame that waits. After a failure none waits that is old.
    pub fn connects(&self, direction: (NodeId, NodeId), now: Duration) {
        self.with(|book| {
            let direction = book.direction(direction);
            if std::mem::take(&mut direction.failed)
                && let Some(last) = direction.sent.back()
            {
                let since = now.min(last.at).saturating_sub(AT_ONCE);
                direction.sent.retain(|sent| sent.at >= since);
            }
        });
    }

    /// It could not.
    pub fn fails(&self, direction: (NodeId, NodeId)) {
        self.with(|book| book.direction(direction).failed = true);
    }

    /// A transport hands a frame to a connection. Which is it?
    pub fn leaves(&self, direction: (NodeId, NodeId), frame: &[u8]) -> Option<u64> {
        self.with(|book| {
            let sent = &mut book.direction(direction).sent;
            let place = sent.iter().position(|sent| sent.frame == frame)?;
            sent.drain(..=place).next_back().map(|sent| sent.number)
        })?
    }

    /// A node has read a frame.
    pub fn read(&self, direction: (NodeId, NodeId), number: Option<u64>) {
        self.with(|book| book.direction(direction).read.push_back(number));
    }

    /// A node takes the next message that it has read from a peer. Which is it?
    pub fn taken(&self, direction: (NodeId, NodeId)) -> Option<u64> {
        self.with(|book| book.direction(direction).read.pop_front()??.into())?
    }

    fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> Option<T> {
        let book = self.0.as_ref()?;
        Some(work(&mut book.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Book {
    fn direction(&mut self, direction: (NodeId, NodeId)) -> &mut Direction {
        self.directions.entry(direction).or_default()
    }
}

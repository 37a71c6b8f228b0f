//! The [`World`]: hosts, disks, network, what was spent of the fault budget. A pure value: cheap to clone, to
//! hash and to compare. [`Rules`] say how one world becomes the next.
//!
//! # What may happen
//!
//! * What is sent to another member gets under way; to anybody else, it is lost.
//! * A packet is delivered; with budget it is dropped, or delivered while a copy stays under way. Packets
//!   have no order, and one that equals another under way is that one. What reaches a node that is down is
//!   lost, which costs nothing.
//! * An armed timer fires, at any moment (with budget, where one is set).
//! * A disk makes the next unsynced record durable (in `Disk::Sync` it does so at once).
//! * A client sends its next request, or the same one where it was sent instead; with budget it sends one again that it
//!   has sent, under the same name (see [`clients`]).
//! * With budget a member is told something from outside, at any moment.
//! * A node crashes; that of a process and that of its machine are one, because a boot syncs what it has read (see
//!   [`coalmine_core::disk`]). **The crash may fall between any two effects of a step**: any prefix of what the step
//!   releases has left, any prefix of the unsynced records survives. This costs the crash budget only. A
//!   crash may also be a *wipe*, after which the disk is empty; it has a budget of its own.
//! * A node that is down restarts.
//! * With budget the link between two nodes is cut, one way or both ways (either costs one). What is under
//!   way on it is lost, and so is all that is sent while the cut lasts. Healing is free, each way by itself.
//!
//! What a node [chooses](coalmine_core::node::Context::choose) is tried in every way.
//!
//! A node that panics in a step has done nothing in it, and nothing happens after it: that a node [never
//! panics](crate::spec::verdict::NEVER_PANICS) is something that must hold, like an invariant.

pub mod clients;
mod describe;
pub mod find;
pub mod rules;
pub mod shared;
mod spent;
#[cfg(test)]
mod tests;
pub mod walk;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Node, NodeId};

pub use self::clients::Ask;
use self::clients::MemoryOf;
pub use self::rules::{Action, CrashPoint, Kept, Rules, Step, Transition};
use self::shared::Shared;
pub use self::spent::Spent;
use crate::panics::Panic;
use crate::spec::faults::Directions;
use crate::spec::system::{NodeOf, System};

/// One state of the whole system.
pub struct World<S: System> {
    /// The members, for words; no part of what tells worlds apart.
    members: Arc<[NodeId]>,
    pub(crate) slots: Vec<Shared<Slot<NodeOf<S>>>>,
    /// What is under way; sorted, without repetitions.
    pub(crate) packets: Vec<Shared<Packet<NodeOf<S>>>>,
    /// The links that are cut now.
    pub(crate) cut: Directions,
    pub(crate) memory: Shared<MemoryOf<S>>,
    pub(crate) spent: Spent,
    /// Which invariants are broken and which witnesses are seen here, a bit each: follows from the rest.
    pub(crate) verdict: u64,
}

/// A place for a node: its disk, and its host while it is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot<N: Node> {
    /// `None` while the node is down.
    pub host: Option<Host<N>>,
    /// What it wrote.
    pub disk: LossyDisk<N::Record>,
    /// How often it has booted.
    pub lives: u64,
    /// What it has [told too early](coalmine_core::write_ahead), if it ever did.
    pub early_output: Option<Box<str>>,
    /// What its node panicked with. Nothing happens any more in a world in which one has.
    pub panic: Option<Arc<Panic>>,
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet<N: Node> {
    /// Who sent it.
    pub from: NodeId,
    /// For whom it is.
    pub to: NodeId,
    /// What it says.
    pub message: N::Message,
}

// Derived, these would ask the node itself for an order.
impl<N: Node> PartialOrd for Packet<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<N: Node> Ord for Packet<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.from, self.to, &self.message).cmp(&(other.from, other.to, &other.message))
    }
}

impl<S: System> World<S> {
    /// The members' places, in order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot<NodeOf<S>>> {
        self.slots.iter().map(|slot| &**slot)
    }

    /// What is under way.
    pub fn packets(&self) -> impl Iterator<Item = &Packet<NodeOf<S>>> {
        self.packets.iter().map(|packet| &**packet)
    }

    /// The links that are cut.
    pub fn cuts(&self) -> &Directions {
        &self.cut
    }

    /// What was spent of the budgets.
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Whether what is sent gets under way at all: to another member. What is sent to anybody else is lost, as it is
    /// where messages have addresses.
    pub(crate) fn is_peer(&self, from: NodeId, to: NodeId) -> bool {
        from != to && self.members.contains(&to)
    }

    /// What a node has panicked with, if one has.
    pub fn panic(&self) -> Option<&Panic> {
        self.slots.iter().find_map(|slot| slot.panic.as_deref())
    }
}

impl<S: System> Clone for World<S> {
    fn clone(&self) -> Self {
        Self {
            members: Arc::clone(&self.members),
            slots: self.slots.clone(),
            packets: self.packets.clone(),
            cut: self.cut.clone(),
            memory: self.memory.clone(),
            spent: self.spent,
            verdict: self.verdict,
        }
    }
}

impl<S: System> PartialEq for World<S> {
    fn eq(&self, other: &Self) -> bool {
        self.spent == other.spent
            && self.slots == other.slots
            && self.packets == other.packets
            && self.cut == other.cut
            && self.memory == other.memory
    }
}
impl<S: System> Eq for World<S> {}

impl<S: System> Hash for World<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.slots.hash(state);
        self.packets.hash(state);
        self.cut.hash(state);
        self.memory.hash(state);
        self.spent.hash(state);
    }
}

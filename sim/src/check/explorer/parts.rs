//! The parts that worlds are made of, and what may happen to one of them.

use std::hash::Hash;
use std::sync::OnceLock;

use coalmine_core::node::{Node, NodeId};
use coalmine_core::observation::Heard;
use serde::{Deserialize, Serialize};

use super::costs::Costs;
use crate::fingerprint::fingerprint;
use crate::spec::budget::Budget;
use crate::spec::faults::Directions;
use crate::world::clients::Memory;
use crate::world::{Packet, Slot, Spent};

/// The number of no packets, and of no facts.
pub const NOTHING: u32 = 0;

/// The number of no packet.
pub const NO_PACKET: u32 = u32::MAX;

/// The number of no history: it panicked.
pub const NO_PAST: u32 = u32::MAX;

/// What may be at a place.
pub struct Local<N: Node> {
    pub hash: u64,
    pub slot: Slot<N>,
    /// Where it comes from. None: it is where all begins.
    pub origin: OnceLock<Origin>,
    /// What may happen here by itself; worked out when it is asked for.
    pub(super) offers: OnceLock<Box<[Offer]>>,
}

/// Where a local state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The local state before; its number is lower.
    pub before: u32,
    pub cause: OriginCause,
    /// Which of the outcomes.
    pub outcome: u32,
}

/// What led to a local state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginCause {
    /// The packet with this number.
    Packet(u32),
    /// What is asked under this number.
    Request(u32),
    /// The offer with this number.
    Offer(u32),
    /// The member is gone for ever.
    Gone,
}

/// Something that may happen at a place by itself.
pub struct Offer {
    /// Which of the offers of its local state.
    pub(super) number: u32,
    pub kind: OfferKind,
    pub(super) outcomes: OnceLock<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// A boot, or a record that becomes durable.
    Free,
    /// A timer fires: the one with this number.
    Fire { number: usize, is_periodic: bool },
    /// A crash while nothing happens.
    Crash,
}

/// What reaches a place from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The packet with this number.
    Packet(u32),
    /// What is asked under this number.
    Request(u32),
}

/// What may become of a place in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The place's next local state, and its hash.
    pub slot: u32,
    pub hash: u64,
    /// What is sent.
    pub sends: u32,
    /// What is observed.
    pub facts: u32,
    /// Which timers are armed, or armed anew, of those that are armed then.
    pub arms: u32,
    /// Whether it crashes, and how: [`Budget::Crashes`] or [`Budget::Wipes`].
    pub crash: Option<Budget>,
}

/// Something that may happen at a place, whoever brings it about, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The place's next local state, and what it adds to the fingerprint.
    pub slot: u32,
    pub hash: u64,
    /// What is sent.
    pub sends: u32,
    /// What is observed.
    pub facts: u32,
    /// The packet that is taken from the network.
    pub takes: u32,
    pub costs: Costs,
}

impl Choice {
    pub(super) fn of(outcome: &Outcome, before: u64, takes: u32, costs: Costs) -> Self {
        let Outcome { slot, hash, sends, facts, crash, arms: _ } = *outcome;
        let costs = crash.map_or(costs, |crash| costs.and(Costs::of(crash)));
        Self { slot, hash: hash.wrapping_sub(before), sends, facts, takes, costs }
    }

    /// Whether it leaves a place in this state as it was, and nobody learns of it.
    pub fn is_nothing(&self, slot: u32) -> bool {
        (self.slot, self.sends, self.facts) == (slot, NOTHING, NOTHING)
    }
}

/// A packet, and which places it goes from and to.
pub struct KnownPacket<N: Node> {
    pub(super) hash: u64,
    pub(super) place: usize,
    pub(super) from: usize,
    /// The name of the message's variant.
    pub(super) kind: String,
    pub packet: Packet<N>,
}

/// Packets for one place, in the order of their hashes, without repetitions.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// The sum of the packets' hashes.
    pub hash: u64,
    pub packets: Box<[u32]>,
    /// The same, by sender and message.
    pub in_order: Box<[u32]>,
}

/// What a step sends: to which places which packets, by the number these would have as an inbox.
pub type Sent = Box<[(usize, u32)]>;

/// What the history hears of a node's step.
pub struct Facts<N: Node> {
    pub node: NodeId,
    pub facts: Vec<Heard<N>>,
    /// Whether a client learns something by which it may go on.
    pub is_for_clients: bool,
}

/// All facts so far.
pub struct Past<H, N: Node> {
    pub hash: u64,
    pub memory: Memory<H, N>,
    /// The history before, and what was observed. None: nothing was.
    pub origin: OnceLock<(u32, u32)>,
}

/// What was spent and which links are cut.
pub struct Paid {
    pub hash: u64,
    pub spent: Spent,
    pub cut: Directions,
    /// What may still be paid.
    pub affordable: Costs,
    /// By cost: what it comes to.
    pub(super) after: Box<[OnceLock<u32>]>,
    /// What cutting or healing a link comes to, for every link in order.
    pub(super) links: OnceLock<Box<[u32]>>,
}

/// What a hash is of: equal things of different kinds differ.
#[derive(Hash)]
pub enum Part {
    Place,
    Packet,
    History,
    Budget,
}

/// What a place adds to a fingerprint.
pub fn hash_of_slot<N: Node>(place: usize, slot: &Slot<N>) -> u64 {
    hash_of(Part::Place, &(place, slot))
}

/// What a packet adds to a fingerprint.
pub fn hash_of_packet<N: Node>(packet: &Packet<N>) -> u64 {
    hash_of(Part::Packet, packet)
}

/// What a memory adds to a fingerprint.
pub fn hash_of_memory(memory: &impl Hash) -> u64 {
    hash_of(Part::History, memory)
}

/// What a part adds to a fingerprint.
pub fn hash_of(part: Part, value: &impl Hash) -> u64 {
    fingerprint(&(part, value))
}

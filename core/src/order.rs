//! In which order a [`Host`](crate::host::Host) lets effects out: the safe one, or a wrong one on purpose.
//!
//! An append holds back what follows it until it is durable. A host that breaks this rule makes the same mistake with
//! every node, so no protocol needs a branch for it, and whoever writes a node gets these mistakes with it: if neither
//! its invariants nor the [write-ahead rule](crate::write_ahead) see them, nothing would notice a shell or a disk that
//! makes them. Only simulations say that a host is to make one: no file and no command line of a running node can.

use std::fmt;

use crate::node::{Effect, Node};

/// The order that a host keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What follows a record waits until the record is durable.
    #[default]
    Safe,
    /// Messages do not wait.
    SendsEarly,
    /// Answers to clients do not wait.
    RepliesEarly,
    /// Nothing waits, and what is written is called durable.
    NothingWaits,
}

/// The order that one host keeps. All hosts of one system keep the same, so it tells no two states apart.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    pub order: Order,
    /// Whether something has left early that the safe order would have held back.
    pub is_broken: bool,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order.fmt(f)
    }
}

/// A wrong order, as a mistake that a host makes on purpose.
#[derive(Clone, Copy, Debug)]
pub struct WrongOrder {
    /// The order.
    pub order: Order,
    /// Its name, in small letters with hyphens.
    pub name: &'static str,
    /// What is wrong, in one sentence.
    pub about: &'static str,
    /// Where it is known from.
    pub source: &'static str,
}

impl WrongOrder {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self {
            order: Order::SendsEarly,
            name: "sends-early",
            about: "Messages leave before the records that they follow are durable.",
            source: "Gray 1978, the write-ahead log; akka-raft 56, a vote that is told before it is durable",
        },
        Self {
            order: Order::RepliesEarly,
            name: "replies-early",
            about: "Clients are answered before the records that the answer follows are durable.",
            source: "ZooKeeper 4643 and 4646, acknowledged before the history is durable",
        },
        Self {
            order: Order::NothingWaits,
            name: "nothing-waits",
            about: "What is written is taken for durable: nobody waits for a sync.",
            source: "Pillai et al. 2014, All File Systems Are Not Created Equal",
        },
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wrong| wrong.name == name)
    }
}

impl Kept {
    pub fn new(order: Order) -> Self {
        Self { order, is_broken: false }
    }

    /// Whether this effect leaves although a record before it is not durable.
    pub fn lets_out<N: Node>(&mut self, effect: &Effect<N>) -> bool {
        let is_early = match self.order {
            Order::Safe => false,
            Order::SendsEarly => matches!(effect, Effect::Send { .. }),
            Order::RepliesEarly => matches!(effect, Effect::Reply { .. }),
            Order::NothingWaits => true,
        };
        self.is_broken |= is_early;
        is_early
    }

    /// The node asks when all is durable; `waits` if that is not now.
    pub fn asked(&mut self, waits: bool) {
        self.is_broken |= waits && self.order == Order::NothingWaits;
    }
}

impl Order {
    /// How many records must be durable before what waits is let out, if so many were written before it.
    pub(crate) fn waits_for(self, written: u64) -> u64 {
        match self {
            Self::Safe | Self::SendsEarly | Self::RepliesEarly => written,
            // Only questions wait at all: their answers are steps of their own.
            Self::NothingWaits => 0,
        }
    }
}

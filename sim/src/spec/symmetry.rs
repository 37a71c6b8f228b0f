//! Interchangeable members: a system in which nothing depends on which of them is which.
//!
//! A system says who they are and how names are exchanged in what its nodes are made of. Worlds that differ only
//! in who of them is who then count as one, an *orbit*, and only one of its worlds is explored further (Ip, Dill,
//! *Better Verification Through Symmetry*, FMSD 1996). Invariants and witnesses must not tell the members apart.

use std::collections::BTreeMap;

use coalmine_core::disk::LossyDisk;
use coalmine_core::node::{Effect, Node, NodeId};

use crate::world::{Packet, Slot};

/// Who is called what.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names(BTreeMap<NodeId, NodeId>);

impl Names {
    /// The new name of a member: its old one if it has no other.
    pub fn of(&self, id: NodeId) -> NodeId {
        self.0.get(&id).copied().unwrap_or(id)
    }
}

impl FromIterator<(NodeId, NodeId)> for Names {
    fn from_iter<I: IntoIterator<Item = (NodeId, NodeId)>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// Who is interchangeable, and how a system looks when names are exchanged.
pub struct Symmetry<N: Node, H> {
    /// The members that are interchangeable.
    pub members: Vec<NodeId>,
    /// A node that calls all by their new names.
    pub node: fn(&N, &Names) -> N,
    /// A message with the new names.
    pub message: fn(&N::Message, &Names) -> N::Message,
    /// A timer with the new names.
    pub timer: fn(&N::Timer, &Names) -> N::Timer,
    /// A record with the new names.
    pub record: fn(&N::Record, &Names) -> N::Record,
    /// A fact with the new names.
    pub fact: fn(&N::Fact, &Names) -> N::Fact,
    /// A history with the new names.
    pub history: fn(&H, &Names) -> H,
}

impl<N: Node, H> Symmetry<N, H> {
    /// A place with the new names.
    pub(crate) fn slot(&self, slot: &Slot<N>, names: &Names) -> Slot<N> {
        let mut disk = LossyDisk::default();
        slot.disk.written().iter().for_each(|record| disk.append((self.record)(record, names)));
        disk.sync(slot.disk.durable().len());
        let host = slot.host.as_ref().map(|host| {
            let timer = |timer: &N::Timer| (self.timer)(timer, names);
            host.renamed((self.node)(host.node(), names), timer, |effect| self.effect(effect, names))
        });
        let (told_early, panic) = (slot.told_early.clone(), slot.panic.clone());
        Slot { host, disk, lives: slot.lives, told_early, panic }
    }

    /// A packet with the new names.
    pub(crate) fn packet(&self, packet: &Packet<N>, names: &Names) -> Packet<N> {
        let message = (self.message)(&packet.message, names);
        Packet { from: names.of(packet.from), to: names.of(packet.to), message }
    }

    fn effect(&self, effect: &Effect<N>, names: &Names) -> Effect<N> {
        match effect {
            Effect::Append(record) => Effect::Append((self.record)(record, names)),
            Effect::Send { to, message } => {
                Effect::Send { to: names.of(*to), message: (self.message)(message, names) }
            }
            Effect::Observe(fact) => Effect::Observe((self.fact)(fact, names)),
            Effect::SetTimer { timer, delay } => {
                Effect::SetTimer { timer: (self.timer)(timer, names), delay: *delay }
            }
            Effect::CancelTimer(timer) => Effect::CancelTimer((self.timer)(timer, names)),
            Effect::Reply { .. } | Effect::Publish(_) | Effect::WhenDurable(_) => effect.clone(),
        }
    }
}

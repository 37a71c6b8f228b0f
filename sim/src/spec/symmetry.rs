//! Interchangeable members: a system in which nothing depends on which of them is which.
//!
//! A system says who they are and how names are exchanged in what its nodes are made of. Worlds that differ only
//! in who of them is who then count as one, an *orbit*, and only one of its worlds is explored further (Ip, Dill,
//! *Better Verification Through Symmetry*, FMSD 1996). Invariants and witnesses must not tell the members apart.

use std::collections::BTreeMap;

use coalmine_core::node::{Node, NodeId};

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

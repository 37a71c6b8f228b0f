//! What clients know, as far as it says what they do next.
//!
//! A client is a session: it asks one thing after the other. It goes where it is [sent](Node::instead), at no cost; it may
//! give up at any time and go on with what comes next; and what it asks may [follow](System::follow_up) from what it was
//! told before. An answer is heard as soon as it leaves its member: a client that hears it later, or never, gives up and
//! asks again, which is tried as well.
//!
//! Where it is asked whether the system settles, clients do what real ones do: whoever waits asks again in every round,
//! and must have been answered at rest.

use std::collections::BTreeMap;

use coalmine_core::node::{Node, NodeId};

use crate::spec::system::{NodeOf, System};

/// A request as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask<N: Node> {
    /// Which of the system's operations it is, or of its inputs behind them.
    pub index: usize,
    /// Whom it is sent to.
    pub to: NodeId,
    /// What is asked.
    pub request: N::Request,
    /// Whether its client was sent there: then it is free.
    pub sent_on: bool,
}

/// By operation: what its client knows of it. Without an entry it was not asked, or is of no matter any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clients<N: Node>(pub(super) BTreeMap<usize, Known<N>>);

impl<N: Node> Default for Clients<N> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// What a client knows of what it has asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Known<N: Node> {
    /// It was asked: there, if its client was sent there. The client waits.
    Waits(Option<NodeId>),
    /// Its client was sent there, and has not asked there yet.
    SentOn(NodeId),
    /// It was answered; the answer is kept where something may follow from it.
    Answered(Option<N::Reply>),
    /// Its client has gone on without an answer.
    GivenUp,
}

/// What is remembered of the past.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory<H, N: Node> {
    /// What invariants need of it.
    pub history: H,
    /// What clients need of it.
    pub clients: Clients<N>,
}

/// What is remembered of a system's past.
pub type MemoryOf<S> = Memory<<S as System>::History, NodeOf<S>>;

impl<N: Node> Clients<N> {
    /// Whether nobody knows anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is asked, if it is, of whom its system says.
    pub fn is_plain(&self, index: usize) -> bool {
        !matches!(self.0.get(&index), Some(Known::Waits(Some(_)) | Known::SentOn(_)))
    }

    /// The same with other names for the members.
    pub fn renamed(&self, name: impl Fn(NodeId) -> NodeId) -> Self {
        let known = |known: &Known<N>| match known {
            Known::Waits(at) => Known::Waits(at.map(&name)),
            Known::SentOn(to) => Known::SentOn(name(*to)),
            Known::Answered(_) | Known::GivenUp => known.clone(),
        };
        Self(self.0.iter().map(|(index, it)| (*index, known(it))).collect())
    }

    /// A client goes on: what it asked before is over, and of matter only where something `follows` from it.
    pub(super) fn leaves(&mut self, index: usize, follows: bool) {
        if !follows {
            self.0.remove(&index);
        } else if let Some(known @ (Known::Waits(_) | Known::SentOn(_))) = self.0.get_mut(&index) {
            *known = Known::GivenUp;
        }
    }
}

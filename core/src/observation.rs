//! What an invariant sees, in every world: each node's state, what is durable on its disk, and the facts so
//! far, folded into a history.
//!
//! Facts are folded rather than kept, because the checker stores one history per state: it holds only what
//! some invariant asks about (Lamport's *history variable*).

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::node::{Effect, Node, NodeId, Published, RequestId};

/// All facts so far, folded into what the invariants need.
pub trait History<N: Node>: Clone + Eq + Hash + Debug + Default + Send + Sync + 'static {
    /// Whether it may matter in which order facts of *different* nodes are observed. Where it does not, the checker
    /// tries fewer orders.
    const IS_ORDERED: bool = true;

    /// Whether it hears what clients are told, too. Where nobody asks, the checker need not tell states apart by
    /// it.
    const HEARS_REPLIES: bool = false;

    /// Whether it hears what clients ask, too: see [`called`](Self::called).
    const HEARS_CALLS: bool = false;

    /// `node` has observed `fact`.
    fn observe(&mut self, node: NodeId, fact: &N::Fact);

    /// `node` takes what a client asks, for the first time or again. Told of if this history
    /// [hears calls](Self::HEARS_CALLS), before anything that comes of it, in every world. A client that asks and never
    /// reaches anybody is not heard of.
    fn called(&mut self, _node: NodeId, _id: RequestId, _request: &N::Request) {}

    /// `node` has answered a client; whether the answer arrives nobody knows. Told of if this history
    /// [hears replies](Self::HEARS_REPLIES), and like a fact: in order, in every world.
    fn replied(&mut self, _node: NodeId, _to: RequestId, _reply: &N::Reply) {}

    /// `node` shows readers outside this from now on. Told of where a run is watched, or a recording executed
    /// again. The checker does not: it takes two worlds for one that differ only in what is shown.
    fn published(&mut self, _node: NodeId, _view: &N::View) {}

    /// Takes in whatever `node` lets it hear.
    fn hear(&mut self, node: NodeId, heard: &Heard<N>) {
        match heard {
            Heard::Fact(fact) => self.observe(node, fact),
            Heard::Call { id, request } => self.called(node, *id, request),
            Heard::Reply { to, reply } => self.replied(node, *to, reply),
        }
    }

    /// Takes in all that it is told of what `node` did.
    fn learn(&mut self, node: NodeId, effects: &[Effect<N>]) {
        for effect in effects {
            match effect {
                Effect::Observe(fact) => self.observe(node, fact),
                Effect::Reply { to, reply } if Self::HEARS_REPLIES => self.replied(node, *to, reply),
                Effect::Publish(Published(view)) => self.published(node, view),
                Effect::Reply { .. }
                | Effect::Append(_)
                | Effect::Send { .. }
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)
                | Effect::WhenDurable(_)
                | Effect::Forget(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. } => {}
            }
        }
    }
}

/// For systems whose invariants read only states and disks.
impl<N: Node> History<N> for () {
    const IS_ORDERED: bool = false;

    fn observe(&mut self, _: NodeId, _: &N::Fact) {}
}

/// All facts as they are, each once, whoever saw it and however often: for systems with few of them.
pub type Facts<N> = BTreeSet<(NodeId, <N as Node>::Fact)>;

impl<N: Node> History<N> for Facts<N> {
    const IS_ORDERED: bool = false;

    fn observe(&mut self, node: NodeId, fact: &N::Fact) {
        self.insert((node, fact.clone()));
    }
}

/// One node, from outside.
#[derive(Debug)]
pub struct Observed<'a, N: Node> {
    /// Who.
    pub id: NodeId,
    /// Its configuration.
    pub config: &'a N::Config,
    /// Its volatile state; `None` while it is down.
    pub state: Option<&'a N>,
    /// What a crash at this moment would certainly leave. `None` where a driver cannot see it.
    pub durable: Option<&'a [N::Record]>,
    /// How many records before these are gone, since they were [forgotten](crate::node::Context::forget).
    pub forgotten: u64,
    /// The timers that are armed, in order; none while it is down.
    pub timers: &'a [N::Timer],
    /// What has left it too early, if anything ever did: see [`crate::write_ahead`].
    pub early_output: Option<&'a str>,
}

/// The whole system at one moment.
#[derive(Debug)]
pub struct Observation<'a, N: Node, H> {
    /// Every node, in the order of the configuration.
    pub nodes: Vec<Observed<'a, N>>,
    /// The facts so far.
    pub history: &'a H,
}

impl<'a, N: Node, H> Observation<'a, N, H> {
    /// The nodes that are up, with their states.
    pub fn up(&self) -> impl Iterator<Item = (NodeId, &'a N)> {
        self.nodes.iter().filter_map(|node| node.state.map(|state| (node.id, state)))
    }
}

/// Something that must hold at every moment of every run.
pub struct Invariant<N: Node, H> {
    /// A short name, as it is printed in verdicts.
    pub name: &'static str,
    /// One sentence: what is promised.
    pub about: &'static str,
    /// Where the rule comes from: paper, section.
    pub source: &'static str,
    /// `Err` says in words how it is broken.
    pub check: fn(&Observation<'_, N, H>) -> Result<(), String>,
}

/// Something that must happen in some run, so that "always" does not mean "never got there".
pub struct Witness<N: Node, H> {
    /// A short name, as it is printed in verdicts.
    pub name: &'static str,
    /// One sentence: what is to be seen.
    pub about: &'static str,
    /// Whether it is to be seen now.
    pub seen: fn(&Observation<'_, N, H>) -> bool,
}

impl<N: Node, H> Debug for Invariant<N, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invariant({})", self.name)
    }
}

impl<N: Node, H> Debug for Witness<N, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({})", self.name)
    }
}

/// Something that a [history](History) hears of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
pub enum Heard<N: Node> {
    /// A fact.
    Fact(N::Fact),
    /// A client's request.
    Call {
        /// Its name.
        id: RequestId,
        /// What is asked.
        request: N::Request,
    },
    /// A client's answer.
    Reply {
        /// Which request is answered.
        to: RequestId,
        /// The answer.
        reply: N::Reply,
    },
}

//! What happened in a run, step by step: kept for a story, and digested in any case.

mod changes;
pub mod digest;
pub mod html;
pub mod slice;
pub mod story;
mod structure;
pub mod text;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use coalmine_core::codec::journal::Torn;
use coalmine_core::node::{Effect, Event, Node, NodeId, RequestId};

use self::digest::Digest;
use crate::spec::faults::Fault;

/// In the digest: what follows is what a node did, and how much, not the time of the next entry.
const DID: u64 = 1 << 63;

/// In the digest: this is the number of a send, not the beginning of another entry.
const SENT: u64 = 1 << 63;

fn nanos(at: Duration) -> u64 {
    at.as_nanos() as u64
}

/// How long each step of a path takes, where there is no clock: its number is its time.
pub const TURN: Duration = Duration::from_millis(1);

/// The number of the step of a path that happens at this time.
pub fn turn(at: Duration) -> u64 {
    (at.as_nanos() / TURN.as_nanos()) as u64
}

/// One entry of a trace.
#[derive(Clone, Debug)]
pub struct Entry<N: Node> {
    /// Simulated time since the beginning.
    pub at: Duration,
    /// What happened.
    pub what: TraceEvent<N>,
    /// Which send it is about, for a message that arrives or that the network does something to. All that a
    /// trace shows being sent is numbered in its order, from 0. No part of the digest.
    pub send: Option<u64>,
    /// The node after it, as `{:#?}` prints it; nothing where no node took a step.
    pub state: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, Hash)]
pub enum TraceEvent<N: Node> {
    /// A node has booted.
    Booted {
        /// Which.
        node: NodeId,
        /// How many records its journal held.
        records: usize,
        /// The torn tail that was cut off.
        torn: Option<(u64, u64)>,
        /// What it did.
        effects: Vec<Effect<N>>,
    },
    /// A node has taken an event.
    Stepped {
        /// Which.
        node: NodeId,
        /// The event.
        event: Event<N>,
        /// What it did.
        effects: Vec<Effect<N>>,
    },
    /// A disk has made records durable.
    Synced {
        /// Whose.
        node: NodeId,
        /// All up to this one.
        upto: u64,
        /// What that released.
        effects: Vec<Effect<N>>,
    },
    /// A node has crashed.
    Crashed {
        /// Which.
        node: NodeId,
        /// How many unsynced writes survived, how many were lost.
        kept: usize,
        /// See `kept`.
        lost: usize,
        /// How many bytes of the first lost write were left on the disk.
        torn_bytes: usize,
        /// What it would have done next, if it crashed in the middle of a step and that is known.
        prevented: Vec<Effect<N>>,
    },
    /// A node's process was killed.
    Killed {
        /// Which.
        node: NodeId,
        /// How many unsynced writes are there for its next life, how many are lost.
        kept: usize,
        /// See `kept`.
        lost: usize,
    },
    /// A node has stopped by itself.
    Stopped {
        /// Which.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// A frame was lost, held back, or arrived twice.
    Frame {
        /// Its sender.
        from: NodeId,
        /// Its receiver.
        to: NodeId,
        /// What the network did to it.
        fate: Fate,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A client sent a request.
    Asked {
        /// To whom.
        to: NodeId,
        /// What.
        call: Call,
    },
    /// A client was answered.
    Answered {
        /// By whom.
        from: NodeId,
        /// What.
        call: Call,
    },
    /// Something outside a node went wrong; it goes on.
    Complained {
        /// Which.
        node: NodeId,
        /// What it says.
        what: String,
    },
    /// The plan makes something go wrong.
    Fault(Fault),
    /// What the harness has to say about the whole system.
    Noted(String),
    /// All faults are healed, every node is restarted: the safety phase has ended.
    Healed,
    /// A link is cut until it is mended.
    Cut {
        /// From whom nothing arrives any more.
        from: NodeId,
        /// At whom.
        to: NodeId,
        /// Whether the other direction is cut, too.
        both_ways: bool,
    },
    /// A link is mended.
    Mended {
        /// From whom messages arrive again.
        from: NodeId,
        /// At whom.
        to: NodeId,
    },
}

/// What the network did to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives untouched.
    Passes,
    /// It is lost.
    Lost,
    /// It is lost with the connection that carried it.
    LostInReset,
    /// It is lost, because the link is cut.
    CutOff,
    /// It is lost, because nobody runs where it arrives.
    NobodyThere,
    /// It arrives twice.
    Doubled,
    /// It waits for a clog to end.
    Clogged,
    /// It arrives later than others.
    HeldBack,
}

/// A digest knows it by its words, which are older.
impl Hash for Fate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        text::describe_fate(*self).hash(state);
    }
}

/// What a client says to a node, or a node to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which request it is, or answers.
    pub id: RequestId,
    /// What is said, in words.
    pub what: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.what)
    }
}

/// A digest knows it by its words, too.
impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

impl<N: Node> TraceEvent<N> {
    /// A node that has booted.
    pub fn booted(node: NodeId, records: usize, torn: Option<Torn>, effects: &[Effect<N>]) -> Self {
        let torn = torn.map(|torn| (torn.line, torn.bytes));
        Self::Booted { node, records, torn, effects: effects.to_vec() }
    }

    /// That a node boots without so many records that it has forgotten, if there are any.
    pub fn forgotten(node: NodeId, records: u64) -> Option<Self> {
        let note = format!("{node} has forgotten the records up to number {records}");
        (records > 0).then_some(Self::Noted(note))
    }

    /// Whether a node crashes or is killed in it, with whatever it would have done next.
    pub fn ends_a_life(&self) -> bool {
        matches!(self, Self::Crashed { .. } | Self::Killed { .. })
    }

    /// What a node did in it.
    pub fn effects(&self) -> &[Effect<N>] {
        match self {
            Self::Booted { effects, .. } | Self::Stepped { effects, .. } | Self::Synced { effects, .. } => {
                effects
            }
            Self::Crashed { .. }
            | Self::Killed { .. }
            | Self::Stopped { .. }
            | Self::Frame { .. }
            | Self::Asked { .. }
            | Self::Answered { .. }
            | Self::Complained { .. }
            | Self::Fault(_)
            | Self::Noted(_)
            | Self::Healed
            | Self::Cut { .. }
            | Self::Mended { .. } => &[],
        }
    }
}

/// The trace of one run: always digested, kept on demand.
pub struct Trace<N: Node> {
    /// The entries, if they are kept.
    pub entries: Option<Vec<Entry<N>>>,
    /// How many there were.
    pub events: u64,
    /// How many messages were sent in them.
    pub sends: u64,
    /// When the last of them was, in nanoseconds.
    last: u64,
    /// Takes in all that happens, piece by piece and never cloned.
    digest: Digest,
}

impl<N: Node> Trace<N> {
    /// An empty trace.
    pub fn new(keep: bool) -> Self {
        Self { entries: keep.then(Vec::new), events: 0, sends: 0, last: 0, digest: Digest::default() }
    }

    /// Adds what happened; if it is about a message, say which send.
    pub fn push(&mut self, at: Duration, what: &TraceEvent<N>, send: Option<u64>) {
        self.count(nanos(at), what);
        self.count_sends(what.effects());
        if let Some(entries) = &mut self.entries {
            entries.push(Entry { at, what: what.clone(), send, state: None });
        }
    }

    /// Adds that a node takes an event. Nothing is cloned unless the entries are kept. What it does is added by
    /// [`on_effects`](Self::on_effects), right after.
    pub fn on_event(&mut self, at: Duration, node: NodeId, event: &Event<N>, send: Option<u64>) {
        self.count(nanos(at), &(b's', node, event));
        self.keep(at, node, event, send);
    }

    /// The same for the message of this send. Who takes it and what it says is in the digest since it was sent, so that
    /// its number is enough. The time is in nanoseconds.
    #[inline]
    pub fn on_message(&mut self, at: u64, node: NodeId, event: &Event<N>, send: u64) {
        self.count(at, &(SENT | send));
        if self.entries.is_some() {
            self.keep(Duration::from_nanos(at), node, event, Some(send));
        }
    }

    fn keep(&mut self, at: Duration, node: NodeId, event: &Event<N>, send: Option<u64>) {
        if let Some(entries) = &mut self.entries {
            let what = TraceEvent::Stepped { node, event: event.clone(), effects: Vec::new() };
            entries.push(Entry { at, what, send, state: None });
        }
    }

    /// When the last entry was.
    pub fn last(&self) -> Duration {
        Duration::from_nanos(self.last)
    }

    /// Adds what a node did about the event that it has just taken.
    #[inline]
    pub fn on_effects(&mut self, did: &[Effect<N>]) {
        if !did.is_empty() {
            self.did_something(did);
        }
    }

    fn did_something(&mut self, did: &[Effect<N>]) {
        (DID | did.len() as u64).hash(&mut self.digest);
        for effect in did {
            effect.hash(&mut self.digest);
            self.sends += u64::from(matches!(effect, Effect::Send { .. }));
        }
        if let Some(Entry { what: TraceEvent::Stepped { effects, .. }, .. }) =
            self.entries.as_mut().and_then(|entries| entries.last_mut())
        {
            effects.extend_from_slice(did);
        }
    }

    #[inline]
    fn count(&mut self, at: u64, what: &impl Hash) {
        self.events += 1;
        self.last = at;
        (at.min(DID - 1), what).hash(&mut self.digest);
    }

    fn count_sends(&mut self, effects: &[Effect<N>]) {
        self.sends += effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count() as u64;
    }

    /// Adds the node after the last entry to it, if entries are kept. It is no part of the digest.
    #[inline]
    pub fn show(&mut self, node: &N) {
        if let Some(last) = self.entries.as_mut().and_then(|entries| entries.last_mut()) {
            last.state = Some(format!("{node:#?}"));
        }
    }

    /// Adds bytes on the wire to the digest alone.
    pub fn wire(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        (from, to, bytes).hash(&mut self.digest);
    }

    /// The digest of all that happened: equal for equal runs, in any process.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use coalmine_core::counter::{Counter, Message, Record, Timer};

    use super::*;

    /// What happens in a small run.
    #[derive(Clone)]
    struct Run {
        at: Duration,
        node: NodeId,
        event: Event<Counter>,
        did: Vec<Effect<Counter>>,
        sent: u64,
        wire: Vec<u8>,
        what: TraceEvent<Counter>,
    }

    impl Run {
        fn digest(&self) -> u64 {
            let mut trace = Trace::new(false);
            trace.on_event(self.at, self.node, &self.event, None);
            trace.on_effects(&self.did);
            trace.on_message(nanos(self.at), self.node, &self.event, self.sent);
            trace.on_effects(&[]);
            trace.wire(self.node, NodeId(9), &self.wire);
            trace.push(self.at, &self.what, None);
            trace.digest()
        }
    }

    #[test]
    fn whatever_changes_changes_the_digest() {
        let node = NodeId(1);
        let send = |to, message| Effect::Send { to: NodeId(to), message };
        let run = Run {
            at: Duration::from_millis(5),
            node,
            event: Event::Timer(Timer::Resend),
            did: vec![Effect::Append(Record::Number(1)), send(2, Message::Add)],
            sent: 0,
            wire: vec![0, 0, 0, 1, 7],
            what: TraceEvent::Synced { node, upto: 1, effects: vec![send(2, Message::Added(3))] },
        };
        let with = |change: fn(&mut Run)| {
            let mut other = run.clone();
            change(&mut other);
            other.digest()
        };
        let digests = [
            run.digest(),
            with(|it| it.at += Duration::from_nanos(1)),
            with(|it| it.node = NodeId(2)),
            with(|it| it.event = Event::Message { from: NodeId(2), message: Message::Add }),
            with(|it| it.event = Event::Message { from: NodeId(2), message: Message::Added(0) }),
            with(|it| it.event = Event::Message { from: NodeId(3), message: Message::Added(0) }),
            with(|it| it.did.clear()),
            with(|it| it.did.swap(0, 1)),
            with(|it| it.did[0] = Effect::Append(Record::Number(2))),
            with(|it| it.did[1] = Effect::Send { to: NodeId(3), message: Message::Add }),
            with(|it| it.did[1] = Effect::Send { to: NodeId(2), message: Message::Added(0) }),
            with(|it| it.sent = 1),
            with(|it| it.wire[4] = 8),
            with(|it| it.wire.push(0)),
            with(|it| it.what = TraceEvent::Synced { node: it.node, upto: 1, effects: Vec::new() }),
            with(|it| it.what = TraceEvent::Synced { node: it.node, upto: 2, effects: Vec::new() }),
            with(|it| it.what = TraceEvent::Stopped { node: it.node, why: "the disk".into() }),
            with(|it| it.what = TraceEvent::Stopped { node: it.node, why: "the disk!".into() }),
            with(|it| it.what = TraceEvent::Healed),
        ];
        assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len(), "{digests:x?}");
        assert_eq!(run.digest(), run.clone().digest());
    }
}

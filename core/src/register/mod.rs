//! A register that clients write and read, served in three ways: by [one copy](single_copy), by copies that
//! [agree by majority](abd), by servers that [agree once](paxos).
//!
//! They are the examples of the model checker stateright (0.31, `examples/`), message for message: a client
//! is a member that sends one `Put`, and after its answer one `Get` to the next server. There are no disks.
//! The models exist to be counted: how many distinct states stateright finds is published with them.
//!
//! What must hold is that the register is **linearizable** (Herlihy, Wing, *Linearizability: A Correctness
//! Condition for Concurrent Objects*, TOPLAS 1990): all calls can be put in one order that a single copy
//! would have answered so, and in which no call stands before one that had returned when it began.

pub mod abd;
pub mod mistake;
pub mod paxos;
pub mod single_copy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use self::mistake::Mistake;
use crate::node::{Context, Data, Event, Node, NodeId, Word};
use crate::observation::{History, Invariant, Witness};

/// What the register holds.
pub type Value = char;

/// What it holds before anything is written.
pub const NOTHING: Value = '-';

/// One member's configuration: members below `servers` serve, the others are clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This member.
    pub me: NodeId,
    /// How many servers there are.
    pub servers: u32,
    /// A rule that it breaks on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
}

impl Config {
    /// The other servers.
    fn peers(&self) -> impl Iterator<Item = NodeId> {
        let me = self.me;
        (0..self.servers).map(NodeId).filter(move |id| *id != me)
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// How many servers are more than half of them.
    fn majority(&self) -> usize {
        self.servers as usize / 2 + 1
    }
}

/// What is sent. A request's number names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message<M> {
    /// A client writes.
    Put(u64, Value),
    /// A client reads.
    Get(u64),
    /// It is written.
    PutOk(u64),
    /// This was read.
    GetOk(u64, Value),
    /// What servers tell each other.
    Internal(M),
}

/// How the register is served.
pub trait Server: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// What servers tell each other.
    type Message: Data;

    /// The mistakes that it can make on purpose.
    const MISTAKES: &[Mistake] = &[];

    /// A server that has just booted.
    fn start(config: &Config) -> Self;

    /// Takes one message.
    fn on(
        &mut self,
        config: &Config,
        from: NodeId,
        message: Message<Self::Message>,
        cx: &mut Context<'_, Member<Self>>,
    );
}

/// A server, or a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Member<S> {
    /// It serves the register.
    Server(S),
    /// It writes once, then reads once.
    Client {
        /// The request that is under way.
        awaits: Option<u64>,
        /// How many requests there were, and one more when the last is answered.
        requests: u64,
    },
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// It writes.
    Write(Value),
    /// It reads.
    Read,
}

/// What clients tell checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// A call begins.
    Called(Call),
    /// The call is over; a read gave this.
    Returned(Option<Value>),
}

impl<S: Server> Node for Member<S> {
    type Config = Config;
    type Message = Message<S::Message>;
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Fact;

    fn start(config: &Config, _disk: &[()], cx: &mut Context<'_, Self>) -> Self {
        let NodeId(me) = config.me;
        if me < config.servers {
            return Self::Server(S::start(config));
        }
        let number = u64::from(me);
        let value = char::from(b'A' + (me - config.servers) as u8);
        cx.observe(Fact::Called(Call::Write(value)));
        cx.send(NodeId(me % config.servers), Message::Put(number, value));
        Self::Client { awaits: Some(number), requests: 1 }
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Message { from, message } = event else { return };
        match (self, message) {
            (Self::Server(server), message) => server.on(config, from, message, cx),
            (Self::Client { awaits, requests }, Message::PutOk(number)) if *awaits == Some(number) => {
                cx.observe(Fact::Returned(None));
                let next = (*requests + 1) * u64::from(config.me.0);
                let to = (u64::from(config.me.0) + *requests) % u64::from(config.servers);
                cx.observe(Fact::Called(Call::Read));
                cx.send(NodeId(to as u32), Message::Get(next));
                (*awaits, *requests) = (Some(next), *requests + 1);
            }
            (Self::Client { awaits, requests }, Message::GetOk(number, value)) if *awaits == Some(number) => {
                cx.observe(Fact::Returned(Some(value)));
                (*awaits, *requests) = (None, *requests + 1);
            }
            (Self::Client { .. }, _) => {}
        }
    }

    fn describe(word: Word<'_, Self>) -> String {
        match word {
            Word::Message(Message::Internal(message)) => format!("{message:?}"),
            Word::Message(message) => format!("{message:?}"),
            Word::Fact(Fact::Called(call)) => format!("calls {call:?}"),
            Word::Fact(Fact::Returned(None)) => "has written".into(),
            Word::Fact(Fact::Returned(Some(value))) => format!("has read {value:?}"),
            Word::Timer(()) | Word::Record(()) | Word::Request(()) | Word::Reply(()) => String::new(),
        }
    }
}

/// All calls so far, with their order as far as time gives one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Calls(BTreeMap<NodeId, Thread>);

/// The calls of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Thread {
    returned: Vec<(Before, Call, Option<Value>)>,
    /// At most one, unless the client has crashed: then nobody knows what becomes of the call.
    under_way: Vec<(Before, Call)>,
}

/// How many calls of each client had returned when a call began.
type Before = BTreeMap<NodeId, usize>;

impl<S: Server> History<Member<S>> for Calls {
    fn observe(&mut self, node: NodeId, fact: &Fact) {
        let Self(threads) = self;
        match fact {
            Fact::Called(call) => {
                let before = threads.iter().map(|(id, thread)| (*id, thread.returned.len()));
                let before = before.filter(|(_, returned)| *returned > 0).collect();
                threads.entry(node).or_default().under_way.push((before, *call));
            }
            Fact::Returned(value) => {
                let thread = threads.entry(node).or_default();
                if let Some((before, call)) = thread.under_way.pop() {
                    thread.returned.push((before, call, *value));
                }
            }
        }
    }
}

impl Calls {
    /// Whether one order explains all that was read.
    pub fn are_linearizable(&self) -> bool {
        Order { calls: self, placed: Before::new(), taken: BTreeSet::new() }.goes_on(NOTHING)
    }

    /// Whether a read gave what somebody has written.
    fn has_read(&self) -> bool {
        let mut returned = self.0.values().flat_map(|thread| &thread.returned);
        returned.any(|(_, _, value)| value.is_some_and(|value| value != NOTHING))
    }
}

/// The beginning of an order: which calls that have returned it holds, and which that are under way.
struct Order<'a> {
    calls: &'a Calls,
    placed: Before,
    taken: BTreeSet<(NodeId, usize)>,
}

impl Order<'_> {
    /// Whether the order can be completed where the register holds `value`.
    fn goes_on(&mut self, value: Value) -> bool {
        let Calls(threads) = self.calls;
        if threads.iter().all(|(id, thread)| self.placed_of(*id) == thread.returned.len()) {
            return true;
        }
        for (&id, thread) in threads {
            let next = self.placed_of(id);
            if let Some((before, call, gave)) = thread.returned.get(next) {
                let after = match call {
                    Call::Write(written) => *written,
                    Call::Read => value,
                };
                let fits = gave.is_none_or(|gave| gave == value);
                if fits && self.allows(before) {
                    self.placed.insert(id, next + 1);
                    if self.goes_on(after) {
                        return true;
                    }
                    self.placed.insert(id, next);
                }
            }
            for (index, (before, call)) in thread.under_way.iter().enumerate() {
                let Call::Write(written) = call else { continue };
                if self.allows(before) && self.taken.insert((id, index)) {
                    if self.goes_on(*written) {
                        return true;
                    }
                    self.taken.remove(&(id, index));
                }
            }
        }
        false
    }

    fn placed_of(&self, id: NodeId) -> usize {
        self.placed.get(&id).copied().unwrap_or(0)
    }

    /// Whether all that had returned when a call began stands already.
    fn allows(&self, before: &Before) -> bool {
        before.iter().all(|(id, returned)| self.placed_of(*id) >= *returned)
    }
}

/// One copy would have answered so.
pub fn linearizable<S: Server>() -> Invariant<Member<S>, Calls> {
    Invariant {
        name: "linearizable",
        about: "one order of all calls explains what was read",
        source: "Herlihy, Wing 1990, §2.2",
        check: |now| {
            if now.history.are_linearizable() {
                return Ok(());
            }
            Err(format!("no order of the calls explains what was read: {:?}", now.history.0))
        },
    }
}

/// Somebody must be able to read what was written. (With Paxos the client whose value was not chosen waits for
/// ever, so not all can come to an end.)
pub fn witnesses<S: Server>() -> Vec<Witness<Member<S>, Calls>> {
    vec![Witness {
        name: "value-read",
        about: "a read gives a value that was written",
        seen: |now| now.history.has_read(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls in time: who, and what.
    fn calls(facts: &[(u32, Fact)]) -> Calls {
        let mut calls = Calls::default();
        for (who, fact) in facts {
            History::<Member<single_copy::SingleCopy>>::observe(&mut calls, NodeId(*who), fact);
        }
        calls
    }

    const WRITE: Fact = Fact::Called(Call::Write('A'));
    const WRITTEN: Fact = Fact::Returned(None);
    const READ: Fact = Fact::Called(Call::Read);
    const OLD: Fact = Fact::Returned(Some(NOTHING));
    const NEW: Fact = Fact::Returned(Some('A'));

    #[test]
    fn a_read_after_a_write_sees_it() {
        assert!(calls(&[(1, WRITE), (1, WRITTEN), (2, READ), (2, NEW)]).are_linearizable());
        assert!(!calls(&[(1, WRITE), (1, WRITTEN), (2, READ), (2, OLD)]).are_linearizable());
    }

    #[test]
    fn a_read_during_a_write_may_see_it_or_not_but_reads_do_not_go_back() {
        assert!(calls(&[(1, WRITE), (2, READ), (2, OLD), (3, READ), (3, NEW)]).are_linearizable());
        assert!(!calls(&[(1, WRITE), (2, READ), (2, NEW), (3, READ), (3, OLD)]).are_linearizable());
    }

    #[test]
    fn a_read_during_both_writes_may_come_between_them() {
        let other = Fact::Called(Call::Write('B'));
        let facts = [(1, WRITE), (2, READ), (1, WRITTEN), (3, other), (3, WRITTEN), (2, NEW)];
        assert!(calls(&facts).are_linearizable());
    }

    #[test]
    fn nobody_reads_what_was_never_written() {
        assert!(!calls(&[(2, READ), (2, NEW)]).are_linearizable());
    }
}

//! A register that is replicated along a chain (van Renesse, Schneider, *Chain Replication for Supporting High
//! Throughput and Availability*, OSDI 2004), with members that crash and come back and nobody who leaves.
//!
//! The first member, the *head*, takes what is written, numbers it, makes it durable and hands it to the next. Each of
//! the others hands it on [at once](Context::send_at_once) and makes it durable meanwhile: nobody but the head gives
//! numbers, so whoever loses a write is sent the same one again. What is durable at the last member, the *tail*, is
//! acknowledged back along the chain, by each member once the write is durable there, and the head answers its client.
//! So a write waits for two disks and not for all of them, one after the other. Reads are answered by the tail alone. A
//! member that has not heard of an acknowledgement hands on again all that is missing; so messages may get lost, and a
//! member that was down catches up.
//!
//! A write that is asked for again, under the same name, is the same write.
//!
//! It is the smallest protocol whose clients see more than one copy, and so the example for
//! [linearizability](crate::linearize).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::linearize::{Calls, Object, linearizable};
use crate::mistakes::mistakes;
use crate::node::{Context, Event, Node, NodeId, RequestId, Word};
use crate::observation::{Invariant, Witness};

/// One member's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This member.
    pub me: NodeId,
    /// All members, from the head to the tail.
    pub chain: Vec<NodeId>,
    /// What it does wrong on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
}

/// Hands the table of mistakes to a macro that makes something of every row; see that of
/// [the rollout](crate::for_rollout_mistakes).
#[macro_export]
macro_rules! for_chain_mistakes {
    ($make:ident) => {
        $make! {
            /// A write that is asked for again, under the same name, is written again.
            WritesAgain, "writes-again",
                source "rule 6 of the node's contract: a retry is the same request", space { retries: 1 };
            /// A member takes a write that is handed on again for a new one.
            TakesOld, "takes-old",
                source "van Renesse, Schneider 2004, §3: updates reach each member in the order of the head",
                space { timeouts: 1 };
            /// The head hands on a write before it is durable there.
            ForwardsEarly, "forwards-early",
                source "rule 2 of the node's contract: what leaves at once must not rest on what is being written",
                space { crashes: 1 };
            /// A member passes on an acknowledgement before the write is durable there.
            AcknowledgesEarly, "acknowledges-early",
                source "rule 2 of the node's contract: what leaves at once must not rest on what is being written",
                space { crashes: 1, disk: Disk::Async };
            /// A member that is not the tail answers a read from what it holds.
            ReadsAnywhere, "reads-anywhere",
                source "van Renesse, Schneider 2004, §2: queries are processed by the tail", space {};
        }
    };
}
for_chain_mistakes!(mistakes);

impl Config {
    fn place(&self) -> usize {
        self.chain.iter().position(|member| *member == self.me).unwrap_or(0)
    }

    fn head(&self) -> NodeId {
        self.chain[0]
    }

    fn tail(&self) -> NodeId {
        self.chain[self.chain.len() - 1]
    }

    fn next(&self) -> Option<NodeId> {
        self.chain.get(self.place() + 1).copied()
    }

    fn before(&self) -> Option<NodeId> {
        self.place().checked_sub(1).map(|place| self.chain[place])
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

/// What the register holds; nothing before the first write.
pub type Value = Option<u8>;

/// What members tell each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To the next: this is the write of this number, counted from 1.
    Write {
        /// Its number.
        number: u64,
        /// What is written.
        write: Record,
    },
    /// To the one before: the tail has so many writes.
    Acknowledged(u64),
}

/// A write, as it is in the journal: the n-th record is the n-th write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Who asked for it.
    pub id: RequestId,
    /// What the register holds from then on.
    pub value: u8,
}

/// What clients ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Of the head: hold this.
    Write(u8),
    /// Of the tail: what do you hold?
    Read,
}

/// What they are answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// It is written, everywhere.
    Written,
    /// It holds this.
    Holds(Value),
    /// That one is to be asked.
    Ask(NodeId),
}

/// The one timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Something that was handed on, or its acknowledgement, may have been lost.
    Resend,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// All writes that are here.
    writes: Vec<Record>,
    /// How many of them the tail is known to have.
    acknowledged: u64,
    /// At the head: the clients that wait.
    waiting: BTreeSet<RequestId>,
}

type Cx<'c> = Context<'c, Link>;

/// The checker fires timers whenever it likes.
const RESEND: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));

impl Node for Link {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = Request;
    type Reply = Reply;
    type View = ();
    type Fact = ();

    fn start(config: &Config, disk: &[Record], cx: &mut Cx<'_>) -> Self {
        let mut link = Self { writes: disk.to_vec(), acknowledged: 0, waiting: BTreeSet::new() };
        match config.next() {
            Some(_) => link.hand_on(config, cx),
            None => link.acknowledge(link.number(), config, cx),
        }
        link
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match event {
            Event::Request { id, request: Request::Write(value) } if config.head() == config.me => {
                self.write(id, value, config, cx);
            }
            Event::Request { id, request: Request::Write(_) } => cx.reply(id, Reply::Ask(config.head())),
            Event::Request { id, request: Request::Read }
                if config.tail() == config.me || config.makes(Mistake::ReadsAnywhere) =>
            {
                cx.reply(id, Reply::Holds(self.writes.last().map(|write| write.value)));
            }
            Event::Request { id, request: Request::Read } => cx.reply(id, Reply::Ask(config.tail())),
            Event::Message { from, message: Message::Write { number, write } } => {
                if config.before() == Some(from) {
                    self.take(number, write, config, cx);
                }
            }
            Event::Message { from, message: Message::Acknowledged(number) } => {
                if config.next() == Some(from) && number > self.acknowledged && number <= self.number() {
                    self.acknowledge(number, config, cx);
                }
            }
            Event::Timer(Timer::Resend) => self.hand_on(config, cx),
            Event::Durable(_) => {}
        }
    }

    fn instead(reply: &Reply) -> Option<NodeId> {
        match reply {
            Reply::Ask(node) => Some(*node),
            Reply::Written | Reply::Holds(_) => None,
        }
    }

    fn describe(word: Word<'_, Self>) -> String {
        let written = |write: &Record| format!("{} writes {}", write.id, write.value);
        match word {
            Word::Message(Message::Write { number, write }) => format!("write {number}: {}", written(write)),
            Word::Message(Message::Acknowledged(number)) => format!("the tail has {number} writes"),
            Word::Timer(Timer::Resend) => "no acknowledgement yet".into(),
            Word::Record(write) => written(write),
            Word::Request(Request::Write(value)) => format!("write {value}"),
            Word::Request(Request::Read) => "read".into(),
            Word::Reply(Reply::Written) => "written".into(),
            Word::Reply(Reply::Holds(Some(value))) => format!("it holds {value}"),
            Word::Reply(Reply::Holds(None)) => "it holds nothing".into(),
            Word::Reply(Reply::Ask(node)) => format!("ask {node}"),
            Word::Fact(()) => String::new(),
        }
    }
}

impl Link {
    /// How many writes are here: the number of the last.
    fn number(&self) -> u64 {
        self.writes.len() as u64
    }

    /// At the head: a client asks for a write, or asks again.
    fn write(&mut self, id: RequestId, value: u8, config: &Config, cx: &mut Cx<'_>) {
        let known = self.writes.iter().position(|write| write.id == id);
        match known.filter(|_| !config.makes(Mistake::WritesAgain)) {
            Some(place) if (place as u64) < self.acknowledged => cx.reply(id, Reply::Written),
            Some(_) => {
                self.waiting.insert(id);
            }
            None => {
                self.waiting.insert(id);
                self.append(Record { id, value }, config, cx);
            }
        }
    }

    /// The one before hands on a write.
    fn take(&mut self, number: u64, write: Record, config: &Config, cx: &mut Cx<'_>) {
        if number == self.number() + 1 || config.makes(Mistake::TakesOld) && number <= self.number() {
            self.append(write, config, cx);
        } else if number <= self.acknowledged || config.next().is_none() && number <= self.number() {
            self.acknowledge(self.acknowledged.max(number), config, cx);
        }
        // What is here and not acknowledged is handed on by the timer; what lies further ahead comes again, in order.
    }

    fn append(&mut self, write: Record, config: &Config, cx: &mut Cx<'_>) {
        cx.append(write.clone());
        self.writes.push(write.clone());
        let number = self.number();
        match config.next() {
            Some(next) => {
                let hand_on = Message::Write { number, write };
                if config.before().is_some() || config.makes(Mistake::ForwardsEarly) {
                    cx.send_at_once(next, hand_on);
                } else {
                    cx.send(next, hand_on); // before it is durable here its number may still be another's
                }
                cx.set_timer(Timer::Resend, RESEND.0..=RESEND.1);
            }
            None => self.acknowledge(number, config, cx),
        }
    }

    /// Hands on all that the tail is not known to have.
    fn hand_on(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(next) = config.next() else { return };
        for (number, write) in (1..).zip(&self.writes).skip(self.acknowledged as usize) {
            cx.send(next, Message::Write { number, write: write.clone() });
        }
        if self.acknowledged < self.number() {
            cx.set_timer(Timer::Resend, RESEND.0..=RESEND.1);
        }
    }

    /// The tail has so many writes.
    fn acknowledge(&mut self, number: u64, config: &Config, cx: &mut Cx<'_>) {
        self.acknowledged = number;
        if number == self.number() {
            cx.cancel_timer(Timer::Resend);
        }
        if let Some(before) = config.before() {
            let acknowledged = Message::Acknowledged(number);
            if config.makes(Mistake::AcknowledgesEarly) && config.next().is_some() {
                cx.send_at_once(before, acknowledged);
            } else if number > 0 {
                cx.send(before, acknowledged);
            }
            return;
        }
        for write in &self.writes[..number as usize] {
            if self.waiting.remove(&write.id) {
                cx.reply(write.id, Reply::Written);
            }
        }
    }

    /// Whether the tail is known to have all that is here, and no client waits.
    pub fn is_done(&self) -> bool {
        self.acknowledged == self.number() && self.waiting.is_empty()
    }
}

/// What one register does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(Value);

impl Object for Register {
    type Call = Request;
    type Answer = Reply;

    fn apply(&mut self, call: &Request) -> Reply {
        match call {
            Request::Write(value) => {
                self.0 = Some(*value);
                Reply::Written
            }
            Request::Read => Reply::Holds(self.0),
        }
    }

    fn only_reads(call: &Request) -> bool {
        *call == Request::Read
    }

    fn overwrites(call: &Request) -> bool {
        matches!(call, Request::Write(_))
    }
}

/// What must hold, unless a disk is wiped.
pub fn invariants() -> Vec<Invariant<Link, Calls<Register>>> {
    vec![linearizable()]
}

/// A read must see something.
pub fn witnesses() -> Vec<Witness<Link, Calls<Register>>> {
    vec![Witness {
        name: "value-read",
        about: "a read gives a value that was written",
        seen: |now| now.history.has_returned(|_, answer| matches!(answer, Reply::Holds(Some(_)))),
    }]
}

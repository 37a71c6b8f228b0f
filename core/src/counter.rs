//! A write-ahead counter: one node counts each of its clients once, and remembers it.
//!
//! A client's member is asked to be counted, sends `Add`, and sends it again when its timer fires. The counter
//! writes who came, then answers with the place in its journal; the member writes the place, and answers its
//! client once that is on disk. A counter that recovers tells everybody in its journal again.
//!
//! It is the smallest protocol in which every fault makes a difference: unsynced records of
//! which a crash keeps a prefix, several answers that wait for the disk, sends during recovery, timers and
//! memory that a crash takes away, resent and repeated requests. The model exists to be counted: the same
//! transition system is written a second time, in Promela, from the words of the contract
//! (`tests/spin/counter.pml`), and SPIN must find as many states as we do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::{Context, Event, Node, NodeId, RequestId, Word};
use crate::node::{Output, RestsOn};
use crate::observation::{Invariant, Observation, Witness};

/// Node 0 counts; nodes 1 to n are counted.
pub const COUNTER: NodeId = NodeId(0);

/// One node's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This node.
    pub me: NodeId,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Count me.
    Add,
    /// You are the one with this number, counted from 1.
    Added(u64),
}

/// The one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// `Add` may have been lost.
    Resend,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    /// At the counter: this node is counted.
    Counted(NodeId),
    /// At the others: this is my number.
    Number(u64),
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CountMe;

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// The counter: who was counted, in order.
    Counting(Vec<NodeId>),
    /// Nobody has asked, or a crash has made it forgotten.
    Idle,
    /// `Add` was sent.
    Asking(RequestId),
    /// The number is being written.
    Saving(RequestId),
    /// The number is on disk.
    Counted(u64),
}

type Cx<'c> = Context<'c, Counter>;

/// Any delay: the checker fires timers whenever it likes.
const RESEND: Duration = Duration::from_secs(1);

impl Node for Counter {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = CountMe;
    type Reply = u64;
    type View = ();
    type Fact = ();

    fn start(config: &Config, disk: &[Record], cx: &mut Cx<'_>) -> Self {
        let mut counted = Vec::new();
        for record in disk {
            match record {
                Record::Counted(node) => {
                    counted.push(*node);
                    cx.send(*node, Message::Added(counted.len() as u64));
                }
                Record::Number(number) => return Self::Counted(*number),
            }
        }
        if config.me == COUNTER { Self::Counting(counted) } else { Self::Idle }
    }

    fn on(&mut self, _: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match (&mut *self, event) {
            (Self::Counting(counted), Event::Message { from, message: Message::Add }) => {
                let known = counted.iter().position(|node| *node == from);
                let place = known.unwrap_or_else(|| {
                    cx.append(Record::Counted(from));
                    counted.push(from);
                    counted.len() - 1
                });
                cx.send(from, Message::Added(place as u64 + 1));
            }
            (Self::Idle | Self::Asking(_), Event::Request { id, .. }) => {
                *self = Self::Asking(id);
                ask(cx);
            }
            (Self::Asking(_), Event::Timer(Timer::Resend)) => ask(cx),
            (Self::Asking(id), Event::Message { message: Message::Added(number), .. }) => {
                cx.cancel_timer(Timer::Resend);
                cx.append(Record::Number(number));
                cx.when_durable(number);
                *self = Self::Saving(*id);
            }
            (Self::Saving(id), Event::Durable(number)) => {
                cx.reply(*id, number);
                *self = Self::Counted(number);
            }
            (Self::Counted(number), Event::Request { id, .. }) => cx.reply(id, *number),
            // What comes late, or twice, or is never sent.
            (Self::Counting(_) | Self::Idle | Self::Asking(_) | Self::Saving(_) | Self::Counted(_), _) => {}
        }
    }

    fn rests_on() -> Option<RestsOn<Self>> {
        Some(rests_on)
    }

    fn describe(word: Word<'_, Self>) -> String {
        match word {
            Word::Message(Message::Add) => "count me".into(),
            Word::Message(Message::Added(number)) => format!("you are number {number}"),
            Word::Timer(Timer::Resend) => "no answer yet".into(),
            Word::Record(Record::Counted(node)) => format!("{node} is counted"),
            Word::Record(Record::Number(number)) => format!("I am number {number}"),
            Word::Request(CountMe) => "be counted".into(),
            Word::Reply(number) => format!("number {number}"),
            Word::Fact(()) => String::new(),
        }
    }
}

/// A number that is told is in the journal of who tells it: at the counter it is a place, elsewhere one's own.
fn rests_on(_: &Config, told: &Output<'_, Counter>, durable: &[Record]) -> Result<(), String> {
    let (is_durable, record) = match *told {
        Output::Message { to, message: Message::Added(number) } => {
            let place = durable.get(*number as usize - 1);
            (place == Some(&Record::Counted(to)), format!("record {number}: {to} is counted"))
        }
        Output::Reply { reply, .. } => {
            let record = Record::Number(*reply);
            (durable.contains(&record), Counter::describe(Word::Record(&record)))
        }
        Output::Message { message: Message::Add, .. } | Output::View(()) | Output::Fact(()) => return Ok(()),
    };
    if is_durable { Ok(()) } else { Err(record) }
}

fn ask(cx: &mut Cx<'_>) {
    cx.send(COUNTER, Message::Add);
    cx.set_timer(Timer::Resend, RESEND);
}

/// What must hold, unless a disk is wiped.
pub fn invariants() -> Vec<Invariant<Counter, ()>> {
    vec![
        Invariant {
            name: "told-is-durable",
            about: "whoever knows its number is under that number in the counter's durable journal",
            source: "Gray, Reuter, Transaction Processing, §9.4: write-ahead logging",
            check: |now| {
                let journal = journal(now);
                for (id, state) in now.up() {
                    let Counter::Counted(number) = state else { continue };
                    if journal.get(*number as usize - 1) != Some(&Record::Counted(id)) {
                        return Err(format!(
                            "{id} is told to be number {number}, the journal is {journal:?}"
                        ));
                    }
                }
                Ok(())
            },
        },
        Invariant {
            name: "counted-once",
            about: "nobody is in the counter's journal twice",
            source: "rule 6 of the node's contract: a retry is the same request",
            check: |now| {
                let journal = journal(now);
                let twice = journal.iter().enumerate().find(|(i, record)| journal[..*i].contains(record));
                twice.map_or(Ok(()), |(_, record)| Err(format!("{record:?} is written twice")))
            },
        },
    ]
}

/// The end must be reachable.
pub fn witnesses() -> Vec<Witness<Counter, ()>> {
    vec![Witness {
        name: "all-counted",
        about: "everybody knows its number",
        seen: |now| {
            now.up().count() == now.nodes.len()
                && now.up().all(|(_, state)| matches!(state, Counter::Counting(_) | Counter::Counted(_)))
        },
    }]
}

/// The counter's journal, as far as no crash can take it away.
fn journal<'a>(now: &Observation<'a, Counter, ()>) -> &'a [Record] {
    now.nodes.iter().find(|node| node.id == COUNTER).and_then(|node| node.durable).unwrap_or_default()
}

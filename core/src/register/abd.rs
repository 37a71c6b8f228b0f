//! A register on every server, of which any majority answers (Attiya, Bar-Noy, Dolev, *Sharing Memory
//! Robustly in Message-Passing Systems*, JACM 1995). Whoever serves a request first asks a majority for its
//! newest value, then makes a majority record the value that is written or read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;
use super::{Config, Member, Message, NOTHING, Server, Value};
use crate::node::{Context, NodeId};

/// When a value was written: a count, and by whom if two counted the same.
pub type Stamp = (u64, NodeId);

/// What servers tell each other, for a request's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Internal {
    /// What do you hold?
    Query(u64),
    /// This.
    AckQuery(u64, Stamp, Value),
    /// Hold this, if it is newer.
    Record(u64, Stamp, Value),
    /// I hold that, or something newer.
    AckRecord(u64),
}

/// A copy, and the request that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Abd {
    stamp: Stamp,
    value: Value,
    serves: Option<Request>,
}

/// A request that is served: one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    number: u64,
    client: NodeId,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// A majority is asked what it holds.
    Asking { write: Option<Value>, held: BTreeMap<NodeId, (Stamp, Value)> },
    /// A majority is told what to hold.
    Telling { read: Option<Value>, acks: BTreeSet<NodeId> },
}

type Cx<'c> = Context<'c, Member<Abd>>;

impl Server for Abd {
    type Message = Internal;

    const MISTAKES: &[Mistake] = &[Mistake::AnswersUnheld];

    fn start(config: &Config) -> Self {
        Self { stamp: (0, config.me), value: NOTHING, serves: None }
    }

    fn on(&mut self, config: &Config, from: NodeId, message: Message<Internal>, cx: &mut Cx<'_>) {
        match message {
            Message::Put(number, value) => self.ask(config, from, number, Some(value), cx),
            Message::Get(number) => self.ask(config, from, number, None, cx),
            Message::Internal(Internal::Query(number)) => {
                let answer = Internal::AckQuery(number, self.stamp, self.value);
                cx.send(from, Message::Internal(answer));
            }
            Message::Internal(Internal::AckQuery(number, stamp, value)) => {
                self.on_ack_query(config, from, number, (stamp, value), cx);
            }
            Message::Internal(Internal::Record(number, stamp, value)) => {
                cx.send(from, Message::Internal(Internal::AckRecord(number)));
                self.hold(stamp, value);
            }
            Message::Internal(Internal::AckRecord(number)) => self.on_ack_record(config, from, number, cx),
            Message::PutOk(_) | Message::GetOk(..) => {}
        }
    }
}

impl Abd {
    /// Begins to serve a request, unless another one is served.
    fn ask(&mut self, config: &Config, client: NodeId, number: u64, write: Option<Value>, cx: &mut Cx<'_>) {
        if self.serves.is_some() {
            return;
        }
        for peer in config.peers() {
            cx.send(peer, Message::Internal(Internal::Query(number)));
        }
        let held = BTreeMap::from([(config.me, (self.stamp, self.value))]);
        self.serves = Some(Request { number, client, phase: Phase::Asking { write, held } });
    }

    fn on_ack_query(
        &mut self,
        config: &Config,
        from: NodeId,
        number: u64,
        answer: (Stamp, Value),
        cx: &mut Cx<'_>,
    ) {
        let Some(request) = self.serves.as_mut().filter(|request| request.number == number) else { return };
        let Phase::Asking { write, held } = &mut request.phase else { return };
        held.insert(from, answer);
        if held.len() < config.majority() {
            return;
        }
        let (newest, found) = *held.values().max().expect("the own copy is among them");
        let (stamp, value, read) = match *write {
            Some(value) => ((newest.0 + 1, config.me), value, None),
            None => (newest, found, Some(found)),
        };
        request.phase = Phase::Telling { read, acks: BTreeSet::from([config.me]) };
        for peer in config.peers() {
            cx.send(peer, Message::Internal(Internal::Record(number, stamp, value)));
        }
        self.hold(stamp, value);
        if config.makes(Mistake::AnswersUnheld) {
            self.answer(cx);
        }
    }

    fn on_ack_record(&mut self, config: &Config, from: NodeId, number: u64, cx: &mut Cx<'_>) {
        let Some(request) = self.serves.as_mut().filter(|request| request.number == number) else { return };
        let Phase::Telling { acks, .. } = &mut request.phase else { return };
        acks.insert(from);
        if acks.len() >= config.majority() {
            self.answer(cx);
        }
    }

    /// The request that is served is done.
    fn answer(&mut self, cx: &mut Cx<'_>) {
        let Some(Request { number, client, phase: Phase::Telling { read, .. } }) = self.serves.take() else {
            return;
        };
        let answer = read.map_or(Message::PutOk(number), |value| Message::GetOk(number, value));
        cx.send(client, answer);
    }

    /// Holds what is newer than what it holds.
    fn hold(&mut self, stamp: Stamp, value: Value) {
        if stamp > self.stamp {
            (self.stamp, self.value) = (stamp, value);
        }
    }
}

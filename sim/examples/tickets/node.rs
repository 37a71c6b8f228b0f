//! A ticket office: nodes that hand out numbers, and never give the same one to two clients.
//!
//! A node that is asked for a number asks all members, itself included, to reserve the next one for it. A
//! member reserves a number once, and after it only higher ones. A number that a majority has reserved for one
//! node can be nobody else's, since any two majorities share a member.

use std::collections::BTreeSet;
use std::time::Duration;

use coalmine_sim::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub me: NodeId,
    pub members: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Reserve this number for me.
    Reserve { number: u64 },
    /// It is reserved for you, and on disk.
    Reserved { number: u64 },
    /// It is not: the last number that is reserved here is this one.
    Taken { last: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    Retry,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    Reserved { number: u64, by: NodeId },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    Number,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    Number(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    Given { number: u64, to: RequestId },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Office {
    /// The last number that is reserved here, and for whom.
    last: u64,
    by: NodeId,
    /// The last number that somebody else said is taken.
    taken: u64,
    /// The clients that wait for a number.
    pub waiting: BTreeSet<RequestId>,
    /// The number that this node wants, and who has reserved it.
    wanted: Option<u64>,
    votes: BTreeSet<NodeId>,
}

impl HttpApi for Office {}

impl Node for Office {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = Request;
    type Reply = Reply;
    type View = ();
    type Fact = Fact;

    const FORM: Form = Form::MessagePack;

    fn start(config: &Config, disk: &[Record], _: &mut Context<'_, Self>) -> Self {
        let (last, by) = match disk.last() {
            Some(Record::Reserved { number, by }) => (*number, *by),
            None => (0, config.me),
        };
        Self { last, by, taken: 0, waiting: BTreeSet::new(), wanted: None, votes: BTreeSet::new() }
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { id, request: Request::Number } => {
                self.waiting.insert(id);
                if self.wanted.is_none() {
                    self.want_next(config, cx);
                }
            }
            Event::Message { from, message: Message::Reserve { number } } => {
                if self.reserve(number, from, cx) {
                    cx.send(from, Message::Reserved { number });
                } else {
                    cx.send(from, Message::Taken { last: self.last });
                }
            }
            Event::Message { from, message: Message::Reserved { number } } => {
                if self.wanted == Some(number) {
                    self.vote(from, number, config, cx);
                }
            }
            Event::Message { message: Message::Taken { last }, .. } => self.taken = self.taken.max(last),
            Event::Timer(Timer::Retry) => match self.wanted {
                Some(number) if number > self.taken => Self::ask(number, config, cx),
                Some(_) => self.want_next(config, cx),
                None => {}
            },
            Event::Durable(_) => {}
        }
    }
}

impl Office {
    /// Reserves a number for a node, unless it may be another's.
    fn reserve(&mut self, number: u64, by: NodeId, cx: &mut Context<'_, Self>) -> bool {
        if number > self.last {
            cx.append(Record::Reserved { number, by });
            (self.last, self.by) = (number, by);
        }
        (self.last, self.by) == (number, by)
    }

    fn want_next(&mut self, config: &Config, cx: &mut Context<'_, Self>) {
        let number = self.last.max(self.taken) + 1;
        self.wanted = Some(number);
        self.votes.clear();
        self.reserve(number, config.me, cx);
        Self::ask(number, config, cx);
        self.vote(config.me, number, config, cx);
    }

    /// Asks all others, and will ask again: messages get lost.
    fn ask(number: u64, config: &Config, cx: &mut Context<'_, Self>) {
        for &member in config.members.iter().filter(|member| **member != config.me) {
            cx.send(member, Message::Reserve { number });
        }
        cx.set_timer(Timer::Retry, Duration::from_millis(300)..=Duration::from_millis(600));
    }

    /// A member has reserved the number that this node wants.
    fn vote(&mut self, from: NodeId, number: u64, config: &Config, cx: &mut Context<'_, Self>) {
        self.votes.insert(from);
        if self.votes.len() > config.members.len() / 2 {
            self.wanted = None;
            cx.cancel_timer(Timer::Retry);
            if let Some(id) = self.waiting.pop_first() {
                cx.reply(id, Reply::Number(number));
                cx.observe(Fact::Given { number, to: id });
            }
            if !self.waiting.is_empty() {
                self.want_next(config, cx);
            }
        }
    }
}

//! A node that is a value: what it does is a table in its configuration, so one type is compiled for all of them.

use std::sync::{Arc, Mutex};

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_real::http_api::HttpApi;
use serde::{Deserialize, Serialize};

use crate::view::Seen;

/// Small vocabularies, each with all of its words.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($word:ident)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "they mean nothing")]
        pub enum $name { $($word),* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$word),*];
        }
    )*};
}
words! {
    /// What nodes tell each other.
    Message { A B C }
    /// The timers; `Beat` is periodic.
    Timer { Tick Tock Beat }
    /// What nodes write.
    Record { R S }
    /// What clients ask.
    Request { Do Undo }
    /// What nodes observe.
    Fact { F G H }
    /// What a node finds on its disk when it boots: nothing, one record, or more and which is the last.
    Found { Nothing OneR OneS ManyR ManyS }
}

/// How many records a node writes at most, so that spaces end.
pub const JOURNAL: usize = 3;

impl Timer {
    /// The range of its delay, in milliseconds. The checker fires timers whenever it likes, but where it is asked whether a
    /// system settles.
    pub fn delay_ms(self) -> [u64; 2] {
        match self {
            Self::Tick => [100, 500],
            Self::Tock => [200, 3_000],
            Self::Beat => [700, 700],
        }
    }
}

/// Who is answered outside of a request.
pub const SOMEBODY: RequestId = RequestId { client: 9, sequence: 9 };

/// Nobody's name.
pub const STRANGER: NodeId = NodeId(99);

/// When a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum On {
    /// The node boots and finds this.
    Boot(Found),
    /// A message arrives.
    Message(Message),
    /// A timer fires.
    Timer(Timer),
    /// A client asks.
    Request(Request),
    /// What was written before this token is durable.
    Durable(u8),
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum To {
    /// The member at this place, modulo how many there are.
    Member(u8),
    /// Whoever sent the message that is being taken; nobody if there is none.
    Sender,
    /// Somebody who is no member.
    Stranger,
}

/// One thing that a rule does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Changes the state.
    Goto(u8),
    /// The state is the number of this life, if it is not too large.
    GotoLife,
    /// Writes, while the journal has room.
    Append(Record),
    /// Sends.
    Send(To, Message),
    /// Sends without waiting for the disk.
    SendAtOnce(To, Message),
    /// Answers the client that asks, or [`SOMEBODY`].
    Reply,
    /// Answers without waiting for the disk.
    ReplyAtOnce,
    /// Publishes the state.
    Publish,
    /// Observes.
    Observe(Fact),
    /// Arms a timer.
    Arm(Timer),
    /// Disarms a timer.
    Disarm(Timer),
    /// Asks to be told what is durable. When it is told of a token, it can only ask for a higher one: else it
    /// might ask for ever.
    WhenDurable(u8),
    /// Does one of these.
    Choose(Vec<Vec<Op>>),
    /// Lets all vanish that was written before the last record.
    Forget,
    /// Finds an invariant broken.
    Panic,
}

/// What a node does in a state when something happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// The state; any, if none is named. A boot begins in state 0.
    pub from: Option<u8>,
    /// What happens.
    pub on: On,
    /// What it does.
    pub ops: Vec<Op>,
}

/// A node's program: the first rule that fits is carried out. Where none fits, nothing happens.
pub type Table = Vec<Rule>;

/// The configuration of a node: its own table, and what its checkers need to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The whole system.
    pub spec: Arc<crate::Spec>,
    /// The node's place in it.
    pub me: u8,
    /// Where checkers leave what they have seen, if anybody wants to know.
    #[serde(skip)]
    pub seen: Option<Arc<Mutex<Seen>>>,
}

/// A node with a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableNode {
    /// Its state.
    pub state: u8,
    /// How many more records it writes.
    pub room: u8,
}

/// What a node does, as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "see `Op`")]
pub enum Did {
    Append(Record),
    /// To the member at this place, or to a stranger.
    Send(Option<usize>, Message),
    SendAtOnce(Option<usize>, Message),
    Reply,
    ReplyAtOnce,
    Publish(u8),
    Observe(Fact),
    Arm(Timer),
    Disarm(Timer),
    WhenDurable(u8),
    /// The records before this number may vanish.
    Forget(u64),
    /// It panics: the rest has not happened, and nothing comes of what has.
    Panic,
    /// It writes this, and that is not durable yet although disks sync at once: something leaves meanwhile.
    Write(Record),
    /// The first record that is not durable becomes so.
    Synced,
}

/// What a table says when something happens.
pub struct Reaction<'a> {
    /// The node's program.
    pub table: &'a Table,
    /// How many members there are.
    pub members: usize,
    /// Which life of the node this is.
    pub life: u64,
    /// What happens.
    pub on: On,
    /// The place of whoever sent what arrives.
    pub sender: Option<usize>,
    /// Who chooses.
    pub choose: &'a mut dyn FnMut(u32) -> u32,
}

impl TableNode {
    /// A node that boots, and what it finds. So many records were written, of which some may have vanished.
    pub fn boot(disk: &[Record], written: usize) -> (Self, On) {
        let found = match disk {
            [] => Found::Nothing,
            [Record::R] => Found::OneR,
            [Record::S] => Found::OneS,
            [.., Record::R] => Found::ManyR,
            [.., Record::S] => Found::ManyS,
        };
        (Self { state: 0, room: JOURNAL.saturating_sub(written) as u8 }, On::Boot(found))
    }

    /// Does what the table says.
    pub fn react(&mut self, mut reaction: Reaction<'_>) -> Vec<Did> {
        let fits = |rule: &&Rule| rule.on == reaction.on && rule.from.is_none_or(|from| from == self.state);
        let mut did = Vec::new();
        if let Some(rule) = reaction.table.iter().find(fits) {
            self.carry_out(&rule.ops, &mut reaction, &mut did);
        }
        did
    }

    fn carry_out(&mut self, ops: &[Op], reaction: &mut Reaction<'_>, did: &mut Vec<Did>) {
        for op in ops {
            if did.last() == Some(&Did::Panic) {
                return;
            }
            did.push(match op {
                Op::Append(record) => match self.room.checked_sub(1) {
                    Some(room) => {
                        self.room = room;
                        Did::Append(*record)
                    }
                    None => continue,
                },
                Op::Send(to, it) | Op::SendAtOnce(to, it) => {
                    let to = match to {
                        To::Member(to) => Some(usize::from(*to) % reaction.members),
                        To::Sender if reaction.sender.is_none() => continue,
                        To::Sender => reaction.sender,
                        To::Stranger => None,
                    };
                    if matches!(op, Op::Send(..)) { Did::Send(to, *it) } else { Did::SendAtOnce(to, *it) }
                }
                Op::Reply => Did::Reply,
                Op::ReplyAtOnce => Did::ReplyAtOnce,
                Op::Publish => Did::Publish(self.state),
                Op::Observe(fact) => Did::Observe(*fact),
                Op::Arm(timer) => Did::Arm(*timer),
                Op::Disarm(timer) => Did::Disarm(*timer),
                Op::WhenDurable(token) => match reaction.on {
                    On::Durable(now) if now >= *token => continue,
                    On::Durable(_) | On::Boot(_) | On::Message(_) | On::Timer(_) | On::Request(_) => {
                        Did::WhenDurable(*token)
                    }
                },
                Op::Goto(state) => {
                    self.state = *state;
                    continue;
                }
                Op::GotoLife => {
                    self.state = reaction.life.min(2) as u8;
                    continue;
                }
                Op::Choose(ways) => {
                    let way = (reaction.choose)(ways.len() as u32) as usize;
                    self.carry_out(&ways[way], reaction, did);
                    continue;
                }
                Op::Forget => Did::Forget((JOURNAL - usize::from(self.room)) as u64),
                Op::Panic => Did::Panic,
            });
        }
    }

    fn take(
        &mut self,
        config: &Config,
        on: On,
        from: Option<NodeId>,
        client: RequestId,
        cx: &mut Context<'_, Self>,
    ) {
        let reaction = Reaction {
            table: &config.spec.members[usize::from(config.me)],
            members: config.spec.members.len(),
            life: cx.life(),
            on,
            sender: from.map(crate::place),
            choose: &mut |n| cx.choose(n),
        };
        for did in self.react(reaction) {
            match did {
                Did::Append(record) => {
                    cx.append(record);
                }
                Did::Forget(before) => cx.forget(before),
                Did::Send(to, message) => cx.send(to.map_or(STRANGER, crate::name), message),
                Did::SendAtOnce(to, message) => cx.send_at_once(to.map_or(STRANGER, crate::name), message),
                Did::Reply => cx.reply(client, ()),
                Did::ReplyAtOnce => cx.reply_at_once(client, ()),
                Did::Publish(state) => cx.publish(state),
                Did::Observe(fact) => cx.observe(fact),
                Did::Arm(timer) => {
                    let [min, max] = timer.delay_ms().map(std::time::Duration::from_millis);
                    cx.set_timer(timer, min..=max);
                }
                Did::Disarm(timer) => cx.cancel_timer(timer),
                Did::WhenDurable(token) => cx.when_durable(u64::from(token)),
                Did::Panic => panic!("a broken invariant"),
                Did::Write(_) | Did::Synced => unreachable!("no table says this"),
            }
        }
    }
}

impl Node for TableNode {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = Request;
    type Reply = ();
    type View = u8;
    type Fact = Fact;

    fn start(config: &Config, disk: &[Record], cx: &mut Context<'_, Self>) -> Self {
        let (mut node, found) = Self::boot(disk, cx.last_record() as usize);
        node.take(config, found, None, SOMEBODY, cx);
        node
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Message { from, message } => {
                self.take(config, On::Message(message), Some(from), SOMEBODY, cx);
            }
            Event::Timer(timer) => self.take(config, On::Timer(timer), None, SOMEBODY, cx),
            Event::Request { id, request } => self.take(config, On::Request(request), None, id, cx),
            Event::Durable(token) => self.take(config, On::Durable(token as u8), None, SOMEBODY, cx),
        }
    }
}

impl HttpApi for TableNode {}

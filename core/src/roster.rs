//! Members that come and go: a *keeper* admits and dismisses them, and each is told, again and again until it has heard.
//!
//! The keeper knows nobody at first. Where a member lives it is told with the request that admits it, and writes that into
//! its journal with the change: so the addresses travel with the membership, and a keeper that recovers
//! [meets](Context::meet) whom its journal names. From a member that was dismissed it [parts](Context::part) only when that has
//! heard of it. Changes are numbered, so that a member is not misled by an old one.
//!
//! It is the smallest protocol in which who may be spoken to changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mistakes::mistakes;
use crate::node::{Address, Context, Event, Node, NodeId, Output, RequestId, RestsOn, Word};
use crate::observation::{Invariant, Observation, Witness};

/// Who admits and dismisses.
pub const KEEPER: NodeId = NodeId(1);

/// How long the keeper waits before it tells again.
const RESEND: std::time::Duration = std::time::Duration::from_millis(300);

/// One member's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This member: the keeper, or somebody who may be admitted.
    pub me: NodeId,
    /// What it does wrong on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
}

/// Hands the table of mistakes to a macro that makes something of every row; see that of
/// [the rollout](crate::for_rollout_mistakes).
#[macro_export]
macro_rules! for_roster_mistakes {
    ($make:ident) => {
        $make! {
            /// A keeper that recovers does not meet those whom its journal names.
            ForgetsAddresses, "forgets-addresses",
                source "rule 8 of the node's contract: whom a node has met is gone with its life", space {};
            /// A member is told of a change before that is written.
            TellsFirst, "tells-first",
                source "Ongaro 2014, §4.1: a configuration is used once it is in the log", space {};
            /// The keeper parts from a member as soon as it has told it that it is dismissed.
            PartsEarly, "parts-early",
                source "Ongaro 2014, §4.2.3: a server that is removed does not learn of it by itself", space {};
        }
    };
}
for_roster_mistakes!(mistakes);

/// What members tell each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// The keeper tells a member what it is since the change of this number.
    Tell {
        /// The number.
        number: u64,
        /// Whether it is admitted.
        is_in: bool,
    },
    /// That is written.
    Heard(u64),
}

/// What is in a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    /// The keeper's, counted from 1: a client has asked for it.
    Change {
        /// The request.
        id: RequestId,
        /// Who comes or goes.
        member: NodeId,
        /// Where it lives, if it comes.
        address: Option<Address>,
    },
    /// A member's: what it is since the change of this number.
    Told {
        /// The number.
        number: u64,
        /// Whether it is admitted.
        is_in: bool,
    },
}

/// What clients ask of the keeper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Admit this member, who lives there.
    Admit(NodeId, Address),
    /// Dismiss this member.
    Dismiss(NodeId),
}

/// It is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Done;

/// The keeper's timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// It tells again those who have not heard.
    Resend,
}

/// What the keeper knows of somebody whom it has admitted once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The last change.
    pub number: u64,
    /// Whether it is admitted.
    pub is_in: bool,
    address: Address,
    has_heard: bool,
}

/// A node of the roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Roster {
    /// Who keeps it.
    Keeper {
        /// By member; who was dismissed, until it has heard.
        entries: BTreeMap<NodeId, Entry>,
        /// How many changes there were.
        changes: u64,
        /// By client: its last request.
        last: BTreeMap<u64, u64>,
    },
    /// What a member was told: the number of the change, and whether it is admitted.
    Member(Option<(u64, bool)>),
}

type Cx<'c> = Context<'c, Roster>;

impl Node for Roster {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = Request;
    type Reply = Done;
    type View = ();
    type Fact = ();

    fn knows(config: &Config) -> Option<Vec<NodeId>> {
        Some(if config.me == KEEPER { Vec::new() } else { vec![KEEPER] })
    }

    fn start(config: &Config, disk: &[Record], cx: &mut Cx<'_>) -> Self {
        if config.me != KEEPER {
            let told = disk.iter().rev().find_map(|record| match record {
                Record::Told { number, is_in } => Some((*number, *is_in)),
                Record::Change { .. } => None,
            });
            return Self::Member(told);
        }
        let (mut entries, mut changes, mut last) = (BTreeMap::new(), 0, BTreeMap::new());
        for record in disk {
            let Record::Change { id, member, address } = record else { continue };
            changes += 1;
            last.insert(id.client, id.sequence);
            change(&mut entries, changes, *member, *address);
        }
        if config.mistake != Some(Mistake::ForgetsAddresses) {
            entries.iter().for_each(|(member, entry)| cx.meet(*member, entry.address));
        }
        tell_all(&entries, cx);
        Self::Keeper { entries, changes, last }
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match (self, event) {
            (Self::Keeper { entries, changes, last }, Event::Request { id, request }) => {
                if last.get(&id.client).is_some_and(|last| *last >= id.sequence) {
                    return cx.reply(id, Done);
                }
                let (member, address) = match request {
                    Request::Admit(member, address) => (member, Some(address)),
                    Request::Dismiss(member) => (member, None),
                };
                *changes += 1;
                last.insert(id.client, id.sequence);
                change(entries, *changes, member, address);
                let record = Record::Change { id, member, address };
                if config.mistake != Some(Mistake::TellsFirst) {
                    cx.append(record.clone());
                }
                if let Some(entry) = entries.get(&member) {
                    if address.is_some() {
                        cx.meet(member, entry.address);
                    }
                    tell_all(entries, cx);
                    if config.mistake == Some(Mistake::PartsEarly) && !entry.is_in {
                        cx.part(member);
                    }
                }
                if config.mistake == Some(Mistake::TellsFirst) {
                    cx.append(record);
                }
                cx.reply(id, Done);
            }
            (Self::Keeper { entries, .. }, Event::Message { from, message: Message::Heard(number) }) => {
                let Some(entry) = entries.get_mut(&from).filter(|entry| entry.number == number) else {
                    return;
                };
                entry.has_heard = true;
                if !entry.is_in {
                    entries.remove(&from);
                    cx.part(from);
                }
                if entries.values().all(|entry| entry.has_heard) {
                    cx.cancel_timer(Timer::Resend);
                }
            }
            (Self::Keeper { entries, .. }, Event::Timer(Timer::Resend)) => tell_all(entries, cx),
            (Self::Member(told), Event::Message { from, message: Message::Tell { number, is_in } }) => {
                let known = told.map_or(0, |(number, _)| number);
                if number > known {
                    cx.append(Record::Told { number, is_in });
                    *told = Some((number, is_in));
                }
                if number >= known {
                    cx.send(from, Message::Heard(number));
                }
            }
            (Self::Keeper { .. } | Self::Member(_), _) => {} // nothing of its own
        }
    }

    /// An answer rests on the change, or on a later one of the same client. What members are told is asked by an invariant.
    fn rests_on() -> Option<RestsOn<Self>> {
        Some(|_, output, disk| {
            let Output::Reply { to, .. } = output else { return Ok(()) };
            let is_it = |record: &Record| matches!(record, Record::Change { id, .. } if id.client == to.client && id.sequence >= to.sequence);
            if disk.iter().any(is_it) { Ok(()) } else { Err(format!("the change that {to} has asked for")) }
        })
    }

    fn describe(word: Word<'_, Self>) -> String {
        let is = |is_in: &bool| if *is_in { "you are in" } else { "you are out" };
        match word {
            Word::Message(Message::Tell { number, is_in }) => format!("{} since change {number}", is(is_in)),
            Word::Message(Message::Heard(number)) => format!("heard of change {number}"),
            Word::Timer(Timer::Resend) => "resend".into(),
            Word::Record(Record::Change { member, address: Some(_), .. }) => format!("{member} is in"),
            Word::Record(Record::Change { member, address: None, .. }) => format!("{member} is out"),
            Word::Record(Record::Told { number, is_in }) => format!("{} since change {number}", is(is_in)),
            Word::Request(Request::Admit(member, _)) => format!("admit {member}"),
            Word::Request(Request::Dismiss(member)) => format!("dismiss {member}"),
            Word::Reply(Done) => "done".into(),
            Word::Fact(()) => String::new(),
        }
    }
}

/// Takes in a change; whoever was never admitted, or has heard that it is out, cannot be dismissed.
fn change(entries: &mut BTreeMap<NodeId, Entry>, number: u64, member: NodeId, address: Option<Address>) {
    match (address, entries.get_mut(&member)) {
        (Some(address), _) => {
            entries.insert(member, Entry { number, is_in: true, address, has_heard: false });
        }
        (None, Some(entry)) if entry.is_in => {
            *entry = Entry { number, is_in: false, address: entry.address, has_heard: false };
        }
        (None, _) => {}
    }
}

/// Tells those who have not heard, and tells them again later.
fn tell_all(entries: &BTreeMap<NodeId, Entry>, cx: &mut Cx<'_>) {
    for (member, Entry { number, is_in, .. }) in entries.iter().filter(|(_, entry)| !entry.has_heard) {
        cx.send(*member, Message::Tell { number: *number, is_in: *is_in });
        cx.set_timer(Timer::Resend, RESEND);
    }
}

impl Entry {
    /// Whether the member has heard of its last change.
    pub fn has_heard(&self) -> bool {
        self.has_heard
    }
}

/// What is durable at the keeper.
fn changes<'a>(now: &Observation<'a, Roster, ()>) -> &'a [Record] {
    now.nodes.iter().find(|node| node.id == KEEPER).and_then(|node| node.durable).unwrap_or_default()
}

/// What must hold, unless a disk is wiped.
pub fn invariants() -> Vec<Invariant<Roster, ()>> {
    vec![Invariant {
        name: "in-the-roster",
        about: "what a member was told is a change that is durable at the keeper",
        source: "Ongaro 2014, §4.1: nobody acts on a configuration that may be lost",
        check: |now| {
            let changes = changes(now);
            for (id, node) in now.up() {
                let Roster::Member(Some((number, is_in))) = node else { continue };
                let is_change = |record: &Record| matches!(record, Record::Change { member, address, .. } if *member == id && address.is_some() == *is_in);
                let place = usize::try_from(*number).unwrap_or(usize::MAX).wrapping_sub(1);
                if !changes.get(place).is_some_and(is_change) {
                    let is = if *is_in { "in" } else { "out" };
                    return Err(format!(
                        "{id} believes to be {is} since change {number}, and {KEEPER} has no such change"
                    ));
                }
            }
            Ok(())
        },
    }]
}

/// Members must come, and go.
pub fn witnesses() -> Vec<Witness<Roster, ()>> {
    vec![
        Witness {
            name: "comes",
            about: "a member has heard that it is in",
            seen: |now| now.up().any(|(_, node)| matches!(node, Roster::Member(Some((_, true))))),
        },
        Witness {
            name: "goes",
            about: "a member has heard that it is out",
            seen: |now| now.up().any(|(_, node)| matches!(node, Roster::Member(Some((_, false))))),
        },
    ]
}

//! A tally that forgets: one node adds up what its clients bring, each request once, and tells them the sum.
//!
//! Every addition is a record. After some of them it writes the total, with what each client was answered last, and
//! [forgets](Context::forget) all before it: so its journal stays short however long it lives. A node that recovers may
//! find all of the old records, some, or none; a total replaces whatever stands before it.
//!
//! It is the smallest protocol whose journal does not begin at 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::linearize::{Calls, Object, linearizable};
use crate::mistakes::mistakes;
use crate::node::{Context, Event, Node, RequestId, Word};
use crate::observation::{Invariant, Witness};

/// After so many additions the total is written.
const EVERY: u64 = 2;

/// The node's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    /// What it does wrong on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
}

/// Hands the table of mistakes to a macro that makes something of every row; see that of
/// [the rollout](crate::for_rollout_mistakes).
#[macro_export]
macro_rules! for_tally_mistakes {
    ($make:ident) => {
        $make! {
            /// It forgets the additions, and writes the total that replaces them with the next one.
            ForgetsFirst, "forgets-first",
                source "Ongaro 2014, §5.1: what a snapshot replaces is discarded once the snapshot is written", space {};
            /// It forgets the total as well.
            ForgetsTotal, "forgets-total",
                source "Ongaro 2014, §5.1: the snapshot stands for all that was discarded", space {};
            /// It adds a total to the additions that it finds before it, which may not have vanished.
            AddsTwice, "adds-twice",
                source "rule 1 of the node's contract: of what is forgotten all may still be there", space {};
        }
    };
}
for_tally_mistakes!(mistakes);

/// What is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    /// A client has brought so much.
    Added {
        /// The request.
        id: RequestId,
        /// How much.
        amount: u64,
    },
    /// This much there is, whatever stands before.
    Total(Tally),
}

/// What clients ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Add this.
    Add(u64),
    /// How much is there?
    Read,
}

/// What is known of a client: its last addition, and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Last {
    /// The request's number.
    pub sequence: u64,
    /// The sum then.
    pub sum: u64,
}

/// The node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// How much there is; what is more than a word counts is not counted.
    pub sum: u64,
    /// By client.
    pub last: BTreeMap<u64, Last>,
    /// How many additions there were since the last total.
    pub since: u64,
}

type Cx<'c> = Context<'c, Tally>;

impl Node for Tally {
    type Config = Config;
    type Message = ();
    type Timer = ();
    type Record = Record;
    type Request = Request;
    type Reply = u64;
    type View = ();
    type Fact = ();

    fn start(config: &Config, disk: &[Record], _: &mut Cx<'_>) -> Self {
        let mut tally = Self::default();
        for record in disk {
            match record {
                Record::Added { id, amount } => drop(tally.add(*id, *amount)),
                Record::Total(total) => {
                    let found = if config.mistake == Some(Mistake::AddsTwice) { tally.sum } else { 0 };
                    tally = Self { sum: total.sum.saturating_add(found), ..total.clone() };
                }
            }
        }
        tally
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        let Event::Request { id, request } = event else { return };
        let amount = match request {
            Request::Read => return cx.reply(id, self.sum),
            Request::Add(amount) => amount,
        };
        match self.last.get(&id.client) {
            Some(last) if last.sequence == id.sequence => return cx.reply(id, last.sum),
            // Its client has gone on since.
            Some(last) if last.sequence > id.sequence => return,
            Some(_) | None => {}
        }
        cx.append(Record::Added { id, amount });
        let sum = self.add(id, amount);
        if self.since >= EVERY {
            self.forget(config, cx);
        }
        cx.reply(id, sum);
    }

    fn describe(word: Word<'_, Self>) -> String {
        match word {
            Word::Record(Record::Added { id, amount }) => format!("{id} adds {amount}"),
            Word::Record(Record::Total(Self { sum, .. })) => format!("all before it: {sum}"),
            Word::Request(Request::Add(amount)) => format!("add {amount}"),
            Word::Request(Request::Read) => "how much is there?".into(),
            Word::Reply(sum) => sum.to_string(),
            Word::Message(()) | Word::Timer(()) | Word::Fact(()) => String::new(),
        }
    }
}

impl Tally {
    fn add(&mut self, id: RequestId, amount: u64) -> u64 {
        self.sum = self.sum.saturating_add(amount);
        self.since += 1;
        self.last.insert(id.client, Last { sequence: id.sequence, sum: self.sum });
        self.sum
    }

    /// Writes the total, and forgets what it replaces.
    fn forget(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if config.mistake == Some(Mistake::ForgetsFirst) && self.since == EVERY {
            return cx.forget(cx.last_record());
        }
        self.since = 0;
        let number = cx.append(Record::Total(self.clone()));
        let all = config.mistake == Some(Mistake::ForgetsTotal);
        cx.forget(if all { number + 1 } else { number });
    }
}

/// What a sum does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(u64);

impl Object for Sum {
    type Call = Request;
    type Answer = u64;

    fn apply(&mut self, call: &Request) -> u64 {
        if let Request::Add(amount) = call {
            self.0 = self.0.saturating_add(*amount);
        }
        self.0
    }

    fn only_reads(call: &Request) -> bool {
        *call == Request::Read
    }
}

/// What must hold, unless a disk is wiped.
pub fn invariants() -> Vec<Invariant<Tally, Calls<Sum>>> {
    vec![
        linearizable(),
        Invariant {
            name: "total-is-kept",
            about: "whoever has lost its first records has a durable total that stands for them",
            source: "rule 1 of the node's contract: what was appended, and not forgotten, survives",
            check: |now| {
                let gone = |node: &&crate::observation::Observed<'_, Tally>| node.forgotten > 0;
                for node in now.nodes.iter().filter(gone) {
                    let durable = node.durable.unwrap_or_default();
                    if !durable.iter().any(|record| matches!(record, Record::Total(_))) {
                        return Err(format!("{} has forgotten records, and has no total of them", node.id));
                    }
                }
                Ok(())
            },
        },
    ]
}

/// A node must have lived on without its first records.
pub fn witnesses() -> Vec<Witness<Tally, Calls<Sum>>> {
    vec![Witness {
        name: "lives-on",
        about: "a node is up whose first records are gone",
        seen: |now| now.nodes.iter().any(|node| node.forgotten > 0 && node.state.is_some()),
    }]
}

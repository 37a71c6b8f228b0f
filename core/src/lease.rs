//! A lock that is lent for a time (Gray, Cheriton, *Leases: An Efficient Fault-Tolerant Mechanism for Distributed File
//! Cache Consistency*, SOSP 1989), and a store that is written under it.
//!
//! The *lock* lends to one *holder* at a time. Each lease has a number, durable before anybody hears of it, and ends when
//! the holder lets go, or by the lock's own clock. A holder writes a document for its client: one half, some work, the
//! other half; so the halves of two documents must not mix. It holds the lease for less time than it is lent, by its own
//! clock, and counts from before it asked. Where it has lost the lease it asks again, and begins anew.
//!
//! That keeps two holders apart as long as clocks run alike, nobody stands still, and frames arrive in time. The *store*
//! trusts in none of that: it knows the newest lease that it has seen, and refuses what is written under an older one
//! (the number is a *fencing token*; Burrows, *The Chubby Lock Service for Loosely-Coupled Distributed Systems*, OSDI
//! 2006, §2.4, has it as a *sequencer*). So two may believe that they hold the lock, and only one of them writes.
//!
//! It is the smallest protocol in which a duration matters, and the example for what can be said about time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mistakes::mistakes;
use crate::node::{Context, Event, Node, NodeId, RequestId, Word};
use crate::observation::{Invariant, Observation, Witness};

/// Who lends.
pub const LOCK: NodeId = NodeId(1);
/// Who is written.
pub const STORE: NodeId = NodeId(2);

/// For how long the lock lends, by its own clock.
pub const LEASE: Duration = Duration::from_millis(800);
/// For how long a holder takes the lease for its own, by its own clock; what is left is for clocks that do not run alike,
/// and for the last write under way.
pub const HOLD: Duration = Duration::from_millis(600);
/// How long the work takes between the halves of a document.
const WORK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(300));

/// One member's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This member: the lock, the store, or else a holder.
    pub me: NodeId,
    /// What it does wrong on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
}

/// Hands the table of mistakes to a macro that makes something of every row; see that of
/// [the rollout](crate::for_rollout_mistakes).
#[macro_export]
macro_rules! for_lease_mistakes {
    ($make:ident) => {
        $make! {
            /// The store takes whatever comes, and trusts that leases have ended when others begin.
            TrustsClocks, "trusts-clocks",
                source "Burrows 2006, §2.4: what is sent under a lock is checked where it arrives", space { timeouts: 1 };
        }
    };
}
for_lease_mistakes!(mistakes);

/// The halves of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Half {
    /// Written as soon as the lease is there.
    First,
    /// Written after the work.
    Second,
}

/// What a holder calls one time that it asks: no answer to another time is taken for the answer to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Question {
    /// The life of the holder.
    pub life: u64,
    /// How often it has asked in this life.
    pub count: u64,
}

/// What members tell each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To the lock: lend me the lock.
    Ask(Question),
    /// To the holder that has asked so: it is yours, under this number.
    Lent(Question, u64),
    /// To the lock: this lease is over.
    LetGo(u64),
    /// To the store: hold this, under this lease.
    Write(Written),
    /// To the holder: that is written.
    IsWritten(u64, Half),
    /// To the holder: a newer lease than this one was seen.
    IsOld(u64),
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Written {
    /// Under which lease.
    pub lease: u64,
    /// For whom.
    pub id: RequestId,
    /// Which document.
    pub document: u8,
    /// Which half of it.
    pub half: Half,
}

/// What is in a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    /// The lock lends under this number.
    Lends(u64),
    /// The store takes this of this holder.
    Takes(NodeId, Written),
}

/// What clients ask of a holder: write this document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Write(pub u8);

/// It is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Done;

/// The timers, the shortest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At a holder: the work is done.
    Work,
    /// At a holder: the lease is over, or never came.
    Hold,
    /// At the lock: the lease is over.
    Lease,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lease {
    /// The one that lends.
    Lock {
        /// The last lease that it gave.
        last: u64,
        /// Whether that is not over.
        is_lent: bool,
    },
    /// The one that is written: all that was, in order, and by whom.
    Store(Vec<(NodeId, Written)>),
    /// One that writes.
    Holder(Holder),
}

/// A holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// What its clients wait for: the first of these is being written.
    jobs: Vec<(RequestId, u8)>,
    /// What it has asked last.
    question: Question,
    /// The lease that it believes to have.
    lease: Option<u64>,
    /// The half that is being written under it.
    half: Half,
}

type Cx<'c> = Context<'c, Lease>;

impl Node for Lease {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = Record;
    type Request = Write;
    type Reply = Done;
    type View = ();
    type Fact = ();

    fn start(config: &Config, disk: &[Record], cx: &mut Cx<'_>) -> Self {
        match config.me {
            LOCK => {
                let lent = |record: &Record| match record {
                    Record::Lends(lease) => Some(*lease),
                    Record::Takes(..) => None,
                };
                let last = disk.iter().filter_map(lent).max().unwrap_or(0);
                let is_lent = last > 0;
                if is_lent {
                    cx.set_timer(Timer::Lease, LEASE); // when it began nobody knows
                }
                Self::Lock { last, is_lent }
            }
            STORE => {
                let taken = |record: &Record| match record {
                    Record::Takes(by, written) => Some((*by, written.clone())),
                    Record::Lends(_) => None,
                };
                Self::Store(disk.iter().filter_map(taken).collect())
            }
            NodeId(_) => Self::Holder(Holder {
                jobs: Vec::new(),
                question: Question { life: cx.life(), count: 0 },
                lease: None,
                half: Half::First,
            }),
        }
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match (self, event) {
            (Self::Lock { last, is_lent }, Event::Message { from, message: Message::Ask(question) })
                if !*is_lent =>
            {
                (*last, *is_lent) = (*last + 1, true);
                cx.set_timer(Timer::Lease, LEASE);
                cx.append(Record::Lends(*last));
                cx.send(from, Message::Lent(question, *last));
            }
            (Self::Lock { last, is_lent }, Event::Message { message: Message::LetGo(lease), .. }) => {
                if lease == *last && *is_lent {
                    *is_lent = false;
                    cx.cancel_timer(Timer::Lease);
                }
            }
            (Self::Lock { is_lent, .. }, Event::Timer(Timer::Lease)) => *is_lent = false,
            (Self::Store(taken), Event::Message { from, message: Message::Write(written) }) => {
                take(taken, from, written, config.mistake == Some(Mistake::TrustsClocks), cx);
            }
            (Self::Holder(holder), event) => holder.on(event, cx),
            // Who holds the lock is not disturbed by those who ask, and nobody else is spoken to so.
            (Self::Lock { .. } | Self::Store(_), _) => {}
        }
    }

    fn describe(word: Word<'_, Self>) -> String {
        match word {
            Word::Message(Message::Ask(_)) => "lend me the lock".into(),
            Word::Message(Message::Lent(_, lease)) => format!("lease {lease} is yours"),
            Word::Message(Message::LetGo(lease)) => format!("lease {lease} is over"),
            Word::Message(Message::Write(written)) => written.describe(),
            Word::Message(Message::IsWritten(lease, Half::First)) => {
                format!("lease {lease}: the first half is written")
            }
            Word::Message(Message::IsWritten(lease, Half::Second)) => {
                format!("lease {lease}: the document is written")
            }
            Word::Message(Message::IsOld(lease)) => format!("refused: lease {lease} is not the newest"),
            Word::Timer(Timer::Work) => "the work is done".into(),
            Word::Timer(Timer::Hold) => "it takes the lease for over".into(),
            Word::Timer(Timer::Lease) => "the lease is over".into(),
            Word::Record(Record::Lends(lease)) => format!("lends, lease {lease}"),
            Word::Record(Record::Takes(by, written)) => format!("{by}: {}", written.describe()),
            Word::Request(Write(document)) => format!("write document {document}"),
            Word::Reply(Done) => "written".into(),
            Word::Fact(()) => String::new(),
        }
    }
}

impl Written {
    fn describe(&self) -> String {
        let half = match self.half {
            Half::First => "first",
            Half::Second => "second",
        };
        format!("{half} half of document {}, lease {}", self.document, self.lease)
    }
}

/// At the store: a holder writes.
fn take(
    taken: &mut Vec<(NodeId, Written)>,
    from: NodeId,
    written: Written,
    is_trusting: bool,
    cx: &mut Cx<'_>,
) {
    let Written { lease, id, half, .. } = written;
    if taken.iter().any(|(_, it)| it.id == id && it.half == Half::Second) {
        return cx.send(from, Message::IsWritten(lease, Half::Second)); // its client has asked again
    }
    let newest = taken.iter().map(|(_, it)| it.lease).max();
    if newest.is_some_and(|newest| newest > lease) && !is_trusting {
        return cx.send(from, Message::IsOld(lease));
    }
    cx.append(Record::Takes(from, written.clone()));
    taken.push((from, written));
    cx.send(from, Message::IsWritten(lease, half));
}

impl Holder {
    fn on(&mut self, event: Event<Lease>, cx: &mut Cx<'_>) {
        match event {
            Event::Request { id, request: Write(document) } => {
                if self.jobs.iter().all(|(known, _)| *known != id) {
                    self.jobs.push((id, document));
                    if self.jobs.len() == 1 {
                        self.ask(cx);
                    }
                }
            }
            Event::Message { message: Message::Lent(question, lease), .. } => {
                if question == self.question && self.lease.is_none() && !self.jobs.is_empty() {
                    self.lease = Some(lease);
                    self.write(Half::First, cx);
                }
            }
            Event::Message { message: Message::IsWritten(lease, half), .. } if self.lease == Some(lease) => {
                match half {
                    Half::First if self.half == Half::First => cx.set_timer(Timer::Work, WORK.0..=WORK.1),
                    Half::First => {} // a copy of what is known
                    Half::Second => self.is_done(lease, cx),
                }
            }
            Event::Message { message: Message::IsOld(lease), .. } if self.lease == Some(lease) => {
                self.ask(cx)
            }
            Event::Timer(Timer::Work) => self.write(Half::Second, cx),
            Event::Timer(Timer::Hold) => self.ask(cx),
            Event::Message { .. } | Event::Timer(Timer::Lease) | Event::Durable(_) => {}
        }
    }

    /// Asks for the lock, or asks again, whatever it had. The time that it may have it for begins now: the lock's begins
    /// later.
    fn ask(&mut self, cx: &mut Cx<'_>) {
        self.lease = None;
        self.question.count += 1;
        cx.cancel_timer(Timer::Work);
        cx.set_timer(Timer::Hold, HOLD);
        cx.send(LOCK, Message::Ask(self.question));
    }

    fn write(&mut self, half: Half, cx: &mut Cx<'_>) {
        let (Some(lease), Some(&(id, document))) = (self.lease, self.jobs.first()) else { return };
        self.half = half;
        cx.send(STORE, Message::Write(Written { lease, id, document, half }));
    }

    /// The first document is written.
    fn is_done(&mut self, lease: u64, cx: &mut Cx<'_>) {
        let (id, _) = self.jobs.remove(0);
        cx.reply(id, Done);
        self.lease = None;
        cx.cancel_timer(Timer::Work);
        cx.cancel_timer(Timer::Hold);
        cx.send(LOCK, Message::LetGo(lease));
        if !self.jobs.is_empty() {
            self.ask(cx);
        }
    }
}

impl Lease {
    /// Whether no client waits here.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Lock { .. } | Self::Store(_) => true,
            Self::Holder(holder) => holder.jobs.is_empty(),
        }
    }
}

/// What the store has taken, if it is up.
fn taken<'a>(now: &Observation<'a, Lease, ()>) -> &'a [(NodeId, Written)] {
    let store = |(_, node): (NodeId, &'a Lease)| match node {
        Lease::Store(taken) => Some(taken.as_slice()),
        Lease::Lock { .. } | Lease::Holder(_) => None,
    };
    now.up().find_map(store).unwrap_or_default()
}

/// What must hold, unless a disk is wiped.
pub fn invariants() -> Vec<Invariant<Lease, ()>> {
    vec![Invariant {
        name: "one-at-a-time",
        about: "under one lease one holder writes, and none under a lease after a newer one was written under",
        source: "Burrows 2006, §2.4: what a lock is for",
        check: |now| {
            for pair in taken(now).windows(2) {
                let [(before, earlier), (by, later)] = pair else { continue };
                if later.lease < earlier.lease || later.lease == earlier.lease && by != before {
                    let (new, old) = (later.lease, earlier.lease);
                    return Err(format!(
                        "{STORE} has taken a write of {by} under lease {new} after one of {before} under lease {old}"
                    ));
                }
            }
            Ok(())
        },
    }]
}

/// The store must be written by one holder after another; and two must believe that they hold the lock, since nothing
/// keeps them from it.
pub fn witnesses() -> Vec<Witness<Lease, ()>> {
    vec![
        Witness {
            name: "changes-hands",
            about: "the store has taken writes of two holders",
            seen: |now| taken(now).windows(2).any(|pair| pair[0].0 != pair[1].0),
        },
        Witness {
            name: "two-believe",
            about: "two holders believe to have the lock",
            seen: |now| {
                let believes = |node: &Lease| matches!(node, Lease::Holder(holder) if holder.lease.is_some());
                now.up().filter(|(_, node)| believes(node)).count() > 1
            },
        },
    ]
}

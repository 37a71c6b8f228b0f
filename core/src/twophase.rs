//! *TwoPhase*: Lamport's specification of two-phase commit, action for action (Gray, Lamport, *Consensus on
//! Transaction Commit*, TODS 2006, §3 and appendix; tlaplus/Examples, `transaction_commit/TwoPhase.tla`).
//!
//! Resource managers prepare or abort by themselves; the transaction manager collects `Prepared`, then
//! commits, or aborts whenever it likes. There are no disks and no crashes, and messages are never consumed.
//! Spontaneous actions are timers that may fire at any moment. The model exists to be counted: its distinct
//! states are known for 3 to 10 resource managers, and a checker that counts others is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::{Context, Event, Node, NodeId};
use crate::observation::{Invariant, Observation, Witness};

/// Node 0 is the transaction manager, nodes 1 to n are the resource managers.
pub const MANAGER: NodeId = NodeId(0);

/// One node's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// How many resource managers there are.
    pub resource_managers: u32,
    /// How many of them must be prepared before the transaction manager commits: all, or it is a mistake.
    pub needed: u32,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// A resource manager is prepared.
    Prepared,
    /// The transaction manager commits.
    Commit,
    /// The transaction manager aborts.
    Abort,
}

/// The spontaneous actions of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// `RMPrepare`.
    Prepare,
    /// `RMChooseToAbort`.
    ChooseToAbort,
    /// `TMCommit`: armed once all are prepared.
    ManagerCommit,
    /// `TMAbort`.
    ManagerAbort,
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TwoPhase {
    /// The transaction manager: `tmState = "init"`, with `tmPrepared`.
    Collecting(BTreeSet<NodeId>),
    /// The transaction manager has decided (`tmState`), having seen these prepared.
    Decided {
        /// Whether it was COMMIT.
        commit: bool,
        /// `tmPrepared` at that moment.
        prepared: BTreeSet<NodeId>,
    },
    /// A resource manager: `rmState = "working"`.
    Working,
    /// `rmState = "prepared"`.
    Prepared,
    /// `rmState = "committed"`.
    Committed,
    /// `rmState = "aborted"`.
    Aborted,
}

type Cx<'c> = Context<'c, TwoPhase>;

/// Any delay: the checker fires timers whenever it likes.
const WHENEVER: Duration = Duration::from_secs(1);

impl Node for TwoPhase {
    type Config = Config;
    type Message = Message;
    type Timer = Timer;
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(config: &Config, _disk: &[()], cx: &mut Cx<'_>) -> Self {
        if config.me == MANAGER {
            cx.set_timer(Timer::ManagerAbort, WHENEVER);
            return Self::Collecting(BTreeSet::new());
        }
        cx.set_timer(Timer::Prepare, WHENEVER);
        cx.set_timer(Timer::ChooseToAbort, WHENEVER);
        Self::Working
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match event {
            Event::Timer(Timer::Prepare) => {
                cx.cancel_timer(Timer::ChooseToAbort);
                cx.send(MANAGER, Message::Prepared);
                *self = Self::Prepared;
            }
            Event::Timer(Timer::ChooseToAbort) => {
                cx.cancel_timer(Timer::Prepare);
                *self = Self::Aborted;
            }
            Event::Timer(Timer::ManagerCommit) => self.decide(true, config, cx),
            Event::Timer(Timer::ManagerAbort) => self.decide(false, config, cx),
            Event::Message { from, message } => self.on_message(from, message, config, cx),
            Event::Request { .. } | Event::Durable(_) => {}
        }
    }
}

impl TwoPhase {
    /// The same node with other names for the resource managers.
    pub fn renamed(&self, name: impl Fn(NodeId) -> NodeId) -> Self {
        let all = |prepared: &BTreeSet<NodeId>| prepared.iter().map(|&id| name(id)).collect();
        match self {
            Self::Collecting(prepared) => Self::Collecting(all(prepared)),
            Self::Decided { commit, prepared } => Self::Decided { commit: *commit, prepared: all(prepared) },
            Self::Working | Self::Prepared | Self::Committed | Self::Aborted => self.clone(),
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, config: &Config, cx: &mut Cx<'_>) {
        match (&mut *self, message) {
            (Self::Collecting(prepared), Message::Prepared) => {
                prepared.insert(from);
                if prepared.len() == config.needed as usize {
                    cx.set_timer(Timer::ManagerCommit, WHENEVER);
                }
            }
            (
                Self::Working | Self::Prepared | Self::Committed | Self::Aborted,
                Message::Commit | Message::Abort,
            ) => {
                // `RMRcvCommitMsg` and `RMRcvAbortMsg` have no precondition in the specification.
                cx.cancel_timer(Timer::Prepare);
                cx.cancel_timer(Timer::ChooseToAbort);
                *self = if message == Message::Commit { Self::Committed } else { Self::Aborted };
            }
            // `TMRcvPrepared` needs tmState = "init"; the rest is never sent.
            (Self::Decided { .. } | Self::Working | Self::Prepared | Self::Committed | Self::Aborted, _)
            | (Self::Collecting(_), Message::Commit | Message::Abort) => {}
        }
    }

    fn decide(&mut self, commit: bool, config: &Config, cx: &mut Cx<'_>) {
        let Self::Collecting(prepared) = self else { return };
        cx.cancel_timer(Timer::ManagerCommit);
        cx.cancel_timer(Timer::ManagerAbort);
        for to in 1..=config.resource_managers {
            cx.send(NodeId(to), if commit { Message::Commit } else { Message::Abort });
        }
        *self = Self::Decided { commit, prepared: std::mem::take(prepared) };
    }
}

/// `TCConsistent` of *TCommit*: no resource manager commits while another one aborts.
pub fn consistent() -> Invariant<TwoPhase, ()> {
    Invariant {
        name: "consistent",
        about: "no resource manager has committed while another one has aborted",
        source: "Gray, Lamport 2006, §2: TCConsistent",
        check: |now| {
            let committed = now.up().find(|(_, state)| **state == TwoPhase::Committed);
            let aborted = now.up().find(|(_, state)| **state == TwoPhase::Aborted);
            match (committed, aborted) {
                (Some((a, _)), Some((b, _))) => Err(format!("{a} has committed, {b} has aborted")),
                (Some(_), None) | (None, Some(_) | None) => Ok(()),
            }
        },
    }
}

/// Both ends must be reachable.
pub fn witnesses() -> Vec<Witness<TwoPhase, ()>> {
    fn all_are(now: &Observation<'_, TwoPhase, ()>, end: &TwoPhase) -> bool {
        now.up().filter(|(id, _)| *id != MANAGER).all(|(_, state)| state == end)
    }
    vec![
        Witness {
            name: "commits",
            about: "all resource managers commit",
            seen: |now| all_are(now, &TwoPhase::Committed),
        },
        Witness {
            name: "aborts",
            about: "all resource managers abort",
            seen: |now| all_are(now, &TwoPhase::Aborted),
        },
    ]
}

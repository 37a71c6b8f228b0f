//! How much may happen, and what it costs.

use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};

use super::{Crashes, Kept, Rules, Step};
use crate::spec::system::{NodeOf, Operation, System};
use crate::world::Spent;

/// How disks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// A record is durable as soon as it is written. Crashes still fall between any two effects.
    Sync,
    /// Records become durable one by one, as actions of their own; a crash keeps any prefix of the others.
    Async,
}

/// What becomes of a packet that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// It is gone; a second delivery is a duplicate, and costs.
    Datagrams,
    /// It stays: every message may be delivered any number of times, for free (Lamport's set of messages).
    Persistent,
}

/// How much of everything may happen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Crashes of any node.
    pub crashes: u8,
    /// Crashes of any node after which its disk is empty.
    pub wipes: u8,
    /// Cuts between any two nodes, one way or both ways.
    pub cuts: u8,
    /// Dropped packets.
    pub drops: u8,
    /// Duplicated packets.
    pub duplicates: u8,
    /// Timers that fire; `None`: as many as are armed.
    pub timeouts: Option<u8>,
    /// [Periodic](System::is_periodic) timers that fire, which do not count as timeouts.
    pub periodic: u8,
    /// Requests that are sent again.
    pub retries: u8,
    /// Members whose [health turns bad](System::ailments).
    pub unhealthy: u8,
    /// Members that may boot for the first time when others have begun to act already; [`Limits::ANY`]: as many as
    /// there are. All others do so before anything else happens.
    pub late_boots: u8,
    /// Who is down for ever when it is asked whether the system [settles](crate::check::SETTLES).
    pub without: Option<NodeId>,
    /// How disks behave.
    pub disk: Disk,
    /// What becomes of delivered packets.
    pub network: Network,
}

impl Limits {
    /// More late boots than a system has members.
    pub const ANY: u8 = u8::MAX;

    /// Nothing goes wrong, and no timer fires. (A member that starts late is nothing that goes wrong.)
    pub const NONE: Self = Self {
        crashes: 0,
        wipes: 0,
        cuts: 0,
        drops: 0,
        duplicates: 0,
        timeouts: Some(0),
        periodic: 0,
        retries: 0,
        unhealthy: 0,
        late_boots: Self::ANY,
        without: None,
        disk: Disk::Sync,
        network: Network::Datagrams,
    };
}

impl Limits {
    /// The budgets in words. Those that few checks have are told only where there are some.
    pub fn tell(&self) -> String {
        let timeouts = self.timeouts.map_or("any number of".into(), |timeouts| timeouts.to_string());
        let rare = [
            (self.wipes, "wipes"),
            (self.cuts, "cuts"),
            (self.retries, "retries"),
            (self.unhealthy, "unhealthy"),
        ];
        let rare = rare.iter().filter(|(budget, _)| *budget > 0);
        let rare: String = rare.map(|(budget, of)| format!("{budget} {of}, ")).collect();
        let Self { crashes, drops, duplicates, periodic, disk, .. } = self;
        // What was not tried is said, too.
        let boots = match self.late_boots {
            0 => "; all members start first".into(),
            Self::ANY => String::new(),
            some => format!("; all members but {some} start first"),
        };
        let without = self.without.map_or(String::new(), |id| format!("; settles without {id}"));
        format!(
            "{crashes} crashes, {drops} drops, {duplicates} duplicates, {timeouts} time-outs, \
             {periodic} heartbeats, {rare}disk {disk:?}{boots}{without}"
        )
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// What an action takes from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Crash,
    Wipe,
    Cut,
    Drop,
    Duplicate,
    Timeout,
    Periodic,
    Ask(usize),
}

impl Kept {
    pub(crate) fn cost(self) -> Cost {
        match self {
            Self::Unsynced(_) => Cost::Crash,
            Self::Nothing => Cost::Wipe,
        }
    }
}

impl<S: System> Rules<S> {
    /// Whether a request may be sent now: a client sends one after the other, and with budget again.
    pub(crate) fn may_ask(&self, spent: &Spent, index: usize) -> bool {
        let is_asked = |index: usize| spent.asked & (1 << index) != 0;
        if is_asked(index) {
            return index < self.operations && spent.retries < self.limits.retries;
        }
        if index >= self.operations {
            return spent.unhealthy < self.limits.unhealthy;
        }
        let client = self.requests[index].id.client;
        (0..index).all(|earlier| is_asked(earlier) || self.requests[earlier].id.client != client)
    }

    /// Whether a client asks something else after this.
    pub(crate) fn is_followed(&self, index: usize) -> bool {
        let client = |request: &Operation<NodeOf<S>>| request.id.client;
        let mut later = (index + 1).min(self.operations)..self.operations;
        later.any(|later| client(&self.requests[later]) == client(&self.requests[index]))
    }

    /// Which crashes the budgets still allow.
    pub(crate) fn crashes(&self, spent: &Spent) -> Crashes {
        Crashes { crash: self.can_pay(spent, Cost::Crash), wipe: self.can_pay(spent, Cost::Wipe) }
    }

    /// What a step costs.
    pub(crate) fn cost(&self, step: &Step<NodeOf<S>>) -> Option<Cost> {
        match step {
            Step::Boot | Step::Flush | Step::Deliver { again: false, .. } => None,
            Step::Deliver { again: true, .. } => Some(Cost::Duplicate),
            Step::Fire(timer) if self.system.is_periodic(timer) => Some(Cost::Periodic),
            Step::Fire(_) => self.limits.timeouts.map(|_| Cost::Timeout),
            Step::Ask(index) => Some(Cost::Ask(*index)),
        }
    }

    pub(crate) fn pay(&self, spent: &mut Spent, cost: Cost) {
        match cost {
            Cost::Crash => spent.crashes += 1,
            Cost::Wipe => spent.wipes += 1,
            Cost::Cut => spent.cuts += 1,
            Cost::Drop => spent.drops += 1,
            Cost::Duplicate => spent.duplicates += 1,
            Cost::Timeout => spent.timeouts += 1,
            Cost::Periodic => spent.periodic += 1,
            Cost::Ask(index) => {
                if spent.asked & (1 << index) != 0 {
                    spent.retries += 1;
                } else if index >= self.operations {
                    spent.unhealthy += 1;
                }
                spent.asked |= 1 << index;
            }
        }
    }

    /// Whether the budgets allow this.
    pub(crate) fn can_pay(&self, spent: &Spent, cost: Cost) -> bool {
        let limits = &self.limits;
        match cost {
            Cost::Crash => spent.crashes < limits.crashes,
            Cost::Wipe => spent.wipes < limits.wipes,
            Cost::Cut => spent.cuts < limits.cuts,
            Cost::Drop => spent.drops < limits.drops,
            Cost::Duplicate => spent.duplicates < limits.duplicates,
            Cost::Timeout => limits.timeouts.is_none_or(|limit| spent.timeouts < limit),
            Cost::Periodic => spent.periodic < limits.periodic,
            Cost::Ask(index) => self.may_ask(spent, index),
        }
    }

    /// Whether the budgets allow a timer to fire.
    pub(crate) fn may_fire(&self, spent: &Spent, is_periodic: bool) -> bool {
        self.can_pay(spent, if is_periodic { Cost::Periodic } else { Cost::Timeout })
    }
}

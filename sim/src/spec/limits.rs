//! How much of everything may happen in a world of the checker.

use std::fmt::{self, Display};

use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};

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
    /// Who is down for ever when it is asked whether the system [settles](crate::spec::verdict::SETTLES).
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

/// How large a model is to be, as far as the command line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelArgs {
    /// How many nodes.
    pub nodes: Option<u32>,
    /// How many requests clients send.
    pub operations: Option<u32>,
    /// See [`Limits`].
    pub crashes: Option<u8>,
    /// See [`Limits`].
    pub wipes: Option<u8>,
    /// See [`Limits`].
    pub cuts: Option<u8>,
    /// See [`Limits`].
    pub drops: Option<u8>,
    /// See [`Limits`].
    pub duplicates: Option<u8>,
    /// See [`Limits`].
    pub timeouts: Option<u8>,
    /// See [`Limits`].
    pub periodic: Option<u8>,
    /// See [`Limits`].
    pub retries: Option<u8>,
    /// See [`Limits`].
    pub unhealthy: Option<u8>,
    /// See [`Limits`].
    pub late_boots: Option<u8>,
    /// See [`Limits`].
    pub without: Option<u32>,
    /// See [`Limits`].
    pub disk: Option<Disk>,
}

impl Display for ModelArgs {
    /// As the command line has it, a space before each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budgets = [
            ("crashes", self.crashes),
            ("wipes", self.wipes),
            ("cuts", self.cuts),
            ("drops", self.drops),
            ("dups", self.duplicates),
            ("timeouts", self.timeouts),
            ("heartbeats", self.periodic),
            ("retries", self.retries),
            ("unhealthy", self.unhealthy),
            ("late-boots", self.late_boots),
        ];
        let sizes = [("nodes", self.nodes), ("operations", self.operations)];
        let budgets = budgets.map(|(name, budget)| (name, budget.map(u32::from)));
        let all = sizes.into_iter().chain(budgets).chain([("without", self.without)]);
        for (name, value) in all.filter_map(|(name, value)| Some((name, value?))) {
            write!(f, " --{name} {value}")?;
        }
        match self.disk {
            None => Ok(()),
            Some(Disk::Sync) => f.write_str(" --disk sync"),
            Some(Disk::Async) => f.write_str(" --disk async"),
        }
    }
}

//! What a rollout node is told about itself and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::gates::Gates;
use super::healing::Healing;
use super::mistake::Mistake;
use super::state::{ModelId, WHOLE_BP};
use crate::node::{Address, NodeId};

/// The longest that anything may take, in milliseconds: a year.
pub const LONGEST_MS: u64 = 365 * 24 * 60 * 60 * 1_000;

/// The longest name of a region, in bytes.
pub const MAX_REGION_BYTES: usize = 64;

/// One node's configuration. All nodes agree on all but `me`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// The nodes that form the cluster, in ascending order. One that is not among them comes later.
    pub members: Vec<NodeId>,
    /// The node that runs the transactions, unless another one has taken over since. It votes too.
    pub coordinator: NodeId,
    /// Where nodes live that configurations name, this one among them: what a node is told that comes later.
    #[serde(default)]
    pub addresses: BTreeMap<NodeId, Address>,
    /// The regions of the fleet whose part this cluster is, in the order in which rollouts go through them; none, where it
    /// is no part of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// What is served at version 0.
    pub initial_model: ModelId,
    /// What a canary must keep, where its rollout asks for no gates of its own.
    pub gates: Gates,
    /// How often the data plane reports, in milliseconds. What is three times as old is stale.
    pub window_ms: u64,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Whether a node that starts serves nothing before it has heard from another one whether it is behind, or has waited for
    /// that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_first: bool,
    /// After how many records the journal is replaced by a snapshot; 0: never.
    #[serde(default, skip_serializing_if = "is_never")]
    pub snapshot_every: u32,
    /// The rule that this node breaks; none, but in tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<Mistake>,
    /// The way of healing that this node lacks; none, but in tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<Healing>,
}

/// A part of a fleet: a cluster of its own, with a coordinator of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// What it is called.
    pub name: String,
    /// The node that runs its transactions.
    pub coordinator: NodeId,
    /// The nodes that form it, in ascending order.
    pub members: Vec<NodeId>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_never(every: &u32) -> bool {
    *every == 0
}

impl Config {
    /// A cluster of `nodes` members, numbered from 1; node 1 coordinates. Defaults for the rest.
    pub fn cluster(nodes: u32) -> Vec<Self> {
        let members: Vec<_> = (1..=nodes).map(NodeId).collect();
        let config = |&me| Self {
            me,
            members: members.clone(),
            coordinator: NodeId(1),
            addresses: BTreeMap::new(),
            regions: Vec::new(),
            initial_model: ModelId::new("v1").expect("a valid name"),
            gates: Gates::default(),
            window_ms: 5_000,
            timeouts: Timeouts::default(),
            asks_first: false,
            snapshot_every: 0,
            mistake: None,
            without: None,
        };
        members.iter().map(config).collect()
    }

    /// What must be alike everywhere.
    pub fn told(&self) -> Told {
        Told {
            members: self.members.clone(),
            coordinator: self.coordinator,
            regions: self.regions.iter().map(|it| (it.name.clone(), it.members.clone())).collect(),
            initial_model: self.initial_model.clone(),
            gates: self.gates.clone(),
            window_ms: self.window_ms,
            timeouts: self.timeouts.clone(),
        }
    }

    /// Whether this node makes this mistake.
    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether this node heals in this way.
    pub(super) fn heals_by(&self, healing: Healing) -> bool {
        self.without != Some(healing)
    }

    /// Which region a node is of, by its place in the order; none, if no region's part of the configuration names it.
    pub fn region_of(&self, node: NodeId) -> Option<usize> {
        self.regions.iter().position(|region| region.members.contains(&node))
    }

    /// Which region this cluster is.
    pub fn own_region(&self) -> Option<usize> {
        self.regions.iter().position(|region| region.members == self.members)
    }

    /// Whether this node runs the transactions when the cluster forms.
    pub fn is_coordinator(&self) -> bool {
        self.me == self.coordinator
    }

    /// Whether the values make sense together; `Err` names the one that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.members.is_sorted_by(|a, b| a < b) {
            return Err(ConfigError::MembersOrder);
        }
        let is_known = |id| self.members.contains(id) || self.addresses.contains_key(id);
        if self.members.contains(&self.me) && !is_known(&self.coordinator) {
            return Err(ConfigError::NotAMember { id: self.coordinator });
        }
        self.check_regions()?;
        let timeouts = &self.timeouts;
        let all = [
            ("vote_ms", timeouts.vote_ms),
            ("resend_ms", timeouts.resend_ms),
            ("inquire_ms", timeouts.inquire_ms),
            ("heartbeat_ms", timeouts.heartbeat_ms),
        ];
        let zero = all.into_iter().find(|&(_, ms)| ms == 0);
        if let Some((field, _)) = zero {
            return Err(ConfigError::Zero { field });
        }
        if let Some((field, ms)) = all.into_iter().find(|&(_, ms)| ms > LONGEST_MS) {
            return Err(ConfigError::TooLong { field, ms });
        }
        if self.window_ms == 0 || self.window_ms > LONGEST_MS {
            return Err(ConfigError::Window { ms: self.window_ms });
        }
        let gates = &self.gates;
        for (field, bp) in
            [("max_error_rate", gates.max_error_bp), ("max_error_rate_rise", gates.max_error_rise_bp)]
        {
            if bp > WHOLE_BP {
                return Err(ConfigError::ErrorRate { field, bp });
            }
        }
        Ok(())
    }

    /// Regions have names and members of their own, and one of them is this cluster.
    fn check_regions(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for (place, Region { name, coordinator, members }) in self.regions.iter().enumerate() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let is_named = (1..=MAX_REGION_BYTES).contains(&name.len()) && name.chars().all(is_plain);
            let is_new = self.regions[..place].iter().all(|other| other.name != *name);
            let wrong = if !is_named {
                Some(format!("a name has 1 to {MAX_REGION_BYTES} letters, digits, - and _"))
            } else if !is_new {
                Some("there are two of this name".into())
            } else if !members.contains(coordinator) && !self.addresses.contains_key(coordinator) {
                Some(format!("{coordinator} coordinates it, and is not among its nodes"))
            } else if !members.is_sorted_by(|a, b| a < b) {
                Some("its nodes must be distinct and in ascending order".into())
            } else if let Some(id) = members.iter().find(|id| !seen.insert(**id)) {
                Some(format!("{id} is of another region already"))
            } else if members.contains(&self.me)
                && (members, *coordinator) != (&self.members, self.coordinator)
            {
                Some(format!("{} is of it, and counts others as members, or as the coordinator", self.me))
            } else {
                None
            };
            if let Some(why) = wrong {
                return Err(ConfigError::Region { name: name.clone(), why });
            }
        }
        if !self.regions.is_empty() && self.members.contains(&self.me) && !seen.contains(&self.me) {
            return Err(ConfigError::NoRegion { id: self.me });
        }
        Ok(())
    }
}

/// What a node was told of its cluster: all that every member's configuration must say alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// All nodes that form the cluster.
    pub members: Vec<NodeId>,
    /// The node that runs the transactions.
    pub coordinator: NodeId,
    /// The regions of the fleet, in order, and who forms each. Who coordinates one may change.
    #[serde(default)]
    pub regions: Vec<(String, Vec<NodeId>)>,
    /// What is served at version 0.
    pub initial_model: ModelId,
    /// What a canary must keep.
    pub gates: Gates,
    /// How often the data plane reports, in milliseconds.
    pub window_ms: u64,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Told {
    /// What differs, by field: what is said here, and what there. Empty if nothing does.
    pub fn unlike(&self, here: &Self) -> String {
        let ids = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let region = |(name, members): &(String, Vec<NodeId>)| format!("{name} ({})", ids(members));
        let regions = |all: &[(String, Vec<NodeId>)]| match all {
            [] => "none".to_owned(),
            all => all.iter().map(region).collect::<Vec<_>>().join(", "),
        };
        let share = |bp: u32| (f64::from(bp) / f64::from(WHOLE_BP)).to_string();
        let (mine, theirs) = (&here.timeouts, &self.timeouts);
        let (mine_at, theirs_at) = (&here.gates, &self.gates);
        let plain = |value: u64| value.to_string();
        let fields = [
            ("founders", ids(&here.members), ids(&self.members)),
            ("coordinator", here.coordinator.to_string(), self.coordinator.to_string()),
            ("regions", regions(&here.regions), regions(&self.regions)),
            ("initial_model", here.initial_model.to_string(), self.initial_model.to_string()),
            ("gates.max_p95_ms", plain(mine_at.max_p95_ms.into()), plain(theirs_at.max_p95_ms.into())),
            ("gates.max_error_rate", share(mine_at.max_error_bp), share(theirs_at.max_error_bp)),
            (
                "gates.max_p95_rise_ms",
                plain(mine_at.max_p95_rise_ms.into()),
                plain(theirs_at.max_p95_rise_ms.into()),
            ),
            (
                "gates.max_error_rate_rise",
                share(mine_at.max_error_rise_bp),
                share(theirs_at.max_error_rise_bp),
            ),
            ("gates.min_samples", plain(mine_at.min_samples.into()), plain(theirs_at.min_samples.into())),
            ("health_window_ms", plain(here.window_ms), plain(self.window_ms)),
            ("timeouts.vote_ms", plain(mine.vote_ms), plain(theirs.vote_ms)),
            ("timeouts.resend_ms", plain(mine.resend_ms), plain(theirs.resend_ms)),
            ("timeouts.inquire_ms", plain(mine.inquire_ms), plain(theirs.inquire_ms)),
            ("timeouts.heartbeat_ms", plain(mine.heartbeat_ms), plain(theirs.heartbeat_ms)),
        ];
        let differ = fields.into_iter().filter(|(_, here, there)| here != there);
        let said = |(field, here, there)| format!("{field} is {here} here and {there} there");
        differ.map(said).collect::<Vec<_>>().join("; ")
    }
}

/// Why a configuration makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Members must be distinct and in ascending order.
    #[error("members must be distinct and in ascending order")]
    MembersOrder,
    /// Somebody outside the cluster is named.
    #[error("{id} is not among the members")]
    NotAMember {
        /// Who.
        id: NodeId,
    },
    /// A region that makes no sense.
    #[error("regions: {name:?}: {why}")]
    Region {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Who forms the cluster is of one of the regions, where there are any.
    #[error("regions: {id} is of none")]
    NoRegion {
        /// Who.
        id: NodeId,
    },
    /// A timeout of nothing would spin.
    #[error("timeouts.{field}: must be at least 1 ms")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// A window of nothing, or of more than a year.
    #[error("health_window_ms: {ms}: must be from 1 to {LONGEST_MS} ms, a year")]
    Window {
        /// What was given.
        ms: u64,
    },
    /// A timeout that no cluster lives to see.
    #[error("timeouts.{field}: {ms} is more than a year, {LONGEST_MS} ms")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        ms: u64,
    },
    /// An error rate above one.
    #[error("gates.{field}: {} is above 1", f64::from(*bp) / f64::from(WHOLE_BP))]
    ErrorRate {
        /// Which.
        field: &'static str,
        /// The rate in basis points.
        bp: u32,
    },
}

/// How long to wait for what, in milliseconds. Liveness only: safety rests on none of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// How long the coordinator collects votes before it aborts. Default 2,000.
    pub vote_ms: u64,
    /// How often what was not answered is sent again. Default 500.
    pub resend_ms: u64,
    /// How long a participant in doubt waits before it asks, and between questions. Default 3,000: longer
    /// than the vote timeout, so that in the usual case the coordinator has spoken before.
    pub inquire_ms: u64,
    /// How often a node tells the others what it has committed. Default 2,000.
    pub heartbeat_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { vote_ms: 2_000, resend_ms: 500, inquire_ms: 3_000, heartbeat_ms: 2_000 }
    }
}

/// A duration of so many milliseconds, stretched by up to a tenth so that nodes do not march in step.
pub(super) fn jittered(ms: u64) -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(ms)..=Duration::from_millis(ms + ms / 10)
}

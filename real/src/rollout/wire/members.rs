//! What is said about the cluster itself.

use std::net::SocketAddr;

use coalmine_core::node::{Address, NodeId};
use coalmine_core::rollout::config::{Config, Region, Timeouts};
use coalmine_core::rollout::message::{Outcome, View};
use coalmine_core::rollout::state::{Change, ClusterId, Member, ModelId, Txid};
use serde::{Deserialize, Serialize};

use super::body::GatesFile;

/// `POST /members`: a node becomes a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitBody {
    /// Its number.
    pub id: NodeId,
    /// Where it takes frames, `address:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<SocketAddr>,
    /// Where it takes HTTP, `address:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<SocketAddr>,
}

impl AdmitBody {
    /// A node, and where it lives.
    pub fn new(id: NodeId, address: Option<Address>) -> Self {
        Self { id, control: address.map(|it| it.control), data: address.map(|it| it.data) }
    }

    /// The change that is asked for. Where a node lives that every configuration names may be left out.
    pub fn change(&self) -> Change {
        let address = self.control.zip(self.data).map(|(control, data)| Address { control, data });
        Change::Admit { member: self.id, address }
    }
}

/// `POST /members/dismiss`: a member leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DismissBody {
    /// Its number.
    pub id: NodeId,
    /// Whether it is gone for good, and is not asked.
    #[serde(default)]
    pub gone: bool,
}

impl DismissBody {
    /// The change that is asked for.
    pub fn change(&self) -> Change {
        Change::Dismiss { member: self.id, is_gone: self.gone }
    }
}

/// `POST /coordinator`: the node is to coordinate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeOverBody {
    /// The coordinator that is gone for good.
    pub from: NodeId,
}

/// `POST /transactions/resolve`: how a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveBody {
    /// Which.
    pub txid: Txid,
    /// `commit` or `abort`.
    pub outcome: Outcome,
}

/// `GET /members`: what a node is told that is to become a member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MembersView {
    /// Which cluster it is.
    pub cluster: Option<ClusterId>,
    /// Who runs the transactions.
    pub coordinator: NodeId,
    /// Who formed it.
    pub founders: Vec<NodeId>,
    /// Who is a member now, and where each lives.
    pub members: Vec<AdmitBody>,
    /// The regions of the fleet, in order, if there are any: who formed each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// Which of them this cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the nodes of the other regions live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<AdmitBody>,
    /// What was served at version 0.
    pub initial_model: ModelId,
    /// How long a health window is, in milliseconds.
    pub health_window_ms: u64,
    /// What a canary must keep, where its rollout asks for no gates of its own.
    pub gates: GatesFile,
    /// How long a node waits for what.
    pub timeouts: Timeouts,
}

impl MembersView {
    /// What a member shows that was told this.
    pub fn new(view: &View, config: &Config) -> Self {
        let lives = |member: &Member| {
            let address = member.address.or_else(|| config.addresses.get(&member.id).copied());
            AdmitBody::new(member.id, address)
        };
        let own = config.own_region().map(|place| &config.regions[place]);
        let others = config.regions.iter().filter(|region| Some(*region) != own);
        let others = others.flat_map(|region| &region.members);
        Self {
            regions: config.regions.clone(),
            region: own.map(|own| own.name.clone()),
            others: others.map(|id| AdmitBody::new(*id, config.addresses.get(id).copied())).collect(),
            cluster: view.cluster,
            coordinator: view.coordinator,
            founders: config.members.clone(),
            members: view.routing.members.iter().map(lives).collect(),
            initial_model: config.initial_model.clone(),
            health_window_ms: config.window_ms,
            gates: GatesFile::from(&config.gates),
            timeouts: config.timeouts.clone(),
        }
    }
}

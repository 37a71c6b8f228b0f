//! What the file of a rollout's node holds beside the [common part](crate::serve::config).
//!
//! ```toml
//! role = "coordinator"
//!
//! [gates]
//! max_error_rate = 0.01
//!
//! [[peers]]
//! id = 2
//! role = "participant"
//! control = "127.0.0.1:7712"
//! data = "127.0.0.1:8712"
//!
//! [backends.v2]
//! url = "http://127.0.0.1:9000/v2/infer"
//!
//! [backends.v3]
//! latency_ms = 400
//! ```
//!
//! All nodes of a cluster must agree on who the coordinator is and on `initial_model`.
//!
//! A fleet may consist of several clusters, its regions. Each node's file then names them all, in the order in which rollouts
//! go through them, and says of each node which region it is of; each region has a coordinator:
//!
//! ```toml
//! role = "participant"
//! region = "eu"
//! regions = ["eu", "us"]
//!
//! [[peers]]
//! id = 4
//! role = "coordinator"
//! region = "us"
//! control = "127.0.0.1:7714"
//! data = "127.0.0.1:8714"
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use coalmine_core::node::{Address, NodeId};
use coalmine_core::rollout::config::{Config, Region, Timeouts};
use coalmine_core::rollout::gates::Gates;
use coalmine_core::rollout::state::ModelId;
use serde::{Deserialize, Serialize};

use super::backend::{BackendFile, Forwarding, check_ms};
use super::data_plane::DataPlane;
use super::wire::{GatesFile, Role};
use crate::shell::Placement;

/// What a node's file says about the rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether it is the coordinator. Exactly one node is.
    pub role: Role,
    /// Which region it is of. Given where `regions` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The regions of the fleet, in the order in which rollouts go through them. Default: there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Who formed the cluster, where this node came later. Default all nodes that the file names.
    #[serde(default)]
    pub founders: Vec<NodeId>,
    /// What is served at version 0. Default `v1`.
    #[serde(default = "default_model")]
    pub initial_model: ModelId,
    /// How long one window of the data plane's measurements is, in milliseconds. Default 5,000. A step that gates judge
    /// is held for as long at least, and evidence is stale when three windows have brought none.
    #[serde(default = "default_window_ms")]
    pub health_window_ms: u64,
    /// What a canary must keep on each node before it gets more, where its rollout brings no gates of its own.
    #[serde(default)]
    pub gates: GatesFile,
    /// How long to wait for what, in milliseconds.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// After how many records the journal is replaced by a snapshot. Default 4,096; 0: never.
    #[serde(default = "default_snapshot_every")]
    pub snapshot_every: u32,
    /// What serves each model: a server, or a simulated backend. A model without one answers at once and never fails.
    #[serde(default)]
    pub backends: BTreeMap<ModelId, BackendFile>,
    /// What requests that are forwarded to servers may use of this node.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// The other nodes, each with its role.
    #[serde(default)]
    pub peers: Vec<PeerFile>,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerFile {
    /// Its number.
    pub id: NodeId,
    /// Whether it is the coordinator.
    pub role: Role,
    /// Which region it is of. Given where `regions` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where it takes frames, `address:port`.
    pub control: SocketAddr,
    /// Where it takes HTTP, `address:port`; named to clients that must go there.
    pub data: SocketAddr,
}

fn default_model() -> ModelId {
    ModelId::new("v1").expect("a valid name")
}

fn default_snapshot_every() -> u32 {
    4_096
}

fn default_window_ms() -> u64 {
    5_000
}

impl Settings {
    /// What `canary up` starts the coordinator of a cluster with, which does not know of others yet.
    pub fn shipped() -> Self {
        Self {
            role: Role::Coordinator,
            region: None,
            regions: Vec::new(),
            founders: Vec::new(),
            initial_model: default_model(),
            health_window_ms: default_window_ms(),
            gates: GatesFile::default(),
            timeouts: Timeouts::default(),
            snapshot_every: default_snapshot_every(),
            backends: BTreeMap::new(),
            forwarding: Forwarding::default(),
            peers: Vec::new(),
        }
    }

    /// What a canary must keep. Limits that make no sense, which no node starts with, are the default ones here.
    pub fn gates(&self) -> Gates {
        self.gates.gates().unwrap_or_default()
    }

    /// What the node is told; `Err` names the key that makes no sense.
    pub(super) fn config(&self, placement: &Placement) -> Result<Config, String> {
        self.check()?;
        let regions = self.grouped(placement.me)?;
        let own = regions.iter().find(|region| Some(&region.name) == self.region.as_ref());
        let config = Config {
            me: placement.me,
            members: match own {
                Some(own) => own.members.clone(),
                None if self.founders.is_empty() => placement.members(),
                None => self.founders.clone(),
            },
            coordinator: self.coordinator(placement.me, self.region.as_ref())?,
            addresses: self.addresses(placement),
            regions,
            initial_model: self.initial_model.clone(),
            gates: self.gates(),
            window_ms: self.health_window_ms,
            timeouts: self.timeouts.clone(),
            asks_first: true,
            snapshot_every: self.snapshot_every,
            mistake: None,
            without: None,
        };
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// How the data plane behaves. A backend that makes no sense, which no node starts with, is left out here.
    pub fn data_plane(&self) -> DataPlane {
        let read =
            |(model, backend): (&ModelId, &BackendFile)| Some((model.clone(), backend.backend().ok()?));
        DataPlane {
            backends: self.backends.iter().filter_map(read).collect(),
            forwarding: self.forwarding.clone(),
            window: Duration::from_millis(self.health_window_ms),
        }
    }

    /// Where everybody lives whom the file names.
    fn addresses(&self, placement: &Placement) -> BTreeMap<NodeId, Address> {
        let own = Address { control: placement.control, data: placement.data };
        let peers =
            self.peers.iter().map(|peer| (peer.id, Address { control: peer.control, data: peer.data }));
        peers.chain([(placement.me, own)]).collect()
    }

    /// Every node that the file names: its role, and its region.
    fn nodes(&self, me: NodeId) -> impl Iterator<Item = (NodeId, Role, Option<&String>)> {
        let peers = self.peers.iter().map(|peer| (peer.id, peer.role, peer.region.as_ref()));
        [(me, self.role, self.region.as_ref())].into_iter().chain(peers)
    }

    fn coordinator(&self, me: NodeId, region: Option<&String>) -> Result<NodeId, String> {
        let near = self.nodes(me).filter(|(.., of)| *of == region);
        let coordinators: Vec<_> =
            near.filter(|(_, role, _)| *role == Role::Coordinator).map(|(id, ..)| id).collect();
        let of = region.map_or(String::new(), |region| format!(" of {region}"));
        match coordinators[..] {
            [one] => Ok(one),
            [] => Err(format!("role: no node{of} is the coordinator; exactly one must be")),
            _ => {
                let names: Vec<_> = coordinators.iter().map(ToString::to_string).collect();
                Err(format!("role: {} are coordinators{of}; exactly one must be", names.join(" and ")))
            }
        }
    }

    /// The regions, each with who formed it; `Err` names the key that makes no sense.
    fn grouped(&self, me: NodeId) -> Result<Vec<Region>, String> {
        let places = ["region".to_owned()].into_iter().chain((0..).map(|i| format!("peers[{i}].region")));
        for ((_, _, region), key) in self.nodes(me).zip(places) {
            match region {
                Some(region) if !self.regions.contains(region) => {
                    return Err(format!("{key}: {region:?} is not among regions"));
                }
                None if !self.regions.is_empty() => {
                    return Err(format!("{key}: must be given, since regions are"));
                }
                Some(_) | None => {}
            }
        }
        let region = |name: &String| {
            let near = self.nodes(me).filter(|(.., of)| *of == Some(name)).map(|(id, ..)| id);
            let is_own = self.region.as_ref() == Some(name) && !self.founders.is_empty();
            let mut members: Vec<_> = if is_own { self.founders.clone() } else { near.collect() };
            members.sort_unstable();
            Ok(Region { name: name.clone(), coordinator: self.coordinator(me, Some(name))?, members })
        };
        self.regions.iter().map(region).collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.health_window_ms == 0 {
            return Err("health_window_ms: must be above 0".into());
        }
        check_ms("health_window_ms", self.health_window_ms)?;
        for (model, backend) in &self.backends {
            backend.backend().map_err(|what| format!("backends.{model}.{what}"))?;
        }
        self.forwarding.check().map_err(|what| format!("forwarding.{what}"))?;
        self.gates.gates().map(|_| ()).map_err(|what| format!("gates.{what}"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use coalmine_core::rollout::RolloutNode;

    use super::*;
    use crate::rollout::{Backend, Simulated, Upstream};
    use crate::serve::config::{FileError, NodeFile, Syntax};

    const FILE: &str = r#"
id = 2
role = "participant"
control = "127.0.0.1:7712"
data = "127.0.0.1:8712"
journal_dir = "journal"
[gates]
max_error_rate = 0.01
[timeouts]
vote_ms = 700
[backends.v2]
latency_ms = 400
error_rate = 0.5
[backends.v3]
url = "http://127.0.0.1:9000/v3/infer"
timeout_ms = 700
[forwarding]
max_in_flight = 3
[[peers]]
id = 1
role = "coordinator"
control = "127.0.0.1:7711"
data = "127.0.0.1:8711"
"#;

    fn parse(text: &str, syntax: Syntax) -> Result<NodeFile<RolloutNode>, FileError> {
        NodeFile::parse(text, syntax, Path::new("some/node-2.toml"))
    }

    fn complaint(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).expect("written");
        let error = NodeFile::<RolloutNode>::load(&file).expect_err(text);
        let prefix = format!("{}: ", file.display());
        let said = error.to_string();
        said.strip_prefix(&prefix).unwrap_or_else(|| panic!("{said} does not name its file")).to_owned()
    }

    #[test]
    fn a_file_becomes_settings_and_what_it_leaves_out_has_defaults() {
        let node = parse(FILE, Syntax::Toml).expect("valid");
        assert_eq!(node.journal, Path::new("some/journal/node-2.journal"));
        assert_eq!(node.config.members, [NodeId(1), NodeId(2)]);
        assert_eq!(node.config.coordinator, NodeId(1));
        assert_eq!(node.config.gates, Gates { max_error_bp: 100, ..Gates::default() });
        assert_eq!(node.config.window_ms, 5_000);
        assert_eq!(node.config.timeouts, Timeouts { vote_ms: 700, ..Timeouts::default() });
        let [v2, v3] = ["v2", "v3"].map(|name| ModelId::new(name).expect("valid"));
        let data_plane = node.settings.data_plane();
        let simulated = Simulated { latency_ms: 400, error_bp: 5_000 };
        assert_eq!(data_plane.backends[&v2], Backend::Simulated(simulated));
        let url = "http://127.0.0.1:9000/v3/infer".parse().expect("a URL");
        let upstream = Upstream { url, timeout: Duration::from_millis(700) };
        assert_eq!(data_plane.backends[&v3], Backend::Upstream(upstream));
        assert_eq!(data_plane.forwarding, Forwarding { max_in_flight: 3, max_body_bytes: 16 << 20 });
        assert_eq!(data_plane.window, DataPlane::default().window);
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let value: serde_json::Value = toml::from_str(FILE).expect("valid");
        let json = serde_json::to_string_pretty(&value).expect("plain data");
        let [from_toml, from_json] = [(FILE, Syntax::Toml), (json.as_str(), Syntax::Json)]
            .map(|(text, syntax)| parse(text, syntax).expect("valid"));
        assert_eq!(from_toml.settings, from_json.settings);
        assert_eq!(from_toml.config, from_json.config);
        let json = json.replace("\"vote_ms\"", "\"vote\"");
        let said = parse(&json, Syntax::Json).expect_err("an unknown key").to_string();
        assert!(said.starts_with("some/node-2.toml: line 32: timeouts.vote: unknown field `vote`"), "{said}");
    }

    const REGION: &str = r#"
id = 3
role = "participant"
region = "us"
regions = ["eu", "us"]
control = "127.0.0.1:7713"
data = "127.0.0.1:8713"
journal_dir = "journal"
[[peers]]
id = 2
role = "coordinator"
region = "us"
control = "127.0.0.1:7712"
data = "127.0.0.1:8712"
[[peers]]
id = 1
role = "coordinator"
region = "eu"
control = "127.0.0.1:7711"
data = "127.0.0.1:8711"
"#;

    #[test]
    fn a_region_is_a_cluster_of_its_own() {
        let node = parse(REGION, Syntax::Toml).expect("valid");
        assert_eq!(node.config.members, [NodeId(2), NodeId(3)]);
        assert_eq!(node.config.coordinator, NodeId(2));
        let region = |name: &str, coordinator, members: &[u32]| Region {
            name: name.into(),
            coordinator: NodeId(coordinator),
            members: members.iter().copied().map(NodeId).collect(),
        };
        assert_eq!(node.config.regions, [region("eu", 1, &[1]), region("us", 2, &[2, 3])]);
        assert_eq!(node.config.addresses.len(), 3, "it speaks to the other region, too");
        for (right, wrong, expected) in [
            ("region = \"eu\"\n", "", "peers[1].region: must be given, since regions are"),
            ("region = \"eu\"", "region = \"as\"", "peers[1].region: \"as\" is not among regions"),
            ("[\"eu\", \"us\"]", "[]", "region: \"us\" is not among regions"),
            ("[\"eu\", \"us\"]", "[\"eu\", \"us\", \"as\"]", "role: no node of as is the coordinator"),
            ("[\"eu\", \"us\"]", "[\"eu\", \"us\", \"eu\"]", "regions: \"eu\": there are two of this name"),
            ("region = \"eu\"", "region = \"us\"", "role: no node of eu is the coordinator"),
            (
                "id = 1\nrole = \"coordinator\"",
                "id = 1\nrole = \"participant\"",
                "role: no node of eu is the",
            ),
            ("regions = [", "founders = [2]\nregions = [", ""),
        ] {
            assert!(REGION.contains(right), "{right}");
            let text = REGION.replace(right, wrong);
            if expected.is_empty() {
                assert_eq!(parse(&text, Syntax::Toml).expect("valid").config.members, [NodeId(2)]);
                continue;
            }
            let said = complaint(&text);
            assert!(said.contains(expected), "{wrong}: {said}");
        }
    }

    #[test]
    fn what_ships_is_what_up_writes() {
        for id in 1..=3 {
            let Settings { role, peers, .. } = NodeFile::<RolloutNode>::starter(id, 3).settings;
            let shipped = Settings { role, peers, ..Settings::shipped() };
            assert_eq!(NodeFile::<RolloutNode>::starter(id, 3).settings, shipped);
        }
        assert_eq!(Settings::shipped().data_plane(), DataPlane::default());
    }

    #[test]
    fn each_mistake_is_named_with_its_key_or_line() {
        let mistakes = [
            ("id = 2", "id = 2\nspeed = 9", "line 3: unknown field `speed`"),
            ("vote_ms", "vote", "line 10: unknown field `vote`"),
            ("\"participant\"", "\"boss\"", "line 3: unknown variant `boss`"),
            ("127.0.0.1:7712", "localhost", "line 4: invalid socket address syntax"),
            ("id = 2\n", "", "missing field `id`"),
            ("id = 1", "id = 2", "peers[0].id: 2 is id already"),
            ("127.0.0.1:8711", "127.0.0.1:7712", "peers[0].data: 127.0.0.1:7712 is control already"),
            ("127.0.0.1:7712", "127.0.0.1:0", "control: a port must be given"),
            ("127.0.0.1:7712", "0.0.0.0:7712", "control: 0.0.0.0:7712 is not a loopback address"),
            ("\"participant\"", "\"coordinator\"", "role: n2 and n1 are coordinators"),
            ("\"coordinator\"", "\"participant\"", "role: no node is the coordinator"),
            ("vote_ms = 700", "vote_ms = 0", "vote_ms"),
            (
                "vote_ms = 700",
                "heartbeat_ms = 9223372036854775807",
                "timeouts.heartbeat_ms: 9223372036854775807 is more than a year",
            ),
            ("vote_ms = 700", "vote_ms = 18446744073709551616", "line 10: "),
            ("latency_ms = 400", "latency_ms = 31536000001", "backends.v2.latency_ms: 31536000001 is more"),
            (
                "journal\"",
                "journal\"\nhealth_window_ms = 31536000001",
                "health_window_ms: 31536000001 is more",
            ),
            ("error_rate = 0.5", "error_rate = 1.5", "backends.v2.error_rate: 1.5: must lie in 0..=1"),
            (
                "http:",
                "https:",
                "backends.v3.url: \"https://127.0.0.1:9000/v3/infer\": https is not supported",
            ),
            ("http:", "udp:", "backends.v3.url: \"udp://127.0.0.1:9000/v3/infer\": must begin with http://"),
            (
                "timeout_ms = 700",
                "timeout_ms = 700\nlatency_ms = 1",
                "backends.v3.latency_ms: not possible beside url",
            ),
            (
                "timeout_ms = 700",
                "timeout_ms = 700\nerror_rate = 0.0",
                "backends.v3.error_rate: not possible beside url",
            ),
            ("latency_ms = 400", "timeout_ms = 400", "backends.v2.timeout_ms: only possible beside url"),
            ("timeout_ms = 700", "timeout_ms = 0", "backends.v3.timeout_ms: must be above 0"),
            ("timeout_ms = 700", "timeout_ms = 31536000001", "backends.v3.timeout_ms: 31536000001 is more"),
            ("timeout_ms = 700", "time_ms = 1", "unknown field `time_ms`"),
            ("max_in_flight = 3", "max_in_flight = 0", "forwarding.max_in_flight: 0: must lie in 1..="),
            ("max_in_flight = 3", "max_in_flight = 70000", "forwarding.max_in_flight: 70000: must"),
            ("max_in_flight = 3", "max_body_bytes = 0", "forwarding.max_body_bytes: must be above 0"),
            ("max_error_rate = 0.01", "max_error_rate = -1", "gates.max_error_rate: -1: must lie in 0..=1"),
            (
                "max_error_rate = 0.01",
                "max_error_rate_rise = 1.01",
                "gates.max_error_rate_rise: 1.01: must lie in 0..=1",
            ),
            ("max_error_rate = 0.01", "max_error_rate = nan", "gates.max_error_rate: NaN: must lie in 0..=1"),
            ("max_error_rate = 0.01", "max_p95_rise_ms = -1", "line 8: invalid value: integer `-1`"),
            ("max_error_rate = 0.01", "max_p95_rise = 9", "line 8: unknown field `max_p95_rise`"),
            ("journal\"", "journal\"\non_no_evidence = \"commit\"", "line 7: unknown field `on_no_evidence`"),
            ("journal\"", "journal\"\nhealth_window_ms = 0", "health_window_ms: must be above 0"),
        ];
        for (right, wrong, expected) in mistakes {
            assert!(FILE.contains(right), "{right}");
            let said = complaint(&FILE.replace(right, wrong));
            assert!(said.contains(expected), "{wrong}: {said}");
            assert!(!said.contains('\n'), "not one line: {said}");
        }
    }
}

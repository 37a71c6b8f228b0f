//! The file that a node is started from, in TOML or JSON by its extension.
//!
//! ```toml
//! id = 1
//! role = "coordinator"
//! control = "127.0.0.1:60001"
//! data = "127.0.0.1:50051"
//! journal_dir = "journal"
//! on_no_evidence = "commit"
//!
//! [[peers]]
//! id = 2
//! role = "participant"
//! control = "127.0.0.1:60002"
//! data = "127.0.0.1:50052"
//!
//! [backends.v2]
//! latency_ms = 400
//! ```
//!
//! All nodes of a cluster must agree on who the members are and on `initial_model`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coalmine_core::node::NodeId;
use coalmine_core::rollout::config::{Config, ConfigError, LONGEST_MS, Timeouts};
use coalmine_core::rollout::gates::{Gates, NoEvidence};
use coalmine_core::rollout::state::ModelId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::data_plane::{Backend, DataPlane};
use super::wire::{Role, bp_of_decimal, decimal_of_bp};
use crate::files::{TEXT_BYTES, read_text};
use crate::shell::Placement;

/// One node's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// This node: a number of its own.
    pub id: NodeId,
    /// Whether it is the coordinator. Exactly one node is.
    pub role: Role,
    /// Where it takes its peers' frames, `address:port`.
    pub control: SocketAddr,
    /// Where it takes HTTP, `address:port`.
    pub data: SocketAddr,
    /// The folder of its journal, which is created if need be. A relative one lies beside this file.
    pub journal_dir: PathBuf,
    /// What is served at version 0. Default `v1`.
    #[serde(default = "default_model")]
    pub initial_model: ModelId,
    /// How to vote when there were too few requests to judge by: `commit` or `abort`. Default `abort`.
    #[serde(default = "default_no_evidence")]
    pub on_no_evidence: NoEvidence,
    /// How long one window of the data plane's measurements is, in milliseconds. Default 5,000.
    #[serde(default = "default_window_ms")]
    pub health_window_ms: u64,
    /// Allow addresses that other machines can reach. Peers and clients are not authenticated, so whoever
    /// reaches a port can change what is served. Default false.
    #[serde(default)]
    pub allow_remote: bool,
    /// When the node is healthy enough to vote for a change.
    #[serde(default)]
    pub gates: GatesFile,
    /// How long to wait for what, in milliseconds.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Simulated backends by model. A model without one answers at once and never fails.
    #[serde(default)]
    pub backends: BTreeMap<ModelId, BackendFile>,
    /// The other nodes.
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
    /// Where it takes frames, `address:port`.
    pub control: SocketAddr,
    /// Where it takes HTTP, `address:port`; named to clients that must go there.
    pub data: SocketAddr,
}

/// The gates that a window must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatesFile {
    /// The highest 95th percentile of latency, in milliseconds. Default 200.
    pub max_p95_ms: u32,
    /// The highest share of requests that fail, 0 to 1. Default 0.05.
    pub max_error_rate: f64,
    /// How many requests a window must hold to be evidence. Default 20.
    pub min_samples: u32,
}

impl Default for GatesFile {
    fn default() -> Self {
        let Gates { max_p95_ms, max_error_bp, min_samples, on_no_evidence: _ } = Gates::default();
        Self { max_p95_ms, max_error_rate: decimal_of_bp(max_error_bp), min_samples }
    }
}

/// What a simulated backend does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendFile {
    /// How long each answer takes, in milliseconds. Default 0.
    pub latency_ms: u64,
    /// The share of requests that fail, 0 to 1. Default 0.
    pub error_rate: f64,
}

fn default_model() -> ModelId {
    ModelId::new("v1").expect("a valid name")
}

fn default_no_evidence() -> NoEvidence {
    Gates::default().on_no_evidence
}

fn default_window_ms() -> u64 {
    5_000
}

/// Why a file cannot be used. Each names the file, and the line or the key.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{file}: {error}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Its name says neither TOML nor JSON.
    #[error("{file}: its name must end in .toml or .json", file = file.display())]
    Extension {
        /// The file.
        file: PathBuf,
    },
    /// It is not TOML or JSON, or holds a key or a value that is not expected.
    #[error("{file}: line {line}: {what}", file = file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where in it, counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A value makes no sense.
    #[error("{file}: {key}: {what}", file = file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, such as `peers[0].control`.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// The values make no sense to the node.
    #[error("{file}: {error}", file = file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Names the key.
        error: ConfigError,
    },
}

/// All that a node needs to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the node.
    pub node: Config,
    /// For the shell.
    pub placement: Placement,
    /// For the data plane.
    pub data_plane: DataPlane,
    /// Where to take HTTP.
    pub data: SocketAddr,
    /// The journal.
    pub journal: PathBuf,
    /// What the node does.
    pub role: Role,
}

impl NodeFile {
    /// Reads a file. Its values are checked by [`settings`](Self::settings).
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let is_json = match file.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => false,
            Some("json") => true,
            _ => return Err(FileError::Extension { file: file.into() }),
        };
        let text =
            read_text(file, TEXT_BYTES).map_err(|error| FileError::Read { file: file.into(), error })?;
        let parsed = if is_json { parse_json(&text) } else { parse_toml(&text) };
        parsed.map_err(|(line, what)| FileError::Syntax { file: file.into(), line, what })
    }

    /// Checks all values and turns them into settings. `file` is where they came from.
    pub fn settings(&self, file: &Path) -> Result<Settings, FileError> {
        self.check().map_err(|(key, what)| FileError::Value { file: file.into(), key, what })?;
        let node = self.node_config();
        node.validate().map_err(|error| FileError::Config { file: file.into(), error })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let journal = folder.join(&self.journal_dir).join(format!("node-{}.journal", self.id.0));
        let peers = self.peers.iter().map(|peer| (peer.id, peer.control)).collect();
        Ok(Settings {
            node,
            placement: Placement { me: self.id, control: self.control, peers },
            data_plane: self.data_plane(),
            data: self.data,
            journal,
            role: self.role,
        })
    }

    fn node_config(&self) -> Config {
        let mut members: Vec<_> = self.nodes().map(|(_, peer)| peer.id).collect();
        members.sort_unstable();
        let coordinator = self.nodes().find(|(_, peer)| peer.role == Role::Coordinator);
        Config {
            me: self.id,
            members,
            coordinator: coordinator.map_or(self.id, |(_, peer)| peer.id),
            initial_model: self.initial_model.clone(),
            gates: Gates {
                max_p95_ms: self.gates.max_p95_ms,
                max_error_bp: bp_of_decimal(self.gates.max_error_rate).unwrap_or(0),
                min_samples: self.gates.min_samples,
                on_no_evidence: self.on_no_evidence,
            },
            timeouts: self.timeouts.clone(),
            mistake: None,
            without: None,
        }
    }

    fn data_plane(&self) -> DataPlane {
        let backend = |(model, backend): (&ModelId, &BackendFile)| {
            let error_bp = bp_of_decimal(backend.error_rate).unwrap_or(0);
            (model.clone(), Backend { latency_ms: backend.latency_ms, error_bp })
        };
        DataPlane {
            backends: self.backends.iter().map(backend).collect(),
            window: Duration::from_millis(self.health_window_ms),
            addresses: self.peers.iter().map(|peer| (peer.id, peer.data)).collect(),
        }
    }

    /// All nodes, this one first, each with the key that leads to it.
    fn nodes(&self) -> impl Iterator<Item = (String, PeerFile)> {
        let me = PeerFile { id: self.id, role: self.role, control: self.control, data: self.data };
        let peers = self.peers.iter().enumerate().map(|(i, peer)| (format!("peers[{i}]."), peer.clone()));
        std::iter::once((String::new(), me)).chain(peers)
    }

    /// `Err` holds the key and what is wrong with it.
    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, what: String| Err((key.to_owned(), what));
        let mut ids = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (at, node) in self.nodes() {
            if let Some(first) = ids.insert(node.id, format!("{at}id")) {
                return wrong(&format!("{at}id"), format!("{} is {first} already", node.id.0));
            }
            for (key, address) in [("control", node.control), ("data", node.data)] {
                let key = format!("{at}{key}");
                if address.port() == 0 {
                    return wrong(&key, "a port must be given, other nodes must know it".into());
                }
                if !address.ip().is_loopback() && !self.allow_remote {
                    let what = "is not a loopback address, and nothing here is authenticated: set \
                                allow_remote = true if the network can be trusted";
                    return wrong(&key, format!("{address} {what}"));
                }
                if let Some(first) = addresses.insert(address, key.clone()) {
                    return wrong(&key, format!("{address} is {first} already"));
                }
            }
        }
        let coordinators = self.nodes().filter(|(_, node)| node.role == Role::Coordinator);
        let coordinators: Vec<_> = coordinators.map(|(_, node)| node.id.to_string()).collect();
        match coordinators.len() {
            1 => {}
            0 => return wrong("role", "no node is the coordinator; exactly one must be".into()),
            _ => {
                let what = format!("{} are coordinators; exactly one must be", coordinators.join(" and "));
                return wrong("role", what);
            }
        }
        if self.health_window_ms == 0 {
            return wrong("health_window_ms", "must be above 0".into());
        }
        let latencies = self
            .backends
            .iter()
            .map(|(model, backend)| (format!("backends.{model}.latency_ms"), backend.latency_ms));
        for (key, ms) in latencies.chain([("health_window_ms".to_owned(), self.health_window_ms)]) {
            if ms > LONGEST_MS {
                return wrong(&key, format!("{ms} is more than a year, {LONGEST_MS} ms"));
            }
        }
        let rates = self
            .backends
            .iter()
            .map(|(model, backend)| (format!("backends.{model}.error_rate"), backend.error_rate));
        for (key, rate) in rates.chain([("gates.max_error_rate".to_owned(), self.gates.max_error_rate)]) {
            bp_of_decimal(rate).map_err(|what| (key, what))?;
        }
        Ok(())
    }
}

fn parse_toml(text: &str) -> Result<NodeFile, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let upto = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..upto].iter().filter(|&&byte| byte == b'\n').count() + 1;
        (line, error.message().lines().collect::<Vec<_>>().join("; "))
    })
}

fn parse_json(text: &str) -> Result<NodeFile, (usize, String)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let file = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| (error.inner().line(), error.to_string()))?;
    json.end().map_err(|error| (error.line(), error.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
id = 2
role = "participant"
control = "127.0.0.1:60002"
data = "127.0.0.1:50052"
journal_dir = "journal"
[gates]
max_error_rate = 0.01
[timeouts]
vote_ms = 700
[backends.v2]
latency_ms = 400
error_rate = 0.5
[[peers]]
id = 1
role = "coordinator"
control = "127.0.0.1:60001"
data = "127.0.0.1:50051"
"#;

    fn complaint(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).expect("written");
        let error = NodeFile::load(&file).and_then(|node| node.settings(&file)).expect_err(text);
        let prefix = format!("{}: ", file.display());
        let said = error.to_string();
        said.strip_prefix(&prefix).unwrap_or_else(|| panic!("{said} does not name its file")).to_owned()
    }

    #[test]
    fn a_file_becomes_settings_and_what_it_leaves_out_has_defaults() {
        let node: NodeFile = toml::from_str(FILE).expect("valid");
        let settings = node.settings(Path::new("some/node-2.toml")).expect("valid");
        assert_eq!(settings.journal, Path::new("some/journal/node-2.journal"));
        assert_eq!(settings.node.members, [NodeId(1), NodeId(2)]);
        assert_eq!(settings.node.coordinator, NodeId(1));
        assert_eq!(settings.node.gates, Gates { max_error_bp: 100, ..Gates::default() });
        assert_eq!(settings.node.timeouts, Timeouts { vote_ms: 700, ..Timeouts::default() });
        let v2 = ModelId::new("v2").expect("valid");
        assert_eq!(settings.data_plane.backends[&v2], Backend { latency_ms: 400, error_bp: 5_000 });
        assert_eq!(settings.data_plane.window, DataPlane::default().window);
    }

    #[test]
    fn a_byte_order_mark_and_other_line_ends_change_nothing() {
        let node: NodeFile = toml::from_str(FILE).expect("valid");
        let folder = tempfile::tempdir().expect("a folder");
        let json = serde_json::to_string_pretty(&node).expect("plain data");
        for (name, text) in [("node.toml", FILE), ("node.json", &json)] {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("\u{feff}{}", text.replace('\n', "\r\n"))).expect("written");
            assert_eq!(NodeFile::load(&file).expect(name), node);
        }
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let node: NodeFile = toml::from_str(FILE).expect("valid");
        let json = serde_json::to_string_pretty(&node).expect("plain data");
        assert_eq!(parse_json(&json), Ok(node.clone()));
        let toml = toml::to_string(&node).expect("plain data");
        assert_eq!(parse_toml(&toml), Ok(node));
        let json = json.replace("\"vote_ms\"", "\"vote\"");
        let (line, what) = parse_json(&json).expect_err("an unknown key");
        assert!(line > 10 && what.starts_with("timeouts.vote: unknown field `vote`"), "{line}: {what}");
    }

    #[test]
    fn each_mistake_is_named_with_its_key_or_line() {
        let mistakes = [
            ("id = 2", "id = 2\nspeed = 9", "line 3: unknown field `speed`"),
            ("vote_ms", "vote", "line 10: unknown field `vote`"),
            ("\"participant\"", "\"boss\"", "line 3: unknown variant `boss`"),
            ("127.0.0.1:60002", "localhost", "line 4: invalid socket address syntax"),
            ("id = 2\n", "", "missing field `id`"),
            ("id = 1", "id = 2", "peers[0].id: 2 is id already"),
            ("127.0.0.1:50051", "127.0.0.1:60002", "peers[0].data: 127.0.0.1:60002 is control already"),
            ("127.0.0.1:60002", "127.0.0.1:0", "control: a port must be given"),
            ("127.0.0.1:60002", "0.0.0.0:60002", "control: 0.0.0.0:60002 is not a loopback address"),
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
            ("max_error_rate = 0.01", "max_error_rate = -1", "gates.max_error_rate: -1: must lie in 0..=1"),
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

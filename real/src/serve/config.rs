//! The file that a node is started from, in TOML or JSON by its extension: a part that every service has, and beside
//! it what the service itself wants to know.
//!
//! ```toml
//! id = 1
//! control = "127.0.0.1:7711"
//! data = "127.0.0.1:8711"
//! journal_dir = "journal"
//! drain_ms = 10_000            # how long a SIGTERM waits for requests under way; this is the default
//! # … and the service's own keys
//!
//! [access]                  # see the module `access`
//! tokens = "tokens.txt"
//!
//! [tls]                          # optional: only nodes of this authority are peers, see `crate::tls`
//! ca = "certs/ca.pem"             # relative to the file, as the others
//! cert = "certs/node-1.pem"
//! key = "certs/node-1.key"
//!
//! [[peers]]
//! id = 2
//! control = "127.0.0.1:7712"
//! data = "127.0.0.1:8712"
//! ```
//!
//! All nodes of a cluster must agree on who the members are. Addresses that other machines can reach need credentials:
//! `data` the operators' tokens, `control` certificates.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coalmine_core::node::NodeId;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny};
use serde_path_to_error::Track;
use thiserror::Error;

use super::access::{Access, AccessTable};
use super::own::OwnPart;
use super::service::Service;
use super::unique::UniqueKeys;
use crate::files::{TEXT_BYTES, read_text};
use crate::shell::Placement;
use crate::tls::{self, Identity};

/// What every service's file says.
#[derive(Debug, Deserialize)]
struct Common {
    /// This node: a number of its own.
    id: NodeId,
    /// Where it takes its peers' frames, `address:port`.
    control: SocketAddr,
    /// Where it takes HTTP, `address:port`.
    data: SocketAddr,
    /// The folder of its journal, which is created if need be. A relative one lies beside the file.
    journal_dir: PathBuf,
    /// Who may ask for what over HTTP, and under which names. Default everybody, on loopback.
    #[serde(default)]
    access: AccessTable,
    /// How peers prove who they are. Without it whoever reaches the control port is believed.
    tls: Option<TlsTable>,
    /// How long its process, asked to stop, waits for requests under way, in milliseconds. Default 10,000.
    #[serde(default = "default_drain_ms")]
    drain_ms: u64,
    /// The other nodes.
    #[serde(default)]
    peers: Vec<Peer>,
}

fn default_drain_ms() -> u64 {
    10_000
}

const COMMON: &[&str] = &["id", "control", "data", "journal_dir", "access", "tls", "drain_ms", "peers"];

/// The longest time to drain: an hour.
const MOST_DRAIN_MS: u64 = 3_600_000;

impl Common {
    /// Whether peers prove who they are.
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Where a node's identity is, in PEM. Relative paths lie beside the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    /// The certificate of the cluster's authority.
    ca: PathBuf,
    /// This node's certificate.
    cert: PathBuf,
    /// The key to it, without a password; nobody but its owner may read it.
    key: PathBuf,
}

/// Another node of the cluster.
#[derive(Debug, Deserialize)]
struct Peer {
    id: NodeId,
    control: SocketAddr,
    data: SocketAddr,
}

/// The peers, if the service has no keys of its own among theirs.
#[derive(Debug, Deserialize)]
struct OnlyPeers {
    #[serde(default, rename = "peers")]
    _peers: Vec<OnlyPeer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlyPeer {
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "control")]
    _control: IgnoredAny,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

/// A node's file, read and checked: all that the node needs to run.
#[derive(Clone, Debug)]
pub struct NodeFile<S: Service> {
    /// Where it stands among its peers.
    pub placement: Placement,
    /// Where all members take HTTP, the node itself among them.
    pub data: BTreeMap<NodeId, SocketAddr>,
    /// The journal.
    pub journal: PathBuf,
    /// Who may ask for what over HTTP.
    pub access: Access,
    /// Where its identity is, if peers prove who they are. The files are not read before they are needed.
    pub tls: Option<tls::Files>,
    /// How long the process, asked to stop, waits for requests under way.
    pub drain: Duration,
    /// The service's own part of the file.
    pub settings: S::Settings,
    /// What the node is told.
    pub config: S::Config,
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
    #[error("{file}: {what}", file = file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, such as `peers[0].control`, and what is wrong with it.
        what: String,
    },
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl<S: Service> NodeFile<S> {
    /// Reads a file and checks all its values.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let syntax = match file.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Syntax::Toml,
            Some("json") => Syntax::Json,
            _ => return Err(FileError::Extension { file: file.into() }),
        };
        let text =
            read_text(file, TEXT_BYTES).map_err(|error| FileError::Read { file: file.into(), error })?;
        Self::parse(&text, syntax, file)
    }

    /// The same for a text, which may begin with a byte order mark. `file` is where it came from.
    pub fn parse(text: &str, syntax: Syntax, file: &Path) -> Result<Self, FileError> {
        let parsed = parse_both::<S::Settings>(text, syntax);
        let (common, settings) =
            parsed.map_err(|(line, what)| FileError::Syntax { file: file.into(), line, what })?;
        let wrong = |what| FileError::Value { file: file.into(), what };
        check(&common).map_err(|(key, what)| wrong(format!("{key}: {what}")))?;
        let drain = Duration::from_millis(common.drain_ms);
        let Common { id, control, data, journal_dir, peers, access, tls, .. } = common;
        let folder = file.parent().unwrap_or(Path::new(""));
        let access = access.check(folder).map_err(|(key, what)| wrong(format!("{key}: {what}")))?;
        let journal = folder.join(journal_dir).join(format!("node-{}.journal", id.0));
        let tls = tls.map(|TlsTable { ca, cert, key }| tls::Files {
            ca: folder.join(ca),
            cert: folder.join(cert),
            key: folder.join(key),
        });
        let all_data = peers.iter().map(|peer| (peer.id, peer.data)).chain([(id, data)]).collect();
        let peers = peers.iter().map(|peer| (peer.id, peer.control)).collect();
        let placement = Placement { me: id, control, data, peers };
        let config = S::config(&placement, &settings).map_err(wrong)?;
        Ok(Self { placement, data: all_data, journal, access, tls, drain, settings, config })
    }

    /// Reads its identity, if it has one. `file` is where all this came from.
    pub fn identity(&self, file: &Path) -> Result<Option<Identity>, FileError> {
        let identity = self.tls.as_ref().map(|files| Identity::load(self.me(), files)).transpose();
        identity.map_err(|why| FileError::Value { file: file.into(), what: why.to_string() })
    }

    /// Who it is.
    pub fn me(&self) -> NodeId {
        self.placement.me
    }

    /// Where it takes HTTP.
    pub fn own_data(&self) -> SocketAddr {
        self.data[&self.placement.me]
    }
}

/// The common part and the service's own; `Err` holds the line and what is wrong there.
fn parse_both<T: DeserializeOwned>(text: &str, syntax: Syntax) -> Result<(Common, T), (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark, as some editors write it
    if syntax == Syntax::Json {
        read(text, syntax, UniqueKeys)?; // TOML has no others
    }
    let common = read(text, syntax, PhantomData::<Common>)?;
    let (settings, fields) = read(text, syntax, OwnPart { others: COMMON, what: PhantomData })?;
    // A service that says more of each node has a field `peers` of its own, and checks it.
    if !fields.contains(&"peers") {
        read(text, syntax, PhantomData::<OnlyPeers>)?;
    }
    Ok((common, settings))
}

fn read<'t, S: DeserializeSeed<'t>>(
    text: &'t str,
    syntax: Syntax,
    what: S,
) -> Result<S::Value, (usize, String)> {
    match syntax {
        Syntax::Toml => {
            let read = toml::de::Deserializer::parse(text).and_then(|toml| what.deserialize(toml));
            read.map_err(|error| {
                let upto = error.span().map_or(0, |span| span.start).min(text.len());
                let line = text.as_bytes()[..upto].iter().filter(|&&byte| byte == b'\n').count() + 1;
                (line, error.message().lines().collect::<Vec<_>>().join("; "))
            })
        }
        Syntax::Json => {
            let mut json = serde_json::Deserializer::from_str(text);
            let mut track = Track::new();
            let read = what.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
            let value = read.map_err(|error| {
                (error.line(), serde_path_to_error::Error::new(track.path(), error).to_string())
            })?;
            json.end().map_err(|error| (error.line(), error.to_string()))?;
            Ok(value)
        }
    }
}

/// Why this address must be one that only this machine can reach, if it must.
fn needs_credentials(common: &Common, key: &str) -> Option<&'static str> {
    if key.ends_with("control") {
        (!common.has_tls()).then_some(
            "that needs [tls], since nothing else tells a peer from a stranger: see `certs --help`",
        )
    } else {
        // Where the others take HTTP is only told to clients.
        let is_open = key == "data" && common.access.tokens.is_none();
        is_open.then_some(
            "that needs [access] with `tokens`, lest everybody who reaches it can change what is served",
        )
    }
}

/// `Err` holds the key and what is wrong with it.
fn check(common: &Common) -> Result<(), (String, String)> {
    if common.drain_ms > MOST_DRAIN_MS {
        return Err((
            "drain_ms".into(),
            format!("{} is more than {MOST_DRAIN_MS}, an hour", common.drain_ms),
        ));
    }
    let me = (String::new(), common.id, common.control, common.data);
    let peers = common.peers.iter().enumerate();
    let peers = peers.map(|(i, peer)| (format!("peers[{i}]."), peer.id, peer.control, peer.data));
    let mut ids = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (at, id, control, data) in std::iter::once(me).chain(peers) {
        if let Some(first) = ids.insert(id, format!("{at}id")) {
            return Err((format!("{at}id"), format!("{} is {first} already", id.0)));
        }
        for (key, address) in [("control", control), ("data", data)] {
            let key = format!("{at}{key}");
            if address.port() == 0 {
                return Err((key, "a port must be given, other nodes must know it".into()));
            }
            if let Some(what) = needs_credentials(common, &key).filter(|_| !address.ip().is_loopback()) {
                return Err((key, format!("{address} is not a loopback address: {what}")));
            }
            if let Some(first) = addresses.insert(address, key.clone()) {
                return Err((key, format!("{address} is {first} already")));
            }
        }
    }
    Ok(())
}

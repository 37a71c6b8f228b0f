//! A node as a service: a program with a config file, HTTP, health, recordings, a local cluster to try it on, and a
//! client.
//!
//! A protocol says in one trait, [`Service`], what nobody else can know: its name, what its file holds beside the
//! common part, how a node's configuration follows from that, what it serves, and when it is ready. All else is the
//! same for every service and stands here, once:
//!
//! | file | |
//! | --- | --- |
//! | [`config`] | the file of a node: the common part, address rules, errors that name file and key |
//! | [`node`] | `node`: one node in this process, which logs and records what it does |
//! | [`up`] | `up`: a cluster on this machine, one process a node, with a line to start a dead one again |
//! | [`health`] | `GET /health/live` and `/health/ready` of every node |
//! | [`client`] | asks: goes where it is sent, and asks again under the same name |
//! | [`status`], [`mod@ask`] | `status` and `ask`: that client as commands |
//! | [`cli`] | the command line of all that, to which a service may add commands of its own |
//!
//! ```text
//!   file ──▶ config ──▶ Service::config ──▶ Shell ◀── handle ── router ◀── HTTP
//!              │                                                   ▲
//!              └─────────── settings ──▶ Service::routes + health ─┘
//! ```
//!
//! [`router`] is what a node serves in production. A simulation that names its settings hosts the same.

pub mod ask;
#[cfg(test)]
mod asking_tests;
pub mod cli;
pub mod client;
pub mod config;
pub mod health;
pub mod node;
pub mod output;
mod own;
pub mod status;
#[cfg(test)]
mod tests;
pub mod up;

use std::fmt::Debug;
use std::path::Path;
use std::process::ExitCode;

pub use axum::Router;
use coalmine_core::node::NodeId;
use serde::de::DeserializeOwned;

pub use self::cli::{Failure, Program};
use self::config::NodeFile;
use crate::face::Face;
use crate::runtime::Runtime;
use crate::shell::{Handle, Placement};

/// A node that can be run as a program.
pub trait Service: Face {
    /// The name of the program.
    const NAME: &'static str;
    /// The scenario or model whose invariants its recordings are held against.
    const PROTOCOL: &'static str = Self::NAME;
    /// The program's version, which its recordings name: mostly `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str = "";
    /// How cargo starts the program, if a workspace has an alias for it.
    const ALIAS: Option<&'static str> = None;
    /// What a node's file holds beside the [common part](config), such as a struct with a default for every field;
    /// `()` if nothing. Keys that nobody has are refused in any case.
    type Settings: DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    /// What `up` writes into the files besides the common part. Default nothing.
    const STARTER: Starter = Starter::NOTHING;

    /// What the node is told. `Err` names the key that makes no sense, and why.
    fn config(placement: &Placement, settings: &Self::Settings) -> Result<Self::Config, String>;

    /// What the node serves besides its [health](health), at other paths. Default its [`Face`].
    fn routes<R: Runtime>(
        runtime: &R,
        config: &Self::Config,
        _settings: &Self::Settings,
        handle: Handle<Self>,
    ) -> Router {
        Self::router(runtime, config, handle)
    }

    /// Whether the node, which has recovered its journal, can do its work; `Err` says what it waits for. Default yes.
    fn ready(_view: Option<&Self::View>) -> Result<(), String> {
        Ok(())
    }

    /// What this node is among the others, if they differ: a word for logs and tables.
    fn role(_config: &Self::Config) -> Option<&'static str> {
        None
    }

    /// What to try once `up` has started a cluster in this folder: a command and its options a line. The program's name is put before
    /// each.
    fn to_try(_cluster: &[NodeFile<Self>], dir: &Path) -> Vec<String> {
        ask::to_try::<Self>(dir)
    }
}

/// What a service adds to the files that `up` writes, as TOML.
#[derive(Clone, Copy, Debug)]
pub struct Starter {
    /// Keys of each node, at the head of its own file and in its entry among the peers of others.
    pub member: fn(NodeId) -> &'static str,
    /// Keys of the file itself.
    pub keys: &'static str,
    /// Tables, and comments at the end.
    pub tables: &'static str,
}

impl Starter {
    /// Nothing at all.
    pub const NOTHING: Self = Self { member: |_| "", keys: "", tables: "" };
}

/// All that a node serves: the service's routes, and its health.
pub fn router<S: Service, R: Runtime>(
    runtime: &R,
    config: &S::Config,
    settings: &S::Settings,
    handle: Handle<S>,
) -> Router {
    S::routes(runtime, config, settings, handle.clone()).merge(health::routes(runtime, handle))
}

/// The whole program of a service.
pub fn main<S: Service>() -> ExitCode {
    Program::of::<S>().main()
}

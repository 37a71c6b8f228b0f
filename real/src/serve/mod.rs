//! A node as a service: a program with a config file, HTTP, health, recordings, a local cluster to try it on, and a
//! client.
//!
//! A protocol says in one trait, [`Service`], what nobody else can know: its name, what its file holds beside the
//! common part, how a node's configuration follows from that, what it serves, and when it is ready. All else is the
//! same for every service and stands here, once:
//!
//! | file | |
//! | --- | --- |
//! | [`tokens`], [`access`] | who may ask, and under which names: the table `[access]`, the operators' tokens |
//! | [`doors`] | which requests come in: `Host`, `Origin`, tokens |
//! | [`service`] | the trait |
//! | [`config`] | the file of a node: the common part, address rules, errors that name file and key |
//! | [`local`] | a cluster on this machine: ports, folder, the files of its nodes |
//! | [`health`] | `GET /livez`, `/readyz` and `/metrics` of every node; [`router`], all that a node serves in a simulation, too |
//! | [`log`] | what a running node says on standard error; nobody waits for its reader |
//! | [`events`], [`audit`], [`page`] | `GET /events`, `/audit`, `/cluster` and `/` of a node that runs as a program |
//! | [`client`] | asks: goes where it is sent, and asks again under the same name |
//! | [`credentials`] | with whose token a command asks |
//! | [`command`], [`output`] | what commands share; what is printed |
//! | [`node`] | `node`: one node in this process, which logs and records what it does |
//! | [`status`], [`mod@ask`] | `status` and `ask`: the client as commands |
//! | [`certs`] | `certs`: certificates for TLS between nodes |
//! | [`up`] | `up`: the cluster, one process a node, with a line to start a dead one again |
//! | [`cli`] | the command line of all that, to which a service may add commands of its own |
//!
//! ```text
//!   file ──▶ config ──▶ Service::config ──▶ Shell ◀── handle ── router ◀── HTTP
//!              │                                                   ▲
//!              └─────────── settings ──▶ Service::routes + health ─┘
//! ```
//!
//! Each names only those before it. A simulation that names the settings hosts the same [`router`].

pub mod access;
pub mod ask;
pub mod audit;
pub mod certs;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod credentials;
pub mod doors;
pub mod events;
pub mod health;
pub mod local;
pub mod log;
pub mod node;
pub mod output;
mod own;
pub mod page;
pub mod service;
pub mod status;
#[cfg(test)]
mod tests;
pub mod tokens;
mod unique;
pub mod up;

use std::process::ExitCode;

pub use axum::Router;

pub use self::cli::Program;
pub use self::command::Failure;
pub use self::credentials::Credentials;
pub use self::doors::Door;
pub use self::health::router;
pub use self::service::{Service, Starter};

/// The whole program of a service.
pub fn main<S: Service>() -> ExitCode {
    Program::of::<S>().main()
}

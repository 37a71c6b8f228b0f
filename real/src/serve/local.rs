//! A cluster on this machine: its ports, its folder, the config file of each node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use coalmine_core::node::NodeId;

use super::command::Failure;
use super::config::{NodeFile, Syntax};
use super::service::{Service, Starter};
use crate::paste;

/// From which ports on the nodes of a cluster listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For each other's frames.
    pub control: u16,
    /// For HTTP.
    pub data: u16,
}

/// The ports of a cluster if nobody says.
pub const FIRST: Ports = Ports { control: 7_711, data: 8_711 };

/// How many nodes `up` starts at most.
pub const MOST_NODES: u16 = 25;

/// The address of node `id` of a cluster on this machine.
pub const fn local_address(first_port: u16, id: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), first_port + id - 1)
}

/// Where a program keeps its cluster if nobody says.
pub fn default_dir(name: &str) -> String {
    format!("coalmine-out/{name}")
}

/// The option that leads to this folder, if it needs one.
pub(super) fn dir_option(name: &str, dir: &Path) -> String {
    let is_default = dir == Path::new(&default_dir(name));
    if is_default { String::new() } else { format!(" --dir {}", paste::path(dir)) }
}

/// A command whose `--dir` is there if nobody says.
pub(super) fn with_default_dir(command: clap::Command, name: &str) -> clap::Command {
    // clap keeps what is said here for as long as the program lives.
    let dir: &'static str = default_dir(name).leak();
    command.mut_arg("dir", |arg| arg.required(false).default_value(dir))
}

/// Where the nodes of the cluster in this folder take HTTP; if there is none, where those of one would that `up` starts.
pub fn addresses<S: Service>(dir: &Path) -> Result<Vec<SocketAddr>, Failure> {
    let load = |config: PathBuf| NodeFile::<S>::load(&config).map(|file| file.own_data());
    let known: Result<Vec<_>, _> = configs(dir).map(load).collect();
    let known = known.map_err(|error| Failure::usage(error.to_string()))?;
    let default = || (1..=3).map(|id| local_address(FIRST.data, id)).collect();
    Ok(if known.is_empty() { default() } else { known })
}

/// The file with the tokens that the nodes in this folder go by, if they do.
pub fn tokens<S: Service>(dir: &Path) -> Option<PathBuf> {
    configs(dir).find_map(|config| NodeFile::<S>::load(&config).ok()?.access.tokens)
}

/// The configs that are there.
pub(super) fn configs(dir: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=MOST_NODES).map(move |id| config_of(dir, id)).take_while(|config| config.exists())
}

pub(super) fn config_of(dir: &Path, id: u16) -> PathBuf {
    dir.join(format!("node-{id}.toml"))
}

impl<S: Service> NodeFile<S> {
    /// What `up` starts node `id` of `nodes` with, unless it is told otherwise.
    pub fn starter(id: u16, nodes: u16) -> Self {
        let text = config_text::<S>(id, nodes, FIRST);
        let parsed = Self::parse(&text, Syntax::Toml, &config_of(Path::new(&default_dir(S::NAME)), id));
        parsed.unwrap_or_else(|why| panic!("what `up` writes makes no sense: {why}"))
    }
}

/// The file of node `id` of `nodes`, as `up` writes it.
pub(super) fn config_text<S: Service>(id: u16, nodes: u16, ports: Ports) -> String {
    let Starter { member, keys, tables } = S::STARTER;
    let node = |id: u16| {
        let more = member(NodeId(id.into()));
        let (control, data) = (local_address(ports.control, id), local_address(ports.data, id));
        format!("id = {id}\n{more}control = \"{control}\"\ndata = \"{data}\"\n")
    };
    let peers: String =
        (1..=nodes).filter(|&peer| peer != id).map(|peer| format!("\n[[peers]]\n{}", node(peer))).collect();
    let tables = if tables.is_empty() { String::new() } else { format!("\n{tables}") };
    format!(
        "# Node {id} of {nodes}, written by `{} up`, which keeps it as it is from now on.\n\
         {}journal_dir = \"journal\"\n{keys}{peers}{tables}",
        S::NAME,
        node(id)
    )
}

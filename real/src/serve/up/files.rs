//! The folder of a cluster: a config, a log and a journal for each node.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use coalmine_core::node::NodeId;

use super::Args;
use crate::files;
use crate::serve::config::{NodeFile, Syntax};
use crate::serve::{Failure, Service, Starter};

/// From which ports on the nodes of a cluster listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For each other's frames.
    pub control: u16,
    /// For HTTP.
    pub data: u16,
}

/// The ports of a cluster if nobody says.
pub const FIRST: Ports = Ports { control: 60_001, data: 50_051 };

/// The address of node `id` of a cluster on this machine.
pub const fn local_address(first_port: u16, id: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), first_port + id - 1)
}

/// Where a program keeps its cluster if nobody says.
pub fn default_dir(name: &str) -> String {
    format!("coalmine-out/{name}")
}

/// A command whose `--dir` is there if nobody says.
pub(in crate::serve) fn with_default_dir(command: clap::Command, name: &str) -> clap::Command {
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

/// The configs that are there.
fn configs(dir: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=9).map(move |id| config_of(dir, id)).take_while(|config| config.exists())
}

fn config_of(dir: &Path, id: u16) -> PathBuf {
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

/// One node that is to be started.
pub(super) struct Plan<S: Service> {
    pub(super) file: NodeFile<S>,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) record: Option<PathBuf>,
    /// It has a journal already.
    pub(super) continues: bool,
}

/// Writes the configs, or reads those that are there.
pub(super) fn prepare<S: Service>(args: &Args) -> Result<Vec<Plan<S>>, Failure> {
    let present = configs(&args.dir).count() as u16;
    let nodes = if present == 0 { write_configs::<S>(args)? } else { present };
    let mut plans = Vec::new();
    for id in 1..=nodes {
        let config = config_of(&args.dir, id);
        let file = NodeFile::load(&config).map_err(|error| Failure::usage(error.to_string()))?;
        let log = args.dir.join(format!("node-{id}.log"));
        let record = args.record.then(|| args.dir.join(format!("node-{id}.rec")));
        let continues = file.journal.metadata().is_ok_and(|journal| journal.len() > 0);
        plans.push(Plan { file, config, log, record, continues });
    }
    if present > 0 {
        check_agreement(args, &plans)?;
    }
    Ok(plans)
}

/// Configs that are there win; an option that contradicts them is refused rather than ignored.
fn check_agreement<S: Service>(args: &Args, plans: &[Plan<S>]) -> Result<(), Failure> {
    let dir = args.dir.display();
    let hint = "edit it, or give another --dir";
    if let Some(nodes) = args.nodes.filter(|&nodes| usize::from(nodes) != plans.len()) {
        let why = format!("--nodes {nodes}: {dir} holds a cluster of {}; give another --dir", plans.len());
        return Err(Failure::usage(why));
    }
    for (offset, Plan { file, config, .. }) in plans.iter().enumerate() {
        let wanted = [
            ("--control-port", args.control_port, "control", file.placement.control),
            ("--data-port", args.data_port, "data", file.own_data()),
        ];
        for (option, first, key, address) in wanted {
            let differs = first.filter(|&first| usize::from(first) + offset != usize::from(address.port()));
            if let Some(first) = differs {
                let file = config.display();
                return Err(Failure::usage(format!(
                    "{option} {first}: {file} has {key} = {address}: {hint}"
                )));
            }
        }
    }
    Ok(())
}

fn write_configs<S: Service>(args: &Args) -> Result<u16, Failure> {
    let nodes = args.nodes.unwrap_or(3);
    let control = args.control_port.unwrap_or(FIRST.control);
    let data = args.data_port.unwrap_or(FIRST.data);
    for (option, first) in [("--control-port", control), ("--data-port", data)] {
        if u32::from(first) + u32::from(nodes) - 1 > u32::from(u16::MAX) {
            return Err(Failure::usage(format!(
                "{option} {first}: there are no {nodes} ports from there on"
            )));
        }
    }
    if control.abs_diff(data) < nodes {
        let why =
            format!("--control-port {control} and --data-port {data}: the {nodes} ports of each overlap");
        return Err(Failure::usage(why));
    }
    let failed = |file: &Path, error| Failure::failed(format!("{}: {error}", file.display()));
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    for id in 1..=nodes {
        let file = config_of(&args.dir, id);
        let text = config_text::<S>(id, nodes, Ports { control, data });
        files::replace(&file, |out| out.write_all(text.as_bytes())).map_err(|error| failed(&file, error))?;
    }
    Ok(nodes)
}

/// The file of node `id` of `nodes`, as `up` writes it.
pub(in crate::serve) fn config_text<S: Service>(id: u16, nodes: u16, ports: Ports) -> String {
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

pub(super) fn open_log(file: &Path) -> Result<File, Failure> {
    let log = files::regular_or_missing(file)
        .and_then(|()| OpenOptions::new().append(true).create(true).open(file));
    log.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

/// The end of a log.
pub(super) fn last_lines(file: &Path, count: usize) -> Vec<String> {
    const ENOUGH_BYTES: u64 = 8 * 1024;
    let read = || {
        let mut log = File::open(file)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(ENOUGH_BYTES)))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

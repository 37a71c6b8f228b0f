//! The folder of a cluster that is started: a config, a log and a journal for each node.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::http::HeaderValue;
use coalmine_core::node::NodeId;

use crate::files;
use crate::serve::certs;
use crate::serve::command::Failure;
use crate::serve::config::NodeFile;
use crate::serve::local::{FIRST, MOST_NODES, Ports, config_of, config_text, configs};
use crate::serve::service::Service;

/// What an operator of a cluster of `up` shows, if it asks for that.
const TOKEN_FILE: &str = "operator.token";

/// What `up` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes. Default 3, or as many as DIR has configs.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_NODES)))]
    pub(super) nodes: Option<u16>,
    /// Where configs, logs and journals go.
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// Node 1 takes frames at this port, node 2 at the next, and so on. Default 7711.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) control_port: Option<u16>,
    /// Node 1 takes HTTP at this port, node 2 at the next, and so on. Default 8711.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) data_port: Option<u16>,
    /// Draw an operator's token, in DIR/operator.token: without it nobody changes what the cluster serves.
    #[arg(long)]
    pub(super) tokens: bool,
    /// Record each node in DIR, to be verified.
    #[arg(long)]
    pub(super) record: bool,
    /// Have the nodes prove who they are, in TLS. The certificates are in DIR/certs, and made where there are none.
    #[arg(long)]
    pub(super) tls: bool,
}

/// One node that is to be started.
pub(super) struct Plan<S: Service> {
    pub(super) file: NodeFile<S>,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) record: Option<PathBuf>,
    /// The token with which its operator asks.
    pub(super) token: Option<HeaderValue>,
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
        let file = NodeFile::<S>::load(&config).map_err(|error| Failure::usage(error.to_string()))?;
        file.identity(&config).map_err(|error| Failure::usage(error.to_string()))?;
        let log = args.dir.join(format!("node-{id}.log"));
        let record = args.record.then(|| args.dir.join(format!("node-{id}.rec")));
        let continues = file.journal.metadata().is_ok_and(|journal| journal.len() > 0);
        let token = file.access.load_tokens().map_err(Failure::usage)?.first_header();
        plans.push(Plan { file, config, log, record, token, continues });
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
        if args.tokens && file.access.tokens.is_none() {
            let why = format!("--tokens: {} has no [access] with tokens: {hint}", config.display());
            return Err(Failure::usage(why));
        }
        if args.tls && file.tls.is_none() {
            return Err(Failure::usage(format!("--tls: {} has no table [tls]: {hint}", config.display())));
        }
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
    let access = if args.tokens {
        let file = args.dir.join(TOKEN_FILE);
        draw_token(&file).map_err(|error| failed(&file, error))?;
        format!("\n[access]\ntokens = \"{TOKEN_FILE}\"\n")
    } else {
        String::new()
    };
    if args.tls {
        let all: Vec<_> = (1..=nodes).map(|id| NodeId(id.into())).collect();
        certs::complete(&args.dir.join(certs::DIR), &all)?;
    }
    for id in 1..=nodes {
        let file = config_of(&args.dir, id);
        let mut text = config_text::<S>(id, nodes, Ports { control, data }) + &access;
        if args.tls {
            text += &certs::table(Path::new(certs::DIR), NodeId(id.into()));
        }
        files::replace(&file, |out| out.write_all(text.as_bytes())).map_err(|error| failed(&file, error))?;
    }
    Ok(nodes)
}

/// Writes a file that only its owner can read, with a token that nobody can guess. One that is there is kept.
fn draw_token(file: &Path) -> io::Result<()> {
    let mut drawn = [0; 32];
    getrandom::fill(&mut drawn).map_err(|error| io::Error::other(error.to_string()))?;
    let token: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match created.and_then(|mut out| out.write_all(format!("operator {token}\n").as_bytes())) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        written => written,
    }
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
        io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

//! The folder of a cluster: a config, a log and a journal for each node.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::files;
use crate::rollout::config::{NodeFile, Settings};

use super::{Args, CONTROL_PORT, DATA_PORT, data_address};
use crate::serve::Failure;

/// One node that is to be started.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    /// It has a journal already.
    pub(super) continues: bool,
}

/// Writes the configs, or reads those that are there.
pub(super) fn prepare(args: &Args) -> Result<Vec<Plan>, Failure> {
    let config = |id: u32| args.dir.join(format!("node-{id}.toml"));
    let present = (1..=9).take_while(|&id| config(id).exists()).count() as u32;
    let nodes = if present == 0 { write_configs(args)? } else { present };
    let mut plans = Vec::new();
    for id in 1..=nodes {
        let config = config(id);
        let settings = NodeFile::load(&config).and_then(|file| file.settings(&config));
        let settings = settings.map_err(|error| Failure::usage(error.to_string()))?;
        let log = args.dir.join(format!("node-{id}.log"));
        let continues = settings.journal.metadata().is_ok_and(|journal| journal.len() > 0);
        plans.push(Plan { settings, config, log, continues });
    }
    if present > 0 {
        check_agreement(args, &plans)?;
    }
    Ok(plans)
}

/// Configs that are there win; an option that contradicts them is refused rather than ignored.
fn check_agreement(args: &Args, plans: &[Plan]) -> Result<(), Failure> {
    let dir = args.dir.display();
    let hint = "edit it, or give another --dir";
    if let Some(nodes) = args.nodes.filter(|&nodes| nodes as usize != plans.len()) {
        let why = format!("--nodes {nodes}: {dir} holds a cluster of {}; give another --dir", plans.len());
        return Err(Failure::usage(why));
    }
    for (offset, Plan { settings, config, .. }) in plans.iter().enumerate() {
        let wanted = [
            ("--control-port", args.control_port, "control", settings.placement.control),
            ("--data-port", args.data_port, "data", settings.data),
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

fn write_configs(args: &Args) -> Result<u32, Failure> {
    let nodes = args.nodes.unwrap_or(3);
    let control = args.control_port.unwrap_or(CONTROL_PORT);
    let data = args.data_port.unwrap_or(DATA_PORT);
    for (option, first) in [("--control-port", control), ("--data-port", data)] {
        if u32::from(first) + nodes - 1 > u32::from(u16::MAX) {
            return Err(Failure::usage(format!(
                "{option} {first}: there are no {nodes} ports from there on"
            )));
        }
    }
    if control.abs_diff(data) < nodes as u16 {
        let why =
            format!("--control-port {control} and --data-port {data}: the {nodes} ports of each overlap");
        return Err(Failure::usage(why));
    }
    let failed = |file: &Path, error| Failure::failed(format!("{}: {error}", file.display()));
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    for id in 1..=nodes as u16 {
        let file = args.dir.join(format!("node-{id}.toml"));
        let text = config_text(id, nodes as u16, control, data);
        files::replace(&file, |out| out.write_all(text.as_bytes())).map_err(|error| failed(&file, error))?;
    }
    Ok(nodes)
}

fn config_text(id: u16, nodes: u16, control: u16, data: u16) -> String {
    let node = |id: u16| {
        let role = if id == 1 { "coordinator" } else { "participant" };
        let (control, data) = (data_address(control, id), data_address(data, id));
        format!("id = {id}\nrole = \"{role}\"\ncontrol = \"{control}\"\ndata = \"{data}\"\n")
    };
    let peers: String =
        (1..=nodes).filter(|&peer| peer != id).map(|peer| format!("\n[[peers]]\n{}", node(peer))).collect();
    format!(
        "# Node {id} of {nodes}, written by `canary up`, which keeps it as it is from now on.\n\
         {}journal_dir = \"journal\"\n\
         # How to vote when there was too little traffic to judge by. A real cluster says \"abort\".\n\
         on_no_evidence = \"commit\"\n\
         {peers}\n\
         # When this node votes for a change: the limits of one window of its data plane.\n\
         [gates]\n\
         max_p95_ms = 200\n\
         max_error_rate = 0.05\n\
         min_samples = 20\n\n\
         # A bad model, to see the gates stop a rollout: uncomment it at every node, start again, send\n\
         # traffic with `canary predict --count 1000`, and roll v2 out with `--pause-ms 6000`.\n\
         # [backends.v2]\n\
         # latency_ms = 400\n\
         # error_rate = 0.5\n",
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

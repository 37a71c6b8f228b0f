//! `canary up`: a whole cluster on this machine, one child process a node.
//!
//! Children die with their parent: they stop when their standard input ends. They are in process groups of
//! their own, so that a Ctrl-C reaches the parent alone, which then stops them in order.

mod files;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::paste;
use crate::rollout::wire::{Role, StatusView};
use coalmine_core::node::NodeId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

use self::files::Plan;
use crate::serve::client::Client;
use crate::serve::node::stop_signal;
use crate::serve::{Failure, output};

/// Where the nodes take HTTP, from this port on.
pub const DATA_PORT: u16 = 50_051;
/// Where they take each other's frames.
pub const CONTROL_PORT: u16 = 60_001;

/// How long a node may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a dead node's log is shown.
const LAST_LINES: usize = 5;

/// Run a whole cluster on this machine, one process a node.
///
/// Node 1 is the coordinator. Each node's config, log and journal are in DIR; configs that are there are
/// kept, so edit them, and with the journals the cluster continues where it was. Ctrl-C stops all nodes.
///
/// Examples:
///
///   canary up
///   canary up --nodes 5 --dir /tmp/five --control-port 61001 --data-port 51001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How many nodes. Default 3, or as many as DIR has configs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9))]
    nodes: Option<u32>,
    /// Where configs, logs and journals go.
    #[arg(long, default_value = "coalmine-out/canary")]
    dir: PathBuf,
    /// Node 1 takes frames at this port, node 2 at the next, and so on. Default 60001.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    control_port: Option<u16>,
    /// Node 1 takes HTTP at this port, node 2 at the next, and so on. Default 50051.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    data_port: Option<u16>,
}

/// The data address of node `id` of a cluster on this machine.
pub fn data_address(first_port: u16, id: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + id - 1))
}

/// Runs a cluster until it is asked to stop.
pub async fn run(args: Args) -> Result<(), Failure> {
    let plans = files::prepare(&args)?;
    check_ports(&plans)?;
    let stop = stop_signal();
    tokio::pin!(stop);
    let mut cluster = Cluster::start(plans)?;
    let result = tokio::select! {
        biased;
        _ = &mut stop => Ok(()),
        result = cluster.watch(&args.dir) => result,
    };
    cluster.stop().await;
    result
}

/// Complains about all ports that somebody else has, before anything is started.
fn check_ports(plans: &[Plan]) -> Result<(), Failure> {
    let mut taken = Vec::new();
    for Plan { settings, .. } in plans {
        let me = settings.placement.me;
        for (what, address) in [("control", settings.placement.control), ("data", settings.data)] {
            match TcpListener::bind(address) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    taken.push(format!("{address} ({what} of {me})"));
                }
                Err(error) => {
                    return Err(Failure::failed(format!(
                        "cannot listen on {address} ({what} of {me}): {error}"
                    )));
                }
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("in use already: {}; nothing was started", taken.join(", "))))
}

/// One node and its process.
struct Member {
    plan: Plan,
    pid: Pid,
    alive: bool,
    /// Held open: the node stops when it ends.
    _stdin: Option<ChildStdin>,
}

struct Cluster {
    members: Vec<Member>,
    /// Which member's process has ended, and how.
    ended: mpsc::UnboundedReceiver<(usize, std::io::Result<ExitStatus>)>,
}

impl Cluster {
    fn start(plans: Vec<Plan>) -> Result<Self, Failure> {
        let failed = |what: &str, error: std::io::Error| Failure::failed(format!("{what}: {error}"));
        let program = std::env::current_exe().map_err(|error| failed("cannot find this program", error))?;
        let (ended_out, ended) = mpsc::unbounded_channel();
        let mut members = Vec::new();
        for (i, plan) in plans.into_iter().enumerate() {
            let log = files::open_log(&plan.log)?;
            let log_too = log.try_clone().map_err(|error| failed("cannot share a log", error))?;
            let mut child = Command::new(&program)
                .args(["node", "--stop-with-parent", "--config"])
                .arg(&plan.config)
                .stdin(Stdio::piped())
                .stdout(log)
                .stderr(log_too)
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| failed("cannot start a node", error))?;
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it was not waited for yet");
            let stdin = child.stdin.take();
            let ended_out = ended_out.clone();
            tokio::spawn(async move {
                let _ = ended_out.send((i, child.wait().await));
            });
            members.push(Member { plan, pid: Pid::from_raw(pid), alive: true, _stdin: stdin });
        }
        Ok(Self { members, ended })
    }

    /// Waits until all nodes are members of the cluster, says where they are, then reports each that dies, until none is left.
    async fn watch(&mut self, dir: &Path) -> Result<(), Failure> {
        self.wait_until_ready().await?;
        self.introduce(dir);
        while let Some((i, status)) = self.ended.recv().await {
            self.report_end(i, status);
            if self.members.iter().all(|member| !member.alive) {
                break;
            }
        }
        Err(Failure::failed("no node is left"))
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let client = Client::new().within(Duration::from_secs(1));
        let deadline = Instant::now() + START_TIMEOUT;
        for i in 0..self.members.len() {
            let (me, data) = (self.members[i].id(), self.members[i].plan.settings.data);
            let ready = async || match client.get::<StatusView>(data, "/status").await {
                Ok(StatusView { joining: Some(why), .. }) => Err(format!("it is not a member: {why}")),
                Ok(_) => Ok(()),
                Err(why) => Err(why),
            };
            while let Err(why) = ready().await {
                if let Ok((dead, status)) = self.ended.try_recv() {
                    self.report_end(dead, status);
                    return Err(Failure::failed(format!("{} did not start", self.members[dead].id())));
                }
                if Instant::now() > deadline {
                    let why = format!("{me} was not ready within {START_TIMEOUT:?}: {why}");
                    return Err(Failure::failed(why));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn introduce(&self, dir: &Path) {
        let mut table = output::table(&["node", "role", "control", "data", "pid", "config", "journal"]);
        for member in &self.members {
            let Plan { settings, config, .. } = &member.plan;
            let role = match settings.role {
                Role::Coordinator => "coordinator",
                Role::Participant => "participant",
            };
            table.add_row([
                member.id().to_string(),
                role.into(),
                settings.placement.control.to_string(),
                settings.data.to_string(),
                member.pid.to_string(),
                config.display().to_string(),
                settings.journal.display().to_string(),
            ]);
        }
        output::print(&table);
        if self.members.iter().any(|member| member.plan.continues) {
            let dir = dir.display();
            output::line(format_args!("\n{dir} holds journals: the cluster continues where it was."));
        }
        self.suggest();
    }

    /// Three things to try, as they must be typed for this very cluster.
    fn suggest(&self) {
        let program = program();
        let data: Vec<_> = self.members.iter().map(|member| member.plan.settings.data.to_string()).collect();
        let is_coordinator = |member: &&Member| member.plan.settings.role == Role::Coordinator;
        let coordinator = self.members.iter().find(is_coordinator).map(|member| member.plan.settings.data);
        let default: Vec<_> = (1..=3).map(|id| data_address(DATA_PORT, id).to_string()).collect();
        let unless = |default: bool, option: String| if default { String::new() } else { option };
        let first = data_address(DATA_PORT, 1);
        let coordinator = coordinator.unwrap_or(first);
        let to_coordinator = unless(coordinator == first, format!(" --coordinator {coordinator}"));
        let to_all = unless(data == default, format!(" --nodes {}", data.join(",")));
        let to_one = unless(data[0] == default[0], format!(" --node {}", data[0]));
        output::line(format_args!("\nTry, in another terminal:"));
        output::line(format_args!("  {program} rollout v2 --pause-ms 1000{to_coordinator}"));
        output::line(format_args!("  {program} status{to_all}"));
        output::line(format_args!("  {program} predict --count 100{to_one}"));
        output::line("\nCtrl-C stops all nodes.");
    }

    fn report_end(&mut self, i: usize, status: std::io::Result<ExitStatus>) {
        let member = &mut self.members[i];
        member.alive = false;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let Plan { config, log, .. } = &member.plan;
        output::note(format_args!("\n{} (pid {}) has ended: {status}", member.id(), member.pid));
        output::note(format_args!("The last lines of {}:", log.display()));
        for line in files::last_lines(log, LAST_LINES) {
            output::note(format_args!("  {line}"));
        }
        output::note("To start it again:");
        output::note(format_args!("  {} node --config {}", program(), paste::path(config)));
    }

    /// Asks all nodes to stop, and kills those that do not.
    async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = tokio::time::sleep(STOP_TIMEOUT);
        tokio::pin!(deadline);
        while self.members.iter().any(|member| member.alive) {
            tokio::select! {
                biased;
                ended = self.ended.recv() => match ended {
                    Some((i, _)) => self.members[i].alive = false,
                    None => return,
                },
                () = &mut deadline => {
                    output::note(format_args!("not all nodes stopped within {STOP_TIMEOUT:?}: killing them"));
                    self.signal(Signal::SIGKILL);
                    deadline.as_mut().reset(tokio::time::Instant::now() + STOP_TIMEOUT);
                }
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        while let Ok((i, _)) = self.ended.try_recv() {
            self.members[i].alive = false; // its pid may be another process's by now
        }
        for member in self.members.iter().filter(|member| member.alive) {
            let _ = kill(member.pid, signal); // it may just have ended
        }
    }
}

impl Member {
    fn id(&self) -> NodeId {
        self.plan.settings.placement.me
    }
}

/// How this program was called, so that what it suggests can be typed.
fn program() -> String {
    if std::env::var_os("CARGO").is_some() {
        return "cargo canary".into(); // the alias of this workspace
    }
    std::env::args_os().next().map_or_else(|| "canary".into(), paste::word)
}

//! `up`: a whole cluster on this machine, one child process a node.
//!
//! Children die with their parent: they stop when their standard input ends. They are in process groups of
//! their own, so that a Ctrl-C reaches the parent alone, which then stops them in order.

mod files;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use coalmine_core::node::NodeId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

pub use self::files::Args;
use self::files::Plan;
use super::client::{Client, get};
use super::command::{Failure, called, described};
use super::credentials::TOKEN_FILE;
use super::health::{NodeStatus, READY};
use super::local;
use super::node::stop_signal;
use super::output;
use super::service::Service;
use crate::paste;

/// How long a node may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a dead node's log is shown.
const LAST_LINES: usize = 5;

/// `up`, of which `more` is said besides.
pub(super) fn command<S: Service>(more: &str) -> clap::Command {
    let name = S::NAME;
    let text = format!(
        "Run a whole cluster on this machine, one process a node.\n\n\
         {more}Each node's config, log and journal are in DIR; configs that are there are\n\
         kept, so edit them, and with the journals the cluster continues where it was. Ctrl-C stops all nodes.\n\n\
         Examples:\n\n  {name} up\n  {name} up --nodes 5 --dir /tmp/five --control-port 7721 --data-port 8721"
    );
    let command = <Args as clap::Args>::augment_args(clap::Command::new("up"));
    described(local::with_default_dir(command, name), &text)
}

/// Runs a cluster until it is asked to stop.
pub async fn run<S: Service>(args: Args) -> Result<(), Failure> {
    let plans = files::prepare::<S>(&args)?;
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
fn check_ports<S: Service>(plans: &[Plan<S>]) -> Result<(), Failure> {
    let mut taken = Vec::new();
    for Plan { file, .. } in plans {
        let me = file.me();
        for (what, address) in [("control", file.placement.control), ("data", file.own_data())] {
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
struct Member<S: Service> {
    plan: Plan<S>,
    pid: Pid,
    alive: bool,
    /// Held open: the node stops when it ends.
    _stdin: Option<ChildStdin>,
}

struct Cluster<S: Service> {
    members: Vec<Member<S>>,
    /// Which member's process has ended, and how.
    ended: mpsc::UnboundedReceiver<(usize, std::io::Result<ExitStatus>)>,
}

impl<S: Service> Cluster<S> {
    fn start(plans: Vec<Plan<S>>) -> Result<Self, Failure> {
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
                .args(plan.record.iter().flat_map(|record| [OsStr::new("--record"), record.as_os_str()]))
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

    /// Waits until all nodes are ready, says where they are, then reports each that dies, until none is left.
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
        let client = Client::default().within(Duration::from_secs(1));
        let deadline = Instant::now() + START_TIMEOUT;
        for i in 0..self.members.len() {
            let (me, data) = (self.members[i].id(), self.members[i].plan.file.own_data());
            let client = client.clone().with_token(self.members[i].plan.token.clone());
            let ready = async || {
                let answer = client.send(data, get(READY)).await.map_err(|error| error.to_string())?;
                match serde_json::from_slice::<NodeStatus>(answer.body()) {
                    Ok(NodeStatus { error: Some(why), .. }) => Err(why),
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("{data}{READY}: {error}")),
                }
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
        let has_roles = self.members.iter().any(|member| S::role(&member.plan.file.config).is_some());
        let all = ["node", "role", "control", "data", "pid", "config", "journal"];
        let header: Vec<_> = all.into_iter().filter(|&title| title != "role" || has_roles).collect();
        let mut table = output::table(&header);
        for member in &self.members {
            let Plan { file, config, .. } = &member.plan;
            let mut row = vec![member.id().to_string()];
            row.extend(has_roles.then(|| S::role(&file.config).unwrap_or_default().to_owned()));
            row.extend([
                file.placement.control.to_string(),
                file.own_data().to_string(),
                member.pid.to_string(),
                config.display().to_string(),
                file.journal.display().to_string(),
            ]);
            table.add_row(row);
        }
        output::print(&table);
        if self.members.iter().any(|member| member.plan.continues) {
            let shown = dir.display();
            output::line(format_args!("\n{shown} holds journals: the cluster continues where it was."));
        }
        let program = called::<S>();
        let files = self.members.iter().map(|member| &member.plan.file);
        let cluster: Vec<_> = files.map(|file| (&file.config, file.own_data())).collect();
        output::line("\nTry, in another terminal:");
        if let Some(tokens) = self.members.iter().find_map(|member| member.plan.file.access.tokens.as_deref())
        {
            output::line(format_args!("  export {TOKEN_FILE}={}", paste::path(tokens)));
        }
        for line in S::to_try(&cluster, &local::dir_option(S::NAME, dir)) {
            output::line(format_args!("  {program} {line}"));
        }
        output::line("\nCtrl-C stops all nodes.");
    }

    fn report_end(&mut self, i: usize, status: std::io::Result<ExitStatus>) {
        let member = &mut self.members[i];
        member.alive = false;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let Plan { config, log, record, .. } = &member.plan;
        output::note(format_args!("\n{} (pid {}) has ended: {status}", member.id(), member.pid));
        output::note(format_args!("The last lines of {}:", log.display()));
        for line in files::last_lines(log, LAST_LINES) {
            output::note(format_args!("  {line}"));
        }
        output::note("To start it again:");
        let record = record.as_deref().map_or(String::new(), |it| format!(" --record {}", paste::path(it)));
        output::note(format_args!("  {} node --config {}{record}", called::<S>(), paste::path(config)));
    }

    /// Asks all nodes to stop, which answer what is under way first; again, if that is asked again; and kills those that do not.
    async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = tokio::time::sleep(STOP_TIMEOUT);
        let again = stop_signal();
        tokio::pin!(deadline, again);
        let mut asked_again = false;
        while self.members.iter().any(|member| member.alive) {
            tokio::select! {
                biased;
                ended = self.ended.recv() => match ended {
                    Some((i, _)) => self.members[i].alive = false,
                    None => return,
                },
                _ = &mut again, if !asked_again => {
                    asked_again = true;
                    self.signal(Signal::SIGTERM);
                }
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

impl<S: Service> Member<S> {
    fn id(&self) -> NodeId {
        self.plan.file.me()
    }
}

//! `canary node`: one node in this process.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::http;
use crate::probe::Probe;
use crate::recorder::{Limits, Recorder, Who};
use crate::rollout::config::{NodeFile, Settings};
use crate::rollout::router_with;
use crate::rollout::wire::Role;
use crate::runtime::Runtime;
use crate::shell::{Shell, ShellError};
use crate::tokio_runtime::TokioRuntime;
use coalmine_core::codec::journal::{Recovered, Torn};
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Node, Word};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::Record;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::serve::{Failure, output};

/// The name under which `coalmine verify` knows this node.
const PROTOCOL: &str = "rollout";

/// Run one node.
///
/// It prints one line once it has recovered its journal, then logs to standard error what it promises and
/// decides. SIGINT and SIGTERM stop it; started again, it goes on where it was.
///
/// Examples:
///
///   canary node --config coalmine-out/canary/node-2.toml
///
/// A config, as `canary up` writes them:
///
///   id = 1
///   role = "coordinator"            # exactly one node; the others are "participant"
///   control = "127.0.0.1:60001"     # frames from the other nodes
///   data = "127.0.0.1:50051"        # HTTP
///   journal_dir = "journal"         # relative to the file
///   on_no_evidence = "commit"       # how to vote without traffic; default "abort"
///
///   [[peers]]                       # each other node
///   id = 2
///   role = "participant"
///   control = "127.0.0.1:60002"
///   data = "127.0.0.1:50052"
#[derive(Debug, clap::Args)]
#[allow(rustdoc::broken_intra_doc_links, reason = "the text is a configuration, and clap prints it as it is")]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The node's config file, .toml or .json.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Record all that the node takes in and does in this file; `coalmine verify FILE` executes it again.
    ///
    /// The node never waits for its recording: if the disk cannot keep up or is full, the recording ends with a
    /// gap that says so, and the node goes on. Each start begins a new part; the older ones are kept beside it,
    /// with a number behind the name.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How large a part of the recording may grow, in MB, before a new one begins.
    #[arg(long, value_name = "MB", default_value = "64", requires = "record")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    record_size: u64,
    /// How many parts are kept. Those of former lives are deleted, the oldest first; only a whole life can be
    /// executed again, so when the life under way has filled them all its recording ends with a gap.
    #[arg(long, value_name = "N", default_value = "8", requires = "record")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    record_parts: u16,
    /// Stop when standard input ends: a child must not outlive its parent, however that ends.
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// Runs a node until it fails or is asked to stop.
pub async fn run(args: Args) -> Result<(), Failure> {
    let settings = NodeFile::load(&args.config).and_then(|file| file.settings(&args.config));
    let settings = settings.map_err(|error| Failure::usage(error.to_string()))?;
    let log = Log { began: Instant::now(), settings: settings.clone() };
    let recorder = args.record.as_deref().map(|path| record(path, &args, &settings, &log)).transpose()?;

    let stop = stop_signal();
    let orphaned = orphaned(args.stop_with_parent);
    let ended = tokio::select! {
        biased;
        why = stop => {
            log.line(format_args!("{why}: stopped"));
            Ok(())
        }
        () = orphaned => {
            log.line("the parent process has gone: stopped");
            Ok(())
        }
        failure = serve(settings, (log.clone(), recorder.clone())) => Err(failure),
    };
    if let Some(recorder) = recorder {
        recorder.finish();
    }
    ended
}

/// Begins the node's recording.
fn record(
    path: &Path,
    args: &Args,
    settings: &Settings,
    log: &Log,
) -> Result<Recorder<RolloutNode>, Failure> {
    let parts = args.record_parts.into();
    let limits = Limits { part_bytes: args.record_size << 20, parts, ..Limits::default() };
    let program = concat!("canary ", env!("CARGO_PKG_VERSION"));
    let who = Who { program, protocol: PROTOCOL, node: settings.placement.me };
    let log = log.clone();
    let complain = Box::new(move |what| log.line(what));
    Recorder::start(path, who, &settings.node, limits, complain)
        .map_err(|error| Failure::usage(format!("--record {}: {error}", path.display())))
}

/// Runs the node until it fails.
async fn serve(settings: Settings, probe: impl Probe<RolloutNode>) -> Failure {
    let Settings { node, placement, data_plane, data, journal, .. } = settings;
    let runtime = TokioRuntime::new(&journal);
    let listener = match runtime.listen(data).await {
        Ok(listener) => listener,
        Err(error) => return Failure::failed(format!("cannot listen on data = {data}: {error}")),
    };
    let (shell, handle) = Shell::<RolloutNode, _, _>::new(runtime.clone(), node.clone(), placement, probe);
    let router = router_with(&runtime, &node, handle, data_plane);
    tokio::spawn(http::serve(runtime, listener, router));
    let error = match shell.run().await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    match error {
        ShellError::Journal(error) => Failure::failed(format!("journal {}: {error}", journal.display())),
        ShellError::Listen { address, error } => {
            Failure::failed(format!("cannot listen on control = {address}: {error}"))
        }
    }
}

/// Waits for SIGINT or SIGTERM, and names it.
pub async fn stop_signal() -> &'static str {
    let listen = |kind| signal(kind).expect("a signal handler can be installed");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    tokio::select! {
        biased;
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// Waits until standard input ends, or for ever if it is not to be watched.
async fn orphaned(watch: bool) {
    if !watch {
        return std::future::pending().await;
    }
    let (gone, wait) = oneshot::channel::<()>();
    // A thread of its own: reading standard input cannot be cancelled, and the runtime would wait for it.
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        drop(gone);
    });
    let _ = wait.await;
}

/// Says what the node does: one line with the time since the start for each fact.
#[derive(Clone)]
struct Log {
    began: Instant,
    settings: Settings,
}

impl Log {
    fn line(&self, what: impl std::fmt::Display) {
        output::note(format_args!("{} {what}", elapsed(self.began.elapsed())));
    }

    fn facts(&self, effects: &[Effect<RolloutNode>]) -> ControlFlow<()> {
        for effect in effects {
            if let Effect::Observe(fact) = effect {
                self.line(<RolloutNode>::tell(Word::Fact(fact)));
            }
        }
        ControlFlow::Continue(())
    }
}

impl Probe<RolloutNode> for Log {
    fn booted(
        &self,
        recovered: &Recovered<Record>,
        _host: &Host<RolloutNode>,
        effects: &[Effect<RolloutNode>],
    ) -> ControlFlow<()> {
        let Settings { placement, data, journal, role, .. } = &self.settings;
        let (me, control, journal) = (placement.me, placement.control, journal.display());
        let role = match role {
            Role::Coordinator => "coordinator",
            Role::Participant => "participant",
        };
        let records = recovered.records.len();
        let records = format!("{records} record{} recovered", if records == 1 { "" } else { "s" });
        let cut = recovered.torn.map_or(String::new(), |Torn { line, bytes, zeros }| {
            let told = match zeros {
                0 => "which nobody was told of".into(),
                zeros => format!(
                    "{zeros} of them zeros: unless the disk has lost what it synced, nobody was told of it"
                ),
            };
            format!("; cut a torn tail of {bytes} bytes at line {line}, {told}")
        });
        output::line(format_args!(
            "{me} {role}  control {control}  data http://{data}  journal {journal}: {records}{cut}"
        ));
        self.facts(effects)
    }

    fn stepped(&self, _host: &Host<RolloutNode>, effects: &[Effect<RolloutNode>]) -> ControlFlow<()> {
        self.facts(effects)
    }

    fn synced(
        &self,
        _upto: u64,
        _host: &Host<RolloutNode>,
        effects: &[Effect<RolloutNode>],
    ) -> ControlFlow<()> {
        self.facts(effects)
    }

    fn complain(&self, what: String) {
        self.line(what);
    }
}

/// A time since the start, in a column.
fn elapsed(time: Duration) -> String {
    format!("{:>10.3} s ", time.as_secs_f64())
}

//! `node`: one node in this process.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Command;
use clap::builder::StyledStr;
use coalmine_core::codec::journal::{Recovered, Torn};
use coalmine_core::host::Host;
use coalmine_core::node::{Address, Effect, NodeId, Word};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::client::Client;
use super::command::{Failure, described};
use super::config::NodeFile;
use super::credentials::Credentials;
use super::doors::Doors;
use super::health::{self, router};
use super::local;
use super::output;
use super::service::{Newcomer, Service};
use super::tokens::Tokens;
use crate::http;
use crate::probe::Probe;
use crate::recorder::{Limits, Recorder, Who};
use crate::runtime::Runtime;
use crate::shell::{Shell, ShellError};
use crate::tls::Identity;
use crate::tokio_runtime::TokioRuntime;

/// `node`, with a config file as an example.
pub(super) fn command<S: Service>(example: &str, verifier: &str) -> Command {
    let name = S::NAME;
    let example =
        if example.is_empty() { local::config_text::<S>(1, 2, local::FIRST) } else { example.into() };
    let example: String =
        example.trim_end().lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect();
    let text = format!(
        "Run one node.\n\n\
         It prints one line once it has recovered its journal, then logs to standard error what it promises and\n\
         decides. SIGINT and SIGTERM stop it; started again, it goes on where it was.\n\n\
         Examples:\n\n  {name} node --config {dir}/node-2.toml\n\n\
         A config, as `{name} up` writes them:\n\n{example}",
        dir = local::default_dir(name),
    );
    let named = |help: Option<&StyledStr>| help.map(|help| help.to_string().replace("VERIFIER", verifier));
    let command = <Args as clap::Args>::augment_args(Command::new("node")).mut_arg("record", |arg| {
        let (short, long) = (named(arg.get_help()), named(arg.get_long_help()));
        arg.help(short.unwrap_or_default()).long_help(long.unwrap_or_default())
    });
    described(command, text.trim_end())
}

/// What `node` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's config file, .toml or .json.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Become a member of the running cluster that the node at this HTTP address is one of. A config file that is not there
    /// yet is written, with what the members agree on.
    #[arg(long, value_name = "ADDR")]
    join: Option<SocketAddr>,
    /// With --join: this node's number. Default the one after the highest.
    #[arg(long, value_name = "N", requires = "join", value_parser = clap::value_parser!(u32).range(1..))]
    id: Option<u32>,
    /// With --join: where this node takes frames from the others. Default as `up` numbers them.
    #[arg(long, value_name = "ADDR", requires = "join")]
    control: Option<SocketAddr>,
    /// With --join: where this node takes HTTP. Default as `up` numbers them.
    #[arg(long, value_name = "ADDR", requires = "join")]
    data: Option<SocketAddr>,
    #[command(flatten)]
    credentials: Credentials,
    /// Record all that the node takes in and does in this file; `VERIFIER FILE` executes it again.
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
pub async fn run<S: Service>(args: Args) -> Result<(), Failure> {
    let client = args.credentials.client::<S>(None)?;
    if let Some(at) = args.join.filter(|_| !args.config.exists()) {
        write_file::<S>(client.clone(), at, &args).await?;
    }
    let file = NodeFile::<S>::load(&args.config).map_err(|error| Failure::usage(error.to_string()))?;
    let tokens = file.access.load_tokens().map_err(Failure::usage)?;
    let identity = file.identity(&args.config).map_err(|error| Failure::usage(error.to_string()))?;
    let log = Log { began: Instant::now(), file };
    if let Some(warning) = tokens.warning() {
        log.line(warning);
    }
    if let Some(identity) = &identity {
        log.line(identity.describe());
    }
    let recorder = args.record.as_deref().map(|path| record(path, &args, &log)).transpose()?;

    let enters = args.join.map(|at| {
        let log = log.clone();
        let lives = Address { control: log.file.placement.control, data: log.file.own_data() };
        tokio::spawn(S::enter(client.clone(), at, log.file.me(), lives, move |what| log.line(what)))
    });
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
        failure = serve(log.file.clone(), (tokens, identity), (log.clone(), recorder.clone())) => Err(failure),
    };
    if let Some(enters) = enters {
        enters.abort();
    }
    if let Some(recorder) = recorder {
        recorder.finish();
    }
    ended
}

/// Writes the file of a node that is to become a member.
async fn write_file<S: Service>(client: Client, at: SocketAddr, args: &Args) -> Result<(), Failure> {
    let who = Newcomer { id: args.id.map(NodeId), control: args.control, data: args.data };
    let text =
        S::join(client, at, who).await.map_err(|why| Failure::failed(format!("--join {at}: {why}")))?;
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", args.config.display()));
    if let Some(folder) = args.config.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::File::create_new(&args.config).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Begins the node's recording.
fn record<S: Service>(path: &Path, args: &Args, log: &Log<S>) -> Result<Recorder<S>, Failure> {
    let parts = args.record_parts.into();
    let limits = Limits { part_bytes: args.record_size << 20, parts, ..Limits::default() };
    let program = format!("{} {}", S::NAME, S::VERSION);
    let who = Who { program: program.trim_end(), protocol: S::PROTOCOL, node: log.file.me() };
    let config = &log.file.config;
    let log = log.clone();
    let warn = Box::new(move |what| log.line(what));
    Recorder::start(path, who, config, limits, warn)
        .map_err(|error| Failure::usage(format!("--record {}: {error}", path.display())))
}

/// Runs the node until it fails.
async fn serve<S: Service>(
    file: NodeFile<S>,
    (tokens, identity): (Tokens, Option<Identity>),
    probe: impl Probe<S>,
) -> Failure {
    let data = file.own_data();
    let NodeFile { placement, data: addresses, journal, access, settings, config, .. } = file;
    let runtime = TokioRuntime::new(&journal).with_identity(identity);
    let listener = match runtime.listen(data).await {
        Ok(listener) => listener,
        Err(error) => return Failure::failed(format!("cannot listen on data = {data}: {error}")),
    };
    let (shell, handle) = Shell::<S, _, _>::new(runtime.clone(), config.clone(), placement, probe);
    let routes = router(&runtime, &config, &settings, handle.with_addresses(addresses));
    let doors = Doors::new(access, tokens, data, &[health::DOORS, S::DOORS]);
    tokio::spawn(http::serve(runtime, listener, doors.before(routes)));
    let error = match shell.run().await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    match error {
        ShellError::Foreign(why) => Failure::failed(format!("journal {}: {why}", journal.display())),
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
struct Log<S: Service> {
    began: Instant,
    file: NodeFile<S>,
}

impl<S: Service> Log<S> {
    fn line(&self, what: impl std::fmt::Display) {
        output::note(format_args!("{} {what}", elapsed(self.began.elapsed())));
    }

    fn facts(&self, effects: &[Effect<S>]) -> ControlFlow<()> {
        for effect in effects {
            if let Effect::Observe(fact) = effect {
                self.line(S::describe(Word::Fact(fact)));
            }
        }
        ControlFlow::Continue(())
    }
}

impl<S: Service> Probe<S> for Log<S> {
    fn on_boot(
        &self,
        recovered: &Recovered<S::Record>,
        _host: &Host<S>,
        effects: &[Effect<S>],
    ) -> ControlFlow<()> {
        let file = &self.file;
        let (me, control, data, journal) =
            (file.me(), file.placement.control, file.own_data(), file.journal.display());
        let role = S::role(&file.config).map_or(String::new(), |role| format!(" {role}"));
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
            "{me}{role}  control {control}  data http://{data}  journal {journal}: {records}{cut}"
        ));
        self.facts(effects)
    }

    fn on_step(&self, _host: &Host<S>, effects: &[Effect<S>]) -> ControlFlow<()> {
        self.facts(effects)
    }

    fn on_sync(&self, _upto: u64, _host: &Host<S>, effects: &[Effect<S>]) -> ControlFlow<()> {
        self.facts(effects)
    }

    fn warn(&self, what: String) {
        self.line(what);
    }
}

/// A time since the start, in a column.
fn elapsed(time: Duration) -> String {
    format!("{:>10.3} s ", time.as_secs_f64())
}

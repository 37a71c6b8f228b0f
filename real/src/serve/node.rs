//! `node`: one node in this process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use clap::Command;
use clap::builder::StyledStr;
use coalmine_core::codec::journal::{Recovered, Torn};
use coalmine_core::host::Host;
use coalmine_core::node::{Address, Effect, NodeId, Published, Word, variant_name};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::audit::Audit;
use super::client::Client;
use super::command::{Failure, described};
use super::config::NodeFile;
use super::credentials::Credentials;
use super::doors::Doors;
use super::events::{self, Hub};
use super::health::{self, router};
use super::log::{Form, Level, Logger, timestamp};
use super::service::{Newcomer, Service};
use super::tokens::Tokens;
use super::{local, output, page};
use crate::http;
use crate::lock::lock;
use crate::metrics::Kind;
use crate::probe::Probe;
use crate::recorder::{Limits, Recorder, Who};
use crate::runtime::Runtime;
use crate::shell::{Shell, ShellError};
use crate::tls::Identity;
use crate::tokio_runtime::TokioRuntime;
use crate::vitals::Vitals;

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
         decides. SIGINT and SIGTERM stop it, once requests under way are answered (`drain_ms` in its config, 10 s if it\n\
         does not say); the second one stops it at once. Started again, it goes on where it was.\n\n\
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
    /// How the lines of the log look.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    log: Form,
    /// Stop when standard input ends: a child must not outlive its parent, however that ends.
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// How long the end of the process waits for the reader of its last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A client whose answer is complete may take so long to see it, when nothing else is under way.
const LINGER: Duration = Duration::from_millis(250);

/// Runs a node until it fails or is asked to stop.
pub async fn run<S: Service>(args: Args) -> Result<(), Failure> {
    let client = args.credentials.client::<S>(None)?;
    let mut hint = "";
    if let Some(at) = args.join.filter(|_| !args.config.exists()) {
        write_file::<S>(client.clone(), at, &args).await?;
        hint = "; it was written just now: add to it what is missing and start again, or delete it";
    }
    let file = NodeFile::<S>::load(&args.config).map_err(|error| Failure::usage(format!("{error}{hint}")))?;
    if args.join.is_some() {
        reachable(&file).map_err(|why| Failure::usage(format!("{}: {why}", args.config.display())))?;
    }
    let tokens = file.access.load_tokens().map_err(Failure::usage)?;
    let identity = file.identity(&args.config).map_err(|error| Failure::usage(error.to_string()))?;
    let log = Log::start(file, args.log).map_err(|why| Failure::failed(format!("cannot log: {why}")))?;
    if let Some(warning) = tokens.warning() {
        log.line(warning);
    }
    if let Some(identity) = &identity {
        log.line(identity.describe());
    }
    let enters = args.join.map(|at| {
        let log = log.clone();
        let lives = Address { control: log.file.placement.control, data: log.file.own_data() };
        tokio::spawn(S::enter(client.clone(), at, log.file.me(), lives, move |what| log.line(what)))
    });
    let ended = run_logged(&args, &log, (tokens, identity)).await;
    if let Some(enters) = enters {
        enters.abort();
    }
    // What it ends with goes the way of all lines: whoever has stopped to read them does not keep the process.
    let ended = ended.map_err(|failure| {
        if let Some(why) = &failure.message {
            log.logger.say(Level::Error, "end", format_args!("{}: {why}", S::NAME));
        }
        Failure { message: None, ..failure }
    });
    log.logger.flush(LAST_WORDS);
    ended
}

async fn run_logged<S: Service>(
    args: &Args,
    log: &Log<S>,
    credentials: (Tokens, Option<Identity>),
) -> Result<(), Failure> {
    let recorder = args.record.as_deref().map(|path| record(path, args, log)).transpose()?;
    let mut stop = StopSignals::listen();
    let orphaned = orphaned(args.stop_with_parent);
    let mut serving = pin!(serve(log.clone(), credentials, (log.clone(), recorder.clone())));
    let ended = tokio::select! {
        biased;
        why = stop.next() => {
            log.line(format_args!("{why}: stopping"));
            let ended = drain(log, &mut stop, &mut serving).await;
            if ended.is_ok() {
                log.line(format_args!("{why}: stopped"));
            }
            ended
        }
        () = orphaned => {
            log.line("the parent process has gone: stopped");
            Ok(())
        }
        failure = &mut serving => Err(failure),
    };
    if let Some(recorder) = recorder {
        recorder.finish();
    }
    ended
}

/// Whether others find a node where it says that it lives.
fn reachable<S: Service>(file: &NodeFile<S>) -> Result<(), String> {
    let lives = [("control", file.placement.control), ("data", file.own_data())];
    match lives.into_iter().find(|(_, address)| address.ip().is_unspecified()) {
        None => Ok(()),
        Some((key, address)) => Err(format!(
            "{key}: {address} is no address at which others reach it, and with --join they are told this one"
        )),
    }
}

/// Writes the file of a node that is to become a member.
async fn write_file<S: Service>(client: Client, at: SocketAddr, args: &Args) -> Result<(), Failure> {
    let file = args.config.display();
    if args.config.extension().is_none_or(|extension| extension != "toml") {
        return Err(Failure::usage(format!(
            "{file}: a file that --join writes must have a name that ends in .toml"
        )));
    }
    let who = Newcomer { id: args.id.map(NodeId), control: args.control, data: args.data };
    let text =
        S::join(client, at, who).await.map_err(|why| Failure::failed(format!("--join {at}: {why}")))?;
    let failed = |error: std::io::Error| Failure::failed(format!("{file}: {error}"));
    if let Some(folder) = args.config.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::File::create_new(&args.config).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Takes no more requests, and waits for those that are under way: until there are none, until the time is up, or until somebody
/// asks again. The node itself goes on meanwhile.
async fn drain<S: Service>(
    log: &Log<S>,
    stop: &mut StopSignals,
    serving: &mut (impl Future<Output = Failure> + Unpin),
) -> Result<(), Failure> {
    let vitals = Arc::clone(lock(&log.shared.vitals).get_or_insert_default());
    vitals.drain();
    let drained = async {
        let mut quiet_since = None;
        while vitals.http.open.get() > 0 {
            if vitals.in_flight.get() > 0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
                break; // those that are left have not asked for anything
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = log.file.drain;
    tokio::select! {
        biased;
        why = stop.next() => log.line(format_args!("{why} again: {}", cut_off(&vitals))),
        failure = serving => return Err(failure),
        () = drained => {}
        () = tokio::time::sleep(limit) => log.line(format_args!("after {limit:?}: {}", cut_off(&vitals))),
    }
    Ok(())
}

fn cut_off(vitals: &Vitals) -> String {
    format!("{} requests are cut off", vitals.in_flight.get())
}

/// Begins the node's recording.
fn record<S: Service>(path: &Path, args: &Args, log: &Log<S>) -> Result<Recorder<S>, Failure> {
    let parts = args.record_parts.into();
    let limits = Limits { part_bytes: args.record_size << 20, parts, ..Limits::default() };
    let program = format!("{} {}", S::NAME, S::VERSION);
    let who = Who { program: program.trim_end(), protocol: S::PROTOCOL, node: log.file.me() };
    let config = &log.file.config;
    let log = log.clone();
    let warn = Box::new(move |what| log.logger.complain(what));
    Recorder::start(path, who, config, limits, warn)
        .map_err(|error| Failure::usage(format!("--record {}: {error}", path.display())))
}

/// Runs the node until it fails.
async fn serve<S: Service>(
    log: Log<S>,
    (tokens, identity): (Tokens, Option<Identity>),
    probe: impl Probe<S>,
) -> Failure {
    let data = log.file.own_data();
    let NodeFile { placement, data: addresses, journal, access, settings, config, .. } =
        NodeFile::clone(&log.file);
    let runtime = TokioRuntime::new(&journal).with_identity(identity);
    let (shell, handle) = Shell::<S, _, _>::new(runtime.clone(), config.clone(), placement, probe);
    let vitals = Arc::clone(handle.vitals());
    *lock(&log.shared.vitals) = Some(Arc::clone(&vitals));
    let listener = match runtime.listen(data).await {
        Ok(listener) => listener,
        Err(error) => return Failure::failed(format!("cannot listen on data = {data}: {error}")),
    };
    let handle = handle.with_addresses(addresses);
    let warn = log.clone();
    let warn = Box::new(move |what| warn.logger.complain(what));
    let trail = journal.with_extension("audit.jsonl");
    let hub = Arc::clone(&log.shared.hub);
    let audit = match Audit::start(log.file.me(), &trail, Arc::clone(&hub), warn) {
        Ok(audit) => Arc::new(audit),
        Err(error) => return Failure::failed(format!("cannot keep an audit trail: {error}")),
    };
    collect(&log, &vitals, &audit);
    let routes = router(&runtime, &config, &settings, handle.clone());
    let routes = routes.merge(page::routes(&runtime, handle.clone()));
    let routes = audit.over(routes.merge(events::routes(&runtime, hub, Arc::clone(&vitals))), S::is_order);
    // Who is turned away at the doors has asked for nothing; whoever is let in is named in the trail.
    let doors = Doors::new(access, tokens, data, &[health::DOORS, S::DOORS]);
    tokio::spawn(http::serve_counted(runtime, listener, doors.before(routes), vitals));
    let error = match shell.run().await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    match error {
        ShellError::Foreign(why) => Failure::failed(format!("journal {}: {why}", journal.display())),
        ShellError::Journal(error) => {
            let why = format!("journal {}: {error}", journal.display());
            // It has been a node, and what it published is durable.
            if handle.vitals().stopped().is_some() && handle.view().is_some_and(|view| S::serves_on(&view)) {
                let goes_on =
                    "it takes in nothing and decides nothing from now on, and serves what it published last";
                log.logger.say(Level::Error, "stale", format_args!("{why}; {goes_on}"));
                log.shared.hub.publish("stale", &json!({ "why": why }));
                std::future::pending::<()>().await;
            }
            Failure::failed(why)
        }
        ShellError::Listen { address, error } => {
            Failure::failed(format!("cannot listen on control = {address}: {error}"))
        }
    }
}

/// What this process adds to the node's metrics.
fn collect<S: Service>(log: &Log<S>, vitals: &Vitals, audit: &Arc<Audit>) {
    let (shared, logger, lost) = (Arc::clone(&log.shared), log.logger.clone(), Arc::clone(&audit.lost));
    vitals.collect(move |out| {
        out.family(
            "coalmine_facts_total",
            Kind::Counter,
            "What the node has decided, by the name of the fact.",
        );
        for (fact, count) in lock(&shared.facts).iter() {
            out.sample(&[("fact", fact)], count);
        }
        let help = "Lines of the log that nobody has read in time, until that is said.";
        out.single("coalmine_log_lines_waiting_lost", Kind::Gauge, help, logger.lost());
        let help = "Entries of the audit trail that are in no file.";
        out.single("coalmine_audit_lost_total", Kind::Counter, help, lost.get());
        let readers = shared.hub.readers();
        out.single("coalmine_event_readers", Kind::Gauge, "Readers of the node's events.", readers);
    });
}

/// SIGINT and SIGTERM.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From now on they end nothing by themselves.
    fn listen() -> Self {
        let listen = |kind| signal(kind).expect("a signal handler can be installed");
        Self { interrupt: listen(SignalKind::interrupt()), terminate: listen(SignalKind::terminate()) }
    }

    /// Waits for the next one, and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Waits for SIGINT or SIGTERM, and names it.
pub async fn stop_signal() -> &'static str {
    StopSignals::listen().next().await
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

/// Says what the node does: a line for each fact in the log, and an event for those who listen.
#[derive(Clone)]
struct Log<S: Service> {
    logger: Logger,
    file: Arc<NodeFile<S>>,
    shared: Arc<Told<S>>,
}

/// What is told besides the log.
struct Told<S: Service> {
    hub: Arc<Hub>,
    /// How many facts of each name there were.
    facts: Mutex<BTreeMap<String, u64>>,
    /// What the node published last.
    view: Mutex<Option<S::View>>,
    vitals: Mutex<Option<Arc<Vitals>>>,
}

/// More names than any node's facts have.
const MOST_NAMES: usize = 256;

impl<S: Service> Log<S> {
    fn start(file: NodeFile<S>, form: Form) -> std::io::Result<Self> {
        let logger = Logger::start(form, file.me(), std::io::stderr())?;
        let (facts, view, vitals) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Told { hub: Arc::default(), facts, view, vitals });
        Ok(Self { logger, file: Arc::new(file), shared })
    }

    fn line(&self, what: impl std::fmt::Display) {
        self.logger.say(Level::Info, "process", what);
    }

    fn facts(&self, effects: &[Effect<S>]) -> ControlFlow<()> {
        for effect in effects {
            if let Effect::Observe(fact) = effect {
                self.fact(fact);
            }
            if let Effect::Publish(Published(view)) = effect {
                let mut before = lock(&self.shared.view);
                for (kind, mut data) in S::changes(&self.file.config, before.as_ref(), view) {
                    if let Some(fields) = data.as_object_mut() {
                        fields.insert("time".into(), timestamp(SystemTime::now()).into());
                    }
                    self.shared.hub.publish(kind, &data);
                }
                *before = Some(view.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn fact(&self, fact: &S::Fact) {
        let (name, words) = (variant_name(fact), S::describe(Word::Fact(fact)));
        self.logger.say(Level::Info, "fact", &words);
        let what = serde_json::to_value(fact).unwrap_or_default();
        let time = timestamp(SystemTime::now());
        let data = json!({ "time": time, "node": self.file.me(), "fact": name, "text": words, "what": what });
        self.shared.hub.publish("fact", &data);
        let mut facts = lock(&self.shared.facts);
        if facts.len() < MOST_NAMES || facts.contains_key(&name) {
            *facts.entry(name).or_default() += 1;
        }
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
        self.logger.complain(what);
    }
}

//! What the command line takes.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::budgets::BudgetArgs;
use crate::check::{CheckOptions, Explorer, Reductions, SETTLE_ROUNDS};
use crate::histories::models::NAMES;
use crate::histories::promises::NAMES as PROMISES;
use crate::spec::budget::Budget;
use crate::spec::limits::Disk;
use crate::spec::limits::ModelArgs;
use crate::spec::verdict::Engine;
use crate::suite::{NODES, OPERATIONS, Suite};
use crate::sweep::{Engines, Seeds, Shard};

/// Write a distributed node once. Run it, break it, prove it.
#[derive(Debug, Parser)]
#[command(name = "coalmine", version, about = "Write a distributed node once. Run it, break it, prove it.", after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Take nodes that make this mistake on purpose instead: `mutants` lists all that there are. Only what can make it
    /// is left of the scenarios and models.
    #[arg(long, global = true, value_name = "NAME")]
    pub mistake: Option<String>,
    /// How results are printed. With `json` the last line of standard output is one JSON object.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is well, 1 an invariant is violated (or a witness was never seen), 2 usage, \
3 a run did not converge, 4 a node panicked, 5 a run or a node is not deterministic, or differs from its recording, \
6 a check was stopped by a cap or could not decide whether the system settles, and has found nothing: no proof, \
8 a space is not as large as is pinned; 130 and 143 the same for Ctrl-C and SIGTERM, \
141 the same if nobody reads standard output any more; 7 nothing is wrong, but a result could not be written: \
standard output, a page, a recording, a checkpoint. What is found wrong keeps its own code whatever cannot be written; \
where that can be known before the work begins the code is 2 and nothing is done.";

/// Text for people, JSON for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The command line of a suite: called as its program is, with names of its own in the examples.
pub fn command(suite: &Suite) -> clap::Command {
    let program = suite.program();
    let scenario = suite.scenarios.last().map_or("SCENARIO", |scenario| scenario.name());
    let model = suite.models.last().map_or("MODEL", |model| model.name());
    let mut command = Cli::command().bin_name(&program).display_name(program);
    if let Some(program) = suite.service {
        let more: Vec<_> = program().commands().cloned().collect();
        let last = command.get_subcommands().count();
        command = command.subcommands(more.into_iter().map(|sub| sub.display_order(last)));
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| {
            let sub = if super::sizes::COMMANDS.contains(&name.as_str()) {
                super::sizes::add(suite, sub)
            } else {
                sub
            };
            // A number below zero is a wrong number, and no option that nobody knows.
            let sub = sub.mut_args(|arg| {
                let takes_one = arg.get_action().takes_values() && !arg.is_positional();
                arg.allow_negative_numbers(takes_one)
            });
            let help = sub.get_after_help().map(|help| help.to_string());
            let help = help.map(|help| help.replace("SCENARIO", scenario).replace("MODEL", model));
            sub.after_help(help.unwrap_or_default())
        });
    }
    command
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the scenarios and models, each with one sentence.
    #[command(after_help = "\
What is listed as a scenario is for sim, replay, plan and shrink; a model is for check and explore.

Example: list --format json")]
    List,
    /// Run scenarios under many seeds. Each seed decides every crash, cut, loss and delay.
    #[command(after_help = "\
Ctrl-C ends a sweep early: what is known by then is reported, and saved if there is a checkpoint. A second \
Ctrl-C ends it at once.

Example: sim SCENARIO --seeds 0..500")]
    Sim(SimArgs),
    /// Make one report of the reports of shards.
    #[command(after_help = "\
Files hold what `sim --format json` printed. Each shard must be there once, and all of one sweep. A part that \
was not run to its end is an error (exit code 2), as is one that is missing.

Example: merge shard-*.json")]
    Merge(MergeArgs),
    /// Run one seed, a plan or a capsule again and tell what happened, step by step.
    #[command(after_help = "\
Example: replay SCENARIO --seed 7

A file says which verdict it must give; another one is told, and exits with the verdict's code or 1. Its steps that \
were not carried out are named by their places, from 0: those after the verdict, those whose message or record never \
came, and crashes, wipes and pauses of a node that was down.")]
    Replay(ReplayArgs),
    /// Execute recorded nodes again: each must do what it did, and the history must keep the invariants.
    #[command(after_help = "\
A recording is what `node --record FILE` of a service or `replay --record FOLDER` wrote. Give one for each node: \
older parts are found beside it, and a folder stands for all that end in .rec.

Exit codes: 0 nothing wrong is found, 1 an invariant is violated, 2 a file cannot be read, 5 a node differs from its \
recording. A process that is killed loses the end of its recording. What does not follow from what is recorded is \
executed again, but not judged: the last line says `incomplete` then, `complete: false` in JSON, and the code is 0. \
A violation is one whatever is missing.

Example: replay SCENARIO --seed 7 --record recorded, then verify recorded")]
    Verify(VerifyArgs),
    /// Judge a history of any service's clients: is what they saw linearizable?
    #[command(after_help = "\
A file holds one thing a line. JSON, an operation a line, with the times at which it was called and returned, whole \
numbers in any unit (no `return`: nobody knows whether it took effect):
  {\"client\": 1, \"op\": \"write\", \"input\": 3, \"call\": 10, \"return\": 20}
  {\"client\": 2, \"op\": \"read\", \"output\": 3, \"call\": 15, \"return\": 30}
Or events in the order of time, as Jepsen and Knossos write them:
  {:process 0, :type :invoke, :f :write, :value 3}
  {:process 0, :type :ok, :f :write, :value 3}

Models: register (read, write, cas: the input is [old, new], the output true or false), kv (the same, with \"key\": k \
beside the input, or [k, input] as the input), counter (read, add, inc), set (read: a list, add), queue (enqueue, dequeue: \
null of an empty one).

What is asked is --consistency: linearizable; or what is weaker, sequential (one order of all calls that respects that of \
each client's own), acknowledged-is-never-lost (who reads sees all that had returned before), session (each client sees one \
copy that goes forward), and for register and kv monotonic-reads and read-your-writes.

Exit codes: 0 it holds, 1 it does not, 2 the file cannot be read, 6 not known within about so many --max-steps or --max-states, 7 it holds but not all could be printed, 130 after Ctrl-C, 143 after \
SIGTERM. What is not linearizable is shown by the shortest beginning that no order explains.

Examples:
  linearize history.jsonl --model kv
  linearize history.edn --model register --consistency sequential")]
    Linearize(LinearizeArgs),
    /// Print the plan that a seed draws: who asks what, what breaks, when. It can be edited and replayed.
    #[command(after_help = "Example: plan SCENARIO --seed 7 > mine.toml, then replay mine.toml")]
    Plan(PlanArgs),
    /// Make the plan of a failing seed as small as it can be, and save it as a capsule.
    #[command(after_help = "\
Example: shrink SCENARIO --seed 7 --out bug.toml

Stops after --runs runs, or at Ctrl-C, with the smallest plan so far. The capsule breaks the same invariant as the seed.")]
    Shrink(ShrinkArgs),
    /// Explore every interleaving of a model within a fault budget.
    #[command(after_help = "\
A verdict is a proof only if the space was exhausted; only then, or at the end of a --walk, which claims to prove \
nothing, is the exit code 0. If a cap (--max-steps, --depth, --memory-limit) ended it before it found anything the \
code is 6; 130 after Ctrl-C, 143 after SIGTERM. If something came out differently when it was done again, as what is \
found must and some steps are for a spot check, nothing is known, and the code is 5. What is exhausted is the space of these budgets: so \
many crashes, wipes, cuts, drops, duplicates, retries and timers that fire, of any node, at any moment, in any \
order.

A counterexample is as short as any. It is told as a story and saved as a capsule, which `replay` runs.

Example: check MODEL --nodes 3 --crashes 1 --drops 1")]
    Check(CheckArgs),
    /// Look around in a model with a browser: each state in words, and what may follow it.
    #[command(after_help = "\
Serves stateright's Explorer until Ctrl-C. With --at it opens where a counterexample ends.

Example: explore MODEL --nodes 2")]
    Explore(ExploreArgs),
    /// Make mistakes on purpose, each in turn, and tell who finds them: the checker, seeds in either engine.
    #[command(after_help = "\
Systems list mistakes that are found. Besides, the hosts of every system that writes records make mistakes of order: \
messages, or answers, that do not wait for the disk.

A detector that finds nothing within its time, or within its seeds, has missed the mistake. What is listed and no detector \
finds is a hole in the harness: the exit code is 1 then. A mistake of order that breaks nothing in the whole space of the \
checker is no failure, and told as never made, if no node gives occasion to it, or as not seen: what comes of it, the \
invariants do not ask.

Example: mutants --cell-seconds 20")]
    Mutants(MutantsArgs),
    /// The main job: sweep all scenarios, check the models, print one table of verdicts.
    #[command(after_help = "\
Ctrl-C ends it early: the table tells what is known by then, and what is not done; the exit code is 130, or that of \
what was found.

Example: run --jobs 2")]
    Run(JobsArgs),
}

#[derive(Clone, Debug, Args)]
pub struct JobsArgs {
    /// How many threads work. Default: one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

impl JobsArgs {
    /// The number asked for, or one for each core.
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(super::cores, usize::from)
    }
}

#[derive(Debug, Args)]
pub struct SimArgs {
    /// A scenario's name, or `all`.
    pub name: String,
    /// Which seeds: `A..B`, B excluded; or one seed.
    #[arg(long, default_value = "0..100", value_parser = seeds)]
    pub seeds: Range<u64>,
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// What runs the seeds.
    #[arg(long, value_enum, default_value_t)]
    pub engine: EnginesArg,
    /// Run each seed again, in a fresh process and after other seeds, and compare the digests.
    #[arg(long)]
    pub check_determinism: bool,
    /// Stop after so many seeds have failed; 1 stops at the first.
    #[arg(long, default_value = "10", value_name = "N")]
    pub max_failures: NonZeroUsize,
    /// Do not make the plan of the first failure small.
    #[arg(long)]
    pub no_shrink: bool,
    /// Keep what is known in this file, and go on from it if it is there.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Run part I of N only, counted from 0; `env` takes both from Slurm, Kubernetes or a CI's matrix.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<Shard>,
}

/// What runs a plan.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum EngineArg {
    /// The production shell with its frames, journal lines and HTTP.
    #[default]
    Madsim,
    /// The nodes alone, many times faster.
    #[value(alias = "world")]
    Direct,
}

impl From<EngineArg> for Engine {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::Madsim => Self::Madsim,
            EngineArg::Direct => Self::Direct,
        }
    }
}

/// What runs a sweep.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum EnginesArg {
    /// The production shell with its frames, journal lines and HTTP.
    #[default]
    Madsim,
    /// The nodes alone, many times faster.
    #[value(alias = "world")]
    Direct,
    /// Each seed in both; a seed fails if their verdicts differ.
    Both,
}

impl From<EnginesArg> for Engines {
    fn from(engines: EnginesArg) -> Self {
        match engines {
            EnginesArg::Madsim => Self::Madsim,
            EnginesArg::Direct => Self::Direct,
            EnginesArg::Both => Self::Both,
        }
    }
}

#[derive(Debug, Args)]
pub struct MutantsArgs {
    /// Which mistakes; all, if none is named.
    pub names: Vec<String>,
    /// List them, and look for none.
    #[arg(long)]
    pub list: bool,
    /// For how many seconds each detector may look for each mistake, and make small what it found.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub cell_seconds: u64,
    /// How many seeds a sweep has at most.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub cell_seeds: u64,
    #[command(flatten)]
    pub jobs: JobsArgs,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Captured output of `sim --format json`.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A scenario's name; or a file that holds a plan, a capsule or a counterexample, in TOML or JSON.
    pub name: OsString,
    /// Which seed, for a scenario.
    #[arg(long)]
    pub seed: Option<u64>,
    /// What runs it. Default: what the file says, or madsim. A counterexample runs in the world.
    #[arg(long, value_enum)]
    pub engine: Option<EngineArg>,
    /// Print what happened for a terminal, with what every run is full of folded away. That is the default.
    #[arg(long, conflicts_with = "everything")]
    pub text: bool,
    /// Print what every run is full of, too: periodic timers, and whatever else had no consequence.
    #[arg(long)]
    pub everything: bool,
    /// Also write the run as a page for a browser: a diagram of all messages, and what each step changed.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub page: PageArgs,
    /// Also record each node, in this folder, as a running node would be.
    #[arg(long, value_name = "FOLDER")]
    pub record: Option<PathBuf>,
}

/// How much a page shows.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// How large the page may be. Of a longer run it leaves out quiet steps, then others that are far from what broke,
    /// and says so; never what led to a violation.
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "8MiB", requires = "html")]
    html_limit: u64,
    /// Show every step on the page, however large that makes it.
    #[arg(long, conflicts_with = "html_limit", requires = "html")]
    html_all: bool,
}

impl PageArgs {
    /// How many bytes the page may have.
    pub fn limit(&self) -> usize {
        if self.html_all { usize::MAX } else { usize::try_from(self.html_limit).unwrap_or(usize::MAX) }
    }
}

#[derive(Debug, Args)]
pub struct LinearizeArgs {
    /// The history.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What one copy of the service does.
    #[arg(long, value_name = "MODEL", value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    pub model: String,
    /// What is promised to clients.
    #[arg(long, value_name = "PROMISE", default_value = PROMISES[0])]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(PROMISES))]
    pub consistency: String,
    /// Give up after so many steps of the search. Default: never.
    #[arg(long, value_name = "STEPS")]
    pub max_steps: Option<u64>,
    /// Give up when so many states would have to be remembered, some hundred bytes each.
    #[arg(long, value_name = "STATES", default_value_t = 4_000_000)]
    pub max_states: usize,
    /// Also draw what cannot be explained, as overlapping bars.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The recordings of one cluster.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A scenario or a model of the system that was recorded. Default: what the recordings say.
    #[arg(long = "as", value_name = "NAME")]
    pub protocol: Option<String>,
    /// Also write the history as a page for a browser.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub page: PageArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A scenario's name.
    pub name: String,
    /// Which seed.
    #[arg(long)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// A scenario's name.
    pub name: String,
    /// Which seed.
    #[arg(long)]
    pub seed: u64,
    /// What runs the plans.
    #[arg(long, value_enum, default_value_t)]
    pub engine: EngineArg,
    /// Where the capsule is written. Default: coalmine-out/NAME-SEED.toml, or
    /// NAME-MISTAKE-SEED.toml.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How many plans to run at most.
    #[arg(long, default_value_t = 5_000)]
    pub runs: u64,
}

/// How large a model is, and what may happen in it.
#[derive(Debug, Args)]
pub struct SpaceArgs {
    /// How many nodes there are, as the model counts them.
    #[arg(long, value_parser = size(&NODES))]
    pub nodes: Option<u32>,
    /// How many requests clients send.
    #[arg(long, value_parser = size(&OPERATIONS))]
    pub operations: Option<u32>,
    #[command(flatten)]
    pub budgets: BudgetArgs,
    /// Whether a record is durable as soon as it is written, or becomes so as an action of its own. With `sync` no
    /// crash loses a record that was written; with `async`, a larger space, it is also proven that nothing relies on
    /// a record before it is durable.
    #[arg(long, value_enum)]
    pub disk: Option<DiskArg>,
}

pub(super) fn size(range: &RangeInclusive<u32>) -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(u64::from(*range.start())..=u64::from(*range.end()))
}

#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// A model's name.
    pub name: String,
    #[command(flatten)]
    pub space: SpaceArgs,
    /// Where the page is served. Whoever reaches the address can see the model.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
    pub address: SocketAddr,
    /// Open at the end of the path that this file holds, in the space that it names.
    #[arg(long, value_name = "FILE")]
    pub at: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A model's name, or `all`.
    pub name: String,
    /// Climb the model's ladder instead: ever larger spaces, which take minutes and hours, in one table.
    #[arg(long, conflicts_with = "walk")]
    pub deep: bool,
    /// Try each limit one larger instead, for at most 15 s, and tell which of these spaces can be exhausted in that time (✓),
    /// which cannot or show that something is wrong (✗), and which hold no state more (–).
    #[arg(long, conflicts_with_all = ["deep", "walk", "checkpoint", "capsule", "max_steps", "depth", "symmetry"])]
    pub suggest: bool,
    #[command(flatten)]
    pub space: SpaceArgs,
    /// What explores.
    #[arg(long, value_enum, default_value_t = ExplorerArg::Own)]
    pub engine: ExplorerArg,
    /// Visit everything, also what no invariant depends on. stateright always does.
    #[arg(long)]
    pub full: bool,
    /// Visit also these kinds of what no invariant depends on.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS", conflicts_with = "full")]
    pub visit: Vec<LeftOut>,
    /// Take worlds for one that differ only in who of the interchangeable members is who, where a model has some
    /// (`twophase`). Whether states settle is not asked then: a schedule tells members apart.
    #[arg(long, conflicts_with = "walk")]
    pub symmetry: bool,
    /// Walk through the space at random, once for each of these seeds, `A..B`, instead of visiting all of it:
    /// for spaces that are too large. `--depth` says how long a walk may be (default: 1000 states).
    #[arg(long, value_name = "SEEDS", value_parser = seeds)]
    pub walk: Option<Range<u64>>,
    /// Walk for part I of N of the seeds only, counted from 0; `env` takes both from Slurm, Kubernetes or CI.
    #[arg(long, value_name = "I/N", value_parser = shard, requires = "walk")]
    pub shard: Option<Shard>,
    /// Do not ask whether from every state, once all is healed, the system converges. stateright never does.
    #[arg(long)]
    pub no_settle: bool,
    /// Give up on a state that goes on changing for so many rounds once all is healed: then it is not known whether it
    /// settles, and the check is no proof.
    #[arg(long, value_name = "N", default_value_t = SETTLE_ROUNDS as u32, conflicts_with_all = ["no_settle", "symmetry"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub settle_rounds: u32,
    /// Ask instead whether from every state all others come to rest if this member is down for ever: whether a
    /// failure of it can block them. A number: 1 is n1.
    #[arg(long, value_name = "N", conflicts_with_all = ["no_settle", "symmetry"])]
    pub without: Option<u32>,
    /// How many threads search. Default: one for each core. With stateright and more than one, depth and the
    /// length of counterexamples may vary; else nothing depends on it but the time.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Keep the search in this file, every five minutes and when it is stopped, and go on from it if it is there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["walk", "deep"])]
    pub checkpoint: Option<PathBuf>,
    /// Stop, unexhausted, after so many steps.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    /// Stop, unexhausted, at paths of so many states.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub depth: Option<u32>,
    /// Stop, unexhausted, once the process uses so much memory: 4GiB, 512MiB.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory_limit: Option<u64>,
    /// Where the path of a counterexample is saved. Default: coalmine-out/NAME-INVARIANT.toml,
    /// or NAME-MISTAKE-INVARIANT.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "no_capsule")]
    pub capsule: Option<PathBuf>,
    /// Do not save the path of a counterexample.
    #[arg(long)]
    pub no_capsule: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplorerArg {
    /// Coalmine's own: fast, and the same counts and counterexamples with any number of threads.
    Own,
    /// stateright's breadth-first search, to compare with. Knows no memory limit, and no gentle Ctrl-C.
    Stateright,
}

/// What a check leaves out unless it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LeftOut {
    /// Steps that change nothing but what is left of a budget; with --no-settle also those that change nothing but
    /// what is under way, such as a delivery at a node that is down.
    Idle,
    /// Losses, cuts and healings: what may be lost may as well never arrive, and nothing ever has to arrive.
    Losses,
    /// Crashes within a step that differ in nothing that outlives the node: before and after it arms a timer.
    CrashPoints,
    /// Steps that lead where another order of the same steps leads (sleep sets). No state is left out by them.
    Orders,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DiskArg {
    /// Durable at once: what a crash keeps is what was written before it.
    Sync,
    /// Durable later, one by one, with anything in between; a crash keeps any prefix of what was not yet durable.
    Async,
}

impl CheckArgs {
    /// `Err` names what the engine would leave undone, or that there is nothing to do.
    pub fn are_for_the_engine(&self) -> Result<(), String> {
        if let (Some(seeds), Some(shard)) = (&self.walk, self.shard)
            && shard.of(seeds).is_empty()
        {
            let Range { start, end } = seeds;
            return Err(format!("--shard {shard} of --walk {start}..{end} holds no seed"));
        }
        let ours = [
            (self.checkpoint.is_some(), "--checkpoint", "cannot go on"),
            (self.walk.is_some(), "--walk", "does not walk so"),
            (self.memory_limit.is_some(), "--memory-limit", "knows no such limit"),
            (self.symmetry, "--symmetry", "is not told who is interchangeable"),
            (self.without.is_some(), "--without", "does not ask whether all others come to rest"),
            (
                self.settle_rounds != SETTLE_ROUNDS as u32,
                "--settle-rounds",
                "never asks whether states settle",
            ),
            (self.full, "--full", "visits everything anyway"),
            (!self.visit.is_empty(), "--visit", "visits everything anyway"),
        ];
        let asked = ours.into_iter().find(|(is_asked, ..)| *is_asked);
        match asked.filter(|_| self.engine == ExplorerArg::Stateright) {
            Some((_, option, why)) => Err(format!("{option} is for our own engine; stateright {why}")),
            None => Ok(()),
        }
    }

    fn reductions(&self) -> Reductions {
        if self.full || self.engine == ExplorerArg::Stateright {
            return Reductions { symmetry: self.symmetry, ..Reductions::NONE };
        }
        let leave_out = |kind| !self.visit.contains(&kind);
        Reductions {
            idle: leave_out(LeftOut::Idle),
            losses: leave_out(LeftOut::Losses),
            crash_points: leave_out(LeftOut::CrashPoints),
            sleep: leave_out(LeftOut::Orders),
            symmetry: self.symmetry,
        }
    }

    pub fn options(&self) -> CheckOptions {
        CheckOptions {
            explorer: match self.engine {
                ExplorerArg::Own => Explorer::Own,
                ExplorerArg::Stateright => Explorer::Stateright,
            },
            reductions: self.reductions(),
            settle: !self.no_settle,
            settle_rounds: self.settle_rounds as usize,
            walks: self.walk.as_ref().map(|seeds| self.shard.map_or(seeds.clone(), |shard| shard.of(seeds))),
            threads: self.threads.map_or_else(super::cores, usize::from),
            max_steps: self.max_steps.and_then(|max| usize::try_from(max).ok()),
            max_depth: self.depth.and_then(|max| usize::try_from(max).ok()),
            memory_limit: self.memory_limit,
            checkpoint: self.checkpoint.clone(),
            ..CheckOptions::default()
        }
    }
}

impl SpaceArgs {
    pub fn model_args(&self) -> ModelArgs {
        let mut args = ModelArgs {
            nodes: self.nodes,
            operations: self.operations,
            disk: self.disk.map(|disk| match disk {
                DiskArg::Sync => Disk::Sync,
                DiskArg::Async => Disk::Async,
            }),
            ..ModelArgs::default()
        };
        Budget::ALL.into_iter().for_each(|budget| args.set(budget, self.budgets.of(budget)));
        args
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .ok_or("a size ends with B, KiB, MiB or GiB, as in 4GiB")?;
    let number: u64 = number.trim().parse().map_err(|why| format!("{number:?}: {why}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "this is more memory than there is".into())
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    text.parse().map(Seeds::range)
}

fn shard(text: &str) -> Result<Shard, String> {
    if text == "env" { Shard::from_env(|name| std::env::var(name).ok()) } else { text.parse() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(bytes("7B"), Ok(7));
        for wrong in ["4", "GiB", "-1MiB", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command(&Suite::default()).debug_assert();
    }
}

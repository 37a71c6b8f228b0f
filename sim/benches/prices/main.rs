//! What it costs to remember what clients saw, and to ask whether it is linearizable: one table in one run.
//!
//! ```sh
//! cargo bench --package coalmine-sim --bench prices [-- --quick] [--format json]
//! ```
//!
//! The chain in three ways: with no history at all, with one of all [calls](Calls) about which nobody asks anything, and
//! with the invariant that asks. The engines run the same plans of `chain-chaos` in each way; the checker exhausts the
//! same limits. The ways take turns; times are processor time, medians.

#[path = "../shared/clock.rs"]
mod clock;

use std::array;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::process::ExitCode;
use std::time::Duration;

use coalmine::chain::{self, ChainSystem};
use coalmine_core::chain::{Config, Link, Register};
use coalmine_core::linearize::Calls;
use coalmine_core::node::NodeId;
use coalmine_core::observation::{History, Invariant, Observation, Observed};
use coalmine_sim::check::{self, CheckOptions};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::prelude::{Chaos, nothing_more};
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::plan::Plan;
use coalmine_sim::spec::scenario::Scenario;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::world::Rules;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::clock::{median, timed};

/// The same as in the `coalmine` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is remembered, and what is asked about it.
trait Way: Debug + Send + Sync + 'static {
    type History: History<Link>;
    const NAME: &'static str;

    fn invariants() -> Vec<Invariant<Link, Self::History>> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Nothing;
#[derive(Debug)]
struct Remembers;
#[derive(Debug)]
struct Asks;

impl Way for Nothing {
    type History = ();
    const NAME: &'static str = "no history";
}

impl Way for Remembers {
    type History = Calls<Register>;
    const NAME: &'static str = "all calls";
}

impl Way for Asks {
    type History = Calls<Register>;
    const NAME: &'static str = "all calls, linearizable?";

    fn invariants() -> Vec<Invariant<Link, Calls<Register>>> {
        coalmine_core::chain::invariants()
    }
}

/// The chain, watched in one of these ways.
#[derive(Debug)]
struct Watched<W> {
    chain: ChainSystem,
    way: PhantomData<W>,
}

impl<W: Way> Watched<W> {
    fn of(clients: u32) -> Self {
        Self { chain: ChainSystem { members: 3, clients, mistake: None }, way: PhantomData }
    }
}

impl<W: Way> System for Watched<W> {
    type Node = Link;
    type History = W::History;

    fn members(&self) -> Vec<(NodeId, Config)> {
        self.chain.members()
    }

    fn operations(&self) -> Vec<Operation<Link>> {
        self.chain.operations()
    }

    fn invariants(&self) -> Vec<Invariant<Link, W::History>> {
        W::invariants()
    }

    /// As the chain says, which looks at no history.
    fn converged(&self, now: &Observation<'_, Link, W::History>) -> Result<(), String> {
        let nodes = now.nodes.iter().map(|node| Observed { ..*node }).collect();
        self.chain.converged(&Observation { nodes, history: &Calls::default() })
    }
}

/// What one of the ways costs.
#[derive(Debug, Serialize)]
struct Row {
    way: &'static str,
    direct_us_per_seed: f64,
    madsim_us_per_seed: f64,
    states: usize,
    steps: usize,
    check_s: f64,
    settling_s: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    rounds: usize,
    seeds: u64,
    /// What the checker exhausts.
    limits: Limits,
}

const FULL: Size = Size {
    rounds: 5,
    seeds: 200,
    limits: Limits { crashes: 1, timeouts: Some(1), retries: 1, disk: Disk::Sync, ..Limits::NONE },
};

const QUICK: Size = Size { rounds: 1, seeds: 5, limits: Limits { retries: 0, ..FULL.limits } };

/// What is done in a turn, for each way.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    run: fn(Engine, &[Plan<Link>]) -> Duration,
    check: fn(Limits, bool) -> (usize, usize, Duration),
}

impl Work {
    fn of<W: Way>() -> Self {
        Self { name: W::NAME, run: run::<W>, check: check::<W> }
    }
}

fn run<W: Way>(engine: Engine, plans: &[Plan<Link>]) -> Duration {
    let scenario = Scenario::<Watched<W>> {
        name: "watched",
        about: "The chain, watched.",
        system: || Watched::of(0),
        plan: |system, rng| Chaos::of(system).plan(Vec::new(), rng),
        expect: nothing_more::<Watched<W>>,
    };
    let one = |(seed, plan)| {
        let (report, took) = timed(|| scenario.run_plan(engine, plan, RunOptions::of(seed)));
        assert_eq!(report.verdict, Verdict::Passed, "seed {seed}");
        took
    };
    (0..).zip(plans).map(one).sum()
}

fn check<W: Way>(limits: Limits, settle: bool) -> (usize, usize, Duration) {
    let rules = Rules::new(Watched::<W>::of(2), limits);
    let options = CheckOptions { settle, threads: 1, ..CheckOptions::default() };
    let ((report, _), took) = timed(|| check::check("benchmark", rules, &options, &mut |_| {}));
    // Not always a proof: of what nobody remembers little can be asked.
    assert!(report.stopped_by.is_none() && report.counterexample.is_none(), "{report:#?}");
    (report.unique_states, report.steps, took)
}

fn main() -> ExitCode {
    let (mut size, mut json) = (FULL, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), if arg == "--format" { args.next() } else { None }.as_deref()) {
            ("--bench", _) => {} // what cargo says
            ("--quick", _) => size = QUICK,
            ("--format", Some("json")) => json = true,
            ("--format", Some("text")) => json = false,
            (other, _) => {
                eprintln!("error: {other}\nusage: prices [--quick] [--format text|json]");
                return ExitCode::from(2);
            }
        }
    }
    let rows = measure(size);
    match json {
        true => println!("{}", serde_json::to_string(&rows).expect("rows are plain data")),
        false => print(size, &rows),
    }
    ExitCode::SUCCESS
}

fn measure(size: Size) -> [Row; 3] {
    let ways = [Work::of::<Nothing>(), Work::of::<Remembers>(), Work::of::<Asks>()];
    let chaos = chain::scenario();
    let system = (chaos.system)();
    let plans: Vec<_> = (0..size.seeds).map(|seed| chaos.plan_of(&system, seed)).collect();
    let direct = in_turns(size.rounds, ways, |way| (way.run)(Engine::Direct, &plans));
    let madsim = in_turns(size.rounds, ways, |way| (way.run)(Engine::Madsim, &plans));
    let search = in_turns(size.rounds, ways, |way| (way.check)(size.limits, false));
    let settling = in_turns(size.rounds, ways, |way| (way.check)(size.limits, true));
    let seeds = size.seeds as f64;
    array::from_fn(|at| {
        let (states, steps, _) = search[at][0];
        Row {
            way: ways[at].name,
            direct_us_per_seed: seconds(direct[at].iter().copied()) * 1e6 / seeds,
            madsim_us_per_seed: seconds(madsim[at].iter().copied()) * 1e6 / seeds,
            states,
            steps,
            check_s: seconds(search[at].iter().map(|(.., took)| *took)),
            settling_s: seconds(settling[at].iter().map(|(.., took)| *took)),
        }
    })
}

/// What each way comes to, round by round. They take turns, so that a busy minute hits them all.
fn in_turns<T>(rounds: usize, ways: [Work; 3], measure: impl Fn(&Work) -> T) -> [Vec<T>; 3] {
    let mut measured = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for (way, measured) in ways.iter().zip(&mut measured) {
            measured.push(measure(way));
        }
    }
    measured
}

/// The median in seconds.
fn seconds(times: impl Iterator<Item = Duration>) -> f64 {
    median(times.map(|time| time.as_secs_f64()).collect()).expect("there is a round at least")
}

fn print(size: Size, rows: &[Row; 3]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "direct us/seed",
        "",
        "madsim us/seed",
        "",
        "distinct states",
        "us/state",
        "",
        "with settling",
        "",
    ]);
    let first = &rows[0];
    for row in rows {
        let times = |now: f64, then: f64| format!("{:.2} ×", now / then);
        let a_state = |row: &Row, seconds: f64| seconds * 1e6 / row.states as f64;
        let (search, settling) = (a_state(row, row.check_s), a_state(row, row.settling_s));
        table.add_row([
            row.way.to_owned(),
            format!("{:.0}", row.direct_us_per_seed),
            times(row.direct_us_per_seed, first.direct_us_per_seed),
            format!("{:.0}", row.madsim_us_per_seed),
            times(row.madsim_us_per_seed, first.madsim_us_per_seed),
            row.states.to_string(),
            format!("{search:.2}"),
            times(search, a_state(first, first.check_s)),
            format!("{settling:.2}"),
            times(settling, a_state(first, first.settling_s)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
    println!(
        "The chain of three. Medians of {} rounds, processor time on one core: {} plans of chain-chaos in each engine; the \
         search through two clients' writes and reads, with one crash, one time-out and retries {}.",
        size.rounds, size.seeds, size.limits.retries,
    );
}

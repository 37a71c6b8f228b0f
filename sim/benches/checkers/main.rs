//! What the checker costs, beside what one could check with otherwise: three tables in one run.
//!
//! ```sh
//! cargo bench --package coalmine-sim --bench checkers [-- --quick] [--rounds N] [--patience SECONDS] [--format json]
//! ```
//!
//! 1. *TwoPhase*, whose states everybody agrees on: our explorer, stateright on the specification written by hand
//!    ([`by_hand`]) and as actors ([`actors`]), SPIN where it is installed ([`spin`]).
//! 2. The production node of the rollout, and what its checks leave out.
//! 3. The production node with a rule off: how soon that is found.
//!
//! `--pairs 10` measures instead what the second thread gains, in ten pairs of runs ([`pairs`]).
//!
//! Nothing is asked about settling, which the others cannot be asked. The contenders take turns, several rounds,
//! each in a process of its own ([`job`]); of each the fastest round counts: what else a machine does only takes
//! time away.

mod actors;
mod by_hand;
mod job;
mod own;
mod pairs;
mod spin;
mod tables;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::job::{Job, Measured, Search};
use crate::own::LeftOut;

/// The same as in the `coalmine` program; every contender in Rust has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The distinct states of *TwoPhase*, as TLC, SPIN and stateright give them.
const KNOWN: [(u32, usize); 4] = [(5, 8_832), (7, 296_448), (8, 1_745_408), (9, 10_340_352)];

/// What the checker costs, beside what one could check with otherwise.
#[derive(Parser)]
struct Args {
    /// Small enough for a few seconds; the numbers mean little.
    #[arg(long)]
    quick: bool,
    /// How often each contender is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long to wait before each for others to leave the machine alone, in seconds at most.
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Measure only what the second thread gains: so many pairs of runs of *TwoPhase*, and their medians.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What this process is to measure: one part of the whole.
    #[arg(long, hide = true, value_parser = |job: &str| serde_json::from_str::<Job>(job))]
    job: Option<Job>,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    rounds: u32,
    /// How long to wait for a machine that does nothing else.
    patience: Duration,
    /// Resource managers of *TwoPhase*.
    resource_managers: u32,
    /// The same for actors, who take too long with more.
    actors: u32,
}

/// One line of a table.
#[derive(Debug, Serialize)]
struct Row {
    job: Job,
    /// Nothing if it is not installed.
    measured: Option<Measured>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Tables {
    two_phase: Vec<Row>,
    rollout: Vec<Row>,
    planted: Vec<Row>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(job) = args.job {
        println!("{}", serde_json::to_string(&job.run()).expect("measures are plain data"));
        return ExitCode::SUCCESS;
    }
    let patience = Duration::from_secs(args.patience);
    let size = match args.quick {
        true => Size { rounds: 1, patience, resource_managers: 7, actors: 5 },
        false => Size { rounds: args.rounds, patience, resource_managers: 9, actors: 8 },
    };
    if let Some(pairs) = args.pairs {
        pairs::measure(size, pairs, args.format);
        return ExitCode::SUCCESS;
    }
    let tables = measure(size);
    match args.format {
        Format::Text => tables::print(size, &tables),
        Format::Json => println!("{}", serde_json::to_string(&tables).expect("measures are plain data")),
    }
    ExitCode::SUCCESS
}

fn measure(size: Size) -> Tables {
    let Size { resource_managers, actors, .. } = size;
    let own = |resource_managers, left_out, threads| Job::Own { resource_managers, left_out, threads };
    let mut jobs = vec![
        own(resource_managers, LeftOut::Usual, 1),
        own(resource_managers, LeftOut::Usual, 2),
        own(resource_managers, LeftOut::Nothing, 1),
        own(resource_managers, LeftOut::Nothing, 2),
        own(resource_managers, LeftOut::Names, 1),
    ];
    for search in [Search::BreadthFirst, Search::DepthFirst] {
        jobs.extend([1, 2].map(|threads| Job::ByHand { resource_managers, search, threads }));
    }
    jobs.push(Job::Spin { resource_managers });
    jobs.push(own(actors, LeftOut::Usual, 2));
    for search in [Search::BreadthFirst, Search::DepthFirst] {
        jobs.extend([1, 2].map(|threads| Job::Actors { resource_managers: actors, search, threads }));
    }
    let two_phase = in_turns(size, jobs);
    for Row { job, measured } in &two_phase {
        if let (Some(states), Some(measured)) = (job.known_states(), measured) {
            assert_eq!(measured.counts.distinct, states, "{job:?}");
        }
    }
    let whole = [LeftOut::Usual, LeftOut::Nothing].map(|left_out| [(left_out, 1), (left_out, 2)]);
    let alone = LeftOut::ALONE.map(|left_out| (left_out, 1));
    let rollouts = whole.into_iter().flatten().chain(alone);
    let rollouts = rollouts.map(|(left_out, threads)| Job::Rollout { left_out, threads });
    let rollout = in_turns(size, rollouts);
    let planted = own::planted().into_iter().map(|planted| Job::Planted { planted, threads: 2 });
    Tables { two_phase, rollout, planted: in_turns(size, planted) }
}

impl Job {
    /// How many distinct states it must come across, if others have counted them.
    fn known_states(self) -> Option<usize> {
        match self {
            Self::Own { left_out: LeftOut::Names, .. }
            | Self::Actors { .. }
            | Self::Rollout { .. }
            | Self::Planted { .. } => None,
            Self::Own { resource_managers, .. }
            | Self::ByHand { resource_managers, .. }
            | Self::Spin { resource_managers } => {
                KNOWN.iter().find(|(of, _)| *of == resource_managers).map(|(_, states)| *states)
            }
        }
    }
}

/// Measures each once a round, one after the other, so that a busy minute hits them all.
fn in_turns(size: Size, jobs: impl IntoIterator<Item = Job>) -> Vec<Row> {
    let mut measured: Vec<(Job, Vec<Measured>)> = jobs.into_iter().map(|job| (job, Vec::new())).collect();
    for _ in 0..size.rounds {
        for (job, measured) in &mut measured {
            if job.is_possible() {
                job::wait_for_quiet(size.patience);
                let it = job.measure();
                let (name, threads, percent) = (job.name(), job.threads(), it.others * 100.0);
                eprintln!("{name}, threads: {threads}: {:.3} s, others: {percent:.0} %", it.wall_s);
                measured.push(it);
            }
        }
    }
    let fastest = |(job, measured): (Job, Vec<Measured>)| {
        let measured = measured.into_iter().min_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        Row { job, measured }
    };
    measured.into_iter().map(fastest).collect()
}

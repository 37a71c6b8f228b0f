//! Runs a scenario under many seeds, on many threads. Every seed is a run of its own: what comes out depends
//! on nothing but the seed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::run::Verdict;
use crate::suite::{AnyScenario, Outcome};

/// How a sweep is made.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// How many threads.
    pub jobs: usize,
    /// Run each seed twice and compare the digests.
    pub check_determinism: bool,
    /// Stop after so many failures.
    pub max_failures: usize,
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct SweepReport {
    /// The scenario.
    pub scenario: String,
    /// The engine that ran it.
    pub engine: &'static str,
    /// The seeds that were to be run, as `A..B`.
    pub seeds: String,
    /// How many passed.
    pub passed: u64,
    /// Those that failed, in order.
    pub failed: Vec<u64>,
    /// How, for each of them.
    pub failures: Vec<Failure>,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in the simulations, in seconds.
    pub simulated_s: f64,
    /// How much time passed outside, in seconds.
    pub wall_s: f64,
}

/// A seed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Sweeps. `progress` is called after every seed, with how many are done and how many failed.
pub fn sweep(
    scenario: &dyn AnyScenario,
    options: &SweepOptions,
    progress: &(dyn Fn(u64, usize) + Sync),
) -> SweepReport {
    let started = Instant::now();
    let next = AtomicU64::new(options.seeds.start);
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        return;
                    }
                    let outcome = run_one(scenario, seed, options.check_determinism);
                    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    tally.add(seed, outcome);
                    if tally.failures.len() >= options.max_failures {
                        stop.store(true, Ordering::Relaxed);
                    }
                    progress(tally.done, tally.failures.len());
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    tally.failures.sort_by_key(|failure| failure.seed);
    SweepReport {
        scenario: scenario.name().into(),
        engine: scenario.engine(),
        seeds: format!("{}..{}", options.seeds.start, options.seeds.end),
        passed: tally.done - tally.failures.len() as u64,
        failed: tally.failures.iter().map(|failure| failure.seed).collect(),
        failures: tally.failures,
        events: tally.events,
        simulated_s: tally.simulated.as_secs_f64(),
        wall_s: started.elapsed().as_secs_f64(),
    }
}

/// Runs one seed; twice, if it is to be compared with itself.
fn run_one(scenario: &dyn AnyScenario, seed: u64, check_determinism: bool) -> Outcome {
    let first = scenario.run(seed, false);
    if !check_determinism {
        return first;
    }
    let second = scenario.run(seed, false);
    if first.digest == second.digest {
        return first;
    }
    let digests = [first.digest, second.digest].map(|digest| format!("{digest:016x}"));
    Outcome { verdict: Verdict::NotDeterministic { digests }, ..first }
}

#[derive(Default)]
struct Tally {
    done: u64,
    failures: Vec<Failure>,
    events: u64,
    simulated: Duration,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.done += 1;
        self.events += outcome.events;
        self.simulated += outcome.simulated;
        if outcome.verdict != Verdict::Passed {
            self.failures.push(Failure { seed, verdict: outcome.verdict });
        }
    }
}

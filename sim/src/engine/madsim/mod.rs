//! The madsim engine: the production shell (its run loop, its frames, its journal lines, its HTTP) on
//! simulated TCP, clocks and disks. One seed decides everything, and replays exactly.
//!
//! Each run has a thread of its own, because std's hash maps are seeded per thread: a seed must not depend on
//! which seeds ran before it.

mod alarm;
mod cluster;
mod disk;
mod link;
mod monitor;
mod numbers;
mod runtime;
mod survive;
mod wire;

use std::time::Instant;

use coalmine_real::http_api::HttpApi;

use crate::engine::report::{RunOptions, RunReport};
use crate::engine::shared::LATENCY;
use crate::panics::catch;
use crate::spec::plan::Plan;
use crate::spec::scenario::Scenario;
use crate::spec::system::{NodeOf, System};

/// Runs one plan, which was checked, under one seed.
pub(crate) fn run<S: System>(
    scenario: &Scenario<S>,
    plan: &Plan<NodeOf<S>>,
    options: RunOptions,
) -> RunReport<NodeOf<S>>
where
    NodeOf<S>: HttpApi,
{
    let started = Instant::now();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("{}-{}", scenario.name, options.seed));
        let body = || catch(|| simulate(scenario, plan, options));
        let run = thread.spawn_scoped(scope, body).expect("a thread can be started");
        let outcome = run.join().expect("panics are caught within");
        let mut report = outcome.unwrap_or_else(RunReport::panicked);
        report.wall = started.elapsed();
        report
    })
}

fn simulate<S: System>(
    scenario: &Scenario<S>,
    plan: &Plan<NodeOf<S>>,
    options: RunOptions,
) -> RunReport<NodeOf<S>>
where
    NodeOf<S>: HttpApi,
{
    let mut config = madsim::Config::default();
    config.net.send_latency = LATENCY;
    let runtime = madsim::runtime::Runtime::with_seed_and_config(options.seed, config);
    runtime.add_simulator::<disk::Disks>();
    let (monitor, verdict) = runtime.block_on(async {
        disk::Disks::current().seed(options.seed);
        cluster::drive(scenario, plan, options).await
    });
    let simulated = monitor.now();
    drop(runtime);
    monitor.finish(verdict, simulated)
}

//! The scenarios and models that Coalmine ships.

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod chain;
pub mod counter;
pub mod lease;
mod mistakes;
mod pins;
pub mod register;
pub mod rollout;
pub mod roster;
pub mod tally;
pub mod twophase;

use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::suite::{Job, Suite};

/// Everything, and the main job over it.
pub fn suite() -> Suite {
    let mut suite = Suite::default().named("cargo coalmine");
    for scenario in
        rollout::scripted::all().into_iter().chain(rollout::guarded::all()).chain(rollout::growth::all())
    {
        let name = scenario.name;
        suite = suite.scenario(scenario).job(Job::Sweep(name, 20));
    }
    suite = suite.scenario(rollout::chaos::scenario()).job(Job::Sweep("rollout-chaos", 500));
    for (scenario, seeds) in rollout::compaction::scenarios().into_iter().zip([20, 300]) {
        let name = scenario.name;
        suite = suite.scenario(scenario).job(Job::Sweep(name, seeds));
    }
    suite = suite.scenario(rollout::canary::scenario()).job(Job::Sweep("canary-chaos", 300));
    suite = suite.scenario(rollout::growth::scenario()).job(Job::Sweep("growth-chaos", 300));
    for scenario in rollout::regions::all() {
        let name = scenario.name;
        suite = suite.scenario(scenario).job(Job::Sweep(name, 20));
    }
    suite = suite.scenario(rollout::regions::scenario()).job(Job::Sweep("regions-chaos", 300));
    suite = suite.scenario(tally::scenario()).job(Job::Sweep("tally-chaos", 200));
    suite = suite.scenario(roster::scenario()).job(Job::Sweep("roster-chaos", 200));
    for scenario in lease::scenarios() {
        let name = scenario.name;
        suite = suite.scenario(scenario).job(Job::Sweep(name, 100));
    }
    suite = suite.scenario(chain::scenario()).job(Job::Sweep("chain-chaos", 200));
    suite = suite.model(twophase::model()).model(counter::model());
    suite = suite.model(chain::model()).model(tally::model()).model(roster::model()).model(lease::model());
    suite = suite.model(register::single_copy()).model(register::abd()).model(register::paxos());
    suite = suite.model(rollout::model());
    suite = suite.model(rollout::growth::growth_model()).model(rollout::growth::succession_model());
    suite = suite.model(rollout::regions::model());
    suite = suite.model(rollout::compaction::model()).model(rollout::canary::model());
    for nodes in [3, 5, 7] {
        suite = suite.job(Job::Check("twophase", ModelArgs { nodes: Some(nodes), ..ModelArgs::default() }));
    }
    for model in ["counter", "single-copy", "abd", "paxos", "chain", "tally", "roster", "lease"] {
        suite = suite.job(Job::Check(model, ModelArgs::default()));
    }
    suite = rollout::spaces().into_iter().fold(suite, |suite, space| suite.job(Job::Check("rollout", space)));
    let growth = rollout::growth::growth_spaces().into_iter().map(|space| ("growth", space));
    let succession = rollout::growth::succession_spaces().into_iter().map(|space| ("succession", space));
    let compaction = rollout::compaction::spaces().into_iter().map(|space| ("compaction", space));
    let regions = rollout::regions::spaces().into_iter().map(|space| ("regions", space));
    let of_nodes = growth.chain(succession).chain(compaction).chain(regions);
    suite = of_nodes.fold(suite, |suite, (model, space)| suite.job(Job::Check(model, space)));
    suite = rollout::canary::spaces()
        .into_iter()
        .fold(suite, |suite, space| suite.job(Job::Check("canary", space)));
    suite =
        pins::all().into_iter().fold(suite, |suite, (model, space, states)| suite.pin(model, space, states));
    for nodes in 3..=10 {
        suite = suite.rung("twophase", ModelArgs { nodes: Some(nodes), ..ModelArgs::default() });
    }
    rollout::ladder().into_iter().fold(suite, |suite, space| suite.rung("rollout", space))
}

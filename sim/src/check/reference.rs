//! stateright's breadth-first search: the engine that ours is compared with.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use super::{Broken, CheckOptions, CheckProgress, Found, Stop};
use crate::system::System;
use crate::world::Rules;

/// Searches until everything is visited or an invariant is broken, and hands over what it found.
pub fn explore<S: System, T>(
    rules: Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
    conclude: impl FnOnce(&Rules<S>, Found<S>) -> T,
) -> T {
    let mut builder = rules.checker().threads(options.threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(max) = options.max_steps {
        builder = builder.target_state_count(max);
    }
    if let Some(max) = options.max_depth {
        builder = builder.target_max_depth(max);
    }
    let checker = builder.spawn_bfs();
    let mut pause = Duration::from_millis(1);
    while !checker.is_done() {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
        let (unique_states, depth) = (checker.unique_state_count(), checker.max_depth());
        progress(CheckProgress { unique_states, depth, frontier: None });
    }
    let checker = checker.join();

    let rules = checker.model();
    let found = checker.discoveries();
    let names = rules.invariants.iter().map(|invariant| invariant.name);
    let names = names.chain(rules.witnesses.iter().map(|witness| witness.name));
    let bits = names.enumerate().map(|(bit, name)| u64::from(found.contains_key(name)) << bit);
    let seen = bits.fold(0, |seen, bit| seen | bit);
    let broken = rules.invariants.iter().enumerate().find_map(|(place, invariant)| {
        let path = found.get(invariant.name)?.clone();
        Some((
            Broken::Invariant(place),
            path.into_actions().into_iter().map(|transition| transition.action).collect(),
        ))
    });
    let steps = checker.state_count();
    let too_many = options.max_steps.filter(|&max| steps >= max).map(|max| format!("--max-steps {max}"));
    let too_deep = options.max_depth.filter(|&max| checker.max_depth() >= max);
    let stopped_by = too_many.or(too_deep.map(|max| format!("--depth {max}"))).map(Stop::capped);
    let found = Found {
        error: None,
        steps,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        runs: None,
        seen,
        stopped_by,
        broken,
        not_known: None,
    };
    conclude(rules, found)
}

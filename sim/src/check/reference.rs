//! stateright's breadth-first search: the engine that ours is compared with.

use std::collections::HashMap;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use super::explorer::broken;
use super::{Broken, CheckOptions, CheckProgress, Found, NEVER_PANICS, Stop};
use crate::panics::{Panic, catch};
use crate::spec::system::System;
use crate::world::Rules;
use crate::world::rules::{PANICKED, Parted};

/// Searches until everything is visited or an invariant is broken, and hands over what it found.
pub fn explore<S: System, T>(
    rules: Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
    conclude: impl FnOnce(&Rules<S>, Found<S>) -> T,
) -> T {
    let starts = rules.starts();
    rules.is_searched(true);
    if let Some((bits, path)) = starts.broken {
        let (steps, states) = (path.len(), path.len());
        let broken = broken(bits).map(|broken| (broken, path));
        let (seen, depth) = (starts.seen, 0);
        let found = Found {
            error: None,
            steps,
            states,
            depth,
            runs: None,
            seen,
            stopped_by: None,
            broken,
            parted: None,
            not_known: None,
        };
        return conclude(&rules, found);
    }
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
    rules.is_searched(false);
    // stateright looks for the way to what it has found, too, and panics if that is lost.
    let (found, parted) = match catch(|| checker.discoveries()) {
        Ok(found) => (found, None),
        Err(panic) => (HashMap::new(), Some(lost(rules, &panic))),
    };
    let names = rules.invariants.iter().map(|invariant| invariant.name);
    let names = names.chain(rules.witnesses.iter().map(|witness| witness.name));
    let bits = names.enumerate().map(|(bit, name)| u64::from(found.contains_key(name)) << bit);
    let bits = bits.chain(found.contains_key(NEVER_PANICS).then_some(PANICKED));
    let seen = bits.fold(starts.seen, |seen, bit| seen | bit);
    let invariants = rules.invariants.iter().enumerate();
    let invariants = invariants.map(|(place, invariant)| (invariant.name, Broken::Invariant(place)));
    let broken = invariants.chain([(NEVER_PANICS, Broken::Panic)]).find_map(|(name, broken)| {
        let path = found.get(name)?.clone();
        let first = path.clone().into_states().into_iter().next();
        let (_, way) = starts.worlds.iter().find(|(world, _)| Some(world) == first.as_ref())?;
        let actions = path.into_actions().into_iter().map(|transition| transition.action);
        Some((broken, way.iter().cloned().chain(actions).collect()))
    });
    let steps = checker.state_count();
    let too_many = options.max_steps.filter(|&max| steps >= max).map(|max| format!("--max-steps {max}"));
    let too_deep = options.max_depth.filter(|&max| checker.max_depth() >= max);
    let stopped_by = too_many.or(too_deep.map(|max| format!("--depth {max}"))).map(Stop::capped);
    let stopped_by = rules.doubt().or(stopped_by);
    let found = Found {
        error: None,
        steps,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        runs: None,
        seen,
        stopped_by,
        broken,
        parted,
        not_known: None,
    };
    conclude(rules, found)
}

/// stateright has lost the way to what it has found, and does not say where.
fn lost<S: System>(rules: &Rules<S>, panic: &Panic) -> Parted {
    let again = panic.message.lines().next().unwrap_or_default().to_owned();
    let (what, once) = ("the path to what was found".into(), "it led there".into());
    rules.parted().cloned().unwrap_or(Parted { what, once, again, after: Vec::new() })
}

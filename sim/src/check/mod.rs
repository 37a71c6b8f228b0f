//! The model checker: explores every interleaving of a [`World`] within [`Limits`], and says what that
//! proves.
//!
//! A verdict is a proof only if the space was **exhausted**. Beside every invariant that must always hold
//! stand witnesses that must sometimes be seen: a space in which nothing happens proves nothing.

mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coalmine_core::node::Effect;
use serde::Serialize;
use stateright::{Checker, HasDiscoveries, Model};

use crate::system::{NodeOf, System};
use crate::world::{Action, Limits, Rules, World};

/// How a property came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Always true, in all states that were visited.
    Holds,
    /// Somewhere false.
    Violated,
    /// Somewhere true.
    Witnessed,
    /// Nowhere true, in all states that were visited.
    Missing,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The model's name.
    pub model: String,
    /// The limits of the space.
    pub limits: Limits,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many clients' requests there are.
    pub operations: usize,
    /// How many steps were taken.
    pub states: usize,
    /// How many distinct states they led to.
    pub unique_states: usize,
    /// The longest of the shortest paths, counted in states (with one thread; with more it may be longer).
    pub depth: usize,
    /// Every reachable state was visited.
    pub exhausted: bool,
    /// What ended the search before that.
    pub stopped_by: Option<String>,
    /// What was asked, and how it came out.
    pub properties: BTreeMap<&'static str, Verdict>,
    /// The odds that two of the states shared a fingerprint, so that one of them was not explored.
    pub collision_odds: f64,
    /// The most memory the process has used so far, in bytes.
    pub peak_memory_bytes: u64,
    /// How long it took, in seconds.
    pub wall_s: f64,
}

impl CheckReport {
    /// Whether everything came out as it must: all visited, all invariants hold, all witnesses seen.
    pub fn is_proof(&self) -> bool {
        let fine = |verdict: &Verdict| matches!(verdict, Verdict::Holds | Verdict::Witnessed);
        self.exhausted && self.properties.values().all(fine)
    }

    /// The invariants that were broken.
    pub fn violated(&self) -> impl Iterator<Item = &'static str> {
        self.properties.iter().filter(|(_, verdict)| **verdict == Verdict::Violated).map(|(name, _)| *name)
    }
}

/// A path from the beginning to a state that breaks an invariant.
pub struct Counterexample<S: System> {
    /// Which invariant.
    pub invariant: &'static str,
    /// How it is broken, in words.
    pub why: String,
    /// The steps, each with what it did.
    pub steps: Vec<CounterexampleStep<S>>,
}

/// One step of a counterexample.
pub struct CounterexampleStep<S: System> {
    /// What happened.
    pub action: Action<NodeOf<S>>,
    /// What came of it, in order.
    pub effects: Vec<Effect<NodeOf<S>>>,
}

/// How a check runs.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// How many threads search.
    pub threads: usize,
    /// Stop, unexhausted, after this many steps.
    pub max_states: Option<usize>,
}

/// Where a running check stands.
#[derive(Clone, Copy, Debug)]
pub struct CheckProgress {
    /// Distinct states so far.
    pub unique_states: usize,
    /// The depth so far.
    pub depth: usize,
}

/// Explores a system within limits.
pub fn check<S: System>(
    name: &str,
    rules: Rules<S>,
    options: CheckOptions,
    mut progress: impl FnMut(CheckProgress),
) -> (CheckReport, Option<Counterexample<S>>) {
    let started = Instant::now();
    let (limits, nodes, operations) = (rules.limits, rules.members.len(), rules.operations);
    let invariants: Vec<_> = rules.invariants.iter().map(|invariant| invariant.name).collect();
    let witnesses: Vec<_> = rules.witnesses.iter().map(|witness| witness.name).collect();

    let mut builder = rules.checker().threads(options.threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(max) = options.max_states {
        builder = builder.target_state_count(max);
    }
    let checker = builder.spawn_bfs();
    let mut pause = Duration::from_millis(1);
    while !checker.is_done() {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
        progress(CheckProgress { unique_states: checker.unique_state_count(), depth: checker.max_depth() });
    }
    let checker = checker.join();

    let found = checker.discoveries();
    let mut properties = BTreeMap::new();
    for &name in &invariants {
        let verdict = if found.contains_key(name) { Verdict::Violated } else { Verdict::Holds };
        properties.insert(name, verdict);
    }
    for &name in &witnesses {
        let verdict = if found.contains_key(name) { Verdict::Witnessed } else { Verdict::Missing };
        properties.insert(name, verdict);
    }
    let broken = invariants.iter().copied().find(|name| found.contains_key(name));
    let capped = options.max_states.filter(|&max| checker.state_count() >= max);
    let stopped_by = match (broken, capped) {
        (Some(name), _) => Some(format!("invariant {name} is violated")),
        (None, Some(max)) => Some(format!("--max-states {max}")),
        (None, None) => None,
    };
    let unique_states = checker.unique_state_count();
    let report = CheckReport {
        model: name.into(),
        limits,
        nodes,
        operations,
        states: checker.state_count(),
        unique_states,
        depth: checker.max_depth(),
        exhausted: stopped_by.is_none(),
        stopped_by,
        properties,
        collision_odds: collision_odds(unique_states),
        peak_memory_bytes: peak_memory_bytes(),
        wall_s: started.elapsed().as_secs_f64(),
    };
    let path = broken.and_then(|name| Some((name, found.get(name)?)));
    let counterexample = path.map(|(name, path)| {
        let actions = path.clone().into_actions().into_iter().map(|transition| transition.action);
        explain(checker.model(), name, actions.collect())
    });
    (report, counterexample)
}

/// Walks a path again, to tell what each step did.
fn explain<S: System>(
    rules: &Rules<S>,
    invariant: &'static str,
    actions: Vec<Action<NodeOf<S>>>,
) -> Counterexample<S> {
    let place = rules.invariants.iter().position(|candidate| candidate.name == invariant);
    let place = place.expect("only invariants of the system are violated");
    let mut world: World<S> = rules.initial();
    let mut steps = Vec::new();
    for action in actions {
        if world.breaks(place) {
            break; // stateright may report a path that goes on
        }
        let (next, effects) = rules.apply(&world, &action);
        world = next;
        steps.push(CounterexampleStep { action, effects });
    }
    let why = (rules.invariants[place].check)(&rules.observe(&world)).err();
    Counterexample { invariant, why: why.expect("the path ends where the invariant is broken"), steps }
}

/// The birthday bound for `n` strong 64-bit fingerprints.
fn collision_odds(n: usize) -> f64 {
    let n = n as f64;
    -(-n * (n - 1.0) / 2.0 / 2_f64.powi(64)).exp_m1()
}

/// What the operating system says; 0 where it does not.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

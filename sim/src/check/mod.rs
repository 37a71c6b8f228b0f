//! The model checker: explores every interleaving of a [`World`](crate::world::World) within [`Limits`], and says what that
//! proves.
//!
//! Two engines explore the same [`Rules`]: our own (`explorer`), which is fast, and stateright's, to which a
//! test compares it on every model.
//!
//! A verdict is a proof only if the space was **exhausted**. Beside every invariant that must always hold
//! stand witnesses that must sometimes be seen: a space in which nothing happens proves nothing.

pub(crate) mod again;
pub mod explore;
mod explorer;
mod model;
mod reference;
mod settling;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use coalmine_core::order::Order;
use serde::Serialize;

pub use self::settling::{NotKnown, SETTLE_ROUNDS, Unsettled};
use crate::spec::limits::{Lack, Limits};
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict::{NEVER_PANICS, SETTLES};
use crate::trace::text::thousands;
use crate::world::rules::PANICKED;
pub use crate::world::rules::Parted;
use crate::world::{Action, Rules};

/// How a property came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Always true, in all states that there are.
    Holds,
    /// Always true in the states that were visited, and these were not all.
    HoldsSoFar,
    /// Somewhere false.
    Violated,
    /// A limit was reached before it could be said.
    Unknown,
    /// Somewhere true.
    Witnessed,
    /// Nowhere true, in all states that there are.
    Missing,
    /// Nowhere true in the states that were visited, and these were not all.
    NotSeenSoFar,
    /// Nowhere true, and not to be expected within [these limits](System::lacks).
    OutOfReach,
}

impl Verdict {
    /// The same, where not all was visited.
    fn so_far(self) -> Self {
        match self {
            Self::Holds | Self::HoldsSoFar => Self::HoldsSoFar,
            Self::Missing | Self::OutOfReach | Self::NotSeenSoFar => Self::NotSeenSoFar,
            Self::Violated | Self::Unknown | Self::Witnessed => self,
        }
    }
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything was visited.
    Exhausted,
    /// An invariant is broken.
    Broken,
    /// All random walks that were asked for were walked.
    Walked,
    /// A cap was reached.
    Capped,
    /// Somebody [asked](CheckOptions::stop) for an end.
    Interrupted,
    /// Something came out differently when it was done again.
    NotDeterministic,
}

/// What a search says that somebody asked to end.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The model's name.
    pub model: String,
    /// What explored.
    pub explorer: Explorer,
    /// The limits of the space.
    pub limits: Limits,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many clients' requests there are.
    pub operations: usize,
    /// How many steps were taken.
    pub steps: usize,
    /// How many distinct states they led to.
    pub unique_states: usize,
    /// How many there are to be, if that is [pinned](crate::suite::Suite::pin) and could be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_states: Option<usize>,
    /// The longest of the shortest paths, counted in states (with stateright and more than one thread it may
    /// be longer).
    pub depth: usize,
    /// What was left out, because no invariant depends on it. What is lost matters to settling: see `settling_losses`.
    pub reductions: Vec<&'static str>,
    /// The budgets of which there was nothing: what they allow was not tried, and the verdict says nothing of it.
    pub not_tried: Vec<&'static str>,
    /// How the search ended.
    pub end: End,
    /// Every reachable state was visited, but for what the reductions leave out.
    pub exhausted: bool,
    /// What ended the search before that.
    pub stopped_by: Option<String>,
    /// Which property the counterexample violates, if one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<&'static str>,
    /// What came out differently when it was done again: then nothing that was asked is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_deterministic: Option<Parted>,
    /// What was asked, and how it came out.
    pub properties: BTreeMap<&'static str, Verdict>,
    /// Whether hosts ever let out early what waits in the safe order, if they keep a [wrong one](coalmine_core::order).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub let_out_early: Option<bool>,
    /// The option, or the reason, for which nobody asked whether states [settle](SETTLES); `None` if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settling_unasked: Option<&'static str>,
    /// What was lost in turn of what was under way, where it was asked whether states settle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settling_losses: Vec<String>,
    /// Where it could not be decided whether the system settles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settling_unknown: Option<NotKnown>,
    /// By witness that is out of reach: what must be allowed for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacks: BTreeMap<&'static str, Lack>,
    /// The odds that two of the states shared a fingerprint, so that one of them was not explored. (Verdicts and
    /// settled states are remembered by 64 bits, too, but a look-up compares one entry: that adds next to nothing.)
    pub collision_odds: f64,
    /// How often a node was run, if the engine counts that: far less often than there are steps.
    pub handler_runs: Option<u64>,
    /// The most memory the process has used meanwhile, in bytes (where the operating system does not say, so far).
    pub peak_memory_bytes: u64,
    /// How long it took, in seconds.
    pub wall_s: f64,
    /// Why the system cannot be explored, or the checkpoint not be read, so that nothing was done; or not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl CheckReport {
    /// Whether nothing ever happens: there is no state but the first.
    pub fn is_empty(&self) -> bool {
        self.exhausted && self.unique_states <= 1
    }

    /// Whether nothing was asked but whether anything [panics](NEVER_PANICS), which is asked of every system.
    pub fn asks_nothing(&self) -> bool {
        self.properties.keys().all(|name| *name == NEVER_PANICS)
    }

    /// What is to be said if the space was exhausted and is not the one that was pinned.
    pub fn changed(&self) -> Option<String> {
        let expected =
            self.expected_states.filter(|&states| self.exhausted && states != self.unique_states)?;
        let (states, expected) = (thousands(self.unique_states as u64), thousands(expected as u64));
        Some(format!("the space has changed: {states} distinct states instead of {expected}"))
    }

    /// Whether everything came out as it must: the space is the one that is known, something happens, something was
    /// asked, all was visited, all invariants hold, and all witnesses were seen that these
    /// limits let be expected.
    pub fn is_proof(&self) -> bool {
        let fine = |verdict: &Verdict| match verdict {
            Verdict::Holds | Verdict::Witnessed | Verdict::OutOfReach => true,
            Verdict::Violated | Verdict::Unknown | Verdict::Missing => false,
            Verdict::HoldsSoFar | Verdict::NotSeenSoFar => false,
        };
        let is_sound = !self.is_empty() && !self.asks_nothing() && self.changed().is_none();
        self.exhausted && is_sound && self.properties.values().all(fine)
    }

    /// Whether a limit kept some property from being decided.
    pub fn has_unknown(&self) -> bool {
        self.properties.values().any(|verdict| *verdict == Verdict::Unknown)
    }

    /// The invariants that were broken.
    pub fn violated(&self) -> impl Iterator<Item = &'static str> {
        self.properties.iter().filter(|(_, verdict)| **verdict == Verdict::Violated).map(|(name, _)| *name)
    }
}

/// A path from the beginning to a state that breaks an invariant.
pub struct Counterexample<S: System> {
    /// Which invariant, [`NEVER_PANICS`] or [`SETTLES`].
    pub invariant: &'static str,
    /// What happens, beginning [there](Rules::start_of).
    pub path: Vec<Action<NodeOf<S>>>,
}

/// What explores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Explorer {
    /// Ours, made for pure nodes: the same counts and counterexamples with any number of threads.
    #[default]
    Own,
    /// stateright's breadth-first search, to compare with.
    Stateright,
}

/// What is left out of a search because no invariant depends on it. stateright leaves out nothing but crash points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reductions {
    /// Leaves out steps that change nothing but what is under way or left of a budget: a delivery that changes nothing
    /// (also one at a node that is down), a timer or a request that comes to nothing.
    ///
    /// What a world can do, the same world with more packets under way and less spent can do as well: nothing
    /// ever forces a delivery, so a packet that is lost is a packet that does not arrive. Neither invariants
    /// nor witnesses see packets and budgets. So whatever is seen after such a step is also seen without it.
    ///
    /// That is so for what is *seen*. A system [settles](SETTLES) from a state because something is still under way,
    /// and not from the same state after it has arrived too early and was not heeded. So where it is asked whether
    /// states settle, whatever takes a packet away is visited.
    pub idle: bool,
    /// Leaves out losses, cuts and healings, for the same reason.
    pub losses: bool,
    /// Leaves out crashes within a step that differ in nothing that outlives the node: a crash falls before all of a
    /// step's effects, before each further record, message or reply, and after a fact that what follows cannot take
    /// back; or after the step. Timers and publications that happened before it are gone either way. (Between facts
    /// with which a step begins and its first message nothing crashes: the same with the message under way can do as
    /// much.) Of first boots, and of requests that let their client go on or that a history hears of, nothing is left out. A counterexample may
    /// be a step longer for each crash: that behind the last effect that outlives the node is a step of its own.
    pub crash_points: bool,
    /// Leaves out orders of steps that make no difference, by sleep sets (Godefroid, *Partial-Order Methods for
    /// the Verification of Concurrent Systems*, LNCS 1032, 1996, §5): all states are visited, by shortest
    /// paths, but along fewer steps. `explorer/sleep.rs` says which, and why. Not together with `symmetry`.
    pub sleep: bool,
    /// Takes worlds for one that differ only in who of the [interchangeable](System::symmetry) members is who,
    /// if the system has some. Nobody asks then whether a state settles: a schedule tells members apart.
    pub symmetry: bool,
}

impl Reductions {
    /// Everything is visited.
    pub const NONE: Self =
        Self { idle: false, losses: false, crash_points: false, sleep: false, symmetry: false };
    /// What a search leaves out if nobody says.
    pub const USUAL: Self =
        Self { idle: true, losses: true, crash_points: true, sleep: true, symmetry: false };

    /// Those that a search of a system can do together: orbits are counted awake.
    fn together(self, options: &CheckOptions, has_symmetry: bool) -> Self {
        let symmetry = self.symmetry && has_symmetry;
        Self { symmetry, sleep: self.sleep && !symmetry && options.walks.is_none(), ..self }
    }

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        let names = [
            (self.idle, "idle steps"),
            (self.losses, "losses"),
            (self.crash_points, "crash points"),
            (self.sleep, "orders"),
            (self.symmetry, "symmetry"),
        ];
        names.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect()
    }
}

/// How a check runs.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// What explores.
    pub explorer: Explorer,
    /// What is left out.
    pub reductions: Reductions,
    /// Whether every state must [settle](SETTLES), too. Only our own engine asks.
    pub settle: bool,
    /// After how many rounds that do not repeat it is [not known](Verdict::Unknown) whether a state settles: from 1 to
    /// 1,048,575.
    pub settle_rounds: usize,
    /// Walk at random, once for each of these seeds, instead of visiting all. Only our own engine walks.
    pub walks: Option<Range<u64>>,
    /// How many threads search.
    pub threads: usize,
    /// Keep the search in this file, and go on from it if it is there. Only a search of our own engine can.
    pub checkpoint: Option<PathBuf>,
    /// Stop, unexhausted, after this many steps (and what was begun with them).
    pub max_steps: Option<usize>,
    /// Stop, unexhausted, at paths of this many states.
    pub max_depth: Option<usize>,
    /// Stop, unexhausted, once the process uses so many bytes. Only our own engine looks.
    pub memory_limit: Option<u64>,
    /// Stop, unexhausted, once this is set. Only our own engine looks.
    pub stop: Arc<AtomicBool>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            explorer: Explorer::default(),
            reductions: Reductions::USUAL,
            settle: true,
            settle_rounds: SETTLE_ROUNDS,
            walks: None,
            threads: 1,
            checkpoint: None,
            max_steps: None,
            max_depth: None,
            memory_limit: None,
            stop: Arc::default(),
        }
    }
}

/// Where a running check stands.
#[derive(Clone, Copy, Debug)]
pub struct CheckProgress {
    /// Distinct states so far.
    pub unique_states: usize,
    /// The depth so far.
    pub depth: usize,
    /// How many states wait to be explored, as far as the engine tells.
    pub frontier: Option<usize>,
}

/// What ended a search before everything was visited.
struct Stop {
    end: End,
    why: String,
}

impl Stop {
    fn capped(why: impl Into<String>) -> Self {
        Self { end: End::Capped, why: why.into() }
    }
}

impl CheckOptions {
    /// Whether a space has as many distinct states as is pinned: other engines, and other reductions, count others, and
    /// where nobody asks whether states settle fewer are visited.
    pub fn counts_are_known(&self) -> bool {
        let is_usual = self.settle && self.reductions == Reductions::USUAL;
        is_usual && self.explorer == Explorer::Own && self.walks.is_none()
    }

    /// Whether a search that has taken so many steps must end.
    fn stop_after(&self, steps: usize) -> Option<Stop> {
        if let Some(max) = self.max_steps.filter(|&max| steps >= max) {
            return Some(Stop::capped(format!("--max-steps {max}")));
        }
        if let Some(limit) = self.memory_limit.filter(|&limit| resident_memory_bytes() >= limit) {
            return Some(Stop::capped(format!("memory (--memory-limit {limit} bytes)")));
        }
        let is_asked = self.stop.load(Ordering::Relaxed);
        is_asked.then(|| Stop { end: End::Interrupted, why: INTERRUPTED.into() })
    }
}

/// What an engine found.
struct Found<S: System> {
    /// How many steps were taken.
    steps: usize,
    /// How many distinct states there are.
    states: usize,
    /// The longest of the shortest paths, counted in states.
    depth: usize,
    /// How often a node was run, if the engine counts that.
    runs: Option<u64>,
    /// Which bits of a verdict were seen anywhere.
    seen: u64,
    /// What ended the search before everything was visited, if no invariant did.
    stopped_by: Option<Stop>,
    /// What is broken, and how to get there, all boots included.
    broken: Option<(Broken, Vec<Action<NodeOf<S>>>)>,
    /// What came out differently when it was done again.
    parted: Option<Parted>,
    /// Why it is not known whether the system settles, and from where.
    not_known: Option<(String, Vec<Action<NodeOf<S>>>)>,
    /// What is wrong with the checkpoint.
    error: Option<String>,
}

impl<S: System> Found<S> {
    /// Nothing was done.
    fn nothing(why: String) -> Self {
        let stopped_by = Some(Stop::capped("its checkpoint"));
        let (steps, states, depth, seen) = (0, 0, 0, 0);
        let (runs, broken, parted, not_known) = (None, None, None, None);
        Self { steps, states, depth, runs, seen, stopped_by, broken, parted, not_known, error: Some(why) }
    }
}

/// What a search ends with.
#[derive(Clone, Debug)]
enum Broken {
    /// The invariant with this number.
    Invariant(usize),
    /// Something has panicked.
    Panic,
    /// Something panics from here on, when it is asked whether the system settles.
    SettlingPanics,
    /// From here the system does not settle.
    Settling,
}

/// Explores a system within limits.
pub fn check<S: System>(
    name: &str,
    mut rules: Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> (CheckReport, Option<Counterexample<S>>) {
    forget_peak_memory();
    rules.every_crash_point = !options.reductions.crash_points;
    let started = Instant::now();
    let conclude = |rules: &Rules<S>, found| conclude(name, rules, options, started, found);
    if let Err(why) = Rules::fits(&rules.system) {
        return conclude(&rules, Found::nothing(why));
    }
    let settle = options.settle && rules.system.never_rests().is_none();
    let options = &CheckOptions { settle, ..options.clone() };
    match options.explorer {
        Explorer::Own => conclude(
            &rules,
            match &options.walks {
                None => explorer::explore(name, &rules, options, progress).unwrap_or_else(Found::nothing),
                Some(seeds) => explorer::walk(&rules, options, seeds, progress),
            },
        ),
        Explorer::Stateright => reference::explore(rules, options, progress, conclude),
    }
}

fn conclude<S: System>(
    name: &str,
    rules: &Rules<S>,
    options: &CheckOptions,
    started: Instant,
    mut found: Found<S>,
) -> (CheckReport, Option<Counterexample<S>>) {
    let walked = found.broken.take().map(|(broken, path)| again::walked(rules, broken, path)).transpose();
    let parted = rules.parted().cloned().or(found.parted.take());
    match walked {
        Ok(broken) => (found.broken, found.parted) = (broken, parted),
        Err(other) => found.parted = parted.or(Some(other)),
    }
    let (mut properties, mut lacks) = (BTreeMap::new(), BTreeMap::new());
    let has_seen = |bit: usize| found.seen.checked_shr(bit as u32).unwrap_or(0) & 1 != 0;
    for (bit, invariant) in rules.invariants.iter().enumerate() {
        let is_broken = has_seen(bit);
        properties.insert(invariant.name, if is_broken { Verdict::Violated } else { Verdict::Holds });
    }
    for (bit, witness) in rules.witnesses.iter().enumerate() {
        let is_seen = has_seen(rules.invariants.len() + bit);
        let lack = rules.system.lacks(witness.name, &rules.limits).filter(|_| !is_seen);
        lacks.extend(lack.map(|lack| (witness.name, lack)));
        properties.insert(
            witness.name,
            match (is_seen, lack) {
                (true, _) => Verdict::Witnessed,
                (false, None) => Verdict::Missing,
                (false, Some(_)) => Verdict::OutOfReach,
            },
        );
    }
    let reductions = match options.explorer {
        Explorer::Own => options.reductions.together(options, rules.system.symmetry().is_some()),
        Explorer::Stateright => {
            Reductions { crash_points: options.reductions.crash_points, ..Reductions::NONE }
        }
    };
    let unsettled = matches!(found.broken, Some((Broken::Settling, _)));
    let settling_unasked = match options.explorer {
        Explorer::Stateright => Some("--engine stateright"),
        Explorer::Own if rules.system.never_rests().is_some() => rules.system.never_rests(),
        Explorer::Own if !options.settle => Some("--no-settle"),
        Explorer::Own if reductions.symmetry => Some("--symmetry"),
        Explorer::Own => None,
    };
    if settling_unasked.is_none() {
        let verdict = match &found.not_known {
            _ if unsettled => Verdict::Violated,
            Some(_) => Verdict::Unknown,
            None => Verdict::Holds,
        };
        properties.insert(SETTLES, verdict);
    }
    let is_asked = settling_unasked.is_none();
    let settling_losses = if is_asked { settling::settling_asked(&rules.limits) } else { Vec::new() };
    let settling_unknown = found.not_known.map(|(why, path)| {
        let path = rules.without_plain_boots(path);
        let path = path.iter().map(|action| rules.describe(action)).collect();
        NotKnown { why, path }
    });
    let broken = found.broken.as_ref().and_then(|(broken, _)| match broken {
        Broken::Invariant(number) => {
            Some(format!("invariant {} is violated", rules.invariants[*number].name))
        }
        Broken::Panic | Broken::SettlingPanics => Some("a panic".into()),
        Broken::Settling => None, // the search has gone on
    });
    let counterexample = found.broken.map(|(broken, path)| broken.at_the_end_of(rules, path));
    let invariant = counterexample.as_ref().map(|found| found.invariant);
    let has_panicked = found.seen & PANICKED != 0 || invariant == Some(NEVER_PANICS);
    properties.insert(NEVER_PANICS, if has_panicked { Verdict::Violated } else { Verdict::Holds });
    let (end, stopped_by) = match (broken, found.stopped_by) {
        (Some(broken), _) => (End::Broken, Some(broken)),
        (None, Some(Stop { end, why })) => (end, Some(why)),
        (None, None) => (End::Exhausted, None),
    };
    if stopped_by.is_some() {
        properties.values_mut().for_each(|verdict| *verdict = verdict.so_far());
    }
    let mut report = CheckReport {
        model: name.into(),
        explorer: options.explorer,
        limits: rules.limits,
        nodes: rules.members.len(),
        operations: rules.operations,
        steps: found.steps,
        unique_states: found.states,
        expected_states: None,
        depth: found.depth,
        reductions: reductions.names(),
        not_tried: rules.not_tried(),
        end,
        exhausted: stopped_by.is_none(),
        stopped_by,
        counterexample: invariant,
        not_deterministic: None,
        properties,
        let_out_early: (rules.order != Order::Safe).then(|| rules.let_out_early.load(Ordering::Relaxed)),
        settling_unasked,
        settling_losses,
        settling_unknown,
        lacks,
        collision_odds: collision_odds(found.states),
        handler_runs: found.runs,
        peak_memory_bytes: memory_bytes("VmHWM:"),
        wall_s: started.elapsed().as_secs_f64(),
        error: found.error,
    };
    if let Some(parted) = found.parted {
        report.is_not_deterministic(parted);
        return (report, None);
    }
    (report, counterexample)
}

/// Whether the system settles at the end of a path: see [`SETTLES`].
pub fn settles_after<S: System>(rules: &Rules<S>, path: &[Action<NodeOf<S>>]) -> Result<(), Unsettled> {
    let end = path.iter().fold(rules.start_of(path), |world, action| rules.apply(&world, action).0);
    explorer::settles(rules, &end)
}

/// The birthday bound for `n` strong 64-bit fingerprints.
fn collision_odds(n: usize) -> f64 {
    let n = n as f64;
    -(-n * (n - 1.0) / 2.0 / 2_f64.powi(64)).exp_m1()
}

/// How much memory the process uses now, in bytes.
fn resident_memory_bytes() -> u64 {
    memory_bytes("VmRSS:")
}

/// Lets the peak of the memory begin anew, where the operating system can (Linux, proc(5)).
fn forget_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// What the operating system says; 0 where it does not.
fn memory_bytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

//! Runs of both engines, in time: whatever can be seen in one, the plain reference has seen as well, as long as the run
//! stays within the budgets. (A lost message is one that does not arrive, so losses and cuts need none.)

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use coalmine_core::node::{Event, RequestId};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::plan::{Draw, Links, Plan, PlanStep, Stream, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::System;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::trace::{Entry, TraceEvent};

use crate::compare::{MOST, at_most};
use crate::plain::Plain;
use crate::state::State;
use crate::system::{Mode, Tables};
use crate::table::{On, Op, Rule, TableNode, Timer};
use crate::view::Seen;
use crate::{Spec, name};

/// How many seeds each system runs under, in the direct engine; one of them under madsim, for every so many systems.
const SEEDS: u64 = 3;
const MADSIM_EVERY: u64 = 40;
/// How often requests may be repeated in a run.
const RETRIES: u8 = 2;

/// What runs came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many runs stayed within the budgets, and were compared.
    pub compared: u64,
    /// How many of them under madsim.
    pub madsim: u64,
}

/// Runs a system, and compares what is seen; `number` says under which seeds.
pub fn stay_within(spec: &Spec, number: u64) -> Result<Runs, String> {
    let spec = Arc::new(timed(spec));
    let Some(all) = Plain::new(&spec).visit(MOST) else { return Ok(Runs::default()) };
    if all.keys().any(State::is_over) {
        return Ok(Runs::default());
    }
    let views: Seen = all.keys().map(State::view).collect();
    let mut runs = Runs::default();
    for seed in number * SEEDS..(number + 1) * SEEDS {
        let engines = [(Engine::Direct, true), (Engine::Madsim, seed % (SEEDS * MADSIM_EVERY) == 0)];
        for (engine, _) in engines.into_iter().filter(|(_, is_run)| *is_run) {
            let seen = if spec.ordered {
                run::<true>(&spec, engine, seed)
            } else {
                run::<false>(&spec, engine, seed)
            };
            let Some(seen) = seen.map_err(|why| format!("{engine}: {why}, seed {seed}"))? else { continue };
            at_most(&format!("{engine}: seen under seed {seed}"), &seen, &views)?;
            runs.compared += 1;
            runs.madsim += u64::from(engine == Engine::Madsim);
        }
    }
    Ok(runs)
}

/// A system as it is when there is time: any number of timers fire, disks sync late, members start when they like.
fn timed(spec: &Spec) -> Spec {
    fn without_beat(op: &Op) -> Op {
        match op {
            Op::Arm(Timer::Beat) => Op::Arm(Timer::Tock),
            Op::GotoLife => Op::Goto(2), // lives have other names there
            Op::Disarm(Timer::Beat) => Op::Disarm(Timer::Tock),
            Op::Choose(ways) => {
                Op::Choose(ways.iter().map(|ops| ops.iter().map(without_beat).collect()).collect())
            }
            Op::Arm(_) | Op::Disarm(_) | Op::Goto(_) | Op::Append(_) | Op::Send(..) | Op::Reply => op.clone(),
            Op::SendAtOnce(..) | Op::ReplyAtOnce | Op::Forget => op.clone(),
            Op::Publish | Op::Observe(_) | Op::WhenDurable(_) | Op::Panic => op.clone(),
        }
    }
    let mut spec = spec.clone();
    for rule in spec.members.iter_mut().flatten() {
        let Rule { on, ops, .. } = rule;
        if *on == On::Timer(Timer::Beat) {
            *on = On::Timer(Timer::Tock);
        }
        *ops = ops.iter().map(without_beat).collect();
    }
    // One request for each client: nobody waits here for its turn.
    let mut clients = std::collections::BTreeSet::new();
    spec.asks.retain(|ask| clients.insert(ask.client));
    let of = &mut spec.budgets;
    (of.cuts, of.drops, of.duplicates, of.periodic, of.unhealthy, of.without) = (0, 0, 0, 0, 0, None);
    of.retries = if spec.asks.is_empty() { 0 } else { RETRIES };
    of.late_boots = spec.members.len() as u8 - 1;
    of.crashes += of.wipes; // whose disk is lost is down first
    of.timeouts = None;
    of.late_disk = true;
    of.persistent = true; // equal messages are one in the checker, and two in time
    spec
}

/// What is seen in a run; none if it does not stay within the budgets. `Err` if it comes to no end.
fn run<const ORDERED: bool>(spec: &Arc<Spec>, engine: Engine, seed: u64) -> Result<Option<Seen>, String> {
    let seen = Arc::new(Mutex::new(Seen::new()));
    let current = (Arc::clone(spec), Arc::clone(&seen));
    CURRENT.set(Some(current.clone()));
    let under_madsim = Place::of(thread_name(seed), current);
    let scenario = Scenario::<Tables<ORDERED>> {
        name: NAME,
        about: "A random system.",
        system,
        plan: |_, _| unreachable!("the plan is drawn here"),
        expect: nothing_more::<Tables<ORDERED>>,
    };
    let plan = plan(spec, seed);
    let options = RunOptions { keep_trace: true, ..RunOptions::of(seed) };
    let report = scenario.run_plan(engine, &plan, options);
    drop(under_madsim);
    if !matches!(report.verdict, Verdict::Passed | Verdict::NotConverged { .. } | Verdict::Violated { .. }) {
        return Err(report.verdict.describe());
    }
    let trace = report.trace.ok_or("there is no trace")?;
    let seen = lock(&seen).clone();
    Ok((repeated(&trace) <= u64::from(spec.budgets.retries)).then_some(seen))
}

/// How many requests were taken again.
fn repeated(trace: &[Entry<TableNode>]) -> u64 {
    let mut taken = BTreeMap::<RequestId, u64>::new();
    for entry in trace {
        if let TraceEvent::Stepped { event: Event::Request { id, .. }, .. } = &entry.what {
            *taken.entry(*id).or_default() += 1;
        }
    }
    taken.values().map(|times| times - 1).sum()
}

/// A plan within the budgets.
fn plan(spec: &Spec, seed: u64) -> Plan<TableNode> {
    const HEAL_AT_MS: u64 = 8_000;
    let rng = &mut Stream::Plan.of(seed);
    let members = spec.members.len() as u64;
    let mut steps = Vec::new();
    let mut at = |rng: &mut _, what| {
        let when = match Draw::below(rng, 3) {
            0 => When::AtMs(Draw::below(rng, 50)),
            _ => When::AtMs(Draw::below(rng, HEAL_AT_MS)),
        };
        steps.push(PlanStep { when, what });
    };
    let system = Tables::<true> { spec: Arc::new(spec.clone()), mode: Mode::Visit, seen: None };
    for ask in system.operations() {
        at(rng, What::Ask { to: ask.to, id: ask.id, request: ask.request });
    }
    let wipes = spec.budgets.wipes;
    for (budget, is_wipe) in [(spec.budgets.crashes - wipes, false), (wipes, true)] {
        for _ in 0..budget {
            let (node, down_ms) = (name(rng.below(members) as usize), Some(10 + rng.below(3_000)));
            let fault = if is_wipe { Fault::Wipe { node, down_ms } } else { Fault::Crash { node, down_ms } };
            at(rng, What::Fault(fault));
        }
    }
    if members > 1 && rng.permille(500) {
        let from = rng.below(members) as usize;
        let (from, to) = (vec![name(from)], vec![name((from + 1) % members as usize)]);
        let (both_ways, for_ms) = (rng.permille(500), 10 + rng.below(2_000));
        at(rng, What::Fault(Fault::Cut { from, to, both_ways, for_ms }));
    }
    if rng.permille(500) {
        let node = name(rng.below(members) as usize);
        let delay_ms = 1 + rng.below(1_500);
        at(rng, What::Fault(Fault::SlowSync { node, delay_ms, for_ms: 3_000 }));
    }
    let mut some = |permille: u32| if rng.permille(500) { permille } else { 0 };
    let links = Links {
        loss_permille: some(200),
        duplicate_permille: some(300),
        delay_permille: some(300),
        delay_ms: 2_000,
    };
    Plan {
        members: None,
        mistake: None,
        links,
        steps,
        heal_at_ms: HEAL_AT_MS,
        converge_within_ms: 500,
        steady_ms: 100,
    }
}

/// Scenarios make their systems by functions that know nothing: this is what they are to make.
type Current = (Arc<Spec>, Arc<Mutex<Seen>>);

const NAME: &str = "random";

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// By the name of the thread, of which every run under madsim has its own.
static UNDER_MADSIM: Mutex<BTreeMap<String, Current>> = Mutex::new(BTreeMap::new());

/// Told when a place there is free again.
static FREED: Condvar = Condvar::new();

/// A place in [`UNDER_MADSIM`]. Who runs the same seed meanwhile, of another system, waits until it is given back: the two
/// threads would have one name.
struct Place(String);

impl Place {
    fn of(name: String, current: Current) -> Self {
        let taken = |map: &mut BTreeMap<String, Current>| map.contains_key(&name);
        let places = FREED.wait_while(lock(&UNDER_MADSIM), taken);
        places.unwrap_or_else(PoisonError::into_inner).insert(name.clone(), current);
        Self(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&UNDER_MADSIM).remove(&self.0);
        FREED.notify_all();
    }
}

fn thread_name(seed: u64) -> String {
    format!("{NAME}-{seed}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system<const ORDERED: bool>() -> Tables<ORDERED> {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let under_madsim = lock(&UNDER_MADSIM).get(&name).cloned();
    let (spec, seen) =
        under_madsim.or_else(|| CURRENT.with_borrow(Clone::clone)).expect("it was set before the run");
    Tables { spec, mode: Mode::Visit, seen: Some(seen) }
}

//! The main job sees what it is to see: its spaces are those that are pinned, it draws every fault, it excuses no
//! witness that can be seen, and no way of healing hides that another one is dead.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::time::Duration;

use coalmine::rollout::{LIMITS, RolloutSystem, chaos, model};
use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::Invariant;
use coalmine_core::rollout::healing::Healing;
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Verdict as Property, check};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::faults::Effect;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::plan::Plan;
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::SETTLES;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, Job};
use coalmine_sim::sweep::{Engines, SweepOptions, sweep};
use coalmine_sim::world::Rules;

/// Every part of the main job, and every model as it is checked by `check all`, says how large it is.
#[test]
fn the_spaces_of_the_main_job_are_pinned() {
    let suite = coalmine::suite();
    let jobs = suite.main_job.iter().filter_map(|job| match job {
        Job::Check(name, args) => Some((*name, *args)),
        Job::Sweep(..) => None,
    });
    let all = suite.models.iter().map(|model| (model.name(), ModelArgs::default()));
    for (name, args) in jobs.chain(all).collect::<Vec<_>>() {
        let model = suite.find_model(name).expect("a model of the suite");
        assert!(suite.pinned(model, args).is_some(), "how many states has check {name}{args}?");
    }
    for (name, args, _) in &suite.pins {
        let twice = suite.pins.iter().filter(|(other, others, _)| other == name && others == args).count();
        assert_eq!(twice, 1, "{name}{args}");
    }
}

/// A fault that no seed draws is a fault that nobody has looked at.
#[test]
fn every_fault_is_drawn_and_takes_effect_in_both_engines() {
    for engines in [Engines::Direct, Engines::Madsim] {
        let options = SweepOptions { engines, ..SweepOptions::of(0..400) };
        let report = sweep(&chaos::scenario(), &options, &|_, _| {});
        assert!(report.failed.is_empty(), "{engines:?}: {:?}", report.failures);
        let never: Vec<_> = report.effects.never().iter().map(Effect::name).collect();
        assert!(never.is_empty(), "{engines:?} never exercises {never:?}");
        assert!(report.converged_after.percentile_ms(100).is_some_and(|ms| ms > 0), "{report:?}");
    }
}

/// A witness is excused exactly where the model cannot show it. That more of a budget never hides a witness makes the
/// small spaces speak for the large ones.
#[test]
fn a_witness_is_excused_exactly_where_it_cannot_be_seen() {
    let mut spaces = Vec::new();
    for (nodes, most) in [(1, 1), (2, 2), (3, 1)] {
        for budgets in budgets(most) {
            for operations in 1..=2 {
                spaces.push(space(nodes, operations, budgets));
            }
        }
    }
    // Where three nodes need two of something.
    for [crashes, wipes, timeouts, periodic, inputs] in
        [[0, 0, 2, 0, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 1]]
    {
        spaces.push(space(3, 1, [crashes, wipes, timeouts, periodic, inputs, 0, 0]));
    }
    let options = CheckOptions { settle: false, ..CheckOptions::default() };
    let mut wrong = Vec::new();
    for args in spaces {
        // Nobody keeps what the only disk of a cluster has lost; nor what both have.
        if args.wipes.unwrap_or(0) >= u8::try_from(args.nodes.unwrap_or(0)).expect("few") {
            continue;
        }
        let (report, _) = model().check(args, options.clone(), &mut |_| {});
        assert!(report.exhausted, "{args}: {report:#?}");
        let rules = model().rules(args);
        for witness in rules.system.witnesses() {
            let is_excused = rules.system.lacks(witness.name, &rules.limits).is_some();
            let is_seen = report.properties[witness.name] == Property::Witnessed;
            if is_seen == is_excused {
                wrong.push(format!("check rollout{args}: {} is seen: {is_seen}", witness.name));
            }
        }
        assert!(report.is_proof() || !wrong.is_empty(), "a red default on healthy code:{args}: {report:#?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Crashes, wipes, time-outs, periodic timers, inputs, retries, duplicates: all that sum up to so many.
fn budgets(most: u8) -> Vec<[u8; 7]> {
    let mut all = vec![[0; 7]];
    for _ in 0..most {
        let more = |budgets: &[u8; 7]| {
            let budgets = *budgets;
            (0..7).map(move |place| {
                let mut more = budgets;
                more[place] += 1;
                more
            })
        };
        let next: Vec<_> = all.iter().flat_map(more).collect();
        all.extend(next);
        all.sort_unstable();
        all.dedup();
    }
    all
}

fn space(nodes: u32, operations: u32, budgets: [u8; 7]) -> ModelArgs {
    let [crashes, wipes, timeouts, periodic, inputs, retries, duplicates] = budgets.map(Some);
    ModelArgs {
        nodes: Some(nodes),
        operations: Some(operations),
        drops: Some(0),
        crashes,
        wipes,
        duplicates,
        timeouts,
        periodic,
        retries,
        inputs,
        ..ModelArgs::default()
    }
}

/// A lost disk of the coordinator is no failure to settle: it is excluded by those who are in doubt, and that is seen.
#[test]
fn with_a_lost_disk_the_rollout_settles_as_it_promises() {
    let one = Some(1);
    let args = ModelArgs { wipes: one, crashes: Some(0), timeouts: one, ..ModelArgs::default() };
    let (report, found) = model().check(args, CheckOptions::default(), &mut |_| {});
    assert!(report.is_proof(), "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
    assert_eq!(report.properties[SETTLES], Property::Holds);
    assert_eq!(report.properties["excluded"], Property::Witnessed);
}

fn chaos_without(healing: Healing) -> Scenario<RolloutSystem> {
    let system: fn() -> RolloutSystem = match healing {
        Healing::Resends => || RolloutSystem::new(3, 1).without(Healing::Resends),
        Healing::Heartbeats => || RolloutSystem::new(3, 1).without(Healing::Heartbeats),
        Healing::Questions => || RolloutSystem::new(3, 1).without(Healing::Questions),
        Healing::Proposals => || RolloutSystem::new(3, 1).without(Healing::Proposals),
        Healing::Announcements => || RolloutSystem::new(3, 1).without(Healing::Announcements),
    };
    Scenario { system, ..chaos::scenario() }
}

/// Each way of healing is switched off in turn; the others still bring everybody to rest, from every state and from
/// what chaos leaves. So if one of them is dead it is seen where another one is off. Only questions have no substitute:
/// a coordinator that restarts does not announce what it has aborted, and whoever voted for that must ask.
#[test]
fn without_any_one_way_of_healing_the_others_still_heal() {
    for healing in Healing::ALL {
        let one = Limits { timeouts: Some(1), ..LIMITS };
        let system = RolloutSystem::new(3, 1).without(healing);
        let (report, _) = check("rollout", Rules::new(system, one), &CheckOptions::default(), &mut |_| {});
        if healing == Healing::Questions {
            assert!(report.violated().eq([SETTLES]), "{report:#?}");
            continue;
        }
        assert!(report.exhausted && report.violated().next().is_none(), "{healing:?}: {report:#?}");
        let options = SweepOptions { engines: Engines::Direct, max_failures: 3, ..SweepOptions::of(0..300) };
        let report = sweep(&chaos_without(healing), &options, &|_, _| {});
        assert!(report.failed.is_empty(), "{healing:?}: {:#?}", report.failures);
    }
}

/// A node whose heart stops beating after the third beat; nothing depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Heart(u8);

impl Node for Heart {
    /// How often it beats.
    type Config = u8;
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(_: &u8, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer((), Duration::from_millis(100));
        Self(0)
    }

    fn on(&mut self, beats: &u8, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Timer(()) = event
            && self.0 < *beats
        {
            self.0 = (self.0 + 1).min(4);
            cx.set_timer((), Duration::from_millis(100));
        }
    }
}

impl HttpApi for Heart {}

#[derive(Debug)]
struct Hearts {
    beats: u8,
    is_periodic: bool,
}

impl System for Hearts {
    type Node = Heart;
    type History = ();

    fn members(&self) -> Vec<(NodeId, u8)> {
        vec![(NodeId(1), self.beats)]
    }
    fn operations(&self) -> Vec<Operation<Heart>> {
        Vec::new()
    }
    fn is_periodic(&self, (): &()) -> bool {
        self.is_periodic
    }
    fn invariants(&self) -> Vec<Invariant<Heart, ()>> {
        Vec::new()
    }
}

/// A timer that nobody arms again is seen, although nothing else is wrong; one that need not be armed is not.
#[test]
fn at_rest_every_periodic_timer_is_armed() {
    let hearts: [(fn() -> Hearts, bool); 3] = [
        (|| Hearts { beats: u8::MAX, is_periodic: true }, true),
        (|| Hearts { beats: 3, is_periodic: false }, true),
        (|| Hearts { beats: 3, is_periodic: true }, false),
    ];
    for (system, is_fine) in hearts {
        for engine in [Engine::Direct, Engine::Madsim] {
            let plan = |_: &_, _: &mut _| Plan::quiet([]);
            let expect = nothing_more::<Hearts>;
            let scenario = Scenario { name: "hearts", about: "A heart.", system, plan, expect };
            let plan = scenario.plan_of(&system(), 1);
            let verdict = scenario.run_plan(engine, &plan, RunOptions::of(1)).verdict;
            match &verdict {
                Verdict::Passed => assert!(is_fine, "{engine}: {:?}", system()),
                Verdict::NotConverged { why } => {
                    assert!(
                        !is_fine && why.contains("its timer will never fire again: ()"),
                        "{engine}: {why}"
                    );
                }
                other => panic!("{engine}: {other:?}"),
            }
        }
        let limits = Limits { timeouts: Some(1), periodic: 1, ..Limits::NONE };
        let (report, _) =
            check("hearts", Rules::new(system(), limits), &CheckOptions::default(), &mut |_| {});
        let settles = if is_fine { Property::Holds } else { Property::Violated };
        assert_eq!(report.properties[SETTLES], settles, "{:?}: {report:#?}", system());
    }
}

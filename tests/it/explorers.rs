//! Our explorer and stateright's visit the same worlds: the same states, steps, depth and verdicts on every
//! model, with any number of threads, also where a bound stops them.

use std::path::Path;

use coalmine::twophase::TwoPhaseSystem;
use coalmine::{counter, register, rollout, twophase};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::Invariant;
use coalmine_sim::check::{CheckOptions, CheckReport, Explorer, Reductions, Verdict};
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::SETTLES;
use coalmine_sim::suite::{AnyModel, ModelDef};
use coalmine_tests::{model_of, space_of};

fn explore(model: &dyn AnyModel, args: ModelArgs, options: CheckOptions) -> (CheckReport, Option<String>) {
    let (report, found) = model.check(args, options, &mut |_| {});
    (report, found.map(|found| found.story.to_string()))
}

fn stateright() -> CheckOptions {
    let reductions = Reductions::NONE;
    CheckOptions { explorer: Explorer::Stateright, reductions, ..CheckOptions::default() }
}

/// Ours, visiting all that stateright visits.
fn own(threads: usize) -> CheckOptions {
    CheckOptions { threads, reductions: Reductions::NONE, settle: false, ..CheckOptions::default() }
}

fn counts(report: &CheckReport) -> (usize, usize, usize) {
    (report.steps, report.unique_states, report.depth)
}

/// Everything that a report says, whatever was spent for it.
fn all_but_cost(report: &CheckReport) -> String {
    let CheckReport { properties, stopped_by, exhausted, .. } = report;
    format!("{:?} {properties:?} {stopped_by:?} {exhausted}", counts(report))
}

/// Small, and together with every kind of action there is.
fn spaces() -> Vec<(Box<dyn AnyModel>, ModelArgs)> {
    let none = ModelArgs {
        crashes: Some(0),
        drops: Some(0),
        duplicates: Some(0),
        timeouts: Some(0),
        periodic: Some(0),
        ..ModelArgs::default()
    };
    let one = Some(1);
    let two_nodes = ModelArgs { nodes: Some(2), ..none };
    let of_rollout = [
        none,
        ModelArgs { crashes: one, ..none },
        ModelArgs { crashes: Some(2), ..two_nodes },
        ModelArgs { crashes: one, timeouts: one, disk: Some(Disk::Async), ..two_nodes },
        ModelArgs { operations: Some(2), crashes: one, ..two_nodes },
        ModelArgs { drops: Some(2), duplicates: one, ..none },
        ModelArgs { timeouts: one, ..none },
        ModelArgs { periodic: one, drops: one, ..none },
        ModelArgs { cuts: Some(2), ..none },
        ModelArgs { cuts: one, timeouts: one, ..two_nodes },
        ModelArgs { retries: one, inputs: Some(2), ..none },
    ];
    let rollout = of_rollout.map(|args| (Box::new(rollout::model()) as Box<dyn AnyModel>, args));
    let twophase = [3, 4, 5].map(|nodes| {
        let args = ModelArgs { nodes: Some(nodes), ..ModelArgs::default() };
        (Box::new(twophase::model()) as Box<dyn AnyModel>, args)
    });
    rollout.into_iter().chain(twophase).collect()
}

#[test]
fn both_explorers_visit_the_same_states() {
    for (model, args) in spaces() {
        let (reference, _) = explore(&*model, args, stateright());
        for threads in 1..=3 {
            let (report, _) = explore(&*model, args, own(threads));
            let words = format!("{} {args:?} on {threads} threads", model.name());
            assert_eq!(all_but_cost(&report), all_but_cost(&reference), "{words}");
            assert!(report.exhausted, "{words}");
            let runs = report.handler_runs.expect("our own explorer counts them");
            assert!((1..report.steps as u64).contains(&runs), "{words}: a node was run {runs} times");
        }
    }
}

/// Every reduction alone, then all that a search does if nobody says.
const REDUCTIONS: [Reductions; 5] = [
    Reductions { idle: true, ..Reductions::NONE },
    Reductions { losses: true, ..Reductions::NONE },
    Reductions { crash_points: true, ..Reductions::NONE },
    Reductions { sleep: true, ..Reductions::NONE },
    Reductions::USUAL,
];

/// What is left out changes the verdict on nothing, also not on whether all states settle: neither on a sound node nor,
/// below, on a broken one.
#[test]
fn what_is_left_out_changes_no_verdict() {
    let gone = ModelArgs {
        nodes: Some(2),
        crashes: Some(0),
        wipes: Some(2),
        drops: Some(1),
        timeouts: Some(0),
        ..ModelArgs::default()
    };
    let unsettled: (Box<dyn AnyModel>, ModelArgs) = (Box::new(rollout::model()), gone);
    let mut fewer = [0; REDUCTIONS.len()];
    for (model, args) in spaces().into_iter().chain(others()).chain([unsettled]) {
        let of = |reductions| {
            let options = CheckOptions { reductions, settle: true, ..own(2) };
            explore(&*model, args, options).0
        };
        let full = of(Reductions::NONE);
        assert_eq!(full.properties[SETTLES] == Verdict::Violated, args.wipes == Some(2), "{args:?}");
        for (fewer, reductions) in fewer.iter_mut().zip(REDUCTIONS) {
            let reduced = of(reductions);
            let words = format!("{} {args:?} {reductions:?}", model.name());
            assert_eq!(reduced.properties, full.properties, "{words}");
            assert!(reduced.exhausted, "{words}");
            assert!(reduced.unique_states <= full.unique_states && reduced.steps <= full.steps, "{words}");
            *fewer += usize::from(reduced.steps < full.steps);
        }
    }
    assert!(fewer.into_iter().all(|spaces| spaces >= 3), "steps are left out in {fewer:?} searches");
}

/// A transaction manager that does not wait for all is found out as soon among orbits as among states.
#[test]
fn who_is_who_hides_no_mistake() {
    let hasty = ModelDef {
        system: |nodes, _| TwoPhaseSystem { needed: nodes - 1, ..TwoPhaseSystem::new(nodes) },
        ..twophase::model()
    };
    let rash = ModelDef {
        system: |nodes, _| TwoPhaseSystem { needed: 1, ..TwoPhaseSystem::new(nodes) },
        ..twophase::model()
    };
    for model in [hasty, rash] {
        for nodes in 2..=6 {
            let args = ModelArgs { nodes: Some(nodes), ..ModelArgs::default() };
            let of = |symmetry, threads| {
                let reductions = Reductions { symmetry, ..Reductions::USUAL };
                let (report, story) = explore(&model, args, CheckOptions { reductions, ..own(threads) });
                let violated: Vec<_> = report.violated().collect();
                assert_eq!(violated, ["consistent"], "{nodes} resource managers, symmetry {symmetry}");
                (report.unique_states, length(&story.expect("a violation comes with its story")))
            };
            let ((states, shortest), (orbits, length)) = (of(false, 1), of(true, 1));
            assert_eq!(length, shortest, "{nodes} resource managers");
            assert!(nodes < 4 || orbits < states, "{orbits} orbits of {states} states");
            assert_eq!(of(true, 2), (orbits, length));
        }
    }
}

/// How many steps a story has.
fn length(story: &str) -> usize {
    story.lines().filter(|line| line.chars().skip(4).take(2).eq(". ".chars())).count()
}

/// A node that knows whether it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Asked(bool);

impl Node for Asked {
    type Config = ();
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(_: &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self::default()
    }

    fn on(&mut self, _: &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Request { id, .. } = event {
            self.0 = true;
            cx.reply(id, ());
        }
    }
}

/// A client that asks the last member first.
#[derive(Debug)]
struct Errands;

impl System for Errands {
    type Node = Asked;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        (1..=3).map(|id| (NodeId(id), ())).collect()
    }

    fn operations(&self) -> Vec<Operation<Asked>> {
        let ask =
            |(sequence, to)| Operation { to: NodeId(to), id: RequestId { client: 1, sequence }, request: () };
        [(1, 3), (2, 1)].map(ask).into()
    }

    fn invariants(&self) -> Vec<Invariant<Asked, ()>> {
        Vec::new()
    }
}

fn errands() -> ModelDef<Errands> {
    let about = "A client asks one member, then another.";
    ModelDef { name: "errands", about, system: |_, _| Errands, size: (3, 2), limits: Limits::NONE }
}

/// Of every other model one that is small.
fn others() -> [(Box<dyn AnyModel>, ModelArgs); 4] {
    let quiet = ModelArgs { nodes: Some(3), operations: Some(2), ..ModelArgs::default() };
    let late = ModelArgs { crashes: Some(1), timeouts: Some(1), disk: Some(Disk::Async), ..quiet };
    [
        (Box::new(errands()), ModelArgs::default()),
        (Box::new(register::paxos()), quiet),
        (Box::new(register::abd()), ModelArgs { nodes: Some(2), ..quiet }),
        (Box::new(counter::model()), ModelArgs { drops: Some(1), nodes: Some(2), ..late }),
    ]
}

/// Sleep sets leave out steps, but no state, and no state is found later.
#[test]
fn who_sleeps_hides_no_state() {
    let mut saved = 0;
    for (model, args) in spaces().into_iter().chain(others()) {
        for losses in [false, true] {
            let words = format!("{} {args:?}, losses left out: {losses}", model.name());
            let explored = |sleep, threads| {
                let reductions = Reductions { idle: losses, losses, sleep, ..Reductions::NONE };
                explore(&*model, args, CheckOptions { reductions, ..own(threads) }).0
            };
            let (awake, asleep) = (explored(false, 1), explored(true, 1));
            let seen = |report: &CheckReport| {
                (report.unique_states, report.depth, report.exhausted, report.properties.clone())
            };
            assert_eq!(seen(&asleep), seen(&awake), "{words}");
            assert!(asleep.steps <= awake.steps, "{words}");
            saved += usize::from(asleep.steps * 4 < awake.steps * 3);
            for threads in [2, 3] {
                assert_eq!(all_but_cost(&explored(true, threads)), all_but_cost(&asleep), "{words}");
            }
        }
    }
    assert!(saved >= 9, "only {saved} spaces lose a quarter of their steps");
}

/// A walk finds what is planted, the same with any number of threads, and says how far it came.
#[test]
fn walks_find_what_is_planted_and_repeat() {
    let walk = |seeds, threads| {
        let options = CheckOptions { walks: Some(seeds), threads, ..CheckOptions::default() };
        explore(&*model_of("sends-early"), ModelArgs::default(), options)
    };
    let (report, story) = walk(0..20_000, 1);
    assert!(!report.exhausted && report.violated().next().is_some(), "{report:#?}");
    let (other, same) = walk(0..20_000, 3);
    assert_eq!((&other.properties, other.stopped_by), (&report.properties, report.stopped_by));
    assert_eq!((story.is_some(), &story), (true, &same));
    let sound = |threads| {
        let options = CheckOptions { walks: Some(0..500), threads, ..CheckOptions::default() };
        explore(&rollout::model(), ModelArgs::default(), options).0
    };
    let report = sound(2);
    assert!(!report.is_proof() && report.violated().next().is_none(), "{report:#?}");
    assert_eq!(report.stopped_by.as_deref(), Some("the end of its walks, seeds 0..500"));
    assert_eq!(all_but_cost(&sound(1)), all_but_cost(&report));
}

#[test]
fn both_explorers_stop_at_the_same_depth() {
    for (model, args) in spaces() {
        for depth in [1, 2, 7] {
            let bounded = |options| CheckOptions { max_depth: Some(depth), ..options };
            let (reference, _) = explore(&*model, args, bounded(stateright()));
            for threads in 1..=3 {
                let (report, _) = explore(&*model, args, bounded(own(threads)));
                assert_eq!(counts(&report), counts(&reference), "{} {args:?} to {depth}", model.name());
                assert_eq!(report.stopped_by, reference.stopped_by, "{} {args:?} to {depth}", model.name());
            }
        }
    }
}

/// With stateright a bound on states stops each thread somewhere; ours stops at the same block.
#[test]
fn a_bound_stops_our_explorer_at_the_same_state_with_any_number_of_threads() {
    let stop = |threads, max| {
        let options = CheckOptions { max_steps: Some(max), ..own(threads) };
        let (report, _) = explore(&rollout::model(), ModelArgs::default(), options);
        assert_eq!(report.stopped_by, Some(format!("--max-steps {max}")));
        all_but_cost(&report)
    };
    for max in [10, 5_000, 50_000] {
        assert_eq!(stop(1, max), stop(2, max));
        assert_eq!(stop(1, max), stop(3, max));
    }
}

#[test]
fn memory_and_a_signal_stop_the_search_and_say_so() {
    let of = |options| explore(&rollout::model(), ModelArgs::default(), options).0;
    let full = of(CheckOptions { memory_limit: Some(1 << 20), ..own(2) });
    assert_eq!(full.stopped_by.as_deref(), Some("memory (--memory-limit 1048576 bytes)"));
    assert!(!full.is_proof() && full.unique_states > 0);
    let options = own(2);
    options.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = of(options);
    assert_eq!(stopped.stopped_by.as_deref(), Some("interrupted"));
    assert!(!stopped.is_proof() && stopped.unique_states > 0);
}

/// A search that is stopped, and goes on elsewhere with another number of threads, ends like one that was never
/// stopped.
#[test]
fn a_search_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let late =
        ModelArgs { drops: Some(0), timeouts: Some(0), disk: Some(Disk::Async), ..ModelArgs::default() };
    let guess = space_of("guessing-resolver");
    let gone = ModelArgs { without: Some(2), ..late };
    let five = ModelArgs { nodes: Some(5), ..ModelArgs::default() };
    let searches: [(&str, Box<dyn AnyModel>, ModelArgs, Reductions); 5] = [
        ("late", Box::new(rollout::model()), late, Reductions::USUAL),
        ("full", Box::new(rollout::model()), late, Reductions::NONE),
        ("gone", Box::new(rollout::model()), gone, Reductions::USUAL),
        ("guess", model_of("guessing-resolver"), guess, Reductions::USUAL),
        ("orbits", Box::new(twophase::model()), five, Reductions { symmetry: true, ..Reductions::USUAL }),
    ];
    for (name, model, args, reductions) in searches {
        let path = folder.path().join(name);
        let of = |threads, checkpoint: Option<&Path>, max_steps| CheckOptions {
            checkpoint: checkpoint.map(Path::to_owned),
            max_steps,
            reductions,
            settle: true,
            ..own(threads)
        };
        let (whole, story) = explore(&*model, args, of(1, None, None));
        let mut sittings = 0;
        let (last, told) = loop {
            let max = whole.steps * (sittings + 1) / 4;
            let threads = 1 + sittings % 3;
            let stop = (sittings < 3).then_some(max);
            let (report, told) = explore(&*model, args, of(threads, Some(&path), stop));
            assert_eq!(report.error, None, "{name}");
            sittings += 1;
            if report.stopped_by.as_deref().is_none_or(|why| !why.contains("--max-steps")) {
                break (report, told);
            }
        };
        assert!(sittings >= 2, "{name} came to its end in {sittings} sittings");
        assert_eq!(all_but_cost(&last), all_but_cost(&whole), "{name}");
        assert_eq!(told, story, "{name}");
    }
}

/// A file that is damaged, or of something else, is refused by what is wrong with it, and nothing is lost.
#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("search");
    let of = |model: &dyn AnyModel, args, path: &Path| {
        let stop = CheckOptions { max_steps: Some(3_000), checkpoint: Some(path.to_owned()), ..own(1) };
        explore(model, args, stop).0
    };
    let args = ModelArgs { timeouts: Some(0), ..ModelArgs::default() };
    assert_eq!(of(&rollout::model(), args, &path).error, None);
    let sound = std::fs::read(&path).expect("it was written");
    let refused = |model: &dyn AnyModel, args, words: &str| {
        let report = of(model, args, &path);
        let why = report.error.clone().unwrap_or_default();
        assert!(why.contains(words) && why.contains("search"), "{why:?} instead of {words:?}");
        assert!(!report.is_proof() && report.unique_states == 0, "{report:#?}");
    };
    let larger = ModelArgs { crashes: Some(2), ..args };
    refused(&rollout::model(), larger, "its `limits` is");
    refused(&twophase::model(), ModelArgs::default(), "it is of another search: its `limits`");
    refused(&*model_of("sends-early"), args, "does not do what it did");
    assert_eq!(std::fs::read(&path).expect("it is there"), sound, "what does not fit is left alone");
    for at in [0, 9, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).expect("it is ours");
        refused(&rollout::model(), args, "not a sound checkpoint");
    }
    for len in [0, 7, sound.len() - 1] {
        std::fs::write(&path, &sound[..len]).expect("it is ours");
        refused(&rollout::model(), args, "not a sound checkpoint");
    }
    let nowhere = folder.path().join("search/below/a/file");
    let report = of(&rollout::model(), args, &nowhere);
    assert!(report.error.is_some_and(|why| why.contains("the checkpoint")), "a file is no folder");
}

/// Both find it; ours tells the same story with any number of threads, and stateright finds nothing nearer.
fn both_find(mistake: &str) {
    let (model, args) = (&*model_of(mistake), space_of(mistake));
    let (reference, _) = explore(model, args, stateright());
    assert!(reference.violated().next().is_some());
    let (report, story) = explore(model, args, own(1));
    let story = story.expect("a violation comes with its story");
    let told = |threads| {
        let (report, story) = explore(model, args, own(threads));
        (all_but_cost(&report), story.expect("a violation comes with its story"))
    };
    for threads in [2, 3] {
        assert_eq!(told(threads), (all_but_cost(&report), story.clone()), "{threads} threads");
    }
    let violated = |report: &CheckReport| report.violated().collect::<Vec<_>>();
    for reductions in REDUCTIONS {
        let (reduced, short) = explore(model, args, CheckOptions { reductions, ..own(2) });
        assert_eq!(violated(&reduced), violated(&report), "{reductions:?}");
        let short = short.expect("a violation comes with its story");
        // A crash behind the last effect that anybody can see is a step of its own then.
        let crashes = short.matches("CRASHES").count() * usize::from(reductions.crash_points);
        let lengths = length(&story)..=length(&story) + crashes;
        assert!(lengths.contains(&length(&short)), "{reductions:?}: {short}instead of\n{story}");
    }
    // A state at the bound is not judged by stateright, so the bound is the length in states.
    let steps = length(&story);
    let nearer = CheckOptions { max_depth: Some(steps + 1), ..stateright() };
    assert_eq!(
        explore(model, args, nearer).0.violated().count(),
        0,
        "there is a shorter story than\n{story}"
    );
    let bounded = CheckOptions { max_depth: Some(steps + 2), ..stateright() };
    assert!(explore(model, args, bounded).0.violated().count() > 0, "stateright does not know\n{story}");
}

#[test]
fn the_story_is_the_shortest_whatever_is_left_out() {
    // Deep, with a crash in its middle, with a lost disk, and made by the hosts.
    ["guessing-resolver", "any-vote", "amnesiac", "sends-early"].into_iter().for_each(both_find);
}

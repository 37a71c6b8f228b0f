//! How all begins: a first boot is explored like every other step. Toy nodes that are bad in one of its ways only, each
//! found by every way of checking there is, and by a sweep.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::collections::HashSet;
use std::ops::Range;

use coalmine::{register, rollout, twophase};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{History, Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, CheckReport, Explorer, Reductions, Verdict as Property};
use coalmine_sim::files::capsule::File;
use coalmine_sim::panics::catch;
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario, Explanation, ModelDef, Suite};
use coalmine_sim::testing;
use coalmine_sim::world::Rules;
use serde::{Deserialize, Serialize};

/// What is wrong with a boot, or might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    /// Bad if it draws the one of two.
    Draws,
    /// Writes two records, and is bad if it finds one.
    Pair,
    /// Tells that it is up, and n1 must be the first to do so.
    Order,
    /// n2 must not be up alone.
    Beside,
    /// Nobody must act before all have said that they are up.
    Early,
    /// Draws, writes two records, tells all others and the history that it is up. Nothing is wrong with it.
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Toy {
    greeted: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Fact {
    Bad,
    Up,
    Acted,
}

impl Node for Toy {
    type Config = (Kind, Vec<NodeId>);
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Fact;

    fn start((kind, others): &Self::Config, disk: &[()], cx: &mut Context<'_, Self>) -> Self {
        match kind {
            Kind::Draws if disk.is_empty() && cx.choose(2) == 1 => cx.observe(Fact::Bad),
            Kind::Pair if disk.len() == 1 => cx.observe(Fact::Bad),
            Kind::Pair if disk.is_empty() => [(), ()].into_iter().for_each(|record| {
                cx.append(record);
            }),
            Kind::Order | Kind::Early => cx.observe(Fact::Up),
            Kind::Busy if disk.is_empty() && cx.choose(3) > 0 => {
                cx.append(());
                others.iter().for_each(|other| cx.send(*other, ()));
                cx.observe(Fact::Up);
                cx.append(());
            }
            Kind::Draws | Kind::Pair | Kind::Beside | Kind::Busy => {}
        }
        Self { greeted: 0 }
    }

    fn on(&mut self, _: &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { id, .. } => {
                cx.observe(Fact::Acted);
                cx.reply(id, ());
            }
            Event::Message { .. } => self.greeted += 1,
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Toy {}

/// All facts, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Told(Vec<(NodeId, Fact)>);

impl History<Toy> for Told {
    fn observe(&mut self, node: NodeId, fact: &Fact) {
        self.0.push((node, *fact));
    }
}

#[derive(Debug)]
struct Toys {
    kind: Kind,
    members: u32,
    operations: u32,
}

type Now<'a> = Observation<'a, Toy, Told>;

fn never_bad(now: &Now<'_>) -> Result<(), String> {
    let bad = now.history.0.iter().find(|(_, fact)| *fact == Fact::Bad);
    bad.map_or(Ok(()), |(node, _)| Err(format!("{node} is bad")))
}

fn in_order(now: &Now<'_>) -> Result<(), String> {
    let first = now.history.0.first();
    first.filter(|(node, _)| *node != NodeId(1)).map_or(Ok(()), |(node, _)| Err(format!("{node} came first")))
}

fn beside(now: &Now<'_>) -> Result<(), String> {
    let up: Vec<_> = now.up().map(|(id, _)| id).collect();
    if up == [NodeId(2)] { Err("n2 is up alone".into()) } else { Ok(()) }
}

fn all_up_before(now: &Now<'_>) -> Result<(), String> {
    let told = &now.history.0;
    let acted = told.iter().position(|(_, fact)| *fact == Fact::Acted).unwrap_or(told.len());
    let up: HashSet<_> = told[..acted].iter().map(|(node, _)| node).collect();
    if acted == told.len() || up.len() == now.nodes.len() { Ok(()) } else { Err("somebody was late".into()) }
}

impl System for Toys {
    type Node = Toy;
    type History = Told;

    fn members(&self) -> Vec<(NodeId, <Toy as Node>::Config)> {
        let all: Vec<_> = (1..=self.members).map(NodeId).collect();
        let others = |id: NodeId| all.iter().copied().filter(|it| *it != id).collect();
        all.iter().map(|&id| (id, (self.kind, others(id)))).collect()
    }

    fn operations(&self) -> Vec<Operation<Toy>> {
        let ask = |sequence| Operation { to: NodeId(1), id: RequestId { client: 1, sequence }, request: () };
        (1..=u64::from(self.operations)).map(ask).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Toy, Told>> {
        let (name, check): (_, fn(&Now<'_>) -> Result<(), String>) = match self.kind {
            Kind::Draws | Kind::Pair => ("never-bad", never_bad),
            Kind::Order => ("in-order", in_order),
            Kind::Beside => ("beside", beside),
            Kind::Early => ("all-up-before", all_up_before),
            Kind::Busy => ("nothing", |_| Ok(())),
        };
        vec![Invariant { name, about: "", source: "", check }]
    }
}

macro_rules! toys {
    ($($kind:ident $operations:literal),*) => {
        fn model(kind: Kind) -> ModelDef<Toys> {
            let (system, operations): (fn(u32, u32) -> Toys, u32) = match kind {
                $(Kind::$kind => {
                    (|members, operations| Toys { kind: Kind::$kind, members, operations }, $operations)
                })*
            };
            ModelDef { name: "toy", about: "", system, size: (2, operations), limits: Limits::NONE }
        }

        fn scenario(kind: Kind) -> Scenario<Toys> {
            let system: fn() -> Toys = match kind {
                $(Kind::$kind => || Toys { kind: Kind::$kind, members: 2, operations: $operations },)*
            };
            let plan: fn(&Toys, &mut _) -> Plan<Toy> = |system, _| {
                let ask = |operation: Operation<Toy>| {
                    let Operation { to, id, request } = operation;
                    (2, What::Ask { to, id, request })
                };
                let crash = |node| (3, What::Fault(Fault::Crash { node, down_ms: Some(5) }));
                let crashes = [NodeId(1), NodeId(2)].map(crash);
                let crashes = crashes.into_iter().filter(|_| system.kind == Kind::Pair);
                Plan::quiet(system.operations().into_iter().map(ask).chain(crashes))
            };
            Scenario { name: "toy", about: "", system, plan, expect: nothing_more::<Toys> }
        }
    };
}
toys!(Draws 0, Pair 0, Order 0, Beside 0, Early 1, Busy 1);

/// Every way of checking there is.
fn all_ways() -> Vec<CheckOptions> {
    let of = |threads| CheckOptions { threads, ..CheckOptions::default() };
    let own = (1..=3).flat_map(|threads| {
        let full = CheckOptions { reductions: Reductions::NONE, ..of(threads) };
        let walks = CheckOptions { walks: Some(0..200), ..of(threads) };
        [of(threads), full, walks]
    });
    own.chain([CheckOptions { explorer: Explorer::Stateright, ..of(1) }]).collect()
}

fn check(model: &dyn AnyModel, args: ModelArgs, options: CheckOptions) -> (CheckReport, Option<Explanation>) {
    model.check(args, options, &mut |_| {})
}

/// What is found replays from its file.
fn replays(kind: Kind, found: &Explanation) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("found.toml");
    std::fs::write(&path, &found.capsule).expect("it is ours");
    let suite = Suite::default().model(model(kind));
    let run = suite.run_file(File::read(&path).expect("it was written"), None, true);
    let run = run.unwrap_or_else(|why| panic!("{why}\n{}", found.capsule));
    let Verdict::Violated { invariant, .. } = &run.outcome.verdict else {
        panic!("{kind:?}: {}\n{}", run.outcome.verdict.describe(), found.capsule)
    };
    assert_eq!((invariant, Some(invariant)), (&found.invariant, run.expected.invariant.as_ref()));
    assert_eq!(run.outcome.unused, Vec::<String>::new(), "{}", found.capsule);
    testing::replay(&suite, &path);
}

/// Where a toy is found out, and where it is not.
fn is_found(kind: Kind, bad: &[ModelArgs], good: &[ModelArgs]) {
    for &args in bad {
        let mut stories = HashSet::new();
        for options in all_ways() {
            let words = format!("{kind:?} {args:?} {options:?}");
            let is_search = options.walks.is_none() && options.explorer == Explorer::Own;
            let (report, found) = check(&model(kind), args, options);
            assert_eq!(report.violated().count(), 1, "{words}: {report:#?}");
            assert!(!report.is_proof() && !report.exhausted, "{words}");
            let found = found.expect("a violation comes with its story");
            replays(kind, &found);
            if is_search {
                stories.insert(found.story);
            }
        }
        assert_eq!(stories.len(), 1, "{kind:?} {args:?}: {stories:?}");
    }
    for &args in good {
        for options in all_ways() {
            let is_search = options.walks.is_none();
            let (report, found) = check(&model(kind), args, options);
            assert_eq!(report.violated().count(), 0, "{}", found.map(|it| it.story).unwrap_or_default());
            assert_eq!(report.exhausted, is_search, "{report:#?}");
        }
    }
    let suite = Suite::default().model(ModelDef { limits: model(kind).rules(bad[0]).limits, ..model(kind) });
    let told = catch(|| testing::check(&suite, "toy")).expect_err("it must fail").message;
    assert!(told.contains("Violated") && told.contains("starts"), "{told}");
}

/// Under these seeds the simulator finds it, too: the checker must not prove what a sweep refutes.
fn a_sweep_finds(kind: Kind, engine: Engine, seeds: Range<u64>) {
    let scenario = scenario(kind);
    let verdicts = seeds.map(|seed| AnyScenario::run(&scenario, engine, seed, false).verdict);
    assert!(verdicts.into_iter().any(|it| matches!(it, Verdict::Violated { .. })), "{kind:?} in {engine}");
}

const NONE: ModelArgs = ModelArgs {
    nodes: None,
    operations: None,
    crashes: Some(0),
    wipes: None,
    cuts: None,
    drops: None,
    duplicates: None,
    timeouts: None,
    periodic: None,
    retries: None,
    inputs: None,
    late_boots: None,
    without: None,
    disk: None,
    mistake: None,
};

#[test]
fn a_first_boot_chooses_in_every_way() {
    let of = |nodes| ModelArgs { nodes: Some(nodes), ..NONE };
    is_found(Kind::Draws, &[of(2), of(1), of(3)], &[]);
    a_sweep_finds(Kind::Draws, Engine::Direct, 0..10);
    a_sweep_finds(Kind::Draws, Engine::Madsim, 0..10);
}

#[test]
fn a_first_boot_crashes_between_any_two_effects() {
    let of = |crashes, disk| ModelArgs { crashes: Some(crashes), disk: Some(disk), ..NONE };
    let bad = [of(1, Disk::Sync), of(2, Disk::Sync), of(1, Disk::Async), of(2, Disk::Async)];
    is_found(
        Kind::Pair,
        &bad,
        &[of(0, Disk::Sync), of(0, Disk::Async), ModelArgs { wipes: Some(1), ..NONE }],
    );
    a_sweep_finds(Kind::Pair, Engine::Direct, 0..300);
}

#[test]
fn members_boot_in_every_order() {
    is_found(Kind::Order, &[NONE], &[]);
    is_found(Kind::Beside, &[NONE], &[]);
    for kind in [Kind::Order, Kind::Beside] {
        a_sweep_finds(kind, Engine::Direct, 0..20);
    }
}

/// Who is late is down when others act already; what they send to it waits.
#[test]
fn a_member_may_be_late() {
    let of = |late_boots| ModelArgs { late_boots: Some(late_boots), ..NONE };
    is_found(Kind::Early, &[of(1), of(2), of(3), NONE], &[of(0)]);
    assert!(model(Kind::Early).rules(of(0)).limits.describe().ends_with("; all members start first"));
    assert!(model(Kind::Early).rules(of(2)).limits.describe().ends_with("; all members but 2 start first"));
    assert!(model(Kind::Early).rules(NONE).limits.describe().ends_with("disk Sync"));
    let three = |late_boots| ModelArgs { nodes: Some(3), ..of(late_boots) };
    is_found(Kind::Early, &[three(1), three(2)], &[three(0)]);
}

/// All explorers begin in the same worlds, and so does who keeps the worlds themselves.
#[test]
fn all_begin_in_the_same_worlds() {
    let mut counted = HashSet::new();
    for late_boots in 0..=2 {
        for (crashes, wipes) in [(0, 0), (1, 0), (1, 1)] {
            for disk in [Disk::Sync, Disk::Async] {
                for nodes in 1..=3 {
                    if nodes == 3 && (disk == Disk::Async || crashes + wipes > 1) {
                        continue; // a large space
                    }
                    let args = ModelArgs {
                        nodes: Some(nodes),
                        crashes: Some(crashes),
                        wipes: Some(wipes),
                        late_boots: Some(late_boots),
                        disk: Some(disk),
                        ..NONE
                    };
                    counted.insert(counts_alike(args));
                }
            }
        }
    }
    assert!(counted.len() > 20, "{counted:?}");
}

fn counts_alike(args: ModelArgs) -> usize {
    let counts = |report: &CheckReport| (report.unique_states, report.steps, report.depth);
    let full = CheckOptions { reductions: Reductions::NONE, ..CheckOptions::default() };
    let stateright = CheckOptions { explorer: Explorer::Stateright, ..full.clone() };
    let (reference, _) = check(&model(Kind::Busy), args, stateright);
    assert!(reference.exhausted);
    for threads in 1..=3 {
        let (report, _) = check(&model(Kind::Busy), args, CheckOptions { threads, ..full.clone() });
        assert_eq!(counts(&report), counts(&reference), "{args:?} on {threads} threads");
        assert!(report.exhausted);
    }
    assert_eq!(worlds(&model(Kind::Busy).rules(args)), reference.unique_states, "{args:?}");
    reference.unique_states
}

/// How many worlds there are but for those in which members have still to boot.
fn worlds(rules: &Rules<Toys>) -> usize {
    let mut seen = HashSet::from([rules.before_boot()]);
    let mut open: Vec<_> = seen.iter().cloned().collect();
    let mut next = Vec::new();
    while let Some(world) = open.pop() {
        rules.successors(&world, &mut next);
        open.extend(next.drain(..).map(|it| it.next).filter(|next| seen.insert(next.clone())));
    }
    seen.iter().filter(|world| !rules.is_starting(world)).count()
}

/// Where a boot neither draws nor crashes nothing is new, whoever boots first.
#[test]
fn a_boot_that_goes_one_way_is_one_start() {
    let of = |model: &dyn AnyModel, args, reductions| {
        let options = CheckOptions { max_depth: Some(1), reductions, ..CheckOptions::default() };
        let (report, _) = model.check(args, options, &mut |_| {});
        (report.unique_states, report.steps, report.depth)
    };
    let nodes = |nodes| ModelArgs { nodes: Some(nodes), ..ModelArgs::default() };
    let orbits = Reductions { symmetry: true, ..Reductions::USUAL };
    for number in [2, 5] {
        assert_eq!(of(&twophase::model(), nodes(number), Reductions::USUAL), (1, 1, 1));
        assert_eq!(of(&twophase::model(), nodes(number), orbits), (1, 1, 1));
    }
    let calm = ModelArgs { crashes: Some(0), late_boots: Some(0), ..ModelArgs::default() };
    assert_eq!(of(&rollout::model(), calm, Reductions::USUAL), (1, 1, 1));
    // One of the five, or the manager, is late: of the five one is like another.
    let late = ModelArgs { late_boots: Some(1), ..nodes(5) };
    assert_eq!(of(&twophase::model(), late, Reductions::USUAL).0, 7);
    assert_eq!(of(&twophase::model(), late, orbits).0, 3);
}

/// A client of a register writes as soon as it boots: late, it may do so when others have been answered.
#[test]
fn registers_are_linearizable_with_late_clients() {
    let first = ModelArgs { late_boots: Some(0), ..ModelArgs::default() };
    for model in [&register::single_copy() as &dyn AnyModel, &register::abd(), &register::paxos()] {
        let [plain, late] = [first, ModelArgs::default()].map(|args| {
            let (report, found) = check(model, args, CheckOptions::default());
            assert!(report.is_proof(), "{report:#?}{}", found.map(|it| it.story).unwrap_or_default());
            report.unique_states
        });
        assert!(late > plain, "{}: {late} states and {plain}", model.name());
    }
}

/// A search that is stopped while members are booting goes on from there.
#[test]
fn a_search_goes_on_among_boots() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("search");
    let args = ModelArgs { nodes: Some(3), crashes: Some(1), late_boots: Some(1), ..NONE };
    let (whole, _) = check(&model(Kind::Busy), args, CheckOptions::default());
    let stops = [1, 10, 60, 200, usize::MAX].map(|max_steps| {
        let options = CheckOptions {
            checkpoint: Some(path.clone()),
            max_steps: Some(max_steps),
            ..CheckOptions::default()
        };
        let (report, _) = check(&model(Kind::Busy), args, options);
        assert_eq!(report.error, None);
        report
    });
    let [first, .., last] = &stops;
    assert!(!first.exhausted && first.unique_states < 20, "{first:#?}");
    assert_eq!((last.unique_states, last.steps), (whole.unique_states, whole.steps));
    assert_eq!((last.depth, last.exhausted, &last.properties), (whole.depth, true, &whole.properties));
    assert_eq!(last.properties["nothing"], Property::Holds);
}

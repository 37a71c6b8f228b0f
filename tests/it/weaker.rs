//! What is weaker than linearizability, in every world: two copies of a register, of which the second hears late. What its
//! clients see depends on whom they ask; each promise is broken where it must be, and nowhere else.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it asks about")]

use coalmine_core::linearize::{
    Calls, Object, Places, acknowledged_is_never_lost, linearizable, monotonic_reads, read_your_writes,
    sequential, session,
};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::Invariant;
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Explorer, Reductions, check};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::verify::verify;
use coalmine_sim::world::Rules;
use serde::{Deserialize, Serialize};
use tempfile::tempdir;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Ask {
    Write(u8),
    Read,
}

/// The first copy takes what is written, and tells the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Copy(u8);

impl Node for Copy {
    type Config = NodeId;
    type Message = u8;
    type Timer = ();
    type Record = ();
    type Request = Ask;
    type Reply = Option<u8>;
    type View = ();
    type Fact = ();

    fn start(_: &NodeId, _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self(0)
    }

    fn on(&mut self, other: &NodeId, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { id, request: Ask::Write(value) } => {
                self.0 = value;
                cx.send(*other, value);
                cx.reply(id, None);
            }
            Event::Request { id, request: Ask::Read } => cx.reply(id, Some(self.0)),
            Event::Message { message, .. } => self.0 = message,
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Copy {}

/// One copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct One(u8);

impl Object for One {
    type Call = Ask;
    type Answer = Option<u8>;

    fn apply(&mut self, call: &Ask) -> Option<u8> {
        match *call {
            Ask::Write(value) => {
                self.0 = value;
                None
            }
            Ask::Read => Some(self.0),
        }
    }

    fn only_reads(call: &Ask) -> bool {
        *call == Ask::Read
    }

    fn overwrites(call: &Ask) -> bool {
        *call != Ask::Read
    }
}

impl Places for One {
    type Place = ();
    type Value = u8;

    fn reads(_: &Ask, answer: &Option<u8>) -> Option<((), u8)> {
        Some(((), (*answer)?))
    }

    fn writes(call: &Ask, _: Option<&Option<u8>>) -> Option<((), u8)> {
        match *call {
            Ask::Write(value) => Some(((), value)),
            Ask::Read => None,
        }
    }
}

/// Whom clients ask: one writes at the first copy, and then?
#[derive(Clone, Copy, Debug)]
enum Asks {
    /// All ask the first.
    First,
    /// Another one asks the second.
    Apart,
    /// Another one asks the first, then the second.
    Wanders,
    /// It asks the second itself.
    Itself,
}

#[derive(Debug)]
struct Copies(Asks, usize);

impl System for Copies {
    type Node = Copy;
    type History = Calls<One>;

    fn members(&self) -> Vec<(NodeId, NodeId)> {
        vec![(NodeId(1), NodeId(2)), (NodeId(2), NodeId(1))]
    }

    fn operations(&self) -> Vec<Operation<Copy>> {
        let then: &[(u64, u64, u32)] = match self.0 {
            Asks::First => &[(2, 1, 1), (1, 2, 1)],
            Asks::Apart => &[(2, 1, 2), (2, 2, 2)],
            Asks::Wanders => &[(2, 1, 1), (2, 2, 2)],
            Asks::Itself => &[(1, 2, 2)],
        };
        let id = |client, sequence| RequestId { client, sequence };
        let read = |&(client, sequence, to): &(u64, u64, u32)| Operation {
            to: NodeId(to),
            id: id(client, sequence),
            request: Ask::Read,
        };
        let write = Operation { to: NodeId(1), id: id(1, 1), request: Ask::Write(7) };
        std::iter::once(write).chain(then.iter().map(read)).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Copy, Calls<One>>> {
        vec![promises().swap_remove(self.1)]
    }
}

fn promises() -> Vec<Invariant<Copy, Calls<One>>> {
    vec![
        linearizable(),
        sequential(),
        acknowledged_is_never_lost(),
        session(),
        monotonic_reads(),
        read_your_writes(),
    ]
}

/// The promises that are broken, as the checker finds, whoever explores.
fn in_the_checker(asks: Asks) -> Vec<&'static str> {
    let breaks = |promise: usize| {
        let mut all = [
            (Explorer::Own, Reductions::USUAL),
            (Explorer::Own, Reductions::NONE),
            (Explorer::Stateright, Reductions::NONE),
        ]
        .map(|(explorer, reductions)| {
            let options = CheckOptions { explorer, reductions, ..CheckOptions::default() };
            let rules = Rules::new(Copies(asks, promise), Limits::NONE);
            let (report, found) = check("copies", rules, &options, &mut |_| {});
            assert!(found.is_some() || report.exhausted, "{asks:?}: {report:?}");
            found.map(|found| found.invariant.to_owned())
        });
        all.sort();
        assert_eq!(all[0], all[2], "{asks:?}, {promise}");
        let [first, ..] = all;
        first.map(|first| first == promises()[promise].name)
    };
    (0..promises().len()).filter(|at| breaks(*at) == Some(true)).map(|at| promises()[at].name).collect()
}

/// The same in both engines, and in what they have recorded: if it is broken for one of many seeds.
fn in_runs(asks: Asks) -> Vec<&'static str> {
    let folder = tempdir().expect("a temporary folder");
    let mut broken = Vec::new();
    for (at, promise) in promises().into_iter().enumerate() {
        let system = Copies(asks, at);
        let ask = |Operation { to, id, request }: Operation<Copy>| What::Ask { to, id, request };
        let steps = (100..).zip(system.operations()).map(|(at_ms, operation)| (at_ms, ask(operation)));
        let mut plan = Plan::quiet(steps.collect::<Vec<_>>());
        plan.links.delay_permille = 500;
        let found = [Engine::Direct, Engine::Madsim].map(|engine| {
            (0..40).any(|seed| {
                let options = RunOptions { record: Some("copies"), ..RunOptions::of(seed) };
                let report = scenario(asks, at).run_plan(engine, &plan, options);
                for (node, bytes) in &report.recordings {
                    std::fs::write(folder.path().join(format!("{node}.rec")), bytes).expect("there is room");
                }
                let files = [folder.path().to_owned()];
                let verified = verify(&system, "copies", "", &files, false).expect("recordings");
                let there = verified.violated.map(|violated| violated.invariant);
                match &report.verdict {
                    Verdict::Passed => assert_eq!(there, None, "{engine} {seed}"),
                    Verdict::Violated { invariant, .. } => {
                        assert_eq!((&**invariant, there.as_deref()), (promise.name, Some(promise.name)));
                    }
                    other => panic!("{engine} {seed}: {other:?}"),
                }
                report.verdict != Verdict::Passed
            })
        });
        assert_eq!(found[0], found[1], "{asks:?} {}", promise.name);
        broken.extend(found[0].then_some(promise.name));
    }
    broken
}

fn scenario(asks: Asks, promise: usize) -> Scenario<Copies> {
    fn of<const PROMISE: usize>(asks: Asks) -> fn() -> Copies {
        match asks {
            Asks::First => || Copies(Asks::First, PROMISE),
            Asks::Apart => || Copies(Asks::Apart, PROMISE),
            Asks::Wanders => || Copies(Asks::Wanders, PROMISE),
            Asks::Itself => || Copies(Asks::Itself, PROMISE),
        }
    }
    let system = [of::<0>, of::<1>, of::<2>, of::<3>, of::<4>, of::<5>][promise](asks);
    Scenario {
        name: "copies",
        about: "Two copies.",
        system,
        plan: |_, _| Plan::quiet([]),
        expect: nothing_more::<Copies>,
    }
}

#[test]
fn each_promise_is_broken_in_every_world_or_in_none() {
    for (asks, expected) in [
        (Asks::First, &[][..]),
        (Asks::Apart, &["linearizable", "acknowledged-is-never-lost"][..]),
        (
            Asks::Wanders,
            &["linearizable", "sequential", "acknowledged-is-never-lost", "session", "monotonic-reads"][..],
        ),
        (
            Asks::Itself,
            &["linearizable", "sequential", "acknowledged-is-never-lost", "session", "read-your-writes"][..],
        ),
    ] {
        assert_eq!(in_the_checker(asks), expected, "{asks:?}");
        assert_eq!(in_runs(asks), expected, "{asks:?}");
    }
}

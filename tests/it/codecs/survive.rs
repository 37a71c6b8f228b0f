//! What leaves a node, or outlives it, is written and read back on the way. What is another value then is found in every
//! world, also in those that pass values and no bytes.

use std::collections::BTreeMap;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Explorer, Verdict as Property};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::plan::Plan;
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::sound;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::NEVER_PANICS;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, ModelDef};
use serde::{Deserialize, Serialize};

/// What changes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Lossy {
    Record,
    Message,
    Fact,
    Timer,
    Nothing,
}

/// Half of it stays behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Half {
    told: u8,
    #[serde(skip)]
    kept: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Teller;

impl HttpApi for Teller {}

impl Node for Teller {
    type Config = Lossy;
    type Message = Half;
    type Timer = Half;
    type Record = Option<Option<u8>>;
    type Request = Half;
    type Reply = ();
    type View = ();
    type Fact = BTreeMap<(u8, u8), u8>;

    fn start(config: &Lossy, _: &[Self::Record], cx: &mut Context<'_, Self>) -> Self {
        match config {
            Lossy::Record => {
                cx.append(Some(None));
            }
            Lossy::Message => cx.send(NodeId(1), Half { told: 1, kept: 2 }),
            Lossy::Fact => cx.observe(BTreeMap::from([((1, 2), 3)])),
            Lossy::Timer => cx.set_timer(Half { told: 1, kept: 2 }, std::time::Duration::from_secs(1)),
            Lossy::Nothing => {
                cx.append(Some(Some(1)));
            }
        }
        Self
    }

    fn on(&mut self, _: &Lossy, _: Event<Self>, _: &mut Context<'_, Self>) {}
}

#[derive(Debug)]
struct Office(Lossy, Option<Half>);

impl System for Office {
    type Node = Teller;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Lossy)> {
        vec![(NodeId(1), self.0)]
    }
    fn operations(&self) -> Vec<Operation<Teller>> {
        let id = RequestId { client: 1, sequence: 1 };
        let ask = |request| Operation { to: NodeId(1), id, request };
        self.1.clone().map(ask).into_iter().collect()
    }
    fn invariants(&self) -> Vec<Invariant<Teller, ()>> {
        Vec::new()
    }
    fn converged(&self, _: &Observation<'_, Teller, ()>) -> Result<(), String> {
        Ok(())
    }
}

const ALL: [(Lossy, &str); 4] = [
    (
        Lossy::Record,
        "the record Some(None) is not the same after it was written as JSON: it is read back as None",
    ),
    (Lossy::Message, "the message Half { told: 1, kept: 2 } is not the same after it was written as JSON"),
    (Lossy::Fact, "the fact {(1, 2): 3} cannot be written as JSON: key must be a string"),
    (Lossy::Timer, "the timer Half { told: 1, kept: 2 } is not the same after it was written as JSON"),
];

macro_rules! systems {
    ($($lossy:ident)*) => {
        fn model(lossy: Lossy) -> ModelDef<Office> {
            let system: fn(u32, u32) -> Office = match lossy {
                $(Lossy::$lossy => |_, _| Office(Lossy::$lossy, None),)*
            };
            ModelDef { name: "teller", about: "", system, size: (1, 0), limits: Limits::NONE }
        }

        fn scenario(lossy: Lossy) -> Scenario<Office> {
            let system: fn() -> Office = match lossy {
                $(Lossy::$lossy => || Office(Lossy::$lossy, None),)*
            };
            Scenario { name: "teller", about: "", system, plan: |_, _| calm(), expect: nothing_more::<Office> }
        }
    };
}
systems!(Record Message Fact Timer Nothing);

fn calm() -> Plan<Teller> {
    Plan::quiet([])
}

#[test]
fn the_checker_finds_what_does_not_survive() {
    for (lossy, why) in ALL {
        for explorer in [Explorer::Own, Explorer::Stateright] {
            let options = CheckOptions { explorer, ..CheckOptions::default() };
            let (report, found) = model(lossy).check(ModelArgs::default(), options, &mut |_| {});
            assert_eq!(report.properties[NEVER_PANICS], Property::Violated, "{lossy:?}, {explorer:?}");
            let found = found.expect("a panic comes with its story");
            assert!(found.story.contains(why), "{}", found.story);
        }
    }
    let (report, _) = model(Lossy::Nothing).check(ModelArgs::default(), CheckOptions::default(), &mut |_| {});
    assert_eq!(report.properties[NEVER_PANICS], Property::Holds);
}

#[test]
fn sweeps_find_it_with_the_first_seed_under_both_engines() {
    for engine in [Engine::Direct, Engine::Madsim] {
        for (lossy, why) in ALL {
            let report = scenario(lossy).run_plan(engine, &calm(), RunOptions::of(0));
            let Verdict::Panicked(panic) = report.verdict else { panic!("{engine} {lossy:?}: {report:?}") };
            assert!(panic.message.contains(why), "{engine}: {panic}");
        }
        let well = scenario(Lossy::Nothing).run_plan(engine, &calm(), RunOptions::of(0));
        assert_eq!(well.verdict, Verdict::Passed, "{engine}");
    }
}

/// A recording of what cannot be written ends with a gap, and the run goes on.
#[test]
fn what_cannot_be_recorded_is_a_gap() {
    let options = RunOptions { record: Some("teller"), keep_trace: true, ..RunOptions::of(1) };
    let report = scenario(Lossy::Fact).run_plan(Engine::Direct, &calm(), options);
    assert_eq!(report.verdict, Verdict::Passed);
    let recording = String::from_utf8(report.recordings[&NodeId(1)].clone()).expect("it is JSON");
    let last = recording.lines().last().expect("it has lines");
    assert!(
        last.contains(r#"{"gap":{"why":"a step cannot be written as JSON: key must be a string"}"#),
        "{last}"
    );
}

#[test]
fn requests_that_do_not_survive_are_refused() {
    let refused = sound::operations(&Office(Lossy::Nothing, Some(Half { told: 1, kept: 2 })), &[NodeId(1)]);
    let why = refused.expect_err("what arrives is not what is asked");
    assert!(why.starts_with("operations[0]: the request Half { told: 1, kept: 2 } is not the same"), "{why}");
}

//! What a node may do besides the safe order: let something leave at once, and forget. Each is tried in all worlds, and its
//! misuse is found.

use std::fs;

use coalmine::tally::{model, scenario};
use coalmine::{chain, tally};
use coalmine_core::codec::recording::{self, Line, Step, Took};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation};
use coalmine_core::tally::Tally;
use coalmine_sim::check::{CheckOptions, Explorer, Reductions, Verdict as Property};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::{Disk, Limits, ModelArgs};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, ModelDef};
use coalmine_sim::trace::text;
use coalmine_sim::verify::verify;
use serde::{Deserialize, Serialize};
use tempfile::tempdir;

/// Whoever explores, and whatever is left out.
fn all_ways() -> Vec<CheckOptions> {
    let none = Reductions::NONE;
    let own = [
        none,
        Reductions { idle: true, ..none },
        Reductions { crash_points: true, ..none },
        Reductions { sleep: true, ..none },
        Reductions::USUAL,
    ];
    let own = own.into_iter().map(|reductions| CheckOptions { reductions, ..CheckOptions::default() });
    let stateright =
        CheckOptions { explorer: Explorer::Stateright, reductions: none, ..CheckOptions::default() };
    own.chain([stateright]).collect()
}

/// One node that writes a record and tells another of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Teller {
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Habit {
    Waits,
    /// It tells before the record is durable.
    AtOnce,
    /// It tells first, and writes then.
    First,
}

impl Node for Teller {
    type Config = Habit;
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(_: &Habit, _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self { told: false }
    }

    fn on(&mut self, habit: &Habit, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { .. } => {
                if *habit == Habit::First {
                    cx.send(NodeId(2), ());
                }
                cx.append(());
                match habit {
                    Habit::Waits => cx.send(NodeId(2), ()),
                    Habit::AtOnce => cx.send_at_once(NodeId(2), ()),
                    Habit::First => {}
                }
            }
            Event::Message { .. } => self.told = true,
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }
}

#[derive(Debug)]
struct Tellers(Habit);

impl System for Tellers {
    type Node = Teller;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Habit)> {
        [1, 2].map(|id| (NodeId(id), self.0)).into()
    }

    fn operations(&self) -> Vec<Operation<Teller>> {
        vec![Operation { to: NodeId(1), id: RequestId { client: 1, sequence: 1 }, request: () }]
    }

    fn invariants(&self) -> Vec<Invariant<Teller, ()>> {
        let check = |now: &Observation<'_, Teller, ()>| {
            let is_told = now.up().any(|(_, teller)| teller.told);
            let is_durable = now.nodes[0].durable.is_some_and(|durable| !durable.is_empty());
            if is_durable || !is_told { Ok(()) } else { Err("n2 knows of what n1 has lost".into()) }
        };
        vec![Invariant { name: "told-is-durable", about: "", source: "", check }]
    }
}

/// What leaves at once and rests on a record is found, on disks that sync at once as on those that do not; in the order in
/// which the node says it, too.
#[test]
fn what_leaves_too_early_is_found_whatever_the_disk() {
    let of = |habit: Habit| -> ModelDef<Tellers> {
        let system: fn(u32, u32) -> Tellers = match habit {
            Habit::Waits => |_, _| Tellers(Habit::Waits),
            Habit::AtOnce => |_, _| Tellers(Habit::AtOnce),
            Habit::First => |_, _| Tellers(Habit::First),
        };
        ModelDef {
            name: "teller",
            about: "",
            system,
            size: (2, 1),
            limits: Limits { crashes: 1, ..Limits::NONE },
        }
    };
    for (habit, expected) in [
        (Habit::Waits, Property::Holds),
        (Habit::AtOnce, Property::Violated),
        (Habit::First, Property::Violated),
    ] {
        for disk in [Disk::Sync, Disk::Async] {
            for options in all_ways() {
                let args = ModelArgs { disk: Some(disk), ..ModelArgs::default() };
                let (report, _) = of(habit).check(args, options.clone(), &mut |_| {});
                assert_eq!(report.properties["told-is-durable"], expected, "{habit:?} {disk:?} {options:?}");
            }
        }
    }
}

/// A member of the chain hands on at once and is sound; where that rests on a record it is not.
#[test]
fn the_chain_hands_on_at_once() {
    let small = ModelArgs { timeouts: Some(0), retries: Some(0), ..ModelArgs::default() };
    for (mistake, disk, holds) in [
        (None, Disk::Sync, true),
        (None, Disk::Async, true),
        (Some("forwards-early"), Disk::Sync, false),
        (Some("forwards-early"), Disk::Async, false),
        (Some("acknowledges-early"), Disk::Async, false),
    ] {
        let args = ModelArgs { disk: Some(disk), ..small };
        let model = chain::model();
        let planted = mistake.map(|name| model.with_mistake(name).expect("it is listed"));
        let (report, found) = match &planted {
            Some(planted) => planted.check(args, CheckOptions::default(), &mut |_| {}),
            None => model.check(args, CheckOptions::default(), &mut |_| {}),
        };
        assert_eq!(found.is_none(), holds, "{mistake:?} {disk:?}: {report:?}");
    }
}

/// Whoever explores a node that forgets comes to the same.
#[test]
fn what_is_forgotten_is_tried_in_every_way() {
    let small = ModelArgs { operations: Some(1), ..ModelArgs::default() };
    for mistake in [None, Some("forgets-first"), Some("forgets-total"), Some("adds-twice")] {
        let model = model();
        let planted = mistake.map(|name| model.with_mistake(name).expect("it is listed"));
        for options in all_ways() {
            let (report, found) = match &planted {
                Some(planted) => planted.check(small, options.clone(), &mut |_| {}),
                None => model.check(small, options.clone(), &mut |_| {}),
            };
            assert_eq!(found.is_some(), mistake.is_some(), "{mistake:?} {options:?}: {report:?}");
            if mistake.is_none() {
                assert_eq!(report.properties["lives-on"], Property::Witnessed, "{options:?}");
            }
        }
    }
}

/// Both engines let a journal begin later, with whatever has not vanished, and it is the same node; their recordings say so,
/// and are executed again.
#[test]
fn journals_that_begin_later_are_met_recorded_and_verified() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("1.rec");
    for engine in [Engine::Direct, Engine::Madsim] {
        let mut met = 0;
        for seed in 0..60 {
            let options = RunOptions { record: Some("tally"), keep_trace: true, ..RunOptions::of(seed) };
            let plan = scenario().draw(seed).expect("a sound plan");
            let report = scenario().run_plan(engine, &plan, options);
            assert_eq!(report.verdict, Verdict::Passed, "{engine} {seed}");
            let trace = report.trace.expect("kept");
            let slice = coalmine_sim::trace::slice::Slice::of(&trace, None);
            let story = text::story(&trace, &slice, |_| false, Default::default()).to_string();
            let bytes = &report.recordings[&NodeId(1)];
            fs::write(&path, bytes).expect("there is room");
            let system = (scenario().system)();
            let verified =
                verify(&system, "tally", "", &[folder.path().to_owned()], false).expect("a recording");
            assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{engine} {seed}");
            let part = recording::decode::<Tally>(bytes).expect("it is sound").expect("it is one");
            let later = |line: &Line<Tally>| match line {
                Line::Step(Step { took: Took::Boot { journal, .. }, .. }) => journal.forgotten > 0,
                Line::Step(_) | Line::Gap { .. } | Line::End {} => false,
            };
            let Some(boot) = part.lines.iter().position(later) else { continue };
            assert!(story.contains("n1 has forgotten the records up to number"), "{engine} {seed}:\n{story}");
            met += 1;
            // A journal that begins later than was said contradicts the recording.
            let (mut lines, mut changed) = (part.lines, Vec::new());
            recording::encode_header(&part.header, &mut changed);
            if let Line::Step(Step { took: Took::Boot { journal, .. }, .. }) = &mut lines[boot] {
                while journal.records.len() > 1 {
                    journal.records.remove(0);
                    journal.forgotten += 1;
                }
                if matches!(journal.records[0], coalmine_core::tally::Record::Total(_)) {
                    continue;
                }
            }
            for (number, line) in (2..).zip(&lines) {
                recording::encode(number, line, &mut changed).expect("it can be written");
            }
            fs::write(&path, &changed).expect("there is room");
            let verified =
                verify(&system, "tally", "", &[folder.path().to_owned()], false).expect("a recording");
            let why = verified.difference.map(|difference| difference.here).unwrap_or_default();
            assert!(why.contains("which is not forgotten"), "{engine} {seed}: {why}");
        }
        assert!(met >= 5, "{engine}: only {met} of 60 seeds let a journal begin later");
    }
}

/// Seeds meet the mistakes of a node that forgets, too.
#[test]
fn seeds_meet_what_is_forgotten_wrongly() {
    for mistake in coalmine_core::tally::Mistake::ALL {
        let planted = coalmine_sim::suite::AnyScenario::with_mistake(&tally::scenario(), mistake.name());
        let planted = planted.expect("it is listed");
        for (engine, seeds) in [(Engine::Direct, 500), (Engine::Madsim, 200)] {
            let found = (0..seeds)
                .find(|&seed| matches!(planted.run(engine, seed, false).verdict, Verdict::Violated { .. }));
            assert!(found.is_some(), "{engine}: no seed meets {}", mistake.name());
        }
    }
}

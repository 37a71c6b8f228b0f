//! What is promised outside: no word leaves before the record that it rests on is durable, and a history hears what
//! clients are told. Both in every world, by a toy that knows nothing of any protocol.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::collections::BTreeMap;
use std::fs;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::node::{Output, RestsOn};
use coalmine_core::observation::{History, Invariant};
use coalmine_core::order::{Order, WrongOrder};
use coalmine_core::write_ahead::WRITE_AHEAD;
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Explorer, Reductions, check};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::AnyScenario;
use coalmine_sim::world::Rules;
use serde::{Deserialize, Serialize};

const ENGINES: [Engine; 2] = [Engine::Direct, Engine::Madsim];

/// How a clerk keeps its book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Habit {
    /// It writes, then tells its peer and answers.
    Writes,
    /// It answers, then writes.
    AnswersFirst,
    /// It tells its peer, then writes.
    TellsFirst,
    /// It shows, then writes.
    ShowsFirst,
    /// It does not remember whom it has answered.
    Forgets,
}

/// Whom it has given which number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Clerk(Vec<RequestId>);

impl Node for Clerk {
    type Config = (NodeId, Habit);
    type Message = u64;
    type Timer = ();
    type Record = RequestId;
    type Request = ();
    type Reply = u64;
    type View = u64;
    type Fact = ();

    /// A number that is told is a place in the journal.
    fn rests_on() -> Option<RestsOn<Self>> {
        Some(|_, told, durable| {
            let (Output::Message { message: number, .. }
            | Output::Reply { reply: number, .. }
            | Output::View(number)) = *told
            else {
                return Ok(());
            };
            if durable.len() >= *number as usize { Ok(()) } else { Err(format!("number {number}")) }
        })
    }

    fn start(_: &Self::Config, disk: &[RequestId], _: &mut Context<'_, Self>) -> Self {
        Self(disk.to_vec())
    }

    fn on(&mut self, (peer, habit): &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, .. } = event else { return };
        let known = self.0.iter().position(|known| *known == id).filter(|_| *habit != Habit::Forgets);
        let number = known.unwrap_or(self.0.len()) as u64 + 1;
        if *habit == Habit::AnswersFirst {
            cx.reply(id, number);
        } else if *habit == Habit::TellsFirst {
            cx.send(*peer, number);
        } else if *habit == Habit::ShowsFirst {
            cx.publish(number);
        }
        if known.is_none() {
            self.0.push(id);
            cx.append(id);
        }
        if *habit == Habit::Writes {
            cx.send(*peer, number);
        }
        if *habit != Habit::AnswersFirst {
            cx.reply(id, number);
        }
    }
}

impl HttpApi for Clerk {}

/// What each request was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Answers(BTreeMap<RequestId, Vec<u64>>);

impl History<Clerk> for Answers {
    const IS_ORDERED: bool = false;
    const HEARS_REPLIES: bool = true;

    fn observe(&mut self, _: NodeId, (): &()) {}

    fn replied(&mut self, _: NodeId, to: RequestId, reply: &u64) {
        let answers = self.0.entry(to).or_default();
        if !answers.contains(reply) {
            answers.push(*reply);
            answers.sort_unstable();
        }
    }
}

/// One clerk who answers, and one who listens.
#[derive(Debug)]
struct Office(Habit);

const ID: RequestId = RequestId { client: 1, sequence: 1 };

impl System for Office {
    type Node = Clerk;
    type History = Answers;

    fn members(&self) -> Vec<(NodeId, (NodeId, Habit))> {
        [(1, 2), (2, 1)].map(|(id, peer)| (NodeId(id), (NodeId(peer), self.0))).to_vec()
    }
    fn operations(&self) -> Vec<Operation<Clerk>> {
        vec![Operation { to: NodeId(1), id: ID, request: () }]
    }
    fn invariants(&self) -> Vec<Invariant<Clerk, Answers>> {
        vec![Invariant {
            name: "one-answer",
            about: "a request is answered in one way",
            source: "rule 6 of the node's contract",
            check: |now| match now.history.0.iter().find(|(_, answers)| answers.len() > 1) {
                Some((id, answers)) => Err(format!("{id} was answered {answers:?}")),
                None => Ok(()),
            },
        }]
    }
}

fn scenario(habit: Habit) -> Scenario<Office> {
    let system: fn() -> Office = match habit {
        Habit::Writes => || Office(Habit::Writes),
        Habit::AnswersFirst => || Office(Habit::AnswersFirst),
        Habit::TellsFirst => || Office(Habit::TellsFirst),
        Habit::ShowsFirst => || Office(Habit::ShowsFirst),
        Habit::Forgets => || Office(Habit::Forgets),
    };
    Scenario {
        name: "office",
        about: "Clerks.",
        system,
        // The same request twice: a retry.
        plan: |_, _| Plan::quiet([100, 200].map(|at| (at, What::Ask { to: NodeId(1), id: ID, request: () }))),
        expect: nothing_more::<Office>,
    }
}

/// Which invariant breaks in every world, if one does, where hosts keep this order.
fn breaks_everywhere(habit: Habit, order: Order) -> Option<&'static str> {
    let mut all = Vec::new();
    let wrong = WrongOrder::ALL.into_iter().find(|wrong| wrong.order == order);
    for engine in ENGINES {
        let scenario = scenario(habit);
        let mistake = wrong.map(|wrong| wrong.name.try_into().expect("a name"));
        let plan = Plan { mistake, ..scenario.plan_of(&Office(habit), 1) };
        let report = scenario.run_plan(engine, &plan, RunOptions::of(1));
        all.push((
            format!("{engine}"),
            match report.verdict {
                Verdict::Violated { invariant, .. } => Some(invariant),
                Verdict::Passed => None,
                other => panic!("{habit:?} in {engine}: {other:?}"),
            },
        ));
    }
    for (disk, explorer, reductions) in [
        (Disk::Sync, Explorer::Own, Reductions::USUAL),
        (Disk::Async, Explorer::Own, Reductions::USUAL),
        (Disk::Async, Explorer::Own, Reductions::NONE),
        (Disk::Async, Explorer::Stateright, Reductions::NONE),
    ] {
        let limits = Limits { crashes: 1, retries: 1, disk, ..Limits::NONE };
        let options = CheckOptions { explorer, reductions, ..CheckOptions::default() };
        let rules = Rules::new(Office(habit), limits).in_order(order);
        let (report, found) = check("office", rules, &options, &mut |_| {});
        assert!(report.properties.contains_key(WRITE_AHEAD), "{report:#?}");
        all.push((format!("{disk:?} {explorer:?}"), found.map(|found| found.invariant.to_owned())));
    }
    let first = all[0].1.clone();
    assert!(all.iter().all(|(_, broken)| *broken == first), "{habit:?} {order:?}: {all:?}");
    first.map(|name| [WRITE_AHEAD, "one-answer"].into_iter().find(|it| *it == name).expect("known"))
}

#[test]
fn whoever_tells_before_the_record_is_durable_is_found_in_every_world() {
    assert_eq!(breaks_everywhere(Habit::Writes, Order::Safe), None);
    for habit in [Habit::AnswersFirst, Habit::TellsFirst, Habit::ShowsFirst] {
        assert_eq!(breaks_everywhere(habit, Order::Safe), Some(WRITE_AHEAD), "{habit:?}");
    }
}

/// The node is right, and its host is not.
#[test]
fn a_host_that_lets_out_too_early_is_found_in_every_world() {
    for WrongOrder { order, .. } in WrongOrder::ALL {
        assert_eq!(breaks_everywhere(Habit::Writes, order), Some(WRITE_AHEAD), "{order:?}");
    }
}

/// Recordings do not say what order hosts kept: who makes the mistake executes them again, all others see a difference.
#[test]
fn a_recording_of_a_wrong_order_is_executed_again_in_that_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sound = scenario(Habit::Writes);
    for WrongOrder { name, .. } in WrongOrder::ALL {
        let planted = sound.with_mistake(name).expect("hosts make it with any node");
        let outcome = planted.run(Engine::Direct, 1, true);
        let files = outcome.recordings.iter().map(|(node, bytes)| {
            let path = folder.path().join(format!("{node}.rec"));
            fs::write(&path, bytes).expect("the folder is ours");
            path
        });
        let files: Vec<_> = files.collect();
        let verified = planted.verify(&files, false).expect("they can be read");
        assert_eq!(verified.difference, None, "{name}");
        assert_eq!(verified.violated.expect("it is violated").invariant, WRITE_AHEAD, "{name}");
        assert!(sound.verify(&files, false).expect("they can be read").difference.is_some(), "{name}");
    }
}

#[test]
fn a_history_hears_what_clients_are_told_in_every_world() {
    assert_eq!(breaks_everywhere(Habit::Forgets, Order::Safe), Some("one-answer"));
}

/// What is executed again is watched like what runs.
#[test]
fn a_recording_of_who_tells_too_early_is_found_by_verify() {
    let folder = std::env::temp_dir().join(format!("coalmine-promises-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a temporary folder can be made");
    for (habit, broken) in [(Habit::AnswersFirst, WRITE_AHEAD), (Habit::Forgets, "one-answer")] {
        let outcome = scenario(habit).run(Engine::Direct, 1, true);
        let files = outcome.recordings.iter().map(|(node, bytes)| {
            let path = folder.join(format!("{node}.rec"));
            fs::write(&path, bytes).expect("the folder is ours");
            path
        });
        let verified = scenario(habit).verify(&files.collect::<Vec<_>>(), false).expect("they can be read");
        assert_eq!(verified.violated.expect("it is violated").invariant, broken);
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

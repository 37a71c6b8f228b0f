//! What both engines promise about every run, each promise with a node of a few lines that nobody would write on purpose.

mod crashes;
mod faults;
mod panics;
mod rest;
mod wire;

use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Facts, Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::engine::report::{RunOptions, RunReport};
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::plan::{Plan, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::Engine;
use coalmine_sim::trace::Entry;
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::story::Tone;
use coalmine_sim::trace::text::{Style, story};
use serde::{Deserialize, Serialize};

const ENGINES: [Engine; 2] = [Engine::Direct, Engine::Madsim];

/// What a toy is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Habit {
    /// It counts its ticks, ten a second, and answers whoever asks.
    Plain,
    /// It is busy at every fifth tick.
    Blinks,
    /// It writes down what it is asked, and answers when that is durable.
    Writes,
    /// At every tick it sends its peer the next twenty numbers, and panics if one that comes is not the next.
    Chatty,
    /// It never answers.
    Silent,
    /// It panics when it is asked for more than 12, in one place for odd numbers and in another for even ones.
    Superstitious,
}

/// A node with one habit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Toy {
    ticks: u64,
    busy: bool,
    /// How many numbers have come.
    heard: u64,
}

type Bare = ();

impl Node for Toy {
    type Config = (NodeId, Habit);
    type Message = u64;
    type Timer = Bare;
    type Record = u64;
    type Request = u64;
    type Reply = u64;
    type View = Bare;
    type Fact = u64;

    fn start(_: &Self::Config, _: &[u64], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer((), Duration::from_millis(100));
        Self { ticks: 0, busy: false, heard: 0 }
    }

    fn on(&mut self, (me, habit): &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Timer(()) => {
                self.ticks += 1;
                self.busy = *habit == Habit::Blinks && self.ticks.is_multiple_of(5);
                if *habit == Habit::Chatty {
                    let sent = self.ticks * 20;
                    (sent - 20..sent).for_each(|number| cx.send(NodeId(3 - me.0), number));
                }
                cx.set_timer((), Duration::from_millis(100));
            }
            Event::Message { message, .. } => {
                assert_eq!(message, self.heard, "what comes next");
                self.heard += 1;
            }
            Event::Request { id, request } => {
                if *habit == Habit::Superstitious && request > 12 {
                    assert!(request.is_multiple_of(2), "{request} after {} ticks", self.ticks);
                    panic!("an even number");
                }
                if *habit == Habit::Writes {
                    cx.append(request);
                }
                if *habit != Habit::Silent {
                    cx.reply(id, request);
                }
            }
            Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Toy {}

/// Two of them.
#[derive(Debug)]
struct Toys {
    habit: Habit,
    /// Why they owe no answer.
    excuse: Option<&'static str>,
    /// What of it panics.
    trap: Option<Trap>,
}

/// What a system consists of besides its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    Invariant,
    Converged,
}

impl System for Toys {
    type Node = Toy;
    type History = Facts<Toy>;

    fn members(&self) -> Vec<(NodeId, (NodeId, Habit))> {
        [1, 2].map(|id| (NodeId(id), (NodeId(id), self.habit))).to_vec()
    }
    fn operations(&self) -> Vec<Operation<Toy>> {
        Vec::new()
    }
    fn invariants(&self) -> Vec<Invariant<Toy, Facts<Toy>>> {
        let trap: Invariant<Toy, Facts<Toy>> = Invariant {
            name: "trap",
            about: "",
            source: "",
            check: |now| match now.up().find(|(_, toy)| toy.ticks > 3) {
                Some((id, _)) => panic!("the invariant at {id}"),
                None => Ok(()),
            },
        };
        if self.trap == Some(Trap::Invariant) { vec![trap] } else { Vec::new() }
    }
    fn owes_no_answer(&self, _: &u64) -> Option<&'static str> {
        self.excuse
    }
    fn converged(&self, now: &Observation<'_, Toy, Facts<Toy>>) -> Result<(), String> {
        assert_ne!(self.trap, Some(Trap::Converged), "converged");
        match now.nodes.iter().find(|node| node.state.is_none_or(|toy| toy.busy)) {
            Some(node) => Err(format!("{} is busy", node.id)),
            None => Ok(()),
        }
    }
}

fn toys(habit: Habit) -> Toys {
    Toys { habit, excuse: None, trap: None }
}

fn scenario(system: fn() -> Toys) -> Scenario<Toys> {
    Scenario {
        name: "toys",
        about: "Two toys.",
        system,
        plan: |_, _| Plan::quiet([]),
        expect: nothing_more::<Toys>,
    }
}

/// A client asks the first toy for this number.
fn ask(number: u64) -> What<Toy> {
    What::Ask { to: NodeId(1), id: RequestId { client: 1, sequence: number }, request: number }
}

fn run(engine: Engine, system: fn() -> Toys, plan: &Plan<Toy>) -> RunReport<Toy> {
    scenario(system).run_plan(engine, plan, RunOptions { keep_trace: true, ..RunOptions::of(1) })
}

/// The story of a run, without ticks.
fn told(report: &RunReport<Toy>) -> String {
    let entries = report.trace.as_ref().expect("the trace was kept");
    let slice = Slice::of(entries, Some(&report.verdict));
    story(entries, &slice, |event| matches!(event, Event::Timer(())), Style::default()).to_string()
}

/// What broke and what the plan does stand out by what they are, and whoever reads a story need not know its words.
#[test]
fn a_line_of_a_story_has_the_tone_of_what_happened() {
    let crash = What::Fault(Fault::Crash { node: NodeId(2), down_ms: Some(500) });
    let plan = Plan::quiet([(100, ask(1))]).with(When::AtMs(1_000), crash);
    for engine in ENGINES {
        let report = run(engine, || toys(Habit::Plain), &plan);
        // Each tick is counted; where nobody says so, it is a quiet step.
        let entries = report.trace.expect("the trace was kept").into_iter();
        let entries: Vec<_> = entries.map(|entry| Entry { state: None, ..entry }).collect();
        let slice = Slice::of(&entries, None);
        let story = story(&entries, &slice, |event| matches!(event, Event::Timer(())), Style::default());
        assert_eq!(story.toned_lines().count(), story.lines().count());
        let of = |tone| {
            let lines = story.toned_lines().filter(move |(it, _)| *it == tone);
            lines.map(|(_, line)| line).collect::<Vec<_>>()
        };
        let [broken, staged, left_out] = [Tone::Broken, Tone::Staged, Tone::LeftOut].map(of);
        assert!(matches!(broken[..], [line] if line.contains("n2  ✗ CRASHES")), "{broken:?}");
        assert!(staged.iter().any(|line| line.contains("—— n2 crashes ——")), "{staged:?}");
        assert!(staged.iter().all(|line| line.contains("——")), "{staged:?}");
        assert!(!left_out.is_empty(), "{story}");
        assert!(left_out.iter().all(|line| line.trim_start().starts_with('(')), "{left_out:?}");
        assert!(of(Tone::Plain).iter().any(|line| line.contains("client → n1: c1/1 1")), "{story}");
    }
}

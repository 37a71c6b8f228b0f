//! Evidence that must not be lost: a search of a node that chooses among millions ends with a word about it, and a
//! story is told of a node whose words panic.

use std::fmt;
use std::time::{Duration, Instant};

use coalmine_core::node::{Context, Event, Node, NodeId, Word};
use coalmine_core::observation::{Facts, Invariant, Observation};
use coalmine_sim::check::{CheckOptions, CheckReport, End, Explorer, Verdict as Property};
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::suite::{AnyModel, Explanation, ModelDef, Suite};
use serde::{Deserialize, Serialize};

/// Something said, which can hardly be told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Said {
    number: u32,
    /// Its `Debug` form panics, too.
    at_all: bool,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.at_all, "nobody may see it");
        write!(f, "Said {}", self.number)
    }
}

/// How it boots and ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Habit {
    /// Among so many it chooses when it boots, and when its timer fires.
    boots: u32,
    ticks: u32,
    /// It says something bad if it chooses this.
    bad: Option<u32>,
    at_all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Chooser(Vec<u32>);

impl Node for Chooser {
    type Config = Habit;
    type Message = Said;
    type Timer = Said;
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Said;

    fn start(habit: &Habit, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer(Said { number: 0, at_all: habit.at_all }, Duration::from_secs(1));
        Self(vec![cx.choose(habit.boots)])
    }

    fn on(&mut self, habit: &Habit, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if matches!(event, Event::Timer(_)) && self.0.len() < 4 {
            let chosen = cx.choose(habit.ticks);
            self.0.push(chosen);
            cx.set_timer(Said { number: chosen, at_all: habit.at_all }, Duration::from_secs(1));
            if Some(chosen) == habit.bad {
                cx.send(NodeId(2), Said { number: chosen, at_all: habit.at_all });
                cx.observe(Said { number: chosen, at_all: habit.at_all });
            }
        }
    }

    fn describe(_: Word<'_, Self>) -> String {
        panic!("nobody may hear it")
    }
}

#[derive(Debug)]
struct Choosers(Habit);

impl System for Choosers {
    type Node = Chooser;
    type History = Facts<Chooser>;

    fn members(&self) -> Vec<(NodeId, Habit)> {
        vec![(NodeId(1), self.0), (NodeId(2), self.0)]
    }

    fn operations(&self) -> Vec<Operation<Chooser>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Chooser, Facts<Chooser>>> {
        let check = |now: &Observation<'_, Chooser, Facts<Chooser>>| match now.history.iter().next() {
            Some((id, _)) => Err(format!("{id} has said it")),
            None => Ok(()),
        };
        vec![Invariant { name: "never-said", about: "", source: "", check }]
    }
}

const fn habit(boots: u32, ticks: u32) -> Habit {
    Habit { boots, ticks, bad: None, at_all: false }
}

fn check(system: fn(u32, u32) -> Choosers, options: CheckOptions) -> (CheckReport, Option<Explanation>) {
    let limits = Limits { timeouts: Some(2), ..Limits::NONE };
    let model = ModelDef { name: "choosers", about: "", system, size: (2, 0), limits };
    model.check(ModelArgs::default(), options, &mut |_| {})
}

fn engines() -> impl Iterator<Item = CheckOptions> {
    let all = [(Explorer::Own, 1, true), (Explorer::Own, 2, false), (Explorer::Stateright, 1, false)];
    all.into_iter().map(|(explorer, threads, settle)| CheckOptions {
        explorer,
        threads,
        settle,
        ..CheckOptions::default()
    })
}

/// A step that may go in more ways than anybody could try is named, and that is the end of the search.
#[test]
fn too_many_ways_of_a_step_are_named() {
    for options in engines() {
        let started = Instant::now();
        for (system, step) in [
            ((|_, _| Choosers(habit(1, u32::MAX))) as fn(u32, u32) -> Choosers, " timer: Said 0: "),
            (|_, _| Choosers(habit(u32::MAX, 1)), " starts: "),
        ] {
            let (report, found) = check(system, options.clone());
            assert!(found.is_none() && report.not_deterministic.is_none(), "{options:?}: {report:#?}");
            assert_eq!((report.end, report.exhausted), (End::Capped, false), "{options:?}: {report:#?}");
            assert_eq!(report.properties["never-said"], Property::HoldsSoFar);
            let why = report.stopped_by.unwrap_or_default();
            assert!(why.contains(step) && why.contains("more than 100,000 ways"), "{options:?}: {why}");
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{options:?} took {:?}", started.elapsed());
    }
}

/// So are first boots that are too many together.
#[test]
fn too_many_ways_to_begin_are_named() {
    let options = CheckOptions { explorer: Explorer::Stateright, ..CheckOptions::default() };
    let (report, _) = check(|_, _| Choosers(habit(2_000, 1)), options);
    let why = report.stopped_by.unwrap_or_default();
    assert!(report.end == End::Capped && why.contains("more than 100,000 ways to boot"), "{why}");
}

/// What is found within the ways that are tried is found all the same, and its path is not lost.
#[test]
fn what_is_found_among_too_many_ways_is_told() {
    let system: fn(u32, u32) -> Choosers = |_, _| Choosers(Habit { bad: Some(7), ..habit(1, u32::MAX) });
    for options in engines() {
        let options = CheckOptions { settle: false, ..options };
        let (report, found) = check(system, options.clone());
        assert_eq!(report.counterexample, Some("never-said"), "{options:?}: {report:#?}");
        assert!(found.expect("it is explained").story.contains("✗ invariant never-said is violated"));
    }
}

/// Many ways of many states: a bound is heeded before all of a level was tried.
#[test]
fn a_bound_is_heeded_where_each_state_has_many_ways() {
    for threads in 1..=2 {
        let options =
            CheckOptions { threads, settle: false, max_steps: Some(5_000), ..CheckOptions::default() };
        let (report, _) = check(|_, _| Choosers(habit(1, 2_000)), options);
        assert_eq!((report.end, report.stopped_by.as_deref()), (End::Capped, Some("--max-steps 5000")));
        assert!((1_000..100_000).contains(&report.steps), "{} steps", report.steps);
    }
}

/// Words that panic are told as data, and what cannot be shown at all is said to be so. No verdict depends on it.
#[test]
fn words_that_panic_lose_no_verdict() {
    const HABIT: Habit = Habit { boots: 1, ticks: 2, bad: Some(1), at_all: false };
    let as_data: fn(u32, u32) -> Choosers = |_, _| Choosers(HABIT);
    let not_at_all: fn(u32, u32) -> Choosers = |_, _| Choosers(Habit { at_all: true, ..HABIT });
    for (system, words) in [(as_data, "* Said 1"), (not_at_all, "* <panicked while it was described>")] {
        for options in engines() {
            let (report, found) = check(system, options.clone());
            assert_eq!(report.counterexample, Some("never-said"), "{options:?}: {report:#?}");
            let found = found.expect("it is explained");
            assert!(found.story.contains(words), "{options:?}: {}", found.story);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("found.toml");
            std::fs::write(&path, &found.capsule).expect("it is ours");
            let limits = Limits { timeouts: Some(2), ..Limits::NONE };
            let model = ModelDef { name: "choosers", about: "", system, size: (2, 0), limits };
            let file = File::read(&path).expect("it was written");
            let run = Suite::default().model(model).run_file(file, None, true).expect("it runs");
            assert_eq!(run.outcome.verdict.exit_code(), 1, "{}", run.outcome.verdict.describe());
            assert!(run.outcome.story.is_some_and(|story| story.contains(words)));
        }
    }
}

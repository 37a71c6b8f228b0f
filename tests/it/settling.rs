//! Whether a system comes to rest is decided, not guessed: on nodes made for the question.

use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::{Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, CheckReport, End, Reductions, Verdict};
use coalmine_sim::spec::limits::Disk;
use coalmine_sim::spec::limits::{Limits, ModelArgs};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{NEVER_PANICS, SETTLES};
use coalmine_sim::suite::{AnyModel, Explanation, ModelDef};
use coalmine_tests::restless::{self, model};
use serde::{Deserialize, Serialize};

fn check(name: &str, args: ModelArgs, options: CheckOptions) -> (CheckReport, Option<Explanation>) {
    model(name).check(args, options, &mut |_| {})
}

fn losing(drops: u8) -> ModelArgs {
    ModelArgs { drops: Some(drops), timeouts: Some(0), ..ModelArgs::default() }
}

/// How it comes out, which must be the same with any number of threads, with and without reductions, and where it is
/// walked; and why.
fn settles(name: &str, args: ModelArgs) -> (Verdict, String) {
    let mut outcomes = Vec::new();
    for reductions in [Reductions::NONE, Reductions::USUAL] {
        for threads in 1..=3 {
            let options = CheckOptions { threads, reductions, ..CheckOptions::default() };
            let (report, found) = check(name, args, options);
            assert!(report.exhausted && !report.is_empty(), "{name}: {report:#?}");
            let verdict = report.properties[SETTLES];
            assert_eq!(report.is_proof(), verdict == Verdict::Holds, "{name}: {report:#?}");
            assert_eq!(found.is_some(), verdict == Verdict::Violated, "{name}: {report:#?}");
            let unknown = report.settling_unknown.map(|unknown| unknown.why);
            let story = found.map(|found| found.story).unwrap_or_default();
            let why = story.lines().last().unwrap_or_default().to_owned();
            outcomes.push((verdict, unknown.unwrap_or(why)));
        }
    }
    let first = outcomes.swap_remove(0);
    assert!(outcomes.iter().all(|other| *other == first), "{name}: {first:?} and {outcomes:?}");
    for threads in 1..=2 {
        let options = CheckOptions { walks: Some(0..20), threads, ..CheckOptions::default() };
        let (report, _) = check(name, args, options);
        let verdict = if first.0 == Verdict::Holds { Verdict::HoldsSoFar } else { first.0 };
        assert_eq!(report.properties[SETTLES], verdict, "{name}, walked: {report:#?}");
        assert!(report.end == End::Walked && !report.is_proof(), "{name}, walked: {report:#?}");
    }
    first
}

fn says((verdict, why): (Verdict, String), expected: Verdict, words: &[&str]) {
    assert_eq!(verdict, expected, "{why}");
    for word in words {
        assert!(why.contains(word), "it should say {word:?}: {why}");
    }
}

/// How long it takes to come to rest does not matter, and how long it has lasted proves nothing.
#[test]
fn what_repeats_decides_and_nothing_before_it() {
    let of = |name| settles(name, ModelArgs::default());
    says(of("rests-after-seventy"), Verdict::Holds, &[]);
    says(of("rests-for-twenty"), Verdict::Violated, &["n1 is not at rest", "after 21 rounds the same round"]);
    says(of("wakes-at-thirty"), Verdict::Violated, &["the same 30 rounds come", "2 of them not at rest"]);
    says(
        of("blinks"),
        Verdict::Violated,
        &["n2 is not at rest", "the same 2 rounds come", "1 of them not at rest"],
    );
}

/// What goes on for ever is no rest, and no unrest either: nobody knows. What goes on is named.
#[test]
fn what_never_repeats_is_not_known() {
    let of = |name| settles(name, ModelArgs::default());
    let limit = "no end was seen in 10000 rounds (--settle-rounds)";
    says(of("counts"), Verdict::Unknown, &[limit, "still changing: the state of n1;"]);
    says(of("tells"), Verdict::Unknown, &[limit, "still changing: the history of facts;"]);
    let few = CheckOptions { settle_rounds: 100, ..CheckOptions::default() };
    let (report, _) = check("journals", ModelArgs::default(), few.clone());
    let unknown = report.settling_unknown.expect("it is not known");
    assert!(
        unknown.why.contains("in 100 rounds") && unknown.why.contains("the journal of n1"),
        "{unknown:?}"
    );
    assert_eq!(unknown.path, Vec::<String>::new(), "the first state of all is the first that is asked");
    // The limit counts rounds until they repeat, whoever has come across some of them before.
    for (rounds, verdict) in [(70, Verdict::Unknown), (71, Verdict::Holds)] {
        for threads in 1..=3 {
            let options = CheckOptions { settle_rounds: rounds, threads, ..CheckOptions::default() };
            let (report, _) = check("rests-after-seventy", ModelArgs::default(), options);
            assert_eq!(report.properties[SETTLES], verdict, "{rounds} rounds: {report:#?}");
        }
    }
}

/// Who writes because something is durable may write for ever. That is no search without an end: where disks sync at
/// once it is a step that has none, else a space that is too large.
#[test]
fn who_writes_for_ever_is_not_waited_for() {
    let (report, found) = check("writes-on", ModelArgs::default(), CheckOptions::default());
    assert_eq!(report.violated().collect::<Vec<_>>(), [NEVER_PANICS], "{report:#?}");
    let story = found.expect("it is a counterexample").story;
    assert!(story.contains("one step writes more than 1000 records"), "{story}");
    let late = ModelArgs { disk: Some(Disk::Async), ..ModelArgs::default() };
    let options = CheckOptions { max_steps: Some(200), settle_rounds: 100, ..CheckOptions::default() };
    let (report, _) = check("writes-on", late, options);
    assert_eq!((report.end, report.properties[SETTLES]), (End::Capped, Verdict::Unknown), "{report:#?}");
}

/// Whoever chooses by chance chooses everything at last: that heals what waits for luck, and finds every trap.
#[test]
fn choices_are_fair() {
    let of = |name| settles(name, ModelArgs::default());
    says(of("backs-off"), Verdict::Holds, &[]);
    says(of("gambles"), Verdict::Violated, &["n1 is not at rest"]);
    says(of("wavers"), Verdict::Violated, &["n1 is not at rest: after 0 rounds the same 2 rounds come"]);
}

/// With all lost, the token is lost as well, and all begins again. Only a part tells.
#[test]
fn a_part_may_be_lost() {
    says(settles("delegates", losing(0)), Verdict::Holds, &[]);
    says(settles("delegates", losing(1)), Verdict::Violated, &["with n1 → n2: Work lost, n2 is not at rest"]);
    says(settles("delegates-to-one", losing(0)), Verdict::Holds, &[]);
    says(settles("delegates-to-one", losing(1)), Verdict::Violated, &["with every Work under way lost"]);
    says(settles("repeats", losing(1)), Verdict::Holds, &[]);
    let (report, _) = check("repeats", losing(1), CheckOptions::default());
    let asked = report.settling_losses.join("; ");
    assert!(asked.starts_with("nothing is lost; once, before any round, all that is under way"), "{asked}");
    let (report, _) = check("repeats", losing(0), CheckOptions::default());
    assert_eq!(report.settling_losses, ["nothing is lost"]);
}

/// Where more may be lost together than settling asks for, and the search leaves losses out, nobody knows.
#[test]
fn what_is_not_asked_is_not_known() {
    let of = |drops, losses| {
        let reductions = Reductions { losses, ..Reductions::USUAL };
        let options = CheckOptions { reductions, max_steps: Some(200), ..CheckOptions::default() };
        check("piles", losing(drops), options).0
    };
    let report = of(2, true);
    assert_eq!(report.properties[SETTLES], Verdict::Unknown, "{report:#?}");
    assert!(report.settling_unknown.is_some_and(|it| it.why.contains("in more than 1000 ways")));
    for report in [of(1, true), of(2, false)] {
        assert_eq!(report.properties[SETTLES], Verdict::HoldsSoFar, "{report:#?}");
    }
}

/// What is sent during the rounds may be lost as well.
#[test]
fn something_may_be_lost_in_between() {
    let crash = |drops| ModelArgs { crashes: Some(1), ..losing(drops) };
    says(settles("tells-once", crash(0)), Verdict::Holds, &[]);
    let lost = ["with all that is under way lost after a round, n2 is not at rest"];
    says(settles("tells-once", crash(1)), Verdict::Violated, &lost);
}

/// What arrives too early may not be heeded: then it is gone, and nothing is left that could wake whoever waits.
#[test]
fn what_comes_too_early_is_gone() {
    says(settles("heeds", losing(0)), Verdict::Violated, &["n2 is not at rest: after 1 round the same"]);
}

/// Every habit is on the command line of the toys.
#[test]
fn every_habit_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = restless::models().iter().map(|model| model.name).collect();
    assert_eq!(names.len(), restless::models().len());
}

/// A node that has a while for its work, and begins anew where that was too short; and what goes on meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Paced {
    done: u8,
    is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Pace {
    me: NodeId,
    /// How often it works, and how long it takes each time.
    work: (u8, u64),
    /// How long it may take in all, in milliseconds; the work that is cut off begins anew.
    lease: u64,
    /// After how long a beat follows a beat; 0: none.
    beat: u64,
    /// Whether the two send a token to and fro all the time.
    has_token: bool,
    /// Whether it is at rest before this long timer fires, or afterwards.
    hour: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Timer {
    Beat,
    Hour,
    Lease,
    Work,
}

impl Node for Paced {
    type Config = Pace;
    type Message = ();
    type Timer = Timer;
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(of: &Pace, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer(Timer::Lease, Duration::from_millis(of.lease));
        cx.set_timer(Timer::Work, Duration::from_millis(of.work.1));
        if of.beat > 0 {
            cx.set_timer(Timer::Beat, Duration::from_millis(of.beat));
        }
        if of.hour.is_some() {
            cx.set_timer(Timer::Hour, Duration::from_secs(3_600));
        }
        if of.has_token && of.me == NodeId(1) {
            cx.send(NodeId(2), ());
        }
        Self { done: 0, is_late: false }
    }

    fn on(&mut self, of: &Pace, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Timer(Timer::Beat) => cx.set_timer(Timer::Beat, Duration::from_millis(of.beat)),
            Event::Timer(Timer::Hour) => self.is_late = true,
            Event::Timer(Timer::Work) => {
                self.done += 1;
                match self.done == of.work.0 {
                    true => cx.cancel_timer(Timer::Lease),
                    false => cx.set_timer(Timer::Work, Duration::from_millis(of.work.1)),
                }
            }
            Event::Timer(Timer::Lease) => {
                self.done = 0;
                cx.set_timer(Timer::Lease, Duration::from_millis(of.lease));
                cx.set_timer(Timer::Work, Duration::from_millis(of.work.1));
            }
            Event::Message { from, message: () } => cx.send(from, ()),
            Event::Request { .. } | Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Paced {}

#[derive(Debug)]
struct PacedSystem(Pace);

impl System for PacedSystem {
    type Node = Paced;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Pace)> {
        (1..=2).map(NodeId).map(|me| (me, Pace { me, ..self.0 })).collect()
    }

    fn operations(&self) -> Vec<Operation<Paced>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Paced, ()>> {
        Vec::new()
    }

    fn converged(&self, now: &Observation<'_, Paced, ()>) -> Result<(), String> {
        let is_at_rest =
            |node: &Paced| node.done == self.0.work.0 && self.0.hour.is_none_or(|late| late == node.is_late);
        match now.up().find(|(_, node)| !is_at_rest(node)) {
            Some((id, _)) => Err(format!("{id} is not at rest")),
            None => Ok(()),
        }
    }
}

const PACE: Pace = Pace { me: NodeId(1), work: (3, 150), lease: 800, beat: 0, has_token: false, hour: None };

fn settles_at(system: fn(u32, u32) -> PacedSystem) -> (Verdict, String) {
    // Long waits are skipped, so that few rounds are enough.
    let options = CheckOptions { settle_rounds: 300, ..CheckOptions::default() };
    let limits = Limits { timeouts: Some(1), crashes: 1, ..Limits::NONE };
    let model = ModelDef { name: "paced", about: "", system, size: (2, 0), limits };
    let (report, found) = model.check(ModelArgs::default(), options, &mut |_| {});
    assert!(report.exhausted, "{report:#?}");
    let unknown = report.settling_unknown.map(|unknown| unknown.why).unwrap_or_default();
    (report.properties[SETTLES], found.map_or(unknown, |found| found.story.to_string()))
}

/// A lease of 800 ms is long enough for three times 150 ms of work; one of 400 ms is not, however often it is tried.
#[test]
fn short_timers_fire_before_long_ones() {
    says(settles_at(|_, _| PacedSystem(PACE)), Verdict::Holds, &[]);
    let short = settles_at(|_, _| PacedSystem(Pace { lease: 400, ..PACE }));
    says(short, Verdict::Violated, &["timer: Lease, 100 ms later", "n1 is not at rest"]);
    let together = settles_at(|_, _| PacedSystem(Pace { lease: 450, ..PACE }));
    says(together, Verdict::Violated, &["n1 is not at rest"]); // what was set first is not known: the first by name
}

/// Messages are faster than timers, but do not keep time from passing.
#[test]
fn endless_messages_keep_no_timer_from_firing() {
    says(settles_at(|_, _| PacedSystem(Pace { has_token: true, ..PACE })), Verdict::Holds, &[]);
    let short = settles_at(|_, _| PacedSystem(Pace { has_token: true, lease: 400, ..PACE }));
    says(short, Verdict::Violated, &["n1 is not at rest"]);
}

/// An hour of beats every ten milliseconds and more is skipped, but not what comes after it.
#[test]
fn long_waits_are_skipped() {
    says(settles_at(|_, _| PacedSystem(Pace { beat: 10, hour: Some(true), ..PACE })), Verdict::Holds, &[]);
    says(
        settles_at(|_, _| PacedSystem(Pace { beat: 17_000, hour: Some(true), ..PACE })),
        Verdict::Holds,
        &[],
    );
    let early = settles_at(|_, _| PacedSystem(Pace { beat: 10, hour: Some(false), ..PACE }));
    says(early, Verdict::Violated, &["n1 is not at rest"]);
}

//! Whether a system comes to rest is decided, not guessed: on nodes made for the question.

use coalmine_sim::check::{CheckOptions, CheckReport, End, Reductions, Verdict};
use coalmine_sim::spec::limits::Disk;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::verdict::{NEVER_PANICS, SETTLES};
use coalmine_sim::suite::{AnyModel, Explanation};
use coalmine_tests::restless::{self, model};

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
    says(of("blinks"), Verdict::Violated, &["n2 is not at rest", "the same round comes"]);
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

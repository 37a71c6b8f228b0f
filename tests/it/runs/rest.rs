//! The end of a run: the system is at rest, stays there, and owes no client an answer.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use coalmine_sim::spec::verdict::Verdict;

use super::*;

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::NotConverged { why } => why,
        other => panic!("{other:?}"),
    }
}

/// It is at rest nine moments of ten, and whoever looks once will say so.
#[test]
fn a_system_that_converges_and_leaves_again_has_not_converged() {
    for engine in ENGINES {
        let report = run(engine, || toys(Habit::Blinks), &Plan::quiet([]));
        let why = why(&report.verdict);
        assert!(why.starts_with("30 s after all was healed, n"), "{engine}: {why}");
        assert!(
            why.contains("(it converged at 4") && why.contains(" s no more, and must stay so for 5 s: n"),
            "{why}"
        );
        assert_eq!(report.converged_after, None);
        let story = told(&report);
        for note in ["converged; it must stay so for 5 s", "converged no more: n"] {
            assert!(story.matches(note).count() > 50, "{engine}: {note}: {story}");
        }
        // For a shorter time than it takes to blink, it is at rest.
        let short = Plan { steady_ms: 150, ..Plan::quiet([]) };
        assert_eq!(run(engine, || toys(Habit::Blinks), &short).verdict, Verdict::Passed, "{engine}");
    }
}

/// Between two looks, too.
#[test]
fn a_blink_between_two_looks_is_seen() {
    let plan = Plan { heal_at_ms: 15_010, ..Plan::quiet([]) };
    for engine in ENGINES {
        why(&run(engine, || toys(Habit::Blinks), &plan).verdict);
    }
}

#[test]
fn the_time_to_converge_is_reported() {
    for engine in ENGINES {
        let report = run(engine, || toys(Habit::Plain), &Plan::quiet([]));
        assert_eq!(report.verdict, Verdict::Passed);
        let after = report.converged_after.expect("it converged");
        assert!(after < Duration::from_millis(60), "{engine}: {after:?}");
        assert!(report.simulated >= Duration::from_secs(20), "{engine}: it must stay so for 5 s");
    }
}

#[test]
fn a_client_that_is_never_answered_is_told_and_fails_the_run() {
    let plan = Plan::quiet([(500, ask(7))]);
    for engine in ENGINES {
        let report = run(engine, || toys(Habit::Silent), &plan);
        let told_of = "client c1/7 was never answered by n1, whom it has asked since 0.500 s: 7";
        let why = why(&report.verdict);
        assert_eq!(why, format!("30 s after all was healed, {told_of}"), "{engine}");
        assert_eq!(report.unanswered, [told_of], "{engine}");
        assert!(told(&report).contains(told_of), "{engine}: {}", told(&report));

        let report = run(engine, || toys(Habit::Plain), &plan);
        assert_eq!((report.verdict, report.unanswered), (Verdict::Passed, Vec::new()), "{engine}");
    }
}

#[test]
fn a_system_may_say_that_it_owes_no_answer() {
    let system = || Toys { excuse: Some("it is shy"), ..toys(Habit::Silent) };
    for engine in ENGINES {
        let report = run(engine, system, &Plan::quiet([(500, ask(7))]));
        assert_eq!(report.verdict, Verdict::Passed, "{engine}");
        let [told_of] = report.unanswered.as_slice() else { panic!("{:?}", report.unanswered) };
        assert!(told_of.ends_with("7, as may be: it is shy"), "{engine}: {told_of}");
        assert!(told(&report).contains(told_of), "{engine}");
    }
}

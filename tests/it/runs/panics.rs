//! A panic is what a run has found: it has a story, a digest, a place, and it shrinks.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::collections::BTreeSet;

use coalmine_sim::files::capsule::File;
use coalmine_sim::panics::Panic;
use coalmine_sim::spec::verdict::Expected;
use coalmine_sim::spec::verdict::Verdict;
use coalmine_sim::suite::AnyScenario;

use super::*;

fn superstitious() -> Toys {
    toys(Habit::Superstitious)
}

fn panic_of(verdict: &Verdict) -> &Panic {
    match verdict {
        Verdict::Panicked(panic) => panic,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_ends_a_run_with_its_story() {
    let plan = Plan::quiet([(300, ask(7)), (1_000, ask(13))]);
    for engine in ENGINES {
        let report = run(engine, superstitious, &plan);
        let Panic { place, message } = panic_of(&report.verdict);
        assert!(
            message.starts_with("13 after ") && place.contains("runs.rs:"),
            "{engine}: {message}, {place}"
        );
        assert!(
            report.events > 20 && report.digest != 0 && report.simulated.as_secs() == 1,
            "{engine}: {report:?}"
        );
        assert_eq!(report.unused_steps, Some(Vec::new()), "{engine}");
        let story = told(&report);
        let last = story.lines().last().unwrap_or_default();
        assert!(last.ends_with(&format!("—— {} ——", report.verdict.describe())), "{engine}: {last}");
        assert!(story.contains("client ← n1: c1/7 7"), "{engine}: {story}");
        assert!(story.contains("n1  ← client c1/13: 13"), "{engine}: what it took is told: {story}");
    }
}

#[test]
fn runs_that_panic_differently_have_different_digests() {
    for engine in ENGINES {
        let digest = |number| run(engine, superstitious, &Plan::quiet([(1_000, ask(number))])).digest;
        assert_eq!(digest(13), digest(13), "{engine}");
        let digests: BTreeSet<_> = [13, 14, 15, 16].map(digest).into();
        assert_eq!(digests.len(), 4, "{engine}: the requests differ");
    }
    // Nothing differs but the place, or the message.
    let digest = |place: &str, message: &str| {
        let system = superstitious();
        let mut watch = coalmine_sim::engine::shared::recorder::Recorder::new(
            &system,
            &Plan::quiet([]),
            RunOptions::of(1),
        );
        let panic = Panic { place: place.into(), message: message.into() };
        watch.panicked(Duration::ZERO, panic.clone());
        watch.finish(Verdict::Panicked(panic), Duration::ZERO).digest
    };
    assert_eq!(BTreeSet::from([digest("a", "x"), digest("b", "x"), digest("a", "y")]).len(), 3);
}

#[test]
fn a_panic_in_what_a_system_says_of_itself_is_one_too() {
    let systems: [(fn() -> Toys, &str); 2] = [
        (|| Toys { trap: Some(Trap::Invariant), ..toys(Habit::Plain) }, "the invariant at n"),
        (|| Toys { trap: Some(Trap::Converged), ..toys(Habit::Plain) }, "converged"),
    ];
    for engine in ENGINES {
        for (system, message) in systems {
            let report = run(engine, system, &Plan::quiet([]));
            let panic = panic_of(&report.verdict);
            assert!(
                panic.message.contains(message) && panic.place.contains("runs.rs"),
                "{engine}: {panic:?}"
            );
            assert!(report.events > 2 && told(&report).contains(message), "{engine}");
        }
        let asked = Scenario { expect: |_| panic!("the expectation"), ..scenario(|| toys(Habit::Plain)) };
        let report = asked.run_plan(engine, &Plan::quiet([]), RunOptions::of(1));
        let panic = panic_of(&report.verdict);
        assert!(
            panic.message == "the expectation" && panic.place.contains("panics.rs"),
            "{engine}: {panic:?}"
        );
        assert!(report.events > 300, "{engine}: it has come to its end: {report:?}");
    }
}

/// Without the first request the run panics as well, but elsewhere.
#[test]
fn shrinking_keeps_this_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    for engine in ENGINES {
        let plan = |_: &_, _: &mut _| Plan::quiet([(500, ask(14)), (700, ask(3)), (1_000, ask(13))]);
        let scenario = Scenario { plan, ..scenario(superstitious) };
        let shrunk = scenario.shrink(engine, 1, &mut |_| true).expect("it fails");
        assert_eq!(shrunk.expected.message.as_deref(), Some("an even number"), "{engine}");
        assert_eq!((shrunk.steps_before, shrunk.at.steps), (3, 1), "{engine}: {}", shrunk.capsule);
        assert!(shrunk.capsule.contains("request = 14"), "{engine}: {}", shrunk.capsule);

        let replayed = |capsule: &str| {
            let path = folder.path().join("capsule.toml");
            std::fs::write(&path, capsule).expect("the folder is ours");
            let run = scenario.run_file(File::read(&path).expect("it can be read"), None, false);
            let run = run.expect("it can be run");
            run.expected.admits(&Expected::of(&run.outcome.verdict))
        };
        assert!(replayed(&shrunk.capsule), "{engine}");
        // What a panic says may hold an address: its place is what counts, if a file has it.
        let other = shrunk.capsule.replace("an even number", "an odd number");
        assert!(replayed(&other), "{engine}");
        let lines = |text: &str, but: &str| {
            let kept = text.lines().filter(|line| !line.starts_with(but));
            kept.collect::<Vec<_>>().join("\n")
        };
        assert!(replayed(&lines(&shrunk.capsule, "place")) && !replayed(&lines(&other, "place")), "{engine}");
        assert!(!replayed(&shrunk.capsule.replace("runs.rs", "walks.rs")), "{engine}");
        let without = lines(&lines(&shrunk.capsule, "message"), "place");
        assert!(replayed(&without), "{engine}: a file that does not say which panic means any");
    }
}

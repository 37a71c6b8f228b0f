//! A harness that never fails proves nothing. Here the rollout node is made wrong on purpose, one rule at a
//! time, and both the sweep and the checker must find it and tell it.

use coalmine::rollout::{chaos, model};
use coalmine_core::rollout::variant::Variant;
use coalmine_sim::check::{CheckOptions, Verdict as Property};
use coalmine_sim::run::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario, ModelArgs};
use coalmine_sim::sweep::{SweepOptions, SweepReport, sweep};
use coalmine_tests::{GuessingResolver, HastyVoter};

fn sweep_until_found<V: Variant>() -> SweepReport {
    let options = SweepOptions::of(0..3_000);
    sweep(&chaos::scenario::<V>(), &options, &|_, _| {})
}

/// The sweep finds it, and the seed alone tells the same story again.
fn sweep_finds<V: Variant>(invariants: &[&str], words: &[&str]) {
    let report = sweep_until_found::<V>();
    let failure = report.failures.first().expect("the sweep should find the planted bug");
    let Verdict::Violated { invariant, .. } = &failure.verdict else {
        panic!("expected a broken invariant, found {:?}", failure.verdict);
    };
    assert!(invariants.contains(&invariant.as_str()), "an unexpected invariant broke: {invariant}");
    let again = chaos::scenario::<V>().run(Engine::Madsim, failure.seed, true);
    assert_eq!(again.verdict, failure.verdict);
    let story = again.story.expect("a story was asked for");
    for word in words {
        assert!(story.contains(word), "the story should tell of {word:?}:\n{story}");
    }
}

/// The checker finds it; the shortest counterexample is a golden transcript.
fn check_finds<V: Variant>(name: &str, args: ModelArgs) {
    let options = CheckOptions { threads: 1, max_states: Some(20_000_000) };
    let (report, story) = model::<V>().check(args, options, &mut |_| {});
    assert!(report.properties.values().any(|property| *property == Property::Violated), "{report:?}");
    assert!(!report.exhausted);
    insta::assert_snapshot!(name, story.expect("a violation comes with its story"));
}

#[test]
fn the_sweep_finds_a_resolver_that_guesses() {
    let broken = ["one-outcome", "one-state-per-version", "no-split-brain", "unanimous"];
    sweep_finds::<GuessingResolver>(&broken, &["acts as the resolver", "DECISION", "ABORT"]);
}

#[test]
fn the_checker_finds_a_resolver_that_guesses() {
    let args = ModelArgs { drops: Some(0), timeouts: Some(3), ..ModelArgs::default() };
    check_finds::<GuessingResolver>("guessing_resolver", args);
}

#[test]
fn the_sweep_finds_a_vote_that_was_not_durable() {
    let broken = ["promises-kept", "one-outcome"];
    sweep_finds::<HastyVoter>(&broken, &["PREPARE_RESP", "VOTED COMMIT", "starts from"]);
}

#[test]
fn the_checker_finds_a_vote_that_was_not_durable() {
    check_finds::<HastyVoter>("hasty_voter", ModelArgs::default());
}

/// What the command line of the specimens says.
fn specimens(args: &str) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_specimens"));
    let output = command.args(args.split(' ')).output().expect("the specimens are built");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is drawn from the process is the same in two runs of it: only another process tells.
#[test]
fn another_process_tells_what_is_not_deterministic() {
    let (code, said) = specimens("sim dice --seeds 0..1 --check-determinism");
    assert_eq!(code, Some(5), "{said}");
    for word in ["not deterministic", "is the first that differs", "here:", "there:", "Reply"] {
        assert!(said.contains(word), "it should say {word:?}:\n{said}");
    }
    let options = SweepOptions { check_determinism: true, ..SweepOptions::of(0..3) };
    let suite = coalmine_tests::suite();
    let here = sweep(suite.find_scenario("dice").expect("a specimen"), &options, &|_, _| {});
    assert_eq!(here.passed, 3, "in one process nothing is seen");
}

//! A harness that never fails proves nothing. Here the rollout node is made wrong on purpose, one rule at a
//! time, and both the sweep and the checker must find it and tell it. (`two_phase_commit` has them all.)

use std::path::{Path, PathBuf};
use std::process::Command;

use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::check::{CheckOptions, Verdict as Property};
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario};
use coalmine_sim::sweep::{SweepOptions, SweepReport, sweep};
use coalmine_tests::{chaos_of, model_of};

fn sweep_until_found(mistake: Mistake) -> SweepReport {
    let options = SweepOptions::of(0..3_000);
    sweep(&chaos_of(mistake), &options, &|_, _| {})
}

/// The sweep finds it, and the seed alone tells the same story again.
fn sweep_finds(mistake: Mistake, invariants: &[&str], words: &[&str]) {
    let report = sweep_until_found(mistake);
    let failure = report.failures.first().expect("the sweep should find the planted bug");
    let Verdict::Violated { invariant, .. } = &failure.verdict else {
        panic!("expected a broken invariant, found {:?}", failure.verdict);
    };
    assert!(invariants.contains(&invariant.as_str()), "an unexpected invariant broke: {invariant}");
    let again = chaos_of(mistake).run(Engine::Madsim, failure.seed, true);
    assert_eq!(again.verdict, failure.verdict);
    let story = again.story.expect("a story was asked for");
    for word in words {
        assert!(story.contains(word), "the story should tell of {word:?}:\n{story}");
    }
}

/// The checker finds it; the shortest counterexample is a golden transcript.
fn check_finds(mistake: Mistake, name: &str, args: ModelArgs) {
    let options = CheckOptions { max_steps: Some(20_000_000), ..CheckOptions::default() };
    let (report, found) = model_of(mistake).check(args, options, &mut |_| {});
    assert!(report.properties.values().any(|property| *property == Property::Violated), "{report:?}");
    assert!(!report.exhausted);
    insta::assert_snapshot!(name, found.expect("a violation is explained").story);
}

#[test]
fn the_sweep_finds_a_resolver_that_guesses() {
    let broken = ["one-outcome", "one-state-per-version", "no-split-brain", "unanimous"];
    sweep_finds(Mistake::ResolverGuesses, &broken, &["acts as the resolver", "DECISION", "ABORT"]);
}

#[test]
fn the_sweep_finds_a_vote_that_was_not_durable() {
    sweep_finds(Mistake::VoteBeforeDurable, &["write-ahead"], &["PREPARE_RESP", "COMMIT"]);
}

#[test]
fn the_checker_finds_an_amnesiac_participant() {
    let args = ModelArgs {
        crashes: Some(0),
        wipes: Some(1),
        drops: Some(0),
        timeouts: Some(2),
        ..ModelArgs::default()
    };
    check_finds(Mistake::JoinsUnasked, "amnesiac_participant", args);
}

/// It uses a txid again, and counts the votes for what its former disk proposed.
#[test]
fn the_checker_finds_an_amnesiac_coordinator() {
    let args = ModelArgs {
        crashes: Some(0),
        wipes: Some(1),
        drops: Some(0),
        timeouts: Some(0),
        operations: Some(2),
        ..ModelArgs::default()
    };
    check_finds(Mistake::JoinsUnasked, "amnesiac_coordinator", args);
}

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_specimens"));
    command.args(args.split(' ')).current_dir(folder);
    command
}

/// What the command line of the specimens says, in this folder.
fn specimens(folder: &Path, args: &str) -> (Option<i32>, String) {
    let output = command(folder, args).output().expect("the specimens are built");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An empty folder of one test.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("coalmine-specimens-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).expect("a temporary folder can be made");
    path
}

/// A sweep leaves the first failure behind as a capsule that can be replayed with the line it prints.
#[test]
fn a_sweep_makes_its_first_failure_small() {
    let folder = folder("shrink");
    for engine in ["madsim", "direct"] {
        let args = format!("sim hasty-voter --seeds 0..2000 --jobs 1 --max-failures 1 --engine {engine}");
        let (code, said) = specimens(&folder, &args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("still violated: "), "{said}");
        let line = said.lines().find(|line| line.contains("replay coalmine-out/")).expect("a line to paste");
        let file = line.split_whitespace().last().expect("a file");
        let (code, story) = specimens(&folder, &format!("replay {file}"));
        assert_eq!(code, Some(1), "{story}");
        let capsule = std::fs::read_to_string(folder.join(file)).expect("it was written");
        assert!(capsule.contains(&format!("engine = \"{engine}\"")), "{capsule}");
        assert!(capsule.matches("[[plan.steps]]").count() <= 6, "{capsule}");
        std::fs::remove_file(folder.join(file)).expect("it is ours");
    }
    let args = "sim hasty-voter --seeds 0..2000 --jobs 1 --max-failures 1 --engine direct --format json";
    let (_, said) = specimens(&folder, args);
    let report: serde_json::Value = serde_json::from_str(said.trim()).expect("one object");
    assert!(folder.join(report["capsule"].as_str().expect("a path")).is_file());
    std::fs::remove_dir_all(folder.join("coalmine-out")).expect("it is ours");
    let (code, said) = specimens(&folder, &format!("{args} --no-shrink"));
    assert!(code == Some(1) && !said.contains("capsule"), "{said}");
    assert!(!folder.join("coalmine-out").exists());
    std::fs::remove_dir_all(folder).expect("it is ours");
}

/// Not to settle has an exit code of its own, which is that of a run that does not converge.
#[test]
fn what_does_not_settle_is_told_by_the_exit_code() {
    let folder = folder("settle");
    let (code, said) = specimens(&folder, "check patient-register --operations 1 --drops 1");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("✗ settles: VIOLATED"), "{said}");
    let (code, said) = specimens(&folder, "check patient-register --operations 1 --drops 1 --no-settle");
    assert!(code == Some(0) && said.contains("settles: not asked (--no-settle)"), "{said}");
    let (code, said) = specimens(&folder, "check patient-register --operations 1 --full --late-boots 0");
    assert!(code == Some(0) && said.contains("13 distinct states") && !said.contains("left out"), "{said}");
    let (code, said) = specimens(&folder, "check counts --settle-rounds 50");
    assert_eq!(code, Some(6), "{said}");
    for words in
        ["? settles: NOT KNOWN", "no end was seen in 50 rounds (--settle-rounds)", "from the beginning"]
    {
        assert!(said.contains(words), "{said}");
    }
    let (code, said) = specimens(&folder, "check counts --format json --walk 0..3");
    let report: serde_json::Value = serde_json::from_str(said.trim()).expect("one object");
    assert_eq!((code, &report["properties"]["settles"]), (Some(6), &"unknown".into()), "{said}");
    assert_eq!(report["settling_losses"][0], "nothing is lost", "{said}");
    assert!(report["settling_unknown"]["why"].as_str().is_some_and(|why| why.contains("10000")), "{said}");
    std::fs::remove_dir_all(folder).expect("it is ours");
}

/// What is drawn from the process is the same in two runs of it: only another process tells.
#[test]
fn another_process_tells_what_is_not_deterministic() {
    let folder = folder("dice");
    let (code, said) = specimens(&folder, "sim dice --seeds 0..1 --check-determinism");
    assert_eq!(code, Some(5), "{said}");
    for word in ["not deterministic", "is the first that differs", "here:", "there:", "Reply"] {
        assert!(said.contains(word), "it should say {word:?}:\n{said}");
    }
    std::fs::remove_dir_all(folder).expect("it is ours");
    let options = SweepOptions { check_determinism: true, ..SweepOptions::of(0..3) };
    let suite = coalmine_tests::suite();
    let here = sweep(suite.find_scenario("dice").expect("a specimen"), &options, &|_, _| {});
    assert_eq!(here.passed, 3, "in one process nothing is seen");
}

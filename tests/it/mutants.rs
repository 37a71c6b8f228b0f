//! Every mistake that the shipped systems list is found by whom it must be, and files say which mistake was made.

use std::sync::Arc;
use std::time::Duration;

use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::check::CheckOptions;
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::mistake::MistakeName;
use coalmine_sim::spec::verdict::{Engine, Expected, Verdict};
use coalmine_sim::sweep::mutants::{CHECKER, DIRECT, MADSIM, MutantOptions, mistakes, row};

/// The checker finds all, in few steps; so do the first seeds of chaos in both engines.
#[test]
fn every_mistake_is_found() {
    let suite = coalmine::suite();
    let all = mistakes(&suite);
    assert!(all.len() > Mistake::ALL.len(), "those of the rollout, and that of its specification");
    // The time is for machines that do other things, too; whoever finds something stops.
    let options = MutantOptions { cell: Duration::from_secs(300), seeds: 3_000, threads: 2 };
    for (model, mistake) in all {
        let row =
            row(&suite, model, &mistake, &options, &Arc::default()).expect("it is listed as it must be");
        let checked = row.cell(CHECKER).expect("every mistake has a space");
        assert!(checked.steps.is_some_and(|steps| (1..=30).contains(&steps)), "{row:?}");
        assert_eq!(row.cells.len(), if mistake.scenario.is_some() { 3 } else { 1 });
        for cell in &row.cells {
            assert!(cell.found, "{} missed: {row:?}", cell.detector);
            // A member that goes on without its disk may also leave another in doubt for ever.
            let told = cell.verdict.as_deref().unwrap_or_default();
            assert!(told.contains("is violated") || mistake.name == "amnesiac", "{row:?}");
        }
        for cell in [DIRECT, MADSIM].iter().filter_map(|detector| row.cell(detector)) {
            assert!(cell.steps.is_some_and(|steps| steps <= 7), "{row:?}");
        }
    }
}

/// A counterexample and a capsule say which mistake was made: replayed without a word about it they come to the same.
#[test]
fn files_say_which_mistake_was_made() {
    let suite = coalmine::suite();
    let model = suite.find_model("rollout").expect("a model");
    let planted = model.with_mistake("hasty-voter").expect("it is listed");
    let space = coalmine::rollout::mistakes::space(Mistake::VoteBeforeDurable);
    let (_, found) = planted.check(space, CheckOptions::default(), &mut |_| {});
    let capsule = found.expect("a counterexample").capsule;
    assert!(capsule.contains("mistake = \"hasty-voter\""), "{capsule}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let again = |text: &str| {
        let path = folder.path().join("file.toml");
        std::fs::write(&path, text).expect("it can be written");
        suite.run_file(File::read(&path).expect("sound TOML"), None, false)
    };
    let outcome = again(&capsule).expect("it can be run");
    assert!(outcome.expected.admits(&Expected::of(&outcome.outcome.verdict)), "{outcome:?}");
    let healthy = again(&capsule.replace("mistake = \"hasty-voter\"\n", "")).map(|ran| ran.outcome.verdict);
    assert!(!matches!(healthy, Ok(Verdict::Violated { .. })), "{healthy:?}");

    let chaos = suite.find_scenario("rollout-chaos").expect("a scenario");
    let planted = chaos.with_mistake("hasty-voter").expect("it is listed");
    let wrong =
        |seed: &u64| matches!(planted.run(Engine::Direct, *seed, false).verdict, Verdict::Violated { .. });
    let seed = (0..200).find(wrong).expect("a seed meets it");
    let plan = planted.plan(Engine::Direct, seed).expect("a plan");
    assert!(matches!(again(&plan).expect("sound").outcome.verdict, Verdict::Violated { .. }), "{plan}");
    let healthy = plan.replace("mistake = \"hasty-voter\"\n", "");
    assert_eq!(again(&healthy).expect("sound").outcome.verdict, Verdict::Passed);
    let why = again(&plan.replace("hasty-voter", "lazy-voter")).expect_err("there is no such mistake");
    assert!(why.contains("\"lazy-voter\" is none of this system's") && why.contains("hasty-voter"), "{why}");
}

#[test]
fn a_mistake_that_nobody_makes_is_refused() {
    let suite = coalmine::suite();
    let why = suite.with_mistake("lazy-voter").map(|_| ()).expect_err("there is none");
    assert!(why.contains("no mistake \"lazy-voter\"") && why.contains("hasty-manager, hasty-voter"), "{why}");
    let counter = suite.find_model("counter").expect("a model");
    assert!(counter.with_mistake("hasty-voter").is_none());
    let mistake = Some(MistakeName::try_from("hasty-voter").expect("a name"));
    let why = counter.check_args(ModelArgs { mistake, ..ModelArgs::default() }).expect_err("not its own");
    assert!(why.contains("this system makes none"), "{why}");
    for name in ["", "a-name-that-is-much-longer-than-any-mistake-has"] {
        assert!(MistakeName::try_from(name).is_err(), "{name:?}");
    }
    let planted = suite.with_mistake("hasty-manager").expect("listed");
    assert_eq!(planted.models.iter().map(|model| model.name()).collect::<Vec<_>>(), ["twophase"]);
    assert!(planted.scenarios.is_empty());
}

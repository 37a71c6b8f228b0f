//! The shipped scenarios pass, and a seed is a seed: alone, in a sweep, and in another process.

use std::process::Command;

use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::sweep::{SweepOptions, sweep};

/// Every scenario, each seed twice with the same digest.
fn passes(name: &str, seeds: u64) {
    let suite = coalmine::suite();
    let scenario = suite.find_scenario(name).expect("it ships");
    let options =
        SweepOptions { jobs: 2, check_determinism: true, max_failures: 3, ..SweepOptions::of(0..seeds) };
    let report = sweep(scenario, &options, &|_, _| {});
    assert_eq!(report.passed, seeds, "{:#?}", report.failures);
    assert!(report.simulated_s >= seeds as f64, "{report:?}");
}

#[test]
fn scripted_scenarios_pass() {
    let suite = coalmine::suite();
    let scripted: Vec<_> = suite
        .scenarios
        .iter()
        .map(|scenario| scenario.name())
        .filter(|name| *name != "rollout-chaos")
        .collect();
    assert!(scripted.len() >= 7, "{scripted:?}");
    for name in scripted {
        passes(name, 15);
    }
}

#[test]
fn chaos_passes() {
    passes("rollout-chaos", 150);
}

/// The plans of these seeds do something at the very first moment. Nothing was ever done after it: whoever
/// drives a run waited for an order instead of for the time, which had come.
#[test]
fn a_plan_may_begin_at_once() {
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    for seed in [6_789, 12_510, 17_642] {
        let outcome = chaos.run(Engine::Madsim, seed, false);
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {seed}");
    }
}

/// What a seed does must not depend on what ran before it in the process, nor on the process.
#[test]
fn a_seed_is_the_same_alone_in_a_sweep_and_in_another_process() {
    const SEEDS: [u64; 3] = [3, 9, 14];
    let digests = || -> Vec<u64> {
        let suite = coalmine::suite();
        let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
        SEEDS.iter().map(|&seed| chaos.run(Engine::Madsim, seed, false).digest).collect()
    };
    if let Ok(out) = std::env::var("COALMINE_TEST_DIGESTS") {
        std::fs::write(out, format!("{:?}", digests())).expect("the parent gave a path it can read");
        return;
    }
    let alone = digests();
    assert!(alone.iter().all(|digest| *digest != 0));
    assert_ne!(alone[0], alone[1], "different seeds do different things");

    // Within a sweep, on other threads, after other seeds, and with the trace kept.
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    for seed in 0..15 {
        let outcome = chaos.run(Engine::Madsim, seed, true);
        assert_eq!(outcome.verdict, Verdict::Passed);
        if let Some(place) = SEEDS.iter().position(|&it| it == seed) {
            assert_eq!(outcome.digest, alone[place], "seed {seed} differs after other seeds");
        }
    }

    // In another process: this very test, told to write its digests down.
    let out = std::env::temp_dir().join(format!("coalmine-digests-{}", std::process::id()));
    let this = "scenarios::a_seed_is_the_same_alone_in_a_sweep_and_in_another_process";
    let status = Command::new(std::env::current_exe().expect("a test has a path"))
        .args([this, "--exact"])
        .env("COALMINE_TEST_DIGESTS", &out)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("the test can run itself");
    assert!(status.success());
    let elsewhere = std::fs::read_to_string(&out).expect("the child wrote its digests");
    std::fs::remove_file(&out).expect("the file is ours");
    assert_eq!(elsewhere, format!("{alone:?}"));
}

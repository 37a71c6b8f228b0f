//! What faults in time do to a lock that is lent for a time: nothing, where the store refuses who comes too late; where it
//! does not, each kind breaks it, and without any it holds. `docs/time.md` says what follows from that.

use std::path::{Path, PathBuf};

use coalmine_core::lease::{HOLD, LEASE};
use coalmine_sim::check::{CheckOptions, Verdict as Property};
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::limits::{Disk, ModelArgs};
use coalmine_sim::spec::verdict::{Engine, Expected, Verdict};
use coalmine_sim::suite::Suite;
use coalmine_sim::sweep::{Engines, SweepOptions, sweep};

const UNFENCED: &str = "trusts-clocks";
const ENGINES: [Engine; 2] = [Engine::Direct, Engine::Madsim];
/// The scenarios in which time is not what a holder takes it for, each in its own way.
const LATE: [&str; 3] = ["lease-clocks", "lease-pauses", "lease-late-frames"];

fn unfenced() -> Suite {
    coalmine::suite().with_mistake(UNFENCED).expect("it is listed")
}

/// The checker fires a timer at any moment, so no clock is so wrong that it is not tried.
#[test]
fn a_lease_with_a_fence_is_proved_whatever_clocks_do() {
    let suite = coalmine::suite();
    let model = suite.find_model("lease").expect("it ships");
    let small = ModelArgs { retries: Some(0), ..ModelArgs::default() };
    let (report, found) = model.check(small, CheckOptions::default(), &mut |_| {});
    assert!(report.is_proof(), "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
    for (property, expected) in [
        ("one-at-a-time", Property::Holds),
        ("changes-hands", Property::Witnessed),
        // What it is proved against does happen.
        ("two-believe", Property::Witnessed),
    ] {
        assert_eq!(report.properties[property], expected, "{property}");
    }
}

/// It knows no durations: without a fence it has a counterexample as soon as one timer may fire, however good clocks are.
#[test]
fn without_a_fence_the_checker_finds_it_at_once() {
    let suite = unfenced();
    let model = suite.find_model("lease").expect("it ships");
    for disk in [Disk::Sync, Disk::Async] {
        for (timeouts, breaks) in [(0, false), (1, true), (2, true)] {
            let args = ModelArgs {
                crashes: Some(0),
                retries: Some(0),
                timeouts: Some(timeouts),
                disk: Some(disk),
                ..ModelArgs::default()
            };
            let (report, _) = model.check(args, CheckOptions::default(), &mut |_| {});
            let expected = if breaks { Property::Violated } else { Property::Holds };
            assert_eq!(report.properties["one-at-a-time"], expected, "{args}: {report:#?}");
        }
    }
}

/// The seeds of a scenario that fail, each with its verdict.
fn failures(suite: &Suite, scenario: &str, engines: Engines, seeds: u64) -> Vec<(u64, Verdict)> {
    let scenario = suite.find_scenario(scenario).expect("it ships");
    let options = SweepOptions { engines, max_failures: 3, ..SweepOptions::of(0..seeds) };
    let report = sweep(scenario, &options, &|_, _| {});
    report.failures.into_iter().map(|failure| (failure.seed, failure.verdict)).collect()
}

/// What the lease assumes is enough for it: crashes, cuts, lost frames, bad disks break nothing, fence or none.
#[test]
fn where_everything_is_in_time_no_seed_needs_the_fence() {
    for (engines, seeds) in [(Engines::Direct, 2_000), (Engines::Madsim, 300)] {
        assert_eq!(failures(&unfenced(), "lease-in-time", engines, seeds), [], "{engines:?}");
    }
}

/// Each way in which time goes wrong is enough to break it, alone; with the fence none does.
#[test]
fn each_fault_in_time_alone_breaks_a_lease_without_a_fence() {
    for name in LATE.into_iter().chain(["lease-chaos"]) {
        for (engines, seeds) in [(Engines::Direct, 300), (Engines::Madsim, 100)] {
            let broken = failures(&unfenced(), name, engines, seeds);
            assert!(!broken.is_empty(), "{name} {engines:?}");
            for (seed, verdict) in broken {
                let is_it =
                    matches!(&verdict, Verdict::Violated { invariant, .. } if invariant == "one-at-a-time");
                assert!(is_it, "{name} {engines:?} {seed}: {verdict:?}");
            }
            assert_eq!(failures(&coalmine::suite(), name, engines, seeds), [], "{name} {engines:?}");
        }
    }
}

/// What is left of such a seed can be taken in at a glance, and does the same again. One of these stops at seven steps,
/// where taking away any one more makes another end in time.
#[test]
fn what_a_clock_does_shrinks_to_six_steps() {
    let (suite, mut longer) = (unfenced(), Vec::new());
    for (name, engine) in LATE.into_iter().flat_map(|name| ENGINES.map(|engine| (name, engine))) {
        let scenario = suite.find_scenario(name).expect("it ships");
        let fails = |seed: &u64| scenario.run(engine, *seed, false).verdict != Verdict::Passed;
        for seed in (0..300).filter(fails).take(4) {
            let shrunk = scenario.shrink(engine, seed, &mut |at| at.runs < 1_000).expect("the seed fails");
            let capsule = &shrunk.capsule;
            assert!(shrunk.at.steps <= 7, "{name} {engine} {seed}, {} runs:\n{capsule}", shrunk.at.runs);
            if shrunk.at.steps > 6 {
                longer.push((name, engine, seed));
            }
            let again = run(capsule, engine);
            assert!(
                matches!(again, Verdict::Violated { .. }),
                "{name} {engine} {seed}: {again:?}\n{capsule}"
            );
        }
    }
    assert!(longer.len() <= 1, "{longer:?}");
}

/// Runs a file of this text.
fn run(text: &str, engine: Engine) -> Verdict {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, text).expect("a file of ours");
    let file = File::read(&path).expect("it is sound");
    coalmine::suite().run_file(file, Some(engine), false).expect("it can be run").outcome.verdict
}

fn plans() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/plans")
}

/// What the plans show of a store that trusts clocks does not happen to one that does not.
#[test]
fn the_fence_makes_the_plans_pass() {
    let names = ["lease-slow-clock", "lease-fast-clock", "lease-long-pause", "lease-late-frame"];
    for (name, engine) in names.into_iter().flat_map(|name| ENGINES.map(|engine| (name, engine))) {
        let text = std::fs::read_to_string(plans().join(format!("{name}.toml"))).expect("it ships");
        let violated = Expected::of(&run(&text, engine));
        assert_eq!(violated.invariant.as_deref(), Some("one-at-a-time"), "{name} {engine}");
        let fenced = text.replace("mistake = \"trusts-clocks\"\n", "");
        let fenced = fenced.replace("\"violated\"\ninvariant = \"one-at-a-time\"", "\"passed\"");
        assert_eq!(run(&fenced, engine), Verdict::Passed, "{name} {engine}");
    }
}

/// One holder begins a document after a second, another waits for the lock from this time on, and this goes wrong.
fn two_holders(fault: &str, waits_from: u64) -> String {
    let ask = |at: u64, client: u64| {
        let to = client + 2;
        format!(
            "{{ at_ms = {at}, ask = {{ to = {to}, id = {{ client = {client}, sequence = 1 }}, request = {client} }} }},"
        )
    };
    format!(
        "scenario = 'lease-clocks'\nverdict = 'passed'\n[plan]\nmistake = '{UNFENCED}'\nheal_at_ms = 15000\n\
         converge_within_ms = 30000\nsteps = [\n{}\n{}\n{{ {fault} }},\n]\n",
        ask(1_000, 1),
        ask(waits_from, 2),
    )
}

/// Only a holder that is too slow and a lock that is too fast do harm, and only beyond the margin: the other way round
/// they lose time and nothing else.
#[test]
fn the_margin_bears_what_it_is_for_and_no_more() {
    let clock = |node: u32, percent: u64| {
        format!("at_ms = 500, fault = {{ clock = {{ node = {node}, percent = {percent}, for_ms = 14000 }} }}")
    };
    let pause = |node: u32, for_ms: u64| {
        let when = "received = { node = 3, message = \"IsWritten\", nth = 1 }";
        format!("{when}, fault = {{ pause = {{ node = {node}, for_ms = {for_ms} }} }}")
    };
    let late = |by_ms: u64| {
        let when = "received = { node = 3, message = \"IsWritten\", nth = 1 }";
        format!(
            "{when}, fault = {{ frame = {{ from = 3, to = 2, nth = 1, fate = {{ late = {{ by_ms = {by_ms} }} }} }} }}"
        )
    };
    // Where the holder's clock is so slow, or the lock's so fast, its 600 ms last no longer than the lock's 800.
    let drift = (HOLD.as_millis() * 100 / LEASE.as_millis()) as u64;
    let (slowest, fastest) = (drift + 2, 10_000 / drift - 2);
    let margin = (LEASE - HOLD).as_millis() as u64;
    for (waits_from, fault, does_harm) in [
        (1_100, clock(3, slowest), false),
        (1_100, clock(3, 10), true),
        (1_100, clock(3, 1_000), false),
        (1_100, clock(1, fastest), false),
        (1_100, clock(1, 1_000), true),
        (1_100, clock(1, 10), false),
        (1_100, clock(2, 10), false),
        (1_300, pause(3, margin), false),
        (1_300, pause(3, 3_000), true),
        (1_300, pause(1, 3_000), false),
        (1_300, pause(2, 3_000), false),
        (1_300, late(margin), false),
        (1_300, late(1_000), true),
    ] {
        for engine in ENGINES {
            let verdict = run(&two_holders(&fault, waits_from), engine);
            assert_eq!(verdict != Verdict::Passed, does_harm, "{engine}: {fault}: {verdict:?}");
        }
    }
}

//! The edge of a sweep: what is found is told although it cannot be kept, and seeds of 64 binary digits are read from JSON
//! whichever way they are written.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use coalmine_sim::sweep::merge::{self, read};
use coalmine_sim::sweep::{SweepOptions, SweepPart, sweep_part};
use serde_json::json;

#[test]
fn what_a_sweep_found_is_not_lost_with_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let within = folder.path().join("within");
    let checkpoint = within.join("checkpoint");
    let suite = coalmine::suite();
    let scenario = suite.find_scenario("rollout-calm").expect("it ships");
    let part = SweepPart { checkpoint: Some(checkpoint), ..SweepPart::default() };
    let gone = AtomicBool::new(false);
    let report = sweep_part(scenario, &SweepOptions::of(0..5), &part, &|done, _| {
        if done > 0 && !gone.swap(true, Ordering::Relaxed) {
            fs::remove_dir_all(&within).expect("it was made before the first seed");
            fs::write(&within, "no folder any more").expect("there is room");
        }
    });
    let report = report.expect("the file could be written at first");
    assert_eq!(report.passed, 5);
    let why = report.unsaved.expect("it could not be written in the end");
    assert!(why.contains("cannot write the checkpoint") && why.contains("within/checkpoint"), "{why}");
    // One that cannot be written at first is known before the first seed.
    let again = sweep_part(scenario, &SweepOptions::of(0..5), &part, &|done, _| assert_eq!(done, 0));
    assert!(again.is_err());
}

#[test]
fn a_report_names_large_seeds_as_strings_and_takes_them_either_way() {
    let seed = (1_u64 << 53) + 7;
    let report = |seed: serde_json::Value| {
        json!({
            "scenario": "x", "engine": "direct", "seeds": format!("{}..{}", (1_u64 << 53), (1_u64 << 53) + 9),
            "passed": 8, "failed": [seed], "failures": [{ "seed": seed, "verdict": "panicked", "message": "m" }],
            "events": 1, "simulated_s": 0.5, "wall_s": 0.5,
        })
    };
    for form in [json!(seed), json!(seed.to_string())] {
        let text = report(form).to_string();
        let pieces = read("a", text.as_bytes()).unwrap_or_else(|why| panic!("{why}: {text}"));
        let merged = merge::merge(pieces).expect("it is whole");
        let written = serde_json::to_value(&merged.reports[0]).expect("plain data");
        let expected = json!(seed.to_string());
        assert_eq!((&written["failed"], &written["failures"][0]["seed"]), (&json!([expected]), &expected));
    }
    let small = serde_json::to_value(
        merge::merge(read("a", report(json!(1_u64 << 53)).to_string().as_bytes()).expect("sound"))
            .expect("it is whole")
            .reports[0]
            .clone(),
    );
    assert_eq!(small.expect("plain data")["failed"], json!([1_u64 << 53]), "what is exact stays a number");
}

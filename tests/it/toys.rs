//! What only a process can be asked, of toys that no system which ships is like, and of nodes that make a mistake: exit
//! codes, what a sweep leaves behind, and whether another process does the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use coalmine_sim::sweep::{SweepOptions, sweep};

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toys"));
    command.args(args.split(' ')).current_dir(folder);
    command
}

/// What the command line says, in this folder.
fn toys(folder: &Path, args: &str) -> (Option<i32>, String) {
    let output = command(folder, args).output().expect("the toys are built");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An empty folder of one test.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("coalmine-toys-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).expect("a temporary folder can be made");
    path
}

/// A sweep leaves the first failure behind as a capsule that can be replayed with the line it prints.
#[test]
fn a_sweep_makes_its_first_failure_small() {
    let folder = folder("shrink");
    for engine in ["madsim", "direct"] {
        let args = format!(
            "--mistake any-vote sim rollout-chaos --seeds 0..2000 --jobs 1 --max-failures 1 --engine {engine}"
        );
        let (code, said) = toys(&folder, &args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("still violated: "), "{said}");
        let line = said
            .lines()
            .find(|line| line.contains("--mistake any-vote replay coalmine-out/"))
            .expect("a line to paste");
        let file = line.split_whitespace().last().expect("a file");
        let (code, story) = toys(&folder, &format!("replay {file}"));
        assert_eq!(code, Some(1), "{story}");
        let capsule = std::fs::read_to_string(folder.join(file)).expect("it was written");
        assert!(capsule.contains(&format!("engine = \"{engine}\"")), "{capsule}");
        assert!((1..=6).contains(&capsule.matches("\n  { ").count()), "{capsule}");
        std::fs::remove_file(folder.join(file)).expect("it is ours");
    }
    let args = "--mistake any-vote sim rollout-chaos --seeds 0..2000 --jobs 1 --max-failures 1 --engine direct --format json";
    let (_, said) = toys(&folder, args);
    let report: serde_json::Value = serde_json::from_str(said.trim()).expect("one object");
    assert!(folder.join(report["capsule"].as_str().expect("a path")).is_file());
    std::fs::remove_dir_all(folder.join("coalmine-out")).expect("it is ours");
    let (code, said) = toys(&folder, &format!("{args} --no-shrink"));
    assert!(code == Some(1) && !said.contains("capsule"), "{said}");
    assert!(!folder.join("coalmine-out").exists());
    std::fs::remove_dir_all(folder).expect("it is ours");
}

/// Not to settle has an exit code of its own, which is that of a run that does not converge.
#[test]
fn what_does_not_settle_is_told_by_the_exit_code() {
    let folder = folder("settle");
    let (code, said) = toys(&folder, "check patient-register --operations 1 --drops 1");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("✗ settles: VIOLATED"), "{said}");
    let (code, said) = toys(&folder, "check patient-register --operations 1 --drops 1 --no-settle");
    assert!(code == Some(0) && said.contains("settles: not asked (--no-settle)"), "{said}");
    let (code, said) = toys(&folder, "check patient-register --operations 1 --full --late-boots 0");
    assert!(code == Some(0) && said.contains("13 distinct states") && !said.contains("left out"), "{said}");
    let (code, said) = toys(&folder, "check counts --settle-rounds 50");
    assert_eq!(code, Some(6), "{said}");
    for words in
        ["? settles: NOT KNOWN", "no end was seen in 50 rounds (--settle-rounds)", "from the beginning"]
    {
        assert!(said.contains(words), "{said}");
    }
    let (code, said) = toys(&folder, "check counts --format json --walk 0..3");
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
    let (code, said) = toys(&folder, "sim dice --seeds 0..1 --check-determinism");
    assert_eq!(code, Some(5), "{said}");
    for word in ["not deterministic", "is the first that differs", "here:", "there:", "Reply"] {
        assert!(said.contains(word), "it should say {word:?}:\n{said}");
    }
    std::fs::remove_dir_all(folder).expect("it is ours");
    let options = SweepOptions { check_determinism: true, ..SweepOptions::of(0..3) };
    let suite = coalmine_tests::suite();
    let here = sweep(suite.find_scenario("dice").expect("a toy"), &options, &|_, _| {});
    assert_eq!(here.passed, 3, "in one process nothing is seen");
}

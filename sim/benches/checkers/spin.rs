//! *TwoPhase* in SPIN, where that is installed: whole states, no reduction, one core.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::job::{Counts, Measured, Stopwatch};

/// What turns the model into a checker.
const TOOLS: [&str; 2] = ["spin", "gcc"];

/// Whether it can be run here.
pub fn is_installed() -> bool {
    TOOLS.iter().all(|tool| Command::new(tool).arg("--version").output().is_ok())
}

/// Builds the checker, and measures what it does then.
pub fn measure(resource_managers: u32) -> Measured {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("spin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for SPIN");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/checkers/two_phase.pml");
    run(&folder, Command::new("spin").arg(format!("-DN={resource_managers}")).arg("-a").arg(model));
    run(&folder, Command::new("gcc").args(["-O2", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"]));
    let stopwatch = Stopwatch::start(processor);
    let text = run(&folder, Command::new("./pan").arg("-m1000"));
    // The most that any of the three has used; that is the checker, whose table is larger than they are.
    let peak_bytes = usage().max_rss() as u64 * 1024;
    let measured = stopwatch.stop(counts(&text), peak_bytes);
    std::fs::remove_dir_all(&folder).expect("the folder can go");
    measured
}

/// What it says that it found.
fn counts(text: &str) -> Counts {
    let is_whole = text.contains("errors: 0") && !text.contains("search depth too small");
    assert!(is_whole && !text.contains("Search not completed"), "{text}");
    let number = |of: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().strip_suffix(of));
        let number = lines.next().and_then(|number| number.trim().parse().ok());
        number.unwrap_or_else(|| panic!("SPIN does not say how many{of}:\n{text}"))
    };
    Counts {
        distinct: number(" states, stored"),
        steps: number(" transitions (= stored+matched)"),
        handler_runs: None,
        counterexample: None,
    }
}

fn run(folder: &Path, command: &mut Command) -> String {
    let output = command.current_dir(folder).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What the processes that this one has waited for have used.
fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system counts")
}

fn processor() -> Duration {
    let (usage, duration) =
        (usage(), |time: TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000));
    duration(usage.user_time()) + duration(usage.system_time())
}

//! For the tests of a user's crate: each call is a test, and panics with what a person needs to go on.
//!
//! ```ignore
//! #[test]
//! fn nothing_is_lost() {
//!     coalmine_sim::testing::sweep(&suite(), "my-scenario", 0..200);
//! }
//! ```

use std::cell::Cell;
use std::io::Write;
use std::ops::Range;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use coalmine_real::{files, paste};

use crate::check::CheckOptions;
use crate::files::capsule::{File, usual_path};
use crate::shrink;
use crate::spec::faults::Effect;
use crate::spec::limits::ModelArgs;
use crate::spec::verdict::{Engine, Expected, Verdict};
use crate::suite::{AnyScenario, FileOutcome, Shrunk, Suite};
use crate::sweep::confirm::Unreplayed;
use crate::sweep::confirm::{self};
use crate::sweep::second_process::{self, Launch};
use crate::sweep::{self, Failure, Seeds, SweepOptions, SweepPart, SweepReport};

pub use crate::sweep::Engines;

/// The environment variable that says which seeds a [`sweep`](sweep()) runs instead of those in the test.
pub const SEEDS: &str = "COALMINE_SEEDS";

/// How many of the last seeds of a sweep that passes are run again by a fresh process.
const COMPARED: u64 = 16;

/// Runs a scenario under these seeds, or those that [`SEEDS`] names, such as `0..100000`, in the direct engine: it is many
/// times faster, and [`sweep_with`] has the other. Panics at the first that fails, with the lines that tell its story; the
/// plan is made small first, and kept as a capsule in `coalmine-out`.
///
/// Other processes are asked whether what came of a seed depends on what ran before it: they are the same test, started
/// again alone (`--exact`), in which this call answers questions and does not return; other calls of this module
/// do nothing there. A failure must come again in such a process, alone; and when all seeds have passed, the last
/// few must give the same digests there, in another order. So what is covered is what the failure, and these few,
/// depend on; `sim --check-determinism` compares every seed. Nothing is compared with another build or machine.
#[track_caller]
pub fn sweep(suite: &Suite, scenario: &str, seeds: Range<u64>) {
    sweep_with(suite, scenario, seeds, Engines::Direct);
}

/// The same in these engines: [`Engines::Madsim`] runs the production shell, its bytes, its journal and its HTTP;
/// [`Engines::Both`] runs each seed in both, and their verdicts must agree.
#[allow(clippy::print_stderr, reason = "the runner of a test shows what it prints where it fails")]
#[track_caller]
pub fn sweep_with(suite: &Suite, scenario: &str, seeds: Range<u64>, engines: Engines) {
    let call = format!("{scenario} at {}", Location::caller());
    answers_as_second_process(suite, &call);
    if second_process::is_one() {
        return; // of another call
    }
    let seeds = wanted(std::env::var(SEEDS).ok(), seeds).unwrap_or_else(|why| panic!("{why}"));
    let found = suite.find_scenario(scenario).unwrap_or_else(|| panic!("there is no scenario {scenario:?}"));
    let jobs = std::thread::available_parallelism().map_or(1, Into::into);
    let options = SweepOptions { jobs, engines, ..SweepOptions::of(seeds) };
    let launch = Launch::of_test(&call);
    let mut report = sweep::sweep(found, &options, &|_, _| {});
    let mut doubt = String::new();
    if let Err(why) =
        confirm::confirm(found, options.engines, &mut report, &launch, 1, &AtomicBool::new(false))
    {
        doubt = format!("\n  whether it fails alone in a fresh process is not known: {why}");
    }
    let told: Vec<_> = report.never_exercised().iter().map(Effect::name).collect();
    if !told.is_empty() {
        eprintln!("{scenario}: never exercised: {}", told.join(", ")); // shown where a test fails, or by --nocapture
    }
    assert!(report.untested().is_none(), "{scenario}: {}", report.untested().unwrap_or_default());
    if report.failures.is_empty() {
        report = again(found, &options, &launch);
    }
    if let Some(failure) = report.failures.first() {
        let (seed, told) = (failure.seed, failure.verdict.describe());
        let lines = match &failure.verdict {
            Verdict::NotDeterministic { .. } => String::new(),
            Verdict::Passed
            | Verdict::Violated { .. }
            | Verdict::NotConverged { .. }
            | Verdict::Refused { .. }
            | Verdict::Panicked { .. }
            | Verdict::EnginesDiffer { .. } => lines(suite, found, &report, failure, &launch),
        };
        panic!("seed {seed} of {scenario}: {told}{doubt}{lines}");
    }
}

/// The lines that show a failure: the whole run of its seed; and what is left of it, told and drawn, or how to come to that.
fn lines(
    suite: &Suite,
    scenario: &dyn AnyScenario,
    report: &SweepReport,
    failure: &Failure,
    launch: &Launch,
) -> String {
    let (program, name, seed, engine) =
        (suite.program(), paste::word(scenario.name()), failure.seed, report.engine_of(failure));
    let option = if engine == Engine::default() { String::new() } else { format!(" --engine {engine}") };
    let whole = format!("\n  {program} replay {name} --seed {seed}{option}");
    let shrunk = scenario.shrink(engine, seed, &mut |at| at.runs < shrink::RUNS);
    let Some((Shrunk { steps_before, at, .. }, path)) =
        shrunk.and_then(|shrunk| kept(shrunk, usual_path(scenario.name(), None, &seed.to_string()), launch))
    else {
        return format!("{whole}\n  {program} shrink {name} --seed {seed}{option}");
    };
    let (steps, file, page) = (at.steps, paste::path(&path), paste::path(&path.with_extension("html")));
    format!(
        "{whole}\n  of its {steps_before} steps {steps} are left:\n    {program} replay {file}\n    \
         {program} replay {file} --html {page}"
    )
}

/// Writes a capsule, if that can be done and a fresh process comes to the same.
fn kept(shrunk: Shrunk, path: PathBuf, launch: &Launch) -> Option<(Shrunk, PathBuf)> {
    files::replace(&path, |file| file.write_all(shrunk.capsule.as_bytes())).ok()?;
    if let Err(Unreplayed::Differs(_)) = confirm::replays(launch, &path) {
        let _ = std::fs::remove_file(&path);
        return None;
    }
    Some((shrunk, path))
}

/// Runs the last few seeds of a sweep again, here and in a fresh process, in another order; here only, if there is no
/// such process.
fn again(scenario: &dyn AnyScenario, options: &SweepOptions, launch: &Launch) -> SweepReport {
    let start = options.seeds.end.saturating_sub(COMPARED).max(options.seeds.start);
    let seeds = start..options.seeds.end;
    let launch = launch.start().map(|_| launch.clone());
    if let Err(why) = &launch {
        let _ = writeln!(std::io::stderr(), "no seed is compared with a run in a fresh process: {why}");
    }
    let options = SweepOptions { seeds, jobs: 1, check_determinism: true, ..options.clone() };
    let part = SweepPart { launch: launch.ok(), ..SweepPart::default() };
    sweep::sweep_part(scenario, &options, &part, &|_, _| {}).expect("there is no checkpoint")
}

/// The seeds that the environment names, or else the test's own.
fn wanted(named: Option<String>, own: Range<u64>) -> Result<Range<u64>, String> {
    let Some(named) = named else {
        return if own.is_empty() {
            Err(format!("{}..{} holds no seed", own.start, own.end))
        } else {
            Ok(own)
        };
    };
    named.parse().map(Seeds::range).map_err(|why| format!("{SEEDS}: {why}"))
}

/// Explores a model within its own limits. Panics unless the space was exhausted, all invariants hold and all
/// witnesses were seen; with the story of the counterexample, if there is one.
///
/// A counterexample must come again in a process that has done nothing else, as a failure of a [`sweep`](sweep()) must;
/// if it does not, that is what is told.
#[track_caller]
pub fn check(suite: &Suite, model: &str) {
    // One place may check many systems of one name: of a fresh process the same call is asked.
    let number = CHECKS.replace(CHECKS.get() + 1);
    let call = format!("{model} at {}, check {number}", Location::caller());
    answers_as_second_process(suite, &call);
    if second_process::is_one() {
        return;
    }
    let found = suite.find_model(model).unwrap_or_else(|| panic!("there is no model {model:?}"));
    let options = CheckOptions {
        threads: std::thread::available_parallelism().map_or(1, Into::into),
        ..CheckOptions::default()
    };
    let (report, found) = found.check(ModelArgs::default(), options, &mut |_| {});
    if !report.is_proof() {
        if let Some(parted) = &report.not_deterministic {
            panic!("{model}: {}", parted);
        }
        let again =
            found.as_ref().map_or(Ok(()), |found| comes_again(&found.capsule, &Launch::of_test(&call)));
        let story = found.map(|found| found.story).unwrap_or_default();
        if let Err(why) = again {
            panic!("{model}: not deterministic, so nothing is known: {why}\n{story}");
        }
        let (properties, states) = (&report.properties, report.unique_states);
        let error = report.error.map_or_else(String::new, |why| format!("{why}; "));
        panic!(
            "{model}: {error}{properties:?} in {states} states\n{story}  {} check {model}",
            suite.program()
        );
    }
}

thread_local! {
    /// How many checks this test has begun.
    static CHECKS: Cell<u64> = const { Cell::new(0) };
}

/// Whether a counterexample comes again in a fresh process; if nobody can be asked, nobody doubts it.
fn comes_again(capsule: &str, launch: &Launch) -> Result<(), String> {
    // Tests run side by side, each in a thread of its own.
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(format!("coalmine-test-{process}-{thread:?}.toml"));
    if std::fs::write(&path, capsule).is_err() {
        return Ok(());
    }
    let again = confirm::replays(launch, &path);
    let _ = std::fs::remove_file(&path);
    match again {
        Ok(()) | Err(Unreplayed::NobodyAnswers(_)) => Ok(()),
        Err(Unreplayed::Differs(why)) => Err(why),
    }
}

/// Answers questions and does not return, if this process is the second process of this call.
fn answers_as_second_process(suite: &Suite, call: &str) {
    if second_process::is_of(call) {
        let served = second_process::serve(suite);
        std::process::exit(i32::from(served.is_err()));
    }
}

/// What becomes of steps of a plan that a run does not come to: see [`replay_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unused {
    /// A file that passes without them fails the test: it shows nothing of what they are there for.
    #[default]
    Refused,
    /// They may be there for another time.
    Allowed,
}

/// Runs a plan, a capsule or a counterexample, or all that are in a folder. Panics if one does not give the verdict it
/// names, or names none; or if that is `passed`, and a step was not carried out: a fault that never happens tests nothing.
#[track_caller]
pub fn replay(suite: &Suite, path: impl AsRef<Path>) {
    replay_with(suite, path, Unused::default());
}

/// The same, with a say in what becomes of steps that are not carried out.
#[track_caller]
pub fn replay_with(suite: &Suite, path: impl AsRef<Path>, unused: Unused) {
    if second_process::is_one() {
        return;
    }
    let path = path.as_ref();
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml" || ending == "json"));
        files.sort();
        assert!(!files.is_empty(), "{}: there is no plan in this folder", path.display());
    }
    for file in files {
        let (name, pasted) = (file.display(), paste::path(&file));
        let run = File::read(&file).and_then(|file| suite.run_file(file, None, false));
        let FileOutcome { outcome, expected, .. } = run.unwrap_or_else(|why| panic!("{why}"));
        let came = Expected::of(&outcome.verdict);
        assert!(
            expected.is_said(),
            "{name}: names no verdict, so there is nothing to test; it comes to {came}: write `verdict = {:?}` into it, \
             if it should\n  {} replay {pasted}",
            came.verdict,
            suite.program(),
        );
        assert!(
            expected.admits(&came),
            "{name}: {}, and the file says {expected}\n  {} replay {pasted}",
            outcome.verdict.describe(),
            suite.program(),
        );
        let is_whole =
            outcome.unused.is_empty() || outcome.verdict != Verdict::Passed || unused == Unused::Allowed;
        assert!(
            is_whole,
            "{name}: passed, but not carried out: {}\n  {} replay {pasted}",
            outcome.unused.join("; "),
            suite.program()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn the_environment_says_which_seeds() {
        assert_eq!(wanted(None, 0..200), Ok(0..200));
        assert_eq!(wanted(Some("5..100000".into()), 0..200), Ok(5..100_000));
        for (named, why) in
            [("many", "COALMINE_SEEDS: \"many\""), ("7..7", "COALMINE_SEEDS: 7..7 holds no seed")]
        {
            let refused = wanted(Some(named.into()), 0..200).expect_err("no seeds");
            assert!(refused.starts_with(why), "{refused}");
        }
        assert_eq!(wanted(None, 5..5), Err("5..5 holds no seed".into()));
    }
}

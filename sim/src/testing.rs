//! For the tests of a user's crate: each call is a test, and panics with what a person needs to go on.
//!
//! ```ignore
//! #[test]
//! fn nothing_is_lost() {
//!     coalmine_sim::testing::sweep(&suite(), "my-scenario", 0..200);
//! }
//! ```

use std::ops::Range;
use std::path::Path;

use crate::capsule::{Expected, File};
use crate::check::CheckOptions;
use crate::paste;
use crate::suite::{FileOutcome, ModelArgs, Suite};
use crate::sweep::{self, Seeds, SweepOptions};

/// The environment variable that says which seeds a [`sweep`](sweep()) runs instead of those in the test.
pub const SEEDS: &str = "COALMINE_SEEDS";

/// Runs a scenario under these seeds, or those that [`SEEDS`] names, such as `0..100000`. Panics at the first
/// that fails, with the line that tells its story.
#[track_caller]
pub fn sweep(suite: &Suite, scenario: &str, seeds: Range<u64>) {
    let seeds = wanted(std::env::var(SEEDS).ok(), seeds).unwrap_or_else(|why| panic!("{why}"));
    let found = suite.find_scenario(scenario).unwrap_or_else(|| panic!("there is no scenario {scenario:?}"));
    let jobs = std::thread::available_parallelism().map_or(1, Into::into);
    let options = SweepOptions { jobs, ..SweepOptions::of(seeds) };
    let report = sweep::sweep(found, &options, &|_, _| {});
    if let Some(failure) = report.failures.first() {
        let (program, seed) = (suite.program(), failure.seed);
        panic!(
            "seed {seed} of {scenario}: {}\n  {program} replay {scenario} --seed {seed}\n  {program} shrink {scenario} --seed {seed}",
            failure.verdict.tell(),
        );
    }
}

/// The seeds that the environment names, or else the test's own.
fn wanted(named: Option<String>, own: Range<u64>) -> Result<Range<u64>, String> {
    let Some(named) = named else { return Ok(own) };
    named.parse().map(Seeds::range).map_err(|why| format!("{SEEDS}: {why}"))
}

/// Explores a model within its own limits. Panics unless the space was exhausted, all invariants hold and all
/// witnesses were seen; with the story of the counterexample, if there is one.
#[track_caller]
pub fn check(suite: &Suite, model: &str) {
    let found = suite.find_model(model).unwrap_or_else(|| panic!("there is no model {model:?}"));
    let options = CheckOptions {
        threads: std::thread::available_parallelism().map_or(1, Into::into),
        ..CheckOptions::default()
    };
    let (report, found) = found.check(ModelArgs::default(), options, &mut |_| {});
    if !report.is_proof() {
        let story = found.map(|found| found.story).unwrap_or_default();
        let (properties, states) = (&report.properties, report.unique_states);
        panic!("{model}: {properties:?} in {states} states\n{story}  {} check {model}", suite.program());
    }
}

/// Runs a plan, a capsule or a counterexample, or all that are in a folder. Panics if one does not give the verdict it names.
#[track_caller]
pub fn replay(suite: &Suite, path: impl AsRef<Path>) {
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
            expected.admits(&came),
            "{name}: {}, and the file says {expected}\n  {} replay {pasted}",
            outcome.verdict.tell(),
            suite.program(),
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
        let refused = wanted(Some("many".into()), 0..200).expect_err("no seeds");
        assert!(refused.starts_with("COALMINE_SEEDS: \"many\""), "{refused}");
    }
}

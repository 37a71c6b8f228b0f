//! A failure is believed once it came again, alone, in a fresh process: only then does the line that replays it do
//! what it says. One that does not come again was made by what ran before it. Then that is the verdict, with where
//! the two runs part.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::compare::{first_difference, parted};
use super::second_process::{Launch, Ran};
use super::{Engines, Failure, SweepReport, both};
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Difference, Engine, Verdict};
use crate::suite::AnyScenario;

/// For how long the past of a failure is run again, to find out where it parts from a run without that past.
const PAST: Duration = Duration::from_secs(30);

/// Asks fresh processes about the first so many failures of a sweep, each alone. Those that come again are
/// [noted](SweepReport::confirmed); those that do not are failures of another kind from now on. `Err` says why nobody
/// could be asked.
pub fn confirm(
    scenario: &dyn AnyScenario,
    engines: Engines,
    report: &mut SweepReport,
    launch: &Launch,
    most: usize,
    stop: &AtomicBool,
) -> Result<(), String> {
    let part = report.part();
    let differs = |failure: &&mut Failure| !matches!(failure.verdict, Verdict::NotDeterministic { .. });
    for failure in report.failures.iter_mut().take(most).filter(differs) {
        let past = Past { scenario, engines, launch, before: part.start..failure.seed, stop };
        let here = Ran { verdict: failure.verdict.clone(), digest: failure.digest.unwrap_or_default() };
        let alone = past.alone(failure.seed)?;
        let is_same = Expected::of(&here.verdict) == Expected::of(&alone.verdict)
            && failure.digest.is_none_or(|digest| digest == alone.digest);
        if is_same {
            report.confirmed.push(failure.seed);
        } else {
            failure.verdict = parted(&here, &alone, past.difference(failure.seed, &here));
        }
    }
    Ok(())
}

/// Why a file is not known to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreplayed {
    /// It comes to another verdict than it says, or cannot be run.
    Differs(String),
    /// There is no fresh process.
    NobodyAnswers(String),
}

/// Whether a file, read back by a fresh process, comes to the verdict that it names.
pub fn replays(launch: &Launch, path: &Path) -> Result<(), Unreplayed> {
    let mut process = launch.start().map_err(Unreplayed::NobodyAnswers)?;
    let (expected, came) = process.file(path).map_err(Unreplayed::Differs)?;
    if expected.admits(&came) {
        return Ok(());
    }
    Err(Unreplayed::Differs(format!(
        "it should come to {expected}, and alone in a fresh process it comes to {came}: what a run comes to depends \
         on what ran before it"
    )))
}

/// What ran before a failure.
struct Past<'a> {
    scenario: &'a dyn AnyScenario,
    engines: Engines,
    launch: &'a Launch,
    before: Range<u64>,
    stop: &'a AtomicBool,
}

impl Past<'_> {
    /// What comes of a seed in a process, or two, that have run nothing else.
    fn alone(&self, seed: u64) -> Result<Ran, String> {
        let mut ran = Vec::new();
        for &engine in self.engines.each() {
            let Ran { verdict, digest } =
                self.launch.start()?.run(self.scenario.name(), engine, seed, false)?;
            ran.push((verdict, digest));
        }
        let (verdict, digest) = ran.into_iter().reduce(both).expect("there is at least one engine");
        Ok(Ran { verdict, digest })
    }

    /// Where a run that fails parts from one without a past: if a run in this process still fails, that one; else one
    /// in a process that has run the same seeds before.
    fn difference(&self, seed: u64, failed: &Ran) -> Option<Difference> {
        let wanted = Expected::of(&failed.verdict);
        for &engine in self.engines.each() {
            let mut process = self.launch.start().ok()?;
            process.run(self.scenario.name(), engine, seed, true).ok()?;
            let there = process.steps(engine, seed).ok()?;
            let (again, steps) = self.scenario.run_with_steps(engine, seed);
            let is_it = Expected::of(&again.verdict) == wanted;
            let here = first_difference(&steps(), &there);
            let found = match here {
                Some(here) if is_it => Some(here),
                here => self
                    .steps_with_past(engine, seed)
                    .and_then(|steps| first_difference(&steps, &there))
                    .or(here),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// What happens in a run after all seeds before it.
    fn steps_with_past(&self, engine: Engine, seed: u64) -> Option<Vec<String>> {
        let (started, mut process) = (Instant::now(), self.launch.start().ok()?);
        for before in self.before.clone() {
            if started.elapsed() > PAST || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            for &engine in self.engines.each() {
                process.run(self.scenario.name(), engine, before, false).ok()?;
            }
        }
        for &each in self.engines.each() {
            process.run(self.scenario.name(), each, seed, true).ok()?;
            if each == engine {
                break;
            }
        }
        process.steps(engine, seed).ok()
    }
}

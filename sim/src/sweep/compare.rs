//! Each seed a second time, against another past. A node that counts its boots in a static, or fills a cache, does
//! the same in two runs of one seed if as much ran before each of them. So seeds are run in blocks, and each block
//! again by a fresh process, backwards: the first run of a block there is its last one here, and nothing that was
//! run before the block was run there. A block has an even number of runs, or there is one more before it, so that
//! no run has as many before it here as there.

use super::second_process::{Launch, Ran, SecondProcess};
use super::{Engines, run_in};
use crate::panics::Panic;
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Difference, Engine, Verdict};
use crate::suite::{AnyScenario, Outcome, Steps};

/// How many seeds a block has. A process is started for each, and when a sweep is interrupted, what was not compared
/// is done again.
const BLOCK: usize = 32;

/// A block ends early after so many events: what happened is kept until it is compared.
const MOST_EVENTS: u64 = 1_000_000;

/// A run that is to be compared.
struct Run {
    seed: u64,
    engine: Engine,
    outcome: Outcome,
    steps: Steps,
    compared: bool,
}

/// What runs a block the second time.
enum There<'a> {
    /// A fresh process, once it is started.
    Process(&'a Launch, Option<SecondProcess>),
    /// This process: only the order is another. The steps of the last run.
    Here(Steps),
}

/// Runs the next seeds, and each again against another past. What comes back was compared, in the order in which it
/// was run; less than was run, once `is_over`.
pub fn run_block(
    scenario: &dyn AnyScenario,
    engines: Engines,
    launch: Option<&Launch>,
    next: impl Fn() -> Option<u64>,
    is_over: &dyn Fn() -> bool,
) -> Vec<(u64, Outcome)> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut seeds, mut events, mut failed) = (0, 0, false);
    while seeds < BLOCK && events < MOST_EVENTS && !failed && !is_over() {
        let Some(seed) = next() else { break };
        for &engine in engines.each() {
            let (outcome, steps) = scenario.run_with_steps(engine, seed);
            events += outcome.events;
            failed |= outcome.verdict != Verdict::Passed;
            runs.push(Run { seed, engine, outcome, steps, compared: false });
        }
        seeds += 1;
    }
    compare(scenario, launch, &mut runs, is_over);
    let of_seeds = runs.chunk_by(|a, b| a.seed == b.seed).filter(|runs| runs.iter().all(|run| run.compared));
    let joined = of_seeds.map(|runs| {
        let of = |engine| runs.iter().find(|run| run.engine == engine).map(|run| run.outcome.clone());
        (runs[0].seed, run_in(engines, |engine| of(engine).expect("each engine ran it")))
    });
    joined.collect()
}

fn compare(
    scenario: &dyn AnyScenario,
    launch: Option<&Launch>,
    runs: &mut [Run],
    is_over: &dyn Fn() -> bool,
) {
    let Some(&Run { seed, engine, .. }) = runs.first() else { return };
    let mut there =
        launch.map_or_else(|| There::Here(Box::new(Vec::new)), |launch| There::Process(launch, None));
    if !runs.len().is_multiple_of(2) {
        let _ = there.run(scenario, engine, seed); // only for the past of the others
    }
    for run in runs.iter_mut().rev() {
        if is_over() {
            return;
        }
        match there.run(scenario, run.engine, run.seed) {
            Ok(ran) if ran.digest == run.outcome.digest => {}
            Ok(ran) => {
                let here = Ran { verdict: run.outcome.verdict.clone(), digest: run.outcome.digest };
                let steps = there.steps(run.engine, run.seed);
                let difference = first_difference(&(run.steps)(), &steps);
                run.outcome.verdict = parted(&here, &ran, difference);
            }
            Err(message) => run.outcome.verdict = Verdict::Panicked(Panic::without_place(message)),
        }
        run.compared = true;
        run.steps = Box::new(Vec::new);
    }
}

impl There<'_> {
    fn run(&mut self, scenario: &dyn AnyScenario, engine: Engine, seed: u64) -> Result<Ran, String> {
        match self {
            Self::Here(last) => {
                let (outcome, steps) = scenario.run_with_steps(engine, seed);
                *last = steps;
                Ok(Ran { verdict: outcome.verdict, digest: outcome.digest })
            }
            Self::Process(launch, process) => {
                let running = match process.take() {
                    Some(running) => running,
                    None => launch.start()?,
                };
                // One that fails is not asked again.
                process
                    .insert(running)
                    .run(scenario.name(), engine, seed, true)
                    .inspect_err(|_| *process = None)
            }
        }
    }

    /// What happened in the last run, of this seed.
    fn steps(&mut self, engine: Engine, seed: u64) -> Vec<String> {
        match self {
            Self::Here(last) => last(),
            Self::Process(_, None) => Vec::new(),
            Self::Process(_, Some(process)) => process.steps(engine, seed).unwrap_or_default(),
        }
    }
}

/// That two runs of a seed differ.
pub fn parted(here: &Ran, there: &Ran, difference: Option<Difference>) -> Verdict {
    let digests = [here, there].map(|ran| format!("{:016x}", ran.digest));
    let verdicts = (Expected::of(&here.verdict) != Expected::of(&there.verdict))
        .then(|| [here, there].map(|ran| ran.verdict.describe()));
    Verdict::NotDeterministic { digests, verdicts, difference }
}

/// The first step at which two runs differ.
pub fn first_difference(here: &[String], there: &[String]) -> Option<Difference> {
    let nothing = || "nothing: the run has ended".to_owned();
    let step = (0..here.len().max(there.len())).find(|&step| here.get(step) != there.get(step))?;
    let at = |steps: &[String]| steps.get(step).cloned().unwrap_or_else(nothing);
    Some(Difference { step: step + 1, here: at(here), there: at(there) })
}

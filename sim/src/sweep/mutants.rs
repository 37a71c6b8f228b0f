//! Every mistake that systems can make on purpose, and who finds it: the checker, seeds in either engine. A harness
//! that has never failed proves nothing; what no one finds is a hole in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Engines, SweepOptions, SweepPart, sweep_part};
use crate::check::{CheckOptions, Verdict as Property};
use crate::spec::limits::ModelArgs;
use crate::spec::system::{Listed, Maker, Mistake};
use crate::spec::verdict::{Engine, Verdict};
use crate::suite::{AnyModel, AnyScenario, Suite};

/// How much is done for each cell.
#[derive(Clone, Copy, Debug)]
pub struct MutantOptions {
    /// For how long a detector may search, and for how long what it found is made small.
    pub cell: Duration,
    /// How many seeds a sweep has.
    pub seeds: u64,
    /// How many threads work.
    pub threads: usize,
}

/// What one detector makes of a mistake.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Who looked.
    pub detector: &'static str,
    /// Whether something was found wrong.
    pub found: bool,
    /// What was found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// How many distinct states were visited, or seeds run.
    pub covered: u64,
    /// Whether all that is asked was shown to hold in the whole space: a proof.
    pub holds: bool,
    /// How many steps the capsule has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// How long the search took, in seconds.
    pub wall_s: f64,
}

/// What comes of making a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Detection {
    /// Somebody has found it.
    Found,
    /// Hosts make it with any node, nobody has said that it shows with this one, and it does not: all that the system
    /// asks holds in the whole space.
    NotSeen,
    /// The same, but there is nothing to see: nowhere in the space does a node give its host the occasion.
    NeverMade,
    /// It should have been found, or might be farther on.
    Missed,
}

/// A mistake, without what comes of it.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// Who makes it.
    pub maker: Maker,
    /// The model of the system that makes it, or whose hosts do.
    pub model: String,
    /// What is wrong.
    pub about: &'static str,
    /// Where it is known from.
    pub source: &'static str,
}

impl Named {
    /// One that is listed by this model.
    pub fn of(model: &str, listed: &Listed) -> Self {
        let Listed { mistake: Mistake { name, about, source, .. }, maker } = *listed;
        Self { name, maker, model: model.into(), about, source }
    }
}

/// What all detectors make of a mistake.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The mistake's name.
    pub name: &'static str,
    /// Who makes it.
    pub maker: Maker,
    /// The model of the system that makes it, or whose hosts do.
    pub model: String,
    /// What is wrong.
    pub about: &'static str,
    /// Where it is known from.
    pub source: &'static str,
    /// The space that the checker explores.
    pub space: ModelArgs,
    /// What comes of it.
    pub detection: Detection,
    /// A cell for each detector that there is.
    pub cells: Vec<Cell>,
}

impl Row {
    /// What this detector made of it, if it was asked.
    pub fn cell(&self, detector: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.detector == detector)
    }
}

/// The name of the checker in the table.
pub const CHECKER: &str = "checker";
/// The name of a sweep of the direct engine.
pub const DIRECT: &str = "direct sweep";
/// The name of a sweep under madsim.
pub const MADSIM: &str = "madsim sweep";

/// All mistakes of a suite, each with the first model whose system, or whose hosts, make it.
pub fn mistakes(suite: &Suite) -> Vec<(&dyn AnyModel, Listed)> {
    let mut known = BTreeSet::new();
    let models = suite.models.iter().map(AsRef::as_ref);
    let of = |model: &'_ dyn AnyModel| model.mistakes();
    let all = models.flat_map(|model| of(model).into_iter().map(move |listed| (model, listed)));
    all.filter(|(model, listed)| known.insert((model.system(), listed.mistake.name))).collect()
}

/// Asks every detector about a mistake; `stop` ends that early. `Err` says what is wrong with how the mistake is listed.
pub fn row(
    suite: &Suite,
    model: &dyn AnyModel,
    listed: &Listed,
    options: &MutantOptions,
    stop: &Arc<AtomicBool>,
) -> Result<Row, String> {
    let Listed { mistake, maker } = *listed;
    let Mistake { name, about, source, space, .. } = mistake;
    let wrong = |why: &str| format!("{}, mistake {name:?}: {why}", model.name());
    let planted = model.with_mistake(name).ok_or_else(|| wrong("the system does not make it"))?;
    planted.check_args(space).map_err(|why| wrong(&why))?;
    let (cell, is_made) = checked(planted.as_ref(), space, options, stop);
    let mut cells = vec![cell];
    let scenario = match mistake.scenario {
        Some(name) => {
            let named = suite.find_scenario(name);
            Some(named.ok_or_else(|| wrong(&format!("there is no scenario {name:?}")))?)
        }
        None => first_scenario(suite, model).filter(|_| maker == Maker::Host),
    };
    if let Some(scenario) = scenario {
        let planted = scenario.with_mistake(name);
        let planted =
            planted.ok_or_else(|| wrong(&format!("the scenario {:?} does not make it", scenario.name())))?;
        for engine in [Engine::Direct, Engine::Madsim] {
            cells.push(swept(planted.as_ref(), engine, options, stop));
        }
    }
    let detection = if cells.iter().any(|cell| cell.found) {
        Detection::Found
    } else if maker == Maker::Host && cells[0].holds {
        if is_made { Detection::NotSeen } else { Detection::NeverMade }
    } else {
        Detection::Missed
    };
    Ok(Row { name, maker, model: model.name().into(), about, source, space, detection, cells })
}

/// The first scenario of a model's system.
fn first_scenario<'a>(suite: &'a Suite, model: &dyn AnyModel) -> Option<&'a dyn AnyScenario> {
    suite.scenarios.iter().map(AsRef::as_ref).find(|scenario| scenario.system() == model.system())
}

/// A flag that is set once the time is over, or somebody wants to stop.
pub(crate) struct Deadline<'a> {
    started: Instant,
    cell: Duration,
    stop: &'a AtomicBool,
    pub(crate) over: Arc<AtomicBool>,
}

impl<'a> Deadline<'a> {
    pub(crate) fn begin(cell: Duration, stop: &'a AtomicBool) -> Self {
        Self { started: Instant::now(), cell, stop, over: Arc::default() }
    }

    pub(crate) fn look(&self) -> bool {
        let is_over = self.started.elapsed() >= self.cell || self.stop.load(Ordering::Relaxed);
        self.over.fetch_or(is_over, Ordering::Relaxed) || is_over
    }
}

/// What the checker makes of a mistake, and whether it was made at all, as far as that is known.
fn checked(
    model: &dyn AnyModel,
    space: ModelArgs,
    options: &MutantOptions,
    stop: &AtomicBool,
) -> (Cell, bool) {
    let deadline = Deadline::begin(options.cell, stop);
    let stop = Arc::clone(&deadline.over);
    let how = CheckOptions { threads: options.threads, stop, ..CheckOptions::default() };
    let (report, found) = model.check(space, how, &mut |_| {
        deadline.look();
    });
    let mut violated = report.properties.iter().filter(|(_, property)| **property == Property::Violated);
    let verdict = violated.next().map(|(name, _)| format!("{name} is violated"));
    let cell = Cell {
        detector: CHECKER,
        found: verdict.is_some(),
        verdict,
        covered: report.unique_states as u64,
        holds: report.is_proof(),
        steps: found.map(|found| found.steps),
        wall_s: deadline.started.elapsed().as_secs_f64(),
    };
    (cell, report.let_out_early.unwrap_or(true))
}

fn swept(scenario: &dyn AnyScenario, engine: Engine, options: &MutantOptions, stop: &AtomicBool) -> Cell {
    let (detector, engines) = match engine {
        Engine::Direct => (DIRECT, Engines::Direct),
        Engine::Madsim => (MADSIM, Engines::Madsim),
    };
    let deadline = Deadline::begin(options.cell, stop);
    let how = SweepOptions { engines, jobs: options.threads, ..SweepOptions::of(0..options.seeds) };
    let part = SweepPart { stop: Arc::clone(&deadline.over), ..SweepPart::default() };
    let swept = sweep_part(scenario, &how, &part, &|_, _| {
        deadline.look();
    });
    let report = swept.expect("only a checkpoint can be wrong");
    let wall_s = deadline.started.elapsed().as_secs_f64();
    let failure = report.failures.first();
    let steps = failure.and_then(|failure| {
        let deadline = Deadline::begin(options.cell, stop);
        scenario.shrink(engine, failure.seed, &mut |_| !deadline.look()).map(|shrunk| shrunk.at.steps)
    });
    let found = failure.is_some_and(|failure| !matches!(failure.verdict, Verdict::Refused { .. }));
    let verdict = failure.map(|failure| match &failure.verdict {
        Verdict::Violated { invariant, .. } => format!("{invariant} is violated, seed {}", failure.seed),
        verdict @ (Verdict::Passed
        | Verdict::NotConverged { .. }
        | Verdict::Refused { .. }
        | Verdict::Panicked(_)
        | Verdict::EnginesDiffer { .. }
        | Verdict::NotDeterministic { .. }) => format!("{}, seed {}", verdict.describe(), failure.seed),
    });
    Cell { detector, found, verdict, covered: report.ran(), holds: false, steps, wall_s }
}

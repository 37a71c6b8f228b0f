//! Runs a scenario under many seeds, on many threads. Every seed is a run of its own: what comes out depends
//! on nothing but the seed. So a sweep may be cut in time and in space, and its parts add up to the whole:
//!
//! * [`SweepPart::checkpoint`]: a sweep that is interrupted goes on where it was;
//! * [`Shard`]: many machines run a part each;
//! * [`merge`]: their reports become one.
//!
//! Memory does not grow with the number of seeds: what is done is kept as ranges, and only failures are kept
//! one by one.

mod checkpoint;
mod compare;
pub mod confirm;
pub mod merge;
pub mod mutants;
pub mod second_process;
mod seeds;
mod shard;
pub mod times;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::checkpoint::{Checkpoint, Identity};
use self::second_process::Launch;
use self::seeds::SeedSet;
use self::times::Times;
use crate::spec::data::{piece, pieces};
use crate::spec::faults::{Effect, Effects};
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Engine, Verdict};
use crate::suite::steps::StepCounts;
use crate::suite::{AnyScenario, Outcome};

pub use self::checkpoint::CheckpointError;
pub use self::seeds::Seeds;
pub use self::shard::Shard;

/// How often a checkpoint is written.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// What runs a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engines {
    /// The production bytes.
    #[default]
    Madsim,
    /// The hosts alone.
    Direct,
    /// Each seed in both; their verdicts must be the same.
    Both,
}

impl Engines {
    /// Its name, as reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Madsim => "madsim",
            Self::Direct => "direct",
            Self::Both => "both",
        }
    }

    /// The engines that run a seed, in this order.
    fn each(self) -> &'static [Engine] {
        match self {
            Self::Madsim => &[Engine::Madsim],
            Self::Direct => &[Engine::Direct],
            Self::Both => &[Engine::Madsim, Engine::Direct],
        }
    }
}

/// How a sweep is made.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// What runs it.
    pub engines: Engines,
    /// Which seeds; at least one.
    pub seeds: Range<u64>,
    /// How many threads.
    pub jobs: usize,
    /// Run each seed a second time, after other seeds than the first time, and compare the digests.
    pub check_determinism: bool,
    /// Stop after so many failures.
    pub max_failures: usize,
}

impl SweepOptions {
    /// An ordinary sweep of these seeds, on one thread, that stops at the first failure.
    pub fn of(seeds: Range<u64>) -> Self {
        let engines = Engines::default();
        Self { engines, seeds, jobs: 1, check_determinism: false, max_failures: 1 }
    }
}

/// What a sweep has besides that takes several machines, or several sittings.
#[derive(Clone, Debug, Default)]
pub struct SweepPart {
    /// Run this part of the seeds only.
    pub shard: Option<Shard>,
    /// Go on from this file if it is there, and keep it up to date.
    pub checkpoint: Option<PathBuf>,
    /// Once this is set, finish the runs under way and report what is known.
    pub stop: Arc<AtomicBool>,
    /// How processes are started that run seeds a second time, to be compared; in this process if nobody says.
    pub launch: Option<Launch>,
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepReport {
    /// The scenario.
    pub scenario: String,
    /// The engine that ran it.
    pub engine: String,
    /// The seeds that were to be run, of all shards.
    pub seeds: Seeds,
    /// Which part of them, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The digest of the first of `seeds`, beside a shard: all shards of a sweep should have run the same code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// It was told to stop before all seeds were run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// How many passed.
    pub passed: u64,
    /// Those that failed, in order.
    #[serde(with = "pieces")]
    pub failed: Vec<u64>,
    /// How, for each of them.
    pub failures: Vec<Failure>,
    /// How many events there were.
    pub events: u64,
    /// Which faults took effect, and how often.
    #[serde(default)]
    pub effects: Effects,
    /// What plans say, by kind, and how much of it was carried out.
    #[serde(default)]
    pub steps: StepCounts,
    /// How long the runs took to converge once all was healed.
    #[serde(default)]
    pub converged_after: Times,
    /// How much time passed in the simulations, in seconds.
    pub simulated_s: f64,
    /// How much time passed outside, in seconds: in this session and those before it.
    pub wall_s: f64,
    /// Where the first failure was kept, made small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capsule: Option<String>,
    /// How many of the seeds were run in earlier sittings.
    #[serde(skip)]
    pub resumed: u64,
    /// The seeds whose failure [came again](confirm) in a fresh process.
    #[serde(skip)]
    pub confirmed: Vec<u64>,
    /// Why the checkpoint could not be kept up to date. What was found is here all the same.
    #[serde(skip)]
    pub unsaved: Option<String>,
}

impl SweepReport {
    /// How many seeds were run.
    pub fn ran(&self) -> u64 {
        self.passed + self.failed.len() as u64
    }

    /// What was to be tested and was not, if all seeds of the sweep have passed without it.
    pub fn untested(&self) -> Option<&'static str> {
        let is_whole = self.failed.is_empty() && !self.interrupted && self.shard.is_none();
        self.steps.untested().filter(|_| is_whole)
    }

    /// The kinds of faults that should have taken effect and never did: none where nothing was to go wrong.
    pub fn never_exercised(&self) -> Vec<Effect> {
        let never = self.effects.never();
        let was_calm = never.len() == Effect::ALL.len() && !self.steps.has_faults();
        if was_calm || self.ran() == 0 { Vec::new() } else { never }
    }

    /// The engine that shows a failure.
    pub fn engine_of(&self, failure: &Failure) -> Engine {
        let passed_madsim = matches!(
            &failure.verdict,
            Verdict::EnginesDiffer { madsim, .. } if **madsim == Verdict::Passed
        );
        let direct = passed_madsim || self.engine == Engine::Direct.to_string();
        if direct { Engine::Direct } else { Engine::Madsim }
    }

    /// The seeds of this part.
    pub fn part(&self) -> Range<u64> {
        part_of(&self.seeds.range(), self.shard)
    }

    /// How many seeds this part has.
    pub fn size(&self) -> u64 {
        let part = self.part();
        part.end - part.start
    }
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The seed.
    #[serde(with = "piece")]
    pub seed: u64,
    /// How.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The digest of the run, if it was in this session.
    #[serde(skip)]
    pub digest: Option<u64>,
}

/// Sweeps. `progress` is called after every seed, with how many are done and how many failed.
pub fn sweep(
    scenario: &dyn AnyScenario,
    options: &SweepOptions,
    progress: &(dyn Fn(u64, usize) + Sync),
) -> SweepReport {
    sweep_part(scenario, options, &SweepPart::default(), progress).expect("only a checkpoint can be wrong")
}

/// Sweeps a part, or goes on with it. `progress` is also called at first, with what earlier sittings did.
pub fn sweep_part(
    scenario: &dyn AnyScenario,
    options: &SweepOptions,
    part: &SweepPart,
    progress: &(dyn Fn(u64, usize) + Sync),
) -> Result<SweepReport, CheckpointError> {
    let started = Instant::now();
    let seeds = part_of(&options.seeds, part.shard);
    let probed = part.shard.is_some() || part.checkpoint.is_some();
    let probe = probed.then(|| {
        format!(
            "{:016x}",
            run_in(options.engines, |engine| scenario.run(engine, options.seeds.start, false)).digest
        )
    });
    let checkpoint = part.checkpoint.as_ref().map(|path| {
        Checkpoint::new(path, identity(scenario, options, part, probe.clone().unwrap_or_default()))
    });
    let tally = checkpoint.as_ref().map_or_else(|| Ok(Tally::default()), |file| file.load(&seeds))?;
    let (resumed, wall_before) = (tally.done.count(), tally.wall);
    progress(resumed, tally.failures.len());

    let session = Session { scenario, options, checkpoint, part, started, wall_before };
    // Before the work and not after it: a file that cannot be written is best known at once.
    session.save(&tally)?;
    let tally = session.run(tally, &seeds, progress);
    let unsaved = session.save(&tally).err().map(|why| why.to_string());

    let interrupted = part.stop.load(Ordering::Relaxed) && tally.done.count() < seeds.end - seeds.start;
    let (whole, probe) = (&options.seeds, probe.filter(|_| part.shard.is_some()));
    Ok(SweepReport {
        scenario: scenario.name().into(),
        engine: options.engines.name().into(),
        seeds: Seeds { start: whole.start, end: whole.end },
        shard: part.shard,
        probe,
        interrupted,
        passed: tally.done.count() - tally.failures.len() as u64,
        failed: tally.failures.iter().map(|failure| failure.seed).collect(),
        failures: tally.failures,
        events: tally.events,
        effects: tally.effects,
        steps: tally.steps,
        converged_after: tally.converged_after,
        simulated_s: tally.simulated.as_secs_f64(),
        wall_s: session.wall().as_secs_f64(),
        capsule: None,
        resumed,
        confirmed: Vec::new(),
        unsaved,
    })
}

fn part_of(seeds: &Range<u64>, shard: Option<Shard>) -> Range<u64> {
    shard.map_or_else(|| seeds.clone(), |shard| shard.of(seeds))
}

fn identity(scenario: &dyn AnyScenario, options: &SweepOptions, part: &SweepPart, probe: String) -> Identity {
    Identity {
        scenario: scenario.name().into(),
        engine: options.engines.name().into(),
        seeds: Seeds { start: options.seeds.start, end: options.seeds.end },
        shard: part.shard,
        check_determinism: options.check_determinism,
        version: env!("CARGO_PKG_VERSION").into(),
        probe,
    }
}

/// From the start of a process, or the reading of a checkpoint, to its end.
struct Session<'a> {
    scenario: &'a dyn AnyScenario,
    options: &'a SweepOptions,
    checkpoint: Option<Checkpoint>,
    part: &'a SweepPart,
    started: Instant,
    wall_before: Duration,
}

impl Session<'_> {
    /// Runs the next seed; or a few, and each a second time, if they are to be compared. Nothing, if there is none.
    fn run_next(&self, next: impl Fn() -> Option<u64>, is_over: &dyn Fn() -> bool) -> Vec<(u64, Outcome)> {
        let Self { scenario, options, .. } = self;
        if options.check_determinism {
            let launch = self.part.launch.as_ref();
            return compare::run_block(*scenario, options.engines, launch, next, is_over);
        }
        let run = |seed| (seed, run_in(options.engines, |engine| scenario.run(engine, seed, false)));
        next().map(run).into_iter().collect()
    }

    fn wall(&self) -> Duration {
        self.wall_before + self.started.elapsed()
    }

    fn save(&self, tally: &Tally) -> Result<(), CheckpointError> {
        self.checkpoint.as_ref().map_or(Ok(()), |file| file.save(tally, self.wall()))
    }

    /// Runs what is not done yet. A checkpoint that cannot be written is tried again, at the end at last: what is found
    /// counts for more than where it is kept.
    fn run(&self, tally: Tally, seeds: &Range<u64>, progress: &(dyn Fn(u64, usize) + Sync)) -> Tally {
        let pending = Mutex::new(tally.done.missing_from(seeds).into_iter().flatten());
        let enough = AtomicBool::new(tally.failures.len() >= self.options.max_failures);
        let shared = Mutex::new((tally, Instant::now()));
        let is_over = || enough.load(Ordering::Relaxed) || self.part.stop.load(Ordering::Relaxed);
        let work = || {
            while !is_over() {
                let outcomes = self.run_next(|| lock(&pending).next(), &is_over);
                if outcomes.is_empty() {
                    break;
                }
                let (tally, saved) = &mut *lock(&shared);
                for (seed, outcome) in outcomes {
                    tally.add(seed, outcome);
                    progress(tally.done.count(), tally.failures.len());
                }
                if tally.failures.len() >= self.options.max_failures {
                    enough.store(true, Ordering::Relaxed);
                }
                if saved.elapsed() >= SAVE_EVERY {
                    let _ = self.save(tally);
                    *saved = Instant::now();
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().for_each(|worker| worker.join().expect("a run's panics are its verdict"));
        });
        let (mut tally, _) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.failures.sort_by_key(|failure| failure.seed);
        tally
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes of a seed, in both engines if both are asked for.
fn run_in(engines: Engines, run: impl Fn(Engine) -> Outcome) -> Outcome {
    let outcomes = engines.each().iter().map(|engine| run(*engine));
    let joined = outcomes.reduce(|madsim, direct| {
        let (verdict, digest) = both((madsim.verdict, madsim.digest), (direct.verdict, direct.digest));
        let (mut effects, mut steps) = (madsim.effects, madsim.steps);
        effects.merge(&direct.effects);
        steps.merge(&direct.steps);
        let (events, simulated) = (madsim.events + direct.events, madsim.simulated + direct.simulated);
        Outcome { verdict, digest, events, simulated, effects, steps, ..madsim }
    });
    joined.expect("there is at least one engine")
}

/// What two engines make of a seed: verdict and digest. That one of them is not deterministic says more than that
/// they differ.
fn both(madsim: (Verdict, u64), direct: (Verdict, u64)) -> (Verdict, u64) {
    let differs = |verdict: &Verdict| matches!(verdict, Verdict::NotDeterministic { .. });
    let digest = madsim.1 ^ direct.1.rotate_left(1);
    let (madsim, direct) = (madsim.0, direct.0);
    let verdict = if Expected::of(&madsim).is_like(&Expected::of(&direct)) || differs(&madsim) {
        madsim
    } else if differs(&direct) {
        direct
    } else {
        Verdict::EnginesDiffer { madsim: Box::new(madsim), direct: Box::new(direct) }
    };
    (verdict, digest)
}

/// What is known so far: it grows with the failures, not with the seeds.
#[derive(Clone, Debug, Default)]
struct Tally {
    done: SeedSet,
    failures: Vec<Failure>,
    events: u64,
    effects: Effects,
    steps: StepCounts,
    converged_after: Times,
    simulated: Duration,
    /// The time that earlier sittings took.
    wall: Duration,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.done.insert(seed..seed + 1);
        self.events += outcome.events;
        self.effects.merge(&outcome.effects);
        self.steps.merge(&outcome.steps);
        self.simulated += outcome.simulated;
        if let Some(time) = outcome.converged_after {
            self.converged_after.add(time);
        }
        if outcome.verdict != Verdict::Passed {
            let digest = Some(outcome.digest);
            self.failures.push(Failure { seed, verdict: outcome.verdict, digest });
        }
    }
}

//! Scenarios of any systems, side by side; also among nodes that make a mistake on purpose.

use std::any::TypeId;
use std::cell::Cell;
use std::path::PathBuf;

use coalmine_core::node::{Event, Node};
use coalmine_real::http_api::HttpApi;

use super::outcome::{FileOutcome, Outcome, without_story};
use crate::engine::report::{RunOptions, RunReport};
use crate::files::capsule::{Capsule, File};
use crate::panics::catch;
use crate::shrink::{self, Shrinking, Ways};
use crate::spec::mistake::MistakeName;
use crate::spec::plan::Plan;
use crate::spec::scenario::Scenario;
use crate::spec::system::{self, Listed, NodeOf, Planted, System, all_mistakes, member_ids};
use crate::spec::verdict::{Engine, Expected, Verdict};
use crate::trace::html::{self, Page};
use crate::trace::slice::Slice;
use crate::trace::text::{self, Style};
use crate::verify::{self, Verified};

/// A scenario of some system.
pub trait AnyScenario: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// One sentence.
    fn about(&self) -> &'static str;
    /// Runs a seed; with `story` the outcome tells what happened.
    fn run(&self, engine: Engine, seed: u64, story: bool) -> Outcome;
    /// Runs a seed, and keeps all that happens.
    fn run_with_steps(&self, engine: Engine, seed: u64) -> (Outcome, Steps);
    /// The plan that a seed draws, as a file to be read, edited and run. `Err` says why there is none.
    fn plan(&self, engine: Engine, seed: u64) -> Result<String, String>;
    /// Runs a plan or a capsule, in the engine it names if no other is asked for. `Err` names what is wrong with the file, and where.
    fn run_file(&self, file: File, engine: Option<Engine>, story: bool) -> Result<FileOutcome, String>;
    /// Makes the plan of a seed that fails as small as it can be. `None` if the seed passes, or cannot be run.
    fn shrink(&self, engine: Engine, seed: u64, go_on: &mut dyn FnMut(Shrinking) -> bool) -> Option<Shrunk>;
    /// The type of its system.
    fn system(&self) -> TypeId;
    /// The mistakes that its system and its hosts can make on purpose.
    fn mistakes(&self) -> Vec<Listed> {
        Vec::new()
    }
    /// The same scenario among nodes that make the mistake of this name, if they can.
    fn with_mistake(&self, _name: &str) -> Option<Box<dyn AnyScenario>> {
        None
    }
    /// Executes the recordings of such a system again, with a page if one is wanted. `Err` names the file that
    /// cannot be read, and where.
    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String>;
}

/// All that happened in a run, a line each: put into words once somebody asks.
pub type Steps = Box<dyn Fn() -> Vec<String> + Send>;

/// A seed that fails, made small.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The capsule, as TOML.
    pub capsule: String,
    /// The verdict that it keeps.
    pub expected: Expected,
    /// How many steps the plan of the seed has.
    pub steps_before: usize,
    /// Where the search ended.
    pub at: Shrinking,
}

impl<S: System> AnyScenario for Scenario<S>
where
    NodeOf<S>: HttpApi,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn run(&self, engine: Engine, seed: u64, story: bool) -> Outcome {
        Drawing::of(self).run(engine, seed, story)
    }

    fn run_with_steps(&self, engine: Engine, seed: u64) -> (Outcome, Steps) {
        Drawing::of(self).run_with_steps(engine, seed)
    }

    fn plan(&self, engine: Engine, seed: u64) -> Result<String, String> {
        Drawing::of(self).plan(engine, seed)
    }

    fn run_file(&self, file: File, engine: Option<Engine>, story: bool) -> Result<FileOutcome, String> {
        let path = file.path().to_owned();
        let capsule: Capsule<NodeOf<S>> = file.parse()?;
        self.check(&capsule.plan).map_err(|why| format!("{path}: {why}"))?;
        let engine = engine.unwrap_or(capsule.engine);
        let outcome = run_plan(self, engine, &capsule.plan, capsule.seed, story);
        let unused = unused(&capsule.plan, outcome.unused_steps.as_deref());
        let outcome = Outcome { unused, ..outcome };
        Ok(FileOutcome { outcome, engine, seed: Some(capsule.seed), expected: capsule.expected })
    }

    fn shrink(&self, engine: Engine, seed: u64, go_on: &mut dyn FnMut(Shrinking) -> bool) -> Option<Shrunk> {
        Drawing::of(self).shrink(engine, seed, go_on)
    }

    fn system(&self) -> TypeId {
        TypeId::of::<S>()
    }

    fn mistakes(&self) -> Vec<Listed> {
        catch(|| all_mistakes(&(self.system)())).unwrap_or_default()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyScenario>> {
        planted(self, name)
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        Drawing::of(self).verify(files, page)
    }
}

/// Draws plans of seeds for nodes that make a mistake, or none.
struct Drawing<'a, S: System> {
    scenario: &'a Scenario<S>,
    mistake: Option<MistakeName>,
}

impl<'a, S: System> Drawing<'a, S>
where
    NodeOf<S>: HttpApi,
{
    fn of(scenario: &'a Scenario<S>) -> Self {
        Self { scenario, mistake: None }
    }

    fn draw(&self, seed: u64) -> Result<Plan<NodeOf<S>>, String> {
        let plan = self.scenario.draw(seed)?;
        Ok(Plan { mistake: self.mistake, ..plan })
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        let Planted { system, order } = system::planted((self.scenario.system)(), self.mistake)?;
        verify::verify_in(order, &system, self.scenario.name, self.scenario.about, files, page)
    }

    fn run(&self, engine: Engine, seed: u64, story: bool) -> Outcome {
        match self.draw(seed) {
            Ok(plan) => run_plan(self.scenario, engine, &plan, seed, story),
            Err(why) => without_story(RunReport::<NodeOf<S>>::refused(why), None),
        }
    }

    fn run_with_steps(&self, engine: Engine, seed: u64) -> (Outcome, Steps) {
        let options = RunOptions { keep_trace: true, ..RunOptions::of(seed) };
        let plan = self.draw(seed);
        let mut report = match &plan {
            Ok(plan) => self.scenario.run_plan(engine, plan, options),
            Err(why) => RunReport::refused(why.clone()),
        };
        let trace = report.trace.take().unwrap_or_default();
        let steps = move || trace.iter().map(|entry| format!("{:?} {:?}", entry.at, entry.what)).collect();
        (without_story(report, plan.as_ref().ok()), Box::new(steps))
    }

    fn plan(&self, engine: Engine, seed: u64) -> Result<String, String> {
        let plan = self.draw(seed)?;
        // Nobody has run it.
        let expected = Expected::default();
        let (about, scenario) = (String::new(), self.scenario.name.into());
        Ok(Capsule { about, scenario, engine, seed, expected, plan }.to_toml())
    }

    fn shrink(&self, engine: Engine, seed: u64, go_on: &mut dyn FnMut(Shrinking) -> bool) -> Option<Shrunk> {
        let plan = self.draw(seed).ok()?;
        let steps_before = plan.steps.len();
        let first = run_plan(self.scenario, engine, &plan, seed, false);
        if matches!(first.verdict, Verdict::Passed | Verdict::Refused { .. }) {
            return None;
        }
        let expected = Expected::of(&first.verdict);
        // What sound nodes do not survive either is not what is wrong with those that make a mistake.
        let passes = |plan: &Plan<_>, seed: u64| {
            let plan = Plan { mistake: None, ..plan.clone() };
            self.scenario.run_plan(engine, &plan, RunOptions::of(seed)).verdict == Verdict::Passed
        };
        let sound_passes = self.mistake.is_some() && passes(&plan, seed);
        // What goes on much longer than the shortest that fails ends in another way; unless that it does not end is what
        // is wrong.
        let most = RunOptions::of(seed).max_events;
        let bound = |events: u64| match first.verdict {
            Verdict::NotConverged { .. } => most,
            Verdict::Passed
            | Verdict::Violated { .. }
            | Verdict::Refused { .. }
            | Verdict::Panicked(_)
            | Verdict::EnginesDiffer { .. }
            | Verdict::NotDeterministic { .. } => most.min(4 * events + 2_000),
        };
        let max_events = Cell::new(bound(first.events));
        let run = |plan: &Plan<_>, seed: u64| {
            let options = RunOptions { max_events: max_events.get(), ..RunOptions::of(seed) };
            let report = self.scenario.run_plan(engine, plan, options);
            let came = Expected::of(&report.verdict);
            if came != expected {
                return came;
            }
            if sound_passes && !passes(plan, seed) {
                return Expected { message: Some("so do sound nodes".into()), ..came };
            }
            max_events.set(max_events.get().min(bound(report.events)));
            came
        };
        let system = (self.scenario.system)();
        let without_last = |plan: &Plan<_>| {
            let members = self.scenario.system_of(plan).ok()?.system.members();
            let ((last, _), rest) = members.split_last()?;
            let mut plan = Plan { members: Some(u32::try_from(rest.len()).ok()?), ..plan.without(*last) };
            let smaller = self.scenario.system_of(&plan).ok().filter(|_| !rest.is_empty())?;
            let members = member_ids(&smaller.system);
            // Among fewer members a step may do nothing any more.
            plan.steps =
                plan.steps.iter().filter(|it| plan.check_step(it, &members).is_ok()).cloned().collect();
            plan.check(&members).is_ok().then_some(plan)
        };
        let simpler_requests = |request: &_| system.simpler_requests(request);
        let passed = |plan: &Plan<_>, seed: u64| {
            let options =
                RunOptions { keep_frames: true, max_events: max_events.get(), ..RunOptions::of(seed) };
            self.scenario.run_plan(engine, plan, options).passed
        };
        let ways = Ways { without_last: &without_last, simpler_requests: &simpler_requests, passed: &passed };
        let ((plan, own), at) = shrink::shrink((plan, seed), &expected, &ways, run, go_on);
        let about =
            format!("Shrunk from seed {seed} of {}: {}", self.scenario.name, first.verdict.describe());
        let scenario = self.scenario.name.into();
        let capsule = Capsule { about, scenario, engine, seed: own, expected: expected.clone(), plan };
        Some(Shrunk { capsule: capsule.to_toml(), expected, steps_before, at })
    }
}

fn run_plan<S: System>(
    scenario: &Scenario<S>,
    engine: Engine,
    plan: &Plan<NodeOf<S>>,
    seed: u64,
    story: bool,
) -> Outcome
where
    NodeOf<S>: HttpApi,
{
    let options =
        RunOptions { keep_trace: story, record: story.then_some(scenario.name), ..RunOptions::of(seed) };
    let report = scenario.run_plan(engine, plan, options);
    // Messages and timers without consequence are what every run is full of.
    let boring = |event: &Event<NodeOf<S>>| matches!(event, Event::Timer(_) | Event::Message { .. });
    let slice = report.trace.as_ref().map(|entries| Slice::of(entries, Some(&report.verdict)));
    let told = |style| Some(text::story(report.trace.as_ref()?, slice.as_ref()?, boring, style));
    Outcome {
        story: told(Style::default()),
        whole_story: told(Style { everything: true, ..Style::default() }),
        page: story.then(|| page(scenario, engine, plan, seed, &report)),
        unused: if story { unused(plan, report.unused_steps.as_deref()) } else { Vec::new() },
        ..without_story(report, Some(plan))
    }
}

/// The steps of a plan that were not carried out, in words.
fn unused<N: Node>(plan: &Plan<N>, steps: Option<&[usize]>) -> Vec<String> {
    let describe = |&step: &usize| format!("plan.steps[{step}] ({})", plan.steps[step].describe());
    steps.unwrap_or_default().iter().map(describe).collect()
}

/// A run to be shown.
fn page<S: System>(
    scenario: &Scenario<S>,
    engine: Engine,
    plan: &Plan<NodeOf<S>>,
    seed: u64,
    report: &RunReport<NodeOf<S>>,
) -> Page {
    let system = (scenario.system)();
    let about = html::About {
        title: scenario.name.into(),
        subtitle: scenario.about.into(),
        replay: None,
        plan: Some(plan),
        details: vec![
            ("engine".into(), engine.to_string()),
            ("seed".into(), seed.to_string()),
            ("events".into(), report.events.to_string()),
            ("simulated".into(), format!("{:.3} s", report.simulated.as_secs_f64())),
            ("digest".into(), format!("{:016x}", report.digest)),
        ],
        members: member_ids(&system),
        verdict: &report.verdict,
        is_periodic: &|timer| system.is_periodic(timer),
    };
    html::of_trace(about, report.trace.as_deref().unwrap_or_default())
}

/// A scenario whose nodes make a mistake.
struct PlantedScenario<S: System> {
    inner: Scenario<S>,
    mistake: MistakeName,
}

/// A scenario with this mistake, if its system can make it.
fn planted<S: System>(scenario: &Scenario<S>, name: &str) -> Option<Box<dyn AnyScenario>>
where
    NodeOf<S>: HttpApi,
{
    let mistake = name.try_into().ok()?;
    system::planted((scenario.system)(), Some(mistake)).ok()?;
    let Scenario { name, about, system, plan, expect } = *scenario;
    let inner = Scenario { name, about, system, plan, expect };
    Some(Box::new(PlantedScenario { inner, mistake }))
}

impl<S: System> PlantedScenario<S> {
    fn drawing(&self) -> Drawing<'_, S> {
        Drawing { scenario: &self.inner, mistake: Some(self.mistake) }
    }
}

impl<S: System> AnyScenario for PlantedScenario<S>
where
    NodeOf<S>: HttpApi,
{
    fn name(&self) -> &'static str {
        self.inner.name
    }

    fn about(&self) -> &'static str {
        self.inner.about
    }

    fn run(&self, engine: Engine, seed: u64, story: bool) -> Outcome {
        self.drawing().run(engine, seed, story)
    }

    fn run_with_steps(&self, engine: Engine, seed: u64) -> (Outcome, Steps) {
        self.drawing().run_with_steps(engine, seed)
    }

    fn plan(&self, engine: Engine, seed: u64) -> Result<String, String> {
        self.drawing().plan(engine, seed)
    }

    /// The file says itself which mistake is made.
    fn run_file(&self, file: File, engine: Option<Engine>, story: bool) -> Result<FileOutcome, String> {
        self.inner.run_file(file, engine, story)
    }

    fn shrink(&self, engine: Engine, seed: u64, go_on: &mut dyn FnMut(Shrinking) -> bool) -> Option<Shrunk> {
        self.drawing().shrink(engine, seed, go_on)
    }

    fn system(&self) -> TypeId {
        self.inner.system()
    }

    fn mistakes(&self) -> Vec<Listed> {
        self.inner.mistakes()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyScenario>> {
        self.inner.with_mistake(name)
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        self.drawing().verify(files, page)
    }
}

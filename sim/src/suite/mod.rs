//! Scenarios and models of any systems, side by side: what a command line offers.

mod planted;
pub mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use coalmine_core::node::{Event, Node, NodeId};
use coalmine_real::face::Face;
use coalmine_real::program;
use coalmine_real::serve::{Program, Service};

use self::steps::StepCounts;
use crate::check::explore::{self, Serving};
use crate::check::{
    self, CheckOptions, CheckProgress, CheckReport, Counterexample, Parted, Unsettled, again,
};
use crate::engine::report::{RunOptions, RunReport};
use crate::files::capsule::{Capsule, File};
use crate::files::path::PathCapsule;
use crate::panics::catch;
use crate::shrink::{self, Shrinking, Ways};
use crate::spec::faults::Effects;
use crate::spec::limits::{Limits, ModelArgs, SizeFlags};
use crate::spec::mistake::MistakeName;
use crate::spec::plan::Plan;
use crate::spec::scenario::Scenario;
use crate::spec::system::{self, Mistake, NodeOf, System};
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Engine, Verdict};
use crate::trace::html::{self, Page};
use crate::trace::story::{Story, Tone};
use crate::trace::text::{self, Style};
use crate::trace::turn;
use crate::verify::{self, Verified};
use crate::world::find;
use crate::world::walk::walk;
use crate::world::{Action, Rules};

/// All that a command line offers.
#[derive(Default)]
pub struct Suite {
    /// What a line to paste begins with, if that cannot be known from how the process was started.
    pub named: Option<String>,
    /// The scenarios, by name.
    pub scenarios: Vec<Box<dyn AnyScenario>>,
    /// The models, by name.
    pub models: Vec<Box<dyn AnyModel>>,
    /// What the main job consists of.
    pub main_job: Vec<Job>,
    /// The program of the node, if it is one: see [`Suite::service`].
    pub service: Option<fn() -> Program>,
    /// How many distinct states there are in which spaces: see [`Suite::pin`].
    pub pins: Vec<(&'static str, ModelArgs, usize)>,
    /// What `check --deep` consists of: models by name, in ever larger spaces.
    pub ladder: Vec<(&'static str, ModelArgs)>,
}

/// A part of the main job.
#[derive(Clone, Debug)]
pub enum Job {
    /// A sweep of a scenario over the first so many seeds.
    Sweep(&'static str, u64),
    /// A check of a model.
    Check(&'static str, ModelArgs),
}

impl Suite {
    /// The suite of a program that is called like this, such as `cargo run --example lease --`.
    pub fn named(mut self, program: &str) -> Self {
        self.named = Some(program.into());
        self
    }

    /// What a line to paste begins with.
    pub fn program(&self) -> String {
        self.named.clone().unwrap_or_else(program::of_this_process)
    }

    /// The suite with one more scenario.
    pub fn scenario<S: System>(mut self, scenario: Scenario<S>) -> Self
    where
        NodeOf<S>: Face,
    {
        self.scenarios.push(Box::new(scenario));
        self
    }

    /// The suite with one more model.
    pub fn model<S: System>(mut self, model: ModelDef<S>) -> Self {
        self.models.push(Box::new(model));
        self
    }

    /// The suite with one more part of the main job.
    pub fn job(mut self, job: Job) -> Self {
        self.main_job.push(job);
        self
    }

    /// The suite of a node that also runs for real: the command line has `up`, `node`, `status` and `ask` besides.
    pub fn service<N: Service>(mut self) -> Self {
        self.service = Some(Program::of::<N>);
        self
    }

    /// The suite in which a space of a model has so many distinct states, with the usual reductions. What a space holds
    /// follows from the node and from the rules of the world, so a check that counts others says that one of them has
    /// changed, and fails: it may have lost what it was to find. If it was meant to change, the new count, which the
    /// check prints, is to be pinned here.
    pub fn pin(mut self, model: &'static str, space: ModelArgs, states: usize) -> Self {
        self.pins.push((model, space, states));
        self
    }

    /// How many distinct states a space is to have, if that is pinned.
    pub fn pinned(&self, model: &dyn AnyModel, space: ModelArgs) -> Option<usize> {
        let space = model.whole_space(space);
        let is_it = |name: &str, other: ModelArgs| name == model.name() && model.whole_space(other) == space;
        self.pins.iter().find_map(|&(name, other, states)| is_it(name, other).then_some(states))
    }

    /// The suite with one more rung of a model's ladder, larger than those before it.
    pub fn rung(mut self, model: &'static str, space: ModelArgs) -> Self {
        self.ladder.push((model, space));
        self
    }

    /// The suite of nodes that make this mistake: only the scenarios and models that can. `Err` says which mistakes there
    /// are.
    pub fn with_mistake(&self, name: &str) -> Result<Self, String> {
        let suite = Self {
            named: Some(format!("{} --mistake {name}", self.program())),
            scenarios: self.scenarios.iter().filter_map(|scenario| scenario.with_mistake(name)).collect(),
            models: self.models.iter().filter_map(|model| model.with_mistake(name)).collect(),
            ..Self::default()
        };
        if suite.scenarios.is_empty() && suite.models.is_empty() {
            let of_models = self.models.iter().flat_map(|model| model.mistakes());
            let all = self.scenarios.iter().flat_map(|scenario| scenario.mistakes()).chain(of_models);
            let known: BTreeSet<_> = all.map(|mistake| mistake.name).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("there is no mistake {name:?}; there are: {known}"));
        }
        Ok(suite)
    }

    /// The scenario of this name.
    pub fn find_scenario(&self, name: &str) -> Option<&dyn AnyScenario> {
        self.scenarios.iter().map(AsRef::as_ref).find(|scenario| scenario.name() == name)
    }

    /// The model of this name.
    pub fn find_model(&self, name: &str) -> Option<&dyn AnyModel> {
        self.models.iter().map(AsRef::as_ref).find(|model| model.name() == name)
    }

    /// Runs what a file holds: a plan or a capsule of a scenario, or a path of a model. `Err` names what is wrong
    /// with the file, and where.
    pub fn run_file(&self, file: File, engine: Option<Engine>, story: bool) -> Result<FileOutcome, String> {
        let unknown = |kind, name: &str, known: Vec<&str>| {
            format!("{}: there is no {kind} {name:?}; there are: {}", file.path(), known.join(", "))
        };
        if let Some(name) = file.model() {
            let known = || self.models.iter().map(|model| model.name()).collect();
            let model = self.find_model(name).ok_or_else(|| unknown("model", name, known()))?;
            if engine == Some(Engine::Madsim) {
                let why = "a path of a model is walked in the world; madsim cannot";
                return Err(format!("{}: {why}", file.path()));
            }
            return model.run_file(file, story);
        }
        let name = file.scenario()?;
        let known = || self.scenarios.iter().map(|scenario| scenario.name()).collect();
        let scenario = self.find_scenario(name).ok_or_else(|| unknown("scenario", name, known()))?;
        scenario.run_file(file, engine, story)
    }
}

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
    /// The mistakes that its system can make on purpose.
    fn mistakes(&self) -> Vec<Mistake> {
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

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it came out.
    pub verdict: Verdict,
    /// The digest of everything that happened.
    pub digest: u64,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// How many steps of a path were walked, where there is no clock.
    pub turns: Option<u64>,
    /// How much time passed outside.
    pub wall: Duration,
    /// Which faults took effect, and how often.
    pub effects: Effects,
    /// The steps of the plan by kind, and how many were carried out.
    pub steps: StepCounts,
    /// The steps of the plan or the path, counted from 0, that were not carried out: see
    /// [`RunReport::unused_steps`].
    pub unused_steps: Option<Vec<usize>>,
    /// How long after all was healed the system had converged, and stayed so; see [`RunReport::converged_after`].
    pub converged_after: Option<Duration>,
    /// The clients that were never answered, in words.
    pub unanswered: Vec<String>,
    /// What happened, in words.
    pub story: Option<Story>,
    /// The same with all that every run is full of.
    pub whole_story: Option<Story>,
    /// The same, to be shown.
    pub page: Option<Page>,
    /// The recording of each node, where there is a story.
    pub recordings: BTreeMap<NodeId, Vec<u8>>,
}

/// What came of running a file.
#[derive(Clone, Debug)]
pub struct FileOutcome {
    /// The run.
    pub outcome: Outcome,
    /// The engine that ran it.
    pub engine: Engine,
    /// The seed that it was run under; a path needs none.
    pub seed: Option<u64>,
    /// The steps that were not carried out, in words.
    pub unused: Vec<String>,
    /// The verdict it must give.
    pub expected: Expected,
}

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
    NodeOf<S>: Face,
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
        let tell = |&step: &usize| format!("plan.steps[{step}] ({})", capsule.plan.steps[step].tell());
        let unused = outcome.unused_steps.iter().flatten().map(tell).collect();
        Ok(FileOutcome { outcome, engine, seed: Some(capsule.seed), unused, expected: capsule.expected })
    }

    fn shrink(&self, engine: Engine, seed: u64, go_on: &mut dyn FnMut(Shrinking) -> bool) -> Option<Shrunk> {
        Drawing::of(self).shrink(engine, seed, go_on)
    }

    fn mistakes(&self) -> Vec<Mistake> {
        catch(|| (self.system)().mistakes()).unwrap_or_default()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyScenario>> {
        planted::scenario(self, name)
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        verify::verify(&(self.system)(), self.name, self.about, files, page)
    }
}

/// Draws plans of seeds for nodes that make a mistake, or none.
struct Drawing<'a, S: System> {
    scenario: &'a Scenario<S>,
    mistake: Option<MistakeName>,
}

impl<'a, S: System> Drawing<'a, S>
where
    NodeOf<S>: Face,
{
    fn of(scenario: &'a Scenario<S>) -> Self {
        Self { scenario, mistake: None }
    }

    fn draw(&self, seed: u64) -> Result<Plan<NodeOf<S>>, String> {
        let plan = self.scenario.draw(seed)?;
        Ok(Plan { mistake: self.mistake, ..plan })
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
        let expected = Expected { verdict: "passed".into(), ..Expected::default() };
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
        let run = |plan: &Plan<_>, seed: u64| {
            let options = RunOptions::of(seed);
            Expected::of(&self.scenario.run_plan(engine, plan, options).verdict)
        };
        let system = (self.scenario.system)();
        let without_last = |plan: &Plan<_>| {
            let members = self.scenario.system_of(plan).ok()?.members();
            let ((last, _), rest) = members.split_last()?;
            let mut plan = Plan { members: Some(u32::try_from(rest.len()).ok()?), ..plan.without(*last) };
            let smaller = self.scenario.system_of(&plan).ok().filter(|_| !rest.is_empty())?;
            let members = member_ids(&smaller);
            // Among fewer members a step may do nothing any more.
            plan.steps =
                plan.steps.iter().filter(|it| plan.check_step(it, &members).is_ok()).cloned().collect();
            plan.check(&members).is_ok().then_some(plan)
        };
        let simpler_requests = |request: &_| system.simpler_requests(request);
        let ways = Ways { without_last: &without_last, simpler_requests: &simpler_requests };
        let ((plan, own), at) = shrink::shrink((plan, seed), &expected, &ways, run, go_on);
        let about = format!("Shrunk from seed {seed} of {}: {}", self.scenario.name, first.verdict.tell());
        let scenario = self.scenario.name.into();
        let capsule = Capsule { about, scenario, engine, seed: own, expected: expected.clone(), plan };
        Some(Shrunk { capsule: capsule.to_toml(), expected, steps_before, at })
    }
}

fn member_ids<S: System>(system: &S) -> Vec<NodeId> {
    system.members().into_iter().map(|(id, _)| id).collect()
}

fn run_plan<S: System>(
    scenario: &Scenario<S>,
    engine: Engine,
    plan: &Plan<NodeOf<S>>,
    seed: u64,
    story: bool,
) -> Outcome
where
    NodeOf<S>: Face,
{
    let options =
        RunOptions { keep_trace: story, record: story.then_some(scenario.name), ..RunOptions::of(seed) };
    let report = scenario.run_plan(engine, plan, options);
    // Messages and timers without consequence are what every run is full of.
    let boring = |event: &Event<NodeOf<S>>| matches!(event, Event::Timer(_) | Event::Message { .. });
    let told = |style| report.trace.as_ref().map(|entries| text::story(entries, boring, style));
    Outcome {
        story: told(Style::default()),
        whole_story: told(Style { everything: true, in_turns: false }),
        page: story.then(|| page(scenario, engine, plan, seed, &report)),
        ..without_story(report, Some(plan))
    }
}

/// What came of a run, without what happened.
fn without_story<N: Node>(report: RunReport<N>, plan: Option<&Plan<N>>) -> Outcome {
    let steps = plan.zip(report.unused_steps.as_deref()).map(|(plan, unused)| StepCounts::of(plan, unused));
    Outcome {
        steps: steps.unwrap_or_default(),
        story: None,
        whole_story: None,
        page: None,
        verdict: report.verdict,
        digest: report.digest,
        events: report.events,
        simulated: report.simulated,
        turns: None,
        wall: report.wall,
        effects: report.effects,
        unused_steps: report.unused_steps,
        converged_after: report.converged_after,
        unanswered: report.unanswered,
        recordings: report.recordings,
    }
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
        members: system.members().into_iter().map(|(id, _)| id).collect(),
        verdict: &report.verdict,
        is_periodic: &|timer| system.is_periodic(timer),
    };
    html::of_trace(about, report.trace.as_deref().unwrap_or_default())
}

/// How many nodes a model may have.
pub const NODES: RangeInclusive<u32> = 1..=64;
/// How many requests the clients of a model may send.
pub const OPERATIONS: RangeInclusive<u32> = 0..=64;

/// A model with its system.
pub struct ModelDef<S: System> {
    /// Its name on the command line.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Makes a system of so many nodes and requests.
    pub system: fn(nodes: u32, operations: u32) -> S,
    /// How many nodes it has if nobody says, and how many requests.
    pub size: (u32, u32),
    /// Its limits if nobody says.
    pub limits: Limits,
}

/// A path that may happen, and what it was found in.
type FoundPath<S> = (PathCapsule<NodeOf<S>>, Rules<S>, find::Way<S>);

impl<S: System> ModelDef<S> {
    /// All that there is to say about its size, whether or not somebody says it.
    fn space(&self, args: ModelArgs) -> ModelArgs {
        let (nodes, operations) = self.size;
        let limits = self.limits.with(&args);
        let all = ModelArgs::all(&limits, args.nodes.unwrap_or(nodes), args.operations.unwrap_or(operations));
        ModelArgs { mistake: args.mistake, ..all }
    }

    /// The path that a file holds, and the rules that it goes by.
    fn find_path(&self, file: File) -> Result<FoundPath<S>, String> {
        let path = file.path().to_owned();
        let capsule: PathCapsule<NodeOf<S>> = file.parse_path()?;
        let at = |why: String| format!("{path}: {why}");
        self.check_args(capsule.space).map_err(|why| at(format!("space: {why}")))?;
        if capsule.model != self.name {
            return Err(at(format!("it is a path of the model {:?}, not of {:?}", capsule.model, self.name)));
        }
        let mut rules = self.rules(capsule.space);
        rules.every_crash_point = true; // whatever the search left out that has found it
        let way = find::find(&rules, &capsule.steps).map_err(at)?;
        Ok((capsule, rules, way))
    }

    /// Walks a path, and asks whether the system settles where it ends; if it does not, tells the rounds. If nobody
    /// knows, it has passed so far.
    fn walk(
        &self,
        rules: &Rules<S>,
        path: &[Action<NodeOf<S>>],
        keep_trace: bool,
    ) -> (RunReport<NodeOf<S>>, Vec<String>) {
        let mut report = walk(rules, path, keep_trace);
        if report.verdict == Verdict::Passed
            && let Err(why) = check::settles_after(rules, path)
        {
            report.verdict = match why {
                Unsettled::Never { why, rounds } => {
                    report.verdict = Verdict::NotConverged { why };
                    return (report, rounds);
                }
                Unsettled::Panicked(panic) => Verdict::Panicked(panic),
                Unsettled::Unknown(_) => return (report, Vec::new()),
            };
        }
        (report, Vec::new())
    }

    /// Explains a counterexample; if it does not show again what it was found for, that.
    fn explain(&self, args: ModelArgs, found: &Counterexample<S>) -> Result<Explanation, Parted> {
        let (rules, path) = (self.rules(args), &found.path);
        let other = |again: &str| again::other_verdict(&rules, found.invariant, path, again);
        let walked = catch(|| self.walk(&rules, path, true));
        let (report, rounds) = walked.map_err(|panic| other(&format!("it {panic}")))?;
        if !again::shows(found.invariant, &report.verdict) {
            return Err(other(&report.verdict.tell()));
        }
        let steps = find::steps_of(&rules, path);
        let length = if steps.len() == 1 { "one step".into() } else { format!("{} steps", steps.len()) };
        let about = format!("A counterexample of {length}, found by the checker.");
        let expected = Expected::of(&report.verdict);
        let invariant = expected.invariant.as_ref().unwrap_or(&expected.verdict).clone();
        let capsule = PathCapsule {
            about: about.clone(),
            model: self.name.into(),
            space: self.space(args),
            expected,
            steps,
        };
        let told: Vec<_> = path.iter().map(|action| rules.tell(action)).collect();
        let mut story = self.outcome(&rules, &about, &report, &rounds).story.unwrap_or_default();
        story.line(Tone::Broken, format_args!("       ✗ {}", report.verdict.tell()));
        Ok(Explanation { invariant, story, capsule: capsule.to_toml(&told) })
    }

    /// What came of walking a path of it.
    fn outcome(
        &self,
        rules: &Rules<S>,
        about: &str,
        report: &RunReport<NodeOf<S>>,
        rounds: &[String],
    ) -> Outcome {
        let entries = report.trace.as_deref().unwrap_or_default();
        let turns = turn(report.simulated);
        // What happened before the first step is part of every path.
        let first = entries.iter().position(|entry| turn(entry.at) > 0).unwrap_or(entries.len());
        let told = |entries| {
            let mut story = text::story(entries, |_| false, Style { everything: true, in_turns: true });
            if !rounds.is_empty() {
                story.line(Tone::Staged, "       —— all is healed");
            }
            rounds.iter().for_each(|step| story.line(Tone::Plain, format_args!("       {step}")));
            story
        };
        let page = html::About {
            title: self.name.into(),
            subtitle: about.into(),
            replay: None,
            plan: None,
            details: vec![
                ("steps".into(), turns.to_string()),
                ("budgets".into(), rules.limits.tell()),
                ("digest".into(), format!("{:016x}", report.digest)),
            ],
            members: rules.members.iter().map(|(id, _)| *id).collect(),
            verdict: &report.verdict,
            is_periodic: &|timer| rules.system.is_periodic(timer),
        };
        Outcome {
            story: report.trace.is_some().then(|| told(&entries[first..])),
            whole_story: report.trace.is_some().then(|| told(entries)),
            page: report.trace.is_some().then(|| html::of_trace(page, entries)),
            verdict: report.verdict.clone(),
            digest: report.digest,
            events: report.events,
            simulated: report.simulated,
            turns: Some(turns),
            wall: report.wall,
            effects: report.effects.clone(),
            steps: StepCounts::default(),
            unused_steps: None,
            converged_after: None,
            unanswered: Vec::new(),
            recordings: BTreeMap::new(),
        }
    }

    /// The rules of the model in this size.
    pub fn rules(&self, args: ModelArgs) -> Rules<S> {
        Rules::new(self.system_of(args), self.limits.with(&args))
    }

    /// The system in this size.
    fn system_of(&self, args: ModelArgs) -> S {
        self.planted(args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The system in this size, with the mistake that is asked for; `Err` says that it does not make it.
    fn planted(&self, args: ModelArgs) -> Result<S, String> {
        let (nodes, operations) = self.size;
        let system = (self.system)(args.nodes.unwrap_or(nodes), args.operations.unwrap_or(operations));
        system::planted(system, args.mistake)
    }
}

/// A model of some system.
pub trait AnyModel: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// One sentence.
    fn about(&self) -> &'static str;
    /// Whether there is such a model: `Err` says what is wrong with its size.
    fn check_args(&self, args: ModelArgs) -> Result<(), String>;
    /// All that there is to say about its size, whether or not somebody says it.
    fn whole_space(&self, args: ModelArgs) -> ModelArgs;
    /// What its sizes are called besides, on the command line.
    fn size_flags(&self) -> SizeFlags;
    /// The mistakes that its system can make on purpose.
    fn mistakes(&self) -> Vec<Mistake>;
    /// The same model of nodes that make the mistake of this name, if they can.
    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyModel>>;
    /// Whether some of its members are interchangeable.
    fn has_symmetry(&self, args: ModelArgs) -> bool;
    /// Explores it. If an invariant is violated, the second part explains how.
    fn check(
        &self,
        args: ModelArgs,
        options: CheckOptions,
        progress: &mut dyn FnMut(CheckProgress),
    ) -> (CheckReport, Option<Explanation>);
    /// Serves stateright's Explorer; it opens at the end of the path that the file holds, in the space that it
    /// names.
    fn explore(&self, args: ModelArgs, at: Option<File>, address: SocketAddr) -> Result<Serving, String>;
    /// Walks the path that a file holds. `Err` names what is wrong with the file, and at which step.
    fn run_file(&self, file: File, story: bool) -> Result<FileOutcome, String>;
    /// Executes the recordings of such a system again; see [`AnyScenario::verify`].
    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String>;
}

/// How an invariant is violated.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which invariant; or the verdict, if it is another.
    pub invariant: String,
    /// What happens, in words, and what is wrong at the end.
    pub story: Story,
    /// The way there, as a file: see [`crate::files::path`].
    pub capsule: String,
}

impl<S: System> AnyModel for ModelDef<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn check_args(&self, args: ModelArgs) -> Result<(), String> {
        let sizes = [("nodes", args.nodes, NODES), ("operations", args.operations, OPERATIONS)];
        for (name, size, range) in sizes {
            if let Some(size) = size.filter(|size| !range.contains(size)) {
                return Err(format!("{name}: {size} is not in {}..={}", range.start(), range.end()));
            }
        }
        let set_up = || {
            let system = self.planted(args)?;
            Rules::fits(&system)?;
            let members = member_ids(&system);
            let _ = self.rules(args).before_boot();
            Ok::<_, String>(members)
        };
        let members = catch(set_up).map_err(|panic| format!("its system cannot be set up: it {panic}"))??;
        match args.without {
            Some(gone) if !members.contains(&NodeId(gone)) => {
                Err(format!("without n{gone}: the system has {} members, from n1", members.len()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn whole_space(&self, args: ModelArgs) -> ModelArgs {
        self.space(args)
    }

    fn size_flags(&self) -> SizeFlags {
        // A system that cannot be set up is told of where it is asked for.
        catch(|| self.system_of(ModelArgs::default()).size_flags()).unwrap_or_default()
    }

    fn mistakes(&self) -> Vec<Mistake> {
        catch(|| self.system_of(ModelArgs::default()).mistakes()).unwrap_or_default()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyModel>> {
        planted::model(self, name)
    }

    fn has_symmetry(&self, args: ModelArgs) -> bool {
        self.system_of(args).symmetry().is_some()
    }

    fn check(
        &self,
        args: ModelArgs,
        options: CheckOptions,
        progress: &mut dyn FnMut(CheckProgress),
    ) -> (CheckReport, Option<Explanation>) {
        let (mut report, found) = check::check(self.name, self.rules(args), &options, progress);
        let explained = found.map(|found| self.explain(args, &found)).transpose();
        let explained = explained.unwrap_or_else(|parted| {
            report.is_not_deterministic(parted);
            None
        });
        (report, explained)
    }

    fn explore(&self, args: ModelArgs, at: Option<File>, address: SocketAddr) -> Result<Serving, String> {
        let (rules, choices) = match at {
            None => {
                self.check_args(args)?;
                (self.rules(args), Vec::new())
            }
            Some(file) => {
                let (_, rules, way) = self.find_path(file)?;
                (Rules { from_boot: true, ..rules }, way.choices)
            }
        };
        explore::serve(rules, &choices, address)
    }

    fn run_file(&self, file: File, story: bool) -> Result<FileOutcome, String> {
        let (capsule, rules, way) = self.find_path(file)?;
        let (report, rounds) = self.walk(&rules, &way.actions, story);
        let about = if capsule.about.is_empty() { self.about } else { &capsule.about };
        // A path is walked step by step, to its end or to a verdict.
        let unused = turn(report.simulated) as usize..way.actions.len();
        let outcome = Outcome {
            unused_steps: Some(unused.clone().collect()),
            ..self.outcome(&rules, about, &report, &rounds)
        };
        let unused = unused.map(|step| format!("steps[{step}] ({})", rules.tell(&way.actions[step])));
        Ok(FileOutcome {
            outcome,
            engine: Engine::Direct,
            seed: None,
            unused: unused.collect(),
            expected: capsule.expected,
        })
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        verify::verify(&self.system_of(ModelArgs::default()), self.name, self.about, files, page)
    }
}

//! Models of any systems, side by side; also of nodes that make a mistake on purpose.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use coalmine_core::node::NodeId;

use super::outcome::{FileOutcome, Outcome};
use super::steps::StepCounts;
use crate::check::explore::{self, Serving};
use crate::check::{
    self, CheckOptions, CheckProgress, CheckReport, Counterexample, Parted, Unsettled, again,
};
use crate::engine::report::RunReport;
use crate::files::capsule::File;
use crate::files::path::PathCapsule;
use crate::panics::catch;
use crate::spec::limits::{Limits, ModelArgs, SizeFlags};
use crate::spec::mistake::MistakeName;
use crate::spec::system::{self, Listed, NodeOf, Planted, System, all_mistakes, member_ids};
use crate::spec::verdict::{Engine, Expected, Verdict};
use crate::trace::html;
use crate::trace::slice::Slice;
use crate::trace::story::{Story, Tone};
use crate::trace::text::{self, Style};
use crate::trace::turn;
use crate::verify::{self, Verified};
use crate::world::find;
use crate::world::walk::walk;
use crate::world::{Action, Rules};

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
        let at = |why: String| format!("{path}: {why}");
        if let Some(other) = file.model().filter(|model| *model != self.name) {
            return Err(at(format!("it is a path of the model {other:?}, not of {:?}", self.name)));
        }
        let capsule: PathCapsule<NodeOf<S>> = file.parse_path()?;
        self.check_args(capsule.space).map_err(|why| at(format!("space: {why}")))?;
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
            return Err(other(&report.verdict.describe()));
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
        let told: Vec<_> = path.iter().map(|action| rules.describe(action)).collect();
        let mut story = self.outcome(&rules, &about, &report, &rounds).story.unwrap_or_default();
        story.line(Tone::Broken, format_args!("       ✗ {}", report.verdict.describe()));
        Ok(Explanation { invariant, steps: path.len(), story, capsule: capsule.to_toml(&told) })
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
        let slice = Slice::of(entries, Some(&report.verdict));
        let told = |from| {
            let style = Style { everything: true, in_turns: true, from };
            let mut story = text::story(entries, &slice, |_| false, style);
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
                ("budgets".into(), rules.limits.describe()),
                ("digest".into(), format!("{:016x}", report.digest)),
            ],
            members: rules.members.iter().map(|(id, _)| *id).collect(),
            verdict: &report.verdict,
            is_periodic: &|timer| rules.system.is_periodic(timer),
        };
        Outcome {
            story: report.trace.is_some().then(|| told(first)),
            whole_story: report.trace.is_some().then(|| told(0)),
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
            unused: Vec::new(),
            converged_after: None,
            unanswered: Vec::new(),
            recordings: BTreeMap::new(),
        }
    }

    /// The rules of the model in this size.
    pub fn rules(&self, args: ModelArgs) -> Rules<S> {
        let Planted { system, order } = self.planted(args).unwrap_or_else(|why| panic!("{why}"));
        Rules::new(system, self.limits.with(&args)).in_order(order)
    }

    fn verify_in(&self, args: ModelArgs, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        let Planted { system, order } = self.planted(args)?;
        verify::verify_in(order, &system, self.name, self.about, files, page)
    }

    /// The system in this size.
    fn system_of(&self, args: ModelArgs) -> S {
        self.planted(args).unwrap_or_else(|why| panic!("{why}")).system
    }

    /// The system in this size, with the mistake that is asked for; `Err` says that it does not make it.
    fn planted(&self, args: ModelArgs) -> Result<Planted<S>, String> {
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
    /// The type of its system.
    fn system(&self) -> TypeId;
    /// The mistakes that its system and its hosts can make on purpose.
    fn mistakes(&self) -> Vec<Listed>;
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
    /// Executes the recordings of such a system again; see [`AnyScenario::verify`](super::AnyScenario::verify).
    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String>;
}

/// How an invariant is violated.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which invariant; or the verdict, if it is another.
    pub invariant: String,
    /// How many steps lead there.
    pub steps: usize,
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
            let system = self.planted(args)?.system;
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

    fn system(&self) -> TypeId {
        TypeId::of::<S>()
    }

    fn mistakes(&self) -> Vec<Listed> {
        catch(|| all_mistakes(&self.system_of(ModelArgs::default()))).unwrap_or_default()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyModel>> {
        planted(self, name)
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
        let describe = |step| format!("steps[{step}] ({})", rules.describe(&way.actions[step]));
        let outcome = Outcome {
            unused_steps: Some(unused.clone().collect()),
            unused: unused.map(describe).collect(),
            ..self.outcome(&rules, about, &report, &rounds)
        };
        Ok(FileOutcome { outcome, engine: Engine::Direct, seed: None, expected: capsule.expected })
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        self.verify_in(ModelArgs::default(), files, page)
    }
}

/// A model whose nodes make a mistake.
struct PlantedModel<S: System> {
    inner: ModelDef<S>,
    mistake: MistakeName,
}

/// A model with this mistake, if its system can make it.
fn planted<S: System>(model: &ModelDef<S>, name: &str) -> Option<Box<dyn AnyModel>> {
    let mistake = name.try_into().ok()?;
    model.planted(ModelArgs { mistake: Some(mistake), ..ModelArgs::default() }).ok()?;
    let ModelDef { name, about, system, size, limits } = *model;
    let inner = ModelDef { name, about, system, size, limits };
    Some(Box::new(PlantedModel { inner, mistake }))
}

impl<S: System> PlantedModel<S> {
    fn args(&self, args: ModelArgs) -> ModelArgs {
        ModelArgs { mistake: Some(self.mistake), ..args }
    }
}

impl<S: System> AnyModel for PlantedModel<S> {
    fn name(&self) -> &'static str {
        self.inner.name
    }

    fn about(&self) -> &'static str {
        self.inner.about
    }

    fn check_args(&self, args: ModelArgs) -> Result<(), String> {
        self.inner.check_args(self.args(args))
    }

    fn whole_space(&self, args: ModelArgs) -> ModelArgs {
        self.inner.whole_space(self.args(args))
    }

    fn size_flags(&self) -> SizeFlags {
        self.inner.size_flags()
    }

    fn system(&self) -> TypeId {
        self.inner.system()
    }

    fn mistakes(&self) -> Vec<Listed> {
        self.inner.mistakes()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyModel>> {
        self.inner.with_mistake(name)
    }

    fn has_symmetry(&self, args: ModelArgs) -> bool {
        self.inner.has_symmetry(self.args(args))
    }

    fn check(
        &self,
        args: ModelArgs,
        options: CheckOptions,
        progress: &mut dyn FnMut(CheckProgress),
    ) -> (CheckReport, Option<Explanation>) {
        self.inner.check(self.args(args), options, progress)
    }

    fn explore(&self, args: ModelArgs, at: Option<File>, address: SocketAddr) -> Result<Serving, String> {
        self.inner.explore(self.args(args), at, address)
    }

    /// The file says itself which mistake is made.
    fn run_file(&self, file: File, story: bool) -> Result<FileOutcome, String> {
        self.inner.run_file(file, story)
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        self.inner.verify_in(self.args(ModelArgs::default()), files, page)
    }
}

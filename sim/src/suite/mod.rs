//! Scenarios and models of any systems, side by side: what a command line offers.

mod model;
mod outcome;
mod scenario;
pub mod steps;

use std::collections::BTreeSet;

use coalmine_real::http_api::HttpApi;
use coalmine_real::program;
use coalmine_real::serve::{Program, Service};

pub use self::model::{AnyModel, Explanation, ModelDef, NODES, OPERATIONS};
pub use self::outcome::{FileOutcome, Outcome};
pub use self::scenario::{AnyScenario, Shrunk, Steps};
use crate::files::capsule::File;
use crate::spec::limits::ModelArgs;
use crate::spec::mistake::MistakeName;
use crate::spec::scenario::Scenario;
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict::Engine;

/// All that a command line offers.
#[derive(Default)]
pub struct Suite {
    /// What a line to paste begins with, if that cannot be known from how the process was started.
    pub named: Option<String>,
    /// The mistake that all its nodes make on purpose.
    pub mistake: Option<MistakeName>,
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

/// Says that no mistake has this name, and which there are.
pub(crate) fn no_mistake<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect::<BTreeSet<_>>().into_iter().collect();
    match known.is_empty() {
        true => format!("there is no mistake {name:?}: no system here makes any"),
        false => unknown("mistake", name, known),
    }
}

/// Says that nothing of a kind has this name, what is nearly called so, and what there is.
pub(crate) fn unknown(kind: &str, name: &str, known: Vec<&str>) -> String {
    let likeness = |known: &&str| strsim::jaro_winkler(name, known);
    let nearest = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = match nearest.filter(|nearest| likeness(nearest) > 0.8) {
        Some(nearest) => format!(" (did you mean {nearest}?)"),
        None => String::new(),
    };
    format!("there is no {kind} {name:?}{meant}; there are: {}", known.join(", "))
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
        NodeOf<S>: HttpApi,
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

    /// The suite of a node that also runs for real: the command line has `up`, `node`, `status`, `ask` and `certs`
    /// besides.
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
            mistake: name.try_into().ok(),
            scenarios: self.scenarios.iter().filter_map(|scenario| scenario.with_mistake(name)).collect(),
            models: self.models.iter().filter_map(|model| model.with_mistake(name)).collect(),
            ..Self::default()
        };
        if suite.scenarios.is_empty() && suite.models.is_empty() {
            let of_models = self.models.iter().flat_map(|model| model.mistakes());
            let all = self.scenarios.iter().flat_map(|scenario| scenario.mistakes()).chain(of_models);
            return Err(no_mistake(name, all.map(|listed| listed.mistake.name)));
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
        if let Some(mistake) = self.mistake.filter(|mistake| file.mistake() != Some(mistake.as_str())) {
            let says = file.mistake().map_or("none".into(), |other| format!("{other:?}"));
            return Err(format!(
                "{}: the file says which mistake is made: {says}, and not {mistake}; leave --mistake out",
                file.path()
            ));
        }
        let unknown = |kind, name: &str, known| format!("{}: {}", file.path(), unknown(kind, name, known));
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

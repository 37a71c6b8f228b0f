//! Scenarios and models of nodes that make a mistake on purpose.

use std::net::SocketAddr;
use std::path::PathBuf;

use coalmine_real::face::Face;

use super::{AnyModel, AnyScenario, Drawing, Explanation, FileOutcome, ModelDef, Outcome, Shrunk, Steps};
use crate::check::explore::Serving;
use crate::check::{CheckOptions, CheckProgress, CheckReport};
use crate::files::capsule::File;
use crate::shrink::Shrinking;
use crate::spec::limits::{ModelArgs, SizeFlags};
use crate::spec::mistake::MistakeName;
use crate::spec::scenario::Scenario;
use crate::spec::system::{Mistake, NodeOf, System};
use crate::spec::verdict::Engine;
use crate::verify::Verified;

/// Something whose nodes make a mistake.
struct Planted<T> {
    inner: T,
    mistake: MistakeName,
}

/// A scenario with this mistake, if its system can make it.
pub fn scenario<S: System>(scenario: &Scenario<S>, name: &str) -> Option<Box<dyn AnyScenario>>
where
    NodeOf<S>: Face,
{
    (scenario.system)().with_mistake(name)?;
    let Scenario { name: of, about, system, plan, expect } = *scenario;
    let inner = Scenario { name: of, about, system, plan, expect };
    Some(Box::new(Planted { inner, mistake: name.try_into().ok()? }))
}

/// A model with this mistake, if its system can make it.
pub fn model<S: System>(model: &ModelDef<S>, name: &str) -> Option<Box<dyn AnyModel>> {
    let mistake = name.try_into().ok()?;
    model.planted(ModelArgs { mistake: Some(mistake), ..ModelArgs::default() }).ok()?;
    let ModelDef { name, about, system, size, limits } = *model;
    let inner = ModelDef { name, about, system, size, limits };
    Some(Box::new(Planted { inner, mistake }))
}

impl<S: System> Planted<Scenario<S>> {
    fn drawing(&self) -> Drawing<'_, S> {
        Drawing { scenario: &self.inner, mistake: Some(self.mistake) }
    }
}

impl<S: System> AnyScenario for Planted<Scenario<S>>
where
    NodeOf<S>: Face,
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

    fn mistakes(&self) -> Vec<Mistake> {
        self.inner.mistakes()
    }

    fn with_mistake(&self, name: &str) -> Option<Box<dyn AnyScenario>> {
        self.inner.with_mistake(name)
    }

    fn verify(&self, files: &[PathBuf], page: bool) -> Result<Verified, String> {
        self.inner.verify(files, page)
    }
}

impl<S: System> Planted<ModelDef<S>> {
    fn args(&self, args: ModelArgs) -> ModelArgs {
        ModelArgs { mistake: Some(self.mistake), ..args }
    }
}

impl<S: System> AnyModel for Planted<ModelDef<S>> {
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

    fn mistakes(&self) -> Vec<Mistake> {
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
        self.inner.verify(files, page)
    }
}

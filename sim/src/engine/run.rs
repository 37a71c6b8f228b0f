//! Runs a plan of a scenario, in either engine.

use coalmine_real::http_api::HttpApi;

use super::report::{RunOptions, RunReport};
use crate::spec::plan::Plan;
use crate::spec::scenario::Scenario;
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict::Engine;

impl<S: System> Scenario<S> {
    /// Runs a plan, if it can be run: [`Refused`](crate::spec::verdict::Verdict::Refused) says why not.
    pub fn run_plan(
        &self,
        engine: Engine,
        plan: &Plan<NodeOf<S>>,
        options: RunOptions,
    ) -> RunReport<NodeOf<S>>
    where
        NodeOf<S>: HttpApi,
    {
        if let Err(why) = self.check(plan) {
            return RunReport::refused(why);
        }
        match engine {
            Engine::Madsim => super::madsim::run(self, plan, options),
            Engine::Direct => super::direct::run(self, plan, options),
        }
    }
}

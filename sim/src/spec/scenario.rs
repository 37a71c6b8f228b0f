//! A scenario: a system, a plan (fixed, or drawn from the seed), and what must be true at the end.

use coalmine_core::observation::Observation;
use rand_chacha::ChaCha8Rng;

use crate::spec::plan::{Plan, Stream};
use crate::spec::sound;
use crate::spec::system::{NodeOf, Planted, System, planted};

/// What must be true once the run has converged; `Err` says what is not.
pub type Expectation<S> = fn(&Observation<'_, NodeOf<S>, <S as System>::History>) -> Result<(), String>;

/// How many members a plan may ask for, unless its scenario has more: every frame of a large cluster is work.
const MOST_MEMBERS: u32 = 64;

/// A scenario with its system.
pub struct Scenario<S: System> {
    /// Its name on the command line.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Makes the system.
    pub system: fn() -> S,
    /// Makes the plan. Whatever it draws comes from [`Stream::Plan`].
    pub plan: fn(&S, &mut ChaCha8Rng) -> Plan<NodeOf<S>>,
    /// What must be true at the end, beside the invariants.
    pub expect: Expectation<S>,
}

impl<S: System> Scenario<S> {
    /// The plan of a seed, in order of time.
    pub fn plan_of(&self, system: &S, seed: u64) -> Plan<NodeOf<S>> {
        (self.plan)(system, &mut Stream::Plan.of(seed)).in_order()
    }

    /// The system that a plan is for, and the order of its hosts. `Err` says that it cannot have as many members as the
    /// plan says, or does not make this mistake.
    pub fn system_of(&self, plan: &Plan<NodeOf<S>>) -> Result<Planted<S>, String> {
        let planted = planted((self.system)(), plan.mistake)?;
        let Some(members) = plan.members else { return Ok(planted) };
        let own = planted.system.members().len();
        if own == members as usize {
            return Ok(planted);
        }
        let most = MOST_MEMBERS.max(own as u32);
        if !(1..=most).contains(&members) {
            return Err(format!("plan.members: {members} is not in 1..={most}"));
        }
        match planted.system.with_members(members) {
            Some(system) => Ok(Planted { system, ..planted }),
            None => Err(format!("plan.members: this system cannot have {members} members")),
        }
    }

    /// The plan of a seed, if there are members to draw it for.
    pub fn draw(&self, seed: u64) -> Result<Plan<NodeOf<S>>, String> {
        let system = (self.system)();
        sound::members(&system)?;
        Ok(self.plan_of(&system, seed))
    }

    /// Whether a plan can be run; `Err` names what is wrong, and where. Asked before every run, of either engine.
    pub fn check(&self, plan: &Plan<NodeOf<S>>) -> Result<(), String> {
        sound::system(&(self.system)())?;
        plan.check(&sound::members(&self.system_of(plan)?.system)?)
    }
}

/// For scenarios that expect no more than the invariants and convergence.
pub fn nothing_more<S: System>(_: &Observation<'_, NodeOf<S>, S::History>) -> Result<(), String> {
    Ok(())
}

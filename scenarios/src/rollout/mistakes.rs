//! The mistakes that the nodes of a rollout can make on purpose, each with a space in which it shows: what their table
//! ([`coalmine_core::rollout::mistake`]) says, for the harness.

use coalmine_core::for_rollout_mistakes;
use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system;

use crate::mistakes::listed;

fn quiet() -> ModelArgs {
    ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), inputs: Some(0), ..ModelArgs::default() }
}
for_rollout_mistakes!(listed);

/// Those that a rollout shows that gates judge, or the others.
pub fn all(is_guarded: bool) -> Vec<system::Mistake> {
    let scenario = if is_guarded { "canary-chaos" } else { "rollout-chaos" };
    let is_shown = |mistake: &Mistake| mistake.is_about_gates() == is_guarded;
    Mistake::ALL.into_iter().filter(is_shown).map(|mistake| listed(mistake, Some(scenario))).collect()
}

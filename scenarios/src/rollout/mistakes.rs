//! The mistakes that the nodes of a rollout can make on purpose, each with a space in which it shows: what their table
//! ([`coalmine_core::rollout::mistake`]) says, for the harness.

use coalmine_core::for_rollout_mistakes;
use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system;

use super::{Asks, RolloutSystem};
use crate::mistakes::listed;

fn quiet() -> ModelArgs {
    ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), inputs: Some(0), ..ModelArgs::default() }
}
for_rollout_mistakes!(listed);

/// Those that show where clients ask for this.
pub fn all(system: &RolloutSystem) -> Vec<system::Mistake> {
    let (shows, scenario): (fn(Mistake) -> bool, _) = match system.asks {
        Asks::Rollouts if system.snapshot_every > 0 => (Mistake::is_about_snapshots, "compaction-chaos"),
        Asks::Rollouts => (is_about_rollouts, "rollout-chaos"),
        Asks::Guarded => (Mistake::is_about_gates, "canary-chaos"),
        Asks::Changes => (Mistake::is_about_members, "growth-chaos"),
        Asks::Succession => (Mistake::is_about_succession, "growth-resolved"),
        Asks::Regions => (Mistake::is_about_regions, "regions-chaos"),
    };
    let shown = Mistake::ALL.into_iter().filter(|mistake| shows(*mistake));
    shown.map(|mistake| listed(mistake, Some(aimed_at(mistake).unwrap_or(scenario)))).collect()
}

/// The scenario of what chance alone seldom leads to.
fn aimed_at(mistake: Mistake) -> Option<&'static str> {
    let aimed = [
        (Mistake::LeavesTheDoorOpen, "regions-late-question"),
        (Mistake::TakesAnyDone, "regions-late-answer"),
    ];
    aimed.into_iter().find(|(at, _)| *at == mistake).map(|(_, scenario)| scenario)
}

fn is_about_rollouts(mistake: Mistake) -> bool {
    !mistake.is_about_gates()
        && !mistake.is_about_members()
        && !mistake.is_about_succession()
        && !mistake.is_about_snapshots()
        && !mistake.is_about_regions()
}

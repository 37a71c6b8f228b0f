//! When a rollout over regions has returned, no region is on its way with its part, or ever will be, and none serves the model
//! by it; and what somebody else rolls out in a region is not taken back with it (rule 17).
//!
//! What a region served before its part is read from its own journal, not from what the leader remembers of it.

use super::{Ledger, fleets, journal, of_region};
use crate::node::RequestId;
use crate::observation::{Invariant, Observation, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::durable::{Durable, Record};
use crate::rollout::fleet::{Fleet, FleetCourse, name_of_part, name_of_way_back};
use crate::rollout::state::RoutingState;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "regions-returned",
        about: "what was taken back from all regions is on its way in none, is served by none, and was theirs",
        source: "rule 17 of the rollout",
        check: |now| fleets(now).try_for_each(|fleet| check(now, &fleet)),
    }
}

fn check(now: &Observation<'_, RolloutNode, Ledger>, fleet: &Fleet) -> Result<(), String> {
    let has_returned = matches!(fleet.course, FleetCourse::Returned(_));
    for (place, part) in fleet.parts.iter().enumerate() {
        let Some((node, durable)) = of_region(now, place) else { continue };
        if has_returned && !now.history.lost.contains(&node.id) {
            is_back(node, &durable, fleet, &part.region)?;
        }
        takes_its_own(node, &durable, fleet)?;
    }
    Ok(())
}

/// Whether a region neither does its part any more, nor serves the model by it.
fn is_back(
    node: &Observed<'_, RolloutNode>,
    durable: &Durable,
    fleet: &Fleet,
    region: &str,
) -> Result<(), String> {
    let (id, model) = (fleet.id, &fleet.plan.model);
    let [out, way] = [name_of_part(id), name_of_way_back(id, durable.generation())];
    if durable.rollout(out).is_some_and(|part| !part.is_over()) {
        return Err(format!("{id} has returned, and {region} is on its way with its part"));
    }
    // What an operator has asked for since is the operator's.
    let is_last = durable.rollouts.last().is_some_and(|last| [out, way].contains(&last.id));
    let served = &durable.committed;
    let serves = served.stable_model_id == *model || served.canary_model_id.as_ref() == Some(model);
    let is_new = |before: &RoutingState| before.stable_model_id != *model;
    if is_last && serves && before(node, out).is_none_or(|before| is_new(&before)) {
        return Err(format!("{id} has returned, and {region} serves {served}"));
    }
    Ok(())
}

/// A way back takes no other rollout's place, unless that builds on what is taken back.
fn takes_its_own(node: &Observed<'_, RolloutNode>, durable: &Durable, fleet: &Fleet) -> Result<(), String> {
    let way = name_of_way_back(fleet.id, durable.generation());
    let Some(other) = durable.rollout(way).and_then(|way| way.supersedes) else { return Ok(()) };
    match before(node, way).filter(|served| served.stable_model_id != fleet.plan.model) {
        Some(served) => Err(format!("{} took {other} back at {}, which served {served}", fleet.id, node.id)),
        None => Ok(()),
    }
}

/// What a node served when it accepted this rollout, as far as its journal tells.
fn before(node: &Observed<'_, RolloutNode>, id: RequestId) -> Option<RoutingState> {
    let is_it = |record: &Record| matches!(record, Record::Accepted(rollout) if rollout.id == id);
    let place = journal(node).iter().position(is_it)?;
    Some(Durable::recover(node.config, &journal(node)[..place]).committed)
}

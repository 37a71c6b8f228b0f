//! When a rollout over regions has returned, no region is on its way with its part, or ever will be, and none serves the model
//! by it; and what somebody else rolls out in a region is not taken back with it (rule 17).
//!
//! What a region served before its part is read from its own journal, not from what the leader remembers of it.

use super::{Ledger, coordinates, fold, journal, of_region};
use crate::observation::{Invariant, Observation, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::durable::{Durable, Record};
use crate::rollout::fleet::{Fleet, FleetCourse, name_of_part, name_of_way_back};
use crate::rollout::message::Rollout;
use crate::rollout::state::RoutingState;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "regions-returned",
        about: "what was taken back from all regions is on its way in none, is served by none, and was theirs",
        source: "rule 17 of the rollout",
        check: |now| {
            for leader in now.nodes.iter().filter(|node| !node.config.regions.is_empty() && coordinates(node))
            {
                for fleet in fold(leader).fleets {
                    if matches!(fleet.course, FleetCourse::Returned(_)) {
                        has_returned(now, &fleet)?;
                    }
                    for place in 0..fleet.parts.len() {
                        of_region(now, place).map_or(Ok(()), |node| takes_its_own(node, &fleet))?;
                    }
                }
            }
            Ok(())
        },
    }
}

fn has_returned(now: &Observation<'_, RolloutNode, Ledger>, fleet: &Fleet) -> Result<(), String> {
    for (place, part) in fleet.parts.iter().enumerate() {
        let Some(node) = of_region(now, place).filter(|node| !now.history.lost.contains(&node.id)) else {
            continue;
        };
        let durable = fold(node);
        let (id, region, model) = (fleet.id, &part.region, &fleet.plan.model);
        let [out, way] = [name_of_part(id), name_of_way_back(id, durable.generation())];
        if durable.rollout(out).is_some_and(|part| !part.is_over()) {
            return Err(format!("{id} has returned, and {region} is on its way with its part"));
        }
        // What an operator has asked for since is the operator's.
        let is_last = durable.rollouts.last().is_some_and(|last| [out, way].contains(&last.id));
        let served = &durable.committed;
        let serves = served.stable_model_id == *model || served.canary_model_id.as_ref() == Some(model);
        let before = before(node, |rollout| rollout.id == out);
        if is_last && serves && before.is_none_or(|before| before.stable_model_id != *model) {
            return Err(format!("{id} has returned, and {region} serves {served}"));
        }
    }
    Ok(())
}

/// A way back takes no other rollout's place, unless that builds on what is taken back.
fn takes_its_own(node: &Observed<'_, RolloutNode>, fleet: &Fleet) -> Result<(), String> {
    let durable = fold(node);
    let way = durable.rollout(name_of_way_back(fleet.id, durable.generation()));
    let Some(other) = way.and_then(|way| way.supersedes) else { return Ok(()) };
    let served = before(node, |rollout| Some(rollout.id) == way.map(|way| way.id));
    match served.filter(|served| served.stable_model_id != fleet.plan.model) {
        Some(served) => Err(format!("{} took {other} back at {}, which served {served}", fleet.id, node.id)),
        None => Ok(()),
    }
}

/// What a node served when it accepted such a rollout, as far as its journal tells.
fn before(node: &Observed<'_, RolloutNode>, is_it: impl Fn(&Rollout) -> bool) -> Option<RoutingState> {
    let mut durable = Durable::recover(node.config, &[]);
    for record in journal(node) {
        if matches!(record, Record::Accepted(rollout) if is_it(rollout)) {
            return Some(durable.committed);
        }
        durable.apply(record);
    }
    None
}

//! A region begins its part of a rollout over regions when the parts of all regions before it have come to their ends, on
//! disks (rule 17): what is wrong with a model is to be seen in one region, before it is in the next.

use super::{Ledger, coordinates, fold, journal, of_region};
use crate::observation::{Invariant, Observation, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::durable::Record;
use crate::rollout::fleet::{Fleet, name_of_part};

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "regions-in-turn",
        about: "a region begins when the regions before it have come to their ends",
        source: "rule 17 of the rollout",
        check: |now| {
            for leader in now.nodes.iter().filter(|node| !node.config.regions.is_empty() && coordinates(node))
            {
                for fleet in fold(leader).fleets {
                    check(now, &fleet)?;
                }
            }
            Ok(())
        },
    }
}

fn check(now: &Observation<'_, RolloutNode, Ledger>, fleet: &Fleet) -> Result<(), String> {
    let id = name_of_part(fleet.id);
    let mut unfinished = None;
    for (place, part) in fleet.parts.iter().enumerate() {
        let Some(node) = of_region(now, place) else { continue };
        let has_begun = fold(node).rollout(id).is_some();
        if let Some(before) = unfinished.filter(|_| has_begun) {
            let region = &part.region;
            return Err(format!(
                "{region} has begun its part of {}, and {before} has not done its own",
                fleet.id
            ));
        }
        if !is_done(now, node, fleet) {
            unfinished = Some(&part.region);
        }
    }
    Ok(())
}

/// Whether a region's part is done, as far as anybody can see. Where a disk was lost nobody can.
fn is_done(
    now: &Observation<'_, RolloutNode, Ledger>,
    node: &Observed<'_, RolloutNode>,
    fleet: &Fleet,
) -> bool {
    let (durable, id) = (fold(node), name_of_part(fleet.id));
    if let Some(part) = durable.rollout(id) {
        return part.is_complete();
    }
    // It served the model before, and had nothing to do.
    let model = &fleet.plan.model;
    let has_served = |record: &Record| match record {
        Record::Voted { state, .. } | Record::Installed { state } | Record::Admitted { state, .. } => {
            state.stable_model_id == *model
        }
        Record::Snapshot(_) => true, // nobody knows what was before
        Record::Epoch { .. }
        | Record::Accepted(_)
        | Record::Queued(_)
        | Record::Steered { .. }
        | Record::Refused { .. }
        | Record::Outdated
        | Record::Decided { .. }
        | Record::Granted { .. }
        | Record::Changing { .. }
        | Record::TakingOver { .. }
        | Record::Resolved { .. }
        | Record::Fleet { .. }
        | Record::Recalled { .. } => false,
    };
    now.history.lost.contains(&node.id)
        || durable.asked(id).is_some()
        || node.config.initial_model == fleet.plan.model
        || journal(node).iter().any(has_served)
}

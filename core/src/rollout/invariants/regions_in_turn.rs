//! A region begins its part of a rollout over regions when the parts of all regions before it have come to their ends, on
//! disks (rule 17): what is wrong with a model is to be seen in one region, before it is in the next.

use super::{Ledger, fleets, journal, of_region};
use crate::observation::{Invariant, Observation, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::durable::{Durable, Record};
use crate::rollout::fleet::{Fleet, name_of_part};

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "regions-in-turn",
        about: "a region begins when the regions before it have come to their ends",
        source: "rule 17 of the rollout",
        check: |now| fleets(now).try_for_each(|fleet| check(now, &fleet)),
    }
}

fn check(now: &Observation<'_, RolloutNode, Ledger>, fleet: &Fleet) -> Result<(), String> {
    let id = name_of_part(fleet.id);
    let mut unfinished = None;
    for (place, part) in fleet.parts.iter().enumerate() {
        let Some((node, durable)) = of_region(now, place) else { continue };
        let has_begun = durable.rollout(id).is_some();
        if let Some(before) = unfinished.filter(|_| has_begun) {
            let region = &part.region;
            return Err(format!(
                "{region} has begun its part of {}, and {before} has not done its own",
                fleet.id
            ));
        }
        if !is_done(now, node, &durable, fleet) {
            unfinished = Some(&part.region);
        }
    }
    Ok(())
}

/// Whether a region's part is done, as far as anybody can see. Where a disk was lost nobody can.
fn is_done(
    now: &Observation<'_, RolloutNode, Ledger>,
    node: &Observed<'_, RolloutNode>,
    durable: &Durable,
    fleet: &Fleet,
) -> bool {
    let id = name_of_part(fleet.id);
    if let Some(part) = durable.rollout(id) {
        return part.is_complete();
    }
    // It served the model before, and had nothing to do; of what is before a snapshot nobody knows.
    let has_served = |record: &Record| {
        let is_served = matches!(
            record,
            Record::Voted { state, .. } | Record::Installed { state } | Record::Admitted { state, .. }
                if state.stable_model_id == fleet.plan.model
        );
        is_served || record.snapshot().is_some()
    };
    now.history.lost.contains(&node.id)
        || durable.asked(id).is_some()
        || node.config.initial_model == fleet.plan.model
        || journal(node).iter().any(has_served)
}

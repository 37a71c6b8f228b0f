//! What a client was told is accepted stays accepted: it is in the coordinator's journal, through every crash, as
//! long as the coordinator has its disk (the durability of a commit, as the client sees it).

use super::Ledger;
use crate::node::RequestId;
use crate::observation::{Invariant, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::durable::Record;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "accepted-is-kept",
        about: "what a client was told is accepted is in the journal of who told it",
        source: "Gray, Reuter 1993, §1.2: durability, as a client sees it",
        check: |now| {
            for node in &now.nodes {
                let Some(told) = now.history.accepted.get(&node.id) else { continue };
                if let Some(id) = told.iter().find(|id| !holds(node, **id)) {
                    return Err(format!("{id} was told that {} has accepted it, and it has not", node.id));
                }
            }
            Ok(())
        },
    }
}

/// Whether a node's disk holds that it has accepted a request. Where the disk cannot be seen, or is empty because
/// it has just been lost (which the node says when it boots from it), nobody can say that it does not.
fn holds(node: &Observed<'_, RolloutNode>, id: RequestId) -> bool {
    let Some(durable) = node.durable else { return true };
    let is_lost = node.state.is_none() && durable.is_empty();
    is_lost
        || durable.iter().any(|record| match record {
            Record::Accepted(rollout) => rollout.id == id,
            Record::Queued(queued) => queued.id == id,
            Record::Snapshot(all) => all.asked.iter().any(|asked| asked.id == id),
            Record::Steered { by: Some(by), .. } => by.id == id,
            Record::Fleet { by, .. } => *by == Some(id),
            Record::Changing { id: it, .. }
            | Record::TakingOver { id: it, .. }
            | Record::Resolved { id: it, .. } => *it == id,
            Record::Steered { by: None, .. }
            | Record::Recalled { .. }
            | Record::Epoch { .. }
            | Record::Voted { .. }
            | Record::Refused { .. }
            | Record::Outdated
            | Record::Decided { .. }
            | Record::Installed { .. }
            | Record::Granted { .. }
            | Record::Admitted { .. } => false,
        })
}

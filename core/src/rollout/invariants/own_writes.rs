//! A client reads its own write: once it is told that a rollout is accepted, the view that readers see of the node
//! that told it has the rollout in it (Terry et al., *Session Guarantees for Weakly Consistent Replicated Data*,
//! PDIS 1994: read your writes).
//!
//! Views are seen where a run is watched or a recording is executed again; see
//! [`History::published`](crate::observation::History::published).

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "reads-own-writes",
        about: "a rollout that a client was told is accepted is in the view of who told it",
        source: "Terry et al. 1994, §2: read your writes",
        check: |now| match now.history.unseen.first() {
            Some((node, id)) => {
                Err(format!("{node} told {id} that it is accepted, and shows a view without it"))
            }
            None => Ok(()),
        },
    }
}

//! A vote is a promise: a node that voted COMMIT stays in doubt, through every crash, until the outcome is
//! known. This is why votes are forced to disk before they are sent (Mohan, Lindsay, Obermarck 1986, §2).

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::message::Outcome;
use crate::rollout::variant::Variant;

/// See the module.
pub fn invariant<V: Variant>() -> Invariant<RolloutNode<V>, Ledger> {
    Invariant {
        name: "promises-kept",
        about: "a node that restarts knows all it promised",
        source: "Mohan, Lindsay, Obermarck 1986, §2: forced writes of the prepare record",
        check: |now| {
            for (id, state) in now.up() {
                let voted = now.history.votes.iter().filter(|(_, voters)| voters.contains(&id));
                for (&txid, _) in voted {
                    let version = now.history.proposed.get(&txid).copied().unwrap_or(0);
                    let keeps = state.durable().prepared_txid() == Some(txid)
                        || state.committed().version >= version
                        || now.history.knows(txid, Outcome::Abort);
                    if !keeps {
                        return Err(format!("{id} voted COMMIT for {txid} and has forgotten it"));
                    }
                }
            }
            Ok(())
        },
    }
}

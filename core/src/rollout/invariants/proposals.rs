//! A proposal tells how the transaction before it ended (rule 9). So nobody refuses one because of a doubt: the doubt
//! is over when the proposal is read, and an abort that it would cause has no cause.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::healing::Healing;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "proposals-tell",
        about: "nobody refuses a proposal that tells how the transaction it is in doubt about ended",
        source: "rule 9 of the rollout",
        check: |now| {
            let mut busy = now.history.busy.iter();
            let heals = |id| {
                let node = now.nodes.iter().find(|node| node.id == id);
                node.is_some_and(|node| node.config.heals_by(Healing::Proposals))
            };
            match busy.find(|(id, ..)| heals(*id)) {
                Some((id, txid, doubt)) => Err(format!(
                    "{id} refused {txid}, which told it how {doubt} ended, being in doubt about that"
                )),
                None => Ok(()),
            }
        },
    }
}

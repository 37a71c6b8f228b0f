//! Who is in doubt is in doubt about its next version: a member votes for that alone (rule 2), and whatever brings it
//! as far as that, a decision, a later proposal or a state to catch up with, ends the doubt.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "votes-for-the-next",
        about: "who is in doubt is in doubt about the version after the one it serves",
        source: "rules 2, 8 and 9 of the rollout",
        check: |now| {
            for (id, state) in now.up() {
                let (prepared, serves) = (&state.durable().prepared, state.committed().version);
                let Some(prepared) = prepared else { continue };
                let (txid, version) = (prepared.txid, prepared.state.version);
                if Some(version) != serves.checked_add(1) {
                    return Err(format!("{id} serves v{serves}, and is in doubt about v{version} by {txid}"));
                }
            }
            Ok(())
        },
    }
}

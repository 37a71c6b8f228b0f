//! Versions only grow: what a node once said it committed it still has, through every crash (AC2 and the
//! durability of a commit).

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "versions-only-grow",
        about: "what a node said it committed, it still has",
        source: "Bernstein, Hadzilacos, Goodman 1987, §7.3: AC2; durability",
        check: |now| {
            for (id, state) in now.up() {
                let said = now.history.committed.get(&id).copied().unwrap_or(0);
                let has = state.committed().version;
                if has < said {
                    return Err(format!("{id} had committed v{said} and is back at v{has}"));
                }
            }
            Ok(())
        },
    }
}

//! The split-brain alarm is for damage from outside. Nothing that the protocol does may raise it.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "no-split-brain",
        about: "no node has cause for a split-brain alarm",
        source: "the rollout's own promise: atomic commitment of the routing state",
        check: |now| match now.up().find(|(_, state)| state.split_brain()) {
            Some((id, _)) => Err(format!("{id} has raised the split-brain alarm")),
            None => Ok(()),
        },
    }
}

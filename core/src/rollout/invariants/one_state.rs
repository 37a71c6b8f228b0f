//! A version names one state; but version 0 is what a configuration says, and is compared when nodes join. Nodes may be behind one another for an instant, never beside one another.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "one-state-per-version",
        about: "no two nodes hold different states for one version",
        source: "the rollout's own promise: atomic commitment of the routing state",
        check: |now| match now
            .history
            .states
            .iter()
            .find(|((_, version), digests)| *version > 0 && digests.len() > 1)
        {
            Some(((_, version), digests)) => {
                Err(format!("version {version} was served as {} different states", digests.len()))
            }
            None => Ok(()),
        },
    }
}

//! A vote is a promise, and so is a refusal: through every crash, a node knows the highest transaction about
//! which it made one. This is why votes are forced to disk before they are sent (Mohan, Lindsay, Obermarck
//! 1986, §2).

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "promises-kept",
        about: "a node that restarts knows all it promised",
        source: "Mohan, Lindsay, Obermarck 1986, §2: forced writes of the prepare record",
        check: |now| {
            for (id, state) in now.up() {
                let promised = now.history.promised.get(&id).copied().unwrap_or_default();
                if state.durable().floor < promised {
                    return Err(format!("{id} promised something about {promised} and has forgotten it"));
                }
            }
            Ok(())
        },
    }
}

//! No transaction both commits and aborts, at whichever nodes (AC1), and no node reverses a decision (AC2):
//! Bernstein, Hadzilacos, Goodman 1987, §7.3.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "one-outcome",
        about: "no transaction both commits and aborts",
        source: "Bernstein, Hadzilacos, Goodman 1987, §7.3: AC1, AC2",
        check: |now| match now.history.outcomes.iter().find(|(_, outcomes)| outcomes.len() > 1) {
            Some(((_, txid), _)) => {
                Err(format!("transaction {txid} was committed by one node, aborted by another"))
            }
            None => Ok(()),
        },
    }
}

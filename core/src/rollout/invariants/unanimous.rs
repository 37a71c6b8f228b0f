//! COMMIT needs the vote of every member (AC3: Bernstein, Hadzilacos, Goodman 1987, §7.3).

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::message::Outcome;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "unanimous",
        about: "nobody commits without every member's vote",
        source: "Bernstein, Hadzilacos, Goodman 1987, §7.3: AC3",
        check: |now| {
            for (&txid, _) in
                now.history.outcomes.iter().filter(|(_, known)| known.contains(&Outcome::Commit))
            {
                let votes = now.history.votes.get(&txid);
                for node in &now.nodes {
                    if !votes.is_some_and(|votes| votes.contains(&node.id)) {
                        return Err(format!("{txid} committed, but {} has not voted for it", node.id));
                    }
                }
            }
            Ok(())
        },
    }
}

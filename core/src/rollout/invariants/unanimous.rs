//! COMMIT needs the vote of every member before that is one after, too (AC3: Bernstein, Hadzilacos, Goodman 1987, §7.3).

use super::Ledger;
use crate::node::NodeId;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "unanimous",
        about: "nobody commits without every member's vote",
        source: "Bernstein, Hadzilacos, Goodman 1987, §7.3: AC3",
        check: |now| {
            let founders = now.nodes.first().map_or(&[][..], |node| &node.config.members);
            for (version, (txid, members)) in &now.history.members {
                let before = version.checked_sub(1).and_then(|before| now.history.members.get(&before));
                let before = before.map_or(founders, |(_, members)| members);
                let votes = now.history.votes.get(txid);
                let voted = |member: &&NodeId| votes.is_some_and(|votes| votes.contains(member));
                let mut asked = before.iter().filter(|member| members.contains(member));
                if let Some(member) = asked.find(|member| !voted(member)) {
                    return Err(format!("{txid} committed, but {member} has not voted for it"));
                }
            }
            Ok(())
        },
    }
}

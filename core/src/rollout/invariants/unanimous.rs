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
            for ((region, version), (txid, members)) in &now.history.members {
                let founders = || now.nodes.iter().find(|node| now.history.region_of(node.id) == *region);
                let before = version.checked_sub(1);
                let before = before.and_then(|before| now.history.members.get(&(*region, before)));
                let before = match before {
                    Some((_, members)) => members,
                    None => founders().map_or(&[][..], |node| &node.config.members),
                };
                let votes = now.history.votes.get(&(*region, *txid));
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

//! A snapshot says what the records say that it replaces (rule 16): read after a crash, it leaves the state that they leave.
//! And what was forgotten is in one.

use super::{Ledger, journal, legible};
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::durable::Durable;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "snapshots-tell",
        about: "a snapshot says what the records before it say, and nothing is forgotten that is in none",
        source: "rule 16 of the rollout",
        check: |now| {
            for node in &now.nodes {
                let (before, records) = legible(node);
                if node.forgotten > 0 && before.is_none() {
                    let left = journal(node).len();
                    return Err(format!(
                        "{} has forgotten {} records, and the {left} that are left hold no snapshot",
                        node.id, node.forgotten
                    ));
                }
                if !records.iter().any(|record| record.snapshot().is_some()) {
                    continue;
                }
                let mut told = before.cloned().unwrap_or_else(|| Durable::recover(node.config, &[]));
                for record in records {
                    if let Some(all) = record.snapshot().filter(|all| **all != told) {
                        let (says, said) = differ(all, &told);
                        return Err(format!(
                            "a snapshot of {} says {says}, the records before it {said}",
                            node.id
                        ));
                    }
                    told.apply(record);
                }
            }
            Ok(())
        },
    }
}

/// Where the descriptions of two differ first, and a few words around that.
fn differ(one: &Durable, other: &Durable) -> (String, String) {
    let [one, other] = [one, other].map(|it| format!("{it:?}").chars().collect::<Vec<_>>());
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let around = |text: &[char]| {
        let (from, to) = (same.saturating_sub(60), text.len().min(same + 40));
        format!("…{}…", text[from..to].iter().collect::<String>())
    };
    (around(&one), around(&other))
}

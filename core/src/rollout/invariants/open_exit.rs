//! The fire exit has no lock: no way back to the stable model is refused by a gate (rule 12). What made it necessary is
//! what breaks the gates.

use super::{Ledger, coordinates, legible};
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::durable::Record;
use crate::rollout::message::{AbortReason, Course, OnFailure, Outcome, Refusal, Rollout};
use crate::rollout::state::Member;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "exit-is-open",
        about: "no gate refuses a way back to the stable model",
        source: "rule 12 of the rollout",
        check: |now| {
            for node in now.nodes.iter().filter(|node| coordinates(node)) {
                let (mut is_returning, mut is_paused, mut returns) = (false, false, false);
                let (mut served, mut proposed): (&[Member], &[Member]) = (&[], &[]);
                let (before, records) = legible(node);
                if let Some(before) = before {
                    let running = before.running();
                    is_returning = running.is_some_and(|it| matches!(it.course, Course::Returning(_)));
                    is_paused = running.is_some_and(Rollout::is_paused);
                    returns = running.is_some_and(|it| it.plan.on_failure == OnFailure::Return);
                    served = &before.committed.members;
                    proposed = before.prepared.as_ref().map_or(served, |prepared| &prepared.state.members);
                }
                for record in records {
                    match record {
                        Record::Steered { course, .. } => {
                            is_returning = matches!(course, Course::Returning(_));
                            is_paused = matches!(course, Course::Paused(_));
                        }
                        Record::Accepted(rollout) => {
                            is_returning = matches!(rollout.course, Course::Returning(_));
                            is_paused = false;
                            returns = rollout.plan.on_failure == OnFailure::Return;
                        }
                        Record::Voted { state, .. } => proposed = &state.members,
                        Record::Installed { state } | Record::Admitted { state, .. } => {
                            served = &state.members
                        }
                        Record::Decided { outcome: Outcome::Commit, .. } => {
                            is_returning &= served != proposed;
                            served = proposed;
                        }
                        Record::Decided {
                            txid, reason: Some(AbortReason::Refused { by, refusal }), ..
                        } if is_returning && is_of_gates(refusal) => {
                            return Err(format!("{by} refused the way back by {txid}: {refusal}"));
                        }
                        Record::Decided { reason: Some(reason), .. } if served == proposed => {
                            let is_judged = !reason.is_interruption() && !reason.is_lack_of_evidence();
                            is_returning |= returns && is_judged && (!is_paused || reason.is_failed_gate());
                        }
                        Record::Decided { .. }
                        | Record::Resolved { .. }
                        | Record::Snapshot(_)
                        | Record::Changing { .. }
                        | Record::TakingOver { .. }
                        | Record::Epoch { .. }
                        | Record::Refused { .. }
                        | Record::Queued(_)
                        | Record::Outdated
                        | Record::Fleet { .. }
                        | Record::Recalled { .. }
                        | Record::Granted { .. } => {}
                    }
                }
            }
            Ok(())
        },
    }
}

fn is_of_gates(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Gate(_) | Refusal::NoEvidence { .. } | Refusal::StaleEvidence { .. })
}

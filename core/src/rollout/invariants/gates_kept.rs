//! A canary gets more of the requests, or is made the stable model, only by the evidence of every member: each has voted
//! by what the canary itself did there, under the version that was served, within all limits (rule 11).
//!
//! Who was asked about what is read from the coordinator's journal, and whether the evidence keeps the limits is worked
//! out here, without the node's own judgement of it.

use super::{Ledger, coordinates, legible};
use crate::node::NodeId;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::durable::{Durable, Record};
use crate::rollout::gates::Gates;
use crate::rollout::message::{Course, Outcome, Passed, Rollout};
use crate::rollout::state::{ModelId, RoutingState, Txid};

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "gates-kept",
        about: "a canary gets more only by evidence of every member that keeps the gates",
        source: "rule 11 of the rollout",
        check: |now| {
            for node in now.nodes.iter().filter(|node| coordinates(node)) {
                let (before, records) = legible(node);
                let mut reading = before.map_or_else(Reading::default, Reading::after);
                for record in records {
                    reading.takes(node.id, record, now.history)?;
                }
            }
            Ok(())
        },
    }
}

/// How far a journal was read.
#[derive(Default)]
struct Reading<'a> {
    rollout: Option<&'a Rollout>,
    /// An operator answers for the next step.
    is_promoted: bool,
    served: Option<&'a RoutingState>,
    voted: Option<(Txid, &'a RoutingState, &'a [NodeId], Option<&'a Passed>)>,
}

impl<'a> Reading<'a> {
    /// After what a snapshot says.
    fn after(all: &'a Durable) -> Self {
        let rollout = all.rollouts.last();
        let is_promoted = rollout.is_some_and(|rollout| rollout.course == Course::Promoted);
        let voted = all.prepared.as_ref();
        let voted = voted.map(|it| (it.txid, &it.state, &it.members[..], it.passed.as_ref()));
        Self { rollout, is_promoted, served: Some(&all.committed), voted }
    }

    fn takes(&mut self, me: NodeId, record: &'a Record, ledger: &Ledger) -> Result<(), String> {
        match record {
            Record::Accepted(rollout) => (self.rollout, self.is_promoted) = (Some(rollout), false),
            Record::Steered { course, .. } => self.is_promoted = *course == Course::Promoted,
            Record::Voted { txid, state, members, passed } => {
                self.voted = Some((*txid, state, members, passed.as_ref()));
            }
            Record::Decided { txid, outcome: Outcome::Commit, .. } => {
                let Some((_, state, members, mine)) = self.voted.take_if(|(voted, ..)| voted == txid) else {
                    return Ok(()); // others ask how that can be
                };
                self.commits(*txid, state, members, |member| {
                    if member == me { mine } else { ledger.passed.get(&(*txid, member)) }
                })?;
                (self.served, self.is_promoted) = (Some(state), false);
            }
            Record::Installed { state } | Record::Admitted { state, .. } => self.served = Some(state),
            Record::Decided { outcome: Outcome::Abort, .. }
            | Record::Snapshot(_) // says nothing new
            | Record::Resolved { .. } // of a participant, which has no rollouts
            | Record::Fleet { .. }
            | Record::Recalled { .. }
            | Record::Changing { .. }
            | Record::TakingOver { .. }
            | Record::Epoch { .. }
            | Record::Refused { .. }
            | Record::Queued(_)
            | Record::Outdated
            | Record::Granted { .. } => {}
        }
        Ok(())
    }

    fn commits<'p>(
        &self,
        txid: Txid,
        state: &RoutingState,
        members: &[NodeId],
        passed: impl Fn(NodeId) -> Option<&'p Passed>,
    ) -> Result<(), String> {
        let gates = self.rollout.filter(|_| !self.is_promoted).and_then(|rollout| rollout.gates.as_ref());
        let (Some(gates), Some(served)) = (gates, self.served) else { return Ok(()) };
        let Some(canary) = &served.canary_model_id else { return Ok(()) };
        let gets_more = state.weights.of(canary) > served.weights.of(canary);
        if !gets_more && state.stable_model_id != *canary {
            return Ok(());
        }
        for &member in members {
            let Some(passed) = passed(member) else {
                return Err(format!(
                    "{txid} commits {state}, and {member} voted without evidence of {canary}"
                ));
            };
            if passed.gates != *gates {
                return Err(format!("{txid} commits {state}, and {member} was asked about other gates"));
            }
            keeps(gates, canary, served, passed)
                .map_err(|why| format!("{txid} commits {state}, and at {member} {why}"))?;
        }
        Ok(())
    }
}

/// Whether what was measured keeps the limits.
fn keeps(gates: &Gates, canary: &ModelId, served: &RoutingState, passed: &Passed) -> Result<(), String> {
    let health = &passed.health;
    if health.version != served.version {
        return Err(format!("the evidence is about v{}, and v{} was served", health.version, served.version));
    }
    let Some(it) = health.models.get(canary).filter(|it| it.samples >= gates.min_samples.max(1)) else {
        return Err(format!("{canary} had taken too few requests: {health}"));
    };
    let compared = health.models.get(&served.stable_model_id);
    let compared = compared.filter(|stable| stable.samples >= gates.min_samples.max(1));
    let is_slow = it.p95_ms > gates.max_p95_ms
        || compared.is_some_and(|stable| it.p95_ms > stable.p95_ms.saturating_add(gates.max_p95_rise_ms));
    let is_failing = it.error_bp > gates.max_error_bp
        || compared
            .is_some_and(|stable| it.error_bp > stable.error_bp.saturating_add(gates.max_error_rise_bp));
    if is_slow || is_failing { Err(format!("{canary} kept not all limits: {health}")) } else { Ok(()) }
}

//! A request takes effect once, and as it was asked: the coordinator's journal accepts it once, and commits each
//! of its steps at most once, in order, each at the next version (rule 6 of the node's contract: a retry is the
//! same request).
//!
//! The journal is read here without the node's own fold of it, which is part of what may be wrong.

use super::Ledger;
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::durable::REMEMBERED_ROLLOUTS;
use crate::rollout::message::{AbortReason, Outcome, Record, Rollout};
use crate::rollout::state::{RoutingState, Txid};

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "once-per-request",
        about: "each step of an accepted rollout is committed at most once, in order, and as it was asked",
        source: "rule 6 of the node's contract; rule 1 of the rollout: the version after the committed one",
        check: |now| {
            for node in now.nodes.iter().filter(|node| node.id == node.config.coordinator) {
                let mut reading = Reading::default();
                for record in node.durable.unwrap_or_default() {
                    reading.takes(record).map_err(|why| format!("in the journal of {}: {why}", node.id))?;
                }
            }
            Ok(())
        },
    }
}

/// How far a journal was read.
#[derive(Default)]
struct Reading<'a> {
    accepted: Vec<&'a Rollout>,
    /// How many steps of the last rollout are committed; `None` if it has ended.
    done: Option<usize>,
    version: u64,
    proposed: Option<(Txid, &'a RoutingState)>,
}

impl<'a> Reading<'a> {
    fn takes(&mut self, record: &'a Record) -> Result<(), String> {
        match record {
            Record::Accepted(rollout) => {
                let remembered = self.accepted.iter().rev().take(REMEMBERED_ROLLOUTS);
                if remembered.clone().any(|known| known.id == rollout.id) {
                    return Err(format!("{} is accepted twice", rollout.id));
                }
                if let (Some(_), Some(running)) = (self.done, self.accepted.last()) {
                    return Err(format!("{} is accepted while {} is under way", rollout.id, running.id));
                }
                self.accepted.push(rollout);
                self.done = Some(0);
            }
            Record::Voted { txid, state, .. } => self.proposed = Some((*txid, state)),
            Record::Decided { txid, outcome: Outcome::Commit, .. } => return self.commits(*txid),
            // An interrupted step is tried again.
            Record::Decided { reason: Some(AbortReason::CoordinatorRestarted), .. } => {}
            Record::Decided { reason: Some(_), .. } => self.done = None,
            Record::Installed { state } | Record::Admitted { state, .. } => self.version = state.version,
            Record::Decided { reason: None, .. }
            | Record::Epoch { .. }
            | Record::Refused { .. }
            | Record::Granted { .. } => {}
        }
        Ok(())
    }

    fn commits(&mut self, of: Txid) -> Result<(), String> {
        let Some((_, state)) = self.proposed.take_if(|(txid, _)| *txid == of) else {
            return Err(format!("{of} commits, and was not proposed"));
        };
        let rollout = self.done.zip(self.accepted.last().copied());
        let step = rollout.and_then(|(done, rollout)| Some((rollout, rollout.steps.get(done)?)));
        let Some((rollout, step)) = step else {
            return Err(format!("{of} commits {state}, and no client asks for a step"));
        };
        let share_bp = state.weights.iter().find(|(model, _)| **model == rollout.model);
        let is_asked = share_bp.is_some_and(|(_, share_bp)| share_bp == step.share_bp);
        if !is_asked || state.version != self.version + 1 || state.txid != Some(of) {
            let (id, share) = (rollout.id, f64::from(step.share_bp) / 100.0);
            let (model, next) = (&rollout.model, self.version + 1);
            return Err(format!(
                "{of} commits {state}, and the next step of {id} is v{next} ({model} {share}%)"
            ));
        }
        self.version = state.version;
        self.done = self.done.map(|done| done + 1).filter(|done| *done < rollout.steps.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::RequestId;
    use crate::rollout::config::Config;
    use crate::rollout::message::{Step, StepResult};
    use crate::rollout::state::ModelId;

    fn rollout(sequence: u64, steps_bp: &[u32]) -> Record {
        let step = |&share_bp: &u32| Step { share_bp, result: StepResult::Pending };
        let steps = steps_bp.iter().map(step).collect();
        let (id, model) = (RequestId { client: 1, sequence }, ModelId::new("v2").expect("a name"));
        Record::Accepted(Rollout { id, model, pause_ms: 0, steps })
    }

    /// The proposals of these shares, one after the other, all committed.
    fn commits(shares_bp: &[u32]) -> Vec<Record> {
        let config = &Config::cluster(1)[0];
        let (mut state, model) =
            (RoutingState::initial(&config.initial_model), ModelId::new("v2").expect("a name"));
        let commit = |(number, &share_bp): (u32, &u32)| {
            let txid = Txid { generation: 1, epoch: 1, number };
            state = state.next(&model, share_bp, txid).expect("a step");
            let voted = Record::Voted { txid, state: state.clone(), members: Vec::new() };
            [voted, Record::Decided { txid, outcome: Outcome::Commit, reason: None }]
        };
        (1..).zip(shares_bp).flat_map(commit).collect()
    }

    fn read(records: &[Record]) -> Result<(), String> {
        let mut reading = Reading::default();
        records.iter().try_for_each(|record| reading.takes(record))
    }

    #[test]
    fn what_was_asked_may_be_done_once() {
        let steps = rollout(1, &[500, 2_000]);
        let done = commits(&[500, 2_000]);
        assert_eq!(read(&[vec![steps.clone()], done.clone(), vec![rollout(2, &[100])]].concat()), Ok(()));
        let of = |records: &[Vec<Record>]| read(&records.concat()).expect_err("it is wrong");
        assert!(of(&[vec![steps.clone(), rollout(2, &[100])]]).contains("while c1/1 is under way"));
        assert!(of(&[vec![steps.clone()], done.clone(), vec![steps.clone()]]).contains("accepted twice"));
        assert!(of(std::slice::from_ref(&done)).contains("no client asks"));
        assert!(of(&[vec![steps.clone()], commits(&[500, 2_000, 3_000])]).contains("no client asks"));
        assert!(
            of(&[vec![steps.clone()], commits(&[2_000])]).contains("the next step of c1/1 is v1 (v2 5%)")
        );
        assert!(of(&[vec![steps], commits(&[500, 500])]).contains("the next step of c1/1 is v2 (v2 20%)"));
    }
}

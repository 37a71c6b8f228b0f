//! A request takes effect once, and as it was asked: the coordinator's journal accepts it once, and commits each
//! of its steps at most once, in order, each at the next version (rule 6 of the node's contract: a retry is the
//! same request).
//!
//! The journal is read here without the node's own fold of it, which is part of what may be wrong.

use std::collections::BTreeMap;

use super::{Ledger, coordinates, legible};
use crate::node::{NodeId, RequestId};
use crate::observation::Invariant;
use crate::rollout::RolloutNode;
use crate::rollout::durable::{Durable, REMEMBERED_REQUESTS, Record};
use crate::rollout::fleet::name_of_part;
use crate::rollout::message::{AbortReason, Course, OnFailure, Outcome, Queued, Rollout};
use crate::rollout::rests::coordinator_by;
use crate::rollout::state::{Change, RoutingState, Txid};

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "once-per-request",
        about: "each step of an accepted rollout is committed at most once, in order, and as it was asked",
        source: "rule 6 of the node's contract; rule 1 of the rollout: the version after the committed one",
        check: |now| {
            for node in now.nodes.iter().filter(|node| coordinates(node)) {
                let (before, journal) = legible(node);
                let (began, former) = began(before, journal, node.id);
                let mut reading = match before {
                    Some(all) if former.is_none() => Reading::after(all),
                    Some(_) | None => Reading { former, ..Reading::default() },
                };
                for record in &journal[began..] {
                    reading.takes(record).map_err(|why| format!("in the journal of {}: {why}", node.id))?;
                }
            }
            Ok(())
        },
    }
}

/// Where the node's coordinating begins, and whom it has succeeded: what it did before was another one's to ask for.
fn began(before: Option<&Durable>, journal: &[Record], me: NodeId) -> (usize, Option<NodeId>) {
    let coordinator = |record: &Record| coordinator_by(std::slice::from_ref(record));
    let of_another = |record: &Record| coordinator(record).is_some_and(|coordinator| coordinator != me);
    let before = before.map(|all| all.coordinator).filter(|coordinator| *coordinator != me);
    let last = journal.iter().rposition(of_another);
    let Some(former) = last.and_then(|last| coordinator(&journal[last])).or(before) else { return (0, None) };
    let last = last.unwrap_or(0);
    let admitted = journal[last..].iter().position(|record| coordinator(record) == Some(me));
    (last + admitted.unwrap_or(0), Some(former))
}

/// How far a journal was read.
#[derive(Default)]
struct Reading<'a> {
    /// The requests that were taken, oldest first.
    named: Vec<RequestId>,
    rollout: Option<&'a Rollout>,
    /// How many steps of the last rollout are committed; `None` if it has ended.
    done: Option<usize>,
    /// Whether it is on its way back to the stable model, which this is.
    returning: bool,
    /// Whom this coordinator has succeeded.
    former: Option<NodeId>,
    /// That change is the dismissal of whom it has succeeded, which is tried until it is done.
    insists: bool,
    /// The change of the cluster that was asked for.
    changing: Option<Change>,
    /// The rollouts that wait for their turn.
    queued: Vec<&'a Queued>,
    /// Whether the last one that ended has failed.
    failed: bool,
    /// Whether somebody has to give an order before it goes on.
    paused: bool,
    served: Option<&'a RoutingState>,
    proposed: Option<(Txid, &'a RoutingState)>,
}

impl<'a> Reading<'a> {
    /// After what a snapshot says.
    fn after(all: &'a Durable) -> Self {
        let (rollout, running) = (all.rollouts.last(), all.running());
        let committed = |rollout: &Rollout| rollout.steps.iter().filter(|step| step.is_committed()).count();
        Self {
            named: all.asked.iter().map(|asked| asked.id).collect(),
            rollout,
            done: running.map(committed),
            returning: running.is_some_and(|running| matches!(running.course, Course::Returning(_))),
            former: None,
            insists: all.changing().is_some_and(|changing| changing.is_insisted_on),
            changing: all.changing().map(|changing| changing.change),
            queued: all.queue.iter().collect(),
            failed: running.is_none() && rollout.is_some_and(|last| !last.is_complete()),
            paused: running.is_some_and(Rollout::is_paused),
            served: Some(&all.committed),
            proposed: all.prepared.as_ref().map(|prepared| (prepared.txid, &prepared.state)),
        }
    }

    fn takes(&mut self, record: &'a Record) -> Result<(), String> {
        match record {
            Record::Queued(queued) => {
                self.names(queued.id)?;
                self.queued.push(queued);
            }
            Record::Accepted(rollout) => {
                self.takes_its_turn(rollout)?;
                let running = self.done.and(self.rollout).map(|running| running.id);
                if let Some(running) = running.filter(|running| rollout.supersedes != Some(*running)) {
                    return Err(format!("{} is accepted while {running} is under way", rollout.id));
                }
                self.rollout = Some(rollout);
                let begins = !matches!(rollout.course, Course::Stopped(_));
                let returning = matches!(rollout.course, Course::Returning(_));
                (self.done, self.returning, self.paused) = (begins.then_some(0), returning, false);
                self.failed = !begins;
            }
            Record::Steered { by, course } => {
                if let Some(by) = by {
                    self.names(by.id)?;
                }
                self.paused = matches!(course, Course::Paused(_));
                match course {
                    Course::Going | Course::Paused(_) | Course::Promoted => {}
                    Course::Returning(_) => self.returning = true,
                    Course::Kept => self.done = None,
                    Course::Returned(_) | Course::Stopped(_) | Course::Superseded { .. } => {
                        (self.done, self.failed) = (None, true);
                    }
                }
            }
            Record::Voted { txid, state, .. } => self.proposed = Some((*txid, state)),
            Record::Decided { txid, outcome: Outcome::Commit, .. } => return self.commits(*txid),
            Record::Decided { txid, reason: Some(reason), .. } => {
                let proposed = self.proposed.take_if(|(proposed, _)| proposed == txid);
                if proposed.is_none_or(|(_, state)| !self.changes_members(state)) {
                    self.fails(reason);
                } else if !reason.is_interruption() && !self.insists {
                    self.changing = None;
                }
            }
            Record::Changing { id, change } => {
                self.names(*id)?;
                (self.changing, self.insists) = (Some(*change), false);
            }
            Record::TakingOver { .. } | Record::Resolved { .. } => {}
            Record::Fleet { by, .. } => by.map_or(Ok(()), |by| self.names(by))?,
            Record::Recalled { fleet } => self.names(name_of_part(*fleet))?,
            Record::Installed { state } => self.served = Some(state),
            Record::Admitted { state, .. } => {
                // Whoever takes over dismisses whom it succeeds.
                let former = self.former.take().filter(|former| state.has(*former));
                self.changing = former.map(|member| Change::Dismiss { member, is_gone: true });
                self.insists = self.changing.is_some();
                self.served = Some(state);
            }
            Record::Decided { reason: None, .. }
            | Record::Snapshot(_) // says nothing new
            | Record::Epoch { .. }
            | Record::Refused { .. }
            | Record::Outdated
            | Record::Granted { .. } => {}
        }
        Ok(())
    }

    fn changes_members(&self, state: &RoutingState) -> bool {
        self.served.is_some_and(|served| served.members != state.members)
    }

    /// A rollout begins: one that was queued in its turn, and only if the one for which it waited has not failed.
    fn takes_its_turn(&mut self, rollout: &Rollout) -> Result<(), String> {
        let Some(place) = self.queued.iter().position(|queued| queued.id == rollout.id) else {
            return self.names(rollout.id);
        };
        let queued = self.queued.remove(place);
        let id = rollout.id;
        if place > 0 || queued.plan != rollout.plan {
            return Err(format!("{id} was queued, and begins out of its turn, or as another one"));
        }
        let begins = !matches!(rollout.course, Course::Stopped(_));
        if let Some(before) = queued.behind.filter(|_| begins && self.failed) {
            return Err(format!(
                "{id} begins, and was queued behind {before}: that, or what took its place, failed"
            ));
        }
        Ok(())
    }

    /// A request that is remembered is not taken again.
    fn names(&mut self, id: RequestId) -> Result<(), String> {
        if self.named.iter().rev().take(REMEMBERED_REQUESTS).any(|known| *known == id) {
            return Err(format!("{id} is accepted twice"));
        }
        self.named.push(id);
        Ok(())
    }

    /// A step is aborted: what comes of it was asked for with the rollout.
    fn fails(&mut self, reason: &AbortReason) {
        // A step that nobody has judged is tried again, and so is the way back.
        let is_judged = !reason.is_interruption() && !reason.is_lack_of_evidence();
        let is_its_own = is_judged && (!self.paused || reason.is_failed_gate());
        let Some(rollout) = self.rollout.filter(|_| !self.returning && is_its_own) else { return };
        let serves_canary = self.served.is_some_and(|served| served.canary_model_id.is_some());
        match rollout.plan.on_failure {
            OnFailure::Pause => self.paused = true,
            OnFailure::Return if serves_canary => self.returning = true,
            OnFailure::Return | OnFailure::Stop => (self.done, self.failed) = (None, true),
        }
    }

    fn commits(&mut self, of: Txid) -> Result<(), String> {
        let Some((_, state)) = self.proposed.take_if(|(txid, _)| *txid == of) else {
            return Err(format!("{of} commits, and was not proposed"));
        };
        let rollout = self.done.zip(self.rollout);
        let served = self.served;
        let (version, stable) = (served.map_or(0, |it| it.version), served.map(|it| &it.stable_model_id));
        let is_next = state.version == version + 1 && state.txid == Some(of);
        if let Some(served) = served.filter(|served| served.members != state.members) {
            let is_asked = |change: &Change| {
                let asked = served.next_members(change, &BTreeMap::new(), of);
                // Where they live may be said only now.
                asked.is_ok_and(|it| {
                    it.ids().eq(state.ids())
                        && RoutingState { members: state.members.clone(), ..it } == *state
                })
            };
            if !self.changing.take().as_ref().is_some_and(is_asked) {
                return Err(format!("{of} commits other members, and nobody asks for these"));
            }
            self.served = Some(state);
            return Ok(());
        }
        if let Some((_, rollout)) = rollout.filter(|_| self.returning) {
            let to = if rollout.steps.is_empty() { Some(rollout.model()) } else { stable };
            let is_back = state.canary_model_id.is_none() && to == Some(&state.stable_model_id);
            if !is_back || !is_next {
                return Err(format!("{of} commits {state}, and {} is on its way back", rollout.id));
            }
            self.served = Some(state);
            (self.done, self.returning, self.failed) = (None, false, true);
            return Ok(());
        }
        let step = rollout.and_then(|(done, rollout)| Some((rollout, rollout.steps.get(done)?)));
        let Some((rollout, step)) = step else {
            return Err(format!("{of} commits {state}, and no client asks for a step"));
        };
        let (model, plan) = (rollout.model(), &rollout.plan);
        let is_stable = state.stable_model_id == *model && state.canary_model_id.is_none();
        let is_asked = state.weights.of(model) == step.share_bp
            && is_stable == step.makes_stable
            && (step.makes_stable || stable.is_none_or(|stable| *stable == state.stable_model_id));
        let shares = rollout.steps.iter().map(|step| step.share_bp);
        let is_planned = shares.filter(|share| plan.steps_bp.contains(share)).count() == rollout.steps.len();
        if !is_asked || !is_planned || !is_next {
            let (id, share, next) = (rollout.id, f64::from(step.share_bp) / 100.0, version + 1);
            return Err(format!(
                "{of} commits {state}, and the next step of {id} is v{next} ({model} {share}%)"
            ));
        }
        self.served = Some(state);
        let is_last = |done: &usize| *done == rollout.steps.len();
        let stays_on_trial = rollout.gates.is_some() && !step.makes_stable;
        self.done = self.done.map(|done| done + 1).filter(|done| !is_last(done) || stays_on_trial);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::config::Config;
    use crate::rollout::message::{RolloutPlan, Step, StepResult};
    use crate::rollout::state::ModelId;

    fn rollout(sequence: u64, steps_bp: &[u32]) -> Record {
        let result = || StepResult::Pending;
        let step = |&share_bp: &u32| Step { share_bp, makes_stable: false, hold_ms: 0, result: result() };
        let steps = steps_bp.iter().map(step).collect();
        let (id, model) = (RequestId { client: 1, sequence }, ModelId::new("v2").expect("a name"));
        let plan = RolloutPlan::unguarded(model, steps_bp.to_vec(), 0);
        Record::Accepted(Rollout { id, plan, steps, gates: None, supersedes: None, course: Course::Going })
    }

    /// The proposals of these shares, one after the other, all committed.
    fn commits(shares_bp: &[u32]) -> Vec<Record> {
        let config = &Config::cluster(1)[0];
        let (mut state, model) = (
            RoutingState::initial(&config.initial_model, &config.members),
            ModelId::new("v2").expect("a name"),
        );
        let commit = |(number, &share_bp): (u32, &u32)| {
            let txid = Txid { generation: 1, epoch: 1, number };
            state = state.next(&model, share_bp, txid).expect("a step");
            let voted = Record::Voted { txid, state: state.clone(), members: Vec::new(), passed: None };
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

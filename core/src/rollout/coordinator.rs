//! The coordinator: proposes, counts votes, decides, announces until all have acknowledged (rules 1, 3, 4),
//! and walks a rollout through its steps.
//!
//! Its own vote is the proposal: one record. PREPARE leaves while that record is on its way to the disk; this
//! is safe because the txid's epoch is durable already, and a coordinator that forgets a proposal presumes
//! it aborted. So a client's step costs one round trip and two disk writes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::Config;
use super::healing::Healing;
use super::message::{
    AbortReason, Fact, Message, Outcome, Record, Reply, Rollout, Step, StepResult, Timer, Vote,
};
use super::mistake::Mistake;
use super::state::{ModelId, RoutingState, Txid};
use super::{Cx, RolloutNode, ignore};
use crate::node::{NodeId, RequestId};

/// The most steps a rollout may have.
pub const MAX_STEPS: usize = 100;

/// What the coordinator knows only while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Coordination {
    /// How many transactions this life has begun.
    begun: u32,
    /// Who has voted COMMIT for the transaction the coordinator is prepared for.
    votes: BTreeSet<NodeId>,
    /// The last decision, while somebody has not acknowledged it.
    announcement: Option<Announcement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Announcement {
    txid: Txid,
    version: u64,
    outcome: Outcome,
    waiting_for: BTreeSet<NodeId>,
}

impl Coordination {
    /// Whether every decision is known to have arrived.
    pub fn is_acknowledged(&self) -> bool {
        self.announcement.is_none()
    }
}

impl RolloutNode {
    /// A new life of the coordinator: counts it, aborts what was left undecided, tells everybody how the
    /// last transaction ended, goes on with the rollout.
    pub(super) fn resume_coordination(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let epoch = self.durable.epoch + 1;
        if !config.makes(Mistake::ReusesTxid) || epoch == 1 {
            self.append(Record::Epoch { epoch }, cx);
        }
        if let Some(prepared) = &self.durable.prepared {
            let (txid, version) = (prepared.txid, prepared.state.version);
            let presumed = if config.makes(Mistake::PresumesCommit) {
                Ok(())
            } else {
                Err(AbortReason::CoordinatorRestarted)
            };
            self.decide(config, txid, version, presumed, cx);
        } else {
            let committed = &self.durable.committed;
            if let Some(txid) = committed.txid.filter(|_| config.heals_by(Healing::Announcements)) {
                self.announce(config, txid, committed.version, Outcome::Commit, cx);
            }
            self.pause_or_begin(config, cx);
        }
    }

    pub(super) fn on_start_rollout(
        &mut self,
        config: &Config,
        id: RequestId,
        model: ModelId,
        steps_bp: &[u32],
        pause_ms: u64,
        cx: &mut Cx<'_>,
    ) {
        if !config.is_coordinator() {
            return cx.reply(id, Reply::NotCoordinator { coordinator: config.coordinator });
        }
        let known = self.durable.rollouts.iter().find(|rollout| rollout.id == id);
        if let Some(known) = known.filter(|_| !config.makes(Mistake::ForgetsRequests)) {
            let steps = known.steps.iter().map(|step| step.share_bp);
            let same = known.model == model && known.pause_ms == pause_ms;
            if same && steps.eq(steps_bp.iter().copied()) {
                return cx.reply(id, Reply::Accepted { id }); // a retry
            }
            return cx.reply(id, Reply::Invalid { why: format!("{id} is the name of another rollout") });
        }
        if let Some(waiting) = self.waiting(config) {
            return cx.reply(id, Reply::Joining(waiting));
        }
        if let Some(running) = self.durable.running() {
            return cx.reply(id, Reply::Busy { running: running.id });
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        if let Err(why) = check_steps(&self.durable.committed, &model, steps_bp) {
            return cx.reply(id, Reply::Invalid { why });
        }
        let step = |&share_bp| Step { share_bp, result: StepResult::Pending };
        let rollout = Rollout { id, model, pause_ms, steps: steps_bp.iter().map(step).collect() };
        self.append(Record::Accepted(rollout), cx);
        cx.observe(Fact::Accepted { id });
        self.publish(config, cx); // before the answer: who is answered reads its own write
        cx.reply(id, Reply::Accepted { id });
        self.begin(config, cx);
    }

    /// Before all transactions of this life, and after all of former lives.
    pub(super) fn beginning_of_this_life(&self) -> Txid {
        Txid { generation: self.durable.generation(), epoch: self.durable.epoch, number: 0 }
    }

    /// The last transaction that has begun.
    pub(super) fn last_begun(&self) -> Txid {
        Txid { number: self.coordination.begun, ..self.beginning_of_this_life() }
    }

    /// Begins the transaction of the next step, if there is one.
    pub(super) fn begin(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(rollout) = self.durable.running() else { return };
        let Some(share_bp) = rollout.next_step().map(|step| step.share_bp) else { return };
        let txid = Txid { number: self.coordination.begun + 1, ..self.last_begun() };
        let state = self.durable.committed.next(&rollout.model, share_bp, txid);
        let state = state.expect("the steps were checked when the rollout was accepted");
        self.coordination.begun = txid.number;

        if let Err(refusal) = self.judge(config, txid, &state, &config.members) {
            let reason = AbortReason::Refused { by: config.me, refusal };
            return self.decide(config, txid, state.version, Err(reason), cx);
        }
        let version = state.version;
        for to in config.others() {
            let (state, members) = (state.clone(), config.members.clone());
            cx.send(to, Message::PrepareReq { txid, state, members });
        }
        self.append(Record::Voted { txid, state, members: config.members.clone() }, cx);
        cx.observe(Fact::Voted { txid, version });
        self.publish(config, cx);
        self.coordination.votes = [config.me].into();
        cx.set_timer(Timer::Vote, Duration::from_millis(config.timeouts.vote_ms));
        cx.set_timer(Timer::Resend, Duration::from_millis(config.timeouts.resend_ms));
        self.decide_if_unanimous(config, cx);
    }

    pub(super) fn on_prepare_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        vote: Vote,
        cx: &mut Cx<'_>,
    ) {
        let is_counted = |voted: Txid| voted == txid || config.makes(Mistake::CountsAnyVote);
        let prepared = self.durable.prepared.as_ref().filter(|prepared| is_counted(prepared.txid));
        let Some(prepared) = prepared else {
            return; // a late copy, or of a former life
        };
        if !config.is_coordinator() {
            return ignore(from, "votes go to the coordinator", cx);
        }
        match vote {
            Vote::Commit => {
                self.coordination.votes.insert(from);
                self.decide_if_unanimous(config, cx);
            }
            Vote::Abort(refusal) => {
                let version = prepared.state.version;
                self.decide(config, txid, version, Err(AbortReason::Refused { by: from, refusal }), cx);
            }
        }
    }

    fn decide_if_unanimous(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(prepared) = &self.durable.prepared else { return };
        if prepared.members.iter().all(|member| self.coordination.votes.contains(member)) {
            let (txid, version) = (prepared.txid, prepared.state.version);
            self.decide(config, txid, version, Ok(()), cx);
        }
    }

    pub(super) fn on_vote_timeout(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(prepared) = &self.durable.prepared else { return };
        let voted = &self.coordination.votes;
        let missing = prepared.members.iter().copied().filter(|member| !voted.contains(member)).collect();
        let (txid, version) = (prepared.txid, prepared.state.version);
        self.decide(config, txid, version, Err(AbortReason::Timeout { missing }), cx);
    }

    /// A resolver announces how the transaction that this coordinator still collects votes for ended. It can
    /// only be ABORT: somebody has refused, and its vote will never come.
    pub(super) fn on_resolved(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        version: u64,
        outcome: Outcome,
        cx: &mut Cx<'_>,
    ) {
        match outcome {
            Outcome::Abort => {
                self.decide(config, txid, version, Err(AbortReason::Resolved { by: from }), cx);
            }
            Outcome::Commit => self.raise_alarm(config, from, version, cx),
        }
    }

    /// Makes the decision durable, tells everybody, and goes on with the rollout.
    fn decide(
        &mut self,
        config: &Config,
        txid: Txid,
        version: u64,
        decision: Result<(), AbortReason>,
        cx: &mut Cx<'_>,
    ) {
        let (outcome, reason) = match decision {
            Ok(()) => (Outcome::Commit, None),
            Err(reason) => (Outcome::Abort, Some(reason)),
        };
        self.append(Record::Decided { txid, outcome, reason: reason.clone() }, cx);
        match outcome {
            Outcome::Commit => self.observe_committed(txid, cx),
            Outcome::Abort => cx.observe(Fact::Aborted { txid, reason }),
        }
        self.coordination.votes.clear();
        cx.cancel_timer(Timer::Vote);
        self.publish(config, cx);
        self.announce(config, txid, version, outcome, cx);
        self.pause_or_begin(config, cx);
    }

    /// Goes on with the rollout under way: watches the last step for its pause, if there was one.
    fn pause_or_begin(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let running = self.durable.running();
        let watched = |rollout: &&Rollout| {
            rollout.pause_ms > 0 && matches!(rollout.steps[0].result, StepResult::Committed { .. })
        };
        if let Some(rollout) = running.filter(watched) {
            cx.set_timer(Timer::Step, Duration::from_millis(rollout.pause_ms));
        } else {
            self.begin(config, cx);
        }
    }

    fn announce(&mut self, config: &Config, txid: Txid, version: u64, outcome: Outcome, cx: &mut Cx<'_>) {
        let waiting_for: BTreeSet<_> = config.others().collect();
        if waiting_for.is_empty() {
            return;
        }
        for &to in &waiting_for {
            cx.send(to, Message::Decision { txid, version, outcome });
        }
        self.coordination.announcement = Some(Announcement { txid, version, outcome, waiting_for });
        cx.set_timer(Timer::Resend, Duration::from_millis(config.timeouts.resend_ms));
    }

    pub(super) fn on_decision_ack(&mut self, from: NodeId, txid: Txid, cx: &mut Cx<'_>) {
        let announcement = &mut self.coordination.announcement;
        let Some(announced) = announcement.as_mut().filter(|announced| announced.txid == txid) else {
            return; // a late copy, or of a former life
        };
        announced.waiting_for.remove(&from);
        if announced.waiting_for.is_empty() {
            *announcement = None;
            if self.durable.prepared.is_none() {
                cx.cancel_timer(Timer::Resend);
            }
        }
    }

    /// Sends again what was not answered: the decision to who has not acknowledged it, the proposal to who
    /// has not voted.
    pub(super) fn on_resend(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if !config.heals_by(Healing::Resends) {
            return;
        }
        if let Some(announced) = &self.coordination.announcement {
            let Announcement { txid, version, outcome, .. } = *announced;
            for &to in &announced.waiting_for {
                cx.send(to, Message::Decision { txid, version, outcome });
            }
        }
        if let Some(prepared) = &self.durable.prepared {
            for &to in prepared.members.iter().filter(|to| !self.coordination.votes.contains(to)) {
                let (state, members) = (prepared.state.clone(), prepared.members.clone());
                cx.send(to, Message::PrepareReq { txid: prepared.txid, state, members });
            }
        }
        if self.coordination.announcement.is_some() || self.durable.prepared.is_some() {
            cx.set_timer(Timer::Resend, Duration::from_millis(config.timeouts.resend_ms));
        }
    }
}

/// Whether a rollout's steps can all be taken from the committed state; `Err` says why not.
fn check_steps(committed: &RoutingState, model: &ModelId, steps_bp: &[u32]) -> Result<(), String> {
    if steps_bp.is_empty() || steps_bp.len() > MAX_STEPS {
        return Err(format!("{} steps: there must be 1 to {MAX_STEPS}", steps_bp.len()));
    }
    if !steps_bp.is_sorted_by(|a, b| a < b) {
        return Err("steps must rise strictly".into());
    }
    // The whole share makes the model stable, so it is only possible as the last step; rising shares see to
    // that. All others depend on nothing but the stable model.
    let possible = |&share_bp: &u32| committed.next(model, share_bp, Txid::default()).map(|_| ());
    steps_bp.iter().try_for_each(possible).map_err(|why| why.to_string())
}

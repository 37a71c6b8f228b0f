//! The coordinator: proposes, counts votes, decides, announces until all have acknowledged (rules 1, 3, 4). What it
//! proposes next, and when, is in [`course`](super::course).
//!
//! Its own vote is the proposal: one record. PREPARE leaves while that record is on its way to the disk; this
//! is safe because the txid's epoch is durable already, and a coordinator that forgets a proposal presumes
//! it aborted. So a client's step costs one round trip and two disk writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::config::Config;
use super::durable::Record;
use super::fleet::{Led, Standing};
use super::gates::Gates;
use super::healing::Healing;
use super::message::{AbortReason, Course, Fact, Message, Outcome, Refusal, Timer, Vote};
use super::mistake::Mistake;
use super::participant::observe_vote;
use super::state::{RoutingState, Txid};
use super::{Cx, RolloutNode, ignore};
use crate::node::NodeId;

/// What the coordinator knows only while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Coordination {
    /// How many transactions this life has begun.
    pub(super) begun: u32,
    /// Whether the hold of the last step is over, so that only evidence is waited for.
    pub(super) hold_is_over: bool,
    /// Who has voted COMMIT for the transaction the coordinator is prepared for.
    votes: BTreeSet<NodeId>,
    /// The last decision, while somebody has not acknowledged it.
    announcement: Option<Announcement>,
    /// What the regions said last of the rollout over all of them, by their names.
    pub(super) regions: BTreeMap<String, Standing>,
    /// What this region is doing for such a rollout.
    pub(super) led: Option<Led>,
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
        self.ask_regions(config, false, cx);
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
                let everybody = self.others().collect();
                self.announce(config, (txid, committed.version, Outcome::Commit), everybody, cx);
            }
            self.go_on(config, cx);
        }
    }

    /// Before all transactions of this life, and after all of former lives.
    pub(super) fn beginning_of_this_life(&self) -> Txid {
        Txid { generation: self.durable.generation(), epoch: self.durable.epoch, number: 0 }
    }

    /// The last transaction that has begun.
    pub(super) fn last_begun(&self) -> Txid {
        Txid { number: self.coordination.begun, ..self.beginning_of_this_life() }
    }

    /// The transaction that is to begin next.
    pub(super) fn next_txid(&self) -> Txid {
        Txid { number: self.coordination.begun + 1, ..self.last_begun() }
    }

    /// Begins a transaction.
    pub(super) fn propose(
        &mut self,
        config: &Config,
        state: RoutingState,
        members: Vec<NodeId>,
        gates: Option<Gates>,
        cx: &mut Cx<'_>,
    ) {
        let txid = state.txid.expect("it is proposed by a transaction");
        self.coordination.begun = txid.number;
        let passed = match self.judge(config, txid, &state, &members, gates.as_ref()) {
            Ok(passed) => passed,
            Err(refusal) => {
                let reason = AbortReason::Refused { by: config.me, refusal };
                return self.decide(config, txid, state.version, Err(reason), cx);
            }
        };
        let version = state.version;
        for &to in members.iter().filter(|to| **to != config.me) {
            let (state, members, gates) = (state.clone(), members.clone(), gates.clone());
            self.tell(cx, to, Message::PrepareReq { txid, state, members, gates });
        }
        self.append(Record::Voted { txid, state, members, passed: passed.clone() }, cx);
        observe_vote(txid, version, passed, cx);
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
        if !self.is_coordinator() {
            return ignore(from, "votes go to the coordinator", cx);
        }
        match vote {
            Vote::Commit => {
                self.coordination.votes.insert(from);
                self.decide_if_unanimous(config, cx);
            }
            Vote::Abort(refusal) => {
                let version = prepared.state.version;
                self.decide(config, txid, version, Err(self.reason_of(from, txid, refusal)), cx);
            }
        }
    }

    /// Why a refusal aborts. Who refuses because of a later transaction than this coordinator has begun may be brought to vote
    /// again: by one that is later still.
    fn reason_of(&self, by: NodeId, txid: Txid, refusal: Refusal) -> AbortReason {
        if let Refusal::Stale { floor } = refusal
            && floor > txid
            && txid.may_hear_of(floor)
            && floor.epoch < u32::MAX
        {
            return AbortReason::Outrun { by, floor };
        }
        AbortReason::Refused { by, refusal }
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
    pub(super) fn decide(
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
        if let Some(AbortReason::Outrun { floor, .. }) = reason {
            self.append(Record::Epoch { epoch: floor.epoch + 1 }, cx);
            self.coordination.begun = 0;
        }
        let is_ordered = reason == Some(AbortReason::Ordered);
        let lacks_evidence = reason.as_ref().is_some_and(AbortReason::is_lack_of_evidence);
        let was_returning = self.is_returning();
        let voters = self.durable.prepared.as_ref().map(|prepared| prepared.members.clone());
        let told = voters.map_or_else(|| self.others().collect(), BTreeSet::from_iter);
        self.append(Record::Decided { txid, outcome, reason: reason.clone() }, cx);
        match outcome {
            Outcome::Commit => {
                self.meet_members(config, &self.durable.committed, cx);
                self.observe_committed(txid, cx);
            }
            Outcome::Abort => cx.observe(Fact::Aborted { txid, reason }),
        }
        self.coordination.votes.clear();
        cx.cancel_timer(Timer::Vote);
        self.publish(config, cx);
        self.announce(config, (txid, version, outcome), told, cx);
        let insists = self.durable.changing().is_some_and(|changing| changing.is_insisted_on);
        if (was_returning || insists) && outcome == Outcome::Abort && !is_ordered {
            // This is tried until it is done: at once would be without end.
            cx.set_timer(Timer::Step, Duration::from_millis(config.timeouts.resend_ms));
        } else if lacks_evidence {
            self.hold_anew(config, cx);
        } else {
            self.go_on(config, cx);
        }
    }

    /// Whether the rollout under way is on its way back.
    pub(super) fn is_returning(&self) -> bool {
        self.durable.running().is_some_and(|running| matches!(running.course, Course::Returning(_)))
    }

    fn announce(
        &mut self,
        config: &Config,
        (txid, version, outcome): (Txid, u64, Outcome),
        mut waiting_for: BTreeSet<NodeId>,
        cx: &mut Cx<'_>,
    ) {
        waiting_for.remove(&config.me);
        for &to in &waiting_for {
            self.tell(cx, to, Message::Decision { txid, version, outcome });
        }
        // Who is dismissed by it may have left before it hears of it, and owes no answer.
        waiting_for.retain(|member| self.durable.committed.has(*member));
        if waiting_for.is_empty() {
            self.coordination.announcement = None;
            return;
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
                self.tell(cx, to, Message::Decision { txid, version, outcome });
            }
        }
        if let Some(prepared) = &self.durable.prepared {
            for &to in prepared.members.iter().filter(|to| !self.coordination.votes.contains(to)) {
                let (state, members) = (prepared.state.clone(), prepared.members.clone());
                let gates = prepared.passed.as_ref().map(|passed| passed.gates.clone());
                self.tell(cx, to, Message::PrepareReq { txid: prepared.txid, state, members, gates });
            }
        }
        if self.coordination.announcement.is_some() || self.durable.prepared.is_some() {
            cx.set_timer(Timer::Resend, Duration::from_millis(config.timeouts.resend_ms));
        }
    }
}

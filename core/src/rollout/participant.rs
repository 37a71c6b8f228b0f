//! The participant: votes, and learns how it ended (rules 2 and 7).

use super::config::{Config, jittered};
use super::durable::{Prepared, Record};
use super::gates::Gates;
use super::healing::Healing;
use super::health::Evidence;
use super::judge::verdict;
use super::message::{Fact, Message, Outcome, Passed, Refusal, Timer, Vote};
use super::mistake::Mistake;
use super::state::{RoutingState, Txid};
use super::{Cx, RolloutNode, ignore};
use crate::node::NodeId;

impl RolloutNode {
    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    pub(super) fn on_prepare_req(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        state: RoutingState,
        members: Vec<NodeId>,
        gates: Option<&Gates>,
        cx: &mut Cx<'_>,
    ) {
        if from != self.coordinator() {
            return ignore(from, "only the coordinator proposes", cx);
        }
        if self.durable.prepared_txid() == Some(txid) {
            return self.tell(cx, from, Message::PrepareResp { txid, vote: Vote::Commit });
        }
        if self.durable.committed.txid == Some(txid) {
            return self.tell(cx, from, Message::DecisionAck { txid }); // a late copy
        }
        if state.txid != Some(txid) || !state.is_consistent() {
            return ignore(from, "its proposal contradicts itself", cx);
        }
        if !self.durable.floor.may_hear_of(txid) {
            return ignore(from, "no history leads to its transaction", cx);
        }
        self.learn_from_proposal(config, txid, state.version, cx);
        match self.judge(config, txid, &state, &members, gates) {
            Ok(passed) => {
                self.vote_commit(config, Prepared { txid, state, members, passed }, cx);
            }
            Err(refusal) => {
                self.refuse(txid, refusal.clone(), cx);
                self.tell(cx, from, Message::PrepareResp { txid, vote: Vote::Abort(refusal) });
            }
        }
    }

    /// A later proposal says how the transaction this node is in doubt about ended (rule 9).
    fn learn_from_proposal(&mut self, config: &Config, txid: Txid, version: u64, cx: &mut Cx<'_>) {
        let is_earlier = |prepared: &&Prepared| prepared.txid < txid && config.heals_by(Healing::Proposals);
        let Some(prepared) = self.durable.prepared.as_ref().filter(is_earlier) else {
            return;
        };
        let (earlier, proposed) = (prepared.txid, prepared.state.version);
        if version == proposed {
            self.conclude(config, earlier, Outcome::Abort, cx);
        } else if Some(version) == proposed.checked_add(1) {
            self.conclude(config, earlier, Outcome::Commit, cx);
        }
    }

    /// Whether this node may vote COMMIT (rule 2), and by what evidence, if gates are asked.
    pub(super) fn judge(
        &self,
        config: &Config,
        txid: Txid,
        state: &RoutingState,
        members: &[NodeId],
        gates: Option<&Gates>,
    ) -> Result<Option<Passed>, Refusal> {
        let durable = &self.durable;
        if durable.has_forgotten(txid) {
            return Err(Refusal::Rejoined);
        }
        let is_again = config.makes(Mistake::ReusesTxid) && self.is_coordinator() && txid == durable.floor;
        if txid <= durable.floor && !is_again {
            return Err(Refusal::Stale { floor: durable.floor });
        }
        if !durable.committed.is_voted_on_by(members, state) || !members.contains(&config.me) {
            return Err(Refusal::Members);
        }
        if self.split_brain {
            return Err(Refusal::SplitBrain);
        }
        if let Some(txid) = durable.prepared_txid() {
            return Err(Refusal::Busy { txid });
        }
        let (proposed, committed) = (state.version, durable.committed.version);
        if Some(proposed) != committed.checked_add(1) {
            return Err(Refusal::VersionNotNext { proposed, committed });
        }
        let Some(gates) = gates else { return Ok(None) };
        let evidence = self.evidence.get(&config.me);
        verdict(config, gates, &durable.committed, evidence).refusal().map_or(Ok(()), Err)?;
        let passed = |evidence: &Evidence| Passed { gates: gates.clone(), health: evidence.health.clone() };
        Ok(evidence.map(passed))
    }

    fn vote_commit(&mut self, config: &Config, vote: Prepared, cx: &mut Cx<'_>) {
        let Prepared { txid, state, members, passed } = vote;
        let version = state.version;
        let record = Record::Voted { txid, state, members, passed: passed.clone() };
        if config.makes(Mistake::ForgetsVote) {
            self.durable.apply(&record);
        } else {
            self.append(record, cx);
        }
        observe_vote(txid, version, passed, cx);
        self.tell(cx, self.coordinator(), Message::PrepareResp { txid, vote: Vote::Commit });
        cx.set_timer(Timer::Inquire, jittered(config.timeouts.inquire_ms));
        self.publish(config, cx);
    }

    /// Promises, durably, never to vote for `txid` or an earlier transaction, unless it has already.
    pub(super) fn refuse(&mut self, txid: Txid, refusal: Refusal, cx: &mut Cx<'_>) {
        if txid > self.durable.floor {
            self.append(Record::Refused { txid }, cx);
            cx.observe(Fact::Refused { txid, refusal });
        }
    }

    pub(super) fn on_decision(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        version: u64,
        outcome: Outcome,
        cx: &mut Cx<'_>,
    ) {
        if self.durable.prepared_txid() == Some(txid) {
            if self.is_coordinator() {
                return self.on_resolved(config, from, txid, version, outcome, cx);
            }
            self.conclude(config, txid, outcome, cx);
            return self.tell(cx, from, Message::DecisionAck { txid });
        }
        if self.is_coordinator() {
            return; // a late copy of what a resolver said, or nonsense: here decisions are made
        }
        let committed = &self.durable.committed;
        let contradicts = match outcome {
            Outcome::Commit => committed.version == version && committed.txid != Some(txid),
            Outcome::Abort => committed.txid == Some(txid),
        };
        if contradicts {
            return self.raise_alarm(config, from, version, cx);
        }
        match outcome {
            // This node is behind and has not voted (it caught up past a vote, and its disk was lost
            // since): the sender is told, and answers with the state.
            Outcome::Commit if committed.version < version => self.tell(cx, from, self.heartbeat(config)),
            Outcome::Commit => self.tell(cx, from, Message::DecisionAck { txid }),
            Outcome::Abort => {
                if !self.durable.floor.may_hear_of(txid) {
                    return ignore(from, "no history leads to its transaction", cx);
                }
                if txid > self.durable.floor {
                    self.append(Record::Refused { txid }, cx); // the PREPARE may still be under way
                }
                self.tell(cx, from, Message::DecisionAck { txid });
            }
        }
    }

    /// A participant learns how the transaction it is in doubt about ended.
    pub(super) fn conclude(&mut self, config: &Config, txid: Txid, outcome: Outcome, cx: &mut Cx<'_>) {
        self.append(Record::Decided { txid, outcome, reason: None }, cx);
        self.has_concluded(config, txid, outcome, cx);
    }

    pub(super) fn has_concluded(&mut self, config: &Config, txid: Txid, outcome: Outcome, cx: &mut Cx<'_>) {
        match outcome {
            Outcome::Commit => {
                self.meet_members(config, &self.durable.committed, cx);
                self.observe_committed(txid, cx);
            }
            Outcome::Abort => cx.observe(Fact::Aborted { txid, reason: None }),
        }
        self.leave_doubt(cx);
        if self.durable.admitted.is_none() {
            self.is_dismissed(config, cx);
        }
        self.publish(config, cx);
    }

    pub(super) fn leave_doubt(&mut self, cx: &mut Cx<'_>) {
        if self.durable.prepared.is_none() {
            self.inquiry = None;
            cx.cancel_timer(Timer::Inquire);
        }
    }
}

/// Says that this node has voted, and by what evidence.
pub(super) fn observe_vote(txid: Txid, version: u64, passed: Option<Passed>, cx: &mut Cx<'_>) {
    cx.observe(Fact::Voted { txid, version });
    if let Some(passed) = passed {
        cx.observe(Fact::Passed { txid, passed });
    }
}

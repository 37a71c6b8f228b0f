//! In doubt: asking, answering, resolving (rules 4 to 6). This is the part of two-phase commit that is
//! usually wrong.
//!
//! A round is one question to everybody. The first round only asks. From the second on, a node that heard no
//! higher node in doubt, and no coordinator that is still collecting votes, asks as the *resolver*. To be
//! asked by a resolver is a write: who has not voted refuses first. The wrong resolver merely asks too much;
//! no rule of safety rests on there being one.

use super::config::{Config, jittered};
use super::durable::{Prepared, Record};
use super::healing::Healing;
use super::message::{Answer, Fact, Message, Outcome, Refusal, Reply, Request, Timer};
use super::mistake::Mistake;
use super::state::Txid;
use super::{Cx, RolloutNode, SILENCE};
use crate::node::{NodeId, RequestId};

/// The round that is under way at a node in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inquiry {
    /// This node asks as the resolver.
    resolving: bool,
    /// Somebody else will bring the answer: a higher node in doubt, or the coordinator.
    deferred: bool,
}

impl RolloutNode {
    /// In doubt for too long, or since the restart: asks everybody.
    pub(super) fn on_inquire(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(txid) = self.durable.prepared_txid().filter(|_| !self.is_coordinator()) else { return };
        let alone = self.inquiry == Some(Inquiry { resolving: true, deferred: false });
        if alone && config.makes(Mistake::ResolverGuesses) {
            return self.conclude_and_announce(config, txid, Outcome::Abort, cx);
        }
        self.ask(config, cx);
    }

    /// Begins a round.
    pub(super) fn ask(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let prepared = self.durable.prepared.as_ref().filter(|_| config.heals_by(Healing::Questions));
        let Some(prepared) = prepared else { return };
        let (txid, version) = (prepared.txid, prepared.state.version);
        let resolving = self.inquiry.is_some_and(|last| !last.deferred);
        self.inquiry = Some(Inquiry { resolving, deferred: false });
        cx.observe(Fact::InDoubt { txid, resolver: resolving });
        let everybody = config.makes(Mistake::AsksTheDismissed).then(|| self.others().collect());
        let asked: Vec<_> = everybody.unwrap_or_else(|| prepared.members.clone());
        for to in asked.into_iter().filter(|to| *to != config.me) {
            self.tell(cx, to, Message::DecisionReq { txid, version, resolve: resolving });
        }
        cx.set_timer(Timer::Inquire, jittered(config.timeouts.inquire_ms));
    }

    pub(super) fn on_decision_req(
        &mut self,
        from: NodeId,
        txid: Txid,
        version: u64,
        resolve: bool,
        cx: &mut Cx<'_>,
    ) {
        let committed = &self.durable.committed;
        if committed.version > version {
            let state = committed.clone();
            return self.tell(cx, from, Message::StateSync { state }); // it is far behind: its doubt is history
        }
        // What a lost disk of this coordinator may have decided it cannot presume anything about (rule 10).
        let presumed_aborted = self.is_coordinator()
            && txid < self.beginning_of_this_life()
            && !self.durable.has_forgotten(txid);
        let answer = if committed.version == version {
            if committed.txid == Some(txid) { Answer::Committed } else { Answer::Aborted }
        } else if self.durable.prepared_txid() == Some(txid) {
            if self.is_coordinator() { Answer::Unknown } else { Answer::Uncertain }
        } else if presumed_aborted {
            cx.observe(Fact::PresumedAborted { txid });
            Answer::Aborted
        } else if self.durable.has_forgotten(txid) {
            Answer::Unknown
        } else if txid <= self.durable.floor {
            Answer::Aborted
        } else if resolve && !self.is_coordinator() && self.durable.floor.may_hear_of(txid) {
            self.refuse(txid, Refusal::Resolved { by: from }, cx);
            Answer::Aborted
        } else {
            Answer::Unknown
        };
        self.tell(cx, from, Message::DecisionResp { txid, answer });
    }

    pub(super) fn on_decision_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        answer: Answer,
        cx: &mut Cx<'_>,
    ) {
        let prepared = self.durable.prepared.as_ref().filter(|prepared| prepared.txid == txid);
        let has_vote =
            |prepared: &Prepared| prepared.members.contains(&from) || config.makes(Mistake::AsksTheDismissed);
        // Otherwise the doubt is over; and who has no vote can refuse nothing.
        if self.is_coordinator() || prepared.is_none_or(|prepared| !has_vote(prepared)) {
            return;
        }
        match answer {
            Answer::Committed => self.conclude_and_announce(config, txid, Outcome::Commit, cx),
            Answer::Aborted => self.conclude_and_announce(config, txid, Outcome::Abort, cx),
            Answer::Uncertain if from > config.me => self.defer(),
            Answer::Unknown if from == self.coordinator() => self.defer(),
            Answer::Uncertain | Answer::Unknown => {}
        }
    }

    /// Leaves this round's resolving to somebody else.
    fn defer(&mut self) {
        if let Some(inquiry) = &mut self.inquiry {
            inquiry.deferred = true;
        }
    }

    /// Concludes and, as the resolver, tells the others.
    fn conclude_and_announce(&mut self, config: &Config, txid: Txid, outcome: Outcome, cx: &mut Cx<'_>) {
        let resolving = self.inquiry.is_some_and(|inquiry| inquiry.resolving);
        let Some(prepared) = self.durable.prepared.clone() else { return };
        self.conclude(config, txid, outcome, cx);
        if resolving {
            self.announce_as_resolver(config, &prepared, outcome, cx);
        }
    }

    fn announce_as_resolver(&self, config: &Config, ended: &Prepared, outcome: Outcome, cx: &mut Cx<'_>) {
        let (txid, version) = (ended.txid, ended.state.version);
        for &to in ended.members.iter().filter(|to| **to != config.me) {
            self.tell(cx, to, Message::Decision { txid, version, outcome });
        }
    }

    /// An operator says how it ended. Only where the protocol cannot decide by itself: the coordinator, which could, is
    /// silent, and nobody who could be reached knows.
    pub(super) fn on_resolve(
        &mut self,
        config: &Config,
        id: RequestId,
        txid: Txid,
        outcome: Outcome,
        cx: &mut Cx<'_>,
    ) {
        if let Some(answer) = self.known(config, id, &Request::Resolve { txid, outcome }) {
            return cx.reply(id, answer);
        }
        let Some(prepared) = self.durable.prepared.clone().filter(|prepared| prepared.txid == txid) else {
            return cx.reply(id, Reply::Unfit { why: format!("this node is not in doubt about {txid}") });
        };
        let decides = || self.is_coordinator().then(|| "this node decides".into());
        if let Some(why) = decides().or_else(|| self.why_not_gone()).or_else(|| self.why_not_stuck()) {
            return cx.reply(id, Reply::Unfit { why });
        }
        self.append(Record::Resolved { id, txid, outcome }, cx);
        cx.observe(Fact::Resolved { txid, outcome, by: id });
        self.has_concluded(config, txid, outcome, cx);
        self.announce_as_resolver(config, &prepared, outcome, cx);
        cx.reply(id, Reply::Resolved { txid });
        self.admit_if_granted(config, cx);
    }

    /// Whoever knows answers at once; so who has asked, and is still in doubt, cannot be told.
    fn why_not_stuck(&self) -> Option<String> {
        let has_asked = self.inquiry.is_some();
        (!has_asked).then(|| "it has not asked the others yet: wait for its first question".into())
    }

    /// Why an operator's word is not taken for it that the coordinator is gone; none: it is.
    pub(super) fn why_not_gone(&self) -> Option<String> {
        let coordinator = self.coordinator();
        (!self.hears_nothing)
            .then(|| format!("{coordinator}, the coordinator, has not been silent for {SILENCE} heartbeats"))
    }
}

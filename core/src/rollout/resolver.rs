//! In doubt: asking, answering, resolving (rules 4 to 6). This is the part of two-phase commit that is
//! usually wrong.
//!
//! A round is one question to everybody. The first round only asks. From the second on, a node that heard no
//! higher node in doubt, and no coordinator that is still collecting votes, asks as the *resolver*. To be
//! asked by a resolver is a write: who has not voted refuses first. The wrong resolver merely asks too much;
//! no rule of safety rests on there being one.

use super::config::{Config, jittered};
use super::healing::Healing;
use super::message::{Answer, Fact, Message, Outcome, Refusal, Timer};
use super::mistake::Mistake;
use super::state::Txid;
use super::{Cx, RolloutNode};
use crate::node::NodeId;

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
        let Some(txid) = self.durable.prepared_txid().filter(|_| !config.is_coordinator()) else { return };
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
        for to in config.others() {
            cx.send(to, Message::DecisionReq { txid, version, resolve: resolving });
        }
        cx.set_timer(Timer::Inquire, jittered(config.timeouts.inquire_ms));
    }

    pub(super) fn on_decision_req(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        version: u64,
        resolve: bool,
        cx: &mut Cx<'_>,
    ) {
        let committed = &self.durable.committed;
        if committed.version > version {
            let state = committed.clone();
            return cx.send(from, Message::StateSync { state }); // it is far behind: its doubt is history
        }
        // What a lost disk of this coordinator may have decided it cannot presume anything about (rule 10).
        let presumed_aborted = config.is_coordinator()
            && txid < self.beginning_of_this_life()
            && !self.durable.has_forgotten(txid);
        let answer = if committed.version == version {
            if committed.txid == Some(txid) { Answer::Committed } else { Answer::Aborted }
        } else if self.durable.prepared_txid() == Some(txid) {
            if config.is_coordinator() { Answer::Unknown } else { Answer::Uncertain }
        } else if presumed_aborted {
            cx.observe(Fact::PresumedAborted { txid });
            Answer::Aborted
        } else if self.durable.has_forgotten(txid) {
            Answer::Unknown
        } else if txid <= self.durable.floor {
            Answer::Aborted
        } else if resolve && !config.is_coordinator() {
            self.refuse(txid, Refusal::Resolved { by: from }, cx);
            Answer::Aborted
        } else {
            Answer::Unknown
        };
        cx.send(from, Message::DecisionResp { txid, answer });
    }

    pub(super) fn on_decision_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        txid: Txid,
        answer: Answer,
        cx: &mut Cx<'_>,
    ) {
        if self.durable.prepared_txid() != Some(txid) || config.is_coordinator() {
            return; // the doubt is over
        }
        match answer {
            Answer::Committed => self.conclude_and_announce(config, txid, Outcome::Commit, cx),
            Answer::Aborted => self.conclude_and_announce(config, txid, Outcome::Abort, cx),
            Answer::Uncertain if from > config.me => self.defer(),
            Answer::Unknown if from == config.coordinator => self.defer(),
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
        let version = self.durable.prepared.as_ref().map_or(0, |prepared| prepared.state.version);
        self.conclude(config, txid, outcome, cx);
        if resolving {
            for to in config.others() {
                cx.send(to, Message::Decision { txid, version, outcome });
            }
        }
    }
}

//! A register that is written once, by Paxos (Lamport, *The Part-Time Parliament*, TOCS 1998; *Paxos Made
//! Simple*, 2001): every server leads ballots of its own, accepts those of others, and learns what was
//! decided. A server that has heard of no decision does not answer a `Get`.
//!
//! Nothing is written to a disk: within a budget of crashes a server forgets its promises, and the checker
//! shows what comes of that.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;
use super::{Config, Member, Message, Server, Value};
use crate::node::{Context, NodeId};

/// A ballot: a count, and whose it is if two counted the same.
pub type Ballot = (u64, NodeId);

/// What a ballot is about: a client's request with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Proposal {
    /// The request's number.
    pub number: u64,
    /// Whom to answer.
    pub client: NodeId,
    /// What is to be written.
    pub value: Value,
}

/// What servers tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Internal {
    /// Phase 1a: promise to take part in nothing older, and say what you have accepted.
    Prepare(Ballot),
    /// Phase 1b: promised.
    Prepared(Ballot, Option<(Ballot, Proposal)>),
    /// Phase 2a: accept this.
    Accept(Ballot, Proposal),
    /// Phase 2b: accepted.
    Accepted(Ballot),
    /// A majority has accepted this.
    Decided(Ballot, Proposal),
}

/// A server: leader, acceptor and learner in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Paxos {
    /// The newest ballot it has heard of; as an acceptor it takes part in nothing older.
    ballot: Ballot,
    /// As a leader: what it proposes.
    proposal: Option<Proposal>,
    /// As a leader: what those who promised have accepted before.
    promises: BTreeMap<NodeId, Option<(Ballot, Proposal)>>,
    /// As a leader: who has accepted.
    accepts: BTreeSet<NodeId>,
    /// As an acceptor: what it has accepted last.
    accepted: Option<(Ballot, Proposal)>,
    /// As a learner: what it has accepted last is decided.
    decided: bool,
}

type Cx<'c> = Context<'c, Member<Paxos>>;

impl Server for Paxos {
    type Message = Internal;

    const MISTAKES: &[Mistake] = &[Mistake::IgnoresAccepted];

    fn start(_: &Config) -> Self {
        Self {
            ballot: (0, NodeId(0)),
            proposal: None,
            promises: BTreeMap::new(),
            accepts: BTreeSet::new(),
            accepted: None,
            decided: false,
        }
    }

    fn on(&mut self, config: &Config, from: NodeId, message: Message<Internal>, cx: &mut Cx<'_>) {
        match message {
            Message::Get(number) if self.decided => {
                if let Some((_, proposal)) = self.accepted {
                    cx.send(from, Message::GetOk(number, proposal.value));
                }
            }
            _ if self.decided => {}
            Message::Put(number, value) => {
                if self.proposal.is_none() {
                    self.prepare(config, Proposal { number, client: from, value }, cx);
                }
            }
            Message::Internal(Internal::Prepare(ballot)) => {
                if self.ballot < ballot {
                    self.ballot = ballot;
                    cx.send(from, Message::Internal(Internal::Prepared(ballot, self.accepted)));
                }
            }
            Message::Internal(Internal::Prepared(ballot, accepted)) => {
                if self.ballot == ballot {
                    self.on_promise(config, from, accepted, cx);
                }
            }
            Message::Internal(Internal::Accept(ballot, proposal)) => {
                if self.ballot <= ballot {
                    self.ballot = ballot;
                    self.accepted = Some((ballot, proposal));
                    cx.send(from, Message::Internal(Internal::Accepted(ballot)));
                }
            }
            Message::Internal(Internal::Accepted(ballot)) => {
                if self.ballot == ballot {
                    self.on_accepted(config, from, cx);
                }
            }
            Message::Internal(Internal::Decided(ballot, proposal)) => {
                self.ballot = ballot;
                self.accepted = Some((ballot, proposal));
                self.decided = true;
            }
            Message::Get(_) | Message::PutOk(_) | Message::GetOk(..) => {}
        }
    }
}

impl Paxos {
    /// Phase 1a, and the own promise.
    fn prepare(&mut self, config: &Config, proposal: Proposal, cx: &mut Cx<'_>) {
        self.proposal = Some(proposal);
        self.ballot = (self.ballot.0 + 1, config.me);
        self.promises = BTreeMap::from([(config.me, self.accepted)]);
        self.accepts.clear();
        for peer in config.peers() {
            cx.send(peer, Message::Internal(Internal::Prepare(self.ballot)));
        }
    }

    /// With a majority of promises: phase 2a, for what was accepted in the newest ballot if anything was.
    fn on_promise(
        &mut self,
        config: &Config,
        from: NodeId,
        accepted: Option<(Ballot, Proposal)>,
        cx: &mut Cx<'_>,
    ) {
        self.promises.insert(from, accepted);
        if self.promises.len() != config.majority() {
            return;
        }
        let newest = self.promises.values().copied().max().flatten();
        let newest = newest.filter(|_| !config.makes(Mistake::IgnoresAccepted));
        let Some(proposal) = newest.map(|(_, proposal)| proposal).or(self.proposal) else { return };
        self.proposal = Some(proposal);
        self.accepted = Some((self.ballot, proposal));
        self.accepts.insert(config.me);
        for peer in config.peers() {
            cx.send(peer, Message::Internal(Internal::Accept(self.ballot, proposal)));
        }
    }

    fn on_accepted(&mut self, config: &Config, from: NodeId, cx: &mut Cx<'_>) {
        self.accepts.insert(from);
        if self.accepts.len() != config.majority() {
            return;
        }
        let Some(proposal) = self.proposal else { return };
        self.decided = true;
        for peer in config.peers() {
            cx.send(peer, Message::Internal(Internal::Decided(self.ballot, proposal)));
        }
        cx.send(proposal.client, Message::PutOk(proposal.number));
    }
}

//! The canary rollout: a cluster changes the weights of the models it serves on all nodes or on none, by
//! two-phase commit with presumed abort (Mohan, Lindsay, Obermarck, *Transaction Management in the R\*
//! Distributed Database Management System*, TODS 1986, §3), and always knows what it committed.
//!
//! # The rules
//!
//! One node, the **coordinator**, is given by the configuration. It runs one transaction at a time and is a
//! participant too. The properties AC1–AC4 are those of Bernstein, Hadzilacos, Goodman, *Concurrency Control
//! and Recovery in Database Systems* (1987), §7.3.
//!
//! 1. **Propose.** A transaction proposes the version after the committed one. Its [`Txid`] is (generation of
//!    the coordinator's disk, its life, count), and generation and life are durable before anything is
//!    proposed: no txid is ever used twice.
//! 2. **Vote.** A member votes COMMIT if the version is its next one, it is not prepared for another
//!    transaction, has not promised to refuse this one, sees no split brain, and its evidence passes the
//!    [gates](gates::Gates) that are asked (rule 11). The vote is durable before it is sent. From then on it is *in doubt*.
//! 3. **Decide.** All members voted COMMIT: COMMIT, durable before anybody hears it. One votes ABORT, or
//!    [`vote_ms`](config::Timeouts::vote_ms) pass: ABORT. Decisions are sent again until acknowledged.
//! 4. **Presume abort.** A coordinator that restarts and finds no decision for a transaction of a former
//!    life aborts it.
//! 5. **Ask.** A participant in doubt keeps serving the old weights and asks everybody. It never decides by
//!    itself, and no time-out decides for it.
//! 6. **Resolve.** If the coordinator does not answer, the highest node among those in doubt that hear each
//!    other is the *resolver*: its question makes whoever has not voted refuse, durably, before it answers.
//!    It announces COMMIT only if someone knows COMMIT, ABORT only if someone knows ABORT or has refused. If
//!    all it can reach are in doubt too it waits: the coordinator may have decided either way.
//! 7. **Refuse in one number.** Txids are totally ordered, so a member remembers all refusals as a floor
//!    below which it does not vote. It outlives every delayed PREPARE and never grows.
//! 8. **Catch up.** Heartbeats carry version and digest. A node that is behind is sent the committed state;
//!    only committed states are ever sent. The same version with another digest is a split brain: the node
//!    raises an alarm and votes no more.
//!
//! 9. **Learn from the next proposal.** The coordinator proposes a version again only if the earlier proposal
//!    was aborted, and the version after it only if it was committed (without this node's vote no other
//!    transaction can have taken that version). So a PREPARE that overtakes a DECISION carries it.
//!
//! 10. **Join.** A node with an empty journal is new, or has a new disk; it need not know which. It answers
//!     for nobody: no vote, no refusal, no word to who is in doubt, until it is [admitted](admission). A
//!     participant is admitted by the coordinator, which tells it what is committed and which transactions
//!     have begun; about these it makes no statement ever, because its former disk may have. The coordinator
//!     is admitted by all others as its next *generation*, which they make durable before they answer: from
//!     then on they refuse what former generations proposed, and no txid is used twice. While one of them is
//!     in doubt about something newer than all that is committed, the coordinator stays out: only its lost
//!     disk may have known. So what was committed outlives any lost disk, as long as one member that voted for
//!     it keeps its own.
//!
//! 11. **Ask before giving more.** A canary gets a larger share, or is made stable, only after every member has voted by
//!     evidence that keeps the rollout's [gates]: what the canary itself did there, under the version that is
//!     served. No evidence, and evidence that is stale, are no pass: the rollout waits for its deadline, then it pauses.
//!     Only an operator can promote without. A rollout that was queued behind another one begins when that has come to its
//!     end, and never if that failed.
//!
//! 12. **The way back asks nothing.** An abort, and the return after a failure, is one transaction like any other, and
//!     no gate is asked about it. It ends a vote that is under way, and is tried until it commits.
//!
//! 13. **Know one's own.** A cluster draws an id when it forms, which stands in every journal and every message; what another
//!     cluster says is not heard. What becomes durable has an honest history: a member is at most one version behind, and
//!     that one it has voted for, since nothing commits without its vote; lives and transactions are counted one by one.
//!     What no such history leads to is ignored. A coordinator that meets a promise about a transaction it has not begun
//!     goes on beyond that.
//!
//!     A member that the coordinator tells what no history of its journal leads to has an old journal, as from a backup: it
//!     is admitted again, as if it had none (rule 10).
//!
//! 14. **Change the members.** Who is a member is part of the committed state, so that *every member* has one meaning: a node is
//!     admitted, or dismissed, by a transaction on which all vote who are members before and after. Whoever comes then
//!     joins as a member with an empty disk does (rule 10). A member that is gone is not asked; only those who are asked
//!     can refuse.
//! 15. **Take over.** A coordinator that is gone for good is succeeded by a member that an operator names, as if it were the
//!     coordinator with a lost disk (rule 10): all others make its generation durable, and as long as one of them is in
//!     doubt about something newer than all that is committed it waits. Only an operator who knows how that ended can
//!     tell; what is said so is durable, and the first act of the new coordinator is to dismiss the old one.
//!
//! 16. **Forget.** What the journal says is written as one record, a snapshot; when that is durable the records before it
//!     may vanish. It says all that they say: a node that reads it is the node that wrote it.
//!
//! 17. **Go from region to region.** A fleet's regions are clusters of their own. The first one's coordinator leads a rollout
//!     through them, as an operator would: a region begins when the one before has come to its end; one that fails ends it,
//!     and every region that may have begun is taken back to what it served before ([`regions`]).
//!
//! A commit is an atomic *decision*, not simultaneous *visibility*: between the first and the last DECISION
//! nodes differ for an instant. So every answer of the data plane names the version that served it.
//!
//! # Reading order
//!
//! [`state`] and [`message`] (the vocabulary), [`durable`] (what is never forgotten), [`participant`],
//! [`coordinator`], [`course`] with [`gates`], [`resolver`], [`admission`], [`regions`], then [`invariants`].

pub mod admission;
pub mod config;
pub mod coordinator;
pub mod course;
mod describe;
pub mod durable;
pub mod fleet;
pub mod gates;
pub mod healing;
pub mod health;
pub mod invariants;
mod judge;
pub mod message;
pub mod mistake;
pub mod participant;
pub mod plan;
pub mod regions;
pub mod resolver;
mod rests;
pub mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::admission::Joining;
use self::config::{Config, jittered};
use self::coordinator::Coordination;
use self::durable::{Durable, Record};
use self::healing::Healing;
use self::health::{Evidence, Health};
use self::message::{Envelope, Fact, Message, Reply, Request, Rollout, Timer, View};
use self::mistake::Mistake;
use self::participant::observe_vote;
use self::resolver::Inquiry;
use self::state::{ClusterId, Member, RoutingState, Txid};
use crate::node::RestsOn;
use crate::node::{Context, Event, Node, NodeId, RequestId, Word};

/// One member of the cluster. What must survive a crash is in `durable`, all else may be lost at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RolloutNode {
    durable: Durable,
    /// What this node knows of its data plane; the coordinator of every member's.
    evidence: BTreeMap<NodeId, Evidence>,
    split_brain: bool,
    /// Who speaks for another cluster, and for which.
    foreign: BTreeMap<NodeId, ClusterId>,
    /// Who was told something else of the cluster than this node, and what.
    unlike: BTreeMap<NodeId, String>,
    coordination: Coordination,
    inquiry: Option<Inquiry>,
    /// What it takes to become a member; `None` at a member.
    joining: Option<Joining>,
    /// What it takes to coordinate; `None` where nobody wants that.
    takeover: Option<Joining>,
    /// It has started, and not heard yet whether it is behind.
    asks: bool,
    /// It has not heard the coordinator for [`SILENCE`] heartbeats.
    hears_nothing: bool,
    /// The generation that this life has granted, and to which life of the coordinator.
    granted: Option<(u32, u64)>,
    /// The number of the last snapshot in the journal; 0 if there is none.
    snapshot: u64,
}

/// After how many heartbeats without one of the coordinator's a node takes an operator's word for it that the coordinator is
/// gone.
pub const SILENCE: u64 = 2;

type Cx<'c> = Context<'c, RolloutNode>;

impl Node for RolloutNode {
    type Config = Config;
    type Message = Envelope;
    type Timer = Timer;
    type Record = Record;
    type Request = Request;
    type Reply = Reply;
    type View = View;
    type Fact = Fact;

    fn start(config: &Config, disk: &[Record], cx: &mut Cx<'_>) -> Self {
        let mut node = Self {
            durable: Durable::recover(config, disk),
            evidence: BTreeMap::new(),
            split_brain: false,
            foreign: BTreeMap::new(),
            unlike: BTreeMap::new(),
            coordination: Coordination::default(),
            inquiry: None,
            joining: None,
            takeover: None,
            asks: false,
            hears_nothing: false,
            granted: None,
            snapshot: number_of_snapshot(disk, cx.last_record()),
        };
        if let Some(place) = config.own_region() {
            cx.observe(Fact::Region { place: place as u32 });
        }
        if disk.is_empty() {
            cx.observe(Fact::EmptyJournal);
        }
        if node.durable.admitted.is_some() {
            node.retell(cx);
            node.asks = config.asks_first && node.others().next().is_some();
            node.publish(config, cx);
            node.take_part(config, cx);
        } else {
            node.join(config, cx);
        }
        node.direct(config, cx);
        node
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Cx<'_>) {
        match event {
            Event::Message { from, message } => self.on_envelope(config, from, message, cx),
            Event::Timer(timer) => match timer {
                Timer::Vote => self.on_vote_timeout(config, cx),
                Timer::Resend => self.on_resend(config, cx),
                Timer::Step => self.on_step_timer(config, cx),
                Timer::Deadline => self.on_deadline(config, cx),
                Timer::Stale(member) => self.on_stale(config, member, cx),
                Timer::Inquire => self.on_inquire(config, cx),
                Timer::Heartbeat => self.on_heartbeat_timer(config, cx),
                Timer::Silence => self.on_silence(config, cx),
                Timer::Join => self.ask_to_join(config, cx),
                Timer::Fleet => self.ask_regions(config, true, cx),
            },
            Event::Request { id, request } => match request {
                Request::StartRollout(plan) => self.on_start_rollout(config, id, plan, cx),
                Request::QueueRollout(plan) => self.on_queue_rollout(config, id, plan, cx),
                Request::Steer { order, rollout } => self.on_steer(config, id, order, rollout, cx),
                Request::Change(change) => self.on_change(config, id, change, cx),
                Request::TakeOver { from } => self.on_take_over(config, id, from, cx),
                Request::Resolve { txid, outcome } => self.on_resolve(config, id, txid, outcome, cx),
                Request::ReportHealth(health) => self.on_report_health(config, id, health, cx),
                Request::StartFleet(plan) => self.on_start_fleet(config, id, plan, cx),
                Request::AbortFleet => self.on_abort_fleet(config, id, cx),
            },
            Event::Durable(_) => {} // no rule needs it: the order of effects says it all
        }
        self.direct(config, cx);
        self.compact(config, cx);
    }

    /// Those whom its configuration names; of who comes later the committed state says where it lives.
    fn knows(config: &Config) -> Option<Vec<NodeId>> {
        let named = config.members.iter().chain(config.addresses.keys()).copied().collect::<BTreeSet<_>>();
        (!config.addresses.is_empty()).then(|| named.into_iter().collect())
    }

    fn refuses(config: &Config, disk: &[Record]) -> Option<String> {
        disk.iter().find_map(|record| {
            let (node, cluster) = written_by(record)?;
            let why =
                || format!("it is the journal of {node}, of cluster {cluster}, and this is {}", config.me);
            (node != config.me).then(why)
        })
    }

    fn is_not_yet(reply: &Reply) -> bool {
        matches!(reply, Reply::Joining(_))
    }

    fn instead(reply: &Reply) -> Option<NodeId> {
        match reply {
            Reply::NotCoordinator { coordinator } => Some(*coordinator),
            Reply::Accepted { .. }
            | Reply::Changing { .. }
            | Reply::TakingOver
            | Reply::Resolved { .. }
            | Reply::Ordered { .. }
            | Reply::Unfit { .. }
            | Reply::Busy { .. }
            | Reply::Done
            | Reply::Invalid { .. }
            | Reply::Joining(_)
            | Reply::SplitBrain => None,
        }
    }

    fn rests_on() -> Option<RestsOn<Self>> {
        Some(rests::rests_on)
    }

    fn describe(word: Word<'_, Self>) -> String {
        describe::describe(word)
    }
}

impl RolloutNode {
    /// What this node serves, as far as it knows (the last steps may not be durable yet).
    pub fn committed(&self) -> &RoutingState {
        &self.durable.committed
    }

    /// All that this node must not forget.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Whether this node has seen two states for one version.
    pub fn split_brain(&self) -> bool {
        self.split_brain
    }

    /// Whether this node has not been admitted (yet).
    pub fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// Who runs the transactions, as far as this node knows.
    pub fn coordinator(&self) -> NodeId {
        self.durable.coordinator
    }

    /// Whether this node does.
    pub fn is_coordinator(&self) -> bool {
        self.durable.is_coordinator()
    }

    /// All members but this node.
    fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.durable.others()
    }

    /// Whether this node has nothing left to do: no doubt, nothing to announce, no rollout that goes on without an order.
    pub fn is_at_rest(&self, config: &Config) -> bool {
        let announces = config.heals_by(Healing::Resends) && !self.coordination.is_acknowledged();
        let waits = self.durable.running().is_none_or(Rollout::is_paused);
        let changes = self.durable.changing().is_some() || self.durable.taking_over.is_some();
        let leads = self.durable.fleet_under_way().is_some_and(|fleet| !self.fleet_is_paused(fleet));
        self.durable.prepared.is_none() && waits && !announces && !changes && !leads
    }

    /// A member begins its life.
    fn take_part(&mut self, config: &Config, cx: &mut Cx<'_>) {
        cx.set_timer(Timer::Heartbeat, jittered(config.timeouts.heartbeat_ms));
        self.meet_members(config, &self.durable.committed, cx);
        for to in self.others().filter(|_| self.asks) {
            self.tell(cx, to, self.heartbeat(config)); // who is ahead says so
        }
        if self.is_coordinator() {
            cx.cancel_timer(Timer::Silence);
            return self.resume_coordination(config, cx);
        }
        self.listen(config, cx);
        if self.durable.prepared.is_some() {
            self.ask(config, cx);
        }
        self.take_over(config, cx);
    }

    fn on_envelope(&mut self, config: &Config, from: NodeId, envelope: Envelope, cx: &mut Cx<'_>) {
        if envelope.message.is_about_regions() {
            return self.on_message(config, from, envelope.message, cx); // of another cluster
        }
        // Who takes this node in may have become a member later than those whom this node knows.
        let is_awaited = self.is_joining() && from == self.coordinator();
        if from == config.me || !(self.durable.committed.has(from) || is_awaited) {
            return self.on_strangers(from, &envelope, cx);
        }
        let (mine, theirs) = (self.durable.cluster, envelope.cluster);
        if let (Some(mine), Some(theirs)) = (mine, theirs.filter(|_| mine != theirs)) {
            // One of the two has a journal of another cluster; nothing that it says is about this one (rule 13).
            if self.foreign.insert(from, theirs) != Some(theirs) {
                cx.observe(Fact::Foreign { from, theirs, mine });
                self.publish(config, cx);
            }
            return;
        }
        if !self.foreign.is_empty() && self.foreign.remove(&from).is_some() {
            self.publish(config, cx);
        }
        self.on_message(config, from, envelope.message, cx);
    }

    /// Who is not a member is not heard. Who was one, and has not heard that it is none, is told.
    fn on_strangers(&self, from: NodeId, envelope: &Envelope, cx: &mut Cx<'_>) {
        if matches!(envelope.message, Message::JoinReq { .. } | Message::AdmitReq { .. }) {
            return; // it asks until it is one
        }
        let committed = &self.durable.committed;
        if let Message::Heartbeat { last_committed_version: version, .. } = envelope.message
            && !self.is_joining()
            && envelope.cluster == self.durable.cluster
            && version < committed.version
        {
            return self.tell(cx, from, Message::StateSync { state: committed.clone() });
        }
        ignore(from, "it is not from another member", cx);
    }

    fn on_message(&mut self, config: &Config, from: NodeId, message: Message, cx: &mut Cx<'_>) {
        if self.is_joining() && !message.is_about_joining() {
            return; // who is not a member has nothing to say to that (rule 10)
        }
        match message {
            Message::PrepareReq { txid, state, members, gates } => {
                self.on_prepare_req(config, from, txid, state, members, gates.as_ref(), cx);
            }
            Message::PrepareResp { txid, vote } => self.on_prepare_resp(config, from, txid, vote, cx),
            Message::Decision { txid, version, outcome } => {
                self.on_decision(config, from, txid, version, outcome, cx);
            }
            Message::DecisionAck { txid } => self.on_decision_ack(from, txid, cx),
            Message::DecisionReq { txid, version, resolve } => {
                self.on_decision_req(from, txid, version, resolve, cx);
            }
            Message::DecisionResp { txid, answer } => self.on_decision_resp(config, from, txid, answer, cx),
            Message::Heartbeat { node_id, last_committed_version, digest } => {
                if node_id != from {
                    return ignore(from, "its heartbeat names another node", cx);
                }
                self.on_heartbeat(config, from, last_committed_version, digest, cx);
            }
            Message::HealthSnapshot { health } => self.on_health_snapshot(config, from, health, cx),
            Message::StateSync { state } => self.on_state_sync(config, from, state, cx),
            Message::JoinReq { life, told } => self.on_join_req(config, from, life, &told, cx),
            Message::JoinResp { life, member_of, state, begun } => {
                self.on_join_resp(config, from, life, (member_of, state, begun), cx);
            }
            Message::Unlike { life, told } => self.on_unlike(config, from, life, &told, cx),
            Message::AdmitReq { life, generation, takes_over, told } => {
                self.on_admit_req(config, from, life, (generation, takes_over), &told, cx);
            }
            Message::AdmitResp { life, generation, known } => {
                self.on_admit_resp(config, from, life, generation, known, cx);
            }
            Message::RegionReq { fleet, task } => self.on_region_req(config, from, fleet, task, cx),
            Message::RegionResp { fleet, back, life, standing } => {
                self.on_region_resp(config, from, (fleet, back, life), standing, cx);
            }
        }
    }

    // Heartbeats and catch-up (rule 8).

    fn on_heartbeat_timer(&mut self, config: &Config, cx: &mut Cx<'_>) {
        for to in self.others().filter(|_| config.heals_by(Healing::Heartbeats)) {
            self.tell(cx, to, self.heartbeat(config));
        }
        cx.set_timer(Timer::Heartbeat, jittered(config.timeouts.heartbeat_ms));
        if self.is_coordinator() {
            self.serve(config, cx);
        }
    }

    /// It serves: it is not behind, or nobody is there to say so.
    fn serve(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.asks) {
            self.publish(config, cx);
        }
    }

    /// Waits for the coordinator's next heartbeat.
    fn listen(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if !self.is_coordinator() {
            self.hears_nothing = false;
            cx.set_timer(Timer::Silence, jittered(config.timeouts.heartbeat_ms.saturating_mul(SILENCE)));
        }
    }

    fn on_silence(&mut self, config: &Config, cx: &mut Cx<'_>) {
        self.listen(config, cx);
        self.serve(config, cx);
        self.hears_nothing = !self.is_coordinator();
    }

    fn heartbeat(&self, config: &Config) -> Message {
        let committed = &self.durable.committed;
        Message::Heartbeat {
            node_id: config.me,
            last_committed_version: committed.version,
            digest: committed.digest(),
        }
    }

    fn on_heartbeat(&mut self, config: &Config, from: NodeId, version: u64, digest: u64, cx: &mut Cx<'_>) {
        if from == self.coordinator() {
            self.listen(config, cx);
        }
        let mine = self.durable.committed.version;
        let doubtful = self.durable.prepared.as_ref().filter(|_| config.makes(Mistake::CatchUpFromDoubt));
        let served = &self.durable.committed;
        let told = doubtful.map_or(served, |prepared| &prepared.state);
        if version < told.version {
            self.tell(cx, from, Message::StateSync { state: told.clone() });
        } else if version > mine {
            self.tell(cx, from, self.heartbeat(config)); // it will see that this node is behind
        } else if digest != served.digest() {
            self.raise_alarm(config, from, version, cx);
        }
        if version <= mine {
            self.serve(config, cx);
        }
    }

    fn on_state_sync(&mut self, config: &Config, from: NodeId, state: RoutingState, cx: &mut Cx<'_>) {
        let mine = &self.durable.committed;
        if state.version < mine.version {
            return; // an old message
        }
        if !state.is_consistent() {
            return ignore(from, "its state contradicts itself", cx);
        }
        if state.version > mine.version && !mine.is_followed_by(&state, config.me) {
            return self.leave(config, state, cx);
        }
        if state.version == mine.version {
            if state != *mine {
                self.raise_alarm(config, from, state.version, cx);
            }
            return;
        }
        if self.is_coordinator() {
            // Nobody commits without the coordinator, so nobody can be ahead of it.
            return self.raise_alarm(config, from, state.version, cx);
        }
        if !self.explains(&state) {
            if from == self.coordinator() {
                return self.is_outdated(config, state.version, cx);
            }
            return ignore(from, "no history of this node leads to its state", cx);
        }
        let (version, digest) = (state.version, state.digest());
        self.append(Record::Installed { state }, cx);
        cx.observe(Fact::CaughtUp { version, digest });
        self.leave_doubt(cx);
        self.asks = false;
        self.publish(config, cx);
    }

    /// This node's journal is an old one: whatever it said since, it has forgotten.
    fn is_outdated(&mut self, config: &Config, version: u64, cx: &mut Cx<'_>) {
        self.append(Record::Outdated, cx);
        cx.observe(Fact::Outdated { version });
        self.has_left(config, cx);
    }

    /// This node is no longer a member.
    fn leave(&mut self, config: &Config, state: RoutingState, cx: &mut Cx<'_>) {
        self.append(Record::Installed { state }, cx);
        self.is_dismissed(config, cx);
    }

    /// This node serves a state that is not served by it: it is a member no longer, and would have to be admitted anew.
    fn is_dismissed(&mut self, config: &Config, cx: &mut Cx<'_>) {
        cx.observe(Fact::Dismissed { version: self.durable.committed.version });
        self.has_left(config, cx);
    }

    /// This node has to be admitted anew.
    fn has_left(&mut self, config: &Config, cx: &mut Cx<'_>) {
        self.leave_doubt(cx);
        self.forget_hold(cx);
        for timer in [Timer::Vote, Timer::Resend, Timer::Heartbeat, Timer::Silence, Timer::Fleet] {
            cx.cancel_timer(timer);
        }
        for (member, _) in std::mem::take(&mut self.evidence) {
            cx.cancel_timer(Timer::Stale(member));
        }
        self.coordination = Coordination::default();
        self.takeover = None;
        self.asks = false;
        self.join(config, cx);
    }

    /// Learns where the members live, as far as only the state says so.
    fn meet_members(&self, config: &Config, state: &RoutingState, cx: &mut Cx<'_>) {
        for Member { id, address, .. } in &state.members {
            let known = config.addresses.get(id);
            if let Some(address) = address.filter(|address| *id != config.me && known != Some(address)) {
                cx.meet(*id, address);
            }
        }
    }

    /// Whether a state can be committed that is newer than this node's. Without its vote nothing is: so it is what this node
    /// voted for; or, if a former disk of its may have, the next one (rule 13).
    fn explains(&self, state: &RoutingState) -> bool {
        let Durable { committed, prepared, .. } = &self.durable;
        let was_voted_for = prepared.as_ref().is_some_and(|prepared| prepared.state == *state);
        let is_forgotten = state.txid.is_some_and(|txid| self.durable.has_forgotten(txid));
        Some(state.version) == committed.version.checked_add(1) && (was_voted_for || is_forgotten)
    }

    fn raise_alarm(&mut self, config: &Config, with: NodeId, version: u64, cx: &mut Cx<'_>) {
        if !self.split_brain {
            self.split_brain = true;
            cx.observe(Fact::SplitBrain { with, version });
            self.publish(config, cx);
        }
    }

    // Health.

    fn on_report_health(&mut self, config: &Config, id: RequestId, health: Health, cx: &mut Cx<'_>) {
        if !self.is_coordinator() {
            self.tell(cx, self.coordinator(), Message::HealthSnapshot { health: health.clone() });
        }
        self.learn(config, config.me, health, cx);
        cx.reply(id, Reply::Done);
        self.weigh_evidence(config, cx);
    }

    fn on_health_snapshot(&mut self, config: &Config, from: NodeId, health: Health, cx: &mut Cx<'_>) {
        if self.is_coordinator() {
            self.learn(config, from, health, cx);
            self.weigh_evidence(config, cx);
        }
    }

    /// Takes in what a data plane reports, and notices when it has been silent for three windows.
    fn learn(&mut self, config: &Config, member: NodeId, health: Health, cx: &mut Cx<'_>) {
        self.evidence.insert(member, Evidence { health, is_stale: false });
        cx.set_timer(Timer::Stale(member), Duration::from_millis(config.window_ms.saturating_mul(3)));
        self.publish(config, cx);
    }

    fn on_stale(&mut self, config: &Config, member: NodeId, cx: &mut Cx<'_>) {
        if let Some(evidence) = self.evidence.get_mut(&member) {
            evidence.is_stale = true;
            self.publish(config, cx);
        }
    }

    // Shared by all roles.

    /// Says something to another member.
    fn tell(&self, cx: &mut Cx<'_>, to: NodeId, message: Message) {
        cx.send(to, Envelope { message, cluster: self.durable.cluster });
    }

    /// Writes a record and takes it in.
    fn append(&mut self, record: Record, cx: &mut Cx<'_>) {
        self.durable.apply(&record);
        cx.append(record);
    }

    /// Replaces the journal by a snapshot when it has grown (rule 16).
    fn compact(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let since = cx.last_record() - self.snapshot;
        if !self.durable.is_due(config.snapshot_every, since) {
            return;
        }
        if config.makes(Mistake::ForgetsEarly) && since < 2 * u64::from(config.snapshot_every) {
            return cx.forget(cx.last_record() + 1);
        }
        let mut all = self.durable.clone();
        if config.makes(Mistake::SnapshotsTooLittle) {
            all.floor = Txid::before(all.floor.generation);
        }
        self.snapshot = cx.append(Record::Snapshot(Box::new(all)));
        cx.forget(self.snapshot);
    }

    /// Says again what the journal holds: the crash may have come between a write and its fact.
    fn retell(&self, cx: &mut Cx<'_>) {
        let committed = &self.durable.committed;
        if let Some(txid) = committed.txid {
            if self.is_coordinator() {
                cx.observe(Fact::Voted { txid, version: committed.version }); // its COMMIT says so
            }
            self.observe_committed(txid, cx);
        }
        if let Some(prepared) = &self.durable.prepared {
            observe_vote(prepared.txid, prepared.state.version, prepared.passed.clone(), cx);
        }
    }

    /// Says what the node now serves, if `txid` is what made it so.
    fn observe_committed(&self, txid: Txid, cx: &mut Cx<'_>) {
        let committed = &self.durable.committed;
        let members = committed.ids().collect();
        cx.observe(Fact::Committed { txid, version: committed.version, digest: committed.digest(), members });
    }

    fn publish(&self, config: &Config, cx: &mut Cx<'_>) {
        cx.publish(View {
            node: config.me,
            coordinator: self.coordinator(),
            routing: self.durable.committed.clone(),
            in_doubt: self.durable.prepared_txid(),
            cluster: self.durable.cluster,
            foreign: self.foreign.clone(),
            unlike: self.unlike.clone(),
            asks: self.asks,
            joining: self.waiting(),
            split_brain: self.split_brain,
            evidence: self.evidence.clone(),
            rollouts: self.durable.rollouts.clone(),
            queued: self.durable.queue.clone(),
            changes: self.durable.changes.clone(),
            taking_over: self.takeover.as_ref().map(|takeover| self.waits(takeover)),
            fleets: self.durable.fleets.clone(),
            regions: self.coordination.regions.clone(),
        });
    }
}

/// Whose journal a record is in, and of which cluster, if it says so.
fn written_by(record: &Record) -> Option<(NodeId, ClusterId)> {
    if let Record::Admitted { node, cluster, .. } = record {
        return Some((*node, *cluster));
    }
    let all = record.snapshot()?;
    Some((all.me(), all.cluster?))
}

/// The number of the last snapshot among these, the last of which has that number; 0 if there is none.
fn number_of_snapshot(disk: &[Record], last: u64) -> u64 {
    let after = disk.iter().rev().position(|record| record.snapshot().is_some());
    after.map_or(0, |after| last - after as u64)
}

/// Reports a message that made no sense.
fn ignore(from: NodeId, why: &str, cx: &mut Cx<'_>) {
    cx.observe(Fact::Ignored { from, why: why.into() });
}

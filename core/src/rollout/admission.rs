//! Being admitted: a node whose journal holds no admission has no past that it could answer for (rule 10).
//!
//! ```text
//! participant                coordinator                other members
//!     ── JOIN_REQ ─────────▶ a member itself
//!     ◀────────── JOIN_RESP ── the committed state, and the last transaction it has begun
//!
//!                            joining itself ── ADMIT_REQ: the next generation ──▶
//!                            ◀── ADMIT_RESP: granted, durably; what I know ──────
//!                            all have granted, nobody is in doubt: a member
//! ```
//!
//! A new cluster forms by the same rules: all join, and nobody knows anything. Questions carry the name of
//! the life that asks, so that no answer to a former life counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{Config, Told};
use super::coordinator::Coordination;
use super::durable::{Prepared, Record};
use super::message::{AbortReason, Fact, Known, Message, Outcome, Reply, Request, Timer, Waiting};
use super::mistake::Mistake;
use super::state::{ClusterId, LOST_DISKS, RoutingState, Txid};
use super::{Cx, RolloutNode, ignore};
use crate::node::{NodeId, RequestId};

/// What a node knows while it is not a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Joining {
    /// Coordinator: the generation it asks for.
    generation: u32,
    /// Coordinator: who has granted it, and what each knew when it did.
    grants: BTreeMap<NodeId, Known>,
    /// Coordinator: whose doubt keeps it out, and about what.
    excluded: Option<(NodeId, Txid)>,
}

impl Joining {
    fn of(generation: u32) -> Self {
        Self { generation, grants: BTreeMap::new(), excluded: None }
    }
}

impl RolloutNode {
    /// Begins to ask.
    pub(super) fn join(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if config.makes(Mistake::JoinsUnasked) {
            let (cluster, state) = (ClusterId(1), self.durable.committed.clone());
            return self.admit(config, (cluster, state, Txid::before(1)), self.coordinator(), cx);
        }
        self.joining = Some(Joining::of(1));
        self.publish(config, cx);
        self.ask_to_join(config, cx);
        if self.others().next().is_none() {
            self.admit_if_granted(config, cx);
        }
    }

    /// What it takes to coordinate, if this node is to.
    fn candidacy(&self) -> Option<&Joining> {
        self.takeover.as_ref().or_else(|| self.joining.as_ref().filter(|_| self.is_coordinator()))
    }

    fn candidacy_mut(&mut self) -> Option<&mut Joining> {
        let is_coordinator = self.is_coordinator();
        self.takeover.as_mut().or_else(|| self.joining.as_mut().filter(|_| is_coordinator))
    }

    /// The newest state that is known to whoever is to coordinate, and who must grant that: those who serve it; but not the
    /// one that is gone.
    fn electorate(&self, candidacy: &Joining) -> (RoutingState, Vec<NodeId>) {
        let states = candidacy.grants.values().map(|grant| &grant.state).chain([&self.durable.committed]);
        let newest = states.max_by_key(|state| state.version).unwrap_or(&self.durable.committed).clone();
        let gone = self.takeover.as_ref().map(|_| self.coordinator());
        let voters = newest.ids().filter(|id| *id != self.durable.me() && Some(*id) != gone).collect();
        (newest, voters)
    }

    /// An operator wants this node to coordinate, since whoever does is gone.
    pub(super) fn on_take_over(&mut self, config: &Config, id: RequestId, from: NodeId, cx: &mut Cx<'_>) {
        let known = self.known(config, id, &Request::TakeOver { from });
        if let Some(answer) = known.or_else(|| self.answer_of_none()) {
            return cx.reply(id, answer);
        }
        let coordinator = self.coordinator();
        let why = if self.is_coordinator() {
            Some(format!("{} coordinates already", config.me))
        } else if from != coordinator {
            Some(format!("{coordinator} coordinates, not {from}"))
        } else if self.takeover.is_some() {
            Some("this node takes over already".into())
        } else {
            self.why_not_gone()
        };
        if let Some(why) = why {
            return cx.reply(id, Reply::Unfit { why });
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        let generation = self.durable.generation().saturating_add(1);
        self.append(Record::TakingOver { id, generation }, cx);
        cx.observe(Fact::TakingOver { generation });
        cx.reply(id, Reply::TakingOver);
        self.take_over(config, cx);
    }

    /// Goes on to take over, if that is wanted.
    pub(super) fn take_over(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if self.durable.taking_over.is_some() {
            self.takeover = Some(Joining::of(self.durable.generation()));
            self.publish(config, cx);
            self.ask_to_join(config, cx);
        }
    }

    pub(super) fn ask_to_join(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let life = cx.life();
        if let Some(candidacy) = self.candidacy() {
            // Who is in doubt may have learned the outcome since.
            let settled =
                |to: &NodeId| candidacy.grants.get(to).is_some_and(|grant| grant.in_doubt.is_none());
            let (generation, takes_over) = (candidacy.generation, self.takeover.is_some());
            let question = Message::AdmitReq { life, generation, takes_over, told: self.told(config) };
            for to in self.electorate(candidacy).1.into_iter().filter(|to| !settled(to)) {
                self.tell(cx, to, question.clone());
            }
        } else if self.joining.is_none() {
            return;
        } else {
            self.tell(cx, self.coordinator(), Message::JoinReq { life, told: self.told(config) });
        }
        cx.set_timer(Timer::Join, Duration::from_millis(config.timeouts.resend_ms));
        if self.takeover.is_some() {
            self.admit_if_granted(config, cx);
        }
    }

    /// A participant asks to be admitted.
    pub(super) fn on_join_req(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        told: &Told,
        cx: &mut Cx<'_>,
    ) {
        if !self.is_coordinator() {
            return ignore(from, "only the coordinator takes participants in", cx);
        }
        if !self.was_told_alike(config, from, told, cx) {
            return self.tell(cx, from, Message::Unlike { life, told: self.told(config) });
        }
        let Some(joining) = &mut self.joining else {
            return self.tell(cx, from, self.welcome(life));
        };
        // Its grant may be gone with its disk.
        joining.grants.remove(&from);
        let (generation, told) = (joining.generation, self.told(config));
        let life = cx.life();
        self.tell(cx, from, Message::AdmitReq { life, generation, takes_over: false, told });
    }

    /// What this node was told of the cluster, or has learned since.
    fn told(&self, config: &Config) -> Told {
        Told { coordinator: self.coordinator(), ..config.told() }
    }

    /// Whether another node was told the same of the cluster. If not, this one says once what differs. Who coordinates a
    /// member has learned since, and may know better.
    fn was_told_alike(&mut self, config: &Config, with: NodeId, told: &Told, cx: &mut Cx<'_>) -> bool {
        let mut here = self.told(config);
        if self.joining.is_none() {
            here.coordinator = told.coordinator;
        }
        let what = told.unlike(&here);
        let known = self.unlike.get(&with).map_or("", |known| known);
        if known != what {
            if what.is_empty() {
                self.unlike.remove(&with);
            } else {
                self.unlike.insert(with, what.clone());
                cx.observe(Fact::Unlike { with, what: what.clone() });
            }
            self.publish(config, cx);
        }
        what.is_empty()
    }

    /// This node was told something else than the one it asked, which does not take it in.
    pub(super) fn on_unlike(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        told: &Told,
        cx: &mut Cx<'_>,
    ) {
        if self.joining.is_none() || life != cx.life() {
            return;
        }
        let coordinator = told.coordinator;
        if self.durable.cluster.is_some() && coordinator != self.coordinator() && coordinator != config.me {
            // It was a member once, and another one has taken over since.
            let generation = self.durable.generation();
            self.append(Record::Granted { generation, coordinator }, cx);
            return self.ask_to_join(config, cx);
        }
        self.was_told_alike(config, from, told, cx);
    }

    /// Another node coordinates, whether this one knew that or not: what it has not decided it never will.
    fn step_down(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if let Some(Prepared { txid, state, members, .. }) = self.durable.prepared.clone() {
            let (outcome, reason) = (Outcome::Abort, Some(AbortReason::Ordered));
            self.append(Record::Decided { txid, outcome, reason: reason.clone() }, cx);
            cx.observe(Fact::Aborted { txid, reason });
            for to in members.into_iter().filter(|to| *to != config.me) {
                self.tell(cx, to, Message::Decision { txid, version: state.version, outcome });
            }
        }
        self.coordination = Coordination::default();
        self.forget_hold(cx);
        for timer in [Timer::Vote, Timer::Resend, Timer::Fleet] {
            cx.cancel_timer(timer);
        }
    }

    /// All that a participant needs to know. It comes after the question: a transaction that has not begun by
    /// now cannot have met the asker's former life.
    fn welcome(&self, life: u64) -> Message {
        let member_of = self.durable.cluster.expect("who admits others is a member");
        Message::JoinResp { life, member_of, state: self.durable.committed.clone(), begun: self.last_begun() }
    }

    pub(super) fn on_join_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        (cluster, state, begun): (ClusterId, RoutingState, Txid),
        cx: &mut Cx<'_>,
    ) {
        if from != self.coordinator() {
            return ignore(from, "only the coordinator takes participants in", cx);
        }
        if self.joining.is_none() || life != cx.life() {
            return; // a late copy, or of a former life
        }
        if !state.is_consistent() {
            return ignore(from, "its state contradicts itself", cx);
        }
        self.admit(config, (cluster, state, begun), from, cx);
    }

    /// The coordinator asks to be admitted: to be asked is a write, as with a resolver's question. From here
    /// on this node votes for nothing that the coordinator's former disks proposed.
    pub(super) fn on_admit_req(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        (generation, takes_over): (u32, bool),
        told: &Told,
        cx: &mut Cx<'_>,
    ) {
        // Who coordinated once, and does not know that it has a successor, is told so, too.
        let has_successor = from != self.coordinator() && !takes_over;
        if !self.was_told_alike(config, from, told, cx) || has_successor {
            return self.tell(cx, from, Message::Unlike { life, told: self.told(config) });
        }
        if generation > self.durable.generation().saturating_add(LOST_DISKS) {
            return ignore(from, "no history leads to its generation", cx);
        }
        if generation > self.durable.generation() {
            if self.is_coordinator() && from != config.me {
                self.step_down(config, cx);
            }
            self.append(Record::Granted { generation, coordinator: from }, cx);
            if self.joining.is_none() {
                self.listen(config, cx);
            }
            cx.observe(Fact::Granted { generation });
            self.granted = Some((generation, life));
            self.takeover = None; // another one was later
        }
        let generation = self.durable.generation();
        let known = Known {
            state: self.durable.committed.clone(),
            in_doubt: self.durable.prepared.as_ref().map(|prepared| prepared.state.clone()),
            joining: self.joining.as_ref().map(|_| cx.life()),
            cluster: self.durable.cluster,
        };
        let known = (self.granted == Some((generation, life))).then_some(known);
        self.tell(cx, from, Message::AdmitResp { life, generation, known });
    }

    pub(super) fn on_admit_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        generation: u32,
        known: Option<Known>,
        cx: &mut Cx<'_>,
    ) {
        let taking_over = self.durable.taking_over;
        let Some(joining) = self.candidacy_mut().filter(|_| life == cx.life()) else {
            return; // a late copy, or of a former life
        };
        if known.as_ref().is_some_and(|known| !known.state.is_consistent()) {
            return ignore(from, "its state contradicts itself", cx);
        }
        match known {
            Some(known) if generation == joining.generation => {
                let state = known.state.clone();
                joining.grants.insert(from, known);
                self.meet_members(config, &state, cx);
                self.admit_if_granted(config, cx);
            }
            // It has granted that one, or a later one, to a former life.
            None if generation >= joining.generation => {
                let next = generation.checked_add(1);
                let Some(next) = next.filter(|next| *next <= joining.generation.saturating_add(LOST_DISKS))
                else {
                    return ignore(from, "no history leads to its generation", cx);
                };
                *joining = Joining::of(next);
                if let Some(id) = taking_over {
                    self.append(Record::TakingOver { id, generation: next }, cx);
                    cx.observe(Fact::TakingOver { generation: next });
                }
                self.ask_to_join(config, cx);
            }
            Some(_) | None => {} // about a generation that is no longer asked for
        }
    }

    /// The coordinator is admitted once all have granted it a generation and none is in doubt: its former
    /// disk may have decided what they are in doubt about, either way, and told a client.
    pub(super) fn admit_if_granted(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(candidacy) = self.candidacy() else { return };
        let (grants, generation) = (&candidacy.grants, candidacy.generation);
        let (newest, voters) = self.electorate(candidacy);
        if voters.iter().any(|member| !grants.contains_key(member)) || !newest.has(config.me) {
            return self.publish(config, cx);
        }
        let grants: BTreeMap<_, _> = grants
            .iter()
            .filter(|(member, _)| voters.contains(member))
            .map(|(&id, grant)| (id, grant))
            .collect();
        let clusters = grants.iter().filter_map(|(&member, grant)| Some((grant.cluster?, member)));
        let clusters: BTreeMap<ClusterId, NodeId> =
            clusters.chain(self.durable.cluster.map(|mine| (mine, config.me))).collect();
        if clusters.len() > 1 {
            // Members of different clusters: which one is this? A person must look.
            let foreign = clusters.into_iter().map(|(cluster, member)| (member, cluster)).collect();
            if self.foreign != foreign {
                self.foreign = foreign;
                self.publish(config, cx);
            }
            return;
        }
        let own = self.durable.prepared.as_ref().map(|prepared| (config.me, &prepared.state));
        let doubts = grants.iter().filter_map(|(&member, grant)| Some((member, grant.in_doubt.as_ref()?)));
        let excluded = doubts.chain(own).find(|(_, state)| state.version > newest.version);
        let excluded = excluded.and_then(|(member, state)| Some((member, state.txid?)));
        let is_hasty = self.takeover.is_some() && config.makes(Mistake::TakesOverInDoubt);
        let excluded = excluded.filter(|_| !is_hasty);
        if let Some((by, txid)) = excluded {
            if candidacy.excluded != excluded {
                cx.observe(Fact::KeptOut { by, txid });
            }
            if let Some(candidacy) = self.candidacy_mut() {
                candidacy.excluded = excluded;
            }
            return self.publish(config, cx);
        }
        let asked: Vec<_> = grants.iter().filter_map(|(&to, grant)| Some((to, grant.joining?))).collect();
        // A cluster that nobody knows forms now, and takes the name of this life.
        let cluster = clusters.into_keys().next().unwrap_or(ClusterId(cx.life()));
        self.admit(config, (cluster, newest, Txid::before(generation)), config.me, cx);
        for (to, life) in asked {
            self.tell(cx, to, self.welcome(life));
        }
    }

    /// Is a member from here on, with no past before `begun`.
    fn admit(
        &mut self,
        config: &Config,
        (cluster, state, begun): (ClusterId, RoutingState, Txid),
        coordinator: NodeId,
        cx: &mut Cx<'_>,
    ) {
        let (version, digest) = (state.version, state.digest());
        (self.joining, self.takeover) = (None, None);
        cx.cancel_timer(Timer::Join);
        self.append(Record::Admitted { node: config.me, cluster, coordinator, state, begun }, cx);
        self.leave_doubt(cx);
        cx.observe(Fact::Admitted { version, digest });
        self.publish(config, cx);
        self.take_part(config, cx);
    }

    /// Who keeps this node, which is to coordinate, out, and by its doubt about what.
    pub fn excluded(&self) -> Option<(NodeId, Txid)> {
        self.takeover.as_ref().or(self.joining.as_ref()).and_then(|candidacy| candidacy.excluded)
    }

    /// What a node answers that is not a member: to ask again, if it is to become one by itself.
    pub(super) fn answer_of_none(&self) -> Option<Reply> {
        let waiting = self.waiting()?;
        let is_expected = self.durable.committed.has(self.durable.me());
        let why = || format!("{} is not a member of the cluster", self.durable.me());
        Some(if is_expected { Reply::Joining(waiting) } else { Reply::Unfit { why: why() } })
    }

    /// For whom this node waits before it is a member.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.joining.as_ref().map(|joining| self.waits(joining))
    }

    /// For whom this node waits.
    pub(super) fn waits(&self, candidacy: &Joining) -> Waiting {
        let members = if self.candidacy().is_some() {
            let (_, voters) = self.electorate(candidacy);
            voters.into_iter().filter(|member| !candidacy.grants.contains_key(member)).collect()
        } else {
            vec![self.coordinator()]
        };
        let unlike = self.unlike.iter().map(|(&with, what)| (with, what.clone())).collect();
        Waiting { members, excluded: candidacy.excluded, unlike }
    }
}

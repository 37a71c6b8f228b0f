//! What a rollout node never forgets: its records, and the fold of its journal.
//!
//! A record is applied by the same function when it is written and when it is read back after a crash, so a
//! recovered node equals the one that wrote.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::config::Config;
use super::fleet::{Fleet, FleetCourse, name_of_part};
use super::message::{
    AbortReason, Changed, Course, OnFailure, Operator, Outcome, Passed, Queued, Request, Rollout, StepResult,
    Why,
};
use super::state::{Change, ClusterId, RoutingState, Status, Txid};
use crate::node::{NodeId, RequestId};

/// How many rollouts the coordinator can tell of.
pub const REMEMBERED_ROLLOUTS: usize = 16;

/// How many requests of operators the coordinator remembers, and answers again. A retry that comes later has expired.
pub const REMEMBERED_REQUESTS: usize = 10_000;

/// How many rollouts may wait for their turn.
pub const MOST_QUEUED: usize = 16;

/// Of how many older ones it knows that it has taken them: a retry is refused, and not done again.
pub const EXPIRED_REQUESTS: usize = 1_000_000;

/// What a node writes to its journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// A life of the coordinator begins.
    Epoch {
        /// Its number.
        epoch: u32,
    },
    /// The coordinator took a client's rollout in hand.
    Accepted(Rollout),
    /// The coordinator took a client's rollout in hand, which waits for its turn.
    Queued(Queued),
    /// This node voted for a transaction. At the coordinator this is also the proposal.
    Voted {
        /// The transaction.
        txid: Txid,
        /// What it proposes.
        state: RoutingState,
        /// Who votes.
        members: Vec<NodeId>,
        /// By what evidence, where gates were asked.
        #[serde(default)]
        passed: Option<Passed>,
    },
    /// An operator's order, or what a gate or a deadline led to: the rollout under way takes another course.
    Steered {
        /// Who asked for it, and for what; none, if nobody had to.
        by: Option<Operator>,
        /// The course from here on.
        course: Course,
    },
    /// This node will never vote for this transaction, nor for an earlier one.
    Refused {
        /// The transaction.
        txid: Txid,
    },
    /// This node knows how a transaction ended.
    Decided {
        /// The transaction.
        txid: Txid,
        /// How it ended.
        outcome: Outcome,
        /// Why, where it aborted.
        reason: Option<AbortReason>,
    },
    /// This node was behind and took over a committed state.
    Installed {
        /// It.
        state: RoutingState,
    },
    /// This node takes the coordinator in as this generation, and votes for nothing that an earlier one
    /// proposed.
    Granted {
        /// The generation.
        generation: u32,
        /// Which node coordinates.
        coordinator: NodeId,
    },
    /// A client wants the cluster itself changed.
    Changing {
        /// The client's request, which names the change.
        id: RequestId,
        /// The change.
        change: Change,
    },
    /// An operator wants this node to coordinate, as this generation: it votes for nothing that an earlier one proposed.
    TakingOver {
        /// The request.
        id: RequestId,
        /// The generation.
        generation: u32,
    },
    /// An operator, who knows how it ended, has told this node, which was in doubt.
    Resolved {
        /// The request.
        id: RequestId,
        /// The transaction.
        txid: Txid,
        /// How it ended.
        outcome: Outcome,
    },
    /// The coordinator has a state that no history of this journal leads to: the journal is an old one, which has forgotten
    /// what this node said. It says nothing more before it is admitted again.
    Outdated,
    /// The leading region's coordinator: the rollout over all regions is at this point.
    Fleet {
        /// It.
        fleet: Fleet,
        /// The request that led here; none, if nobody had to ask.
        by: Option<RequestId>,
    },
    /// A region's coordinator: its part of a rollout over all regions is taken back before it has begun, and never begins.
    Recalled {
        /// The rollout over all regions.
        fleet: RequestId,
    },
    /// All that the records before this one say. They [vanish](crate::node::Context::forget) some time.
    Snapshot(Box<Durable>),
    /// This node was admitted.
    Admitted {
        /// Which node this is: a journal says whose it is.
        node: NodeId,
        /// As a member of which cluster.
        cluster: ClusterId,
        /// Which node coordinates.
        coordinator: NodeId,
        /// What was committed.
        state: RoutingState,
        /// The last transaction that had begun; about it, and earlier ones, the node makes no statement.
        begun: Txid,
    },
}

impl Record {
    /// What it says, if it is a snapshot.
    pub fn snapshot(&self) -> Option<&Durable> {
        if let Self::Snapshot(all) = self { Some(all) } else { None }
    }
}

/// A transaction this node voted for and whose outcome it does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// The transaction.
    pub txid: Txid,
    /// What it proposes.
    pub state: RoutingState,
    /// Who votes.
    pub members: Vec<NodeId>,
    /// By what evidence this node voted, if gates were asked.
    pub passed: Option<Passed>,
}

/// A request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Its name.
    pub id: RequestId,
    /// The digest of what was asked: a name is for one request.
    pub digest: u64,
    /// The rollout that it started, or steered.
    pub rollout: RequestId,
}

/// The fold of the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durable {
    /// Whose journal it is.
    me: NodeId,
    /// Who coordinates.
    pub coordinator: NodeId,
    /// This node is to coordinate: by which request.
    pub taking_over: Option<RequestId>,
    /// What this node serves.
    pub committed: RoutingState,
    /// What it voted for and is in doubt about.
    pub prepared: Option<Prepared>,
    /// This node will not vote for any transaction up to this one (other than the prepared one, for which it
    /// has voted). One number remembers every refusal: transactions are totally ordered.
    pub floor: Txid,
    /// The last transaction that had begun when this node was admitted: it makes no statement about it, nor
    /// about earlier ones (other than by what is committed). None: it is not a member (yet).
    pub admitted: Option<Txid>,
    /// Of which cluster it is a member. None: of none, yet.
    pub cluster: Option<ClusterId>,
    /// Coordinator: the number of its lives.
    pub epoch: u32,
    /// Coordinator: the last rollouts, oldest first.
    pub rollouts: Vec<Rollout>,
    /// Coordinator: the rollouts that wait for their turn, in order.
    pub queue: Vec<Queued>,
    /// Coordinator: the last changes of the cluster, oldest first. The last one may be under way.
    pub changes: Vec<Changed>,
    /// The leading region's coordinator: the last rollouts over all regions, oldest first. The last one may be under way.
    #[serde(default)]
    pub fleets: Vec<Fleet>,
    /// Coordinator: the last requests of operators, oldest first.
    pub asked: VecDeque<Asked>,
    /// Coordinator: digests of the names of those before, oldest first.
    pub expired: VecDeque<u64>,
}

impl Durable {
    /// The state that a journal leaves.
    pub fn recover(config: &Config, journal: &[Record]) -> Self {
        let mut durable = Self {
            me: config.me,
            coordinator: config.coordinator,
            taking_over: None,
            committed: RoutingState::initial(&config.initial_model, &config.members),
            prepared: None,
            floor: Txid::default(),
            admitted: None,
            cluster: None,
            epoch: 0,
            rollouts: Vec::new(),
            queue: Vec::new(),
            changes: Vec::new(),
            fleets: Vec::new(),
            asked: VecDeque::new(),
            expired: VecDeque::new(),
        };
        for record in journal {
            durable.apply(record);
        }
        durable
    }

    /// Takes in one more record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Snapshot(all) => self.clone_from(all),
            Record::Epoch { epoch } => self.epoch = *epoch,
            Record::Accepted(rollout) => {
                let id = rollout.id;
                if let Some(running) = self.running_mut() {
                    running.course = Course::Superseded { by: id };
                }
                match self.queue.iter().position(|queued| queued.id == id) {
                    Some(place) => drop(self.queue.remove(place)),
                    None => self.remember(id, &Request::StartRollout(rollout.plan.clone()), id),
                }
                self.tell_of(rollout.clone());
            }
            Record::Queued(queued) => {
                self.remember(queued.id, &Request::QueueRollout(queued.plan.clone()), queued.id);
                self.queue.push(queued.clone());
            }
            Record::Steered { by, course } => {
                let Some(running) = self.running_mut() else { return };
                let rollout = running.id;
                running.take(course.clone());
                if let Some(Operator { id, order, rollout: meant }) = by {
                    self.remember(*id, &Request::Steer { order: *order, rollout: *meant }, rollout);
                }
            }
            Record::Voted { txid, state, members, passed } => {
                self.floor = self.floor.max(*txid);
                let (state, members, passed) = (state.clone(), members.clone(), passed.clone());
                self.prepared = Some(Prepared { txid: *txid, state, members, passed });
            }
            Record::Outdated => (self.admitted, self.prepared) = (None, None),
            Record::Refused { txid } => self.floor = self.floor.max(*txid),
            Record::Decided { txid, outcome, reason } => self.decide(*txid, *outcome, reason.as_ref()),
            Record::Resolved { id, txid, outcome } => {
                self.remember(*id, &Request::Resolve { txid: *txid, outcome: *outcome }, *id);
                self.decide(*txid, *outcome, None);
            }
            Record::Installed { state } => {
                self.prepared.take_if(|prepared| prepared.state.version <= state.version);
                self.floor = self.floor.max(state.txid.unwrap_or_default());
                self.serve(state.clone());
            }
            Record::Granted { generation, coordinator } => {
                self.floor = self.floor.max(Txid::before(*generation));
                self.coordinator = *coordinator;
                self.taking_over = None;
                if !self.is_coordinator() {
                    self.give_up(*coordinator);
                }
            }
            Record::Changing { id, change } => {
                self.remember(*id, &Request::Change(*change), *id);
                self.change(*id, *change, false);
            }
            Record::Fleet { fleet, by } => {
                if let Some(id) = *by {
                    let begins = id == fleet.id;
                    let request =
                        if begins { Request::StartFleet(fleet.plan.clone()) } else { Request::AbortFleet };
                    self.remember(id, &request, fleet.id);
                }
                match self.fleets.last_mut().filter(|last| last.id == fleet.id) {
                    Some(last) => last.clone_from(fleet),
                    None => keep(&mut self.fleets, fleet.clone()),
                }
            }
            Record::Recalled { fleet } => {
                self.remember(name_of_part(*fleet), &Request::AbortFleet, *fleet);
            }
            Record::TakingOver { id, generation } => {
                self.remember(*id, &Request::TakeOver { from: self.coordinator }, *id);
                self.floor = self.floor.max(Txid::before(*generation));
                self.taking_over = Some(*id);
            }
            Record::Admitted { node: _, cluster, coordinator, state, begun } => {
                self.cluster = Some(*cluster);
                self.floor = self.floor.max(*begun);
                self.admitted = Some(*begun);
                self.prepared.take_if(|prepared| prepared.state.version <= state.version);
                self.committed = state.clone();
                let former = std::mem::replace(&mut self.coordinator, *coordinator);
                if !self.is_coordinator() {
                    self.give_up(*coordinator);
                }
                if let Some(id) = self.taking_over.take().filter(|_| self.committed.has(former)) {
                    self.change(id, Change::Dismiss { member: former, is_gone: true }, true);
                }
            }
        }
    }

    /// How much of it is remembered of requests, in records of the usual size.
    fn weight(&self) -> u64 {
        (self.asked.len() / 4 + self.expired.len() / 16) as u64
    }

    /// Whether a journal with so many records since the last snapshot is to be replaced by one: one every so many, and no
    /// more often than what it costs to write it is worth. 0: never.
    pub fn is_due(&self, every: u32, since: u64) -> bool {
        every > 0 && since >= u64::from(every).max(self.weight())
    }

    /// Another node coordinates: what was under way here is not any more.
    fn give_up(&mut self, to: NodeId) {
        if let Some(running) = self.running_mut() {
            running.course = Course::Stopped(Why::Succeeded { by: to });
        }
        for queued in std::mem::take(&mut self.queue) {
            self.tell_of(queued.never(Why::Succeeded { by: to }));
        }
        self.stop_fleet(|| format!("{to} coordinates now"));
        let (txid, reason) = (self.floor, AbortReason::Ordered);
        self.changed(StepResult::Aborted { txid, reason });
    }

    fn stop_fleet(&mut self, why: impl FnOnce() -> String) {
        if let Some(fleet) = self.fleets.last_mut().filter(|fleet| !fleet.is_over()) {
            fleet.course = FleetCourse::Stopped { why: why() };
        }
    }

    fn tell_of(&mut self, rollout: Rollout) {
        keep(&mut self.rollouts, rollout);
    }

    fn decide(&mut self, txid: Txid, outcome: Outcome, reason: Option<&AbortReason>) {
        self.floor = self.floor.max(txid);
        let prepared = self.prepared.take_if(|prepared| prepared.txid == txid);
        let changes = |prepared: &Prepared| prepared.state.members != self.committed.members;
        let is_change = prepared.as_ref().map_or_else(|| self.changing().is_some(), changes);
        match (outcome, prepared) {
            (Outcome::Commit, Some(prepared)) => {
                let version = prepared.state.version;
                self.serve(prepared.state);
                if is_change {
                    self.changed(StepResult::Committed { version, txid });
                } else {
                    self.step_committed(txid);
                }
            }
            (Outcome::Abort, _) if is_change => {
                let is_tried_again = self.changing().is_some_and(|changing| changing.is_insisted_on);
                let ends = |reason: &&AbortReason| !is_tried_again && !reason.is_interruption();
                if let Some(reason) = reason.filter(ends) {
                    self.changed(StepResult::Aborted { txid, reason: reason.clone() });
                }
            }
            (Outcome::Abort, _) => self.step_aborted(txid, reason),
            (Outcome::Commit, None) => {}
        }
    }

    /// Serves a state. Who is not among its members is none any more, and has to be admitted anew.
    fn serve(&mut self, state: RoutingState) {
        if !self.committed.is_followed_by(&state, self.me) {
            self.admitted = None;
        }
        self.committed = state;
    }

    fn change(&mut self, id: RequestId, change: Change, is_insisted_on: bool) {
        keep(&mut self.changes, Changed { id, change, is_insisted_on, result: StepResult::Pending });
    }

    fn changed(&mut self, result: StepResult) {
        if let Some(last) = self.changes.last_mut().filter(|last| last.result == StepResult::Pending) {
            last.result = result;
        }
    }

    /// What a node of another cluster begins with that is formed from this one's backup: what was committed, as the first
    /// state of a generation of its own, which grants nothing to whoever is left of the old cluster. What was under way is
    /// not: a rollout is paused at the coordinator, and nobody else's; a vote is forgotten. `Err` says why the node is not of that cluster.
    pub fn restored(mut self, me: NodeId) -> Result<Self, String> {
        if !self.committed.has(me) {
            let members: Vec<_> = self.committed.ids().map(|id| id.to_string()).collect();
            return Err(format!("{me} was not a member: {} were", members.join(", ")));
        }
        let Some(old) = self.cluster else { return Err("it is of no cluster".into()) };
        let [old, generation] = [old.0.to_le_bytes(), u64::from(self.floor.generation).to_le_bytes()];
        self.cluster = Some(ClusterId(xxh3_64(&[old, generation].concat())));
        self.floor = Txid::before(self.floor.generation.saturating_add(1));
        (self.me, self.admitted) = (me, Some(self.floor));
        (self.prepared, self.taking_over) = (None, None);
        if !self.is_coordinator() {
            self.give_up(self.coordinator);
            return Ok(self);
        }
        let (txid, reason) = (self.floor, AbortReason::Ordered);
        self.changed(StepResult::Aborted { txid, reason });
        let goes_on = |running: &&mut Rollout| !matches!(running.course, Course::Returning(_));
        if let Some(running) = self.running_mut().filter(goes_on) {
            running.course = Course::Paused(Why::Ordered);
        }
        self.stop_fleet(|| "this cluster was formed from a backup".into());
        Ok(self)
    }

    /// Whether this node runs the transactions.
    pub fn is_coordinator(&self) -> bool {
        self.coordinator == self.me
    }

    /// Whose journal it is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All members but this node.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.committed.ids().filter(|member| *member != self.me)
    }

    /// The change of the cluster that is under way, if there is one.
    pub fn changing(&self) -> Option<&Changed> {
        self.changes.last().filter(|last| last.result == StepResult::Pending)
    }

    /// The generation of the coordinator that this node has granted last.
    pub fn generation(&self) -> u32 {
        self.floor.generation
    }

    /// Whether this node cannot know what it said about a transaction: its disk may have been another then.
    pub fn has_forgotten(&self, txid: Txid) -> bool {
        self.admitted.is_none_or(|begun| txid <= begun)
    }

    /// The rollout under way, if there is one.
    pub fn running(&self) -> Option<&Rollout> {
        self.rollouts.last().filter(|rollout| !rollout.is_over())
    }

    /// The rollout of this name, if it is one of those that can be told of.
    pub fn rollout(&self, id: RequestId) -> Option<&Rollout> {
        self.rollouts.iter().rev().find(|rollout| rollout.id == id)
    }

    /// The rollout over all regions, if it is under way.
    pub fn fleet_under_way(&self) -> Option<&Fleet> {
        self.fleets.last().filter(|fleet| !fleet.is_over())
    }

    /// The transaction this node is prepared for.
    pub fn prepared_txid(&self) -> Option<Txid> {
        self.prepared.as_ref().map(|prepared| prepared.txid)
    }

    /// What is known of the request of this name.
    pub fn asked(&self, id: RequestId) -> Option<&Asked> {
        self.asked.iter().rev().find(|asked| asked.id == id)
    }

    fn remember(&mut self, id: RequestId, request: &Request, rollout: RequestId) {
        self.asked.push_back(Asked { id, digest: request.digest(), rollout });
        if self.asked.len() > REMEMBERED_REQUESTS {
            self.expired.extend(self.asked.pop_front().map(|oldest| digest_of(oldest.id)));
            if self.expired.len() > EXPIRED_REQUESTS {
                self.expired.pop_front();
            }
        }
    }

    /// Whether a request of this name was taken so long ago that nothing else is known of it.
    pub fn has_expired(&self, id: RequestId) -> bool {
        let digest = digest_of(id);
        self.asked(id).is_none() && self.expired.contains(&digest)
    }

    fn running_mut(&mut self) -> Option<&mut Rollout> {
        self.rollouts.last_mut().filter(|rollout| !rollout.is_over())
    }

    fn step_committed(&mut self, txid: Txid) {
        let version = self.committed.version;
        let Some(rollout) = self.running_mut() else { return };
        if let Course::Returning(why) = &rollout.course {
            rollout.course = Course::Returned(why.clone());
            return;
        }
        if rollout.course == Course::Promoted {
            rollout.course = Course::Going;
        }
        if let Some(step) = rollout.pending_step() {
            *step = StepResult::Committed { version, txid };
        }
    }

    /// A step that was interrupted, or that had no evidence, was not judged, and is tried again; and so is the way back.
    fn step_aborted(&mut self, txid: Txid, reason: Option<&AbortReason>) {
        let serves_canary = self.committed.status == Status::Canary;
        let Some(rollout) = self.running_mut() else { return };
        let Some(reason) = reason else { return };
        let is_tried_again = reason.is_interruption() || reason.is_lack_of_evidence();
        if is_tried_again || matches!(rollout.course, Course::Returning(_)) {
            return;
        }
        let why = || Why::Aborted(reason.clone());
        let course = match rollout.plan.on_failure {
            // Whoever paused it decides what comes of a vote that was under way, but for a canary that fails.
            _ if rollout.is_paused() && !reason.is_failed_gate() => rollout.course.clone(),
            OnFailure::Pause => Course::Paused(why()),
            OnFailure::Return if serves_canary => Course::Returning(why()),
            OnFailure::Return | OnFailure::Stop => Course::Going,
        };
        rollout.course = course;
        if let Some(step) = rollout.pending_step() {
            *step = StepResult::Aborted { txid, reason: reason.clone() };
        }
    }
}

/// One more, in place of the oldest if there are as many as can be told of.
fn keep<T>(all: &mut Vec<T>, one: T) {
    all.push(one);
    if all.len() > REMEMBERED_ROLLOUTS {
        all.remove(0);
    }
}

impl Queued {
    /// The rollout that it would have been.
    pub fn never(self, why: Why) -> Rollout {
        let Self { id, plan, .. } = self;
        let course = Course::Stopped(why);
        Rollout { id, plan, steps: Vec::new(), gates: None, supersedes: None, course }
    }
}

fn digest_of(id: RequestId) -> u64 {
    let [client, sequence] = [id.client, id.sequence].map(u64::to_le_bytes);
    xxh3_64(&[client, sequence].concat())
}

impl Rollout {
    fn pending_step(&mut self) -> Option<&mut StepResult> {
        let mut results = self.steps.iter_mut().map(|step| &mut step.result);
        results.find(|result| **result == StepResult::Pending)
    }

    /// Takes another course. Who goes on after a step that was aborted tries it again.
    fn take(&mut self, course: Course) {
        if matches!(course, Course::Going | Course::Promoted) {
            for step in &mut self.steps {
                if matches!(step.result, StepResult::Aborted { .. }) {
                    step.result = StepResult::Pending;
                }
            }
        }
        self.course = course;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::message::{RolloutPlan, Step};
    use crate::rollout::state::ModelId;

    fn accepted(sequence: u64) -> Record {
        let id = RequestId { client: 1, sequence };
        let plan = RolloutPlan::unguarded(ModelId::new("v2").expect("a name"), Vec::new(), 0);
        Record::Accepted(Rollout {
            id,
            plan,
            steps: Vec::new(),
            gates: None,
            supersedes: None,
            course: Course::Going,
        })
    }

    /// A rollout that was under way is the coordinator's to go on with, and nobody else's, who may take over one day.
    #[test]
    fn only_the_coordinator_gets_a_rollout_back() {
        let config = Config::cluster(2).swap_remove(0);
        let state = RoutingState::initial(&config.initial_model, &config.members);
        let (node, cluster, coordinator, begun) = (config.me, ClusterId(1), config.me, Txid::before(1));
        let admitted = Record::Admitted { node, cluster, coordinator, state, begun };
        let Record::Accepted(rollout) = accepted(1) else { unreachable!("it is one") };
        let step = Step { share_bp: 100, makes_stable: false, hold_ms: 0, result: StepResult::Pending };
        let under_way = Record::Accepted(Rollout { steps: vec![step], ..rollout });
        let all = Durable::recover(&config, &[admitted, under_way]);
        let restored = |me: u32| all.clone().restored(NodeId(me)).expect("a member");
        assert!(restored(1).running().is_some_and(Rollout::is_paused));
        assert_eq!(restored(2).running(), None);
        let same = |of: fn(&Durable) -> (Option<ClusterId>, Txid)| (of(&restored(1)), of(&restored(2)));
        let (one, two) = same(|it| (it.cluster, it.floor));
        assert!(one == two && one.0 != Some(cluster) && one.1 == Txid::before(2), "{one:?} {two:?}");
        assert!(all.clone().restored(NodeId(3)).expect_err("no member").contains("n3 was not a member"));
    }

    /// Ten thousand requests later a name is not known any more, and not new either.
    #[test]
    fn names_expire_and_are_never_new_again() {
        let mut durable = Durable::recover(&Config::cluster(1)[0], &[]);
        let last = REMEMBERED_REQUESTS as u64 + 5;
        (1..=last).for_each(|sequence| durable.apply(&accepted(sequence)));
        for sequence in [1, 2, 5, 6, last, last + 1] {
            let id = RequestId { client: 1, sequence };
            let found = (durable.asked(id).is_some(), durable.has_expired(id));
            assert_eq!(found, (sequence > 5 && sequence <= last, sequence <= 5), "{id}");
        }
        assert_eq!((durable.rollouts.len(), durable.asked.len()), (REMEMBERED_ROLLOUTS, REMEMBERED_REQUESTS));
    }
}

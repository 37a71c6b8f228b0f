//! Which words rest on which records: the write-ahead rule of the rollout (Mohan, Lindsay, Obermarck 1986, §2:
//! which records are forced before which messages).
//!
//! What a journal says is worked out here a second time, and not by [`Durable`](super::durable::Durable): that is
//! part of the node, and so of what may be wrong.

use super::RolloutNode;
use super::config::Config;
use super::durable::{Durable, Record};
use super::fleet::{Fleet, FleetCourse, Standing, Task, name_of_part, name_of_way_back};
use super::message::{Answer, Course, Fact, Known, Message, Outcome, Reply, View, Vote};
use super::state::{RoutingState, Txid};
use crate::node::Output;
use crate::node::{NodeId, RequestId};

/// Whether what is durable is all that a word rests on; `Err` names what is missing.
pub(super) fn rests_on(
    config: &Config,
    told: &Output<'_, RolloutNode>,
    durable: &[Record],
) -> Result<(), String> {
    let journal = Journal(durable);
    match *told {
        Output::Message { message, .. } => journal.backs_message(config, &message.message),
        Output::Reply { reply: Reply::Accepted { id }, .. } => journal.has_accepted(*id),
        Output::Reply { to, reply: Reply::Ordered { .. } } => journal.has_steered(to),
        Output::Reply { reply: Reply::Changing { id }, .. } => journal.has_changing(*id),
        Output::Reply { to, reply: Reply::TakingOver } => journal.takes_over(to),
        Output::Reply { to, reply: Reply::Resolved { .. } } => journal.has_resolved(to),
        Output::Reply { .. } => Ok(()), // refusals, and answers about what a crash may take away
        Output::View(view) => journal.backs_view(view),
        Output::Fact(fact) => journal.backs_fact(fact),
    }
}

/// Who runs the transactions, if a journal says so.
pub(super) fn coordinator_by(journal: &[Record]) -> Option<NodeId> {
    journal.iter().rev().find_map(|record| match record {
        Record::Granted { coordinator, .. } | Record::Admitted { coordinator, .. } => Some(*coordinator),
        Record::Snapshot(all) => Some(all.coordinator),
        Record::Epoch { .. }
        | Record::Accepted(_)
        | Record::Queued(_)
        | Record::Steered { .. }
        | Record::Voted { .. }
        | Record::Refused { .. }
        | Record::Outdated
        | Record::Decided { .. }
        | Record::Installed { .. }
        | Record::Changing { .. }
        | Record::TakingOver { .. }
        | Record::Resolved { .. }
        | Record::Fleet { .. }
        | Record::Recalled { .. } => None,
    })
}

/// What is durable.
#[derive(Clone, Copy)]
struct Journal<'a>(&'a [Record]);

fn need(is_there: bool, record: impl FnOnce() -> String) -> Result<(), String> {
    if is_there { Ok(()) } else { Err(record()) }
}

impl<'a> Journal<'a> {
    fn backs_message(self, config: &Config, message: &Message) -> Result<(), String> {
        match message {
            Message::PrepareReq { txid, .. } => self.has_begun(*txid),
            Message::PrepareResp { txid, vote: Vote::Commit } | Message::DecisionReq { txid, .. } => {
                self.has_voted(*txid)
            }
            Message::PrepareResp { txid, vote: Vote::Abort(_) } => self.refuses(*txid),
            Message::Decision { txid, outcome, .. } => self.has_decided(*txid, *outcome),
            Message::DecisionAck { txid } => {
                self.refuses(*txid)?;
                need(self.in_doubt() != Some(*txid), || format!("how {txid} ended"))
            }
            Message::DecisionResp { txid, answer } => match answer {
                Answer::Committed => self.has_committed(*txid),
                Answer::Aborted if self.coordinates(config) && *txid < self.life() => Ok(()), // presumed
                Answer::Aborted => {
                    self.refuses(*txid)?;
                    need(self.in_doubt() != Some(*txid), || format!("that {txid} was aborted"))
                }
                // It decides: while it collects votes, who asks leaves the asking to it.
                Answer::Uncertain if self.coordinates(config) => {
                    Err("the vote of a participant, which the coordinator is not".into())
                }
                Answer::Uncertain => self.has_voted(*txid),
                Answer::Unknown => Ok(()),
            },
            Message::Heartbeat { last_committed_version, .. } => self.serves(*last_committed_version),
            Message::StateSync { state } => self.serves_state(state),
            Message::JoinResp { state, begun, .. } => {
                self.serves_state(state)?;
                self.has_begun(*begun)
            }
            Message::AdmitResp { generation, known, .. } => {
                self.has_granted(*generation)?;
                let Some(Known { state, in_doubt, .. }) = known else { return Ok(()) };
                self.serves_state(state)?;
                in_doubt.as_ref().and_then(|state| state.txid).map_or(Ok(()), |txid| self.has_voted(txid))
            }
            Message::RegionReq { fleet, task } => self.has_fleet(*fleet, task),
            Message::RegionResp { fleet, back, life, standing } => {
                let out = name_of_part(*fleet);
                let is_recalled =
                    |record: &Record| matches!(record, Record::Recalled { fleet: of } if of == fleet);
                match standing {
                    Standing::Serves(served) => self.serves(served.version),
                    Standing::UnderWay { .. } if *back => {
                        let way = name_of_way_back(*fleet, life.generation);
                        self.has_accepted(way).or_else(|why| self.has_accepted(out).map_err(|_| why))
                    }
                    Standing::UnderWay { .. } => self.has_accepted(out),
                    Standing::Done if *back && self.0.iter().any(is_recalled) => Ok(()),
                    Standing::Done if *back && self.has_asked(out) => Ok(()),
                    Standing::Done if *back => self.has_accepted(out),
                    Standing::Done | Standing::Waits { .. } | Standing::Failed { .. } => Ok(()),
                }
            }
            Message::HealthSnapshot { .. }
            | Message::JoinReq { .. }
            | Message::Unlike { .. }
            | Message::AdmitReq { .. } => Ok(()),
        }
    }

    fn backs_view(self, view: &View) -> Result<(), String> {
        self.serves(view.routing.version)?;
        view.in_doubt.map_or(Ok(()), |txid| self.has_voted(txid))?;
        for Fleet { id, .. } in &view.fleets {
            self.fleet(*id).next().ok_or_else(|| format!("FLEET {id}"))?;
        }
        view.queued.iter().try_for_each(|queued| self.has_accepted(queued.id))?;
        view.rollouts.iter().try_for_each(|rollout| self.has_accepted(rollout.id))
    }

    fn backs_fact(self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Accepted { id } => self.has_accepted(*id),
            Fact::Fleet(fleet) => {
                need(self.fleet(fleet.id).any(|it| it == fleet), || format!("FLEET {fleet}"))
            }
            Fact::Steered { course, .. } => self.has_course(course),
            Fact::Passed { txid, .. } => self.has_voted(*txid),
            // The coordinator's COMMIT holds its vote.
            Fact::Voted { txid, .. } => {
                self.has_voted(*txid).or_else(|why| self.has_committed(*txid).map_err(|_| why))
            }
            Fact::Refused { txid, .. } => self.refuses(*txid),
            Fact::Committed { txid, .. } => self.has_committed(*txid),
            Fact::Aborted { txid, .. } => self.has_decided(*txid, Outcome::Abort),
            Fact::CaughtUp { version, .. } | Fact::Admitted { version, .. } | Fact::Dismissed { version } => {
                self.serves(*version)
            }
            Fact::Changing { change } => {
                let is_there =
                    |record: &Record| matches!(record, Record::Changing { change: it, .. } if it == change);
                let is_known = self.snapshots().any(|all| all.changes.iter().any(|it| it.change == *change));
                need(is_known || self.0.iter().any(is_there), || format!("CHANGING: {change}"))
            }
            Fact::TakingOver { generation } => self.has_granted(*generation),
            Fact::Resolved { by, .. } => self.has_resolved(*by),
            Fact::Granted { generation } => self.has_granted(*generation),
            Fact::InDoubt { txid, .. } => self.has_voted(*txid),
            Fact::PresumedAborted { .. }
            | Fact::EmptyJournal
            | Fact::Region { .. }
            | Fact::Outdated { .. }
            | Fact::KeptOut { .. }
            | Fact::SplitBrain { .. }
            | Fact::Unlike { .. }
            | Fact::Foreign { .. }
            | Fact::Ignored { .. } => Ok(()),
        }
    }

    /// Whether the node whose journal this is runs the transactions.
    fn coordinates(self, config: &Config) -> bool {
        coordinator_by(self.0).unwrap_or(config.coordinator) == config.me
    }

    /// What snapshots say that are in it.
    fn snapshots(self) -> impl Iterator<Item = &'a Durable> {
        self.0.iter().filter_map(Record::snapshot)
    }

    /// Whether a snapshot says that the request of this name was taken.
    fn has_asked(self, id: RequestId) -> bool {
        self.snapshots().any(|all| all.asked.iter().any(|asked| asked.id == id))
    }

    /// What the journal says of a rollout over regions, at one point after the other.
    fn fleet(self, id: RequestId) -> impl Iterator<Item = &'a Fleet> {
        let of = |record: &'a Record| {
            if let Record::Fleet { fleet, .. } = record {
                return std::slice::from_ref(fleet);
            }
            record.snapshot().map_or(&[][..], |all| &all.fleets)
        };
        self.0.iter().flat_map(of).filter(move |fleet| fleet.id == id)
    }

    /// Whether what a region is asked follows from what is known of the rollout.
    fn has_fleet(self, id: RequestId, task: &Task) -> Result<(), String> {
        let asks = |fleet: &Fleet| match task {
            Task::State => true,
            Task::Out { was, .. } => fleet.parts.iter().any(|part| part.was.as_ref() == Some(was)),
            Task::Back { .. } => matches!(fleet.course, FleetCourse::Returning(_)),
        };
        need(self.fleet(id).any(asks), || format!("FLEET {id}, so far that it asks for this: {task}"))
    }

    fn has_accepted(self, id: RequestId) -> Result<(), String> {
        let is_there = |record: &Record| {
            matches!(record, Record::Accepted(rollout) if rollout.id == id)
                || matches!(record, Record::Fleet { by: Some(by), .. } if *by == id)
                || matches!(record, Record::Queued(queued) if queued.id == id)
        };
        let is_shown = self.snapshots().any(|all| {
            let waits = all.queue.iter().any(|queued| queued.id == id);
            let leads = all.fleets.iter().any(|fleet| fleet.id == id);
            leads || waits || all.rollouts.iter().any(|rollout| rollout.id == id)
        });
        need(is_shown || self.0.iter().any(is_there), || format!("ACCEPTED {id}"))
    }

    fn has_steered(self, id: RequestId) -> Result<(), String> {
        let is_there = |record: &Record| {
            matches!(record, Record::Fleet { by: Some(by), .. } if *by == id)
                || matches!(record, Record::Steered { by: Some(by), .. } if by.id == id)
        };
        need(self.has_asked(id) || self.0.iter().any(is_there), || format!("STEERED by {id}"))
    }

    fn has_changing(self, of: RequestId) -> Result<(), String> {
        let is_there = |record: &Record| matches!(record, Record::Changing { id, .. } if *id == of);
        need(self.has_asked(of) || self.0.iter().any(is_there), || format!("CHANGING {of}"))
    }

    fn takes_over(self, of: RequestId) -> Result<(), String> {
        let is_there = |record: &Record| matches!(record, Record::TakingOver { id, .. } if *id == of);
        need(self.has_asked(of) || self.0.iter().any(is_there), || format!("TAKING OVER by {of}"))
    }

    fn has_resolved(self, of: RequestId) -> Result<(), String> {
        let is_there = |record: &Record| matches!(record, Record::Resolved { id, .. } if *id == of);
        need(self.has_asked(of) || self.0.iter().any(is_there), || format!("RESOLVED by {of}"))
    }

    fn has_course(self, of: &Course) -> Result<(), String> {
        let is_there = |record: &Record| matches!(record, Record::Steered { course, .. } if course == of);
        need(self.0.iter().any(is_there), || format!("STEERED: {of}"))
    }

    fn has_voted(self, of: Txid) -> Result<(), String> {
        let is_there = |record: &Record| {
            matches!(record, Record::Voted { txid, .. } if *txid == of)
                || record.snapshot().is_some_and(|all| all.prepared_txid() == Some(of))
        };
        need(self.0.iter().any(is_there), || format!("VOTED {of}"))
    }

    fn has_decided(self, of: Txid, how: Outcome) -> Result<(), String> {
        let is_there = |record: &Record| {
            matches!(record, Record::Decided { txid, outcome, .. } | Record::Resolved { txid, outcome, .. }
                if *txid == of && *outcome == how)
        };
        let is_known = match how {
            Outcome::Commit => self.has_committed(of).is_ok(),
            // A snapshot does not say of each transaction how it ended: what was promised, and is neither in doubt nor what is
            // served, is presumed aborted.
            Outcome::Abort => self.snapshots().any(|all| {
                all.floor >= of && all.prepared_txid() != Some(of) && all.committed.txid != Some(of)
            }),
        };
        let is_decided = is_known || self.0.iter().any(is_there);
        need(is_decided, || format!("DECIDED {of}: {how:?}"))
    }

    fn has_committed(self, of: Txid) -> Result<(), String> {
        let is_there = |record: &Record| match record {
            Record::Decided { txid, outcome: Outcome::Commit, .. }
            | Record::Resolved { txid, outcome: Outcome::Commit, .. } => *txid == of,
            Record::Installed { state } | Record::Admitted { state, .. } => state.txid == Some(of),
            Record::Snapshot(all) => all.committed.txid == Some(of),
            Record::Decided { .. }
            | Record::Resolved { .. }
            | Record::Changing { .. }
            | Record::TakingOver { .. }
            | Record::Epoch { .. }
            | Record::Accepted(_)
            | Record::Queued(_)
            | Record::Fleet { .. }
            | Record::Recalled { .. }
            | Record::Steered { .. }
            | Record::Voted { .. }
            | Record::Refused { .. }
            | Record::Outdated
            | Record::Granted { .. } => false,
        };
        need(self.0.iter().any(is_there), || format!("that {of} was committed"))
    }

    fn has_granted(self, generation: u32) -> Result<(), String> {
        need(self.floor().generation >= generation, || format!("GRANTED {generation}"))
    }

    /// The coordinator's life in which a transaction begins.
    fn has_begun(self, txid: Txid) -> Result<(), String> {
        let life = self.life();
        let is_there = (life.generation, life.epoch) >= (txid.generation, txid.epoch);
        need(is_there, || format!("EPOCH {} of generation {}", txid.epoch, txid.generation))
    }

    /// A promise never to vote for this transaction (again).
    fn refuses(self, txid: Txid) -> Result<(), String> {
        need(self.floor() >= txid, || format!("REFUSED {txid}"))
    }

    fn serves(self, version: u64) -> Result<(), String> {
        need(self.committed().is_some_and(|state| state.version >= version) || version == 0, || {
            format!("that v{version} is committed")
        })
    }

    fn serves_state(self, of: &RoutingState) -> Result<(), String> {
        self.serves(of.version)?;
        let by = of.txid.map_or(Ok(()), |txid| self.has_committed(txid));
        by.map_err(|_| format!("that {of} is committed"))
    }

    /// Before all transactions of the coordinator's last life.
    fn life(self) -> Txid {
        let written = self.0.iter();
        let written = written
            .filter_map(|record| if let Record::Epoch { epoch } = record { Some(*epoch) } else { None });
        let epoch = written.chain(self.snapshots().map(|all| all.epoch));
        Txid { generation: self.floor().generation, epoch: epoch.max().unwrap_or(0), number: 0 }
    }

    /// The highest transaction about which a promise was made.
    fn floor(self) -> Txid {
        let promised = |record: &Record| match record {
            Record::Voted { txid, .. }
            | Record::Refused { txid }
            | Record::Decided { txid, .. }
            | Record::Resolved { txid, .. } => *txid,
            Record::Installed { state } => state.txid.unwrap_or_default(),
            Record::Granted { generation, .. } | Record::TakingOver { generation, .. } => {
                Txid::before(*generation)
            }
            Record::Admitted { begun, .. } => *begun,
            Record::Snapshot(all) => all.floor,
            Record::Epoch { .. }
            | Record::Accepted(_)
            | Record::Queued(_)
            | Record::Fleet { .. }
            | Record::Recalled { .. }
            | Record::Steered { .. }
            | Record::Outdated
            | Record::Changing { .. } => Txid::default(),
        };
        self.0.iter().map(promised).max().unwrap_or_default()
    }

    /// What was voted for last, with no outcome after it.
    fn in_doubt(self) -> Option<Txid> {
        self.0
            .iter()
            .fold(None, |in_doubt: Option<(Txid, u64)>, record| match record {
                Record::Voted { txid, state, .. } => Some((*txid, state.version)),
                Record::Snapshot(all) => {
                    all.prepared.as_ref().map(|prepared| (prepared.txid, prepared.state.version))
                }
                Record::Decided { txid, .. } | Record::Resolved { txid, .. } => {
                    in_doubt.filter(|(of, _)| of != txid)
                }
                Record::Installed { state } | Record::Admitted { state, .. } => {
                    in_doubt.filter(|(_, version)| *version > state.version)
                }
                Record::Outdated => None,
                Record::Epoch { .. }
                | Record::Accepted(_)
                | Record::Queued(_)
                | Record::Fleet { .. }
                | Record::Recalled { .. }
                | Record::Steered { .. }
                | Record::Refused { .. }
                | Record::Changing { .. }
                | Record::TakingOver { .. }
                | Record::Granted { .. } => in_doubt,
            })?
            .0
            .into()
    }

    /// The newest state that is committed, if one was ever written.
    fn committed(self) -> Option<&'a RoutingState> {
        let voted = |of: &Txid| {
            self.0.iter().rev().find_map(|record| match record {
                Record::Voted { txid, state, .. } if txid == of => Some(state),
                Record::Snapshot(all) => all
                    .prepared
                    .as_ref()
                    .filter(|prepared| prepared.txid == *of)
                    .map(|prepared| &prepared.state),
                Record::Voted { .. }
                | Record::Epoch { .. }
                | Record::Accepted(_)
                | Record::Queued(_)
                | Record::Fleet { .. }
                | Record::Recalled { .. }
                | Record::Steered { .. }
                | Record::Refused { .. }
                | Record::Outdated
                | Record::Decided { .. }
                | Record::Resolved { .. }
                | Record::Changing { .. }
                | Record::TakingOver { .. }
                | Record::Installed { .. }
                | Record::Granted { .. }
                | Record::Admitted { .. } => None,
            })
        };
        self.0.iter().rev().find_map(|record| match record {
            Record::Decided { txid, outcome: Outcome::Commit, .. }
            | Record::Resolved { txid, outcome: Outcome::Commit, .. } => voted(txid),
            Record::Snapshot(all) => Some(&all.committed),
            Record::Installed { state } | Record::Admitted { state, .. } => Some(state),
            Record::Decided { outcome: Outcome::Abort, .. }
            | Record::Resolved { outcome: Outcome::Abort, .. }
            | Record::Changing { .. }
            | Record::TakingOver { .. }
            | Record::Epoch { .. }
            | Record::Accepted(_)
            | Record::Queued(_)
            | Record::Fleet { .. }
            | Record::Recalled { .. }
            | Record::Steered { .. }
            | Record::Voted { .. }
            | Record::Refused { .. }
            | Record::Outdated
            | Record::Granted { .. } => None,
        })
    }
}

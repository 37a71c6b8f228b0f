//! What a rollout node never forgets: the fold of its journal.
//!
//! A record is applied by the same function when it is written and when it is read back after a crash, so a
//! recovered node equals the one that wrote.

use super::config::Config;
use super::message::{AbortReason, Outcome, Record, Rollout, StepResult};
use super::state::{RoutingState, Txid};
use crate::node::NodeId;

/// How many rollouts the coordinator remembers. A client's retry that comes later than that many rollouts
/// is a new request.
pub const REMEMBERED_ROLLOUTS: usize = 16;

/// A transaction this node voted for and whose outcome it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepared {
    /// The transaction.
    pub txid: Txid,
    /// What it proposes.
    pub state: RoutingState,
    /// Who votes.
    pub members: Vec<NodeId>,
}

/// The fold of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Durable {
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
    /// Coordinator: the number of its lives.
    pub epoch: u32,
    /// Coordinator: the last rollouts, oldest first.
    pub rollouts: Vec<Rollout>,
}

impl Durable {
    /// The state that a journal leaves.
    pub fn recover(config: &Config, journal: &[Record]) -> Self {
        let mut durable = Self {
            committed: RoutingState::initial(&config.initial_model),
            prepared: None,
            floor: Txid::default(),
            admitted: None,
            epoch: 0,
            rollouts: Vec::new(),
        };
        for record in journal {
            durable.apply(record);
        }
        durable
    }

    /// Takes in one more record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Epoch { epoch } => self.epoch = *epoch,
            Record::Accepted(rollout) => {
                self.rollouts.push(rollout.clone());
                if self.rollouts.len() > REMEMBERED_ROLLOUTS {
                    self.rollouts.remove(0);
                }
            }
            Record::Voted { txid, state, members } => {
                self.floor = self.floor.max(*txid);
                let (state, members) = (state.clone(), members.clone());
                self.prepared = Some(Prepared { txid: *txid, state, members });
            }
            Record::Refused { txid } => self.floor = self.floor.max(*txid),
            Record::Decided { txid, outcome, reason } => {
                self.floor = self.floor.max(*txid);
                let prepared = self.prepared.take_if(|prepared| prepared.txid == *txid);
                let result = match (outcome, prepared) {
                    (Outcome::Commit, Some(prepared)) => {
                        self.committed = prepared.state;
                        Some(StepResult::Committed { version: self.committed.version, txid: *txid })
                    }
                    (Outcome::Commit, None) => None,
                    // The step was interrupted, not judged: the new life tries it again.
                    (Outcome::Abort, _) if *reason == Some(AbortReason::CoordinatorRestarted) => None,
                    (Outcome::Abort, _) => {
                        reason.clone().map(|reason| StepResult::Aborted { txid: *txid, reason })
                    }
                };
                if let (Some(step), Some(result)) = (self.current_step(), result) {
                    *step = result;
                }
            }
            Record::Installed { state } => {
                self.prepared.take_if(|prepared| prepared.state.version <= state.version);
                self.floor = self.floor.max(state.txid.unwrap_or_default());
                self.committed = state.clone();
            }
            Record::Granted { generation } => self.floor = self.floor.max(Txid::before(*generation)),
            Record::Admitted { state, begun } => {
                self.floor = self.floor.max(*begun);
                self.admitted = Some(*begun);
                self.committed = state.clone();
            }
        }
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

    /// The transaction this node is prepared for.
    pub fn prepared_txid(&self) -> Option<Txid> {
        self.prepared.as_ref().map(|prepared| prepared.txid)
    }

    fn current_step(&mut self) -> Option<&mut StepResult> {
        let rollout = self.rollouts.last_mut().filter(|rollout| !rollout.is_over())?;
        rollout.steps.iter_mut().map(|step| &mut step.result).find(|result| **result == StepResult::Pending)
    }
}

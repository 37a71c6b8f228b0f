//! The vocabulary of the rollout: what nodes say, write, are asked and answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::Health;
use super::state::{ModelId, RoutingState, Txid};
use crate::node::{NodeId, RequestId};

/// What nodes tell each other. The `type` on the wire is the name in capitals: `PREPARE_REQ`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Message {
    /// Coordinator to participant: will you commit this state?
    PrepareReq {
        /// The transaction.
        txid: Txid,
        /// What is proposed.
        state: RoutingState,
        /// Who votes.
        members: Vec<NodeId>,
    },
    /// Participant to coordinator: the vote, durable before it is sent.
    PrepareResp {
        /// The transaction.
        txid: Txid,
        /// The vote.
        vote: Vote,
    },
    /// Coordinator or resolver to participant: how it ended.
    Decision {
        /// The transaction.
        txid: Txid,
        /// The version it proposed.
        version: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// The decision is durable here; it need not be sent again.
    DecisionAck {
        /// The transaction.
        txid: Txid,
    },
    /// A participant in doubt asks how it ended.
    DecisionReq {
        /// The transaction.
        txid: Txid,
        /// The version it proposed.
        version: u64,
        /// The asker is the resolver: whoever has not voted must refuse, durably, before it answers.
        resolve: bool,
    },
    /// What the asked one knows.
    DecisionResp {
        /// The transaction.
        txid: Txid,
        /// What is known.
        answer: Answer,
    },
    /// Every node to every node, from time to time.
    Heartbeat {
        /// Who speaks.
        node_id: NodeId,
        /// What it has committed.
        last_committed_version: u64,
        /// The digest of that state.
        digest: u64,
    },
    /// Participant to coordinator: how its data plane does.
    HealthSnapshot {
        /// The last window.
        health: Health,
    },
    /// To a node that is behind: what is committed.
    StateSync {
        /// The sender's committed state.
        state: RoutingState,
    },
    /// Participant to coordinator: I have no past; take me in.
    JoinReq {
        /// The asker's life, to be named in the answer.
        life: u64,
    },
    /// Coordinator to participant: you are a member.
    JoinResp {
        /// Which life asked.
        life: u64,
        /// What is committed.
        state: RoutingState,
        /// The last transaction that has begun: the asker may have voted for it, or refused it, and knows no more.
        begun: Txid,
    },
    /// Coordinator to everybody: I have no past; take me in as this generation.
    AdmitReq {
        /// The asker's life, to be named in the answer.
        life: u64,
        /// The generation.
        generation: u32,
    },
    /// Member to coordinator: the highest generation it has granted, durably.
    AdmitResp {
        /// Which life asked.
        life: u64,
        /// The generation.
        generation: u32,
        /// What the member knows, if it has granted it to the life that asked; it voted for nothing since.
        known: Option<Known>,
    },
}

impl Message {
    /// Whether it is one of the questions and answers by which nodes are admitted.
    pub fn is_about_joining(&self) -> bool {
        matches!(
            self,
            Self::JoinReq { .. } | Self::JoinResp { .. } | Self::AdmitReq { .. } | Self::AdmitResp { .. }
        )
    }
}

/// What a member knows when it takes the coordinator in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What it has committed.
    pub state: RoutingState,
    /// What it voted for and does not know the outcome of.
    pub in_doubt: Option<RoutingState>,
    /// Its own life, if it is joining, too.
    pub joining: Option<u64>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// For. The voter is in doubt until it learns the outcome.
    Commit,
    /// Against. The transaction can no longer commit.
    Abort(Refusal),
}

/// Why a node votes against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The proposed version is not the one after the committed one.
    VersionNotNext {
        /// What was proposed.
        proposed: u64,
        /// What is committed here.
        committed: u64,
    },
    /// Another transaction is prepared here.
    Busy {
        /// Which.
        txid: Txid,
    },
    /// The data plane is too slow.
    Latency {
        /// The measured 95th percentile.
        p95_ms: u32,
        /// The gate.
        limit_ms: u32,
    },
    /// The data plane fails too often.
    Errors {
        /// The measured share, in basis points.
        error_bp: u32,
        /// The gate.
        limit_bp: u32,
    },
    /// Too few samples, and the policy says abort.
    NoEvidence {
        /// How many there are.
        samples: u32,
        /// How many are needed.
        needed: u32,
    },
    /// Two nodes hold different states for one version; a person must look.
    SplitBrain,
    /// The node has promised not to vote for this transaction: it, or a later one, was refused or aborted.
    Stale,
    /// A resolver asked, and this node had not voted.
    Resolved {
        /// Who asked.
        by: NodeId,
    },
    /// The proposal's members are not those of the configuration.
    Members,
    /// The transaction had begun when the node was admitted. Its former disk may have known more.
    Rejoined,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// On all nodes.
    Commit,
    /// On none.
    Abort,
}

/// What a node knows of a transaction when somebody in doubt asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It committed.
    Committed,
    /// It cannot commit: it was aborted, or this node has durably refused it.
    Aborted,
    /// This node voted for it and does not know more.
    Uncertain,
    /// It is not decided, or this node has not heard of it and was not asked to refuse.
    Unknown,
}

/// Why a transaction was aborted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortReason {
    /// A member voted against.
    Refused {
        /// Who.
        by: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// Votes were missing when the time was up.
    Timeout {
        /// Whose.
        missing: Vec<NodeId>,
    },
    /// The coordinator restarted before it had decided (presumed abort).
    CoordinatorRestarted,
    /// A resolver learned that it cannot commit.
    Resolved {
        /// Who said so.
        by: NodeId,
    },
}

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
    /// This node voted for a transaction. At the coordinator this is also the proposal.
    Voted {
        /// The transaction.
        txid: Txid,
        /// What it proposes.
        state: RoutingState,
        /// Who votes.
        members: Vec<NodeId>,
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
    },
    /// This node was admitted.
    Admitted {
        /// What was committed.
        state: RoutingState,
        /// The last transaction that had begun; about it, and earlier ones, the node makes no statement.
        begun: Txid,
    },
}

/// A staged rollout: one transaction a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// The client's request, which names the rollout.
    pub id: RequestId,
    /// The model to roll out.
    pub model: ModelId,
    /// How long to watch a step before the next, in milliseconds.
    pub pause_ms: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Rollout {
    /// The step that is to be done next: the first pending one, unless an earlier one was aborted.
    pub fn next_step(&self) -> Option<&Step> {
        let first = self.steps.iter().find(|step| !matches!(step.result, StepResult::Committed { .. }));
        first.filter(|step| step.result == StepResult::Pending)
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.next_step().is_none()
    }

    /// Whether all steps were committed.
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.result, StepResult::Committed { .. }))
    }
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Step {
    /// The model's share of the requests from here on, in basis points.
    pub share_bp: u32,
    /// What came of it.
    pub result: StepResult,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// Nothing yet.
    Pending,
    /// All nodes serve it.
    Committed {
        /// Under this version.
        version: u64,
        /// By this transaction.
        txid: Txid,
    },
    /// No node serves it, and the rollout stops here.
    Aborted {
        /// By this transaction.
        txid: Txid,
        /// Why.
        reason: AbortReason,
    },
}

/// The timers of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Coordinator: the time for votes is up.
    Vote,
    /// Coordinator: send again what was not answered.
    Resend,
    /// Coordinator: the pause after a step is over.
    Step,
    /// Participant in doubt: ask.
    Inquire,
    /// Tell the others what is committed here.
    Heartbeat,
    /// Not a member: ask again to be admitted.
    Join,
}

/// What clients ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Roll a model out, step by step.
    StartRollout {
        /// Which.
        model: ModelId,
        /// Its shares, in basis points, strictly rising.
        steps_bp: Vec<u32>,
        /// How long to watch a step before the next, in milliseconds.
        #[serde(default)]
        pause_ms: u64,
    },
    /// The data plane, or whoever measures it, reports a window.
    ReportHealth(Health),
}

/// What clients are answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The rollout is durable here and under way (or was, if this is a retry).
    Accepted {
        /// Its name.
        id: RequestId,
    },
    /// Noted.
    Done,
    /// Only the coordinator starts rollouts.
    NotCoordinator {
        /// Who that is.
        coordinator: NodeId,
    },
    /// Another rollout is under way.
    Busy {
        /// Which.
        running: RequestId,
    },
    /// Two nodes hold different states for one version: nothing may change until a person has looked.
    SplitBrain,
    /// The coordinator has not been admitted (yet).
    Joining(Waiting),
    /// The request makes no sense, or its name belongs to another request.
    Invalid {
        /// Why.
        why: String,
    },
}

/// What keeps a node from being a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Waiting {
    /// Who has not answered.
    pub members: Vec<NodeId>,
    /// Coordinator: who is in doubt about what. Only the lost disk may have known the outcome.
    pub excluded: Option<(NodeId, Txid)>,
}

/// What checkers and logs learn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// The coordinator took a rollout in hand.
    Accepted {
        /// Its name.
        id: RequestId,
    },
    /// This node voted for a transaction.
    Voted {
        /// The transaction.
        txid: Txid,
        /// The version it proposes.
        version: u64,
    },
    /// This node will not vote for a transaction: it cannot commit.
    Refused {
        /// The transaction.
        txid: Txid,
        /// Why.
        refusal: Refusal,
    },
    /// The restarted coordinator has no record of a transaction: it cannot commit.
    PresumedAborted {
        /// The transaction.
        txid: Txid,
    },
    /// This node serves a state that a transaction committed.
    Committed {
        /// The transaction.
        txid: Txid,
        /// The state's version.
        version: u64,
        /// The state's digest.
        digest: u64,
    },
    /// This node knows that a transaction was aborted.
    Aborted {
        /// The transaction.
        txid: Txid,
        /// Why, as far as this node knows.
        reason: Option<AbortReason>,
    },
    /// This node was behind and serves a state that another one sent.
    CaughtUp {
        /// The state's version.
        version: u64,
        /// The state's digest.
        digest: u64,
    },
    /// This node found its journal empty: it is new, or its disk is. Whatever it knew and promised is gone.
    EmptyJournal,
    /// This node has taken the coordinator in as this generation.
    Granted {
        /// The generation.
        generation: u32,
    },
    /// This node was admitted.
    Admitted {
        /// The version of the committed state that it was given.
        version: u64,
        /// The state's digest.
        digest: u64,
    },
    /// The coordinator is not admitted: a member is in doubt, and only the lost disk may have known.
    KeptOut {
        /// Who is in doubt.
        by: NodeId,
        /// About what.
        txid: Txid,
    },
    /// This node voted and waited, and must now ask for the outcome.
    InDoubt {
        /// The transaction.
        txid: Txid,
        /// Whether it asks as the resolver.
        resolver: bool,
    },
    /// Two nodes hold different states for one version.
    SplitBrain {
        /// Who disagrees with this node.
        with: NodeId,
        /// About which version.
        version: u64,
    },
    /// A message made no sense here and was ignored.
    Ignored {
        /// Who sent it.
        from: NodeId,
        /// What is odd about it.
        why: String,
    },
}

/// What readers outside see of a node. All of it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct View {
    /// Who.
    pub node: NodeId,
    /// Who runs the transactions.
    pub coordinator: NodeId,
    /// What is served.
    pub routing: RoutingState,
    /// A transaction this node voted for, whose outcome it does not know.
    pub in_doubt: Option<Txid>,
    /// What keeps this node from being a member; it serves nothing before it is one.
    pub joining: Option<Waiting>,
    /// Whether a split brain was seen.
    pub split_brain: bool,
    /// The last window of this node's data plane.
    pub health: Option<Health>,
    /// Coordinator: the last window of each other member.
    pub member_health: BTreeMap<NodeId, Health>,
    /// Coordinator: the last rollouts, oldest first.
    pub rollouts: Vec<Rollout>,
}

//! The vocabulary of the rollout: what nodes say, are asked and answer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::config::Told;
use super::fleet::{Fleet, Life, Standing, Task};
use super::gates::{Breach, Gates};
use super::health::{Evidence, Health};
pub use super::plan::{Guard, OnFailure, RolloutPlan};
use super::state::{Change, ClusterId, ModelId, RoutingState, Txid};
use crate::node::{NodeId, RequestId};

/// What travels: a message, and of which cluster it speaks. What another cluster says is not for this one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// What is said.
    #[serde(flatten)]
    pub message: Message,
    /// The sender's cluster; none as long as it is not a member of one.
    pub cluster: Option<ClusterId>,
}

/// As the message inside it, by whose name checkers and tests call it.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

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
        /// What the canary must keep at the voter; none, where the change is asked about at no gate.
        #[serde(default)]
        gates: Option<Gates>,
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
        /// What the asker was told of the cluster.
        told: Told,
    },
    /// Coordinator to participant: you are a member.
    JoinResp {
        /// Which life asked.
        life: u64,
        /// Of which cluster.
        member_of: ClusterId,
        /// What is committed.
        state: RoutingState,
        /// The last transaction that has begun: the asker may have voted for it, or refused it, and knows no more.
        begun: Txid,
    },
    /// To whoever asks to be taken in: you were told something else of the cluster than I.
    Unlike {
        /// Which life asked.
        life: u64,
        /// What the answering node was told.
        told: Told,
    },
    /// Coordinator to everybody: I have no past; take me in as this generation.
    AdmitReq {
        /// The asker's life, to be named in the answer.
        life: u64,
        /// The generation.
        generation: u32,
        /// It was not the coordinator, and takes over.
        takes_over: bool,
        /// What the asker was told of the cluster.
        told: Told,
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
    /// From the leading region's coordinator to another region's, which is another cluster's: do your part. Sent until it
    /// is done.
    RegionReq {
        /// The rollout over all regions.
        fleet: RequestId,
        /// What is to be done.
        task: Task,
    },
    /// From a region's coordinator: how far it is.
    RegionResp {
        /// The rollout over all regions.
        fleet: RequestId,
        /// Whether it was asked to take its part back.
        back: bool,
        /// Which life of the region's coordination says so.
        life: Life,
        /// How far it is.
        standing: Standing,
    },
}

impl Message {
    /// Whether it is between regions: from another cluster, by which configurations name nodes.
    pub fn is_about_regions(&self) -> bool {
        matches!(self, Self::RegionReq { .. } | Self::RegionResp { .. })
    }

    /// Whether it is one of the questions and answers by which nodes are admitted.
    pub fn is_about_joining(&self) -> bool {
        matches!(
            self,
            Self::JoinReq { .. }
                | Self::JoinResp { .. }
                | Self::Unlike { .. }
                | Self::AdmitReq { .. }
                | Self::AdmitResp { .. }
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
    /// Of which cluster it is a member, if it ever was one.
    pub cluster: Option<ClusterId>,
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
    /// The canary does not keep a limit here.
    Gate(Breach),
    /// The canary took too few requests here under the version that is served.
    NoEvidence {
        /// How many there are.
        samples: u32,
        /// How many are needed.
        needed: u32,
    },
    /// What was reported last of the data plane is too old.
    StaleEvidence {
        /// Which window it was about.
        window_id: u64,
    },
    /// Two nodes hold different states for one version; a person must look.
    SplitBrain,
    /// The node has promised not to vote for this transaction: it, or a later one, was refused or aborted.
    Stale {
        /// The last one that it has promised not to vote for.
        floor: Txid,
    },
    /// A resolver asked, and this node had not voted.
    Resolved {
        /// Who asked.
        by: NodeId,
    },
    /// Those who are asked are not all members, or more than one member changes.
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
    /// An operator's order ended the vote.
    Ordered,
    /// A member had promised something about a later transaction, which this coordinator has not begun. It goes on
    /// beyond that.
    Outrun {
        /// Which member.
        by: NodeId,
        /// The transaction.
        floor: Txid,
    },
}

impl AbortReason {
    /// Whether the transaction was ended before anybody had judged what it proposes. It is tried again.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::CoordinatorRestarted | Self::Ordered | Self::Outrun { .. })
    }

    /// Whether a voter had no evidence (any more). The hold begins anew.
    pub fn is_lack_of_evidence(&self) -> bool {
        use Refusal::{NoEvidence, StaleEvidence};
        matches!(self, Self::Refused { refusal: NoEvidence { .. } | StaleEvidence { .. }, .. })
    }

    /// Whether the canary failed at a gate.
    pub fn is_failed_gate(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::Gate(_), .. })
    }
}

/// The evidence by which a node voted for a canary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// What was asked.
    pub gates: Gates,
    /// What was measured.
    pub health: Health,
}

/// Who gave an order, by the request's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The request.
    pub id: RequestId,
    /// What it asks for.
    pub order: Order,
    /// Of which rollout, if it says so.
    pub rollout: Option<RequestId>,
}

/// A rollout that waits until those before it are over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queued {
    /// The client's request, which names the rollout.
    pub id: RequestId,
    /// What was asked for.
    pub plan: RolloutPlan,
    /// Before which other one it does not begin, and not at all unless that comes to its end.
    pub behind: Option<RequestId>,
}

/// A staged rollout: one transaction a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The client's request, which names the rollout.
    pub id: RequestId,
    /// What was asked for.
    pub plan: RolloutPlan,
    /// The transactions that it takes, in order.
    pub steps: Vec<Step>,
    /// What the canary must keep on every node before it gets more; none: nothing is asked.
    #[serde(default)]
    pub gates: Option<Gates>,
    /// The rollout under way whose place it took.
    #[serde(default)]
    pub supersedes: Option<RequestId>,
    /// Where it goes.
    #[serde(default)]
    pub course: Course,
}

impl Rollout {
    /// The model that is rolled out.
    pub fn model(&self) -> &ModelId {
        &self.plan.model
    }

    /// The step that is to be done next: the first pending one, unless an earlier one was aborted.
    pub fn next_step(&self) -> Option<&Step> {
        let first = self.steps.iter().find(|step| !step.is_committed());
        first.filter(|step| step.result == StepResult::Pending)
    }

    /// The step that was committed last.
    pub fn last_step(&self) -> Option<&Step> {
        self.steps.iter().rfind(|step| step.is_committed())
    }

    /// What a way back leads to. A rollout without steps is nothing but a way back, to its model.
    pub fn returns_to<'a>(&'a self, served: &'a RoutingState) -> &'a ModelId {
        if self.steps.is_empty() { self.model() } else { &served.stable_model_id }
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        match self.course {
            Course::Returned(_) | Course::Stopped(_) | Course::Superseded { .. } | Course::Kept => true,
            Course::Returning(_) | Course::Paused(_) => false,
            Course::Going | Course::Promoted => self.next_step().is_none() && !self.awaits_verdict(),
        }
    }

    /// Whether it stays where it is until somebody gives an order.
    pub fn is_paused(&self) -> bool {
        matches!(self.course, Course::Paused(_))
    }

    /// Whether all steps were committed, and nothing was taken back.
    pub fn is_complete(&self) -> bool {
        self.is_done()
            && self.is_over()
            && matches!(self.course, Course::Going | Course::Promoted | Course::Kept)
    }

    /// Whether all steps are done, and the last leaves a canary that has yet to pass its gates there.
    fn awaits_verdict(&self) -> bool {
        let stays = self.steps.last().is_some_and(|step| !step.makes_stable);
        self.is_done() && stays && self.gates.is_some()
    }

    fn is_done(&self) -> bool {
        self.steps.iter().all(Step::is_committed)
    }
}

/// Where a rollout goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// From step to step.
    #[default]
    Going,
    /// It stays where it is until somebody gives an order.
    Paused(Why),
    /// To the next step, now, and without a question at the gates: an operator answers for it.
    Promoted,
    /// Back to the stable model, in one transaction, without a question at the gates.
    Returning(Why),
    /// It is over: every node serves the stable model alone.
    Returned(Why),
    /// It is over, and the weights stay where they are.
    Stopped(Why),
    /// It is over: another one took its place.
    Superseded {
        /// Which.
        by: RequestId,
    },
    /// It is over: its last step left a canary, which has passed its gates there.
    Kept,
}

/// Why a rollout left its course.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// An operator wanted it.
    Ordered,
    /// What was measured at a node.
    Judged {
        /// Where.
        at: NodeId,
        /// What.
        refusal: Refusal,
    },
    /// A step was aborted.
    Aborted(AbortReason),
    /// The rollout for whose end it waited did not come to it.
    Follows {
        /// Which.
        failed: RequestId,
    },
    /// When its turn came it made no sense any more.
    Senseless(String),
    /// Another node coordinates.
    Succeeded {
        /// Which.
        by: NodeId,
    },
    /// It was a region's part of a rollout over all regions, which is taken back.
    Recalled {
        /// Which.
        fleet: RequestId,
    },
}

/// What an operator can ask of a rollout that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Stay where it is.
    Pause,
    /// Go on: the hold of the present step begins anew.
    Resume,
    /// End this hold, and take the next step, whatever the gates say.
    Promote,
    /// Return every node to the stable model.
    Abort,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Promote, Self::Abort];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The model's share of the requests from here on, in basis points.
    pub share_bp: u32,
    /// Whether the model is the stable one from here on, and no longer on trial.
    #[serde(default)]
    pub makes_stable: bool,
    /// How long to hold it before the next, in milliseconds.
    #[serde(default)]
    pub hold_ms: u64,
    /// What came of it.
    pub result: StepResult,
}

impl Step {
    /// Whether all nodes serve it.
    pub fn is_committed(&self) -> bool {
        matches!(self.result, StepResult::Committed { .. })
    }
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

impl StepResult {
    /// Why it was aborted, if it was.
    pub fn reason(&self) -> Option<&AbortReason> {
        match self {
            Self::Aborted { reason, .. } => Some(reason),
            Self::Pending | Self::Committed { .. } => None,
        }
    }
}

/// The timers of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Coordinator: the time for votes is up.
    Vote,
    /// Coordinator: send again what was not answered.
    Resend,
    /// Coordinator: the hold of a step is over; or it is time to try the way back again.
    Step,
    /// Coordinator: a step has waited long enough for evidence.
    Deadline,
    /// What was reported last of this member's data plane is too old.
    Stale(NodeId),
    /// Participant in doubt: ask.
    Inquire,
    /// Tell the others what is committed here.
    Heartbeat,
    /// Participant: the coordinator was not heard of for too long.
    Silence,
    /// Not a member: ask again to be admitted.
    Join,
    /// A rollout over regions: ask again who has to do something.
    Fleet,
}

/// What clients ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Roll a model out, step by step.
    StartRollout(RolloutPlan),
    /// Roll a model out once all rollouts before it are over, and have come to their ends.
    QueueRollout(RolloutPlan),
    /// Steer the rollout under way.
    Steer {
        /// How.
        order: Order,
        /// Which one is meant; none: whichever is under way.
        #[serde(default)]
        rollout: Option<RequestId>,
    },
    /// The data plane, or whoever measures it, reports a window.
    ReportHealth(Health),
    /// Change the cluster itself.
    Change(Change),
    /// Coordinate from now on: the coordinator is gone for good, and is dismissed.
    TakeOver {
        /// Who that is.
        from: NodeId,
    },
    /// To a node in doubt: this is how it ended. Whoever says so answers for it.
    Resolve {
        /// The transaction.
        txid: Txid,
        /// How it ended.
        outcome: Outcome,
    },
    /// Roll a model out in one region after the other.
    StartFleet(RolloutPlan),
    /// Return every region that has begun the rollout over regions to what it served before.
    AbortFleet,
}

/// A change of the cluster that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The client's request, which names it.
    pub id: RequestId,
    /// The change.
    pub change: Change,
    /// It is tried until it is done: who takes over dismisses whom it succeeds.
    pub is_insisted_on: bool,
    /// What came of it.
    pub result: StepResult,
}

impl Request {
    /// A rollout that nothing judges: see [`RolloutPlan::unguarded`].
    pub fn unguarded(model: ModelId, steps_bp: Vec<u32>, pause_ms: u64) -> Self {
        Self::StartRollout(RolloutPlan::unguarded(model, steps_bp, pause_ms))
    }

    /// Tells requests of one name apart: XXH3 of its JSON.
    pub fn digest(&self) -> u64 {
        xxh3_64(&serde_json::to_vec(self).expect("a request is plain data and always serialises"))
    }
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
    /// The order is durable here and is being carried out (or was, if this is a retry).
    Ordered {
        /// Which rollout it is about.
        rollout: RequestId,
    },
    /// The change is durable here and under way (or was, if this is a retry).
    Changing {
        /// Its name.
        id: RequestId,
    },
    /// It is durable here that this node takes over (or was, if this is a retry).
    TakingOver,
    /// What the operator said is durable here.
    Resolved {
        /// The transaction.
        txid: Txid,
    },
    /// The order fits nothing that is under way.
    Unfit {
        /// Why.
        why: String,
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
    /// Whose configuration says something else than this node's, and what.
    #[serde(default)]
    pub unlike: Vec<(NodeId, String)>,
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
    /// By what evidence this node voted for it.
    Passed {
        /// The transaction.
        txid: Txid,
        /// What it saw.
        passed: Passed,
    },
    /// The rollout under way takes another course.
    Steered {
        /// Which rollout.
        rollout: RequestId,
        /// The course from here on.
        course: Course,
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
        /// Who serves it.
        members: Vec<NodeId>,
    },
    /// The cluster itself is to be changed.
    Changing {
        /// How.
        change: Change,
    },
    /// This node is one of a region, whose cluster is not the other regions' one.
    Region {
        /// Which, in the order in which rollouts go through them.
        place: u32,
    },
    /// The rollout over all regions is at another point.
    Fleet(Fleet),
    /// This node is to coordinate, as this generation.
    TakingOver {
        /// The generation.
        generation: u32,
    },
    /// An operator has told this node how a transaction ended.
    Resolved {
        /// The transaction.
        txid: Txid,
        /// How.
        outcome: Outcome,
        /// By which request.
        by: RequestId,
    },
    /// This node is no longer a member.
    Dismissed {
        /// Since this version.
        version: u64,
    },
    /// This node's journal is an old one, which has forgotten what it said: it has to be admitted again.
    Outdated {
        /// What was committed since.
        version: u64,
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
    /// What a node was told of the cluster is not what this one was told.
    Unlike {
        /// Which node.
        with: NodeId,
        /// What differs, by field.
        what: String,
    },
    /// A node speaks for another cluster: its journal, or this one's, is a foreign one.
    Foreign {
        /// Which node.
        from: NodeId,
        /// Which cluster it is of.
        theirs: ClusterId,
        /// Which cluster this node is of.
        mine: ClusterId,
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
    /// Of which cluster this node is a member.
    pub cluster: Option<ClusterId>,
    /// Who speaks for another cluster, and for which.
    pub foreign: BTreeMap<NodeId, ClusterId>,
    /// Whose configuration says something else than this node's, and what.
    pub unlike: BTreeMap<NodeId, String>,
    /// Whether this node has started and not heard yet if it is behind; it serves nothing before it has.
    pub asks: bool,
    /// What keeps this node from being a member; it serves nothing before it is one.
    pub joining: Option<Waiting>,
    /// Whether a split brain was seen.
    pub split_brain: bool,
    /// What this node knows of its data plane; the coordinator of every member's.
    pub evidence: BTreeMap<NodeId, Evidence>,
    /// Coordinator: the last rollouts, oldest first.
    pub rollouts: Vec<Rollout>,
    /// Coordinator: the rollouts that wait for their turn.
    pub queued: Vec<Queued>,
    /// Coordinator: the last changes of the cluster, oldest first.
    pub changes: Vec<Changed>,
    /// For whom this node waits before it coordinates.
    pub taking_over: Option<Waiting>,
    /// The leading region's coordinator: the last rollouts over all regions, oldest first.
    pub fleets: Vec<Fleet>,
    /// What the regions said last of it, by their names.
    pub regions: BTreeMap<String, Standing>,
}

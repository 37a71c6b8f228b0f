//! What a node shows of itself and its rollouts.

use std::collections::BTreeMap;

use coalmine_core::node::NodeId;
use coalmine_core::rollout::gates::{Gates, Verdict};
use coalmine_core::rollout::health::Evidence;
use coalmine_core::rollout::message::{Changed, Course, Queued, Rollout, Step, StepResult, View, Waiting};
use coalmine_core::rollout::state::{ClusterId, ModelId, RoutingState, Txid};
use serde::{Deserialize, Serialize};

use super::body::{GatesFile, ModelWindow, models_of};
use super::fleet::FleetView;
use super::progress::Progress;
use super::units::percent_of_bp;
use crate::http_api::request_name;

/// `GET /health/snapshot`: what the node knows of its own data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthSnapshot {
    /// Which window ended last; none before the first was reported.
    pub window_id: Option<u64>,
    /// The version under which all of it was served; none before the first report.
    pub version: Option<u64>,
    /// Whether the last report is too old to say anything about now.
    pub is_stale: bool,
    /// What each model did. A model that is not there was asked for nothing.
    pub models: BTreeMap<ModelId, ModelWindow>,
    /// What the node has committed.
    pub last_committed_version: u64,
}

impl From<&View> for HealthSnapshot {
    fn from(view: &View) -> Self {
        let evidence = view.evidence.get(&view.node);
        Self {
            window_id: evidence.map(|evidence| evidence.health.window_id),
            version: evidence.map(|evidence| evidence.health.version),
            is_stale: evidence.is_some_and(|evidence| evidence.is_stale),
            models: evidence.map(|evidence| models_of(&evidence.health)).unwrap_or_default(),
            last_committed_version: view.routing.version,
        }
    }
}

/// What is known of a data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// Which window ended last.
    pub window_id: u64,
    /// The version under which all of it was served.
    pub version: u64,
    /// Whether that is too long ago to say anything about now.
    pub is_stale: bool,
    /// What each model did. A model that is not there was asked for nothing.
    pub models: BTreeMap<ModelId, ModelWindow>,
}

impl From<&Evidence> for EvidenceView {
    fn from(evidence: &Evidence) -> Self {
        let Evidence { health, is_stale } = evidence;
        Self {
            window_id: health.window_id,
            version: health.version,
            is_stale: *is_stale,
            models: models_of(health),
        }
    }
}

/// What a member's evidence says about the canary that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictView {
    /// Whose evidence.
    pub node: NodeId,
    /// What it says.
    pub verdict: VerdictKind,
    /// Why it is no pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many requests the canary took there, under the version that is served.
    pub samples: u32,
}

/// The word for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The canary keeps all limits.
    Pass,
    /// It does not keep one.
    Fail,
    /// It took too few requests.
    NoEvidence,
    /// The last report is too old.
    Stale,
}

impl VerdictKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoEvidence => "no evidence",
            Self::Stale => "stale",
        }
    }
}

impl VerdictView {
    fn new(node: NodeId, gates: &Gates, canary: &ModelId, view: &View) -> Self {
        let evidence = view.evidence.get(&node);
        let verdict = gates.judge(canary, &view.routing, evidence);
        let kind = match verdict {
            Verdict::Pass => VerdictKind::Pass,
            Verdict::Fail(_) => VerdictKind::Fail,
            Verdict::NoEvidence { .. } => VerdictKind::NoEvidence,
            Verdict::Stale { .. } => VerdictKind::Stale,
        };
        let of_this_version = evidence.filter(|it| it.health.version == view.routing.version);
        Self {
            node,
            verdict: kind,
            why: verdict.refusal().map(|refusal| refusal.to_string()),
            samples: of_this_version.map_or(0, |evidence| evidence.health.of(canary).samples),
        }
    }

    /// One for each member, while a guarded rollout is under way and its canary is served.
    fn of_all(view: &View) -> Vec<Self> {
        let running = view.rollouts.last().filter(|rollout| !rollout.is_over());
        let on_trial =
            running.filter(|rollout| view.routing.canary_model_id.as_ref() == Some(rollout.model()));
        let Some((rollout, gates)) = on_trial.and_then(|rollout| Some((rollout, rollout.gates.as_ref()?)))
        else {
            return Vec::new();
        };
        view.routing.ids().map(|node| Self::new(node, gates, rollout.model(), view)).collect()
    }
}

/// A rollout, as `GET /rollouts` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its name: `<client>/<sequence>`.
    pub id: String,
    /// What is rolled out.
    pub model: ModelId,
    /// Where it goes.
    pub course: Progress,
    /// Why it does not go on, or goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it was asked to hold each step, in milliseconds.
    pub pause_ms: u64,
    /// What judges it; none: nothing does.
    #[serde(default)]
    pub gates: Option<GatesFile>,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
}

/// Why a rollout does not go on from step to step.
fn why(rollout: &Rollout) -> Option<String> {
    match &rollout.course {
        Course::Paused(why) | Course::Returning(why) | Course::Returned(why) | Course::Stopped(why) => {
            Some(why.to_string())
        }
        Course::Superseded { by } => Some(format!("{} took its place", request_name(*by))),
        Course::Going | Course::Promoted | Course::Kept => {
            rollout.steps.iter().find_map(|step| step.result.reason()).map(ToString::to_string)
        }
    }
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The model's share from here on.
    pub percent: f64,
    /// Whether the model is the stable one from here on, and no longer on trial.
    pub makes_stable: bool,
    /// How long it is held before the next, in milliseconds.
    pub hold_ms: u64,
    /// What came of it.
    pub outcome: StepOutcome,
    /// The version that serves it, once committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The transaction that decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txid: Option<Txid>,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Nothing yet.
    Pending,
    /// All nodes serve it.
    Committed,
    /// No node serves it.
    Aborted,
}

impl From<&Rollout> for RolloutView {
    fn from(rollout: &Rollout) -> Self {
        Self {
            id: request_name(rollout.id),
            model: rollout.model().clone(),
            course: Progress::of(rollout),
            why: why(rollout),
            pause_ms: rollout.plan.pause_ms,
            gates: rollout.gates.as_ref().map(GatesFile::from),
            steps: rollout.steps.iter().map(StepView::from).collect(),
        }
    }
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        let (outcome, version, txid, reason) = match &step.result {
            StepResult::Pending => (StepOutcome::Pending, None, None, None),
            StepResult::Committed { version, txid } => {
                (StepOutcome::Committed, Some(*version), Some(*txid), None)
            }
            StepResult::Aborted { txid, reason } => {
                (StepOutcome::Aborted, None, Some(*txid), Some(reason.to_string()))
            }
        };
        let Step { share_bp, makes_stable, hold_ms, .. } = *step;
        Self { percent: percent_of_bp(share_bp), makes_stable, hold_ms, outcome, version, txid, reason }
    }
}

/// A change of the cluster, as `GET /status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Its name: `<client>/<sequence>`.
    pub id: String,
    /// What changes.
    pub change: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Changed> for ChangeView {
    fn from(changed: &Changed) -> Self {
        let (outcome, reason) = match &changed.result {
            StepResult::Pending => (StepOutcome::Pending, None),
            StepResult::Committed { .. } => (StepOutcome::Committed, None),
            StepResult::Aborted { reason, .. } => (StepOutcome::Aborted, Some(reason.to_string())),
        };
        Self { id: request_name(changed.id), change: changed.change.to_string(), outcome, reason }
    }
}

/// A rollout that waits for its turn, as `GET /status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedView {
    /// Its name: `<client>/<sequence>`.
    pub id: String,
    /// The model.
    pub model: ModelId,
    /// The one that it waits for, without which it never begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

impl From<&Queued> for QueuedView {
    fn from(queued: &Queued) -> Self {
        Self {
            id: request_name(queued.id),
            model: queued.plan.model.clone(),
            behind: queued.behind.map(request_name),
        }
    }
}

/// `GET /status`: all that a node shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Who.
    pub node: NodeId,
    /// What it does beside voting.
    pub role: Role,
    /// Who runs the transactions.
    pub coordinator: NodeId,
    /// What is served.
    pub routing: RoutingState,
    /// The digest of that, 16 hexadecimal digits: equal on all nodes that hold the same state.
    pub digest: String,
    /// The transaction this node voted for and does not know the outcome of.
    pub in_doubt: Option<Txid>,
    /// Why this node is not a member (yet): it serves nothing before it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<String>,
    /// Why this node takes in nothing any more, and serves what it published last, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
    /// Whether two nodes were seen to hold different states for one version.
    pub split_brain: bool,
    /// What this node knows of its data plane; the coordinator of every member's.
    pub evidence: BTreeMap<NodeId, EvidenceView>,
    /// Coordinator: the last rollout, whether it is over or not.
    pub rollout: Option<RolloutView>,
    /// Of which cluster it is a member.
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    /// Who speaks for another cluster: its journal, or this node's, is a foreign one.
    #[serde(default)]
    pub foreign: BTreeMap<NodeId, ClusterId>,
    /// Whose file says something else of the cluster than this node's, and what.
    #[serde(default)]
    pub unlike: BTreeMap<NodeId, String>,
    /// Coordinator: the last change of the cluster, whether it is over or not.
    #[serde(default)]
    pub change: Option<ChangeView>,
    /// Coordinator: the rollouts that wait for their turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<QueuedView>,
    /// For whom this node waits before it coordinates, if an operator wants that it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taking_over: Option<String>,
    /// The leading region's coordinator: the last rollout over all regions, whether it is over or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetView>,
    /// Which region's cluster this is, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Coordinator: what each member's evidence says about the canary, while a guarded rollout is under way and its
    /// canary is served.
    #[serde(default)]
    pub verdicts: Vec<VerdictView>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the transactions, and votes.
    Coordinator,
    /// Votes.
    Participant,
}

impl Role {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Participant => "participant",
        }
    }
}

impl StatusView {
    /// What this view shows.
    pub fn new(view: &View) -> Self {
        Self {
            node: view.node,
            role: if view.node == view.coordinator { Role::Coordinator } else { Role::Participant },
            coordinator: view.coordinator,
            routing: view.routing.clone(),
            digest: format!("{:016x}", view.routing.digest()),
            in_doubt: view.in_doubt,
            joining: why_no_member(view),
            stale: None,
            split_brain: view.split_brain,
            evidence: view.evidence.iter().map(|(&id, evidence)| (id, evidence.into())).collect(),
            rollout: view.rollouts.last().map(RolloutView::from),
            cluster: view.cluster,
            foreign: of_members(view, &view.foreign),
            unlike: of_members(view, &view.unlike),
            change: view.changes.last().map(ChangeView::from),
            queued: view.queued.iter().map(QueuedView::from).collect(),
            taking_over: view.taking_over.as_ref().map(|waiting| waits_to_coordinate(view, waiting)),
            fleet: FleetView::all(view).pop(),
            region: None,
            verdicts: VerdictView::of_all(view),
        }
    }
}

/// What is known of members; of one that was dismissed nobody needs to know it.
fn of_members<T: Clone>(view: &View, known: &BTreeMap<NodeId, T>) -> BTreeMap<NodeId, T> {
    let is_member = |id: &NodeId| view.routing.has(*id) || view.joining.is_some();
    known.iter().filter(|(id, _)| is_member(id)).map(|(&id, what)| (id, what.clone())).collect()
}

/// Why this node serves nothing; none: it does.
pub(in crate::rollout) fn why_silent(view: &View) -> Option<String> {
    let asks = || "it has just started, and has not heard yet whether it is behind".into();
    let why = why_no_member(view).map(|why| format!("it is not a member: {why}"));
    why.or_else(|| view.asks.then(asks))
}

/// Why this node is not a member of the cluster, and serves nothing; none: it is one.
fn why_no_member(view: &View) -> Option<String> {
    let Some(waiting) = &view.joining else { return why_of_another_cluster(view) };
    if let Some((by, txid)) = waiting.excluded {
        return Some(format!(
            "{waiting}: `canary resolve {txid}` at {by} tells how it ended, if anybody knows"
        ));
    }
    if !waiting.unlike.is_empty() || view.routing.has(view.node) {
        return Some(waiting.to_string());
    }
    let version = view.routing.version;
    Some(match view.cluster {
        Some(_) => format!("it was dismissed by version {version}: `canary node --join` takes it in again"),
        None => format!("{waiting}, once the cluster was asked for it by `canary node --join`"),
    })
}

/// Most of those whom this node takes for members speak for another cluster: its journal is a foreign one.
fn why_of_another_cluster(view: &View) -> Option<String> {
    let foreign = of_members(view, &view.foreign);
    let cluster = view.cluster.filter(|_| 2 * foreign.len() > view.routing.members.len())?;
    let others: Vec<_> = foreign.iter().map(|(id, theirs)| format!("{id} of {theirs}")).collect();
    Some(format!(
        "its journal is of cluster {cluster}, {}: put its own back, or delete it",
        others.join(", ")
    ))
}

/// For what this node waits before it coordinates.
fn waits_to_coordinate(view: &View, waiting: &Waiting) -> String {
    let former = view.coordinator;
    if let Some((by, txid)) = waiting.excluded {
        return format!(
            "{by} is in doubt about {txid}, which {former} may have decided either way: `canary resolve {txid}` at {by} \
             tells how it ended"
        );
    }
    if !waiting.unlike.is_empty() || waiting.members.is_empty() {
        return waiting.to_string();
    }
    let names: Vec<_> = waiting.members.iter().map(ToString::to_string).collect();
    format!("waiting for the promise of {} to obey {former} no more", names.join(" and "))
}

#[cfg(test)]
mod tests {
    use coalmine_core::node::RequestId;
    use coalmine_core::rollout::gates::{Breach, Gate};
    use coalmine_core::rollout::health::{Health, Window};
    use coalmine_core::rollout::message::{AbortReason, Refusal, RolloutPlan, Why};
    use coalmine_core::rollout::state::WHOLE_BP;

    use super::*;

    fn model(name: &str) -> ModelId {
        ModelId::new(name).expect("a name")
    }

    /// A rollout with two steps, of which the first is committed.
    fn rollout(course: Course) -> Rollout {
        let plan = RolloutPlan::guarded(model("v2"), vec![500, WHOLE_BP], 0);
        let committed = StepResult::Committed { version: 1, txid: Txid::default() };
        let step = |share_bp, result| Step { share_bp, makes_stable: false, hold_ms: 9, result };
        Rollout {
            id: RequestId { client: 1, sequence: 1 },
            plan,
            steps: vec![step(500, committed), step(WHOLE_BP, StepResult::Pending)],
            gates: Some(Gates::default()),
            supersedes: None,
            course,
        }
    }

    #[test]
    fn every_course_has_its_word_and_its_reason() {
        let breach = Breach { gate: Gate::Errors, value: 5_000, limit: 500, samples: 100 };
        let judged = || Why::Judged { at: NodeId(2), refusal: Refusal::Gate(breach) };
        let failed = "n2: the canary failed: its 50% errors are above 5% (100 samples)";
        let by = RequestId { client: 7, sequence: 2 };
        let courses = [
            (Course::Going, Progress::Running, None),
            (Course::Promoted, Progress::Running, None),
            (Course::Paused(Why::Ordered), Progress::Paused, Some("an operator's order")),
            (Course::Returning(judged()), Progress::Returning, Some(failed)),
            (Course::Returned(judged()), Progress::Returned, Some(failed)),
            (Course::Stopped(judged()), Progress::Stopped, Some(failed)),
            (Course::Superseded { by }, Progress::Superseded, Some("7/2 took its place")),
        ];
        for (course, progress, why) in courses {
            let rollout = rollout(course);
            let view = RolloutView::from(&rollout);
            assert_eq!((view.course, view.why.as_deref()), (progress, why));
            assert_eq!(view.course.is_over(), rollout.is_over(), "{progress:?}");
        }
    }

    #[test]
    fn what_its_steps_came_to_is_told_apart() {
        let last = |course, result| {
            let mut rollout = rollout(course);
            rollout.steps[1].makes_stable = true;
            rollout.steps[1].result = result;
            let view = RolloutView::from(&rollout);
            assert_eq!(view.course.is_over(), rollout.is_over());
            (view.course, view.why)
        };
        let committed = || StepResult::Committed { version: 2, txid: Txid::default() };
        assert_eq!(last(Course::Going, committed()), (Progress::Completed, None));
        assert_eq!(last(Course::Kept, committed()), (Progress::Completed, None));
        let reason = AbortReason::Timeout { missing: vec![NodeId(3)] };
        let aborted = StepResult::Aborted { txid: Txid::default(), reason };
        let why = Some("no vote from n3 in time".to_owned());
        assert_eq!(last(Course::Going, aborted), (Progress::Stopped, why));
    }

    #[test]
    fn each_member_has_a_verdict_while_a_canary_is_on_trial() {
        let members: Vec<_> = (1..=5).map(NodeId).collect();
        let served = RoutingState::initial(&model("v1"), &members);
        let served = served.next_canary(&model("v2"), 500, Txid::default()).expect("a step");
        let evidence = |version, error_bp, is_stale| {
            let window = Window { samples: 200, p95_ms: 1, error_bp };
            let health = Health { window_id: 4, version, models: [(model("v2"), window)].into() };
            Evidence { health, is_stale }
        };
        let all =
            [evidence(1, 0, false), evidence(1, 600, false), evidence(1, 0, true), evidence(0, 0, false)];
        let mut view = View {
            fleets: Vec::new(),
            regions: BTreeMap::new(),
            cluster: None,
            foreign: BTreeMap::new(),
            unlike: BTreeMap::new(),
            queued: Vec::new(),
            changes: Vec::new(),
            taking_over: None,
            node: NodeId(1),
            coordinator: NodeId(1),
            routing: served,
            in_doubt: None,
            asks: false,
            joining: None,
            split_brain: false,
            evidence: (1..).map(NodeId).zip(all).collect(),
            rollouts: vec![rollout(Course::Going)],
        };
        let status = StatusView::new(&view);
        let said: Vec<_> = status.verdicts.iter().map(|it| (it.verdict, it.samples)).collect();
        let expected = [
            (VerdictKind::Pass, 200),
            (VerdictKind::Fail, 200),
            (VerdictKind::Stale, 200),
            (VerdictKind::NoEvidence, 0),
            (VerdictKind::NoEvidence, 0),
        ];
        assert_eq!(said, expected);
        assert_eq!(status.verdicts[0].why, None);
        let why = "no evidence: 0 samples of the canary, 100 needed";
        assert_eq!(status.verdicts[4].why.as_deref(), Some(why));
        let json = serde_json::to_value(&status).expect("plain data");
        assert_eq!(json["evidence"]["2"]["models"]["v2"]["error_rate"], 0.06);
        assert_eq!(serde_json::from_value::<StatusView>(json).expect("it can be read"), status);

        view.rollouts[0].gates = None;
        assert_eq!(StatusView::new(&view).verdicts, [], "nothing judges it");
        view.rollouts = vec![rollout(Course::Returned(Why::Ordered))];
        assert_eq!(StatusView::new(&view).verdicts, [], "it is over");
        (view.rollouts, view.routing) =
            (vec![rollout(Course::Going)], RoutingState::initial(&model("v1"), &[]));
        assert_eq!(StatusView::new(&view).verdicts, [], "no canary is served");
    }
}

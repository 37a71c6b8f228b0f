//! The JSON of the rollout's HTTP interface, for the server and for clients: shares are percent where people
//! write them and decimals in states; a rollout's name is `<client>/<sequence>`.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use coalmine_core::node::NodeId;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::{Rollout, Step, StepResult, View};
use coalmine_core::rollout::state::{ModelId, RoutingState, Txid, WHOLE_BP};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::http_api::{ApiError, request_name};

/// The longest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// `POST /rollouts`: what to roll out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// The model.
    pub model: ModelId,
    /// Its shares, in percent, in steps of 0.01, rising.
    pub steps: Vec<f64>,
    /// How long to watch a step before the next, in milliseconds.
    #[serde(default)]
    pub pause_ms: u64,
}

/// `POST /health/report`: what a data plane outside this process measured over one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthBody {
    /// Which window; the node counts by itself where it is left out.
    #[serde(default)]
    pub window_id: Option<u64>,
    /// How many requests it held.
    pub samples: u32,
    /// The 95th percentile of their latency, in milliseconds.
    pub p95_ms: u32,
    /// The share that failed, 0 to 1.
    pub error_rate: f64,
}

/// `POST /predict`: the model's input, which may be any object, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PredictBody {
    /// Requests with the same key are served by the same model for as long as the weights stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What `POST /predict` answers, also where the model failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Which model served.
    pub model: ModelId,
    /// Under which version of the routing state.
    pub routing_version: u64,
    /// On which node.
    pub node: NodeId,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GET /health/snapshot`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthSnapshot {
    /// The last window.
    #[serde(flatten)]
    pub window: Window,
    /// What the node has committed.
    pub last_committed_version: u64,
}

/// One window of a data plane. Without requests there is no latency and no error rate: no evidence is not
/// health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The 95th percentile of latency, in milliseconds.
    pub p95_ms: Option<u32>,
    /// The share that failed, 0 to 1.
    pub error_rate: Option<f64>,
    /// How many requests it held.
    pub samples: u32,
    /// Which window; none before the first was reported.
    pub window_id: Option<u64>,
}

impl From<Option<&Health>> for Window {
    fn from(health: Option<&Health>) -> Self {
        let measured = health.filter(|health| health.samples > 0);
        Self {
            p95_ms: measured.map(|health| health.p95_ms),
            error_rate: measured.map(|health| decimal_of_bp(health.error_bp)),
            samples: health.map_or(0, |health| health.samples),
            window_id: health.map(|health| health.window_id),
        }
    }
}

/// A rollout, as `GET /rollouts` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its name: `<client>/<sequence>`.
    pub id: String,
    /// What is rolled out.
    pub model: ModelId,
    /// How far it is.
    pub state: Progress,
    /// How long each step is watched, in milliseconds.
    pub pause_ms: u64,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Steps are pending.
    Running,
    /// All steps were committed.
    Completed,
    /// A step was aborted; the weights stay where they are.
    Stopped,
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The model's share from here on.
    pub percent: f64,
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
        let state = match (rollout.is_complete(), rollout.is_over()) {
            (true, _) => Progress::Completed,
            (false, true) => Progress::Stopped,
            (false, false) => Progress::Running,
        };
        Self {
            id: request_name(rollout.id),
            model: rollout.model.clone(),
            state,
            pause_ms: rollout.pause_ms,
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
        Self { percent: percent_of_bp(step.share_bp), outcome, version, txid, reason }
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
    /// Whether two nodes were seen to hold different states for one version.
    pub split_brain: bool,
    /// The last window of this node's data plane.
    pub health: Window,
    /// Coordinator: the last windows of the others.
    pub member_health: BTreeMap<NodeId, Window>,
    /// Coordinator: the last rollout, whether it is over or not.
    pub rollout: Option<RolloutView>,
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

impl From<&View> for StatusView {
    fn from(view: &View) -> Self {
        let others = view.member_health.iter().map(|(&id, health)| (id, Some(health).into()));
        Self {
            node: view.node,
            role: if view.node == view.coordinator { Role::Coordinator } else { Role::Participant },
            coordinator: view.coordinator,
            routing: view.routing.clone(),
            digest: format!("{:016x}", view.routing.digest()),
            in_doubt: view.in_doubt,
            joining: view.joining.as_ref().map(ToString::to_string),
            split_brain: view.split_brain,
            health: view.health.as_ref().into(),
            member_health: others.collect(),
            rollout: view.rollouts.last().map(RolloutView::from),
        }
    }
}

/// Basis points as percent.
pub fn percent_of_bp(bp: u32) -> f64 {
    f64::from(bp) / 100.0
}

/// Percent as basis points; `Err` says what is wrong. How large a share may be is for the node to say.
pub fn bp_of_percent(percent: f64) -> Result<u32, String> {
    let whole = (percent * 100.0).round();
    if (0.0..=f64::from(u32::MAX)).contains(&whole) && (percent * 100.0 - whole).abs() < 1e-6 {
        Ok(whole as u32)
    } else {
        Err(format!("{percent}: must be a percentage from 0.01 to 100 in steps of 0.01"))
    }
}

/// Basis points as a decimal.
pub fn decimal_of_bp(bp: u32) -> f64 {
    f64::from(bp) / f64::from(WHOLE_BP)
}

/// A decimal as basis points, rounded up, so that a limit is never met by rounding.
pub fn bp_of_decimal(decimal: f64) -> Result<u32, String> {
    if (0.0..=1.0).contains(&decimal) {
        Ok((decimal * f64::from(WHOLE_BP) - 1e-6).ceil() as u32)
    } else {
        Err(format!("{decimal}: must lie in 0..=1"))
    }
}

/// Reads a request's body: one JSON object. An error says where in it something is wrong.
pub(super) fn read_body<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| {
        let status = rejection.status();
        let why = match status {
            StatusCode::PAYLOAD_TOO_LARGE => format!("it is longer than {MAX_BODY_BYTES} bytes"),
            _ => rejection.body_text(),
        };
        ApiError(status, format!("body: {why}"))
    })?;
    // A struct could also be read from an array, whose meaning would hang on the order of fields.
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|&first| first != b'{') {
        return Err(ApiError(StatusCode::BAD_REQUEST, "body: it must be a JSON object".into()));
    }
    let mut json = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let status = match error.inner().classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
        };
        ApiError(status, format!("body: {error}"))
    })?;
    json.end().map_err(|error| ApiError(StatusCode::BAD_REQUEST, format!("body: {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_keep_two_digits_and_no_more() {
        for bp in [0, 1, 5, 57, 500, 2_900, 9_999, 10_000, 20_000] {
            assert_eq!(bp_of_percent(percent_of_bp(bp)), Ok(bp));
        }
        for percent in [0.005, 33.333, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(bp_of_percent(percent).is_err(), "{percent}");
        }
    }

    #[test]
    fn error_rates_are_rounded_up() {
        for bp in 0..=WHOLE_BP {
            assert_eq!(bp_of_decimal(decimal_of_bp(bp)), Ok(bp));
        }
        assert_eq!(bp_of_decimal(0.050_01), Ok(501));
        for rate in [-0.1, 1.1, f64::NAN] {
            assert!(bp_of_decimal(rate).is_err(), "{rate}");
        }
    }

    #[test]
    fn a_body_is_one_object_and_errors_say_where() {
        let read = |body: &'static str| {
            read_body::<StartBody>(Ok(Bytes::from_static(body.as_bytes()))).map_err(|e| (e.0.as_u16(), e.1))
        };
        assert!(read(r#" {"model":"v2","steps":[5,100]} "#).is_ok());
        let complaints = [
            (r#"["v2",[5]]"#, 400, "must be a JSON object"),
            (r#"{"model":"v2","steps":[5]} x"#, 400, "trailing characters"),
            (r#"{"model":"v2""#, 400, "EOF"),
            ("", 400, "EOF"),
            (r#"{"model":"v2","steps":[5,"x"]}"#, 422, "steps[1]: invalid type"),
            (r#"{"model":"","steps":[5]}"#, 422, "model: model name"),
            (r#"{"model":"v2","steps":[5],"pause":1}"#, 422, "unknown field `pause`"),
        ];
        for (body, status, why) in complaints {
            let (got, said) = read(body).expect_err(body);
            assert!(got == status && said.contains(why), "{body}: {got} {said}");
        }
    }
}

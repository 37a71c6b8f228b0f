//! What requests hold, and what is answered to them.

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use coalmine_core::node::RequestId;
use coalmine_core::rollout::gates::Gates;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{Guard, OnFailure, RolloutPlan};
use coalmine_core::rollout::state::ModelId;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::error::Category;

use super::units::{bp_of_decimal, bp_of_percent, decimal_of_bp, percent_of_bp};
use crate::http_api::{ApiError, parse_request_name, request_name, whole};

/// How many models a report may name.
pub const MAX_MODELS: usize = 16;

/// `POST /rollouts`: what to roll out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// The model.
    pub model: ModelId,
    /// Its shares, in percent, in steps of 0.01, rising.
    pub steps: Vec<f64>,
    /// How long to hold a step before the next, in milliseconds.
    #[serde(default)]
    pub pause_ms: u64,
    /// The hold of each step, where they differ; as many as there are steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds_ms: Vec<u64>,
    /// What judges it. Default the gates of the coordinator's configuration.
    #[serde(default, skip_serializing_if = "GuardBody::is_configured")]
    pub gates: GuardBody,
    /// What comes of a failure: `return`, `stop` or `pause`. Default `return`.
    #[serde(default = "default_on_failure")]
    pub on_failure: OnFailure,
    /// How long after its hold a step waits for evidence before it pauses, in milliseconds. Default ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Whether it takes the place of a rollout that is under way. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub supersede: bool,
}

fn default_on_failure() -> OnFailure {
    OnFailure::Return
}

impl StartBody {
    /// What it asks the node for; `Err` names the field that makes no sense.
    pub fn plan(self) -> Result<RolloutPlan, String> {
        let to_bp =
            |(i, &percent): (usize, &f64)| bp_of_percent(percent).map_err(|why| format!("steps[{i}]: {why}"));
        Ok(RolloutPlan {
            model: self.model,
            steps_bp: self.steps.iter().enumerate().map(to_bp).collect::<Result<_, _>>()?,
            pause_ms: self.pause_ms,
            holds_ms: self.holds_ms,
            gates: self.gates.guard().map_err(|why| format!("gates.{why}"))?,
            on_failure: self.on_failure,
            deadline_ms: self.deadline_ms.unwrap_or(RolloutPlan::DEADLINE_MS),
            supersede: self.supersede,
        })
    }
}

impl From<&RolloutPlan> for StartBody {
    fn from(plan: &RolloutPlan) -> Self {
        Self {
            model: plan.model.clone(),
            steps: plan.steps_bp.iter().map(|&bp| percent_of_bp(bp)).collect(),
            pause_ms: plan.pause_ms,
            holds_ms: plan.holds_ms.clone(),
            gates: GuardBody::from(&plan.gates),
            on_failure: plan.on_failure,
            deadline_ms: Some(plan.deadline_ms),
            supersede: plan.supersede,
        }
    }
}

/// What judges a rollout: `"configured"`, which is the default, `"off"`, or an object of limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum GuardBody {
    /// The gates of the coordinator's configuration.
    #[default]
    Configured,
    /// Nothing.
    Off,
    /// These. What is left out has its default, whatever is configured.
    These(GatesFile),
}

impl GuardBody {
    fn is_configured(&self) -> bool {
        *self == Self::Configured
    }

    fn guard(&self) -> Result<Guard, String> {
        Ok(match self {
            Self::Configured => Guard::Configured,
            Self::Off => Guard::Off,
            Self::These(limits) => Guard::These(limits.gates()?),
        })
    }
}

impl From<&Guard> for GuardBody {
    fn from(guard: &Guard) -> Self {
        match guard {
            Guard::Configured => Self::Configured,
            Guard::Off => Self::Off,
            Guard::These(gates) => Self::These(gates.into()),
        }
    }
}

impl Serialize for GuardBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Configured => serializer.serialize_str("configured"),
            Self::Off => serializer.serialize_str("off"),
            Self::These(limits) => limits.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for GuardBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GuardVisitor)
    }
}

/// Reads a [`GuardBody`] so that a mistake in it is named by its own key.
struct GuardVisitor;

impl<'de> Visitor<'de> for GuardVisitor {
    type Value = GuardBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"off\", \"configured\" or an object of limits")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<GuardBody, E> {
        match word {
            "off" => Ok(GuardBody::Off),
            "configured" => Ok(GuardBody::Configured),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GuardBody, A::Error> {
        GatesFile::deserialize(MapAccessDeserializer::new(map)).map(GuardBody::These)
    }
}

/// What a canary must keep, with rates as decimals: in a node's file, and where a rollout brings its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatesFile {
    /// The highest 95th percentile of the canary's latency, in milliseconds. Default 200.
    pub max_p95_ms: u32,
    /// The highest share of the canary's requests that fail, 0 to 1. Default 0.05.
    pub max_error_rate: f64,
    /// By how many milliseconds the canary's 95th percentile may lie above the stable model's. Default 100.
    pub max_p95_rise_ms: u32,
    /// By how much the canary's share of failures may lie above the stable model's, 0 to 1. Default 0.02.
    pub max_error_rate_rise: f64,
    /// How many requests a model must have taken to be judged, or to be compared with. Default 100; at least 1.
    pub min_samples: u32,
}

impl Default for GatesFile {
    fn default() -> Self {
        Self::from(&Gates::default())
    }
}

impl From<&Gates> for GatesFile {
    fn from(gates: &Gates) -> Self {
        Self {
            max_p95_ms: gates.max_p95_ms,
            max_error_rate: decimal_of_bp(gates.max_error_bp),
            max_p95_rise_ms: gates.max_p95_rise_ms,
            max_error_rate_rise: decimal_of_bp(gates.max_error_rise_bp),
            min_samples: gates.min_samples,
        }
    }
}

impl GatesFile {
    /// The limits; `Err` names the key that makes no sense.
    pub fn gates(&self) -> Result<Gates, String> {
        let bp = |key: &str, rate| bp_of_decimal(rate).map_err(|why| format!("{key}: {why}"));
        Ok(Gates {
            max_p95_ms: self.max_p95_ms,
            max_error_bp: bp("max_error_rate", self.max_error_rate)?,
            max_p95_rise_ms: self.max_p95_rise_ms,
            max_error_rise_bp: bp("max_error_rate_rise", self.max_error_rate_rise)?,
            min_samples: self.min_samples,
        })
    }
}

/// What `POST /rollouts` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The rollout's name: `<client>/<sequence>`.
    pub id: String,
    /// How long each step is held, in milliseconds: gates may need more than was asked for. Left out where the rollout
    /// was over long ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds_ms: Vec<u64>,
}

/// An order that says all by its path. The body may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rollout) struct NothingBody {}

/// `POST /rollouts/pause`, `resume`, `promote` and `abort`: which rollout is meant. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SteerBody {
    /// Its name, `<client>/<sequence>`. Default whichever is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

impl From<Option<RequestId>> for SteerBody {
    fn from(rollout: Option<RequestId>) -> Self {
        Self { rollout: rollout.map(request_name) }
    }
}

impl SteerBody {
    /// Which rollout is meant; `Err` says that this is no name.
    pub fn meant(&self) -> Result<Option<RequestId>, String> {
        let read = |name: &String| {
            let read = parse_request_name(name);
            read.ok_or_else(|| "rollout: must be two numbers, `<client>/<sequence>`".to_owned())
        };
        self.rollout.as_ref().map(read).transpose()
    }
}

/// What `POST /rollouts/pause`, `resume`, `promote` and `abort` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// The rollout that it is about: `<client>/<sequence>`.
    pub rollout: String,
}

/// `POST /health/report`: what a data plane outside this process measured, up to the end of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthBody {
    /// Which window; the node counts by itself where it is left out.
    #[serde(default)]
    pub window_id: Option<u64>,
    /// The version of the routing state under which all of it was served.
    pub version: u64,
    /// What each model did. A model that was asked for nothing is left out.
    #[serde(default)]
    pub models: BTreeMap<ModelId, ModelWindow>,
}

impl From<&Health> for HealthBody {
    fn from(health: &Health) -> Self {
        Self { window_id: Some(health.window_id), version: health.version, models: models_of(health) }
    }
}

impl HealthBody {
    /// What it reports; `unnamed` names the window where the body does not. `Err` names the field that makes no sense.
    pub fn health(self, unnamed: impl FnOnce() -> u64) -> Result<Health, String> {
        if self.models.len() > MAX_MODELS {
            return Err(format!("models: {} models: there may be {MAX_MODELS}", self.models.len()));
        }
        let window = |(model, window): (ModelId, ModelWindow)| {
            let window = window.window().map_err(|why| format!("models.{model}.{why}"))?;
            Ok((model, window))
        };
        let models = self.models.into_iter().map(window).collect::<Result<_, String>>()?;
        Ok(Health { window_id: self.window_id.unwrap_or_else(unnamed), version: self.version, models })
    }
}

/// What one model did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelWindow {
    /// How many requests it took.
    pub samples: u32,
    /// The 95th percentile of their latency, in milliseconds.
    pub p95_ms: u32,
    /// The share that failed, 0 to 1.
    pub error_rate: f64,
}

impl From<&Window> for ModelWindow {
    fn from(window: &Window) -> Self {
        let Window { samples, p95_ms, error_bp } = *window;
        Self { samples, p95_ms, error_rate: decimal_of_bp(error_bp) }
    }
}

impl ModelWindow {
    /// The same, as the node counts; `Err` names the field that makes no sense.
    pub fn window(self) -> Result<Window, String> {
        let Self { samples, p95_ms, error_rate } = self;
        let error_bp = bp_of_decimal(error_rate).map_err(|why| format!("error_rate: {why}"))?;
        Ok(Window { samples, p95_ms, error_bp })
    }
}

/// What each model did.
pub(super) fn models_of(health: &Health) -> BTreeMap<ModelId, ModelWindow> {
    health.models.iter().map(|(model, window)| (model.clone(), window.into())).collect()
}

/// A request's body, or that there is none.
pub(in crate::rollout) type RawBody = Result<Bytes, BytesRejection>;

/// An empty object in the place of an empty body.
pub(in crate::rollout) fn or_nothing(body: RawBody) -> RawBody {
    body.map(|bytes| if bytes.trim_ascii().is_empty() { Bytes::from_static(b"{}") } else { bytes })
}

/// Reads a request's body: one JSON object. An error says where in it something is wrong.
pub(in crate::rollout) fn read_body<T: DeserializeOwned>(body: RawBody) -> Result<T, ApiError> {
    let body = whole(body)?;
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

    fn read<T: DeserializeOwned>(body: &'static str) -> Result<T, (u16, String)> {
        read_body(Ok(Bytes::from_static(body.as_bytes()))).map_err(|e| (e.0.as_u16(), e.1))
    }

    #[test]
    fn a_body_is_one_object_and_errors_say_where() {
        assert!(read::<StartBody>(r#" {"model":"v2","steps":[5,100]} "#).is_ok());
        let complaints = [
            (r#"["v2",[5]]"#, 400, "must be a JSON object"),
            (r#"{"model":"v2","steps":[5]} x"#, 400, "trailing characters"),
            (r#"{"model":"v2""#, 400, "EOF"),
            ("", 400, "EOF"),
            (r#"{"model":"v2","steps":[5,"x"]}"#, 422, "steps[1]: invalid type"),
            (r#"{"model":"","steps":[5]}"#, 422, "model: model name"),
            (r#"{"model":"v2","steps":[5],"pause":1}"#, 422, "unknown field `pause`"),
            (
                r#"{"model":"v2","steps":[5],"gates":"on"}"#,
                422,
                "gates: invalid value: string \"on\", expected \"off\"",
            ),
            (r#"{"model":"v2","steps":[5],"gates":null}"#, 422, "gates: invalid type: null"),
            (r#"{"model":"v2","steps":[5],"gates":{"p95":1}}"#, 422, "gates.p95: unknown field `p95`"),
            (
                r#"{"model":"v2","steps":[5],"gates":{"max_p95_ms":-1}}"#,
                422,
                "gates.max_p95_ms: invalid value",
            ),
            (r#"{"model":"v2","steps":[5],"on_failure":"cry"}"#, 422, "on_failure: unknown variant `cry`"),
            (r#"{"model":"v2","steps":[5],"holds_ms":[-1]}"#, 422, "holds_ms[0]: invalid value"),
        ];
        for (body, status, why) in complaints {
            let (got, said) = read::<StartBody>(body).expect_err(body);
            assert!(got == status && said.contains(why), "{body}: {got} {said}");
        }
    }

    #[test]
    fn what_is_left_out_of_a_rollout_is_judged_and_returns() {
        let plan = |body| read::<StartBody>(body).expect(body).plan();
        let v2 = || ModelId::new("v2").expect("a name");
        let guarded = RolloutPlan::guarded(v2(), vec![500, 10_000], 0);
        assert_eq!(plan(r#"{"model":"v2","steps":[5,100]}"#), Ok(guarded.clone()));
        assert_eq!(plan(r#"{"model":"v2","steps":[5,100],"gates":"configured"}"#), Ok(guarded.clone()));
        let off = plan(r#"{"model":"v2","steps":[5,100],"gates":"off","on_failure":"stop"}"#);
        assert_eq!(off, Ok(RolloutPlan::unguarded(v2(), vec![500, 10_000], 0)));
        let gates = Gates { max_error_bp: 100, ..Gates::default() };
        assert_eq!(
            plan(r#"{"model":"v2","steps":[5,100],"gates":{"max_error_rate":0.01}}"#),
            Ok(RolloutPlan { gates: Guard::These(gates), ..guarded })
        );
        let rate = plan(r#"{"model":"v2","steps":[5],"gates":{"max_error_rate_rise":1.5}}"#);
        assert_eq!(rate, Err("gates.max_error_rate_rise: 1.5: must lie in 0..=1".into()));
        let share = plan(r#"{"model":"v2","steps":[5,0.001]}"#).expect_err("not a basis point");
        assert!(share.starts_with("steps[1]: 0.001: must be a percentage"), "{share}");
    }

    #[test]
    fn a_report_names_the_model_whose_numbers_make_no_sense() {
        let health = |body| read::<HealthBody>(body).expect(body).health(|| 9);
        let v2 = ModelId::new("v2").expect("a name");
        let window = Window { samples: 7, p95_ms: 20, error_bp: 5_000 };
        let body = r#"{"version":3,"models":{"v2":{"samples":7,"p95_ms":20,"error_rate":0.5}}}"#;
        assert_eq!(health(body), Ok(Health { window_id: 9, version: 3, models: [(v2, window)].into() }));
        let body = r#"{"version":3,"models":{"v2":{"samples":7,"p95_ms":20,"error_rate":2}}}"#;
        assert_eq!(health(body), Err("models.v2.error_rate: 2: must lie in 0..=1".into()));
        let named = health(r#"{"window_id":4,"version":3}"#).expect("silence can be reported");
        assert_eq!((named.window_id, named.models.len()), (4, 0));
        let one = |n: usize| (ModelId::new(&format!("m{n}")).expect("a name"), (&window).into());
        let many = HealthBody { window_id: None, version: 0, models: (0..17).map(one).collect() };
        assert_eq!(many.health(|| 1), Err("models: 17 models: there may be 16".into()));
    }

    #[test]
    fn an_order_may_come_without_a_body() {
        let meant = |body: &'static str| {
            let body = or_nothing(Ok(Bytes::from_static(body.as_bytes())));
            read_body::<SteerBody>(body).map_err(|error| error.1)?.meant()
        };
        for empty in ["", " \n", "{}"] {
            assert_eq!(meant(empty), Ok(None), "{empty:?}");
        }
        let id = RequestId { client: 7, sequence: 1 };
        assert_eq!(meant(r#"{"rollout": "7/1"}"#), Ok(Some(id)));
        for wrong in [r#"{"rollout": "7"}"#, r#"{"rollout": 7}"#, r#"{"who": "7/1"}"#, "[]"] {
            assert!(meant(wrong).is_err(), "{wrong}");
        }
    }
}

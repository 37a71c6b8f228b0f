//! The canary rollout over HTTP, and its data plane.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /routing/state` | what is served: version, models, weights |
//! | `GET /health/snapshot` | the last window of the data plane |
//! | `POST /predict` | which model served, under which version |
//! | `GET /status` | all that the node shows |
//! | `POST /rollouts` | 202 and the rollout's name; only at the coordinator |
//! | `GET /rollouts` | the last rollouts, newest last; only at the coordinator |
//! | `POST /health/report` | takes a window that was measured elsewhere |
//!
//! Every error is `{"error": why}`, and where it is the node's own answer, that answer as `reply`.
//!
//! Nothing here asks the node for what it has published: reads come from the view and never wait for a write.

pub mod config;
mod data_plane;
mod routes;
mod service;
pub mod wire;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request as HttpRequest, Response};
use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::{Reply, Request};
use serde_json::Value;

pub use self::data_plane::{Backend, DataPlane};
use self::wire::{HealthBody, StartBody, decimal_of_bp, percent_of_bp};
use crate::http_api::{HttpApi, parse_request_name, post_json, read_json};
use crate::runtime::Runtime;
use crate::shell::Handle;

impl HttpApi for RolloutNode {
    fn router<R: Runtime>(runtime: &R, _config: &Config, handle: Handle<Self>) -> Router {
        routes::router(runtime, handle, DataPlane::default())
    }

    fn to_http(id: RequestId, request: &Request) -> HttpRequest<Bytes> {
        match request {
            Request::StartRollout { model, steps_bp, pause_ms } => {
                let steps = steps_bp.iter().map(|&bp| percent_of_bp(bp)).collect();
                let body = StartBody { model: model.clone(), steps, pause_ms: *pause_ms };
                post_json("/rollouts", Some(id), &body)
            }
            Request::ReportHealth(health) => {
                let body = HealthBody {
                    window_id: Some(health.window_id),
                    samples: health.samples,
                    p95_ms: health.p95_ms,
                    error_rate: decimal_of_bp(health.error_bp),
                };
                post_json("/health/report", Some(id), &body)
            }
        }
    }

    fn from_http(answer: &Response<Bytes>) -> Result<Reply, String> {
        let json: Option<Value> = serde_json::from_slice(answer.body()).ok();
        if let Some(reply) = json.as_ref().and_then(|json| json.get("reply")) {
            return serde_json::from_value(reply.clone())
                .map_err(|error| format!("the answer makes no sense: {error}"));
        }
        let json: Value = read_json(answer)?;
        let id = json["id"].as_str().and_then(parse_request_name);
        let id = id.ok_or_else(|| format!("the answer makes no sense: it names no rollout: {json}"))?;
        Ok(Reply::Accepted { id })
    }
}

//! The canary rollout over HTTP, and its data plane.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /routing/state` | what is served: version, models, weights |
//! | `GET /health/snapshot` | the evidence of the node's own data plane: each model by itself |
//! | `POST /predict` | what the model's server answers, or which model served, under which version |
//! | `GET /status` | all that the node shows |
//! | `POST /rollouts` | 202, the rollout's name and its holds; only at the coordinator |
//! | `GET /rollouts` | the last rollouts, newest last; only at the coordinator |
//! | `POST /rollouts/pause`, `/resume`, `/promote`, `/abort` | 202 and the rollout's name; only at the coordinator |
//! | `GET /members` | what a node is told that is to become a member: who is one, where each lives, what all agree on |
//! | `POST /members`, `/members/dismiss` | 202: a node becomes a member, or one leaves; only at the coordinator |
//! | `POST /coordinator` | 202: this node takes over from a coordinator that is gone |
//! | `POST /transactions/resolve` | 202: a node in doubt is told how it ended |
//! | `POST /health/report` | takes evidence that was measured elsewhere |
//!
//! Every error is `{"error": why}`, and where it is the node's own answer, that answer as `reply`.
//!
//! Nothing here asks the node for what it has published: reads come from the view and never wait for a write.

mod backend;
pub mod config;
mod data_plane;
mod forward;
mod join;
mod metrics;
mod routes;
mod service;
pub mod wire;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request as HttpRequest, Response};
use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::{Order, Reply, Request};
use coalmine_core::rollout::state::Change;
use serde_json::{Value, json};

pub use self::backend::{Backend, BackendFile, Forwarding, Simulated, Upstream};
pub use self::data_plane::DataPlane;
use self::wire::{AdmitBody, DismissBody, HealthBody, ResolveBody, StartBody, SteerBody, TakeOverBody};
use crate::http_api::{HttpApi, parse_request_name, post_json, read_json};
use crate::runtime::Runtime;
use crate::shell::Handle;

impl HttpApi for RolloutNode {
    fn router<R: Runtime>(runtime: &R, config: &Config, handle: Handle<Self>) -> Router {
        let window = Duration::from_millis(config.window_ms);
        routes::router(runtime, config, handle, DataPlane { window, ..DataPlane::default() })
    }

    fn to_http(id: RequestId, request: &Request) -> HttpRequest<Bytes> {
        match request {
            Request::StartRollout(plan) => post_json("/rollouts", Some(id), &StartBody::from(plan)),
            Request::QueueRollout(plan) => post_json(QUEUE, Some(id), &StartBody::from(plan)),
            Request::Steer { order, rollout } => {
                post_json(&path_of(*order), Some(id), &SteerBody::from(*rollout))
            }
            Request::Change(Change::Admit { member, address }) => {
                post_json(MEMBERS, Some(id), &AdmitBody::new(*member, *address))
            }
            Request::Change(Change::Dismiss { member, is_gone }) => {
                post_json(DISMISS, Some(id), &DismissBody { id: *member, gone: *is_gone })
            }
            Request::TakeOver { from } => post_json(TAKE_OVER, Some(id), &TakeOverBody { from: *from }),
            Request::Resolve { txid, outcome } => {
                post_json(RESOLVE, Some(id), &ResolveBody { txid: *txid, outcome: *outcome })
            }
            Request::StartFleet(plan) => post_json(FLEET, Some(id), &StartBody::from(plan)),
            Request::AbortFleet => post_json(ABORT_FLEET, Some(id), &json!({})),
            Request::ReportHealth(health) => post_json("/health/report", Some(id), &HealthBody::from(health)),
        }
    }

    fn from_http(answer: &Response<Bytes>) -> Result<Reply, String> {
        let json: Option<Value> = serde_json::from_slice(answer.body()).ok();
        if let Some(reply) = json.as_ref().and_then(|json| json.get("reply")) {
            return serde_json::from_value(reply.clone())
                .map_err(|error| format!("the answer makes no sense: {error}"));
        }
        let json: Value = read_json(answer)?;
        let name = |key: &str| json[key].as_str().and_then(parse_request_name);
        match (name("id"), name("rollout")) {
            (Some(id), _) => Ok(Reply::Accepted { id }),
            (None, Some(rollout)) => Ok(Reply::Ordered { rollout }),
            (None, None) => Err(format!("the answer makes no sense: it names no rollout: {json}")),
        }
    }
}

/// Where rollouts are queued.
const QUEUE: &str = "/rollouts/queue";
/// Where a rollout over all regions is started.
const FLEET: &str = "/fleet";
/// Where it is aborted.
const ABORT_FLEET: &str = "/fleet/abort";
/// Where a node is admitted.
const MEMBERS: &str = "/members";
/// Where a member is dismissed.
const DISMISS: &str = "/members/dismiss";
/// Where a node is told to coordinate.
const TAKE_OVER: &str = "/coordinator";
/// Where a node in doubt is told how it ended.
const RESOLVE: &str = "/transactions/resolve";

/// Where an order is given.
fn path_of(order: Order) -> String {
    format!("/rollouts/{}", order.name())
}

#[cfg(test)]
mod tests;

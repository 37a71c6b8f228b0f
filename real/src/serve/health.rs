//! How any node does, over HTTP.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /health/live` | 200 as long as the process serves |
//! | `GET /health/ready` | 200 if the node has recovered its journal and the service says it is [ready](Service::ready), 503 if not |
//!
//! Both answer with a [`NodeStatus`].

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::doors::{Door, DoorTable};
use super::service::Service;
use crate::http_api::wrong_method;
use crate::runtime::Runtime;
use crate::shell::Handle;

/// Where a node says that it lives.
pub const LIVE: &str = "/health/live";
/// Where a node says whether it is ready.
pub const READY: &str = "/health/ready";

/// What these routes are for.
pub const DOORS: DoorTable = &[("GET /health/live", Door::Read), ("GET /health/ready", Door::Read)];

/// What any node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who.
    pub node: NodeId,
    /// Whether it can do its work.
    pub ready: bool,
    /// What it waits for, if it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long its HTTP has been up, in milliseconds.
    pub up_ms: u64,
    /// How many records of its journal are known to be on disk; none before it has recovered them.
    pub journal_records: Option<u64>,
    /// What it last published, in the service's own words.
    pub view: Option<Value>,
}

/// All that a node serves: the service's routes, and its health.
pub fn router<S: Service, R: Runtime>(
    runtime: &R,
    config: &S::Config,
    settings: &S::Settings,
    handle: Handle<S>,
) -> Router {
    S::routes(runtime, config, settings, handle.clone()).merge(routes(runtime, handle))
}

fn routes<S: Service, R: Runtime>(runtime: &R, handle: Handle<S>) -> Router {
    let state = (runtime.clone(), runtime.now(), handle);
    let routes = Router::new().route(LIVE, get(live::<S, R>)).route(READY, get(ready::<S, R>));
    routes.method_not_allowed_fallback(wrong_method).with_state(state)
}

type Watched<S, R> = State<(R, Duration, Handle<S>)>;

async fn live<S: Service, R: Runtime>(State((runtime, since, handle)): Watched<S, R>) -> Json<NodeStatus> {
    Json(status(&runtime, since, &handle))
}

async fn ready<S: Service, R: Runtime>(State((runtime, since, handle)): Watched<S, R>) -> Response {
    let status = status(&runtime, since, &handle);
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(status)).into_response()
}

fn status<S: Service, R: Runtime>(runtime: &R, since: Duration, handle: &Handle<S>) -> NodeStatus {
    let view = handle.view();
    let journal_records = handle.journal_records();
    let ready = match journal_records {
        None => Err("it is still recovering its journal".into()),
        Some(_) => S::ready(view.as_deref()),
    };
    NodeStatus {
        node: handle.node(),
        ready: ready.is_ok(),
        error: ready.err(),
        up_ms: u64::try_from(runtime.now().saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
        journal_records,
        view: view.and_then(|view| serde_json::to_value(&*view).ok()),
    }
}

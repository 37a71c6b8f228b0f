//! How any node does, over HTTP.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /livez` | 200 as long as the process serves |
//! | `GET /readyz` | 200 if the node has recovered its journal and the service says it is [ready](Service::ready); 503 if not, and from the moment on at which the process is about to end |
//! | `GET /health/live`, `/health/ready` | the same |
//! | `GET /metrics` | what is measured, for Prometheus |
//!
//! A node that can no longer write its journal and [serves on](Service::serves_on) all the same stays ready: to take it out of
//! service would take away what it is there for. It says `"stale": true` and why, and `coalmine_stale` is 1.
//!
//! All but the last answer with a [`NodeStatus`].

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::doors::{Door, DoorTable};
use super::service::Service;
use crate::http_api::{Stranger, wrong_method};
use crate::metrics::{CONTENT_TYPE, Exposition, Kind};
use crate::runtime::Runtime;
use crate::shell::Handle;

/// Where a node says that it lives.
pub const LIVE: &str = "/health/live";
/// Where a node says whether it is ready.
pub const READY: &str = "/health/ready";
/// The same, under the name that Kubernetes uses.
pub const LIVEZ: &str = "/livez";
/// The same, under the name that Kubernetes uses.
pub const READYZ: &str = "/readyz";
/// Where what is measured is.
pub const METRICS: &str = "/metrics";

/// What these routes are for.
pub const DOORS: DoorTable = &[
    ("GET /", Door::Open),
    ("GET /livez", Door::Open),
    ("GET /readyz", Door::Open),
    ("GET /health/live", Door::Read),
    ("GET /health/ready", Door::Read),
    ("GET /metrics", Door::Read),
    ("GET /cluster", Door::Read),
    ("GET /events", Door::Read),
    ("GET /audit", Door::Read),
];

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
    /// Whether it takes in nothing any more, since its journal cannot be written, and serves what it published last.
    #[serde(default)]
    pub stale: bool,
    /// Why it is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_why: Option<String>,
    /// Whether its process is about to end.
    #[serde(default)]
    pub draining: bool,
    /// How long its HTTP has been up, in milliseconds.
    pub up_ms: u64,
    /// How many records of its journal are known to be on disk; none before it has recovered them.
    pub journal_records: Option<u64>,
    /// What it last published, in the service's own words; not for those who may not read.
    pub view: Option<Value>,
}

impl NodeStatus {
    /// Where readers need a token, whoever has none learns how the node does, and not what it holds.
    fn shown_to(self, who: &Asks) -> Self {
        if who.is_none() { self } else { Self { stale_why: None, view: None, ..self } }
    }
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
    let mut routes = Router::new().route(METRICS, get(metrics::<S, R>));
    for path in [LIVE, LIVEZ] {
        routes = routes.route(path, get(live::<S, R>));
    }
    for path in [READY, READYZ] {
        routes = routes.route(path, get(ready::<S, R>));
    }
    routes.method_not_allowed_fallback(wrong_method).with_state(state)
}

type Watched<S, R> = State<(R, Duration, Handle<S>)>;

/// Who asks, if he may not know all that there is to know.
type Asks = Option<Extension<Stranger>>;

async fn live<S: Service, R: Runtime>(
    State((runtime, since, handle)): Watched<S, R>,
    who: Asks,
) -> Json<NodeStatus> {
    Json(status(&runtime, since, &handle).shown_to(&who))
}

async fn ready<S: Service, R: Runtime>(
    State((runtime, since, handle)): Watched<S, R>,
    who: Asks,
) -> Response {
    let status = status(&runtime, since, &handle).shown_to(&who);
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(status)).into_response()
}

async fn metrics<S: Service, R: Runtime>(State((runtime, since, handle)): Watched<S, R>) -> Response {
    let mut out = Exposition::default();
    let NodeStatus { node, ready, up_ms, .. } = status(&runtime, since, &handle);
    out.family("coalmine_node_info", Kind::Gauge, "Which node this is, of which program.");
    let labels = [("node", node.0.to_string()), ("program", S::NAME.into()), ("version", S::VERSION.into())];
    let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
    out.sample(&labels, 1);
    let up_s = Duration::from_millis(up_ms).as_secs_f64();
    out.single("coalmine_up_seconds", Kind::Gauge, "How long the node's HTTP has been up.", up_s);
    out.single("coalmine_ready", Kind::Gauge, "1 if the node can do its work.", u8::from(ready));
    handle.vitals().write(&mut out);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], out.finish()).into_response()
}

fn status<S: Service, R: Runtime>(runtime: &R, since: Duration, handle: &Handle<S>) -> NodeStatus {
    let view = handle.view();
    let journal_records = handle.journal_records();
    let stale_why = handle.vitals().stopped();
    let draining = handle.vitals().is_draining();
    let ready = match journal_records {
        _ if draining => Err("it is draining: its process is about to end".into()),
        _ if stale_why.is_some() && !view.as_deref().is_some_and(S::serves_on) => {
            Err("it has stopped".into())
        }
        None => Err("it is still recovering its journal".into()),
        Some(_) => S::ready(view.as_deref()),
    };
    NodeStatus {
        node: handle.node(),
        ready: ready.is_ok(),
        error: ready.err(),
        stale: stale_why.is_some(),
        stale_why: stale_why.map(|why| why.to_string()),
        draining,
        up_ms: u64::try_from(runtime.now().saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
        journal_records,
        view: view.and_then(|view| serde_json::to_value(&*view).ok()),
    }
}

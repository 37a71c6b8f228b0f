//! The routes: each reads the published view or asks the node, and answers in JSON.

mod predict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use coalmine_core::node::{Node, NodeId, RequestId, Word};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::{Order, Reply, Request, Rollout, RolloutPlan, View};
use coalmine_core::rollout::state::{ModelId, RoutingState};
use serde::de::DeserializeOwned;
use serde_json::json;

use self::predict::predict;
use super::data_plane::{DataPlane, Meter, report_windows};
use super::forward::Forwarder;
use super::metrics;
use super::wire::{
    AdmitBody, DismissBody, FleetView, HealthBody, HealthSnapshot, MAX_BODY_BYTES, MembersView, NothingBody,
    RawBody, ResolveBody, RolloutView, StartBody, Started, StatusView, SteerBody, Steered, TakeOverBody,
    or_nothing, read_body, why_silent,
};
use super::{ABORT_FLEET, DISMISS, FLEET, MEMBERS, QUEUE, RESOLVE, TAKE_OVER, path_of};
use crate::http_api::{ApiError, ask, direction, idempotency_key, request_name, send_on, with_words};
use crate::runtime::Runtime;
use crate::shell::Handle;

/// What every route can reach.
struct App<R> {
    runtime: R,
    handle: Handle<RolloutNode>,
    /// What the node was told.
    config: Config,
    data_plane: DataPlane,
    meter: Arc<Meter>,
    forwarder: Forwarder,
    /// How many requests without a key were routed.
    routed: AtomicU64,
    /// How many requests each simulated backend has taken.
    taken: BTreeMap<ModelId, AtomicU64>,
    /// How many requests were named here because their client had not.
    named: AtomicU64,
}

type Shared<R> = State<Arc<App<R>>>;

pub(super) fn router<R: Runtime>(
    runtime: &R,
    config: &Config,
    handle: Handle<RolloutNode>,
    data_plane: DataPlane,
) -> Router {
    let meter = Arc::new(Meter::new());
    let reports = report_windows(runtime.clone(), handle.clone(), Arc::clone(&meter), data_plane.window);
    runtime.spawn(reports);
    let app = Arc::new(App {
        runtime: runtime.clone(),
        handle,
        config: config.clone(),
        taken: data_plane.backends.keys().map(|model| (model.clone(), AtomicU64::new(0))).collect(),
        forwarder: Forwarder::new(data_plane.forwarding.clone()),
        data_plane,
        meter,
        routed: AtomicU64::new(0),
        named: AtomicU64::new(0),
    });
    let weak = Arc::downgrade(&app);
    app.handle.vitals().collect(move |out| {
        let Some(app) = weak.upgrade() else { return };
        metrics::of_data_plane(&app.meter, out);
        if let Some(view) = app.handle.view() {
            metrics::of_view(&view, out);
        }
    });
    let start = |app: Shared<R>, headers: HeaderMap, body: RawBody| {
        ask_for_rollout("/rollouts", Request::StartRollout, app, headers, body)
    };
    let queue = |app: Shared<R>, headers: HeaderMap, body: RawBody| {
        ask_for_rollout(QUEUE, Request::QueueRollout, app, headers, body)
    };
    let start_fleet = |app: Shared<R>, headers: HeaderMap, body: RawBody| {
        ask_for_rollout(FLEET, Request::StartFleet, app, headers, body)
    };
    let routes = Router::new()
        .route("/routing/state", get(routing_state::<R>))
        .route("/health/snapshot", get(health_snapshot::<R>))
        .route("/health/report", post(report_health::<R>))
        .route("/predict", post(predict::<R>))
        .route("/rollouts", get(list_rollouts::<R>).post(start))
        .route(QUEUE, post(queue))
        .route(FLEET, get(fleet::<R>).post(start_fleet))
        .route(ABORT_FLEET, post(abort_fleet::<R>))
        .route("/status", get(status::<R>));
    let resolve = |ResolveBody { txid, outcome }| Request::Resolve { txid, outcome };
    let mut routes = routes
        .route(MEMBERS, order_of(MEMBERS, |body: AdmitBody| Request::Change(body.change())).get(members::<R>))
        .route(DISMISS, order_of(DISMISS, |body: DismissBody| Request::Change(body.change())))
        .route(TAKE_OVER, order_of(TAKE_OVER, |TakeOverBody { from }| Request::TakeOver { from }))
        .route(RESOLVE, order_of(RESOLVE, resolve));
    for order in Order::ALL {
        let steer = move |app: Shared<R>, headers: HeaderMap, body: RawBody| steer(order, app, headers, body);
        routes = routes.route(&path_of(order), post(steer));
    }
    with_words(routes).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(app)
}

async fn routing_state<R: Runtime>(State(app): Shared<R>) -> Result<Json<RoutingState>, ApiError> {
    Ok(Json(app.member_view()?.routing.clone()))
}

async fn health_snapshot<R: Runtime>(State(app): Shared<R>) -> Result<Json<HealthSnapshot>, ApiError> {
    Ok(Json(HealthSnapshot::from(&*app.view()?)))
}

async fn status<R: Runtime>(State(app): Shared<R>) -> Result<Json<StatusView>, ApiError> {
    let stale = app.handle.vitals().stopped().map(|why| why.to_string());
    let region = app.config.own_region().map(|place| app.config.regions[place].name.clone());
    Ok(Json(StatusView { stale, region, ..StatusView::new(&*app.view()?) }))
}

async fn list_rollouts<R: Runtime>(State(app): Shared<R>) -> Result<Response, ApiError> {
    let view = app.view()?;
    if view.node != view.coordinator {
        // An empty list would say that there are none.
        let why = json!({ "error": app.misdirected(view.coordinator) });
        return Ok(send_on(&app.handle, view.coordinator, "/rollouts", &why));
    }
    let rollouts: Vec<_> = view.rollouts.iter().map(RolloutView::from).collect();
    Ok(Json(rollouts).into_response())
}

/// A rollout is asked for: to begin at once, or in its turn.
async fn ask_for_rollout<R: Runtime>(
    path: &str,
    ask: fn(RolloutPlan) -> Request,
    State(app): Shared<R>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let plan = || read_body::<StartBody>(body)?.plan().map_err(unprocessable);
    app.ask(path, &headers, || plan().map(ask)).await
}

/// The last rollouts over all regions.
async fn fleet<R: Runtime>(State(app): Shared<R>) -> Result<Response, ApiError> {
    let view = app.view()?;
    let leads = app.config.own_region() == Some(0);
    let named = app.config.regions.first().map(|leader| leader.coordinator);
    let leader = named.map(|named| if leads { view.coordinator } else { named });
    if let Some(leader) = leader.filter(|leader| *leader != view.node) {
        // An empty list would say that there are none.
        let why = json!({ "error": app.misdirected(leader) });
        return Ok(send_on(&app.handle, leader, FLEET, &why));
    }
    Ok(Json(FleetView::all(&view)).into_response())
}

async fn abort_fleet<R: Runtime>(
    State(app): Shared<R>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let nothing = || read_body::<NothingBody>(or_nothing(body));
    app.ask(ABORT_FLEET, &headers, || nothing().map(|_| Request::AbortFleet)).await
}

async fn steer<R: Runtime>(
    order: Order,
    State(app): Shared<R>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let meant = || read_body::<SteerBody>(or_nothing(body))?.meant().map_err(unprocessable);
    app.ask(&path_of(order), &headers, || meant().map(|rollout| Request::Steer { order, rollout })).await
}

/// What a node must be told that is to become a member.
async fn members<R: Runtime>(State(app): Shared<R>) -> Result<Json<MembersView>, ApiError> {
    Ok(Json(MembersView::new(&*app.member_view()?, &app.config)))
}

/// An order at a path whose body says all of it.
fn order_of<R: Runtime, B: DeserializeOwned + 'static>(
    path: &'static str,
    request: fn(B) -> Request,
) -> MethodRouter<Arc<App<R>>> {
    post(move |State(app): Shared<R>, headers: HeaderMap, body: RawBody| async move {
        app.ask(path, &headers, || read_body(body).map(request)).await
    })
}

async fn report_health<R: Runtime>(
    State(app): Shared<R>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let health = || read_body::<HealthBody>(body)?.health(|| app.meter.next_window()).map_err(unprocessable);
    app.ask("/health/report", &headers, || health().map(Request::ReportHealth)).await
}

impl<R: Runtime> App<R> {
    /// Asks the node for what was asked at `path`, once its name and then its body are read.
    async fn ask(
        &self,
        path: &str,
        headers: &HeaderMap,
        request: impl FnOnce() -> Result<Request, ApiError>,
    ) -> Result<Response, ApiError> {
        let id = self.name(headers)?;
        let reply = ask(&self.runtime, &self.handle, id, request()?).await?;
        Ok(self.answer(path, &reply))
    }

    fn view(&self) -> Result<Arc<View>, ApiError> {
        self.handle
            .view()
            .ok_or_else(|| ApiError(StatusCode::SERVICE_UNAVAILABLE, "the node is still starting".into()))
    }

    /// The view of a member: nobody else knows what is to be served.
    fn member_view(&self) -> Result<Arc<View>, ApiError> {
        let view = self.view()?;
        why_silent(&view).map_or(Ok(view), |why| Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, why)))
    }

    /// The request's name: the client's own, or one that nobody else has.
    fn name(&self, headers: &HeaderMap) -> Result<RequestId, ApiError> {
        if let Some(id) = idempotency_key(headers)? {
            return Ok(id);
        }
        let half = || u64::from(self.runtime.choose(u32::MAX));
        let client = half() << 32 | half();
        Ok(RequestId { client, sequence: self.named.fetch_add(1, Ordering::Relaxed) + 1 })
    }

    /// The rollout that was accepted, and its holds as they are published: gates may have lengthened them.
    fn started(&self, id: RequestId) -> Started {
        let view = self.handle.view();
        let published = view.as_ref().and_then(|view| view.rollouts.iter().find(|rollout| rollout.id == id));
        let holds = |rollout: &Rollout| {
            let asked = rollout.plan.steps_bp.len();
            rollout.steps.iter().take(asked).map(|step| step.hold_ms).collect()
        };
        Started { id: request_name(id), holds_ms: published.map(holds).unwrap_or_default() }
    }

    /// The node's answer to what was asked at `path`, as HTTP. What is not a success also carries the answer itself.
    fn answer(&self, path: &str, reply: &Reply) -> Response {
        let words = || RolloutNode::describe(Word::Reply(reply));
        let (status, error) = match reply {
            Reply::Accepted { id } => {
                return (StatusCode::ACCEPTED, Json(self.started(*id))).into_response();
            }
            Reply::Ordered { rollout } => {
                let steered = Steered { rollout: request_name(*rollout) };
                return (StatusCode::ACCEPTED, Json(steered)).into_response();
            }
            Reply::Changing { .. } | Reply::TakingOver | Reply::Resolved { .. } => {
                return (StatusCode::ACCEPTED, Json(json!({ "reply": reply }))).into_response();
            }
            Reply::Done => return Json(json!({ "reply": reply })).into_response(),
            Reply::NotCoordinator { coordinator } => {
                let why = json!({ "error": self.misdirected(*coordinator), "reply": reply });
                return send_on(&self.handle, *coordinator, path, &why);
            }
            Reply::Unfit { why } => (StatusCode::CONFLICT, why.clone()),
            Reply::Busy { running } => {
                (StatusCode::CONFLICT, format!("rollout {} is still running", request_name(*running)))
            }
            Reply::SplitBrain => (StatusCode::CONFLICT, words()),
            Reply::Joining(_) => (StatusCode::SERVICE_UNAVAILABLE, words()),
            Reply::Invalid { why } => (StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
        };
        (status, Json(json!({ "error": error, "reply": reply }))).into_response()
    }

    fn misdirected(&self, coordinator: NodeId) -> String {
        let coordinator = direction(&self.handle, coordinator);
        format!("this node is not the coordinator: ask {coordinator}")
    }
}

/// A body that can be read and makes no sense.
fn unprocessable(why: String) -> ApiError {
    ApiError(StatusCode::UNPROCESSABLE_ENTITY, format!("body: {why}"))
}

//! The routes: each reads the published view or asks the node, and answers in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use coalmine_core::node::{Node, NodeId, RequestId, Word};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::{Reply, Request, View};
use coalmine_core::rollout::state::{ModelId, RoutingState};
use serde_json::json;

use super::data_plane::{Backend, DataPlane, Meter, report_windows, spread_point, sticky_point};
use super::wire::{
    HealthBody, HealthSnapshot, MAX_BODY_BYTES, PredictBody, Prediction, RolloutView, StartBody, StatusView,
    bp_of_decimal, bp_of_percent, read_body,
};
use crate::http_api::{ApiError, ask, direction, idempotency_key, request_name, send_on, with_words};
use crate::runtime::Runtime;
use crate::shell::Handle;

type Body = Result<Bytes, BytesRejection>;

/// What every route can reach.
struct App<R> {
    runtime: R,
    handle: Handle<RolloutNode>,
    data_plane: DataPlane,
    meter: Arc<Meter>,
    /// How many requests without a key were routed.
    routed: AtomicU64,
    /// How many requests each simulated backend has taken.
    taken: BTreeMap<ModelId, AtomicU64>,
    /// How many requests were named here because their client had not.
    named: AtomicU64,
}

type Shared<R> = State<Arc<App<R>>>;

pub(super) fn router<R: Runtime>(runtime: &R, handle: Handle<RolloutNode>, data_plane: DataPlane) -> Router {
    let meter = Arc::new(Meter::new());
    let reports = report_windows(runtime.clone(), handle.clone(), Arc::clone(&meter), data_plane.window);
    runtime.spawn(reports);
    let app = App {
        runtime: runtime.clone(),
        handle,
        taken: data_plane.backends.keys().map(|model| (model.clone(), AtomicU64::new(0))).collect(),
        data_plane,
        meter,
        routed: AtomicU64::new(0),
        named: AtomicU64::new(0),
    };
    let routes = Router::new()
        .route("/routing/state", get(routing_state::<R>))
        .route("/health/snapshot", get(health_snapshot::<R>))
        .route("/health/report", post(report_health::<R>))
        .route("/predict", post(predict::<R>))
        .route("/rollouts", get(list_rollouts::<R>).post(start_rollout::<R>))
        .route("/status", get(status::<R>));
    with_words(routes).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(Arc::new(app))
}

async fn routing_state<R: Runtime>(State(app): Shared<R>) -> Result<Json<RoutingState>, ApiError> {
    Ok(Json(app.member_view()?.routing.clone()))
}

async fn health_snapshot<R: Runtime>(State(app): Shared<R>) -> Result<Json<HealthSnapshot>, ApiError> {
    let view = app.view()?;
    let window = view.health.as_ref().into();
    Ok(Json(HealthSnapshot { window, last_committed_version: view.routing.version }))
}

async fn status<R: Runtime>(State(app): Shared<R>) -> Result<Json<StatusView>, ApiError> {
    Ok(Json(StatusView::from(&*app.view()?)))
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

async fn start_rollout<R: Runtime>(
    State(app): Shared<R>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = app.name(&headers)?;
    let StartBody { model, steps, pause_ms } = read_body(body)?;
    let to_bp = |(i, &percent): (usize, &f64)| {
        bp_of_percent(percent).map_err(|why| unprocessable(format!("body: steps[{i}]: {why}")))
    };
    let steps_bp = steps.iter().enumerate().map(to_bp).collect::<Result<_, _>>()?;
    let request = Request::StartRollout { model, steps_bp, pause_ms };
    let reply = ask(&app.runtime, &app.handle, id, request).await?;
    Ok(app.answer(&reply))
}

async fn report_health<R: Runtime>(
    State(app): Shared<R>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = app.name(&headers)?;
    let HealthBody { window_id, samples, p95_ms, error_rate } = read_body(body)?;
    let error_bp =
        bp_of_decimal(error_rate).map_err(|why| unprocessable(format!("body: error_rate: {why}")))?;
    let window_id = window_id.unwrap_or_else(|| app.meter.next_window());
    let request = Request::ReportHealth(Health { window_id, samples, p95_ms, error_bp });
    let reply = ask(&app.runtime, &app.handle, id, request).await?;
    Ok(app.answer(&reply))
}

async fn predict<R: Runtime>(
    State(app): Shared<R>,
    body: Body,
) -> Result<(StatusCode, Json<Prediction>), ApiError> {
    let PredictBody { key } = read_body(body)?;
    let view = app.member_view()?;
    let point = match &key {
        Some(key) => sticky_point(key),
        None => spread_point(app.routed.fetch_add(1, Ordering::Relaxed)),
    };
    let model = view.routing.weights.pick(point).clone();

    let began = app.runtime.now();
    let served = app.serve(&model).await;
    app.meter.record(app.runtime.now().saturating_sub(began), served.is_err());

    let status = if served.is_ok() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    let (routing_version, node, error) = (view.routing.version, view.node, served.err());
    Ok((status, Json(Prediction { model, routing_version, node, error })))
}

impl<R: Runtime> App<R> {
    fn view(&self) -> Result<Arc<View>, ApiError> {
        self.handle
            .view()
            .ok_or_else(|| ApiError(StatusCode::SERVICE_UNAVAILABLE, "the node is still starting".into()))
    }

    /// The view of a member: nobody else knows what is to be served.
    fn member_view(&self) -> Result<Arc<View>, ApiError> {
        let view = self.view()?;
        match &view.joining {
            Some(waiting) => {
                let why = format!("this node is not a member of the cluster: {waiting}");
                Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, why))
            }
            None => Ok(view),
        }
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

    /// What the model's simulated backend does with one request.
    async fn serve(&self, model: &ModelId) -> Result<(), String> {
        let Some(&Backend { latency_ms, error_bp }) = self.data_plane.backends.get(model) else {
            return Ok(());
        };
        if latency_ms > 0 {
            self.runtime.sleep(Duration::from_millis(latency_ms)).await;
        }
        let nth = self.taken.get(model).map_or(0, |taken| taken.fetch_add(1, Ordering::Relaxed) + 1);
        if spread_point(nth) < error_bp {
            return Err(format!("model {model} failed (its simulated backend is configured to)"));
        }
        Ok(())
    }

    /// The node's answer as HTTP. What is not a success also carries the answer itself.
    fn answer(&self, reply: &Reply) -> Response {
        let words = || RolloutNode::describe(Word::Reply(reply));
        let (status, error) = match reply {
            Reply::Accepted { id } => {
                return (StatusCode::ACCEPTED, Json(json!({ "id": request_name(*id) }))).into_response();
            }
            Reply::Done => return Json(json!({ "reply": reply })).into_response(),
            Reply::NotCoordinator { coordinator } => {
                let why = json!({ "error": self.misdirected(*coordinator), "reply": reply });
                return send_on(&self.handle, *coordinator, "/rollouts", &why);
            }
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

fn unprocessable(why: String) -> ApiError {
    ApiError(StatusCode::UNPROCESSABLE_ENTITY, why)
}

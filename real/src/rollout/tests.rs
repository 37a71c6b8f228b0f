//! What goes out over HTTP is what was asked, and what comes back is what was answered.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{Method, Response};
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::gates::Gates;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{Guard, OnFailure, Order, Reply, Request, RolloutPlan};
use coalmine_core::rollout::state::ModelId;

use super::QUEUE;
use super::wire::{HealthBody, StartBody, SteerBody, read_body};
use crate::http_api::{HttpApi, IDEMPOTENCY_KEY};

fn model(name: &str) -> ModelId {
    ModelId::new(name).expect("a name")
}

/// What a server makes of a request.
fn read_back(request: &Request) -> Request {
    let sent = RolloutNode::to_http(RequestId { client: 7, sequence: 1 }, request);
    assert_eq!(
        (sent.method(), &sent.headers()[IDEMPOTENCY_KEY]),
        (&Method::POST, &"7/1".parse().expect("text"))
    );
    let (path, body) = (sent.uri().path().to_owned(), Ok(sent.into_body()));
    let orders: BTreeMap<_, _> = Order::ALL.into_iter().map(|order| (super::path_of(order), order)).collect();
    match (path.as_str(), orders.get(&path)) {
        ("/rollouts", _) => {
            let body: StartBody = read_body(body).expect("it can be read");
            Request::StartRollout(body.plan().expect("it makes sense"))
        }
        (QUEUE, _) => {
            let body: StartBody = read_body(body).expect("it can be read");
            Request::QueueRollout(body.plan().expect("it makes sense"))
        }
        ("/health/report", _) => {
            let body: HealthBody = read_body(body).expect("it can be read");
            Request::ReportHealth(body.health(|| unreachable!("it is named")).expect("it makes sense"))
        }
        (_, Some(&order)) => {
            let body: SteerBody = read_body(body).expect("it can be read");
            Request::Steer { order, rollout: body.meant().expect("it makes sense") }
        }
        (other, None) => panic!("nothing is at {other}"),
    }
}

#[test]
fn every_request_survives_http() {
    let gates = Gates {
        max_p95_ms: 1,
        max_error_bp: 10_000,
        max_p95_rise_ms: u32::MAX,
        max_error_rise_bp: 7,
        min_samples: 0,
    };
    let mut requests = Vec::new();
    for guard in [Guard::Off, Guard::Configured, Guard::These(gates), Guard::These(Gates::default())] {
        for on_failure in [OnFailure::Stop, OnFailure::Return, OnFailure::Pause] {
            let plan =
                RolloutPlan::unguarded(model("team/v2:1@x"), vec![1, 57, 9_999, 20_000, u32::MAX], u64::MAX);
            let (holds_ms, deadline_ms) = (vec![0, u64::MAX, 3], 5);
            let full = RolloutPlan { holds_ms, deadline_ms, supersede: true, ..plan.clone() };
            for plan in [plan, full] {
                let gates = guard.clone();
                let plan = RolloutPlan { gates, on_failure, ..plan };
                requests.push(Request::StartRollout(plan.clone()));
                requests.push(Request::QueueRollout(plan));
            }
        }
    }
    for order in Order::ALL {
        let named = RequestId { client: u64::MAX, sequence: 0 };
        requests.extend([None, Some(named)].map(|rollout| Request::Steer { order, rollout }));
    }
    let window = |error_bp| Window { samples: u32::MAX, p95_ms: 0, error_bp };
    let models = [(model("v1"), window(10_000)), (model("v2"), window(1))];
    for models in [models.into(), BTreeMap::new()] {
        requests.push(Request::ReportHealth(Health { window_id: u64::MAX, version: u64::MAX, models }));
    }
    for request in requests {
        assert_eq!(read_back(&request), request);
    }
}

#[test]
fn answers_are_told_apart() {
    let reply = |status: u16, body: &'static str| {
        let answer = Response::builder().status(status).body(Bytes::from_static(body.as_bytes()));
        RolloutNode::from_http(&answer.expect("valid"))
    };
    let id = RequestId { client: 7, sequence: 2 };
    assert_eq!(reply(202, r#"{"id": "7/2", "holds_ms": [1]}"#), Ok(Reply::Accepted { id }));
    assert_eq!(reply(202, r#"{"rollout": "7/2"}"#), Ok(Reply::Ordered { rollout: id }));
    let unfit = reply(409, r#"{"error": "no", "reply": {"unfit": {"why": "no"}}}"#);
    assert_eq!(unfit, Ok(Reply::Unfit { why: "no".into() }));
    let elsewhere = reply(421, r#"{"error": "there", "reply": {"not_coordinator": {"coordinator": 3}}}"#);
    assert_eq!(elsewhere, Ok(Reply::NotCoordinator { coordinator: NodeId(3) }));
    assert_eq!(reply(422, r#"{"error": "why"}"#), Err("why".into()));
    assert!(reply(202, "{}").is_err_and(|why| why.contains("names no rollout")));
}

//! What clients send over HTTP: any bytes as a body, a name or an answer. Nothing panics, neither the readers
//! nor a node that is asked what they read.

use axum::body::Bytes;
use axum::http::Response;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::{Reply, Request};
use coalmine_real::http_api::{HttpApi, parse_request_name, request_name};
use coalmine_real::rollout::wire::{HealthBody, PredictBody, RolloutView, StartBody, StatusView};

/// One input: the bytes of a body.
pub fn run(data: &[u8]) {
    if let Some(id) = std::str::from_utf8(data).ok().and_then(parse_request_name) {
        assert_eq!(parse_request_name(&request_name(id)), Some(id));
    }
    let _ = serde_json::from_slice::<PredictBody>(data);
    let _ = serde_json::from_slice::<StatusView>(data);
    let _ = serde_json::from_slice::<Vec<RolloutView>>(data);
    for status in [200, 202, 400, 421, 500] {
        let answer = Response::builder().status(status).body(Bytes::copy_from_slice(data));
        let _ = <RolloutNode as HttpApi>::from_http(&answer.expect("the parts are valid"));
    }
    for request in [start(data), report(data), serde_json::from_slice(data).ok()].into_iter().flatten() {
        ask(request);
    }
}

/// `POST /rollouts`, as the route reads it.
fn start(data: &[u8]) -> Option<Request> {
    let body: StartBody = serde_json::from_slice(data).ok()?;
    body.plan().ok().map(Request::StartRollout)
}

/// `POST /health/report`, as the route reads it.
fn report(data: &[u8]) -> Option<Request> {
    let body: HealthBody = serde_json::from_slice(data).ok()?;
    body.health(|| 0).ok().map(Request::ReportHealth)
}

/// A cluster of one takes the request, a retry of it, and walks it to its end.
fn ask(request: Request) {
    // What goes out over HTTP is the same request: see `HttpApi::to_http`.
    let id = RequestId { client: 1, sequence: 1 };
    let _ = <RolloutNode as HttpApi>::to_http(id, &request);
    let config = Config::cluster(1).remove(0);
    let mut out = Vec::new();
    let mut host = Host::<RolloutNode>::boot(&config, &[], 1, &mut |_| 0, &mut out);
    let mut replies = Vec::new();
    for _ in 0..2 {
        host.step(&config, Event::Request { id, request: request.clone() }, &mut |_| 0, &mut out);
        while host.written() > host.durable() {
            let upto = host.written();
            host.synced(&config, 1, upto, &mut |_| 0, &mut out);
        }
        for timer in host.timers().to_vec() {
            host.step(&config, Event::Timer(timer), &mut |_| 0, &mut out);
        }
        replies.extend(out.drain(..).filter_map(|effect| match effect {
            Effect::Reply { reply, .. } => Some(reply),
            Effect::Append(_)
            | Effect::Send { .. }
            | Effect::Publish(_)
            | Effect::Observe(_)
            | Effect::SetTimer { .. }
            | Effect::CancelTimer(_)
            | Effect::Forget(_)
            | Effect::Meet { .. }
            | Effect::Part(_)
            | Effect::Lost { .. }
            | Effect::WhenDurable(_) => None,
        }));
    }
    assert_eq!(replies.len(), 2, "every request is answered");
    if matches!(replies[0], Reply::Accepted { .. } | Reply::Done) {
        assert_eq!(replies[0], replies[1], "a retry is the same request");
    }
}

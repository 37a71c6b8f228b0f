//! Forwards requests to the servers of models and streams their answers back.
//!
//! Nothing is kept of a body but the piece that is on its way: who sends is stopped while the other end takes nothing.
//! A request holds one of a fixed number of places until its answer is over.

mod download;
mod headers;
mod upload;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::download::Download;
pub(super) use self::headers::{REQUEST_ID, request_id};
pub(super) use self::upload::Resumed;
use self::upload::{Broke, Progress, Upload};
use super::backend::{Forwarding, Upstream};
use super::data_plane::Measurement;
use crate::runtime::Runtime;

/// How long a connection that nobody uses is kept. Less than common servers keep theirs (two seconds and more): one
/// that the server closes as a request is sent on it would look like a failure of the model.
const KEEP_IDLE: Duration = Duration::from_millis(1_500);
/// How many connections to a server are kept so: each is a file of the process, of which there may be few.
const MOST_IDLE: usize = 32;

/// Forwards requests, on connections that are kept and used again.
#[derive(Debug)]
pub(super) struct Forwarder {
    client: Client<HttpConnector, Body>,
    places: Arc<Semaphore>,
    limits: Forwarding,
}

/// Why a forwarded request has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Its body is longer than what is forwarded.
    TooLong,
    /// Its client broke off.
    ClientGone,
    /// Its client sent nothing more for so long.
    ClientStalled(Duration),
    /// The upstream's answer has not begun within this time.
    Late(Duration),
    /// The upstream cannot be reached, or broke off.
    Failed(String),
}

impl Unanswered {
    /// Whether it says something about the model.
    pub(super) fn is_the_models(&self) -> bool {
        match self {
            Self::Late(_) | Self::Failed(_) => true,
            Self::TooLong | Self::ClientGone | Self::ClientStalled(_) => false,
        }
    }
}

/// An answer that has begun.
pub(super) struct Answer {
    answer: Response<Incoming>,
    /// How long the upstream took until the end of its head.
    pub(super) latency: Duration,
    upload: Progress,
    timeout: Duration,
    place: OwnedSemaphorePermit,
}

impl Forwarder {
    pub(super) fn new(limits: Forwarding) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // A node that is down must get its port back, see `TokioRuntime::connect`.
        connector.set_reuse_address(true);
        let most = limits.max_in_flight as usize;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector);
        Self { client, places: Arc::new(Semaphore::new(most)), limits }
    }

    pub(super) fn limits(&self) -> &Forwarding {
        &self.limits
    }

    /// A place for one more request, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Sends a request on and waits for the head of the answer. Whoever drops this ends the upstream's request.
    pub(super) async fn send<R: Runtime>(
        &self,
        runtime: &R,
        upstream: &Upstream,
        request: (Parts, Body),
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Unanswered> {
        let (head, body) = request;
        let left = self.limits.max_body_bytes;
        if body.size_hint().lower() > left {
            return Err(Unanswered::TooLong);
        }
        let began = runtime.now();
        let upload = Progress::new(began);
        let body = Upload { body, left, progress: upload.clone(), clock: runtime.clone() };
        let request = outgoing(upstream, head, Body::new(body));
        let timeout = upstream.timeout;
        let answer = tokio::select! {
            biased;
            answer = self.client.request(request) => answer.map_err(|error| why_not(upstream, &upload, &error)),
            () = nothing_comes(runtime, &upload, timeout) => {
                Err(if upload.waits() { Unanswered::ClientStalled(timeout) } else { Unanswered::Late(timeout) })
            }
        }?;
        if answer.status().is_informational() {
            return Err(Unanswered::Failed(format!("{} began another protocol", upstream.host())));
        }
        let latency = runtime.now().saturating_sub(began).saturating_sub(upload.waited());
        Ok(Answer { answer, latency, upload, timeout, place })
    }
}

impl Answer {
    /// Whether the upstream says itself that it has failed.
    pub(super) fn is_failure(&self) -> bool {
        self.answer.status().is_server_error()
    }

    /// The answer as the client gets it; it is counted once it is over.
    pub(super) fn passed_on<R: Runtime>(self, runtime: &R, measurement: Measurement) -> Response<Body> {
        let Self { answer, upload, timeout, place, .. } = self;
        let (head, body) = answer.into_parts();
        let clock = runtime.clone();
        let body = Download { body, timeout, clock, timer: None, upload, measurement, _place: place };
        let mut passed_on = Response::new(Body::new(body));
        *passed_on.status_mut() = head.status;
        *passed_on.headers_mut() = head.headers;
        headers::keep_end_to_end(passed_on.headers_mut());
        passed_on
    }
}

/// The request as the upstream gets it.
fn outgoing(upstream: &Upstream, head: Parts, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = with_query(&upstream.url, head.uri.query());
    *request.headers_mut() = head.headers;
    headers::for_upstream(request.headers_mut());
    request
}

/// An upstream's URL with the query of a request behind its own.
fn with_query(url: &Uri, query: Option<&str>) -> Uri {
    let Some(query) = query else { return url.clone() };
    let own = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let joint = if own.contains('?') { '&' } else { '?' };
    let mut parts = url.clone().into_parts();
    parts.path_and_query = format!("{own}{joint}{query}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

/// Waits until neither a piece of the request nor the answer has come for so long.
async fn nothing_comes<R: Runtime>(runtime: &R, upload: &Progress, timeout: Duration) {
    loop {
        let quiet = runtime.now().saturating_sub(upload.last());
        match timeout.checked_sub(quiet) {
            Some(left) if !left.is_zero() => runtime.sleep(left).await,
            Some(_) | None => return,
        }
    }
}

fn why_not(upstream: &Upstream, upload: &Progress, error: &hyper_util::client::legacy::Error) -> Unanswered {
    match upload.broke() {
        Some(Broke::TooLong) => Unanswered::TooLong,
        Some(Broke::Client) => Unanswered::ClientGone,
        None => {
            let what = if error.is_connect() { "cannot connect to" } else { "no answer from" };
            Unanswered::Failed(format!("{what} {}: {}", upstream.host(), root_of(error)))
        }
    }
}

/// What an error comes down to.
fn root_of(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_passed_on_behind_the_urls_own() {
        let cases = [
            ("http://models:9000/v2", None, "http://models:9000/v2"),
            ("http://models:9000/v2", Some("a=1"), "http://models:9000/v2?a=1"),
            ("http://models:9000/v2?b=2", Some("a=1&c"), "http://models:9000/v2?b=2&a=1&c"),
            ("http://models", Some("a=1"), "http://models/?a=1"),
        ];
        for (url, query, expected) in cases {
            let url: Uri = url.parse().expect("a URL");
            assert_eq!(with_query(&url, query), expected);
        }
    }
}

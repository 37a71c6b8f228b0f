//! How clients reach a node over HTTP: both directions in one place, so that the command line, the simulated
//! client and the server cannot disagree.
//!
//! A protocol without wishes of its own implements [`HttpApi`] with an empty body and gets `POST /request`: the
//! request as JSON, answered by the reply as JSON.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use coalmine_core::node::{Node, NodeId, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::runtime::Runtime;
use crate::shell::Handle;

/// The header that names a request, `<client>/<sequence>`: a retry carries the same one.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest body of a request that is read as a whole; a longer one is answered 413.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// After how many seconds to ask a node again that had no room.
pub const RETRY_AFTER_S: u64 = 1;

/// How long a client's request may wait for the node.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How clients reach a node.
pub trait HttpApi: Node {
    /// The server: routes to a running node. May start tasks of its own, such as one that measures.
    fn router<R: Runtime>(runtime: &R, _config: &Self::Config, handle: Handle<Self>) -> Router {
        let state = (runtime.clone(), handle);
        let routes = Router::new().route("/request", post(take::<Self, R>));
        with_words(routes).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(state)
    }

    /// The client: a request as HTTP.
    fn to_http(id: RequestId, request: &Self::Request) -> Request<Bytes> {
        post_json("/request", Some(id), request)
    }

    /// The client: an answer as a reply. `Err` says what the server complained about.
    fn from_http(answer: &Response<Bytes>) -> Result<Self::Reply, String> {
        match sent_on(answer)? {
            Some(reply) => Ok(reply),
            None => read_json(answer),
        }
    }
}

/// The name of an operator who has shown a token: an extension of the requests that have come in with one.
#[derive(Clone, PartialEq, Eq)]
pub struct Operator(Arc<str>);

impl Operator {
    /// With this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Who.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The header `Authorization` with which a request has come in where reading needs a token: an extension of that request,
/// for what has to read at other nodes in the same name.
#[derive(Clone, Debug)]
pub struct Reader(pub HeaderValue);

/// Whoever asks may not read: an extension of requests that came in where the door is open to all, and reading is not.
#[derive(Clone, Copy, Debug)]
pub struct Stranger;

/// A protocol of the core without wishes of its own.
impl HttpApi for coalmine_core::chain::Link {}
impl HttpApi for coalmine_core::lease::Lease {}
impl HttpApi for coalmine_core::roster::Roster {}
impl HttpApi for coalmine_core::tally::Tally {}

/// Answers in JSON also where there is no route.
pub fn with_words<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(no_route).method_not_allowed_fallback(wrong_method)
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible at {}", uri.path()))
}

/// Where to go instead, in words: a node, and its address if that is known.
pub fn direction<N: Node>(handle: &Handle<N>, to: NodeId) -> String {
    match handle.address_of(to) {
        Some(address) => format!("{to} at {address}"),
        None => to.to_string(),
    }
}

/// Sends a client on to a node: status 421, why, and the node's address, if that is known, as `location`.
pub fn send_on<N: Node>(
    handle: &Handle<N>,
    to: NodeId,
    path: &str,
    why: &serde_json::Value,
) -> axum::response::Response {
    let location =
        handle.address_of(to).map(|address| [(header::LOCATION, format!("http://{address}{path}"))]);
    (StatusCode::MISDIRECTED_REQUEST, location, Json(why)).into_response()
}

/// Where an answer [sends](send_on) the client to.
pub fn elsewhere(answer: &Response<Bytes>) -> Option<SocketAddr> {
    let sends = matches!(
        answer.status(),
        StatusCode::MISDIRECTED_REQUEST | StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers().get(header::LOCATION).filter(|_| sends)?.to_str().ok()?;
    location.strip_prefix("http://")?.split('/').next()?.parse().ok()
}

/// The node's own answer, where it came with a status that is no success.
fn sent_on<T: DeserializeOwned>(answer: &Response<Bytes>) -> Result<Option<T>, String> {
    if answer.status().is_success() {
        return Ok(None);
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
    match json.as_ref().and_then(|json| json.get("reply")) {
        Some(reply) => T::deserialize(reply).map(Some).map_err(|error| makes_no_sense(&error)),
        None => Ok(None),
    }
}

fn makes_no_sense(error: &serde_json::Error) -> String {
    format!("the answer makes no sense: {error}")
}

/// An error, as every route answers it: a status and `{"error": why}`. Where there was no room (429, 503) it may be asked
/// again, after [`RETRY_AFTER_S`].
#[derive(Debug)]
pub struct ApiError(pub StatusCode, pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> axum::response::Response {
        let is_passing = matches!(self.0, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let mut answer = (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response();
        if is_passing {
            answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        answer
    }
}

/// A body that was read as a whole, or why it was not.
pub fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| {
        let status = rejection.status();
        let why = match status {
            StatusCode::PAYLOAD_TOO_LARGE => format!("it is longer than {MAX_BODY_BYTES} bytes"),
            _ => rejection.body_text(),
        };
        ApiError(status, format!("body: {why}"))
    })
}

/// A `POST` with a JSON body, named by `id`.
pub fn post_json(path: &str, id: Option<RequestId>, body: &impl Serialize) -> Request<Bytes> {
    let body = serde_json::to_vec(body).expect("requests are plain data and always serialise");
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(id) = id {
        request = request.header(IDEMPOTENCY_KEY, request_name(id));
    }
    request.body(body.into()).expect("the parts are valid")
}

/// An answer's JSON, if its status is a success; what it complains about otherwise.
pub fn read_json<T: DeserializeOwned>(answer: &Response<Bytes>) -> Result<T, String> {
    let status = answer.status();
    if !status.is_success() {
        return Err(complaint(answer).unwrap_or_else(|| format!("HTTP status {status}")));
    }
    serde_json::from_slice(answer.body()).map_err(|error| makes_no_sense(&error))
}

/// What an answer's JSON complains about, in its own words.
pub fn complaint(answer: &Response<Bytes>) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
    json["error"].as_str().map(str::to_owned)
}

/// A request's name as clients write it: `<client>/<sequence>`.
pub fn request_name(RequestId { client, sequence }: RequestId) -> String {
    format!("{client}/{sequence}")
}

/// Reads what [`request_name`] writes.
pub fn parse_request_name(text: &str) -> Option<RequestId> {
    let (client, sequence) = text.split_once('/')?;
    Some(RequestId { client: client.parse().ok()?, sequence: sequence.parse().ok()? })
}

/// Reads the request's name from its header; `None` where there is no header.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<RequestId>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    value.to_str().ok().and_then(parse_request_name).map(Some).ok_or_else(|| {
        let why = format!("header {IDEMPOTENCY_KEY}: must be two numbers, `<client>/<sequence>`");
        ApiError(StatusCode::BAD_REQUEST, why)
    })
}

/// Asks the node, within [`REQUEST_TIMEOUT`].
pub async fn ask<N: Node, R: Runtime>(
    runtime: &R,
    handle: &Handle<N>,
    id: RequestId,
    request: N::Request,
) -> Result<N::Reply, ApiError> {
    if handle.is_full() {
        // Whoever waited here, too, would only have less time left for the answer.
        let why = "more requests wait for the node than it can take: ask again";
        return Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, why.into()));
    }
    tokio::select! {
        biased;
        reply = handle.request(id, request) => {
            reply.map_err(|stopped| ApiError(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()))
        }
        () = runtime.sleep(REQUEST_TIMEOUT) => {
            let why = format!("no answer from the node within {REQUEST_TIMEOUT:?}");
            Err(ApiError(StatusCode::GATEWAY_TIMEOUT, why))
        }
    }
}

async fn take<N: HttpApi, R: Runtime>(
    State((runtime, handle)): State<(R, Handle<N>)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<axum::response::Response, ApiError> {
    let bad = |why: String| ApiError(StatusCode::BAD_REQUEST, why);
    let id = idempotency_key(&headers)?;
    let id = id.ok_or_else(|| bad(format!("header {IDEMPOTENCY_KEY} is missing: `<client>/<sequence>`")))?;
    let request = serde_json::from_slice(&whole(body)?).map_err(|error| bad(format!("body: {error}")))?;
    let reply = ask(&runtime, &handle, id, request).await?;
    Ok(match N::instead(&reply) {
        None if N::is_not_yet(&reply) => {
            let why = serde_json::json!({ "error": "not yet: ask again", "reply": reply });
            (StatusCode::SERVICE_UNAVAILABLE, Json(why)).into_response()
        }
        None => Json(reply).into_response(),
        Some(node) => {
            let error = format!("ask {}", direction(&handle, node));
            send_on(&handle, node, "/request", &serde_json::json!({ "error": error, "reply": reply }))
        }
    })
}

//! The client's side of a node's HTTP interface.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use coalmine_core::node::RequestId;
use serde::de::DeserializeOwned;

use crate::http::{self, ClientError};
use crate::http_api::{HttpApi, elsewhere, read_json};
use crate::runtime::Runtime;
use crate::tokio_runtime::TokioRuntime;

/// How long to wait for an answer. Longer than a node itself waits before it gives one up.
const TIMEOUT: Duration = Duration::from_secs(12);
/// How often a request is sent to a node that may or may not have got it.
const ATTEMPTS: u32 = 3;
/// How often a request is sent on before somebody is thought to be sent in a circle.
const MOST_HOPS: u32 = 5;
/// How long to wait before asking again who was not there, or not ready.
const PAUSE: Duration = Duration::from_millis(100);

/// What went wrong, and what may help. `program` starts clusters.
pub fn explain(program: &str, error: &ClientError) -> String {
    match error {
        ClientError::Connect { .. } => {
            format!("{error}; is the cluster running? `{program} up` starts one")
        }
        ClientError::Broken { .. } | ClientError::Timeout { .. } => error.to_string(),
    }
}

/// What helps whoever was refused for want of a token: to be said behind what the answer complains about.
pub fn advice(answer: &Response<Bytes>) -> &'static str {
    match answer.status() {
        StatusCode::UNAUTHORIZED => "; `--token-file FILE` shows the one in FILE",
        _ => "",
    }
}

/// A name that no other client's request has.
pub fn new_name() -> RequestId {
    let runtime = TokioRuntime::new("");
    let half = || u64::from(runtime.choose(u32::MAX));
    RequestId { client: half() << 32 | half(), sequence: 1 }
}

/// Sends requests, each on a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: TokioRuntime,
    timeout: Duration,
    patience: Duration,
    token: Option<HeaderValue>,
}

impl Default for Client {
    fn default() -> Self {
        // A client has no journal.
        Self { runtime: TokioRuntime::new(""), timeout: TIMEOUT, patience: Duration::ZERO, token: None }
    }
}

impl Client {
    /// The same, with another time for each answer.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same, which [asks](Self::ask) again for so long where nobody is there or ready. Default not at all.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, which shows this in the header `Authorization`.
    pub fn with_token(self, token: Option<HeaderValue>) -> Self {
        Self { token, ..self }
    }

    /// Sends one request as it is, and who asks.
    pub async fn send(
        &self,
        to: SocketAddr,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        http::request(&self.runtime, to, request, self.timeout).await
    }

    /// Gets a JSON value. `Err` is one line that says what went wrong, and where.
    pub async fn get<T: DeserializeOwned>(&self, from: SocketAddr, path: &str) -> Result<T, String> {
        let answer = self.send(from, get(path)).await.map_err(|error| error.to_string())?;
        read_json(&answer).map_err(|error| format!("{from}{path}: {error}{}", advice(&answer)))
    }

    /// Asks a cluster: the first of these nodes that is there, and whom it sends the client to. What may not have
    /// arrived is sent again, under the same name, so that it is the same request; and to the same node, since what one
    /// node has begun, another may not know of. Says who has answered.
    pub async fn ask<N: HttpApi>(
        &self,
        nodes: &[SocketAddr],
        id: RequestId,
        request: &N::Request,
    ) -> Result<(SocketAddr, Response<Bytes>), ClientError> {
        let began = Instant::now();
        let mut others = nodes.iter().copied().cycle();
        let mut to = others.next().expect("a client knows a node");
        let (mut attempts, mut hops, mut refused) = (1, 0, 0);
        let mut may_have_begun = false;
        loop {
            match self.send(to, N::to_http(id, request)).await {
                Ok(answer) => {
                    if let Some(other) = elsewhere(&answer).filter(|_| hops < MOST_HOPS) {
                        (to, hops) = (other, hops + 1);
                        continue;
                    }
                    may_have_begun |= answer.status() == StatusCode::GATEWAY_TIMEOUT;
                    let again = is_not_yet::<N>(&answer) && began.elapsed() < self.patience;
                    if !again {
                        return Ok((to, answer));
                    }
                }
                Err(error @ ClientError::Connect { .. }) => {
                    refused += 1;
                    if !may_have_begun && nodes.len() > 1 {
                        to = others.next().expect("it never ends");
                    }
                    let all_asked = may_have_begun || refused % nodes.len() == 0;
                    if all_asked && began.elapsed() >= self.patience {
                        return Err(error);
                    }
                    if !all_asked {
                        continue;
                    }
                }
                Err(error @ (ClientError::Broken { .. } | ClientError::Timeout { .. })) => {
                    if attempts >= ATTEMPTS {
                        return Err(error);
                    }
                    attempts += 1;
                    may_have_begun = true;
                    continue;
                }
            }
            self.runtime.sleep(PAUSE).await;
        }
    }
}

/// Whether an answer means that it is too early to ask, or that nobody knows yet.
fn is_not_yet<N: HttpApi>(answer: &Response<Bytes>) -> bool {
    match answer.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => true,
        _ => N::from_http(answer).is_ok_and(|reply| N::is_not_yet(&reply)),
    }
}

/// A request to read something.
pub fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).expect("the parts are valid")
}

#[cfg(test)]
mod tests;

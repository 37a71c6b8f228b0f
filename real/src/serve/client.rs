//! The client's side of a node's HTTP interface.

use std::net::SocketAddr;
use std::time::Duration;

use crate::face::read_json;
use crate::http::{self, ClientError};
use crate::tokio_runtime::TokioRuntime;
use axum::body::Bytes;
use axum::http::{Request, Response};
use serde::de::DeserializeOwned;

/// How long to wait for an answer. Longer than a node itself waits before it gives one up.
const TIMEOUT: Duration = Duration::from_secs(12);

/// What went wrong, and what may help.
pub fn explain(error: &ClientError) -> String {
    match error {
        ClientError::Connect { .. } => format!("{error}; is the cluster running? `canary up` starts one"),
        ClientError::Broken { .. } | ClientError::Timeout { .. } => error.to_string(),
    }
}

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub struct Client {
    runtime: TokioRuntime,
    timeout: Duration,
}

impl Client {
    /// One that waits as long as a request may take.
    pub fn new() -> Self {
        Self { runtime: TokioRuntime::new(""), timeout: TIMEOUT } // a client has no journal
    }

    /// The same, with less patience.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends one request as it is.
    pub async fn send(
        &self,
        to: SocketAddr,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        http::request(&self.runtime, to, request, self.timeout).await
    }

    /// Gets a JSON value. `Err` is one line that says what went wrong, and where.
    pub async fn get<T: DeserializeOwned>(&self, from: SocketAddr, path: &str) -> Result<T, String> {
        let request = Request::get(path).body(Bytes::new()).expect("the parts are valid");
        let answer = self.send(from, request).await.map_err(|error| error.to_string())?;
        read_json(&answer).map_err(|error| format!("{from}{path}: {error}"))
    }
}

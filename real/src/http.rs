//! HTTP/1.1 over any [`Runtime`]: a [server](serve) for a router, a client for one [`request`].

mod patience;
mod places;
mod server;
mod signs;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use thiserror::Error;

pub use self::server::{Peer, serve, serve_counted};
use crate::runtime::Runtime;

/// The longest answer a client takes, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there, or it cannot be reached.
    #[error("cannot connect to {to}: {error}")]
    Connect {
        /// Where.
        to: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The connection broke before the answer was complete. The request may have been carried out.
    #[error("no answer from {to}: {error}")]
    Broken {
        /// Where.
        to: SocketAddr,
        /// Why.
        error: String,
    },
    /// No answer in time. The request may have been carried out.
    #[error("no answer from {to} within {timeout:?}")]
    Timeout {
        /// Where.
        to: SocketAddr,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Sends one request on a connection of its own and takes the whole answer.
pub async fn request<R: Runtime>(
    runtime: &R,
    to: SocketAddr,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Response<Bytes>, ClientError> {
    tokio::select! {
        biased;
        answer = exchange(runtime, to, request) => answer,
        () = runtime.sleep(timeout) => Err(ClientError::Timeout { to, timeout }),
    }
}

async fn exchange<R: Runtime>(
    runtime: &R,
    to: SocketAddr,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, ClientError> {
    let broken = |error: String| ClientError::Broken { to, error };
    let stream = runtime.connect(to).await.map_err(|error| ClientError::Connect { to, error })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    runtime.spawn(async move {
        let _ = connection.await; // an error shows in the answer
    });
    let host = to.to_string().parse().expect("an address is a valid header value");
    request.headers_mut().entry(header::HOST).or_insert(host);
    let answer =
        sender.send_request(request.map(Full::new)).await.map_err(|error| broken(error.to_string()))?;
    let (head, body) = answer.into_parts();
    let body =
        Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| broken(error.to_string()))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

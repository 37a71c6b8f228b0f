//! HTTP/1.1 over any [`Runtime`]: a server for a router, a client for one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::runtime::{Listener, Runtime};

/// How many connections are served at a time.
const MAX_CONNECTIONS: usize = 1024;
/// A connection that lives longer is closed after its current request.
const MAX_CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// How long it may take to end that request, or to begin one: then it is cut off.
const MAX_GOODBYE: Duration = Duration::from_secs(30);
/// The longest answer a client takes, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Serves a router for as long as the node lives.
pub async fn serve<R: Runtime>(runtime: R, mut listener: R::Listener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            runtime.sleep(Duration::from_secs(1)).await; // such as too many open files: it may pass
            continue;
        };
        let (router, clock) = (router.clone(), runtime.clone());
        runtime.spawn(async move {
            let service = TowerToHyperService::new(router);
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                biased;
                _ = connection.as_mut() => {} // a client's error is the client's
                () = clock.sleep(MAX_CONNECTION_LIFE) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        _ = connection => {}
                        () = clock.sleep(MAX_GOODBYE) => {}
                    }
                }
            }
            drop(place);
        });
    }
}

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

#[cfg(test)]
mod tests;

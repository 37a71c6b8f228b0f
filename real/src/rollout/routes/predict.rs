//! `POST /predict`: finds out who serves a request, and has it served.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use coalmine_core::rollout::state::{ModelId, RoutingState};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;

use super::{App, Shared};
use crate::http_api::ApiError;
use crate::rollout::backend::{Backend, Simulated, Upstream};
use crate::rollout::data_plane::{KEY_COOKIE, KEY_HEADER, Measurement, routing_key, spread_point};
use crate::rollout::forward::{REQUEST_ID, Resumed, Unanswered, request_id};
use crate::rollout::wire::{MAX_BODY_BYTES, PredictBody, Prediction, read_body};
use crate::runtime::Runtime;

pub(super) async fn predict<R: Runtime>(State(app): Shared<R>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let id = request_id(&app.runtime, &head.headers);
    head.headers.insert(REQUEST_ID, id.clone());
    let mut answer = app.answer_prediction(head, body).await.unwrap_or_else(ApiError::into_response);
    answer.headers_mut().insert(REQUEST_ID, id);
    answer
}

impl<R: Runtime> App<R> {
    async fn answer_prediction(&self, head: Parts, body: Body) -> Result<Response, ApiError> {
        let (key, body) = match routing_key(&head.headers) {
            Some(key) => (Some(key.to_vec()), body),
            None => look_for_key(body).await?,
        };
        let view = self.member_view()?;
        let model = self.choose_model(&view.routing, key.as_deref()).clone();
        let routed =
            Prediction { model, routing_version: view.routing.version, node: view.node, error: None };
        let mut answer = match self.data_plane.backends.get(&routed.model) {
            Some(Backend::Upstream(upstream)) => {
                let Some(place) = self.forwarder.place() else { return Ok(self.busy()) };
                self.forward(&routed, upstream, (head, body), place).await?
            }
            Some(Backend::Simulated(backend)) => self.simulate(&routed, *backend, (head, body)).await?,
            None => self.simulate(&routed, Simulated::default(), (head, body)).await?,
        };
        routed.label(answer.headers_mut());
        Ok(answer)
    }

    fn choose_model<'a>(&self, routing: &'a RoutingState, key: Option<&[u8]>) -> &'a ModelId {
        routing.serves(match key {
            Some(key) => routing.bucket(key),
            None => spread_point(self.routed.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// Has a model's server answer. An error is the client's fault: it says nothing about the model.
    async fn forward(
        &self,
        routed: &Prediction,
        upstream: &Upstream,
        request: (Parts, Body),
        place: OwnedSemaphorePermit,
    ) -> Result<Response, ApiError> {
        let began = self.runtime.now();
        match self.forwarder.send(&self.runtime, upstream, request, place).await {
            Ok(answer) => {
                let measurement = self.measurement(routed, answer.latency, answer.is_failure());
                Ok(answer.passed_on(&self.runtime, measurement))
            }
            Err(unanswered) => {
                let (status, why) = self.describe(&unanswered);
                if !unanswered.is_the_models() {
                    return Err(ApiError(status, why));
                }
                let latency = self.runtime.now().saturating_sub(began);
                drop(self.measurement(routed, latency, true));
                let error = Some(format!("model {}: {why}", routed.model));
                Ok((status, Json(Prediction { error, ..routed.clone() })).into_response())
            }
        }
    }

    fn busy(&self) -> Response {
        let most = self.forwarder.limits().max_in_flight;
        let why =
            format!("{most} forwarded requests are under way at this node, as many as may be: ask again");
        ApiError(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    }

    fn describe(&self, unanswered: &Unanswered) -> (StatusCode, String) {
        match unanswered {
            Unanswered::TooLong => {
                let most = self.forwarder.limits().max_body_bytes;
                (StatusCode::PAYLOAD_TOO_LARGE, format!("body: it is longer than {most} bytes"))
            }
            Unanswered::ClientGone => (StatusCode::BAD_REQUEST, "body: it breaks off".into()),
            Unanswered::ClientStalled(timeout) => {
                (StatusCode::REQUEST_TIMEOUT, format!("body: nothing more has come within {timeout:?}"))
            }
            Unanswered::Late(timeout) => {
                (StatusCode::GATEWAY_TIMEOUT, format!("its server has not answered within {timeout:?}"))
            }
            Unanswered::Failed(why) => (StatusCode::BAD_GATEWAY, why.clone()),
        }
    }

    /// What a model's simulated backend does with one request.
    async fn simulate(
        &self,
        routed: &Prediction,
        backend: Simulated,
        request: (Parts, Body),
    ) -> Result<Response, ApiError> {
        let (head, body) = request;
        let body = Bytes::from_request(Request::from_parts(head, body), &()).await;
        read_body::<PredictBody>(body)?;
        let began = self.runtime.now();
        if backend.latency_ms > 0 {
            self.runtime.sleep(Duration::from_millis(backend.latency_ms)).await;
        }
        let nth = self.taken.get(&routed.model).map_or(0, |taken| taken.fetch_add(1, Ordering::Relaxed) + 1);
        let failed = spread_point(nth) < backend.error_bp;
        drop(self.measurement(routed, self.runtime.now().saturating_sub(began), failed));
        if !failed {
            return Ok(Json(routed).into_response());
        }
        let why = format!("model {} failed (its simulated backend is configured to)", routed.model);
        let failure = Prediction { error: Some(why), ..routed.clone() };
        Ok((StatusCode::BAD_GATEWAY, Json(failure)).into_response())
    }

    fn measurement(&self, routed: &Prediction, latency: Duration, failed: bool) -> Measurement {
        let (meter, model) = (self.meter.clone(), routed.model.clone());
        Measurement { meter, version: routed.routing_version, model, latency, failed }
    }
}

/// Reads as much of a body as it takes to find its `key`: all of it, if it begins like a JSON object. What is no
/// object, or has no text for a key, has none.
async fn look_for_key(mut body: Body) -> Result<(Option<Vec<u8>>, Body), ApiError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| ApiError(StatusCode::BAD_REQUEST, format!("body: it breaks off: {error}")))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        if !may_be_object(&read) {
            return Ok((None, Body::new(Resumed::new(read.into(), body))));
        }
        if read.len() > MAX_BODY_BYTES {
            return Err(too_long_for_key());
        }
    }
    Ok((key_in(&read), read.into()))
}

fn too_long_for_key() -> ApiError {
    let why = format!(
        "body: it is longer than {MAX_BODY_BYTES} bytes, the most in which a key is looked for; a longer one needs \
         the header {KEY_HEADER} or the cookie {KEY_COOKIE}"
    );
    ApiError(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// Whether a body that begins so may be a JSON object.
fn may_be_object(read: &[u8]) -> bool {
    read.trim_ascii_start().first().is_none_or(|&first| first == b'{')
}

fn key_in(body: &[u8]) -> Option<Vec<u8>> {
    let body: PredictBody = serde_json::from_slice(body).ok()?;
    body.key.map(String::into_bytes)
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody;

    use super::*;

    /// Looks for the key of a body that comes in these pieces, and reads the body that is left.
    async fn look(pieces: &[&str]) -> Result<(Option<String>, Bytes), StatusCode> {
        let pieces = pieces.iter().rev().map(|piece| Bytes::from(piece.to_string()));
        let body = pieces.fold(Body::empty(), |rest, piece| Body::new(Resumed::new(piece, rest)));
        let (key, rest) = look_for_key(body).await.map_err(|error| error.0)?;
        let rest = rest.collect().await.expect("it does not break off").to_bytes();
        Ok((key.map(|key| String::from_utf8(key).expect("text")), rest))
    }

    #[tokio::test]
    async fn a_key_is_found_in_an_object_and_the_body_stays_as_it_was() {
        let long = "x".repeat(MAX_BODY_BYTES);
        let bodies: [(&[&str], Option<&str>); 12] = [
            (&[r#"{"key": "alice"}"#], Some("alice")),
            (&[" \n", r#"{"input": [1], "ke"#, r#"y": "bob"}"#], Some("bob")),
            (&[r#"{"key": 5}"#], None),
            (&[r#"{"key": null}"#], None),
            (&["{}"], None),
            (&[r#"{"key": "alice""#], None),
            (&[r#"["alice"]"#], None),
            (&["no JSON"], None),
            (&["\u{fffd}"], None),
            (&[""], None),
            (&[], None),
            (&["x", &long, &long], None),
        ];
        for (pieces, key) in bodies {
            let expected = (key.map(str::to_owned), Bytes::from(pieces.concat()));
            assert!(look(pieces).await == Ok(expected), "{pieces:.60?}");
        }
    }

    #[tokio::test]
    async fn a_key_is_looked_for_in_so_much_and_no_more() {
        let padded = |bytes: usize| format!(r#"{{"key": "alice"}}{}"#, " ".repeat(bytes - 16));
        let (key, _) = look(&[&padded(MAX_BODY_BYTES)]).await.expect("it is short enough");
        assert_eq!(key.as_deref(), Some("alice"));
        let long = [padded(MAX_BODY_BYTES + 1), " ".repeat(MAX_BODY_BYTES + 1)];
        for body in &long {
            assert_eq!(look(&[body]).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        }
    }

    #[tokio::test]
    async fn a_body_whose_beginning_was_read_has_its_old_length() {
        let (_, body) = look_for_key(Body::from("no JSON")).await.expect("it can be read");
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(7), false));
        let resumed = Resumed::new(Bytes::from_static(b"no "), Body::from("JSON"));
        assert_eq!(resumed.size_hint().exact(), Some(7));
    }
}

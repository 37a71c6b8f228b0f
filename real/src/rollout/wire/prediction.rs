//! What `POST /predict` takes and answers.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use coalmine_core::node::NodeId;
use coalmine_core::rollout::state::ModelId;
use serde::{Deserialize, Serialize};

use crate::http_api::complaint;

/// The header of an answer that names the model.
pub const MODEL: HeaderName = HeaderName::from_static("x-coalmine-model");
/// The header of an answer that says under which version of the routing state the model was chosen.
pub const ROUTING_VERSION: HeaderName = HeaderName::from_static("x-coalmine-routing-version");
/// The header of an answer that says which node chose it, by its number.
pub const NODE: HeaderName = HeaderName::from_static("x-coalmine-node");

/// `POST /predict`: the model's input, which may be any object, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PredictBody {
    /// Requests with the same key are served by the same model for as long as the weights stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What `POST /predict` answers where no server is behind the model, also where it failed; and where there is a
/// server that gave no answer. What a server does answer is passed on, with the same in its [headers](Self::label).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Which model served.
    pub model: ModelId,
    /// Under which version of the routing state.
    pub routing_version: u64,
    /// On which node.
    pub node: NodeId,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Prediction {
    /// Writes who served it into an answer's headers, over whatever is there.
    pub fn label(&self, headers: &mut HeaderMap) {
        let model = HeaderValue::from_str(self.model.as_str()).expect("a model's name is plain text");
        headers.insert(MODEL, model);
        headers.insert(ROUTING_VERSION, self.routing_version.into());
        headers.insert(NODE, self.node.0.into());
    }

    /// Reads who served an answer from its headers, and what went wrong from its status and its body. `None` where it
    /// was not routed to a model.
    pub fn of(answer: &Response<Bytes>) -> Option<Self> {
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let model = ModelId::new(header(MODEL)?).ok()?;
        let routing_version = header(ROUTING_VERSION)?.parse().ok()?;
        let node = NodeId(header(NODE)?.parse().ok()?);
        Some(Self { model, routing_version, node, error: error_of(answer) })
    }
}

/// What went wrong with a request, if its answer is no success: in the words of the answer, if it has any.
fn error_of(answer: &Response<Bytes>) -> Option<String> {
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    Some(complaint(answer).unwrap_or_else(|| format!("HTTP status {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str, of: Option<&Prediction>) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
        *answer.status_mut() = status.try_into().expect("a status");
        if let Some(prediction) = of {
            prediction.label(answer.headers_mut());
        }
        answer
    }

    #[test]
    fn who_served_is_read_back_from_the_headers() {
        let model = ModelId::new("team/v2:1@x").expect("a name");
        let served = Prediction { model, routing_version: u64::MAX, node: NodeId(7), error: None };
        assert_eq!(Prediction::of(&answer(200, "not JSON", Some(&served))), Some(served.clone()));
        let with = |error: &str| Some(Prediction { error: Some(error.into()), ..served.clone() });
        let failed = answer(502, r#"{"error": "cannot connect"}"#, Some(&served));
        assert_eq!(Prediction::of(&failed), with("cannot connect"));
        let refused = answer(422, "what?", Some(&served));
        assert_eq!(Prediction::of(&refused), with("HTTP status 422 Unprocessable Entity"));
        assert_eq!(Prediction::of(&answer(503, "{}", None)), None);
    }
}

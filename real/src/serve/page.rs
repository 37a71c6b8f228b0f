//! What a browser is shown: the service's page at `/`, and what it needs of the other nodes, which no browser may ask for it.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /` | the [page](Service::PAGE), if the service has one |
//! | `GET /cluster` | for each member its address, whether this is it, and what it says of itself or why it says nothing |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::service::Service;
use crate::http::request;
use crate::http_api::{ApiError, Reader, read_json, wrong_method};
use crate::runtime::Runtime;
use crate::shell::Handle;

/// Where all members are.
pub const CLUSTER: &str = "/cluster";

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// For so long an answer is good enough for the next one who asks: however many there are, the members are asked seldom.
const FRESH: Duration = Duration::from_millis(250);
/// How many members are asked.
const MOST_MEMBERS: usize = 64;

/// A member, as another one sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Where it takes HTTP.
    pub address: SocketAddr,
    /// Whether it is the one that was asked.
    pub here: bool,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// Why it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

struct Page<S: Service, R> {
    runtime: R,
    handle: Handle<S>,
    last: Mutex<Option<(Duration, Vec<Member>)>>,
}

type Shared<S, R> = State<Arc<Page<S, R>>>;

pub(super) fn routes<S: Service, R: Runtime>(runtime: &R, handle: Handle<S>) -> Router {
    let page = Page { runtime: runtime.clone(), handle, last: Mutex::new(None) };
    let mut routes = Router::new().route(CLUSTER, get(cluster::<S, R>));
    if S::PAGE.is_some() {
        routes = routes.route("/", get(show::<S, R>));
    }
    routes.method_not_allowed_fallback(wrong_method).with_state(Arc::new(page))
}

async fn show<S: Service, R: Runtime>(State(page): Shared<S, R>) -> Result<Response, ApiError> {
    // Of a new one for each answer, so that nothing that gets into the page by mistake is run.
    let nonce: String = (0..4).map(|_| format!("{:08x}", page.runtime.choose(u32::MAX))).collect();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy: HeaderValue = policy
        .parse()
        .map_err(|_| ApiError(StatusCode::INTERNAL_SERVER_ERROR, "the page's policy is no header".into()))?;
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::CACHE_CONTROL, fixed("no-store")),
    ];
    Ok((headers, Html(S::PAGE.unwrap_or_default().replace("NONCE", &nonce))).into_response())
}

async fn cluster<S: Service, R: Runtime>(
    State(page): Shared<S, R>,
    reader: Option<Extension<Reader>>,
) -> Json<Vec<Member>> {
    // Whoever comes meanwhile waits here, and finds what the first has brought.
    let mut last = page.last.lock().await;
    if let Some((at, members)) = &*last
        && page.runtime.now().saturating_sub(*at) < FRESH
    {
        return Json(members.clone());
    }
    let me = page.handle.node();
    let mut asked = tokio::task::JoinSet::new();
    for (node, address) in page.handle.addresses().into_iter().take(MOST_MEMBERS) {
        let (runtime, credentials) = (page.runtime.clone(), reader.clone().map(|Extension(Reader(it))| it));
        asked.spawn(async move {
            let (status, error) = match ask(&runtime, address, S::STATUS, credentials).await {
                Ok(status) => (Some(status), None),
                Err(why) => (None, Some(why)),
            };
            Member { node, address, here: node == me, status, error }
        });
    }
    let mut members = asked.join_all().await;
    members.sort_by_key(|member| member.node);
    *last = Some((page.runtime.now(), members.clone()));
    Json(members)
}

/// Asks a member, in the name of whoever asks here.
async fn ask<R: Runtime>(
    runtime: &R,
    to: SocketAddr,
    path: &str,
    credentials: Option<HeaderValue>,
) -> Result<Value, String> {
    let mut asked = Request::get(path).body(Bytes::new()).map_err(|why| why.to_string())?;
    if let Some(credentials) = credentials {
        asked.headers_mut().insert(header::AUTHORIZATION, credentials);
    }
    let answer = request(runtime, to, asked, PATIENCE).await.map_err(|why| why.to_string())?;
    read_json(&answer)
}

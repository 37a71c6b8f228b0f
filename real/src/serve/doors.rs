//! The doors of a node's HTTP: who comes in where. All requests pass here, before any route sees them.
//!
//! | | a request is refused |
//! | --- | --- |
//! | 400 | without `Host`, or with several |
//! | 421 | if its `Host` is not a name of this node: a page has its own name point here (DNS rebinding) |
//! | 403 | if its `Origin` is not the node's own: a page of somebody else asks through its reader's browser |
//! | 401 | without a token, or with one that nobody has, where a token is needed |
//!
//! Which routes need a token, their [kind](Door) and the table [`[access]`](super::access) say. Whoever has shown one is
//! known to the route by the extension [`Operator`](crate::http_api::Operator). Where reading needs a token, a route that reads
//! at other nodes asks them with the same one, the extension [`Reader`]; and one that is open to all learns who may not read by
//! [`Stranger`].

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::access::{Access, Rule};
use super::tokens::Tokens;
use crate::http_api::{ApiError, Reader, Stranger};

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It shows something: `access.read`.
    Read,
    /// It does the service's work: `access.use`.
    Use,
    /// It changes the cluster: an operator's token, as soon as there are tokens.
    Operate,
    /// It is open to all, whatever else is not: probes, and a browser on its way to the page. To a [`Stranger`] it says
    /// nothing that matters.
    Open,
}

/// What routes are for, by method and path such as `GET /status`. A route that is not named is for operators.
pub type DoorTable = &'static [(&'static str, Door)];

/// The doors of one node.
#[derive(Debug)]
pub struct Doors {
    access: Access,
    tokens: Tokens,
    own: SocketAddr,
    tables: Vec<DoorTable>,
}

impl Doors {
    /// Those of a node that listens here.
    pub fn new(access: Access, tokens: Tokens, own: SocketAddr, tables: &[DoorTable]) -> Self {
        Self { access, tokens, own, tables: tables.to_vec() }
    }

    /// Routes that are behind them.
    pub fn before(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), pass))
    }

    /// Lets a request in, or says why not.
    fn admit(&self, request: &mut Request) -> Result<(), ApiError> {
        let is_old = request.version() < Version::HTTP_11;
        let host = host_of(request.headers(), is_old)?;
        // A request's target may name a host as well, and goes before the header then (RFC 9112, 3.2.2).
        let named = request.uri().authority().map(|target| target.as_str());
        let refusal = named.into_iter().chain(host).find(|host| !self.access.is_own(host, self.own));
        if let Some(other) = refusal {
            let why = format!(
                "this node is {}, not {other}: another name of it must be among the `hosts` of `[access]` in its file",
                self.own
            );
            return Err(ApiError(StatusCode::MISDIRECTED_REQUEST, why));
        }
        self.check_origin(request.headers(), named.or(host))?;
        self.check_token(request)
    }

    fn check_origin(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), ApiError> {
        for origin in headers.get_all(ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            if !self.access.lets_in(&origin, host.unwrap_or_default()) {
                let why = format!(
                    "a page of {origin} may not ask this node: it would have to be among the `origins` of `[access]` in \
                     its file"
                );
                return Err(ApiError(StatusCode::FORBIDDEN, why));
            }
        }
        Ok(())
    }

    /// Finds out who asks. A token that has done its work goes no further.
    fn check_token(&self, request: &mut Request) -> Result<(), ApiError> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let door = self.kind(request.method(), request.uri().path());
        let rule = match door {
            Door::Read => self.access.read,
            Door::Use => self.access.uses,
            Door::Operate => Rule::Token,
            Door::Open => Rule::Open,
        };
        let shown = bearer(request.headers());
        let operator = shown.and_then(|token| self.tokens.find(token)).cloned();
        if let Some(operator) = operator {
            let header = request.headers_mut().remove(AUTHORIZATION);
            if let Some(mut header) = header.filter(|_| (door, rule) == (Door::Read, Rule::Token)) {
                header.set_sensitive(true);
                request.extensions_mut().insert(Reader(header));
            }
            request.extensions_mut().insert(operator);
            return Ok(());
        }
        let (method, path) = (request.method(), request.uri().path());
        match rule {
            Rule::Open => {
                if (door, self.access.read) == (Door::Open, Rule::Token) {
                    request.extensions_mut().insert(Stranger);
                }
                Ok(())
            }
            Rule::Token => {
                let why = match shown {
                    Some(_) => "nobody has this token",
                    None => "this needs a token, as a header `Authorization: Bearer TOKEN`",
                };
                Err(ApiError(StatusCode::UNAUTHORIZED, format!("{method} {path}: {why}")))
            }
        }
    }

    /// What is at a path. What looks at something's head only looks.
    fn kind(&self, method: &Method, path: &str) -> Door {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let mut all = self.tables.iter().copied().flatten();
        let is_it = |(route, _): &&(&str, Door)| route.split_once(' ') == Some((method.as_str(), path));
        all.find(is_it).map_or(Door::Operate, |&(_, door)| door)
    }
}

async fn pass(State(doors): State<Arc<Doors>>, mut request: Request, next: Next) -> Response {
    match doors.admit(&mut request) {
        Ok(()) => next.run(request).await,
        Err(why @ ApiError(StatusCode::UNAUTHORIZED, _)) => {
            ([(WWW_AUTHENTICATE, "Bearer")], why).into_response()
        }
        Err(why) => why.into_response(),
    }
}

/// What a request calls this node. In HTTP/1.0, which no browser has spoken for long, it need not say.
fn host_of(headers: &HeaderMap, is_old: bool) -> Result<Option<&str>, ApiError> {
    let bad = |why: &str| Err(ApiError(StatusCode::BAD_REQUEST, format!("header host: {why}")));
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, _) if is_old => Ok(None),
        (None, _) => bad("it is missing: HTTP/1.1 has one in each request"),
        (Some(_), Some(_)) => bad("it is there more than once"),
        (Some(host), None) => host.to_str().map(Some).or_else(|_| bad("it is no text")),
    }
}

/// The token that a request shows: `Authorization: Bearer TOKEN`, once.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let (Some(shown), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = shown.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;

//! Which headers are for the other end, and which for this connection only.

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue};

use crate::runtime::Runtime;

/// The header that names a request for whoever follows it through the logs of several servers.
pub(in crate::rollout) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of one connection (RFC 9110, section 7.6.1), beside those that `Connection` names and all of `Proxy-`.
const OF_ONE_CONNECTION: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Leaves the headers that are for the other end.
pub(super) fn keep_end_to_end(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH); // the body's own frames say how long it is
    }
    let named: Vec<HeaderName> = headers.get_all(CONNECTION).iter().flat_map(names_in).collect();
    let proxies = headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned();
    let all: Vec<_> = named.into_iter().chain(proxies).chain(OF_ONE_CONNECTION).collect();
    for name in all {
        headers.remove(name);
    }
}

/// What a `Connection` header names. What is no name of a header, such as a stray comma, names nothing.
fn names_in(value: &HeaderValue) -> Vec<HeaderName> {
    let words = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    words.filter_map(|word| HeaderName::from_bytes(word).ok()).collect()
}

/// A client's headers as the upstream gets them. `Host` is the upstream's, which the client that sends them adds, and
/// an expectation was met when the body began to be read.
pub(super) fn for_upstream(headers: &mut HeaderMap) {
    keep_end_to_end(headers);
    headers.remove(HOST);
    headers.remove(EXPECT);
}

/// The request's id: the client's own, or one that nobody else has.
pub(in crate::rollout) fn request_id<R: Runtime>(runtime: &R, headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(REQUEST_ID).filter(|id| !id.as_bytes().trim_ascii().is_empty());
    own.cloned().unwrap_or_else(|| {
        let quarter = || runtime.choose(u32::MAX);
        let id = format!("{:08x}{:08x}{:08x}{:08x}", quarter(), quarter(), quarter(), quarter());
        HeaderValue::try_from(id).expect("digits are a valid value")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tokio_runtime::TokioRuntime;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
        });
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn headers_of_one_connection_are_dropped() {
        let mut given = headers(&[
            ("accept", "*/*"),
            ("connection", "keep-alive, X-Secret ,,é, close"),
            ("connection", "x-other"),
            ("content-type", "application/json"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "close"),
            ("proxy-whatever", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("upgrade", "websocket"),
            ("x-other", "1"),
            ("x-secret", "1"),
            ("x-secret", "2"),
            ("x-request-id", "abc"),
        ]);
        keep_end_to_end(&mut given);
        let left = headers(&[
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-request-id", "abc"),
        ]);
        assert_eq!(given, left);
    }

    #[test]
    fn a_length_beside_an_encoding_says_nothing() {
        let mut chunked = headers(&[("content-length", "7"), ("transfer-encoding", "chunked")]);
        keep_end_to_end(&mut chunked);
        assert!(chunked.is_empty(), "{chunked:?}");
        let mut plain = headers(&[("content-length", "7")]);
        keep_end_to_end(&mut plain);
        assert_eq!(plain, headers(&[("content-length", "7")]));
    }

    #[test]
    fn the_upstream_gets_its_own_host_and_no_expectation() {
        let mut given = headers(&[("host", "node:1"), ("expect", "100-continue"), ("x", "1")]);
        for_upstream(&mut given);
        assert_eq!(given, headers(&[("x", "1")]));
    }

    #[test]
    fn an_id_is_kept_or_made() {
        let runtime = TokioRuntime::new("");
        assert_eq!(request_id(&runtime, &headers(&[("x-request-id", "abc")])), "abc");
        let made = (0..1_000).map(|n| {
            let given = if n % 2 == 0 { headers(&[]) } else { headers(&[("x-request-id", "")]) };
            request_id(&runtime, &given)
        });
        let made: BTreeSet<_> = made.map(|id| id.to_str().expect("text").to_owned()).collect();
        assert!(made.len() == 1_000 && made.iter().all(|id| id.len() == 32), "{made:?}");
    }
}

//! What serves a model, as a node's file names it: a server that requests are forwarded to, or a simulated one.

use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use coalmine_core::rollout::config::LONGEST_MS;
use serde::{Deserialize, Serialize};

use super::wire::bp_of_decimal;

/// How long an upstream may take, in milliseconds, where its file does not say.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;

/// What serves a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Nothing does: what it would be like to ask it is simulated.
    Simulated(Simulated),
    /// A server.
    Upstream(Upstream),
}

/// A simulated backend of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// How long it takes for each answer, in milliseconds.
    pub latency_ms: u64,
    /// The share of requests that fail, in basis points.
    pub error_bp: u32,
}

/// A server that requests are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where requests go: `http`, a host and a path.
    pub url: Uri,
    /// How long it may take until the head of its answer, and between two pieces of the body.
    pub timeout: Duration,
}

impl Upstream {
    /// Its host, and its port if that is not 80.
    pub fn host(&self) -> &str {
        self.url.authority().map_or("", Authority::as_str)
    }
}

/// What forwarding may use of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forwarding {
    /// How many forwarded requests may be under way at a time, each until the end of its answer. Default 256.
    pub max_in_flight: u32,
    /// The longest body of a request that is forwarded, in bytes. Default 16 MiB.
    pub max_body_bytes: u64,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { max_in_flight: 256, max_body_bytes: 16 << 20 }
    }
}

impl Forwarding {
    /// More than a node takes connections at all.
    const MOST_IN_FLIGHT: u32 = 65_536;

    /// `Err` names the key that makes no sense.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=Self::MOST_IN_FLIGHT).contains(&self.max_in_flight) {
            let (given, most) = (self.max_in_flight, Self::MOST_IN_FLIGHT);
            return Err(format!("max_in_flight: {given}: must lie in 1..={most}"));
        }
        if self.max_body_bytes == 0 {
            return Err("max_body_bytes: must be above 0".into());
        }
        Ok(())
    }
}

/// What a node's file says of a model's backend: `url` and what belongs to it, or what is simulated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendFile {
    /// Where requests are forwarded to, `http://host:port/path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long the server may take until the head of its answer, and between two pieces of the body, in
    /// milliseconds. Default 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long each simulated answer takes, in milliseconds. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// The share of requests that a simulated backend fails, 0 to 1. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
}

impl BackendFile {
    /// What it describes; `Err` names the key that makes no sense.
    pub fn backend(&self) -> Result<Backend, String> {
        match &self.url {
            Some(url) => self.upstream(url).map(Backend::Upstream),
            None => self.simulated().map(Backend::Simulated),
        }
    }

    fn upstream(&self, url: &str) -> Result<Upstream, String> {
        let simulated =
            [("latency_ms", self.latency_ms.is_some()), ("error_rate", self.error_rate.is_some())];
        if let Some((key, _)) = simulated.iter().find(|(_, given)| *given) {
            return Err(format!("{key}: not possible beside url, which names a real server: leave one out"));
        }
        let url = read_url(url).map_err(|why| format!("url: {url:?}: {why}"))?;
        let timeout_ms = self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        if timeout_ms == 0 {
            return Err("timeout_ms: must be above 0".into());
        }
        check_ms("timeout_ms", timeout_ms)?;
        Ok(Upstream { url, timeout: Duration::from_millis(timeout_ms) })
    }

    fn simulated(&self) -> Result<Simulated, String> {
        if self.timeout_ms.is_some() {
            return Err("timeout_ms: only possible beside url: nothing simulated is waited for".into());
        }
        let latency_ms = self.latency_ms.unwrap_or(0);
        check_ms("latency_ms", latency_ms)?;
        let error_bp = bp_of_decimal(self.error_rate.unwrap_or(0.0));
        Ok(Simulated { latency_ms, error_bp: error_bp.map_err(|why| format!("error_rate: {why}"))? })
    }
}

/// Refuses a time that is longer than a node can wait.
pub(super) fn check_ms(key: &str, ms: u64) -> Result<(), String> {
    if ms > LONGEST_MS {
        return Err(format!("{key}: {ms} is more than a year, {LONGEST_MS} ms"));
    }
    Ok(())
}

/// Reads where an upstream is; `Err` says what is wrong with it.
fn read_url(text: &str) -> Result<Uri, String> {
    if text.contains('#') {
        return Err("a fragment (#) is never sent: leave it out".into());
    }
    let url: Uri = text.parse().map_err(|error: axum::http::uri::InvalidUri| error.to_string())?;
    match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS => {
            return Err("https is not supported: only http, such as to a proxy that speaks TLS".into());
        }
        Some(_) | None => return Err("must begin with http://".into()),
    }
    let authority = url.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("a user name or password is not possible".into());
    }
    if url.host().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(format!("{port:?} is no port"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Upstream, String> {
        let file = BackendFile { url: Some(url.into()), ..BackendFile::default() };
        match file.backend()? {
            Backend::Upstream(upstream) => Ok(upstream),
            Backend::Simulated(_) => panic!("{url} is a server"),
        }
    }

    #[test]
    fn a_server_is_named_by_a_name_or_an_address() {
        let hosts = [
            ("http://127.0.0.1:9000/v2/infer", "127.0.0.1:9000"),
            ("http://localhost:9000", "localhost:9000"),
            ("http://models.internal/v2?deep=1", "models.internal"),
            ("http://[::1]:9000/", "[::1]:9000"),
        ];
        for (url, host) in hosts {
            let upstream = read(url).expect(url);
            assert_eq!((upstream.host(), upstream.timeout), (host, Duration::from_secs(10)));
        }
    }

    #[test]
    fn an_url_that_cannot_be_asked_is_refused_in_words() {
        let mistakes = [
            ("https://models/v2", "https is not supported"),
            ("ftp://models/v2", "must begin with http://"),
            ("127.0.0.1:9000", "must begin with http://"),
            ("/v2/infer", "must begin with http://"),
            ("", "empty string"),
            ("http://", "empty string"),
            ("http://:9000/", "it names no host"),
            ("http://me:secret@models/", "a user name or password"),
            ("http://models:0/", "is no port"),
            ("http://models:99999/", "is no port"),
            ("http://models:/", "is no port"),
            ("http://models/ v2", "invalid"),
            ("http://models/#v2", "a fragment"),
        ];
        for (url, why) in mistakes {
            let said = read(url).expect_err(url);
            assert!(said.starts_with("url: ") && said.contains(why), "{url}: {said}");
        }
    }

    #[test]
    fn what_is_not_said_is_a_backend_that_answers_at_once() {
        assert_eq!(BackendFile::default().backend(), Ok(Backend::Simulated(Simulated::default())));
    }
}

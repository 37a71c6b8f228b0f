//! The table `[access]` of a node's file: who may ask, and under which names the node is asked.
//!
//! ```toml
//! [access]
//! tokens = "tokens.txt"                    # a line for each operator, NAME TOKEN; beside the file
//! read = "open"                            # or "token": status, health, reads
//! use = "open"                             # or "token": the service's own work, such as predictions (or: predict = …)
//! hosts = ["models.example"]               # names of the node besides its address, with a port if only that is meant
//! origins = ["https://models.example"]     # pages of other origins that may ask
//! ```
//!
//! Without `tokens` nobody is asked who he is, and the node listens on loopback only.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::http::uri::{Authority, Scheme, Uri};
use serde::Deserialize;

use super::tokens::Tokens;

/// What a file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessTable {
    pub(super) tokens: Option<PathBuf>,
    read: Rule,
    #[serde(rename = "use", alias = "predict")]
    uses: Rule,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Who is let in at some kind of door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has a token.
    Token,
}

/// The same, checked.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The file with the operators' tokens.
    pub tokens: Option<PathBuf>,
    /// Who may read.
    pub read: Rule,
    /// Who may use the service.
    pub uses: Rule,
    /// Other names of the node, and the port where only one is meant.
    hosts: Vec<(String, Option<u16>)>,
    /// Other origins.
    origins: Vec<String>,
}

impl AccessTable {
    /// Checks all values. `folder` is where the file lies; `Err` holds the key and what is wrong with it.
    pub(super) fn check(self, folder: &Path) -> Result<Access, (String, String)> {
        let Self { tokens, read, uses, hosts, origins } = self;
        for (key, rule) in [("read", read), ("use", uses)] {
            if rule == Rule::Token && tokens.is_none() {
                let what = "\"token\" asks for a token, and access.tokens names no file with tokens";
                return Err((format!("access.{key}"), what.into()));
            }
        }
        let host = |(i, text): (usize, &String)| {
            let what =
                || format!("`{text}` is no name of a host, with or without a port: `name`, `name:port`");
            // What looks like a pattern would only ever be a name.
            let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
            let parsed = host_and_port(text).filter(|_| is_plain);
            parsed.ok_or_else(|| (format!("access.hosts[{i}]"), what()))
        };
        let origin = |(i, text): (usize, &String)| {
            let what = || format!("`{text}` is no origin: `https://name` or `http://name:port`, and no path");
            if is_origin(text) { Ok(text.clone()) } else { Err((format!("access.origins[{i}]"), what())) }
        };
        Ok(Access {
            tokens: tokens.map(|file| folder.join(file)),
            read,
            uses,
            hosts: hosts.iter().enumerate().map(host).collect::<Result<_, _>>()?,
            origins: origins.iter().enumerate().map(origin).collect::<Result<_, _>>()?,
        })
    }
}

impl Access {
    /// Reads the file with the tokens, if there is one. `Err` names it, and the line.
    pub fn load_tokens(&self) -> Result<Tokens, String> {
        self.tokens.as_deref().map_or_else(|| Ok(Tokens::default()), Tokens::load)
    }

    /// Whether a node that listens here may be called so. A page that has its own name point to this address, to be let
    /// in as if it came from here, sends that name.
    pub(super) fn is_own(&self, host: &str, own: SocketAddr) -> bool {
        let Some((name, port)) = host_and_port(host) else { return false };
        let is_own_port = port.unwrap_or(80) == own.port();
        let ip: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        let is_own_ip = ip.map(|ip| ip.to_canonical()).is_some_and(|ip| {
            ip == own.ip().to_canonical() || own.ip().is_unspecified() // it listens on all of the machine's
        });
        let is_named = |(other, only): &(String, Option<u16>)| {
            name.eq_ignore_ascii_case(other) && only.is_none_or(|only| port.unwrap_or(80) == only)
        };
        is_own_port && (is_own_ip || name.eq_ignore_ascii_case("localhost"))
            || self.hosts.iter().any(is_named)
    }

    /// Whether a page of this origin may ask a node that it calls so.
    pub(super) fn lets_in(&self, origin: &str, host: &str) -> bool {
        let own = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host))
            || self.origins.iter().any(|other| other.eq_ignore_ascii_case(origin))
    }
}

/// What a `Host` says; nothing if it makes no sense.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let port = match text.strip_prefix(host)? {
        "" => None,
        port => Some(port.strip_prefix(':')?.parse().ok()?),
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_http = uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    let authority = uri.authority().map_or("", Authority::as_str);
    let exactly = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
    is_http && host_and_port(authority).is_some() && text.eq_ignore_ascii_case(&exactly)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(toml: &str) -> Result<Access, String> {
        let table: AccessTable = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        table.check(Path::new("n")).map_err(|(key, what)| format!("{key}: {what}"))
    }

    #[test]
    fn a_node_goes_by_its_address_and_the_names_that_it_was_given() {
        let named = "hosts = [\"models\", \"models.example:80\", \"10.1.1.1:9\"]";
        let own: SocketAddr = "10.0.0.7:8711".parse().expect("an address");
        let cases = [
            ("10.0.0.7:8711", true),
            ("localhost:8711", true),
            ("LOCALHOST:8711", true),
            ("[::ffff:10.0.0.7]:8711", true),
            ("models", true),
            ("Models:9000", true),
            ("models.example", true),
            ("models.example:80", true),
            ("10.1.1.1:9", true),
            ("models.example:8711", false),
            ("10.0.0.7", false),
            ("10.0.0.7:8712", false),
            ("10.0.0.8:8711", false),
            ("127.0.0.1:8711", false),
            ("localhost", false),
            ("localhost.:8711", false),
            ("localhost.evil.example:8711", false),
            ("evil.example:8711", false),
            ("evil.example@10.0.0.7:8711", false),
            ("10.0.0.7:8711:8711", false),
            ("10.0.0.7:", false),
            ("10.0.0.7:99999", false),
            ("10.0.0.7:8711/", false),
            ("", false),
            (":8711", false),
        ];
        let some = access(named).expect("valid");
        for (host, expected) in cases {
            assert_eq!(some.is_own(host, own), expected, "{host}");
        }
        let none = Access::default();
        assert!(none.is_own("[::1]:80", "[::1]:80".parse().expect("an address")));
        assert!(none.is_own("127.0.0.1", "127.0.0.1:80".parse().expect("an address")));
        let all = "0.0.0.0:8711".parse().expect("an address");
        assert!(none.is_own("192.168.3.4:8711", all) && !none.is_own("192.168.3.4:1", all));
        assert!(!none.is_own("evil.example:8711", all));
    }

    #[test]
    fn an_origin_is_the_nodes_own_or_named() {
        let some = access("origins = [\"https://Models.example\"]").expect("valid");
        for (origin, expected) in [
            ("http://10.0.0.7:8711", true),
            ("https://10.0.0.7:8711", true),
            ("https://models.example", true),
            ("http://models.example", false),
            ("https://models.example.evil", false),
            ("http://10.0.0.7", false),
            ("http://10.0.0.7:8711.evil", false),
            ("10.0.0.7:8711", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(some.lets_in(origin, "10.0.0.7:8711"), expected, "{origin}");
        }
    }

    #[test]
    fn each_mistake_is_named_with_its_key() {
        for (toml, expected) in [
            ("read = \"token\"", "access.read: \"token\" asks for a token"),
            ("predict = \"token\"", "access.use: \"token\" asks for a token"),
            ("use = \"closed\"", "unknown variant `closed`, expected `open` or `token`"),
            ("users = 1", "unknown field `users`"),
            ("hosts = [\"a\", \"http://a\"]", "access.hosts[1]: `http://a` is no name"),
            ("hosts = [\"me@a\"]", "access.hosts[0]: `me@a` is no name"),
            ("hosts = [\"a:x\"]", "access.hosts[0]: `a:x` is no name"),
            ("hosts = [\"*\"]", "access.hosts[0]: `*` is no name"),
            ("hosts = [\"\"]", "access.hosts[0]: `` is no name"),
            ("origins = [\"a\"]", "access.origins[0]: `a` is no origin"),
            ("origins = [\"https://a/\"]", "access.origins[0]: `https://a/` is no origin"),
            ("origins = [\"https://a?a\"]", "access.origins[0]: `https://a?a` is no origin"),
            ("origins = [\"ftp://a\"]", "access.origins[0]: `ftp://a` is no origin"),
            ("origins = [\"*\"]", "access.origins[0]: `*` is no origin"),
        ] {
            let said = access(toml).expect_err(toml);
            assert!(said.starts_with(expected), "{toml}: {said}");
        }
        let access = access("tokens = \"t\"\nread = \"token\"\npredict = \"token\"").expect("valid");
        assert_eq!((access.read, access.uses), (Rule::Token, Rule::Token));
        assert_eq!(access.tokens.as_deref(), Some(Path::new("n/t")));
    }
}

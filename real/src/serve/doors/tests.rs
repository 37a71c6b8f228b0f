//! Who comes in where, over real sockets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use axum::Extension;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::http;
use crate::http_api::{Operator, with_words};
use crate::serve::access::AccessTable;
use crate::tokio_runtime::TokioRuntime;

const ALICE: &str = "0123456789abcdef";
const BOB: &str = "fedcba9876543210";

const TABLE: DoorTable = &[
    ("GET /shows", Door::Read),
    ("POST /works", Door::Use),
    ("POST /shows", Door::Operate),
    ("GET /", Door::Open),
    ("GET /told", Door::Read),
];

/// Says who asks, and what it still shows.
async fn who(operator: Option<Extension<Operator>>, headers: HeaderMap) -> String {
    let name = operator.map_or("nobody".into(), |Extension(operator)| operator.name().to_owned());
    let shown = headers.get(AUTHORIZATION).map_or("nothing", |shown| shown.to_str().expect("text"));
    format!("{name} shows {shown}")
}

/// Says what a route is told besides: with which token it may read elsewhere, and whether who asks may not read.
async fn told(reader: Option<Extension<Reader>>, stranger: Option<Extension<Stranger>>) -> String {
    let reader = reader.map(|Extension(Reader(it))| format!("{} {it:?}", it.to_str().expect("text")));
    format!("{reader:?} {}", stranger.is_some())
}

/// A node with this table `[access]`.
async fn start(toml: &str) -> SocketAddr {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    fs::write(&file, format!("alice {ALICE}\nbob {BOB}\n")).expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    let table: AccessTable = toml::from_str(toml).expect("valid");
    let access = table.check(folder.path()).expect("valid");
    let tokens = access.load_tokens().expect("valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = listener.local_addr().expect("it listens");
    let routes = Router::new()
        .route("/shows", get(who).post(who))
        .route("/works", post(who))
        .route("/changes", post(who).get(who))
        .route("/", get(told))
        .route("/told", get(told));
    let doors = Doors::new(access, tokens, own, &[TABLE]);
    tokio::spawn(http::serve(TokioRuntime::new(""), listener.into(), doors.before(with_words(routes))));
    own
}

/// Sends a request line and headers as they are; the status, and all that came.
async fn ask(to: SocketAddr, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    let request = format!("{head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{head}: {answer:?}")), answer)
}

/// What is asked with this token, if any, under the right name.
async fn asked(to: SocketAddr, what: &str, token: &str) -> (u16, String) {
    let token = if token.is_empty() { String::new() } else { format!("\r\nauthorization: {token}") };
    ask(to, &format!("{what} HTTP/1.1\r\nhost: {to}{token}")).await
}

#[tokio::test]
async fn without_tokens_nobody_is_asked_who_he_is() {
    let to = start("").await;
    for what in ["GET /shows", "POST /works", "POST /changes"] {
        let (status, answer) = asked(to, what, "Bearer whatever").await;
        assert!(status == 200 && answer.ends_with("nobody shows Bearer whatever"), "{what}: {answer}");
    }
    assert_eq!(asked(to, "GET /nowhere", "").await.0, 404);
}

#[tokio::test]
async fn who_changes_something_shows_a_token_and_nothing_is_forgotten() {
    let to = start("tokens = \"tokens\"").await;
    // What nobody has said anything about needs one, too.
    let closed =
        ["POST /changes", "GET /changes", "POST /shows", "PUT /shows", "GET /nowhere", "GET /shows/"];
    let closed = closed.into_iter().chain(["GET //shows", "GET /%73hows", "HEAD /changes", "OPTIONS /shows"]);
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcde",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
        "Bearer alice 0123456789abcdef",
        "Bearer fedcba9876543210\r\nauthorization: Bearer 0123456789abcdef",
    ];
    for what in closed {
        for token in wrong {
            let (status, answer) = asked(to, what, token).await;
            let says =
                answer.contains("\r\nwww-authenticate: Bearer\r\n") && answer.contains("401 Unauthorized");
            assert!(status == 401 && says, "{what} {token}: {answer}");
            let is_json = answer.contains("{\"error\":\"") || what.starts_with("HEAD");
            assert!(is_json && !answer.contains("0123456789"), "{what} {token}: {answer}");
        }
    }
    for (token, name) in [(ALICE, "alice"), (BOB, "bob")] {
        for scheme in ["Bearer", "bearer"] {
            let (status, answer) = asked(to, "POST /changes", &format!("{scheme} {token}")).await;
            assert!(status == 200 && answer.ends_with(&format!("{name} shows nothing")), "{answer}");
        }
    }
    assert_eq!(asked(to, "GET /nowhere", &format!("Bearer {ALICE}")).await.0, 404);
    // What is open is, and a token that is no operator's is somebody else's affair.
    for what in ["GET /shows", "GET /shows?x=1", "POST /works"] {
        let (status, answer) = asked(to, what, "Bearer of-the-model").await;
        assert!(status == 200 && answer.ends_with("nobody shows Bearer of-the-model"), "{what}: {answer}");
        let (_, answer) = asked(to, what, &format!("Bearer {ALICE}")).await;
        assert!(answer.ends_with("alice shows nothing"), "{what}: {answer}");
    }
    assert_eq!(asked(to, "HEAD /shows", "").await.0, 200);
}

#[tokio::test]
async fn a_token_is_kept_only_for_who_reads_on_with_it() {
    for (toml, path, shown, expected) in [
        ("", "/told", ALICE, "None false"),
        ("tokens = \"tokens\"", "/told", ALICE, "None false"),
        (
            "tokens = \"tokens\"\nread = \"token\"",
            "/told",
            ALICE,
            "Some(\"Bearer 0123456789abcdef Sensitive\") false",
        ),
        ("tokens = \"tokens\"\nuse = \"token\"", "/told", ALICE, "None false"),
        // What is open to all knows who may read.
        ("", "/", "", "None false"),
        ("tokens = \"tokens\"", "/", "", "None false"),
        ("tokens = \"tokens\"\nread = \"token\"", "/", "", "None true"),
        ("tokens = \"tokens\"\nread = \"token\"", "/", "not-an-operators", "None true"),
        ("tokens = \"tokens\"\nread = \"token\"", "/", ALICE, "None false"),
    ] {
        let to = start(toml).await;
        let (status, answer) = asked(to, &format!("GET {path}"), &format!("Bearer {shown}")).await;
        assert!(status == 200 && answer.ends_with(expected), "{toml:?} {path} {shown}: {answer}");
    }
}

#[tokio::test]
async fn reads_and_use_are_closed_each_by_itself() {
    for (key, open, closed) in [("read", "POST /works", "GET /shows"), ("use", "GET /shows", "POST /works")] {
        let to = start(&format!("tokens = \"tokens\"\n{key} = \"token\"")).await;
        assert_eq!(asked(to, open, "").await.0, 200, "{key}");
        assert_eq!(asked(to, closed, "").await.0, 401, "{key}");
        assert_eq!(asked(to, closed, &format!("Bearer {BOB}")).await.0, 200, "{key}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_the_nodes_own_is_refused() {
    let to = start("hosts = [\"models\"]").await;
    let port = to.port();
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "models".into(), "models:80".into()];
    for host in &own {
        assert_eq!(ask(to, &format!("GET /shows HTTP/1.1\r\nhost: {host}")).await.0, 200, "{host}");
        let absolute = format!("GET http://{host}/shows HTTP/1.1\r\nhost: {host}");
        assert_eq!(ask(to, &absolute).await.0, 200, "{host}");
    }
    let strange = [
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.2:{port}"),
        "localhost".into(),
        "127.0.0.1".into(),
        String::new(),
    ];
    for host in &strange {
        let (status, answer) = ask(to, &format!("GET /shows HTTP/1.1\r\nhost: {host}")).await;
        let says = answer.contains(&format!("this node is {to}, not {host}: "));
        assert!(status == 421 && says && answer.contains("{\"error\":"), "{host}: {answer}");
        assert!(!answer.contains("location"), "nobody is sent on: {answer}");
    }
    for head in ["GET /shows HTTP/1.1", &format!("GET /shows HTTP/1.1\r\nhost: {to}\r\nhost: {to}")] {
        let (status, answer) = ask(to, head).await;
        assert!(status == 400 && answer.contains("header host: "), "{head}: {answer}");
    }
    // The target goes before the header, and neither may be somebody else's.
    for (target, host) in [("evil.example", to.to_string()), ("localhost", "evil.example".into())] {
        let head = format!("GET http://{target}:{port}/shows HTTP/1.1\r\nhost: {host}");
        assert_eq!(ask(to, &head).await.0, 421, "{head}");
    }
    assert_eq!(ask(to, "GET /shows HTTP/1.0").await.0, 200, "it need not say");
    assert_eq!(ask(to, "GET /nowhere HTTP/1.1\r\nhost: evil.example").await.0, 421);
}

#[tokio::test]
async fn a_page_of_somebody_else_may_not_ask() {
    let to = start("origins = [\"https://board.example\"]").await;
    let with = async |origin: &str| {
        ask(to, &format!("POST /changes HTTP/1.1\r\nhost: {to}\r\norigin: {origin}")).await
    };
    for origin in [format!("http://{to}"), format!("https://{to}"), "https://board.example".into()] {
        assert_eq!(with(&origin).await.0, 200, "{origin}");
    }
    let strange = ["https://evil.example", "http://board.example", "null", "http://localhost", "", "\u{e9}"];
    for origin in strange {
        let (status, answer) = with(origin).await;
        let says = answer.contains(&format!("a page of {origin} may not ask this node"));
        assert!(status == 403 && says, "{origin}: {answer}");
    }
    let both = format!("http://{to}\r\norigin: https://evil.example");
    assert_eq!(with(&both).await.0, 403);
}

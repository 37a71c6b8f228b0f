//! What a model's own server is sent, what comes back, and what is held against the model.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::routing::{any, post};
use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::Progress;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::steering::{FEW, Traffic, all_serve_v1, order, run};
use super::support::upstream::{Upstream, connect, echo, pieces};
use super::support::{Cluster, send, send_request, stderr, wait_for};

/// A node whose model v1 is behind this server, with `more` in the server's table or behind it.
async fn node(upstream: &Upstream, more: &str) -> Cluster {
    // Some requests are written by hand, and call it so.
    let backend = format!("[access]\nhosts = [\"node\"]\n{}{more}", upstream.backend("v1"));
    Cluster::prepare(1, &backend).with_window_ms(1_000).started().await
}

fn post_with(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post("/predict");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("valid")
}

fn header<'a, B>(answer: &'a Response<B>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().expect("text"))
}

fn error_in(answer: &Response<Bytes>) -> String {
    let json: Value = serde_json::from_slice(answer.body()).expect("JSON");
    json["error"].as_str().expect("an error").to_owned()
}

/// Waits until so many requests of v1 have been counted at n1, and tells which share of them failed.
async fn failed_of(cluster: &Cluster, samples: u64) -> f64 {
    wait_for(&format!("{samples} requests are counted"), async || {
        let answer = send(cluster.data(1), "GET", "/health/snapshot", "").await.ok()?;
        let v1 = read_json::<Value>(&answer).ok()?["models"]["v1"].clone();
        let counted = v1["samples"].as_u64()?;
        assert!(counted <= samples, "{v1}");
        v1["error_rate"].as_f64().filter(|_| counted == samples)
    })
    .await
}

#[tokio::test]
async fn a_request_reaches_the_models_server_as_it_came() {
    let upstream = Upstream::of(Router::new().fallback(any(echo))).await;
    let cluster = node(&upstream, "").await;
    let body = b"\0\xff no JSON at all".to_vec();
    let mut request = post_with(
        &[
            ("x-routing-key", "alice"),
            ("content-type", "application/octet-stream"),
            ("x-custom", "1"),
            ("x-request-id", "req-7"),
            ("connection", "keep-alive, x-secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "websocket"),
        ],
        body.clone(),
    );
    *request.uri_mut() = "/predict?deep=1".parse().expect("a path");
    let answer = send_request(cluster.data(1), request).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (201, &body[..]));
    let (host, length) = (upstream.address.to_string(), body.len().to_string());
    let expected = [
        ("x-method", Some("POST")),
        ("x-uri", Some("/v1/infer?deep=1")),
        ("x-got-host", Some(host.as_str())),
        ("x-got-content-type", Some("application/octet-stream")),
        ("x-got-content-length", Some(length.as_str())),
        ("x-got-x-custom", Some("1")),
        ("x-got-x-routing-key", Some("alice")),
        ("x-got-x-request-id", Some("req-7")),
        ("x-got-connection", None),
        ("x-got-x-secret", None),
        ("x-got-te", None),
        ("x-got-proxy-authorization", None),
        ("x-got-upgrade", None),
        ("x-request-id", Some("req-7")),
        ("x-coalmine-model", Some("v1")),
        ("x-coalmine-routing-version", Some("0")),
        ("x-coalmine-node", Some("1")),
    ];
    for (name, value) in expected {
        assert_eq!(header(&answer, name), value, "{name}");
    }
    assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);

    // Without a key in the head the body is looked into, and stays as it is.
    for body in [r#" {"key": "alice", "x": 1.50}"#, r#"{"key": 5}"#, "[1", "", "no JSON"] {
        let answer = send(cluster.data(1), "POST", "/predict", body).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (201, body.as_bytes()), "{body}");
    }
    assert_eq!(failed_of(&cluster, 6).await, 0.0);
}

#[tokio::test]
async fn an_answer_loses_what_was_for_one_connection_only() {
    let said = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Authenticate: Basic\r\nTrailer: X-Sum\r\nX-Coalmine-Model: liar\r\nX-Request-Id: other\r\n\
                X-Kept: 1\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::saying(said, false).await;
    let cluster = node(&upstream, "").await;
    let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"ok"[..]));
    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "trailer", "connection"] {
        assert_eq!(header(&answer, gone), None, "{gone}");
    }
    let kept = ["x-kept", "x-coalmine-model", "content-length"].map(|name| header(&answer, name));
    assert_eq!(kept, [Some("1"), Some("v1"), Some("2")]);
    let id = header(&answer, "x-request-id").expect("it is made");
    assert!(id.len() == 32 && id != "other", "{id}");
}

#[tokio::test]
async fn every_answer_has_an_id_and_every_made_one_is_another() {
    let cluster = Cluster::start(1, "").await;
    let mut ids = BTreeSet::new();
    for body in ["{}", "{}", "no JSON"] {
        let answer = send(cluster.data(1), "POST", "/predict", body).await.expect("an answer");
        ids.insert(header(&answer, "x-request-id").expect("it is made").to_owned());
    }
    assert_eq!(ids.len(), 3);
}

/// Sends eight pieces of a MiB, the next when the last has come back whole.
#[tokio::test]
async fn both_bodies_are_streamed() {
    const PIECE: usize = 1 << 20;
    let upstream = Upstream::of(Router::new().fallback(any(echo))).await;
    let cluster = node(&upstream, "").await;
    let (sender, body) = pieces();
    let request = Request::post("/predict").header("host", "node").header("x-routing-key", "alice");
    let (_connection, mut client) = connect(cluster.data(1)).await;
    let answer = client.send_request(request.body(body).expect("valid"));
    let piece = |n: usize| Bytes::from(vec![n as u8; PIECE]);
    sender.send(piece(0)).await.expect("it is taken");
    let mut answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), 201);
    for n in 0..8 {
        if n > 0 {
            sender.send(piece(n)).await.expect("it is taken");
        }
        let mut come = Vec::new();
        while come.len() < PIECE {
            let frame = answer.frame().await.expect("more follows").expect("it does not break off");
            come.extend_from_slice(frame.data_ref().expect("data"));
        }
        assert!(come == piece(n), "piece {n} has changed");
    }
    drop(sender);
    assert!(answer.frame().await.is_none());
    assert_eq!(failed_of(&cluster, 1).await, 0.0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let upstream = Upstream::saying("", false).await;
    let cluster = node(&upstream, "timeout_ms = 300\n").await;
    let began = Instant::now();
    let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(answer.status(), 504);
    assert_eq!(error_in(&answer), "model v1: its server has not answered within 300ms");
    assert_eq!(header(&answer, "x-coalmine-model"), Some("v1"));
    assert_eq!(failed_of(&cluster, 1).await, 1.0);
}

/// Reads a body as far as it comes.
async fn rest_of(answer: Response<Incoming>) -> (Vec<u8>, bool) {
    let (mut body, mut come) = (answer.into_body(), Vec::new());
    loop {
        match body.frame().await {
            Some(Ok(frame)) => come.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
            Some(Err(_)) => return (come, false),
            None => return (come, true),
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stalls_is_a_failure() {
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    for hangs_up in [true, false] {
        let upstream = Upstream::saying(said, hangs_up).await;
        let cluster = node(&upstream, "timeout_ms = 300\n").await;
        let (_connection, mut client) = connect(cluster.data(1)).await;
        let request = Request::post("/predict").header("host", "node").body(Body::from("{}"));
        match client.send_request(request.expect("valid")).await {
            Ok(answer) => {
                assert_eq!(answer.status(), 200);
                assert_eq!(rest_of(answer).await, (b"half".to_vec(), false));
            }
            // What breaks off at once may do so before the head is on its way.
            Err(error) => assert!(hangs_up && error.is_incomplete_message(), "{error}"),
        }
        assert_eq!(failed_of(&cluster, 1).await, 1.0);
    }
}

#[tokio::test]
async fn what_the_client_did_wrong_is_no_failure_of_the_model() {
    let status = async |uri: Uri| -> StatusCode {
        let code = uri.query().and_then(|code| code.parse().ok()).expect("a number");
        StatusCode::from_u16(code).expect("a status")
    };
    let upstream = Upstream::of(Router::new().fallback(any(status))).await;
    let cluster = node(&upstream, "").await;
    for status in ["200", "422", "404", "503"] {
        let answer = send(cluster.data(1), "POST", &format!("/predict?{status}"), "{}").await;
        assert_eq!(answer.expect("an answer").status().as_str(), status);
    }
    assert_eq!(failed_of(&cluster, 4).await, 0.25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_server_is_dead_is_taken_back() {
    // Nobody listens at port 1.
    let more = format!("{FEW}[backends.v2]\nurl = \"http://127.0.0.1:1/infer\"\n");
    let mut cluster = Cluster::start(3, &more).await;
    let _traffic = Traffic::at(&cluster, 3);
    let coordinator = cluster.data(1).to_string();
    let output = run(&["rollout", "v2", "--steps", "20,100", "--coordinator", &coordinator]);
    let why = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("taken back: n") && why.contains("its 100% errors are above 5%"), "{why}");
    all_serve_v1(&mut cluster, 2).await;
    assert_eq!(cluster.rollout().await.expect("a rollout").course, Progress::Returned);
}

#[tokio::test]
async fn a_dead_server_is_named() {
    let more = "[backends.v1]\nurl = \"http://localhost:1/infer\"\n";
    let cluster = Cluster::prepare(1, more).with_window_ms(1_000).started().await;
    let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
    let said = error_in(&answer);
    assert!(
        answer.status() == 502 && said.starts_with("model v1: cannot connect to localhost:1: "),
        "{said}"
    );
    assert_eq!(failed_of(&cluster, 1).await, 1.0);
    let data = cluster.data(1).to_string();
    let output = super::canary(&["predict", "--node", &data]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("1 of 1 requests failed, the last because: model v1: cannot connect"));
}

/// A server that tells when a request has come, and answers when it is let.
async fn gate() -> (Upstream, mpsc::UnboundedReceiver<Held>, Arc<Notify>) {
    let (came, coming) = mpsc::unbounded_channel();
    let open = Arc::new(Notify::new());
    let opened = Arc::clone(&open);
    let routes = Router::new().fallback(any(async move || {
        let (alive, is_over) = mpsc::channel::<()>(1);
        let _ = came.send(Held(is_over));
        opened.notified().await;
        drop(alive);
        "answered"
    }));
    (Upstream::of(routes).await, coming, open)
}

/// A request that has come to a server.
struct Held(mpsc::Receiver<()>);

impl Held {
    /// Waits until it is answered, or given up.
    async fn end(mut self) {
        let _ = self.0.recv().await;
    }
}

#[tokio::test]
async fn so_many_requests_are_under_way_and_no_more() {
    let (upstream, mut came, open) = gate().await;
    let cluster = node(&upstream, "[forwarding]\nmax_in_flight = 2\n").await;
    let data = cluster.data(1);
    let ask = move || send(data, "POST", "/predict", "{}");
    let first = [tokio::spawn(ask()), tokio::spawn(ask())];
    came.recv().await.expect("the first comes");
    came.recv().await.expect("the second comes");
    let busy = ask().await.expect("an answer");
    assert_eq!((busy.status().as_u16(), header(&busy, "retry-after")), (503, Some("1")));
    assert!(error_in(&busy).starts_with("2 forwarded requests are under way at this node"));
    assert_eq!(header(&busy, "x-coalmine-model"), None);
    open.notify_one();
    open.notify_one();
    for answer in first {
        assert_eq!(answer.await.expect("no panic").expect("an answer").body(), "answered");
    }
    open.notify_one();
    assert_eq!(ask().await.expect("an answer").status(), 200);
    assert_eq!(failed_of(&cluster, 3).await, 0.0);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_servers_request_and_counts_as_nothing() {
    let (upstream, mut came, open) = gate().await;
    let cluster = node(&upstream, "[forwarding]\nmax_in_flight = 1\n").await;
    let mut client = TcpStream::connect(cluster.data(1)).await.expect("it listens");
    let host = cluster.data(1);
    let request = format!("POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}");
    client.write_all(request.as_bytes()).await.expect("it is taken");
    let held = came.recv().await.expect("it comes");
    drop(client);
    held.end().await;
    open.notify_one();
    let next = wait_for("its place is free", async || {
        let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
        Some(answer).filter(|answer| answer.status() != 503)
    });
    assert_eq!(next.await.body(), "answered");
    assert_eq!(failed_of(&cluster, 1).await, 0.0);
}

#[tokio::test]
async fn bodies_that_are_too_long_are_refused() {
    let upstream = Upstream::of(Router::new().fallback(any(echo))).await;
    let cluster = node(&upstream, "[forwarding]\nmax_body_bytes = 100_000\n").await;
    let data = cluster.data(1);
    let long = |bytes: usize| format!("{{{}", " ".repeat(bytes - 1));
    let key = [("x-routing-key", "alice")];
    let cases = [
        (post_with(&key, long(100_000)), 201, ""),
        (post_with(&key, long(100_001)), 413, "longer than 100000 bytes"),
        (post_with(&[], "x".repeat(100_000)), 201, ""),
        (post_with(&[], "x".repeat(100_001)), 413, "longer than 100000 bytes"),
        (post_with(&[], long(65_536)), 201, ""),
        (post_with(&[], long(65_537)), 413, "longer than 65536 bytes"),
        (post_with(&[("cookie", "routing_key=alice")], long(65_537)), 201, ""),
    ];
    for (request, status, why) in cases {
        let length = request.body().len();
        let answer = send_request(data, request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{length}");
        assert!(status == 201 || error_in(&answer).contains(why), "{length}");
    }
    assert_eq!(failed_of(&cluster, 4).await, 0.0);
}

/// A body that does not say how long it will be, to a server that reads all of it before it answers.
#[tokio::test]
async fn a_body_without_end_is_refused_once_it_is_too_long() {
    let upstream = Upstream::of(Router::new().fallback(any(|_: Bytes| async { "all read" }))).await;
    let cluster = node(&upstream, "[forwarding]\nmax_body_bytes = 100_000\n").await;
    assert_eq!(endless(cluster.data(1)).await, 413);
    let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
    assert_eq!(answer.body(), "all read");
    assert_eq!(failed_of(&cluster, 1).await, 0.0);
}

/// Sends a body without a length that goes on until there is an answer.
async fn endless(to: SocketAddr) -> u16 {
    let (sender, body) = pieces();
    let (_connection, mut client) = connect(to).await;
    let request = Request::post("/predict").header("host", "node").header("x-routing-key", "alice");
    let answer = client.send_request(request.body(body).expect("valid"));
    let feed = async {
        while sender.send(Bytes::from_static(&[b'x'; 10_000])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer.expect("an answer").status().as_u16(),
        () = feed => unreachable!("it waits for the answer"),
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_is_no_failure_of_the_model() {
    let upstream = Upstream::saying("", false).await;
    let cluster = node(&upstream, "timeout_ms = 300\n").await;
    let (sender, body) = pieces();
    let (_connection, mut client) = connect(cluster.data(1)).await;
    let request = Request::post("/predict").header("host", "node").header("x-routing-key", "alice");
    let answer = client.send_request(request.body(body).expect("valid"));
    sender.send(Bytes::from_static(b"some")).await.expect("it is taken");
    assert_eq!(answer.await.expect("an answer").status(), 408);
    // The server's own silence is: one request is counted, and not two.
    assert_eq!(send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer").status(), 504);
    assert_eq!(failed_of(&cluster, 1).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_predict_tallies_by_headers() {
    let upstream = Upstream::of(Router::new().fallback(any(|| async { "no JSON" }))).await;
    let cluster = node(&upstream, "").await;
    let data = cluster.data(1).to_string();
    let output = run(&["predict", "--count", "50", "--node", &data, "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let tallies: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tally = serde_json::json!([
        { "model": "v1", "routing_version": 0, "served": 50, "refused": 0, "failed": 0 }
    ]);
    assert_eq!(tallies, tally);
    assert!(upstream.connections() < 10, "{} connections", upstream.connections());
}

/// Which of these users a model serves, asked at a node.
async fn served_by(node: SocketAddr, model: &str) -> BTreeSet<usize> {
    let mut served = BTreeSet::new();
    for user in 0..1_000 {
        let request = post_with(&[("x-routing-key", &format!("user-{user}"))], "a question");
        let answer = send_request(node, request).await.expect("an answer");
        assert_eq!(header(&answer, "x-coalmine-model").map(str::as_bytes), Some(&answer.body()[..]));
        if header(&answer, "x-coalmine-model") == Some(model) {
            served.insert(user);
        }
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_with_their_model_on_all_nodes_while_its_share_grows() {
    let name = |Path(model): Path<String>| async move { model };
    let upstream = Upstream::of(Router::new().route("/{model}/infer", post(name))).await;
    let backends = format!("{}{}", upstream.backend("v1"), upstream.backend("v2"));
    let mut cluster = Cluster::start(3, &backends).await;
    let hold = r#""holds_ms": [31536000000, 31536000000]"#;
    cluster.roll_out(&format!(r#"{{"model": "v2", "steps": [5, 50], {hold}, "gates": "off"}}"#)).await;
    let mut tried = Vec::new();
    for version in [1, 2] {
        for id in 1..=3 {
            let serves = async || cluster.look(id).await.filter(|it| it.routing.version == version);
            wait_for("it serves the step", serves).await;
        }
        let [one, two, three] = [1, 2, 3].map(|id| {
            let data = cluster.data(id);
            tokio::spawn(async move { served_by(data, "v2").await })
        });
        let users = [one.await, two.await, three.await].map(|users| users.expect("no panic"));
        assert!(users.iter().all(|at_node| *at_node == users[0]), "not the same on all nodes");
        tried.push(users[0].clone());
        if version == 1 {
            order(&cluster, "promote", 1);
        }
    }
    assert!((20..=90).contains(&tried[0].len()), "{} of 1000 for 5 %", tried[0].len());
    assert!((430..=570).contains(&tried[1].len()), "{} of 1000 for 50 %", tried[1].len());
    assert!(tried[0].is_subset(&tried[1]), "somebody was taken off the canary");
}

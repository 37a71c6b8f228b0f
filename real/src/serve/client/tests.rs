//! Nodes that are asked over HTTP, and clients that are sent on, kept waiting or not answered.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use coalmine_core::node::{NodeId, RequestId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Client, get};
use crate::http;
use crate::http::ClientError;
use crate::http_api::{HttpApi, IDEMPOTENCY_KEY, MAX_BODY_BYTES, complaint};
use crate::probe::Probe;
use crate::runtime::Runtime;
use crate::serve::health::{LIVE, NodeStatus, READY};
use crate::serve::tests::{Greeter, Reply, Request, Settings};
use crate::serve::{Service, router};
use crate::shell::{Placement, Shell};
use crate::tokio_runtime::TokioRuntime;

/// After so long a test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Unwatched;

impl Probe<Greeter> for Unwatched {}

/// An address to listen at, below the ports that the system gives to outgoing connections: another test's may be given
/// one of those before anybody listens there.
fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 1_900;
    let next = || 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 1_900;
    let mut ports = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], next()))).take(1_900);
    ports.find(|&address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// A node whose HTTP is served; it runs if it has a journal.
async fn start(me: u32, data: &[SocketAddr], journal: Option<&Path>) {
    let all: Vec<_> = (1..).map(NodeId).zip(data.iter().copied()).collect();
    let peers = all.iter().filter(|(id, _)| id.0 != me).map(|(id, _)| (*id, free())).collect();
    let placement = Placement { me: NodeId(me), control: free(), data: free(), peers };
    let settings = Settings::default();
    let config = Greeter::config(&placement, &settings).expect("valid");
    let runtime = TokioRuntime::new(journal.unwrap_or(Path::new("")));
    let (shell, handle) = Shell::<Greeter, _, _>::new(runtime.clone(), config.clone(), placement, Unwatched);
    let handle = handle.with_addresses(all.into_iter().collect());
    let routes = router(&runtime, &config, &settings, handle);
    let listener = runtime.listen(data[me as usize - 1]).await.expect("the port is free");
    tokio::spawn(http::serve(runtime, listener, routes));
    match journal {
        Some(_) => {
            drop(tokio::spawn(async move { panic!("{me} stopped: {}", shell.run().await.unwrap_err()) }))
        }
        // Kept, so that whoever asks waits.
        None => drop(tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(shell);
        })),
    }
}

async fn look(at: SocketAddr, path: &str) -> (u16, NodeStatus) {
    let answer = Client::default().send(at, get(path)).await.expect("an answer");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("a status"))
}

#[tokio::test]
async fn a_node_lives_before_it_is_ready_and_a_client_goes_where_it_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = [free(), free(), free()];
    for me in 1..=2 {
        start(me, &data, Some(&folder.path().join(format!("{me}")))).await;
    }
    start(3, &data, None).await;
    let (code, status) = look(data[2], LIVE).await;
    assert_eq!((code, status.node, status.ready, status.journal_records), (200, NodeId(3), false, None));
    let (code, status) = look(data[2], READY).await;
    assert_eq!((code, status.error.as_deref()), (503, Some("it is still recovering its journal")));
    let recovered = async {
        loop {
            let seen = look(data[0], READY).await;
            if seen.1.journal_records.is_some() {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (code, status) = tokio::time::timeout(PATIENCE, recovered).await.expect("it recovers its journal");
    assert_eq!((code, status.error.as_deref()), (503, Some("nobody has come yet")));

    let id = RequestId { client: 7, sequence: 1 };
    let client = Client::default();
    let (by, answer) = client.ask::<Greeter>(&data[1..2], id, &Request::Greet).await.expect("an answer");
    assert_eq!((by, Greeter::from_http(&answer)), (data[0], Ok(Reply::Greeting { count: 1 })));
    let (code, status) = look(data[0], READY).await;
    assert_eq!(
        (code, status.ready, status.journal_records, status.view),
        (200, true, Some(1), Some(1.into()))
    );

    let posted = crate::http_api::post_json(LIVE, None, &());
    for (request, code) in [(get("/nowhere"), 404), (get("/request"), 405), (posted, 405)] {
        let refused = client.send(data[0], request).await.expect("an answer");
        assert!(refused.status() == code && refused.body().starts_with(b"{\"error\":"), "{refused:?}");
    }
    // Whoever does not follow is told in words, and has the node's own answer.
    let answer = client.send(data[1], Greeter::to_http(id, &Request::Greet)).await.expect("an answer");
    assert_eq!(answer.status(), 421);
    assert_eq!(Greeter::from_http(&answer), Ok(Reply::Elsewhere(NodeId(1))));
    assert!(String::from_utf8_lossy(answer.body()).contains(&format!("ask n1 at {}", data[0])), "{answer:?}");
}

/// A server that treats each connection as it is told, and says what the requests were called.
async fn serve(answers: Vec<&'static str>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = tokio::net::TcpListener::bind(free()).await.expect("a free port");
    let at = listener.local_addr().expect("it listens");
    let names = tokio::spawn(async move {
        let mut names = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"\"Greet\"") {
                assert!(stream.read_buf(&mut request).await.expect("bytes") > 0);
            }
            let request = String::from_utf8(request).expect("text");
            let name = request.lines().find_map(|line| line.strip_prefix(IDEMPOTENCY_KEY));
            names.push(name.expect("a name").trim_start_matches(": ").to_owned());
            stream.write_all(answer.as_bytes()).await.expect("somebody reads");
        }
        names
    });
    (at, names)
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const GREETING: &str = "HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"Greeting\":{\"count\":4}}";

#[tokio::test]
async fn what_is_not_answered_is_asked_again_under_the_same_name() {
    let (at, names) = serve(vec!["", BUSY, "HTTP/1.1 200 OK\r\n", BUSY, GREETING]).await;
    let id = RequestId { client: 7, sequence: 1 };
    let client = Client::default().patient(PATIENCE);
    // Nobody is at the first address: then the second is asked.
    let asked = client.ask::<Greeter>(&[free(), at], id, &Request::Greet).await;
    let (by, answer) = asked.expect("an answer");
    assert_eq!((by, Greeter::from_http(&answer)), (at, Ok(Reply::Greeting { count: 4 })));
    assert_eq!(names.await.expect("it ends"), ["7/1"; 5]);
}

/// What one node may have begun is not asked of another.
#[tokio::test]
async fn a_request_that_may_have_begun_stays_where_it_is() {
    let (at, first) = serve(vec![""]).await;
    let (other, second) = serve(vec![GREETING]).await;
    let id = RequestId { client: 7, sequence: 1 };
    let asked = Client::default().ask::<Greeter>(&[at, other], id, &Request::Greet).await;
    assert!(matches!(&asked, Err(ClientError::Connect { to, .. }) if *to == at), "{asked:?}");
    assert_eq!(first.await.expect("it ends"), ["7/1"]);
    assert!(!second.is_finished());
}

#[tokio::test]
async fn a_client_is_not_sent_in_a_circle_for_ever() {
    let listener = tokio::net::TcpListener::bind(free()).await.expect("a free port");
    let at = listener.local_addr().expect("it listens");
    let routes = axum::Router::new().fallback(move || async move {
        let location = [(axum::http::header::LOCATION, format!("http://{at}/request"))];
        (axum::http::StatusCode::TEMPORARY_REDIRECT, location)
    });
    tokio::spawn(http::serve(TokioRuntime::new(""), listener.into(), routes));
    let id = RequestId { client: 7, sequence: 1 };
    let asked = async { Client::default().ask::<Greeter>(&[at], id, &Request::Greet).await };
    let asked = tokio::time::timeout(PATIENCE, asked).await.expect("it gives up");
    assert_eq!(asked.expect("an answer").1.status(), 307);
}

/// Who comes when nothing more can wait is told so at once, and when to come again; what is too long is not even read.
#[tokio::test]
async fn a_node_takes_so_much_and_no_more() {
    let placement = Placement { me: NodeId(1), control: free(), data: free(), peers: Default::default() };
    let settings = Settings::default();
    let config = Greeter::config(&placement, &settings).expect("valid");
    let runtime = TokioRuntime::new("");
    // It does not run, and takes nothing.
    let (_shell, handle) = Shell::<Greeter, _, _>::new(runtime.clone(), config.clone(), placement, Unwatched);
    let at = free();
    let listener = runtime.listen(at).await.expect("the port is free");
    let routes = router(&runtime, &config, &settings, handle.clone());
    tokio::spawn(http::serve(runtime, listener, routes));
    let client = Client::default();
    let id = RequestId { client: 7, sequence: 1 };
    let fits = vec![b' '; MAX_BODY_BYTES];
    for (body, status, why) in
        [(fits.clone(), 400, "EOF"), ([fits, vec![b' ']].concat(), 413, "longer than 65536 bytes")]
    {
        let mut request = Greeter::to_http(id, &Request::Greet);
        *request.body_mut() = body.into();
        let answer = client.send(at, request).await.expect("an answer");
        assert!(
            answer.status() == status && complaint(&answer).is_some_and(|said| said.contains(why)),
            "{answer:?}"
        );
    }
    while !handle.is_full() {
        tokio::select! {
            biased;
            reply = handle.request(id, Request::Greet) => panic!("it does not run: {reply:?}"),
            () = std::future::ready(()) => {} // it waits, and its client has gone
        }
    }
    let answer = client.within(Duration::from_secs(5)).send(at, Greeter::to_http(id, &Request::Greet)).await;
    let answer = answer.expect("an answer at once");
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert!(
        complaint(&answer).is_some_and(|said| said.contains("more requests wait for the node")),
        "{answer:?}"
    );
}

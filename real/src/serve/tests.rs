//! A service of a few lines: its file, its health, and a client that is sent on.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, get};
use super::config::{NodeFile, Syntax};
use super::health::{LIVE, NodeStatus, READY};
use super::{Service, router};
use crate::face::{Face, IDEMPOTENCY_KEY};
use crate::http;
use crate::http::ClientError;
use crate::probe::Probe;
use crate::runtime::Runtime;
use crate::shell::{Placement, Shell};
use crate::tokio_runtime::TokioRuntime;

/// After so long a test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that greets, if it is the first of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Greeter(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Config {
    me: NodeId,
    first: NodeId,
    word: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Reply {
    Greeting { count: u64 },
    Elsewhere(NodeId),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Request {
    Greet,
    Shout { times: u64 },
}

impl Node for Greeter {
    type Config = Config;
    type Message = ();
    type Timer = ();
    type Record = RequestId;
    type Request = Request;
    type Reply = Reply;
    type View = u64;
    type Fact = ();

    fn start(_: &Config, disk: &[RequestId], cx: &mut Context<'_, Self>) -> Self {
        cx.publish(disk.len() as u64);
        Self(disk.len() as u64)
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, .. } = event else { return };
        if config.me != config.first {
            return cx.reply(id, Reply::Elsewhere(config.first));
        }
        self.0 += 1;
        cx.append(id);
        cx.publish(self.0);
        cx.reply(id, Reply::Greeting { count: self.0 });
    }
}

impl Face for Greeter {
    fn instead(reply: &Reply) -> Option<NodeId> {
        match reply {
            Reply::Elsewhere(first) => Some(*first),
            Reply::Greeting { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Settings {
    #[serde(default = "hello")]
    word: String,
    #[serde(default)]
    tables: Tables,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tables {
    legs: u32,
}

fn hello() -> String {
    "hello".into()
}

impl Service for Greeter {
    const NAME: &'static str = "greeter";
    type Settings = Settings;

    fn config(placement: &Placement, settings: &Settings) -> Result<Config, String> {
        if settings.word.is_empty() {
            return Err("word: a greeting has one".into());
        }
        Ok(Config { me: placement.me, first: placement.members()[0], word: settings.word.clone() })
    }

    fn ready(view: Option<&u64>) -> Result<(), String> {
        if view == Some(&0) { Err("nobody has come yet".into()) } else { Ok(()) }
    }
}

#[derive(Clone)]
struct Unwatched;

impl Probe<Greeter> for Unwatched {}

const FILE: &str = r#"
id = 2
control = "127.0.0.1:60002"
data = "127.0.0.1:50052"
journal_dir = "journal"
word = "hi"
[tables]
legs = 4
[[peers]]
id = 1
control = "127.0.0.1:60001"
data = "127.0.0.1:50051"
"#;

fn parse(text: &str) -> Result<NodeFile<Greeter>, String> {
    NodeFile::parse(text, Syntax::Toml, Path::new("n/node.toml")).map_err(|why| why.to_string())
}

#[test]
fn a_file_has_a_common_part_and_one_of_the_services_own() {
    let node = parse(FILE).expect("valid");
    assert_eq!(node.settings, Settings { word: "hi".into(), tables: Tables { legs: 4 } });
    assert_eq!(node.config, Config { me: NodeId(2), first: NodeId(1), word: "hi".into() });
    assert_eq!(node.journal, Path::new("n/journal/node-2.journal"));
    assert_eq!(node.own_data(), SocketAddr::from(([127, 0, 0, 1], 50_052)));
    let value: serde_json::Value = toml::from_str(FILE).expect("valid");
    let json = NodeFile::<Greeter>::parse(&value.to_string(), Syntax::Json, Path::new("n/node.json"));
    assert_eq!(json.expect("valid").config, node.config);
    // A byte order mark and other line ends change nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(&file, format!("\u{feff}{}", FILE.replace('\n', "\r\n"))).expect("written");
    assert_eq!(NodeFile::<Greeter>::load(&file).expect("valid").settings, node.settings);
}

/// Nothing in the toy's settings refuses what it does not know: that is the library's part.
#[test]
fn each_mistake_is_named_with_its_file_and_its_key_or_line() {
    let mistakes = [
        ("id = 2", "id = 2\nspeed = 9", "line 3: unknown field `speed`, expected one of `id`, `control`"),
        ("word", "wrod", "line 6: unknown field `wrod`"),
        ("legs", "arms", "line 8: unknown field `arms`"),
        ("id = 1", "id = 1\nrole = \"boss\"", "line 11: unknown field `role`"),
        ("word = \"hi\"", "word = 5", "line 6: invalid type: integer `5`"),
        ("word = \"hi\"", "word = \"\"", "word: a greeting has one"),
        ("id = 2\n", "", "line 1: missing field `id`"),
        ("127.0.0.1:60002", "localhost", "line 3: invalid socket address"),
        ("id = 1", "id = 2", "peers[0].id: 2 is id already"),
        ("127.0.0.1:50051", "127.0.0.1:60002", "peers[0].data: 127.0.0.1:60002 is control already"),
        ("127.0.0.1:60002", "127.0.0.1:0", "control: a port must be given"),
        ("127.0.0.1:60001", "0.0.0.0:60001", "peers[0].control: 0.0.0.0:60001 is not a loopback address"),
        ("[tables]", "[tables", "line 7: "),
    ];
    for (right, wrong, expected) in mistakes {
        assert!(FILE.contains(right), "{right}");
        let said = parse(&FILE.replacen(right, wrong, 1)).expect_err(wrong);
        assert!(said.starts_with(&format!("n/node.toml: {expected}")), "{wrong}: {said}");
        assert!(!said.contains('\n'), "not one line: {said}");
    }
    let remote =
        FILE.replace("127.0.0.1:60001", "10.0.0.1:60001").replace("word", "allow_remote = true\nword");
    assert!(parse(&remote).is_ok());
    let json = r#"{"id": 1, "control": "127.0.0.1:1", "data": "127.0.0.1:2", "journal_dir": "", "speed": 9}"#;
    let said = NodeFile::<Greeter>::parse(json, Syntax::Json, Path::new("node.json")).expect_err("speed");
    assert!(said.to_string().starts_with("node.json: line 1: speed: unknown field `speed`"), "{said}");
}

#[test]
fn what_up_writes_can_be_read() {
    let node = NodeFile::<Greeter>::starter(2, 3);
    assert_eq!(node.placement.members(), [1, 2, 3].map(NodeId));
    assert_eq!(node.config.word, "hello");
}

#[test]
fn a_request_is_json_or_a_word() {
    let read = super::ask::read_request::<Greeter>;
    assert_eq!(read("Greet"), Ok(Request::Greet));
    assert_eq!(read("\"Greet\""), Ok(Request::Greet));
    assert_eq!(read(r#"{"Shout": {"times": 2}}"#), Ok(Request::Shout { times: 2 }));
    assert!(read("Whisper").is_err_and(|why| why.contains("unknown variant `Whisper`")));
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
}

/// A node whose HTTP is served; it runs if it has a journal.
async fn start(me: u32, data: &[SocketAddr], journal: Option<&Path>) {
    let all: Vec<_> = (1..).map(NodeId).zip(data.iter().copied()).collect();
    let peers = all.iter().filter(|(id, _)| id.0 != me).map(|(id, _)| (*id, free())).collect();
    let placement = Placement { me: NodeId(me), control: free(), peers };
    let settings = Settings { word: hello(), tables: Tables::default() };
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

    let missing = client.send(data[0], get("/nowhere")).await.expect("an answer");
    assert!(missing.status() == 404 && missing.body().starts_with(b"{\"error\":"), "{missing:?}");
    // Whoever does not follow is told in words, and has the node's own answer.
    let answer = client.send(data[1], Greeter::to_http(id, &Request::Greet)).await.expect("an answer");
    assert_eq!(answer.status(), 421);
    assert_eq!(Greeter::from_http(&answer), Ok(Reply::Elsewhere(NodeId(1))));
    assert!(String::from_utf8_lossy(answer.body()).contains(&format!("ask n1 at {}", data[0])), "{answer:?}");
}

/// A server that treats each connection as it is told, and says what the requests were called.
async fn serve(answers: Vec<&'static str>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it listens");
    let routes = axum::Router::new().fallback(move || async move {
        let location = [(axum::http::header::LOCATION, format!("http://{at}/request"))];
        (axum::http::StatusCode::TEMPORARY_REDIRECT, location)
    });
    tokio::spawn(http::serve(TokioRuntime::new(""), listener, routes));
    let id = RequestId { client: 7, sequence: 1 };
    let asked = async { Client::default().ask::<Greeter>(&[at], id, &Request::Greet).await };
    let asked = tokio::time::timeout(PATIENCE, asked).await.expect("it gives up");
    assert_eq!(asked.expect("an answer").1.status(), 307);
}

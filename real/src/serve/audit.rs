//! Who has asked for what, when, and what came of it: a line of JSON for each request that is an [order](super::Service::is_order),
//! in a file beside the journal, and the last of them at `GET /audit`.
//!
//! The file is written by a thread of its own, so that no answer waits for it; when it has grown large it becomes the older
//! one of two. What the operator's request says is kept, its credentials are not. Who is turned away at the door is not in the
//! trail: strangers must not be able to fill it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use coalmine_core::node::NodeId;
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::Hub;
use super::log::timestamp;
use crate::files::read_regular;
use crate::http::Peer;
use crate::http_api::{ApiError, IDEMPOTENCY_KEY, Operator, wrong_method};
use crate::lock::lock;
use crate::vitals::Count;

/// Where the last are.
pub const AUDIT: &str = "/audit";

/// How large the file grows before another one is begun.
const MOST_BYTES: u64 = 1 << 20;
/// How many entries are kept in memory.
const MOST_RECENT: usize = 1_000;
/// How many are shown if nobody says.
const SHOWN: usize = 100;
/// How much of a request's body is kept, and of an answer's.
const MOST_OF_BODY: usize = 2 << 10;
/// The longest answer that is looked into.
const MOST_OF_ANSWER: usize = 1 << 20;
/// How many entries may wait for the disk.
const QUEUED: usize = 1_024;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was answered.
    pub time: String,
    /// By which node.
    pub node: NodeId,
    /// The operator's name, if he has shown who he is.
    pub operator: Option<String>,
    /// From where it came.
    pub from: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The request's name, if its client has given it one.
    pub request: Option<String>,
    /// What it said, or how that began.
    pub body: String,
    /// The status of the answer.
    pub status: u16,
    /// What the answer said, or how that began.
    pub answer: String,
}

/// The trail of one node.
pub struct Audit {
    node: NodeId,
    hub: Arc<Hub>,
    recent: Mutex<VecDeque<Entry>>,
    lines: SyncSender<String>,
    /// How many entries are in no file.
    pub lost: Arc<Count>,
}

type Warn = Box<dyn Fn(String) + Send>;

impl Audit {
    /// Goes on with the trail in this file. `warn` is told when it can no longer be written, and when it can again.
    pub fn start(node: NodeId, file: &Path, hub: Arc<Hub>, warn: Warn) -> io::Result<Self> {
        let recent = Mutex::new(recent(file));
        let (lines, taken) = sync_channel(QUEUED);
        let (lost, file) = (Arc::new(Count::default()), file.to_owned());
        let trail = Trail { file, open: None, lost: Arc::clone(&lost), warn, has_failed: false };
        std::thread::Builder::new().name("audit".into()).spawn(move || trail.write(&taken))?;
        Ok(Self { node, hub, recent, lines, lost })
    }

    fn begin(&self, request: &Request) -> Entry {
        let name = request.headers().get(IDEMPOTENCY_KEY);
        Entry {
            time: String::new(),
            node: self.node,
            operator: request.extensions().get::<Operator>().map(|operator| operator.name().to_owned()),
            from: request.extensions().get::<Peer>().map(|Peer(from)| from.to_string()),
            method: request.method().to_string(),
            path: beginning(request.uri().path().as_bytes()),
            request: name.map(|name| beginning(name.as_bytes())),
            body: String::new(),
            status: 0,
            answer: String::new(),
        }
    }

    fn add(&self, entry: Entry) {
        if let Ok(json) = serde_json::to_value(&entry) {
            if self.lines.try_send(format!("{json}\n")).is_err() {
                self.lost.add(1);
            }
            self.hub.publish("audit", &json);
        }
        let mut recent = lock(&self.recent);
        recent.push_back(entry);
        if recent.len() > MOST_RECENT {
            recent.pop_front();
        }
    }

    /// The same routes, of which those that are orders leave an entry.
    pub(super) fn over(self: &Arc<Self>, routes: Router, is_order: fn(&Method, &str) -> bool) -> Router {
        let state = (Arc::clone(self), is_order);
        routes.merge(self.routes()).layer(middleware::from_fn_with_state(state, follow))
    }

    fn routes(self: &Arc<Self>) -> Router {
        let routes = Router::new().route(AUDIT, get(list));
        routes.method_not_allowed_fallback(wrong_method).with_state(Arc::clone(self))
    }
}

/// Where the older half of the trail is.
pub fn older(file: &Path) -> PathBuf {
    file.with_extension("1.jsonl")
}

/// The last entries of both files.
fn recent(file: &Path) -> VecDeque<Entry> {
    let mut recent = VecDeque::new();
    for file in [&older(file), file] {
        // Who cannot read the old ones can still write new ones; and says so, if not.
        let bytes = read_regular(file, 2 * MOST_BYTES).unwrap_or_default();
        recent
            .extend(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    let surplus = recent.len().saturating_sub(MOST_RECENT);
    recent.drain(..surplus);
    recent
}

/// The files.
struct Trail {
    file: PathBuf,
    open: Option<(File, u64)>,
    lost: Arc<Count>,
    warn: Warn,
    has_failed: bool,
}

impl Trail {
    fn write(mut self, lines: &Receiver<String>) {
        while let Ok(line) = lines.recv() {
            let written = self.append(line.as_bytes());
            if let Err(why) = &written {
                self.open = None;
                self.lost.add(1);
                if !self.has_failed {
                    (self.warn)(format!("the audit trail {} cannot be written: {why}", self.file.display()));
                }
            } else if self.has_failed {
                (self.warn)(format!("the audit trail {} is written again", self.file.display()));
            }
            self.has_failed = written.is_err();
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let is_full = |bytes: u64| bytes > 0 && bytes + line.len() as u64 > MOST_BYTES;
        if self.open.as_ref().is_some_and(|(_, bytes)| is_full(*bytes)) {
            self.open = None;
            fs::rename(&self.file, older(&self.file))?;
        }
        let (file, bytes) = match &mut self.open {
            Some(open) => open,
            None => {
                let mut file = OpenOptions::new().append(true).create(true).open(&self.file)?;
                let bytes = file.metadata()?.len();
                if bytes > 0 {
                    file.write_all(b"\n")?; // what a crash has left of a line ends here
                }
                self.open.insert((file, bytes))
            }
        };
        file.write_all(line)?;
        *bytes += line.len() as u64;
        Ok(())
    }
}

type Order = fn(&Method, &str) -> bool;

/// Lets a request through, and remembers what came of it.
async fn follow(
    State((audit, is_order)): State<(Arc<Audit>, Order)>,
    request: Request,
    next: Next,
) -> Response {
    if !is_order(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    let mut entry = audit.begin(&request);
    let said = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&said);
    let request = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(data) = frame.data_ref() {
                let mut copy = lock(&copy);
                let room = (MOST_OF_BODY + 1).saturating_sub(copy.len()).min(data.len());
                copy.extend_from_slice(&data[..room]);
            }
            frame
        }))
    });
    let (head, body) = next.run(request).await.into_parts();
    entry.status = head.status.as_u16();
    entry.body = beginning(&lock(&said));
    // Orders are answered with a few words; those who turn out not to be are not looked into.
    let body = match Limited::new(body, MOST_OF_ANSWER).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(_) => {
            return ApiError(StatusCode::INTERNAL_SERVER_ERROR, "the answer breaks off".into())
                .into_response();
        }
    };
    entry.answer = beginning(&body);
    entry.time = timestamp(SystemTime::now());
    audit.add(entry);
    Response::from_parts(head, Body::from(body))
}

/// How a text begins, as far as it is kept.
fn beginning(bytes: &[u8]) -> String {
    let is_cut = bytes.len() > MOST_OF_BODY;
    let kept = &bytes[..bytes.len().min(MOST_OF_BODY)];
    let text = String::from_utf8_lossy(kept).into_owned();
    if is_cut { text + "…" } else { text }
}

async fn list(State(audit): State<Arc<Audit>>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let most = match uri.query().filter(|query| !query.is_empty()) {
        None => SHOWN,
        Some(query) => query
            .strip_prefix("last=")
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=MOST_RECENT).contains(number))
            .ok_or_else(|| {
                let why = format!("query: only `last=N` is known, N from 1 to {MOST_RECENT}");
                ApiError(StatusCode::BAD_REQUEST, why)
            })?,
    };
    let recent = lock(&audit.recent);
    let shown: Vec<_> = recent.iter().skip(recent.len().saturating_sub(most)).collect();
    let json = serde_json::to_value(shown);
    json.map(Json).map_err(|why| ApiError(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn entry(n: usize, body: &str) -> Entry {
        Entry {
            time: String::new(),
            node: NodeId(1),
            operator: None,
            from: None,
            method: "POST".into(),
            path: format!("/{n}"),
            request: None,
            body: body.into(),
            status: 200,
            answer: String::new(),
        }
    }

    fn start(file: &Path) -> (Audit, std::sync::mpsc::Receiver<String>) {
        let (warn, warned) = std::sync::mpsc::channel();
        let warn = Box::new(move |what| drop(warn.send(what)));
        (Audit::start(NodeId(1), file, Arc::default(), warn).expect("a thread"), warned)
    }

    fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_trail_stays_small_and_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node-1.audit.jsonl");
        let (audit, _) = start(&file);
        let body = "x".repeat(2_000);
        let length = |file: &Path| fs::metadata(file).map_or(0, |it| it.len());
        for n in 0..2_000 {
            audit.add(entry(n, &body));
            if n % 500 == 499 {
                let text = format!("\"path\":\"/{n}\"");
                wait("it is written", || fs::read_to_string(&file).is_ok_and(|all| all.contains(&text)));
            }
        }
        assert!(length(&file) <= MOST_BYTES && length(&older(&file)) <= MOST_BYTES);
        assert!(length(&older(&file)) > MOST_BYTES / 2, "the older half is kept");
        assert_eq!((audit.lost.get(), fs::read_dir(folder.path()).expect("a folder").count()), (0, 2));
        drop(audit);
        // What a crash has left of a line hurts nobody.
        OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut it| it.write_all(b"{\"time"))
            .expect("written");
        let (again, _) = start(&file);
        again.add(entry(2_000, ""));
        wait("it is written", || fs::read_to_string(&file).is_ok_and(|all| all.contains("/2000")));
        let kept = recent(&file);
        assert_eq!(kept.back(), Some(&entry(2_000, "")));
        assert!(kept.len() > 500 && kept.len() <= MOST_RECENT, "{}", kept.len());
        assert_eq!(kept[kept.len() - 2].path, "/1999");
    }

    #[test]
    fn a_trail_that_cannot_be_written_is_complained_about_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("away").join("node-1.audit.jsonl");
        let (audit, warned) = start(&file);
        (0..10).for_each(|n| audit.add(entry(n, "")));
        wait("they are lost", || audit.lost.get() == 10);
        fs::create_dir(folder.path().join("away")).expect("made");
        audit.add(entry(10, ""));
        wait("it is written", || file.exists());
        let said = |_| warned.recv_timeout(Duration::from_secs(60)).expect("a word");
        let [first, second] = [0, 1].map(said);
        assert!(
            first.contains("cannot be written") && second.contains("is written again"),
            "{first} {second}"
        );
        assert!(warned.try_recv().is_err());
    }
}

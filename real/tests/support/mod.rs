//! Real nodes as child processes, on free ports, in a folder that goes away.

pub mod authority;
pub mod browser;
pub mod upstream;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Request, Response};
use coalmine_real::http;
use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{Progress, RolloutView, StatusView};
use coalmine_real::tokio_runtime::TokioRuntime;
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const CANARY: &str = env!("CARGO_BIN_EXE_canary");

/// After so long a test hangs. Nothing else depends on it: all waiting is for facts.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// For how many nodes there are ports that come later.
const NEWCOMERS: usize = 2;

/// How long a window is unless a test says otherwise.
pub const SHORT_WINDOW: &str = "health_window_ms = 200";

/// A run of `count` free ports. Below the ports that the system gives to outgoing connections: there, a peer
/// that knocks at a dead node's port could be given that very port.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1_000 {
        let taken = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = 20_000 + (std::process::id() as u16 % 97) * 97 + taken % 2_000;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports");
}

/// Runs the program to its end.
pub fn canary(args: &[&str]) -> Output {
    Command::new(CANARY).args(args).stdin(Stdio::null()).output().expect("the program runs")
}

/// What a program said on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends one HTTP request.
pub async fn send(to: SocketAddr, method: &str, path: &str, body: &str) -> Result<Response<Bytes>, String> {
    let request = Request::builder().method(method).uri(path).body(Bytes::from(body.to_owned()));
    send_request(to, request.expect("valid")).await
}

/// Sends one HTTP request as it is.
pub async fn send_request(to: SocketAddr, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let answer = http::request(&TokioRuntime::new(""), to, request, PATIENCE).await;
    answer.map_err(|error| error.to_string())
}

/// Looks until something is so.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A cluster of child processes.
pub struct Cluster {
    dir: TempDir,
    first_port: u16,
    nodes: Vec<Option<Child>>,
    /// What was seen of it.
    pub ledger: Ledger,
}

/// What was seen of the nodes so far: versions never go back, and one version is one state everywhere.
#[derive(Default)]
pub struct Ledger {
    newest: BTreeMap<usize, u64>,
    digests: BTreeMap<u64, String>,
}

impl Ledger {
    fn note(&mut self, node: usize, status: &StatusView) {
        if status.joining.is_some() {
            return; // it serves nothing
        }
        let version = status.routing.version;
        let newest = self.newest.entry(node).or_default();
        assert!(version >= *newest, "n{node} went back from version {newest} to {version}");
        *newest = version;
        let digest = self.digests.entry(version).or_insert_with(|| status.digest.clone());
        assert_eq!(*digest, status.digest, "n{node} holds another version {version}");
        assert!(!status.split_brain, "n{node} has seen a split brain");
    }
}

impl Cluster {
    /// Writes the configs of `nodes` nodes, each with `more` at its end, and starts them.
    pub async fn start(nodes: usize, more: &str) -> Self {
        Self::prepare(nodes, more).started().await
    }

    /// Starts all nodes.
    pub async fn started(mut self) -> Self {
        for id in 1..=self.nodes.len() {
            self.spawn(id);
        }
        for id in 1..=self.nodes.len() {
            self.wait_until_up(id).await;
        }
        self
    }

    /// Writes the configs and starts nothing.
    pub fn prepare(nodes: usize, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let first_port = free_ports(2 * (nodes + NEWCOMERS) as u16);
        let cluster =
            Self { dir, first_port, nodes: (0..nodes).map(|_| None).collect(), ledger: Ledger::default() };
        for id in 1..=nodes {
            fs::write(cluster.config(id), cluster.config_text(id, more)).expect("written");
        }
        cluster
    }

    /// The same with longer windows, where something must be measured in time whatever else the machine does.
    pub fn with_window_ms(self, ms: u64) -> Self {
        for id in 1..=self.nodes.len() {
            let text = fs::read_to_string(self.config(id)).expect("a config");
            let longer = text.replace(SHORT_WINDOW, &format!("health_window_ms = {ms}"));
            assert_ne!(text, longer);
            fs::write(self.config(id), longer).expect("written");
        }
        self
    }

    /// The same, where this stands in the files for that.
    pub fn with(self, this: &str, that: &str) -> Self {
        for id in 1..=self.nodes.len() {
            self.rewrite(id, this, that);
        }
        self
    }

    /// This stands in a node's file for that, from its next life on.
    pub fn rewrite(&self, id: usize, this: &str, that: &str) {
        let text = fs::read_to_string(self.config(id)).expect("a config");
        assert!(text.contains(this), "{text}");
        fs::write(self.config(id), text.replace(this, that)).expect("written");
    }

    fn config_text(&self, id: usize, more: &str) -> String {
        let node = |id: usize| {
            let role = if id == 1 { "coordinator" } else { "participant" };
            let (control, data) = (self.control(id), self.data(id));
            format!("id = {id}\nrole = \"{role}\"\ncontrol = \"{control}\"\ndata = \"{data}\"\n")
        };
        let others = (1..=self.nodes.len()).filter(|&other| other != id);
        let peers: String = others.map(|other| format!("[[peers]]\n{}", node(other))).collect();
        // Short intervals, and all the time to vote in: however long a restart takes, no vote comes too late.
        let timeouts =
            "[timeouts]\nvote_ms = 600_000\nresend_ms = 100\ninquire_ms = 300\nheartbeat_ms = 200\n";
        format!("{}journal_dir = \"journal\"\n{SHORT_WINDOW}\n{timeouts}{peers}{more}", node(id))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self, id: usize) -> PathBuf {
        self.dir().join(format!("node-{id}.toml"))
    }

    pub fn journal(&self, id: usize) -> PathBuf {
        self.dir().join(format!("journal/node-{id}.journal"))
    }

    pub fn control(&self, id: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.first_port + 2 * (id as u16 - 1)))
    }

    pub fn data(&self, id: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.first_port + 2 * (id as u16 - 1) + 1))
    }

    /// All that a node has printed and logged, over all its lives.
    pub fn log(&self, id: usize) -> String {
        fs::read_to_string(self.dir().join(format!("node-{id}.log"))).unwrap_or_default()
    }

    pub fn spawn(&mut self, id: usize) {
        self.spawn_with(id, &[]);
    }

    /// Starts a node with these options besides. It may be one that comes later.
    pub fn spawn_with(&mut self, id: usize, more: &[&str]) {
        if id == self.nodes.len() + 1 {
            self.nodes.push(None);
        }
        let log = self.dir().join(format!("node-{id}.log"));
        let log = OpenOptions::new().append(true).create(true).open(log).expect("a log");
        let child = Command::new(CANARY)
            .args(["node", "--stop-with-parent", "--config"])
            .arg(self.config(id))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the program runs");
        self.nodes[id - 1] = Some(child);
    }

    /// The number of a node's process.
    pub fn pid(&self, id: usize) -> u32 {
        self.nodes[id - 1].as_ref().expect("it runs").id()
    }

    /// The process of a node, to be watched by whoever asks.
    pub fn take(&mut self, id: usize) -> Child {
        self.nodes[id - 1].take().expect("it runs")
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        let mut child = self.nodes[id - 1].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    pub async fn restart(&mut self, id: usize) {
        self.spawn(id);
        self.wait_until_up(id).await;
    }

    /// How many nodes there are, whether they run or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    pub async fn wait_until_up(&self, id: usize) {
        wait_for(&format!("n{id} is a member"), async || {
            self.try_status(id).await.filter(|status| status.joining.is_none())
        })
        .await;
        wait_for(&format!("n{id} has heard whether it is behind"), async || {
            let answer = send(self.data(id), "GET", "/readyz", "").await.ok()?;
            (!String::from_utf8_lossy(answer.body()).contains("has just started")).then_some(())
        })
        .await;
    }

    async fn try_status(&self, id: usize) -> Option<StatusView> {
        read_json(&send(self.data(id), "GET", "/status", "").await.ok()?).ok()
    }

    /// What a node shows; notes it.
    pub async fn look(&mut self, id: usize) -> Option<StatusView> {
        let status = self.try_status(id).await?;
        self.ledger.note(id, &status);
        Some(status)
    }

    /// Starts a rollout and returns its name.
    pub async fn roll_out(&self, body: &str) -> String {
        let answer = send(self.data(1), "POST", "/rollouts", body).await.expect("an answer");
        let json: Value = read_json(&answer).expect("accepted");
        json["id"].as_str().expect("a name").to_owned()
    }

    /// The coordinator's last rollout.
    pub async fn rollout(&mut self) -> Option<RolloutView> {
        self.look(1).await?.rollout
    }

    /// Looks at all nodes until one of them serves `version`.
    pub async fn reach(&mut self, version: u64) {
        wait_for(&format!("version {version}"), async || {
            for id in 1..=self.nodes.len() {
                if self.look(id).await.is_some_and(|status| status.routing.version >= version) {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    /// Waits until the last rollout has come there.
    pub async fn until(&mut self, course: Progress) -> RolloutView {
        wait_for(&format!("it is {}", course.name()), async || {
            self.rollout().await.filter(|rollout| rollout.course == course)
        })
        .await
    }

    /// Waits until the last rollout is over and all nodes hold one state, in doubt about nothing.
    pub async fn settle(&mut self) -> (RolloutView, StatusView) {
        wait_for("the rollout is over and all nodes agree", async || {
            let mut all = Vec::new();
            for id in 1..=self.nodes.len() {
                all.push(self.look(id).await?);
            }
            let first = &all[0];
            let agree = all.iter().all(|one| one.routing == first.routing && one.in_doubt.is_none());
            let rollout = first.rollout.clone().filter(|rollout| rollout.course.is_over())?;
            agree.then(|| (rollout, first.clone()))
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 1..=self.nodes.len() {
                eprintln!("--- log of n{id}\n{}", self.log(id));
            }
        }
    }
}

//! The programs as their users meet them: a real cluster records itself, is killed in the middle, and
//! verifying its recordings finds nothing wrong with what it did.
//!
//! All waiting is for facts: what a node serves, what is in a file. There is a deadline only so that a test that
//! hangs ends.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coalmine_core::codec::recording::Did;
use coalmine_core::node::NodeId;
use coalmine_core::rollout::durable::Record;
use coalmine_real::recorder::parts::parts;
use coalmine_sim::trace::html;
use coalmine_sim::verify::{Verified, protocol_of};
use serde_json::Value;

use super::cargo::cargo;
use super::folder;
use crate::purity::sources;

/// After so long a test hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// Six free ports. Below the ports that the system gives to outgoing connections: there, a peer that knocks at a dead
/// node's port could be given that very port.
fn free_ports() -> [u16; 6] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1_000 {
        let first =
            12_000 + (std::process::id() as u16 % 997) * 6 + 6 * NEXT.fetch_add(1, Ordering::Relaxed) % 1_800;
        let ports = std::array::from_fn(|i| first + i as u16);
        if ports.iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return ports;
        }
    }
    panic!("no free ports");
}

/// The `canary` program. It is of another package, so that it may not have been built, or be an old one.
fn canary() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_toys")).parent().expect("a folder");
    let canary = folder.join("canary");
    let changed = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let newest =
        ["core/src", "real/src"].iter().flat_map(|it| sources(&root.join(it))).map(|it| changed(&it));
    if changed(&canary) >= newest.max().flatten() {
        return canary;
    }
    let profile = folder.file_name().and_then(|name| name.to_str()).expect("a profile");
    let built = cargo()
        .args(["build", "--quiet", "--package", "coalmine-real", "--bin", "canary"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(folder.parent().expect("the folder of all profiles"))
        .current_dir(root)
        .status();
    assert!(built.expect("cargo runs").success());
    canary
}

/// The command line of `coalmine`, without its process: what it verifies, and its page.
fn verify(folder: &Path, page: bool) -> Verified {
    let files: Vec<_> = (1..=3).map(|id| folder.join(format!("n{id}.rec"))).collect();
    assert_eq!(protocol_of(&files).as_deref(), Ok("rollout"));
    let suite = coalmine::suite();
    let model = suite.find_model("rollout").expect("the protocol that canary names is known");
    model.verify(&files, page).expect("the recordings can be read")
}

/// Three nodes that record themselves.
struct Cluster {
    canary: PathBuf,
    folder: PathBuf,
    data: Vec<u16>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    fn start(canary: PathBuf, folder: &Path) -> Self {
        let ports = free_ports();
        let (control, data): (Vec<_>, Vec<_>) = ports.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
        for id in 1..=3 {
            let node = |id: usize| {
                let role = if id == 1 { "coordinator" } else { "participant" };
                let (control, data) = (control[id - 1], data[id - 1]);
                format!(
                    "id = {id}\nrole = \"{role}\"\ncontrol = \"127.0.0.1:{control}\"\ndata = \"127.0.0.1:{data}\"\n"
                )
            };
            let peers =
                (1..=3).filter(|&other| other != id).map(|other| format!("[[peers]]\n{}", node(other)));
            // However long a restart takes, no vote comes too late.
            let timeouts = "vote_ms = 600_000\nresend_ms = 100\ninquire_ms = 300\nheartbeat_ms = 200\n";
            let text = format!(
                "{}journal_dir = \"journal\"\n[timeouts]\n{timeouts}{}",
                node(id),
                peers.collect::<String>()
            );
            fs::write(folder.join(format!("node-{id}.toml")), text).expect("the folder is ours");
        }
        let mut cluster = Self { canary, folder: folder.into(), data, nodes: vec![None, None, None] };
        for id in 1..=3 {
            cluster.spawn(id);
        }
        cluster
    }

    fn canary(&self, args: &str) -> Command {
        let mut command = Command::new(&self.canary);
        command.args(args.split(' ')).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    fn spawn(&mut self, id: usize) {
        let log = fs::File::options().append(true).create(true).open(self.folder.join(format!("{id}.log")));
        let log = log.expect("the folder is ours");
        let mut command =
            self.canary(&format!("node --stop-with-parent --config node-{id}.toml --record n{id}.rec"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn();
        self.nodes[id - 1] = Some(child.expect("the program runs"));
    }

    /// `kill -9`.
    fn kill(&mut self, id: usize) {
        if let Some(mut child) = self.nodes[id - 1].take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Asks a node to stop by closing what it would notice its parent's end by, and waits for that.
    fn stop(&mut self, id: usize) -> bool {
        let mut child = self.nodes[id - 1].take().expect("it runs");
        drop(child.stdin.take());
        child.wait().expect("it ends").success()
    }

    /// Waits until each of these nodes is a member and serves this version or a later one.
    fn reach(&self, version: u64, ids: &[usize]) {
        let began = Instant::now();
        let nodes: Vec<_> = ids.iter().map(|id| format!("127.0.0.1:{}", self.data[id - 1])).collect();
        let mut status = self.canary(&format!("status --format json --nodes {}", nodes.join(",")));
        loop {
            let output = status.output().expect("the program runs");
            let answers: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let serves = |answer: &Value| {
                let status = &answer["status"];
                status["joining"].is_null() && status["routing"]["version"].as_u64() >= Some(version)
            };
            if answers.as_array().expect("a list").iter().all(serves) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "version {version}: {answers}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in 1..=3 {
            self.kill(id);
            if thread::panicking() {
                let log = fs::read_to_string(self.folder.join(format!("{id}.log"))).unwrap_or_default();
                eprintln!("--- log of n{id}\n{log}");
            }
        }
    }
}

impl Cluster {
    /// Waits until so many lives are in a node's recording.
    fn is_recorded(&self, id: usize, lives: usize) {
        let began = Instant::now();
        loop {
            let mut boots = 0;
            for part in parts(&self.folder.join(format!("n{id}.rec"))).expect("the folder can be read") {
                let bytes = fs::read(&part).expect("it is there");
                boots += String::from_utf8_lossy(&bytes).matches("\"took\":{\"boot\":").count();
            }
            if boots >= lives {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{boots} of {lives} lives of n{id} are recorded");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Begins a rollout. Whether it goes on is seen at the nodes, so nobody waits for the client's patience.
    fn roll_out(&self) -> Client {
        let coordinator = self.data[0];
        let rollout = format!("rollout v2 --pause-ms 300 --no-gates --coordinator 127.0.0.1:{coordinator}");
        let started = self.canary(&rollout).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Client(started.expect("the program runs"))
    }
}

/// A client that is not needed any more in the end.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_cluster_that_was_killed_in_the_middle_did_what_was_checked() {
    let folder = folder("cluster");
    let mut cluster = Cluster::start(canary(), &folder);
    cluster.reach(0, &[1, 2, 3]);
    let _client = cluster.roll_out();
    cluster.reach(1, &[1, 3]);
    cluster.kill(3);
    cluster.spawn(3);
    cluster.reach(2, &[2]);
    cluster.kill(1);
    cluster.spawn(1);
    cluster.reach(4, &[1, 2, 3]);
    for (id, lives) in [(1, 2), (2, 1), (3, 2)] {
        cluster.is_recorded(id, lives);
    }
    (1..=3).for_each(|id| cluster.kill(id));

    let verified = verify(&folder, true);
    assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{:?}", verified.notes);
    assert_eq!((verified.nodes.len(), verified.boots, verified.exit_code()), (3, 5, 0));
    // Five lives were killed, and none of them could say that it ends.
    assert!(!verified.is_complete() && verified.missing.len() == 5, "{:?}", verified.missing);
    let story = &verified.story;
    let crashes = story.contains("n3  ✗ CRASHES") || verified.beyond.iter().any(|it| it.node == NodeId(3));
    assert!(story.contains("PREPARE_REQ") && crashes, "{story}");
    let page = html::render(&verified.page.expect("it was asked for"));
    assert!(page.contains("PREPARE_REQ") && page.contains("incomplete"));
    assert!(folder.join("n1.rec.1").exists(), "each life begins a new part");

    // One record of one node is turned into another.
    let path = folder.join("n2.rec");
    let mut part = super::read(&path);
    let granted = Did::Append(Record::Granted { generation: 1, coordinator: NodeId(1) });
    let (place, step) = super::find(&mut part, |step| step.did.contains(&granted));
    for did in step.did.iter_mut().filter(|did| **did == granted) {
        *did = Did::Append(Record::Granted { generation: 2, coordinator: NodeId(1) });
    }
    super::write(&path, &part);
    let difference = verify(&folder, false).difference.expect("it was changed");
    assert_eq!((difference.file, difference.line), (path.display().to_string(), super::number(place)));
    assert_eq!(difference.recorded, "journal: GRANTED generation 2 to n1");
    assert_eq!(difference.here, "journal: GRANTED generation 1 to n1");
    drop(cluster);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Whichever moment a kill falls into, nobody is accused; and a node that is asked to stop says that it has.
#[test]
fn a_kill_at_any_moment_accuses_nobody() {
    let canary = canary();
    let (mut steps, mut judged) = (0, 0);
    for round in 0..5 {
        let folder = folder(&format!("kills-{round}"));
        let mut cluster = Cluster::start(canary.clone(), &folder);
        cluster.reach(0, &[1, 2, 3]);
        let _client = cluster.roll_out();
        for version in 1..=3 {
            let id = 1 + (round + version as usize) % 3;
            cluster.reach(version, &[id]);
            // Anywhere in the next transaction: this is no waiting for anything.
            thread::sleep(Duration::from_millis(299 + 3 * (round as u64)));
            cluster.kill(id);
            cluster.spawn(id);
        }
        cluster.reach(4, &[1, 2, 3]);
        let stopped = cluster.stop(2);
        assert!(stopped, "n2 was asked to stop");
        [1, 3].into_iter().for_each(|id| cluster.kill(id));
        let verified = verify(&folder, false);
        assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{:?}", verified.notes);
        assert_eq!(verified.exit_code(), 0);
        let last = folder.join("n2.rec").display().to_string();
        assert!(!verified.missing.iter().any(|it| it.file == last), "{:?}", verified.missing);
        steps += verified.steps;
        judged += verified.judged.iter().map(|it| it.steps).min().unwrap_or(0);
        drop(cluster);
        fs::remove_dir_all(folder).expect("it is ours");
    }
    println!("{judged} of {steps} recorded steps of real clusters were judged");
}

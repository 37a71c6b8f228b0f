//! The programs as their users meet them: a real cluster records itself, is killed in the middle, and
//! verifying its recordings finds nothing wrong with what it did.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use coalmine_sim::trace::html;
use coalmine_sim::verify::{Verified, protocol_of};
use serde_json::Value;

use super::folder;
use crate::purity::sources;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `canary` program. It is of another package, so that it may not have been built, or be an old one.
fn canary() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_specimens")).parent().expect("a folder");
    let canary = folder.join("canary");
    let changed = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let newest =
        ["core/src", "real/src"].iter().flat_map(|it| sources(&root.join(it))).map(|it| changed(&it));
    if changed(&canary) >= newest.max().flatten() {
        return canary;
    }
    let profile = folder.file_name().and_then(|name| name.to_str()).expect("a profile");
    let built = Command::new(env!("CARGO"))
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
        let listeners: Vec<_> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |it: &TcpListener| it.local_addr().expect("an address").port();
        let (control, data): (Vec<_>, Vec<_>) =
            listeners.chunks(2).map(|pair| (port(&pair[0]), port(&pair[1]))).unzip();
        drop(listeners);
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
            let timeouts = "vote_ms = 8_000\nresend_ms = 100\ninquire_ms = 300\nheartbeat_ms = 200\n";
            let text = format!(
                "{}journal_dir = \"journal\"\non_no_evidence = \"commit\"\n[timeouts]\n{timeouts}{}",
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

#[test]
fn a_real_cluster_that_was_killed_in_the_middle_did_what_was_checked() {
    let folder = folder("cluster");
    let mut cluster = Cluster::start(canary(), &folder);
    cluster.reach(0, &[1, 2, 3]);
    let coordinator = cluster.data[0];
    let rollout = format!("rollout v2 --pause-ms 300 --coordinator 127.0.0.1:{coordinator}");
    let rollout = cluster.canary(&rollout).stdout(Stdio::null()).spawn();
    cluster.reach(1, &[1, 3]);
    cluster.kill(3);
    cluster.spawn(3);
    cluster.reach(2, &[2]);
    cluster.kill(1);
    cluster.spawn(1);
    let ended = rollout.expect("the program runs").wait().expect("it ends");
    assert!(ended.success(), "the rollout should be completed");
    cluster.reach(4, &[1, 2, 3]);
    (1..=3).for_each(|id| cluster.kill(id));

    let verified = verify(&folder, true);
    assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{:?}", verified.notes);
    assert_eq!((verified.nodes.len(), verified.boots, verified.exit_code()), (3, 5, 0));
    let story = &verified.story;
    assert!(story.contains("PREPARE_REQ") && story.contains("n3  ✗ CRASHES"), "{story}");
    let page = html::render(&verified.page.expect("it was asked for"));
    assert!(page.contains("PREPARE_REQ"));
    assert!(folder.join("n1.rec.1").exists(), "each life begins a new part");

    // One record of one node is turned into another.
    let path = folder.join("n2.rec");
    let recorded = fs::read_to_string(&path).expect("it is text");
    let changed = recorded.replacen(
        "{\"append\":{\"granted\":{\"generation\":1}",
        "{\"append\":{\"granted\":{\"generation\":2}",
        1,
    );
    assert_ne!(recorded, changed, "n2 grants the coordinator its generation");
    fs::write(&path, changed).expect("the folder is ours");
    let difference = verify(&folder, false).difference.expect("it was changed");
    assert_eq!(difference.file, path.display().to_string());
    assert_eq!(difference.recorded, "journal: GRANTED generation 2");
    assert_eq!(difference.here, "journal: GRANTED generation 1");
    drop(cluster);
    fs::remove_dir_all(folder).expect("it is ours");
}

//! What decides about a canary: its own requests on every node, or an operator.

use std::net::SocketAddr;
use std::time::Duration;

use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{Progress, RolloutView, StepOutcome, VerdictKind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::outcomes;
use super::support::{Cluster, canary, send, stderr, wait_for};

/// Little is enough to judge by.
pub(super) const FEW: &str = "[gates]\nmin_samples = 5\n";

/// Requests to all nodes for as long as it is held.
pub(super) struct Traffic(Vec<JoinHandle<()>>);

impl Traffic {
    pub(super) fn at(cluster: &Cluster, nodes: usize) -> Self {
        let senders = (1..=nodes).flat_map(|id| [cluster.data(id); 4]);
        Self(senders.map(|node| tokio::spawn(keep_asking(node))).collect())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn keep_asking(node: SocketAddr) {
    loop {
        let _ = send(node, "POST", "/predict", "{}").await; // the model may fail
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the program while the test's own tasks go on.
pub(super) fn run(args: &[&str]) -> std::process::Output {
    tokio::task::block_in_place(|| canary(args))
}

/// A command to the coordinator, whoever is asked.
pub(super) fn order(cluster: &Cluster, command: &str, asked: usize) -> String {
    let output = run(&[command, "--coordinator", &cluster.data(asked).to_string()]);
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All nodes serve v1 alone, as this version.
pub(super) async fn all_serve_v1(cluster: &mut Cluster, version: u64) {
    let (_, status) = cluster.settle().await;
    let v1 = json!({ "v1": 1.0 });
    assert_eq!(serde_json::to_value(&status.routing.weights).expect("plain data"), v1);
    assert_eq!(status.routing.version, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_good_on_all_nodes_becomes_the_stable_one() {
    let mut cluster = Cluster::prepare(3, FEW).with_window_ms(1_000).started().await;
    let _traffic = Traffic::at(&cluster, 3);
    let coordinator = cluster.data(1).to_string();
    let output = run(&["rollout", "v2", "--steps", "20,100", "--coordinator", &coordinator]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", stderr(&output));
    assert!(said.contains("each step is held for 1000 ms: gates need a whole window"), "{said}");
    assert!(said.contains("committed as version 3, for good"), "{said}");
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 3));
    assert_eq!((rollout.steps[1].makes_stable, rollout.steps[2].makes_stable), (false, true));
    assert_eq!(status.routing.stable_model_id.as_str(), "v2");
}

/// The pause is shorter than a window: without one, nothing would have been measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_half_of_its_requests_is_taken_back() {
    let more = format!("{FEW}[backends.v2]\nerror_rate = 0.5\n");
    let mut cluster = Cluster::start(3, &more).await;
    let _traffic = Traffic::at(&cluster, 3);
    let coordinator = cluster.data(1).to_string();
    let rollout = ["rollout", "v2", "--steps", "20,100", "--pause-ms", "1", "--coordinator", &coordinator];
    let output = run(&rollout);
    let why = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("taken back: n") && why.contains("the canary failed: its "), "{why}");
    assert!(why.contains("v1 serves everything; try again with `canary rollout v2 --coordinator"), "{why}");
    all_serve_v1(&mut cluster, 2).await;
    let rollout = cluster.rollout().await.expect("a rollout");
    assert_eq!(rollout.course, Progress::Returned);
    assert_eq!(outcomes(&rollout), [StepOutcome::Committed, StepOutcome::Pending, StepOutcome::Pending]);
    assert_eq!(rollout.steps[0].hold_ms, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_model_is_taken_back() {
    let more = format!("{FEW}[backends.v2]\nlatency_ms = 300\n");
    let mut cluster = Cluster::start(3, &more).await;
    let _traffic = Traffic::at(&cluster, 3);
    cluster.roll_out(r#"{"model": "v2", "steps": [50, 100]}"#).await;
    all_serve_v1(&mut cluster, 2).await;
    let why = cluster.rollout().await.expect("a rollout").why.expect("a reason");
    assert!(why.contains("its p95 of ") && why.contains("above 200 ms"), "{why}");
}

/// One in twenty requests fails, all of them the canary's: a twentieth of all is within the limit, all of its own is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_share_that_always_fails_is_judged_by_itself() {
    let more = format!("{FEW}[backends.v2]\nerror_rate = 1.0\n");
    let mut cluster = Cluster::prepare(3, &more).with_window_ms(500).started().await;
    let _traffic = Traffic::at(&cluster, 3);
    let coordinator = cluster.data(1).to_string();
    let rollout =
        ["rollout", "v2", "--steps", "4,100", "--on-failure", "stop", "--coordinator", &coordinator];
    let output = run(&rollout);
    let why = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("stopped at 4%: n") && why.contains("its 100% errors are above 5%"), "{why}");
    assert!(why.contains("v2 serves 4% still; go back with `canary rollout v1 --steps 100"), "{why}");
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Stopped, 1));
    // The way back that it names is one.
    let back = run(&["rollout", "v1", "--steps", "100", "--coordinator", &coordinator]);
    assert!(back.status.success(), "{}", stderr(&back));
    all_serve_v1(&mut cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_takes_a_bad_model_back_whatever_the_gates_say() {
    let more = format!("{FEW}[backends.v2]\nerror_rate = 1.0\n");
    let mut cluster = Cluster::start(3, &more).await;
    let traffic = Traffic::at(&cluster, 3);
    cluster.roll_out(r#"{"model": "v2", "steps": [50, 100], "on_failure": "pause"}"#).await;
    cluster.until(Progress::Paused).await;
    let fails = async || {
        let status = cluster.look(1).await?;
        status.verdicts.iter().all(|verdict| verdict.verdict == VerdictKind::Fail).then_some(status)
    };
    let status = wait_for("it fails at all nodes", fails).await;
    assert_eq!(status.verdicts.len(), 3);
    assert!(status.verdicts.iter().all(|it| it.samples >= 5 && it.why.is_some()), "{:?}", status.verdicts);
    assert!(order(&cluster, "abort", 1).contains("returns to the stable model"));
    all_serve_v1(&mut cluster, 2).await;
    drop(traffic);
    assert_eq!(cluster.look(1).await.expect("it serves").verdicts, []);

    // Without any traffic, too, and from a node that is not the coordinator.
    cluster.roll_out(r#"{"model": "v2", "steps": [50, 100]}"#).await;
    cluster.reach(3).await;
    order(&cluster, "abort", 3);
    all_serve_v1(&mut cluster, 4).await;
    let output = run(&["abort", "--coordinator", &cluster.data(1).to_string()]);
    assert!(output.status.code() == Some(1) && stderr(&output).contains("no rollout is under way"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_year_ends_by_an_order() {
    let mut cluster = Cluster::start(2, "").await;
    let body =
        r#"{"model": "v2", "steps": [5, 100], "holds_ms": [31536000000, 31536000000], "gates": "off"}"#;
    let name = cluster.roll_out(body).await;
    cluster.reach(1).await;
    let coordinator = cluster.data(1).to_string();
    let wrong = run(&["promote", "9/9", "--coordinator", &coordinator]);
    assert!(wrong.status.code() == Some(1) && stderr(&wrong).contains("is not under way"), "{wrong:?}");
    let promoted = run(&["promote", &name, "--coordinator", &coordinator, "--format", "json"]);
    let said: Value = serde_json::from_slice(&promoted.stdout).expect("JSON");
    assert_eq!(said, json!({ "rollout": name }));
    cluster.reach(2).await;
    let (on_trial, running) = (cluster.look(2).await.expect("it serves"), cluster.rollout().await);
    assert_eq!(on_trial.routing.stable_model_id.as_str(), "v1");
    assert_eq!(running.expect("a rollout").course, Progress::Running);
    assert!(order(&cluster, "pause", 2).contains("is paused"));
    assert_eq!(cluster.rollout().await.expect("a rollout").course, Progress::Paused);
    assert!(order(&cluster, "resume", 2).contains("goes on"));
    order(&cluster, "abort", 2);
    all_serve_v1(&mut cluster, 3).await;
    let ended = cluster.rollout().await.expect("a rollout");
    assert_eq!((ended.course, ended.why.as_deref()), (Progress::Returned, Some("an operator's order")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_evidence_a_rollout_pauses_and_an_operator_can_promote_it() {
    let mut cluster = Cluster::start(2, "").await;
    let coordinator = cluster.data(1).to_string();
    let rollout =
        ["rollout", "v2", "--steps", "5,50", "--deadline-ms", "3000", "--coordinator", &coordinator];
    let output = run(&rollout);
    let (said, why) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{said}{why}");
    assert!(said.contains("each step is held for 200 ms: gates need a whole window"), "{said}");
    assert!(said.contains("waits  for n2: no evidence: 0 samples of the canary, 100 needed"), "{said}");
    assert!(why.contains("paused at 5%: n1: no evidence") && why.contains("v2 serves 5% meanwhile"), "{why}");
    assert!(why.contains(&format!("`canary promote --coordinator {coordinator}`")), "{why}");

    let nodes = format!("{coordinator},{}", cluster.data(2));
    let status = run(&["status", "--nodes", &nodes]);
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.success() && table.contains("v2 paused, 1 of 2 steps committed (n1: no"),
        "{table}"
    );
    assert!(table.contains("n2  no evidence: 0 samples of the canary, 100 needed"), "{table}");

    order(&cluster, "promote", 2);
    cluster.reach(2).await;
    cluster.until(Progress::Paused).await;
    // It stays on trial at its last share until its evidence passes, or somebody promotes it.
    order(&cluster, "promote", 1);
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_takes_the_place_of_another() {
    let mut cluster = Cluster::start(2, "").await;
    let coordinator = cluster.data(1).to_string();
    let first = cluster
        .roll_out(r#"{"model": "v2", "steps": [5, 100], "pause_ms": 31536000000, "gates": "off"}"#)
        .await;
    cluster.reach(1).await;
    let rollout = ["rollout", "v3", "--steps", "10", "--no-gates", "--coordinator", &coordinator];
    let busy = run(&rollout);
    assert!(
        busy.status.code() == Some(1) && stderr(&busy).contains(&format!("rollout {first} is still running"))
    );
    let output = run(&[&rollout[..], &["--supersede", "--format", "json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let second: RolloutView = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(second.course, Progress::Completed);
    let answer = send(cluster.data(1), "GET", "/rollouts", "").await.expect("an answer");
    let rollouts: Vec<RolloutView> = read_json(&answer).expect("JSON");
    assert_eq!((&rollouts[0].id, rollouts[0].course), (&first, Progress::Superseded));
    assert_eq!(rollouts[0].why, Some(format!("{} took its place", second.id)));
    let (_, status) = cluster.settle().await;
    assert_eq!(status.routing.canary_model_id.expect("a canary").as_str(), "v3");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_elsewhere_judges_too() {
    let mut cluster = Cluster::start(3, "").await;
    let body = r#"{"model": "v2", "steps": [5, 100], "pause_ms": 600000, "on_failure": "stop"}"#;
    cluster.roll_out(body).await;
    wait_for("n3 serves it", async || cluster.look(3).await.filter(|it| it.routing.version == 1)).await;
    let body = r#"{"version": 1, "models": {"v2": {"samples": 100, "p95_ms": 20, "error_rate": 0.5}}}"#;
    let answer = send(cluster.data(3), "POST", "/health/report", body).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Stopped, 1));
    let why = "n3: the canary failed: its 50% errors are above 5% (100 samples)";
    assert_eq!(rollout.why.as_deref(), Some(why));
    let snapshot = send(cluster.data(3), "GET", "/health/snapshot", "").await.expect("an answer");
    let mut snapshot: Value = read_json(&snapshot).expect("JSON");
    assert!(snapshot["is_stale"].take().is_boolean(), "it grows old");
    assert_eq!(
        snapshot,
        json!({
            "window_id": 1, "version": 1, "is_stale": null, "last_committed_version": 1,
            "models": { "v2": { "p95_ms": 20, "error_rate": 0.5, "samples": 100 } }
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_can_keep_all_nodes_busy() {
    let cluster = Cluster::start(2, "").await;
    let nodes = format!("{},{}", cluster.data(1), cluster.data(2));
    let output = run(&["predict", "--seconds", "1", "--nodes", &nodes, "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let tallies: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(tallies[0]["served"].as_u64() >= Some(16), "{tallies}");
    for id in [1, 2] {
        let measured = async || {
            let answer = send(cluster.data(id), "GET", "/health/snapshot", "").await.ok()?;
            read_json::<Value>(&answer).ok()?["models"]["v1"]["samples"].as_u64()
        };
        wait_for("each node has measured requests", measured).await;
    }
    let nobody = run(&["predict", "--seconds", "60", "--nodes", "127.0.0.1:1"]);
    assert!(nobody.status.code() == Some(1) && stderr(&nobody).contains("cannot connect"), "{nobody:?}");
}

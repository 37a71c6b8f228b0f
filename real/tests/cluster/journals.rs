//! What becomes of journals, over real files and processes: they are replaced by snapshots; an old one is found out.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use coalmine_core::codec::journal::recover_segments;
use coalmine_core::node::Node;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::durable::Record;
use coalmine_real::rollout::wire::Progress;
use coalmine_real::tokio_runtime::read_journal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::steering::{order, run};
use super::support::{Cluster, SHORT_WINDOW, canary, send, send_request, stderr, wait_for};

/// Asks for the first rollout. Whenever it comes, it is the same request.
async fn first(cluster: &Cluster) -> String {
    let body = Bytes::from(r#"{"model": "m0", "steps": [100], "gates": "off"}"#);
    let request = Request::post("/rollouts").header("idempotency-key", "7/1").body(body).expect("valid");
    let answer = send_request(cluster.data(1), request).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", String::from_utf8_lossy(answer.body()));
    serde_json::from_slice::<Value>(answer.body()).expect("JSON")["id"].as_str().expect("a name").to_owned()
}

/// Thirty rollouts leave some two hundred records; a snapshot every eight leaves a few of them to be read. What the node
/// knows is what it knew: its version, its rollouts, the names of requests, and whose journal it is.
#[tokio::test]
async fn a_node_goes_on_from_a_snapshot() {
    let mut cluster = Cluster::prepare(2, "")
        .with(SHORT_WINDOW, &format!("{SHORT_WINDOW}\nsnapshot_every = 8"))
        .started()
        .await;
    let name = first(&cluster).await;
    cluster.settle().await;
    for n in 1..30 {
        cluster.roll_out(&format!(r#"{{"model": "m{n}", "steps": [50, 100], "gates": "off"}}"#)).await;
        cluster.settle().await;
    }
    let (last, before) = cluster.settle().await;
    assert_eq!(before.routing.version, 59);
    for id in [1, 2] {
        cluster.kill(id);
    }
    for id in [1, 2] {
        cluster.spawn(id);
    }
    for id in [1, 2] {
        cluster.wait_until_up(id).await;
        let segments = read_journal(&cluster.journal(id)).expect("it can be read");
        let read = recover_segments::<Record>(RolloutNode::FORM, &segments).expect("it is sound");
        let (records, forgotten) = (read.records.len(), read.forgotten);
        assert!(records < 30 && forgotten > 100, "n{id}: {records} records after {forgotten}");
    }
    let (rollout, after) = cluster.settle().await;
    assert_eq!((&rollout, &after.routing, after.cluster), (&last, &before.routing, before.cluster));
    assert_eq!(first(&cluster).await, name, "it was taken long ago, and is not rolled out again");
    assert_eq!(cluster.settle().await.1.routing, before.routing);

    // Nor is it anybody else's.
    cluster.kill(1);
    cluster.kill(2);
    std::fs::copy(cluster.journal(1), cluster.journal(2)).expect("copied");
    let output = canary(&["node", "--config", cluster.config(2).to_str().expect("text")]);
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains("it is the journal of n1"), "{said}");
}

/// A journal from before two rollouts is put back, as if from a backup. The node asks before it serves; what it hears no history of
/// that journal explains, so it is admitted as if it had none. Nobody is served by what it knew.
#[tokio::test]
async fn an_old_journal_is_found_out_before_it_serves() {
    let mut cluster = Cluster::start(3, "").await;
    let roll_out = |model: &str| format!(r#"{{"model": "{model}", "steps": [100], "gates": "off"}}"#);
    cluster.roll_out(&roll_out("v2")).await;
    cluster.settle().await;
    let old = std::fs::read(cluster.journal(3)).expect("a journal");
    for model in ["v3", "v4"] {
        cluster.roll_out(&roll_out(model)).await;
        cluster.settle().await;
    }
    cluster.kill(3);
    std::fs::write(cluster.journal(3), old).expect("written");
    cluster.spawn(3);
    let served = wait_for("n3 serves", async || {
        let answer = send(cluster.data(3), "POST", "/predict", "{}").await.ok()?;
        (answer.status() == 200).then(|| serde_json::from_slice::<Value>(answer.body()).expect("JSON"))
    })
    .await;
    assert_eq!((&served["routing_version"], &served["model"]), (&3.into(), &"v4".into()), "{served}");
    assert!(cluster.log(3).contains("ITS JOURNAL IS AN OLD ONE"), "{}", cluster.log(3));
    cluster.roll_out(&roll_out("v5")).await;
    assert_eq!(cluster.settle().await.1.routing.version, 4);
}

/// Nobody answers: it serves what it knows after two heartbeats.
#[tokio::test]
async fn a_node_that_nobody_answers_serves_in_the_end() {
    let mut cluster = Cluster::start(2, "").await;
    cluster.kill(1);
    cluster.kill(2);
    cluster.spawn(2);
    wait_for("n2 serves", async || {
        let answer = send(cluster.data(2), "POST", "/predict", "{}").await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_that_are_queued_are_done_in_order() {
    let mut cluster = Cluster::start(2, "").await;
    let coordinator = cluster.data(1).to_string();
    let rollout = |args: &[&str]| {
        let output = run(&[&["rollout", "--no-gates", "--coordinator", &coordinator], args].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", stderr(&output));
        said
    };
    rollout(&["v2", "--steps", "50,100", "--pause-ms", "1500", "--no-wait"]);
    assert!(rollout(&["v3", "--steps", "100", "--queue"]).starts_with("queued as "));
    rollout(&["v4", "--steps", "100", "--queue"]);
    let said = String::from_utf8_lossy(&run(&["status", "--nodes", &coordinator]).stdout).into_owned();
    assert!(said.contains("queued: v3 (rollout ") && said.contains("), then v4 (rollout "), "{said}");
    let status = wait_for("v4 serves everything", async || {
        cluster.look(1).await.filter(|status| status.queued.is_empty() && status.routing.version == 5)
    })
    .await;
    assert_eq!(status.routing.stable_model_id.as_str(), "v4");
}

/// All disks are lost, and what is left is a backup of the coordinator, written while it ran.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_formed_anew_from_a_backup() {
    let mut cluster = Cluster::start(3, "").await;
    let rollout = |model: &str, pause_ms: u32| {
        format!(r#"{{"model": "{model}", "steps": [50, 100], "pause_ms": {pause_ms}, "gates": "off"}}"#)
    };
    let name = first(&cluster).await;
    cluster.settle().await;
    cluster.roll_out(&rollout("v2", 600_000)).await;
    cluster.reach(2).await;
    let before = cluster.look(1).await.expect("it answers");
    let backup = cluster.dir().join("canary.backup");
    let file = backup.to_str().expect("text");
    let configs: Vec<_> = (1..=3).map(|id| cluster.config(id).to_str().expect("text").to_owned()).collect();
    let of = |id: usize| configs[id - 1].as_str();
    let taken = run(&["backup", file, "--config", of(1)]);
    let told = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(
        taken.status.success() && told.contains("holds v2") && told.contains("of n1, n2, n3"),
        "{told}{}",
        stderr(&taken)
    );
    let again = run(&["backup", file, "--config", of(1)]);
    assert!(!again.status.success() && stderr(&again).contains("File exists"), "{}", stderr(&again));
    let refused = run(&["restore", file, "--config", of(1)]);
    assert!(!refused.status.success() && stderr(&refused).contains("has it open"), "{}", stderr(&refused));
    (1..=3).for_each(|id| cluster.kill(id));
    let refused = run(&["restore", file, "--config", of(1)]);
    assert!(
        !refused.status.success() && stderr(&refused).contains("there is a journal"),
        "{}",
        stderr(&refused)
    );
    // Nor where the first file is empty, since all in it is forgotten.
    let later = cluster.journal(1).with_extension("journal.9");
    std::fs::rename(cluster.journal(1), &later).expect("it had one");
    let refused = run(&["restore", file, "--config", of(1)]);
    assert!(
        !refused.status.success() && stderr(&refused).contains("there is a journal"),
        "{}",
        stderr(&refused)
    );
    std::fs::remove_file(later).expect("it is there");
    for id in 1..=3 {
        std::fs::remove_file(cluster.journal(id)).expect("it had one");
        let restored = run(&["restore", file, "--config", of(id)]);
        assert!(restored.status.success(), "{}", stderr(&restored));
    }
    (1..=3).for_each(|id| cluster.spawn(id));
    for id in 1..=3 {
        let status = wait_for("it is a member", async || {
            cluster.look(id).await.filter(|status| status.joining.is_none())
        })
        .await;
        assert_eq!((&status.routing, status.in_doubt), (&before.routing, None));
        assert!(status.cluster.is_some() && status.cluster != before.cluster, "it is another cluster");
    }
    cluster.until(Progress::Paused).await;
    assert_eq!(first(&cluster).await, name, "it was taken by the old cluster, and is not done again");
    order(&cluster, "resume", 1);
    order(&cluster, "promote", 1);
    cluster.reach(3).await;
    order(&cluster, "promote", 1);
    let (_, status) = cluster.settle().await;
    assert_eq!((status.routing.version, status.routing.stable_model_id.as_str()), (4, "v2"));

    std::fs::write(&backup, "no backup\n").expect("written");
    std::fs::remove_file(cluster.journal(3)).expect("it had one");
    cluster.kill(3);
    let refused = run(&["restore", file, "--config", of(3)]);
    assert!(
        !refused.status.success() && stderr(&refused).contains("canary.backup: line 1"),
        "{}",
        stderr(&refused)
    );
}

/// Nodes are replaced one by one, as for a new version, while everybody predicts and a rollout is held: no request fails that is
/// sent to who is not being restarted, and the rollout goes on.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_restarted_one_by_one_under_load() {
    let mut cluster = Cluster::start(3, "").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [50, 100], "pause_ms": 4000, "gates": "off"}"#).await;
    cluster.reach(1).await;
    for id in 1..=3 {
        let others: Vec<_> = (1..=3).filter(|other| *other != id).map(|other| cluster.data(other)).collect();
        let load = tokio::spawn(async move {
            for n in 0..100 {
                let answer = send(others[n % 2], "POST", "/predict", "{}").await.expect("an answer");
                assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(answer.body()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut node = cluster.take(id);
        kill(Pid::from_raw(node.id() as i32), Signal::SIGTERM).expect("it is ours");
        assert_eq!(wait_for("it ends", async || node.try_wait().expect("it is ours")).await.code(), Some(0));
        cluster.spawn(id);
        let data = cluster.data(id);
        wait_for("it is ready", async || {
            send(data, "GET", "/readyz", "").await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        load.await.expect("nobody else noticed");
    }
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 3));
}

/// Whoever speaks another version of the protocol is told apart from one that sends nonsense.
#[tokio::test]
async fn another_version_of_the_protocol_is_told_apart() {
    let cluster = Cluster::start(1, "").await;
    let mut peer = std::net::TcpStream::connect(cluster.control(1)).expect("it listens");
    std::io::Write::write_all(&mut peer, &[1, 0, 0, 2, b'{', b'}']).expect("it reads");
    wait_for("it is logged", async || {
        let why = "it is of version 1 of the protocol, and this node speaks 0";
        cluster.log(1).contains(why).then_some(())
    })
    .await;
}

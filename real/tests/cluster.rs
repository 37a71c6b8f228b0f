//! The `canary` program as its users meet it: real processes, sockets and files.
//!
//! What cannot be forced here (which message a kill falls between) is the simulator's business. These tests
//! hold that the real pieces are put together as the simulated ones are, and that mistakes are answered with
//! words.

#[path = "cluster/deploy.rs"]
mod deploy;
#[path = "cluster/doors.rs"]
mod doors;
#[path = "cluster/edges.rs"]
mod edges;
#[path = "cluster/forwarding.rs"]
mod forwarding;
#[path = "cluster/journals.rs"]
mod journals;
#[path = "cluster/operation.rs"]
mod operation;
#[path = "cluster/page.rs"]
mod page;
#[path = "cluster/regions.rs"]
mod regions;
#[path = "cluster/steering.rs"]
mod steering;
mod support;
#[path = "cluster/tls.rs"]
mod tls;
#[path = "cluster/ways.rs"]
mod ways;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::gates::Gates;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{Guard, Order, Reply, Request as NodeRequest, RolloutPlan};
use coalmine_core::rollout::state::ModelId;
use coalmine_real::http_api::{HttpApi, read_json};
use coalmine_real::rollout::wire::{Progress, RolloutView, StepOutcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{CANARY, Cluster, PATIENCE, canary, free_ports, send, send_request, stderr, wait_for};

fn outcomes(rollout: &RolloutView) -> Vec<StepOutcome> {
    rollout.steps.iter().map(|step| step.outcome).collect()
}

#[tokio::test]
async fn a_rollout_completes_on_all_nodes() {
    let mut cluster = Cluster::start(3, "").await;
    let coordinator = cluster.data(1).to_string();
    let output = canary(&["rollout", "v2", "--no-gates", "--coordinator", &coordinator, "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: RolloutView = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcomes(&printed), [StepOutcome::Committed; 4]);

    let (rollout, status) = cluster.settle().await;
    assert_eq!(rollout, printed);
    assert_eq!(status.routing.version, 4);
    assert_eq!(status.routing.stable_model_id.as_str(), "v2");

    let nodes = (1..=3).map(|id| cluster.data(id).to_string()).collect::<Vec<_>>().join(",");
    let output = canary(&["status", "--nodes", &nodes]);
    assert!(output.status.success());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(table.matches(&status.digest).count(), 3, "{table}");
    for node in ["1", "2", "3"] {
        let data = cluster.data(node.parse().expect("a number")).to_string();
        let output = canary(&["predict", "--node", &data]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("served by v2  (routing version 4, node n{node})\n")
        );
    }
}

/// Whoever asks another node is sent on to the coordinator, under the same name.
#[tokio::test]
async fn a_rollout_can_be_asked_of_any_node() {
    let mut cluster = Cluster::start(2, "").await;
    let other = cluster.data(2).to_string();
    let output = canary(&["rollout", "v2", "--no-gates", "--coordinator", &other, "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: RolloutView = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(cluster.settle().await.0, printed);
}

#[tokio::test]
async fn every_node_says_whether_it_is_ready() {
    let cluster = Cluster::prepare(2, "");
    let ready = async |cluster: &Cluster| -> Option<(u16, Value)> {
        let answer = send(cluster.data(2), "GET", "/health/ready", "").await.ok()?;
        Some((answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON")))
    };
    let mut cluster = cluster;
    cluster.spawn(2);
    // Without the coordinator it is nobody, but it lives.
    let (code, said) = wait_for("n2 has recovered its journal", async || {
        ready(&cluster).await.filter(|(_, said)| said["journal_records"].is_u64())
    })
    .await;
    assert_eq!((code, &said["ready"], &said["node"]), (503, &false.into(), &2.into()));
    assert!(said["error"].as_str().is_some_and(|why| why.starts_with("it is not a member: ")), "{said}");
    let live = send(cluster.data(2), "GET", "/health/live", "").await.expect("an answer");
    assert_eq!(live.status(), 200);
    cluster.spawn(1);
    let said =
        wait_for("n2 is ready", async || ready(&cluster).await.filter(|(code, _)| *code == 200)).await.1;
    assert!(said["ready"] == true && said["view"]["node"] == 2, "{said}");
}

#[tokio::test]
async fn weights_are_met_and_keys_stick() {
    let mut cluster = Cluster::start(2, "").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [5, 20.5], "gates": "off"}"#).await;
    cluster.settle().await;
    let data = cluster.data(2);
    let mut canaries = 0;
    for _ in 0..200 {
        let answer = send(data, "POST", "/predict", r#"{"input": [1, 2]}"#).await.expect("an answer");
        let json: Value = read_json(&answer).expect("served");
        canaries += u32::from(json["model"] == "v2");
        assert_eq!((&json["routing_version"], &json["node"]), (&2.into(), &2.into()));
    }
    assert!((39..=43).contains(&canaries), "{canaries} of 200 for a share of 20.5 %");

    for key in ["alice", "bob", "carol", "dave"] {
        let body = format!("{{\"key\": \"{key}\"}}");
        let mut models = Vec::new();
        for node in [1, 2, 1] {
            let answer = send(cluster.data(node), "POST", "/predict", &body).await.expect("an answer");
            models.push(read_json::<Value>(&answer).expect("served")["model"].clone());
        }
        assert!(models.iter().all(|model| *model == models[0]), "{key}: {models:?}");
    }
}

#[tokio::test]
async fn a_participant_killed_in_the_middle_loses_nothing() {
    let mut cluster = Cluster::start(3, "").await;
    let body = r#"{"model": "v2", "steps": [5, 20, 50, 100], "pause_ms": 200, "gates": "off"}"#;
    cluster.roll_out(body).await;
    for version in [1, 3] {
        cluster.reach(version).await;
        cluster.kill(3);
        cluster.restart(3).await;
    }
    let (rollout, status) = cluster.settle().await;
    // Four steps, and one that makes it the stable model after the last hold.
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 5));
    assert!(cluster.log(3).contains("records recovered"), "{}", cluster.log(3));
}

#[tokio::test]
async fn a_coordinator_killed_in_the_middle_goes_on() {
    let mut cluster = Cluster::start(3, "").await;
    let body = r#"{"model": "v2", "steps": [5, 20, 50, 100], "pause_ms": 300, "gates": "off"}"#;
    let start = || {
        let request = Request::post("/rollouts").header("idempotency-key", "7/1").body(Bytes::from(body));
        request.expect("valid")
    };
    let accepted = send_request(cluster.data(1), start()).await.expect("an answer");
    assert_eq!(accepted.status(), 202);
    cluster.reach(2).await;
    let before = cluster.rollout().await.expect("a rollout");
    cluster.kill(1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.restart(1).await;

    // A client that never heard the answer asks again: it is the same rollout.
    let again = send_request(cluster.data(1), start()).await.expect("an answer");
    assert_eq!((again.status(), again.body()), (accepted.status(), accepted.body()));

    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 5));
    for (step, was) in rollout.steps.iter().zip(&before.steps) {
        assert!(was.outcome == StepOutcome::Pending || was == step, "a committed step has changed: {step:?}");
    }
    let epochs: Vec<_> = rollout.steps.iter().map(|step| step.txid.expect("committed").epoch).collect();
    assert_eq!((epochs[0], epochs[3]), (1, 2), "the rollout did not cross two lives: {epochs:?}");
}

#[tokio::test]
async fn nodes_with_new_disks_are_taken_in_again() {
    let mut cluster = Cluster::start(3, "").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [50], "gates": "off"}"#).await;
    cluster.settle().await;
    for id in [1, 3] {
        cluster.kill(id);
        fs::remove_file(cluster.journal(id)).expect("the node had a journal");
    }
    // Without the coordinator n3 is nobody: it serves nothing, and says why.
    cluster.spawn(3);
    wait_for("n3 is joining", async || cluster.look(3).await?.joining).await;
    let answer = send(cluster.data(3), "POST", "/predict", "{}").await.expect("an answer");
    let said = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(answer.status() == 503 && said.contains("waiting to be admitted by n1"), "{said}");
    let output = canary(&["status", "--nodes", &cluster.data(3).to_string()]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && told.contains("n3 is not a member of the cluster"), "{told}");

    cluster.restart(1).await;
    for id in [1, 3] {
        let serves = async || cluster.look(id).await.filter(|status| status.routing.version == 1);
        wait_for("it serves what was committed", serves).await;
    }
    cluster.roll_out(r#"{"model": "v2", "steps": [100], "gates": "off"}"#).await;
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 2));
    assert_eq!(rollout.steps[0].txid.expect("committed").generation, 2);
}

#[tokio::test]
async fn failing_backends_answer_502_and_are_counted() {
    let cluster = Cluster::start(1, "[backends.v1]\nerror_rate = 0.25\n").await;
    let mut failed = 0;
    for _ in 0..40 {
        let answer = send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer");
        let json: Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!((&json["model"], &json["routing_version"]), (&"v1".into(), &0.into()));
        failed += u32::from(answer.status() == 502);
    }
    assert!((9..=11).contains(&failed), "{failed} of 40 for a rate of 25 %");
    let rate = wait_for("a window with requests", async || {
        let answer = send(cluster.data(1), "GET", "/health/snapshot", "").await.ok()?;
        read_json::<Value>(&answer).ok()?["models"]["v1"]["error_rate"].as_f64()
    })
    .await;
    assert!(rate > 0.0, "{rate}");
}

#[tokio::test]
async fn bad_requests_are_answered_with_words() {
    let cluster = Cluster::start(2, "").await;
    let (coordinator, other) = (cluster.data(1), cluster.data(2));
    let long = format!("{{\"key\": \"{}\"}}", "x".repeat(70_000));
    let ask_n1 = format!("ask n1 at {coordinator}");
    let cases = [
        (coordinator, "POST", "/rollouts", "{", 400, "EOF"),
        (coordinator, "POST", "/rollouts", "[]", 400, "must be a JSON object"),
        (coordinator, "POST", "/rollouts", r#"{"model": "v2"}"#, 422, "missing field `steps`"),
        (
            coordinator,
            "POST",
            "/rollouts",
            r#"{"model": "v2", "steps": [5], "x": 1}"#,
            422,
            "unknown field `x`",
        ),
        (coordinator, "POST", "/rollouts", r#"{"model": "", "steps": [5]}"#, 422, "model name"),
        (coordinator, "POST", "/rollouts", r#"{"model": "v2", "steps": [0.001]}"#, 422, "steps[0]: 0.001"),
        (coordinator, "POST", "/rollouts", r#"{"model": "v2", "steps": [50, 5]}"#, 422, "rise strictly"),
        (coordinator, "POST", "/rollouts", r#"{"model": "v1", "steps": [5]}"#, 422, "v1 is the stable model"),
        (
            coordinator,
            "POST",
            "/rollouts",
            r#"{"model": "v2", "steps": [5], "gates": {"max_error_rate": 7}}"#,
            422,
            "gates.max_error_rate: 7",
        ),
        (
            coordinator,
            "POST",
            "/rollouts",
            r#"{"model": "v2", "steps": [5], "holds_ms": [1, 2]}"#,
            422,
            "2 holds",
        ),
        (coordinator, "POST", "/rollouts/abort", "", 409, "no rollout is under way"),
        (coordinator, "POST", "/rollouts/abort", r#"{"rollout": "7"}"#, 422, "rollout: must be two numbers"),
        (coordinator, "GET", "/rollouts/abort", "", 405, "GET is not possible at /rollouts/abort"),
        (coordinator, "POST", "/rollouts/cancel", "", 404, "nothing at /rollouts/cancel"),
        (other, "POST", "/rollouts/abort", "", 421, &ask_n1),
        (other, "POST", "/rollouts", r#"{"model": "v2", "steps": [5]}"#, 421, &ask_n1),
        (other, "GET", "/rollouts", "", 421, &ask_n1),
        (other, "POST", "/predict", &long, 413, "longer than 65536 bytes"),
        (other, "POST", "/predict", r#"{"key": 5}"#, 422, "key: invalid type"),
        (other, "POST", "/health/report", r#"{"samples": 1}"#, 422, "unknown field `samples`"),
        (
            other,
            "POST",
            "/health/report",
            r#"{"version": 0, "models": {"v1": {"samples": 1, "p95_ms": 1, "error_rate": 2}}}"#,
            422,
            "models.v1.error_rate: 2",
        ),
        (other, "DELETE", "/status", "", 405, "DELETE is not possible at /status"),
        (other, "GET", "/nowhere", "", 404, "nothing at /nowhere"),
    ];
    for (to, method, path, body, status, why) in cases {
        let answer = send(to, method, path, body).await.expect("an answer");
        let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let said = json["error"].as_str().unwrap_or("no JSON with an error");
        assert!(
            answer.status() == status && said.contains(why),
            "{path} {body:.60}: {} {said}",
            answer.status()
        );
    }

    cluster.roll_out(r#"{"model": "v2", "steps": [5, 100], "pause_ms": 60000, "gates": "off"}"#).await;
    let busy =
        send(coordinator, "POST", "/rollouts", r#"{"model": "v3", "steps": [5]}"#).await.expect("an answer");
    let json: Value = serde_json::from_slice(busy.body()).expect("JSON");
    assert!(busy.status() == 409 && json["reply"]["busy"].is_object(), "{json}");
}

#[tokio::test]
async fn hostile_bytes_on_the_control_port_hurt_nobody() {
    let mut cluster = Cluster::start(2, "").await;
    let garbage: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let framed = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let stranger = br#"{"from":9,"message":{"type":"DECISION_ACK","txid":"1.1"}}"#;
    let attacks: [&[u8]; 7] = [
        &garbage,
        &[0xff; 64],                               // a length of 4 GiB
        &[0, 0x10, 0, 0],                          // a length at the limit, and nothing behind it
        &framed(b"{\"from\":2,\"message\"")[..12], // half a frame
        &framed(b"not json"),
        &framed(b""),
        &framed(stranger), // well formed, from nobody we know
    ];
    for (i, bytes) in attacks.iter().enumerate() {
        for id in [1, 2] {
            let mut stream = TcpStream::connect(cluster.control(id)).expect("it listens");
            let _ = stream.write_all(bytes); // it may hang up before it has read all
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            let hung_up = ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
            assert!(hung_up && rest.is_empty(), "attack {i}: n{id} keeps the connection, or answers");
        }
    }
    cluster.roll_out(r#"{"model": "v2", "steps": [100], "gates": "off"}"#).await;
    let (rollout, _) = cluster.settle().await;
    assert_eq!(rollout.course, Progress::Completed);
    assert!(cluster.log(1).contains("the limit is 1048576"), "{}", cluster.log(1));
    assert!(cluster.log(1).contains("ignored a message from n9"), "{}", cluster.log(1));
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why() {
    let mut cluster = Cluster::start(1, "").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [5, 100], "gates": "off"}"#).await;
    cluster.settle().await;
    let config = cluster.config(1);
    let text = fs::read_to_string(&config).expect("a config");
    let start = |text: &str| {
        let file = config.with_file_name("other.toml");
        fs::write(&file, text).expect("written");
        let output = canary(&["node", "--config", file.to_str().expect("a path")]);
        (output.status.code(), stderr(&output))
    };
    let expect = |(code, said): (Option<i32>, String), expected: i32, words: &[&str]| {
        let all = words.iter().all(|word| said.contains(word));
        assert!(code == Some(expected) && all && said.lines().count() == 1, "{code:?} {said}");
    };

    expect(start(&format!("speed = 9\n{text}")), 2, &["other.toml: line 1", "unknown field `speed`"]);
    expect(start(&text.replace("127.0.0.1", "0.0.0.0")), 2, &["other.toml: control", "loopback"]);
    expect(start(&text), 1, &["cannot listen on data", "in use"]);
    let port = free_ports(2);
    let elsewhere = text
        .replace(&cluster.data(1).to_string(), &format!("127.0.0.1:{port}"))
        .replace(&cluster.control(1).to_string(), &format!("127.0.0.1:{}", port + 1));
    let folder = cluster.journal(1).parent().and_then(|folder| folder.canonicalize().ok()).expect("a folder");
    let process = format!("process {} has it open", cluster.pid(1));
    let words = ["node-1.journal", &process, folder.to_str().expect("text")];
    expect(start(&elsewhere), 1, if cfg!(target_os = "linux") { &words } else { &words[2..] });

    cluster.kill(1);
    let journal = cluster.journal(1);
    let mut bytes = fs::read(&journal).expect("a journal");
    let second_line = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    bytes[second_line + 30] ^= 1;
    fs::write(&journal, &bytes).expect("written");
    let at = format!("line 2 (byte {second_line}) is damaged");
    expect(start(&text), 1, &["node-1.journal", &at, "does not start"]);
    assert_eq!(fs::read(&journal).expect("a journal"), bytes, "a damaged journal was written to");
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_reported() {
    let mut cluster = Cluster::start(2, "").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [5], "gates": "off"}"#).await;
    let (_, before) = cluster.settle().await;
    cluster.kill(2);
    let whole = fs::read(cluster.journal(2)).expect("a journal");
    let next = whole.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let torn = format!("{next} 0123abcd {{\"vo");
    let zeros = [0; 100];
    for (tail, told) in
        [(&[][..], "which nobody was told of"), (&zeros, "100 of them zeros: unless the disk")]
    {
        fs::write(cluster.journal(2), [&whole[..], torn.as_bytes(), tail].concat()).expect("written");
        cluster.restart(2).await;
        let cut = format!("cut a torn tail of {} bytes at line {next}, {told}", torn.len() + tail.len());
        assert!(cluster.log(2).contains(&cut), "{}", cluster.log(2));
        assert_eq!(fs::read(cluster.journal(2)).expect("a journal"), whole);
        cluster.settle().await;
        cluster.kill(2);
    }
    cluster.restart(2).await;
    let (_, after) = cluster.settle().await;
    assert_eq!(before.routing, after.routing);
}

/// `canary up` as a child, past its introduction.
struct Up {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    introduction: String,
    pids: Vec<i32>,
    data: Vec<String>,
}

fn up(dir: &str, first_port: u16) -> Up {
    up_in(Path::new(dir), first_port)
}

fn up_in(dir: &Path, first_port: u16) -> Up {
    up_with(dir, first_port, &[])
}

fn up_with(dir: &Path, first_port: u16, more: &[&str]) -> Up {
    let (control, data) = (first_port.to_string(), (first_port + 3).to_string());
    let mut child = Command::new(CANARY)
        .args(["up", "--control-port", &control, "--data-port", &data, "--dir"])
        .arg(dir)
        .args(more)
        .env_remove("CARGO") // it is not cargo that starts it
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut introduction = String::new();
    while !introduction.contains("Ctrl-C stops") {
        assert!(stdout.read_line(&mut introduction).expect("UTF-8") > 0, "it ended: {introduction}");
    }
    let rows = introduction.lines().filter(|line| line.contains("node-"));
    let columns: Vec<Vec<&str>> = rows.map(|row| row.split_whitespace().collect()).collect();
    let pids = columns.iter().map(|row| row[4].parse().expect("a pid")).collect();
    let data = columns.iter().map(|row| row[3].to_owned()).collect();
    Up { child, stdout, pids, data, introduction }
}

impl Up {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    async fn nobody_is_left(&self) {
        wait_for("the nodes are gone", async || self.pids.iter().all(|&pid| !runs(pid)).then_some(())).await;
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill(); // its nodes follow it
        let _ = self.child.wait();
    }
}

/// Whether a process does anything. One that nobody has waited for yet does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    kill(Pid::from_raw(pid), None).is_ok() && state != Some("Z")
}

#[tokio::test]
async fn up_starts_a_cluster_and_an_interrupt_stops_all_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().to_str().expect("a path");
    let port = free_ports(6);
    let mut cluster = up(dir, port);
    assert_eq!(cluster.pids.len(), 3, "{}", cluster.introduction);
    assert!(cluster.pids.iter().all(|&pid| runs(pid)));
    for line in
        cluster.introduction.lines().filter(|line| line.contains("--coordinator") || line.contains("--nodes"))
    {
        let help =
            Command::new("sh").args(["-c", &format!("{line} --help")]).output().expect("there is a shell");
        assert!(help.status.success(), "{line}: {help:?}");
    }
    let output = canary(&["rollout", "v2", "--no-gates", "--coordinator", &cluster.data[0]]);
    assert!(output.status.success(), "{}", stderr(&output));

    let second = canary(&["up", "--dir", dir]);
    let why = stderr(&second);
    assert!(
        second.status.code() == Some(1) && why.contains(&format!("127.0.0.1:{port} (control of n1)")),
        "{why}"
    );

    cluster.signal(Signal::SIGINT);
    assert_eq!(cluster.child.wait().expect("it ends").code(), Some(0));
    assert!(cluster.pids.iter().all(|&pid| !runs(pid)), "it did not wait for its nodes");
    for id in 1..=3 {
        let log = fs::read_to_string(format!("{dir}/node-{id}.log")).expect("a log");
        assert!(log.ends_with("SIGTERM: stopped\n"), "n{id} was not asked to stop: {log}");
    }
    let mut rest = String::new();
    cluster.stdout.read_to_string(&mut rest).expect("UTF-8");
    assert!(!rest.contains("has ended"), "{rest}");

    let again = up(dir, port);
    assert!(again.introduction.contains("continues where it was"), "{}", again.introduction);
    let output = canary(&["predict", "--node", &again.data[2]]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("served by v2  (routing version 4"));
}

#[tokio::test]
async fn up_reports_a_dead_node_and_its_nodes_do_not_outlive_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = up(dir.path().to_str().expect("a path"), free_ports(6));
    kill(Pid::from_raw(cluster.pids[1]), Signal::SIGKILL).expect("it runs");
    let mut errors = BufReader::new(cluster.child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains("node --config") {
        assert!(errors.read_line(&mut said).expect("UTF-8") > 0, "it ended: {said}");
    }
    assert!(
        said.contains("n2 (pid") && said.contains("SIGKILL") && said.contains("records recovered"),
        "{said}"
    );
    assert!(cluster.pids.iter().skip(2).all(|&pid| runs(pid)), "the others go on");

    cluster.signal(Signal::SIGKILL);
    cluster.nobody_is_left().await;
}

/// What the simulated client relies on: a request goes out and its very reply comes back.
#[tokio::test]
async fn every_reply_survives_http() {
    let cluster = Cluster::start(2, "").await;
    let v2 = ModelId::new("v2").expect("a name");
    let start = |steps_bp: &[u32]| NodeRequest::unguarded(v2.clone(), steps_bp.to_vec(), 60_000);
    let window = Window { samples: 9, p95_ms: 7, error_bp: 1 };
    let health = Health { window_id: 3, version: 0, models: [(v2.clone(), window)].into() };
    let id = |client, sequence| RequestId { client, sequence };
    let (first, second) = (id(u64::MAX, 1), id(2, 2));
    let steer = |order, rollout| NodeRequest::Steer { order, rollout };
    let why = "a step of 200%: must be above 0 and at most 100".to_owned();
    let unfit = format!("{second} is not under way: {first} is");
    let elsewhere = || Reply::NotCoordinator { coordinator: NodeId(1) };
    let mut other = RolloutPlan::guarded(v2.clone(), vec![700, 10_000], 1_000);
    (other.gates, other.supersede) = (Guard::These(Gates::default()), true);
    let cases = [
        (1, id(3, 1), steer(Order::Abort, None), Reply::Unfit { why: "no rollout is under way".into() }),
        (1, second, start(&[20_000]), Reply::Invalid { why }),
        (2, first, start(&[1, 500]), elsewhere()),
        (1, first, start(&[1, 500]), Reply::Accepted { id: first }),
        (1, second, start(&[1, 500]), Reply::Busy { running: first }),
        (1, first, start(&[1, 500]), Reply::Accepted { id: first }),
        (2, second, NodeRequest::ReportHealth(health), Reply::Done),
        (2, id(3, 2), steer(Order::Pause, Some(first)), elsewhere()),
        (1, id(3, 2), steer(Order::Pause, Some(first)), Reply::Ordered { rollout: first }),
        (1, id(3, 2), steer(Order::Pause, Some(first)), Reply::Ordered { rollout: first }),
        (1, id(3, 3), steer(Order::Resume, Some(second)), Reply::Unfit { why: unfit }),
        (1, id(3, 4), NodeRequest::StartRollout(other), Reply::Accepted { id: id(3, 4) }),
    ];
    for (node, id, request, expected) in cases {
        let http = <RolloutNode>::to_http(id, &request);
        let answer = send_request(cluster.data(node), http).await.expect("an answer");
        assert_eq!(<RolloutNode>::from_http(&answer), Ok(expected), "{request:?}");
    }
}

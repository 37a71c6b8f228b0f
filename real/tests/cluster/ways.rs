//! Members that come and go, and the ways out when something is lost for good: each as an operator walks it. The commands
//! are those of `docs/operation.md`, line by line: what is written there is run here, and the other way round.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use coalmine_core::node::NodeId;
use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{Progress, StatusView};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{CANARY, Cluster, canary, send, wait_for};

/// The page that these tests walk through.
const PAGE: &str = include_str!("../../../docs/operation.md");

/// The commands of the page: each line of a shell's that begins so.
fn commands() -> Vec<&'static str> {
    let mut is_shell = false;
    let mut commands = Vec::new();
    for line in PAGE.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_shell = language == "sh",
            None if is_shell && !line.is_empty() => {
                commands.push(line.split(" #").next().unwrap_or(line).trim_end())
            }
            None => {}
        }
    }
    commands
}

/// Where the page has the cluster of `canary up`.
const FOLDER: &str = "coalmine-out/canary/";

/// A line of the page, as it is said of this cluster: its nodes live elsewhere, and so do its files.
fn line_of(cluster: &Cluster, line: &str) -> Vec<String> {
    assert!(commands().contains(&line), "the page does not say `{line}`");
    let mut line = line.replace(FOLDER, &format!("{}/", cluster.dir().display()));
    for id in (1..=cluster.size() + 1).rev() {
        line = line.replace(&format!("127.0.0.1:{}", 8710 + id), &cluster.data(id).to_string());
    }
    let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let (coordinator, all) = (cluster.data(1).to_string(), nodes(cluster));
    match words.get(1).map(String::as_str).filter(|_| words[0] == "canary") {
        Some("status") if !line.contains("--nodes") => words.extend(["--nodes".into(), all]),
        Some("remove" | "rollout") if !line.contains("--coordinator") => {
            words.extend(["--coordinator".into(), coordinator]);
        }
        _ => {}
    }
    words
}

/// Where all nodes take HTTP.
fn nodes(cluster: &Cluster) -> String {
    (1..=cluster.size()).map(|id| cluster.data(id).to_string()).collect::<Vec<_>>().join(",")
}

/// Runs a line of the page; says whether it went well, and all that it printed.
fn run(cluster: &Cluster, line: &str) -> (bool, String) {
    let words = line_of(cluster, line);
    let program = if words[0] == "canary" { CANARY } else { &words[0] };
    let output = Command::new(program).args(&words[1..]).stdin(Stdio::null()).output().expect("it runs");
    (output.status.success(), said(&output))
}

/// Runs a line of the page that must go well.
fn must(cluster: &Cluster, line: &str) -> String {
    let (is_done, said) = run(cluster, line);
    assert!(is_done, "{line}: {said}");
    println!("$ {line}\n{said}");
    said
}

/// Runs a line of the page that must be refused.
fn must_not(cluster: &Cluster, line: &str) -> String {
    let (is_done, said) = run(cluster, line);
    assert!(!is_done, "{line}: {said}");
    println!("$ {line}\n{said}");
    said
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Starts a node by a line of the page.
fn start(cluster: &mut Cluster, id: usize, line: &str) {
    let words = line_of(cluster, line);
    let config = cluster.config(id).display().to_string();
    assert_eq!(words[..4], ["canary", "node", "--config", config.as_str()]);
    let more: Vec<_> = words[4..].iter().map(String::as_str).collect();
    cluster.spawn_with(id, &more);
}

/// Says it to a node's process.
fn signal(cluster: &Cluster, id: usize, signal: Signal) {
    kill(Pid::from_raw(cluster.pid(id) as i32), signal).expect("it runs");
}

/// Waits until a node's status is so.
async fn until(cluster: &Cluster, id: usize, what: &str, is: impl Fn(&StatusView) -> bool) -> StatusView {
    let data = cluster.data(id);
    wait_for(&format!("n{id}: {what}"), async || {
        let status: StatusView = read_json(&send(data, "GET", "/status", "").await.ok()?).ok()?;
        is(&status).then_some(status)
    })
    .await
}

/// The status of all nodes as text.
fn shown(cluster: &Cluster) -> String {
    run(cluster, "canary status").1
}

/// Waits until the status of all nodes says this.
async fn until_told(cluster: &Cluster, what: &str) -> String {
    let told = wait_for(what, async || Some(shown(cluster)).filter(|told| told.contains(what))).await;
    println!("$ canary status\n{told}");
    told
}

/// Waits until a node's log says this.
async fn until_logged(cluster: &Cluster, id: usize, what: &str) {
    wait_for(&format!("n{id} logs {what}"), async || cluster.log(id).contains(what).then_some(())).await;
}

/// All of a rollout to this model, at once, asked of this node.
fn roll_out(cluster: &Cluster, at: usize, model: &str) {
    let at = cluster.data(at).to_string();
    let output = canary(&["rollout", model, "--steps", "100", "--no-gates", "--coordinator", &at]);
    assert!(output.status.success(), "{}", said(&output));
}

async fn predict(cluster: &Cluster, id: usize) -> (u16, String) {
    let answer = send(cluster.data(id), "POST", "/predict", "{}").await.expect("an answer");
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}

async fn ready(cluster: &Cluster, id: usize) -> (u16, String) {
    let answer = send(cluster.data(id), "GET", "/readyz", "").await.expect("an answer");
    let json: Value = serde_json::from_slice(answer.body()).expect("JSON");
    (answer.status().as_u16(), json["error"].as_str().unwrap_or_default().to_owned())
}

/// The members that a node counts.
fn members(status: &StatusView) -> Vec<u32> {
    status.routing.ids().map(|id| id.0).collect()
}

/// Ends the process of a command.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins a line of the page, which waits for something.
fn begin(cluster: &Cluster, line: &str) -> Background {
    let words = line_of(cluster, line);
    let mut command = Command::new(CANARY);
    let command =
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Background(command.spawn().expect("it runs"))
}

/// Waits for its end, which must be a good one.
async fn finish(mut command: Background) {
    let ended = wait_for("the command ends", async || command.0.try_wait().expect("it is ours")).await;
    let mut said = String::new();
    for out in [command.0.stdout.take().map(|it| Box::new(it) as Box<dyn std::io::Read>)]
        .into_iter()
        .chain([command.0.stderr.take().map(|it| Box::new(it) as Box<dyn std::io::Read>)])
        .flatten()
    {
        let mut out = out;
        out.read_to_string(&mut said).expect("text");
    }
    assert!(ended.success(), "{said}");
    println!("{said}");
}

/// What is written on the page is run by these tests.
#[test]
fn every_command_of_the_page_is_run() {
    let tests = include_str!("ways.rs");
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    for line in commands {
        assert!(tests.contains(&format!("\"{line}\"")), "`{line}` is run nowhere");
    }
}

const JOIN: &str = "canary node --config coalmine-out/canary/node-4.toml --join 127.0.0.1:8711";

/// Starts a fourth node by the page's line, at the ports that are free here.
fn join(cluster: &mut Cluster, more: &[&str]) {
    let mut words = line_of(cluster, JOIN);
    let (control, data) = (cluster.control(4).to_string(), cluster.data(4).to_string());
    words.extend(["--control".into(), control, "--data".into(), data]);
    let all: Vec<_> = words[4..].iter().map(String::as_str).chain(more.iter().copied()).collect();
    cluster.spawn_with(4, &all);
}

#[tokio::test]
async fn a_fourth_node_joins_votes_leaves_and_joins_again() {
    let mut cluster = Cluster::start(3, "").await;
    roll_out(&cluster, 1, "v2");
    join(&mut cluster, &[]);
    let status = until(&cluster, 4, "it is a member", |status| status.joining.is_none()).await;
    assert_eq!((members(&status), status.routing.version), (vec![1, 2, 3, 4], 2));
    assert_eq!(status.routing.stable_model_id.as_str(), "v2");
    let told = until_told(&cluster, "last change: n4 becomes a member: done").await;
    let cluster_id = status.cluster.expect("a member knows").to_string();
    assert!(told.contains(&format!("cluster {cluster_id}: n1 (coordinates), n2, n3, n4\n")), "{told}");
    assert!(!told.contains("warning"), "{told}");
    // Who was not asked is told, and where it lives.
    let output = canary(&["status", "--nodes", &cluster.data(2).to_string()]);
    let at = format!("n4 (not asked, at {})", cluster.data(4));
    assert!(said(&output).contains(&at), "{}", said(&output));

    // Who knows one node of the cluster of `up` is told of all.
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join(FOLDER)).expect("created");
    fs::copy(cluster.config(1), folder.path().join(FOLDER).join("node-1.toml")).expect("copied");
    let output = Command::new(CANARY).arg("status").current_dir(folder.path()).output().expect("it runs");
    let told = said(&output);
    assert!(
        told.matches(&format!("  {}  ", status.digest)).count() == 4 && output.status.success(),
        "{told}"
    );

    // Without its vote nothing is committed.
    signal(&cluster, 4, Signal::SIGSTOP);
    cluster.roll_out(r#"{"model": "v3", "steps": [100], "gates": "off"}"#).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(cluster.look(1).await.expect("an answer").routing.version, 2);
    signal(&cluster, 4, Signal::SIGCONT);
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 3));

    // Its file is all that it needs from now on.
    let file = fs::read_to_string(cluster.config(4)).expect("it was written");
    assert!(file.starts_with("# Node 4, which joined the cluster of "), "{file}");
    cluster.kill(4);
    cluster.restart(4).await;
    assert_eq!(predict(&cluster, 4).await.0, 200);
    cluster.kill(4);
    join(&mut cluster, &[]);
    until_logged(&cluster, 4, "n4 is a member already").await;

    // It leaves, politely, and serves nothing.
    let done = must(&cluster, "canary remove 4");
    assert_eq!(done, "n4 leaves: done\n");
    until(&cluster, 4, "it has heard", |status| status.joining.is_some()).await;
    let why = "it was dismissed by version 4: `canary node --join` takes it in again";
    let (code, answer) = predict(&cluster, 4).await;
    assert!(code == 503 && answer.contains(why), "{code} {answer}");
    assert_eq!(ready(&cluster, 4).await, (503, format!("it is not a member: {why}")));
    let told = until_told(&cluster, "dismissed").await;
    assert!(
        told.contains(&format!("n4 is not a member of the cluster, and serves nothing: {why}")),
        "{told}"
    );
    assert!(told.contains("n1 (coordinates), n2, n3\nlast change: n4 leaves: done"), "{told}");
    roll_out(&cluster, 1, "v4");
    let refused = must_not(&cluster, "canary remove 4");
    assert!(refused.contains("n4 is not a member"), "{refused}");

    // It joins again: with its old journal, or with none.
    for has_journal in [true, false] {
        cluster.kill(4);
        if !has_journal {
            fs::remove_file(cluster.journal(4)).expect("it had one");
        }
        join(&mut cluster, &[]);
        until(&cluster, 4, "it is a member", |status| status.joining.is_none()).await;
        roll_out(&cluster, 1, if has_journal { "v5" } else { "v6" });
        cluster.settle().await;
        assert_eq!(predict(&cluster, 4).await.0, 200);
        if has_journal {
            must(&cluster, "canary remove 4");
        }
    }
}

#[tokio::test]
async fn a_newcomer_that_cannot_join_is_told_why() {
    let mut cluster = Cluster::start(2, "").await;
    let refused = |more: &[&str]| {
        let config = cluster.config(3).display().to_string();
        let at = cluster.data(1).to_string();
        let args = ["node", "--config", &config, "--join", &at];
        let output = canary(&[&args[..], more].concat());
        assert!(!output.status.success(), "{}", said(&output));
        said(&output)
    };
    let why = refused(&["--id", "2"]);
    assert!(
        why.contains("n2 is a member already: start it with its own file, or choose another --id"),
        "{why}"
    );
    let why = refused(&["--id", "5000"]);
    assert!(why.contains("--control: must be given for n5000"), "{why}");
    let taken = cluster.control(1).to_string();
    let why = refused(&["--control", &taken]);
    let hint = "it was written just now: add to it what is missing and start again, or delete it";
    assert!(why.contains("is control already") && why.contains(hint), "{why}");
    // What other machines can reach needs credentials, which only a person can add.
    fs::remove_file(cluster.config(3)).expect("it was written");
    let why = refused(&["--control", "192.0.2.1:7713"]);
    assert!(why.contains("that needs [tls]") && why.contains(hint), "{why}");
    fs::remove_file(cluster.config(3)).expect("it was written");
    let json = cluster.dir().join("node-3.json").display().to_string();
    let output = canary(&["node", "--config", &json, "--join", &cluster.data(1).to_string()]);
    assert!(said(&output).contains("must have a name that ends in .toml"), "{}", said(&output));
    let output = canary(&["node", "--config", "x.toml", "--id", "3"]);
    assert!(!output.status.success() && said(&output).contains("--join"), "{}", said(&output));

    // A change that is under way comes first.
    signal(&cluster, 2, Signal::SIGSTOP);
    let first = send(cluster.data(1), "POST", "/members/dismiss", r#"{"id": 2}"#).await.expect("an answer");
    assert_eq!(first.status(), 202);
    let second = send(cluster.data(1), "POST", "/members/dismiss", r#"{"id": 2}"#).await.expect("an answer");
    let why = String::from_utf8_lossy(second.body()).into_owned();
    assert!(second.status() == 409 && why.contains("is under way: n2 leaves"), "{why}");
    let told = shown(&cluster);
    assert!(told.contains("last change: n2 leaves: under way"), "{told}");
    signal(&cluster, 2, Signal::SIGCONT);
    until(&cluster, 1, "n2 has left", |status| members(status) == [1]).await;
    let last = canary(&["remove", "1", "--coordinator", &cluster.data(1).to_string()]);
    assert!(said(&last).contains("n1 coordinates: let another member take over first"), "{}", said(&last));
    cluster.kill(2);
}

#[tokio::test]
async fn a_dead_member_is_dismissed_and_hears_of_it() {
    let mut cluster = Cluster::prepare(3, "").with("vote_ms = 600_000", "vote_ms = 2_000").started().await;
    roll_out(&cluster, 1, "v2");
    cluster.kill(3);
    until_told(&cluster, "unreachable").await;
    // Nothing is committed without its vote, until it is dismissed.
    cluster.roll_out(r#"{"model": "v3", "steps": [100], "gates": "off"}"#).await;
    let rollout = wait_for("the rollout is over", async || {
        cluster.rollout().await.filter(|rollout| rollout.course.is_over())
    })
    .await;
    assert_eq!(rollout.why.as_deref(), Some("no vote from n3 in time"), "{rollout:?}");
    let done = must(&cluster, "canary remove 3 --gone");
    assert_eq!(done, "n3, which is gone, is dismissed: done\n");
    roll_out(&cluster, 1, "v4");
    start(&mut cluster, 3, "canary node --config coalmine-out/canary/node-3.toml");
    let status = until(&cluster, 3, "it has heard", |status| status.joining.is_some()).await;
    assert!(status.joining.as_ref().is_some_and(|why| why.starts_with("it was dismissed by")), "{status:?}");
    assert_eq!(predict(&cluster, 3).await.0, 503);
    until_logged(&cluster, 3, "is a member no longer").await;
    until_told(&cluster, "n3 is not a member of the cluster, and serves nothing: it was dismissed by").await;
    cluster.kill(3);
    start(&mut cluster, 3, "canary node --config coalmine-out/canary/node-3.toml --join 127.0.0.1:8711");
    until(&cluster, 3, "it is a member", |status| status.joining.is_none()).await;
    roll_out(&cluster, 1, "v5");
    cluster.settle().await;
}

/// All who stay vote on who goes: of two that are gone one must be there again, if without its disk.
#[tokio::test]
async fn of_two_that_are_gone_one_is_started_again() {
    let cluster = Cluster::prepare(3, "").with("vote_ms = 600_000", "vote_ms = 2_000");
    let mut cluster = cluster.started().await;
    roll_out(&cluster, 1, "v2");
    cluster.kill(2);
    cluster.kill(3);
    let refused = must_not(&cluster, "canary remove 3 --gone");
    assert!(
        refused.contains("n3, which is gone, is dismissed: aborted: no vote from n2 in time"),
        "{refused}"
    );
    must(&cluster, "rm coalmine-out/canary/journal/node-2.journal");
    start(&mut cluster, 2, "canary node --config coalmine-out/canary/node-2.toml");
    cluster.wait_until_up(2).await;
    must(&cluster, "canary remove 3 --gone");
    roll_out(&cluster, 1, "v3");
    assert_eq!(members(&until(&cluster, 2, "it votes", |status| status.routing.version == 3).await), [1, 2]);
}

const TAKE_OVER: &str = "canary forget-coordinator 1 --node 127.0.0.1:8712";

#[tokio::test]
async fn a_coordinator_that_is_gone_is_succeeded() {
    let mut cluster = Cluster::start(3, "").await;
    roll_out(&cluster, 1, "v2");
    let refused = must_not(&cluster, TAKE_OVER);
    let why = "n1, the coordinator, has not been silent for 2 heartbeats";
    assert!(refused.contains(why), "{refused}");
    cluster.kill(1);
    let done = wait_for("it is silent", async || {
        let (is_done, said) = run(&cluster, TAKE_OVER);
        assert!(is_done || said.contains(why), "{said}");
        is_done.then_some(said)
    })
    .await;
    assert_eq!(done, "n2 coordinates, and n1 is dismissed\n");
    roll_out(&cluster, 2, "v3");
    roll_out(&cluster, 3, "v4"); // it knows whom to ask
    let status =
        until(&cluster, 3, "it serves v4", |status| status.routing.stable_model_id.as_str() == "v4").await;
    assert_eq!((members(&status), status.coordinator), (vec![2, 3], NodeId(2)));

    // The old one comes back, serves no more, and says why.
    cluster.spawn(1);
    let status = until(&cluster, 1, "it has heard", |status| status.joining.is_some()).await;
    assert_eq!(predict(&cluster, 1).await.0, 503);
    assert!(status.joining.as_ref().is_some_and(|why| why.starts_with("it was dismissed by")), "{status:?}");
    let told = until_told(&cluster, "n1 is not a member of the cluster").await;
    assert!(
        told.contains("n2 (coordinates), n3\nlast change: n1, which is gone, is dismissed: done"),
        "{told}"
    );
    let asked = canary(&["rollout", "v5", "--coordinator", &cluster.data(1).to_string()]);
    assert!(said(&asked).contains("n1 is not a member of the cluster"), "{}", said(&asked));

    // As a participant it is welcome.
    cluster.kill(1);
    must(&cluster, "rm coalmine-out/canary/journal/node-1.journal");
    must(&cluster, "mv coalmine-out/canary/node-1.toml coalmine-out/canary/node-1.toml.old");
    let (control, data) = (cluster.control(1).to_string(), cluster.data(1).to_string());
    let line = "canary node --config coalmine-out/canary/node-1.toml --join 127.0.0.1:8712 --id 1";
    let words = line_of(&cluster, line);
    let more = [&words[4..], &["--control".into(), control, "--data".into(), data]].concat();
    cluster.spawn_with(1, &more.iter().map(String::as_str).collect::<Vec<_>>());
    until(&cluster, 1, "it is a member", |status| status.joining.is_none()).await;
    roll_out(&cluster, 2, "v6");
    let status =
        until(&cluster, 1, "it serves v6", |status| status.routing.stable_model_id.as_str() == "v6").await;
    assert_eq!((members(&status), status.coordinator), (vec![1, 2, 3], NodeId(2)));

    // Whoever loses its disk asks the one that its file names.
    cluster.kill(3);
    must(&cluster, "rm coalmine-out/canary/journal/node-3.journal");
    cluster.spawn(3);
    until_told(
        &cluster,
        "n3 is not a member of the cluster, and serves nothing: waiting to be admitted by n1",
    )
    .await;
    cluster.kill(3);
    cluster.rewrite(3, "id = 1\nrole = \"coordinator\"", "id = 1\nrole = \"participant\"");
    cluster.rewrite(3, "id = 2\nrole = \"participant\"", "id = 2\nrole = \"coordinator\"");
    cluster.restart(3).await;
    roll_out(&cluster, 2, "v7");
}

/// Who came later takes over, takes others in, and takes in those again who lost their disks.
#[tokio::test]
async fn a_newcomer_can_coordinate() {
    let mut cluster = Cluster::start(2, "").await;
    let (at, config) = (cluster.data(1).to_string(), cluster.control(3).to_string());
    let data = cluster.data(3).to_string();
    cluster.spawn_with(3, &["--join", &at, "--control", &config, "--data", &data]);
    until(&cluster, 3, "it is a member", |status| status.joining.is_none()).await;
    cluster.kill(1);
    wait_for("n1 is silent", async || {
        let output = canary(&["forget-coordinator", "1", "--node", &data]);
        output.status.success().then_some(())
    })
    .await;
    roll_out(&cluster, 3, "v2");
    let (control4, data4) = (cluster.control(4).to_string(), cluster.data(4).to_string());
    cluster.spawn_with(4, &["--join", &data, "--control", &control4, "--data", &data4]);
    until(&cluster, 4, "it is a member", |status| status.joining.is_none()).await;
    roll_out(&cluster, 4, "v3");

    cluster.kill(2);
    fs::remove_file(cluster.journal(2)).expect("it had one");
    let file = fs::read_to_string(cluster.config(2)).expect("a config");
    let file = file.replace("role = \"coordinator\"", "role = \"participant\"");
    let file = file.replacen("[timeouts]", "founders = [1, 2]\n[timeouts]", 1);
    let third =
        format!("[[peers]]\nid = 3\nrole = \"coordinator\"\ncontrol = \"{config}\"\ndata = \"{data}\"\n");
    fs::write(cluster.config(2), file + &third).expect("written");
    cluster.restart(2).await;
    roll_out(&cluster, 3, "v4");
    let status =
        until(&cluster, 2, "it serves v4", |status| status.routing.stable_model_id.as_str() == "v4").await;
    assert_eq!((members(&status), status.coordinator), (vec![2, 3, 4], NodeId(3)));
}

/// The coordinator has decided, and told nobody; all others have voted.
async fn decided_and_told_nobody(cluster: &mut Cluster) {
    for id in [2, 3] {
        signal(cluster, id, Signal::SIGSTOP);
    }
    cluster.roll_out(r#"{"model": "v2", "steps": [100], "gates": "off"}"#).await;
    // What it has sent is on its way, and it hears no answer yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    signal(cluster, 1, Signal::SIGSTOP);
    for id in [2, 3] {
        signal(cluster, id, Signal::SIGCONT);
        until(cluster, id, "it has voted", |status| status.in_doubt.is_some()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.kill(id);
    }
    signal(cluster, 1, Signal::SIGCONT);
    until(cluster, 1, "it has committed", |status| status.routing.version == 1).await;
    cluster.kill(1);
    for id in [2, 3] {
        cluster.restart(id).await;
        until(cluster, id, "it is in doubt", |status| status.in_doubt.is_some()).await;
    }
}

const RESOLVE: &str = "canary resolve 1.1 commit --node 127.0.0.1:8712";

#[tokio::test]
async fn what_only_a_lost_coordinator_knew_an_operator_tells() {
    let mut cluster = Cluster::start(3, "").await;
    // As long as the coordinator is heard of, nobody's word counts: neither while it waits for votes.
    signal(&cluster, 3, Signal::SIGSTOP);
    cluster.roll_out(r#"{"model": "v9", "steps": [100], "gates": "off"}"#).await;
    until(&cluster, 2, "it is in doubt", |status| status.in_doubt.is_some()).await;
    let refused = must_not(&cluster, RESOLVE);
    assert!(refused.contains("n1, the coordinator, has not been silent for 2 heartbeats"), "{refused}");
    let at = cluster.data(1).to_string();
    let output = canary(&["abort", "--coordinator", &at]);
    assert!(output.status.success(), "{}", said(&output));
    signal(&cluster, 3, Signal::SIGCONT);
    cluster.settle().await;
    let refused = must_not(&cluster, RESOLVE);
    assert!(refused.contains("this node is not in doubt about 1.1"), "{refused}");

    let mut cluster = Cluster::start(3, "").await;
    decided_and_told_nobody(&mut cluster).await;
    let told =
        until_told(&cluster, "n2 is in doubt about 1.1: it serves the old weights until it knows").await;
    assert!(told.contains("n3 is in doubt about 1.1"), "{told}");
    assert_eq!(predict(&cluster, 2).await.0, 200);
    // Until that is told nobody takes over.
    let takes_over = wait_for("n1 is silent", async || {
        let mut takes_over = begin(&cluster, TAKE_OVER);
        tokio::time::sleep(Duration::from_millis(500)).await;
        takes_over.0.try_wait().expect("it is ours").is_none().then_some(takes_over)
    })
    .await;
    let waits = "n2 is to coordinate: n3 is in doubt about 1.1, which n1 may have decided either way: \
                 `canary resolve 1.1` at n3 tells how it ended";
    until_told(&cluster, waits).await;
    let done = must(&cluster, RESOLVE);
    assert_eq!(done, "1.1 is committed, by an operator's word\n");
    finish(takes_over).await;
    let status =
        until(&cluster, 3, "it serves what was committed", |status| status.routing.version == 2).await;
    assert_eq!((members(&status), status.routing.stable_model_id.as_str()), (vec![2, 3], "v2"));
    roll_out(&cluster, 2, "v3");
    // The old one has committed the same, and nobody contradicts it.
    cluster.spawn(1);
    let status = until(&cluster, 1, "it has heard", |status| status.joining.is_some()).await;
    assert!(!status.split_brain);
}

/// What an operator says wrongly is told as soon as the one that knew it is there again.
#[tokio::test]
async fn a_wrong_word_is_found_out() {
    let mut cluster = Cluster::start(3, "").await;
    decided_and_told_nobody(&mut cluster).await;
    let (at, other) = (cluster.data(2).to_string(), cluster.data(3).to_string());
    wait_for("n1 is silent", async || {
        canary(&["resolve", "1.1", "abort", "--node", &at]).status.success().then_some(())
    })
    .await;
    wait_for("n3 has heard", async || {
        let said = said(&canary(&["resolve", "1.1", "abort", "--node", &other]));
        said.contains("is not in doubt").then_some(())
    })
    .await;
    cluster.spawn(1);
    until_logged(&cluster, 2, "AN OPERATOR RESOLVED 1.1: ABORT").await;
    // Without their votes v1 could not have come about: they have nothing more to say about it.
    for id in [2, 3] {
        until_logged(&cluster, id, "v1 was committed since, or an operator's word was wrong").await;
    }
    roll_out(&cluster, 1, "v3");
    let status = until(&cluster, 3, "it serves v3", |status| status.routing.version == 2).await;
    assert_eq!(status.routing.stable_model_id.as_str(), "v3");
}

/// The coordinator's machine is there, and its disk is not: as long as somebody is in doubt it stays out.
#[tokio::test]
async fn a_coordinator_with_a_new_disk_waits_for_the_operator() {
    let mut cluster = Cluster::start(3, "").await;
    decided_and_told_nobody(&mut cluster).await;
    must(&cluster, "rm coalmine-out/canary/journal/node-1.journal");
    start(&mut cluster, 1, "canary node --config coalmine-out/canary/node-1.toml");
    let waits = "n1 is not a member of the cluster, and serves nothing: n2 is in doubt about 1.1, and only the lost disk \
                 may have known: `canary resolve 1.1` at n2 tells how it ended, if anybody knows";
    until_told(&cluster, waits).await;
    wait_for("n1 is silent", async || run(&cluster, RESOLVE).0.then_some(())).await;
    until(&cluster, 1, "it is a member", |status| status.joining.is_none()).await;
    roll_out(&cluster, 1, "v3");
    let (_, status) = cluster.settle().await;
    assert_eq!(status.routing.version, 2);
}

/// A coordinator that comes back with its disk needs nobody's word.
#[tokio::test]
async fn a_coordinator_that_comes_back_tells_what_it_decided() {
    let mut cluster = Cluster::start(3, "").await;
    decided_and_told_nobody(&mut cluster).await;
    start(&mut cluster, 1, "canary node --config coalmine-out/canary/node-1.toml");
    let (rollout, status) = cluster.settle().await;
    assert_eq!((rollout.course, status.routing.version), (Progress::Completed, 1));
}

#[tokio::test]
async fn a_foreign_journal_is_refused_by_name() {
    let mut cluster = Cluster::start(3, "").await;
    roll_out(&cluster, 1, "v2");
    let mut other = Cluster::start(3, "").await;
    roll_out(&other, 1, "w2");
    let ours = cluster.look(1).await.and_then(|status| status.cluster).expect("a member");
    let theirs = other.look(1).await.and_then(|status| status.cluster).expect("a member");

    // That of another node.
    cluster.kill(3);
    other.kill(3);
    fs::rename(cluster.journal(3), cluster.dir().join("kept")).expect("it had one");
    fs::copy(cluster.journal(2), cluster.journal(3)).expect("it can be read");
    cluster.spawn(3);
    let why = format!("it is the journal of n2, of cluster {ours}, and this is n3");
    until_logged(&cluster, 3, &why).await;
    wait_for("its process ends", async || {
        send(cluster.data(3), "GET", "/livez", "").await.is_err().then_some(())
    })
    .await;

    // That of the same node of another cluster.
    fs::copy(other.journal(3), cluster.journal(3)).expect("it can be read");
    cluster.take(3).wait().expect("it ends");
    cluster.spawn(3);
    until_logged(&cluster, 1, &format!("n3 speaks for another cluster, {theirs}: this is {ours}")).await;
    let why = format!(
        "its journal is of cluster {theirs}, n1 of {ours}, n2 of {ours}: put its own back, or delete it"
    );
    until_told(&cluster, &format!("n1 does not hear n3, which speaks for another cluster, {theirs}")).await;
    let told =
        until_told(&cluster, &format!("n3 is not a member of the cluster, and serves nothing: {why}")).await;
    assert!(told.contains(&format!("cluster {ours}: n1 (coordinates), n2, n3")), "{told}");
    assert!(!told.contains("SPLIT BRAIN"), "{told}");
    assert_eq!(predict(&cluster, 3).await.0, 503);
    assert_eq!(ready(&cluster, 3).await, (503, format!("it is not a member: {why}")));
    for id in [1, 2] {
        let (code, answer) = predict(&cluster, id).await;
        assert!(code == 200 && answer.contains("\"v2\""), "{answer}");
    }
    // Its own, put back, and all is well.
    cluster.kill(3);
    fs::rename(cluster.dir().join("kept"), cluster.journal(3)).expect("it was kept");
    cluster.restart(3).await;
    roll_out(&cluster, 1, "v3");
    cluster.settle().await;
}

/// A backup is older than what the node has said since; what follows from it is no history.
#[tokio::test]
async fn an_old_backup_is_found_out() {
    let mut cluster = Cluster::start(3, "").await;
    cluster.kill(3);
    fs::copy(cluster.journal(3), cluster.dir().join("backup")).expect("it can be read");
    cluster.restart(3).await;
    for model in ["v2", "v3", "v4"] {
        roll_out(&cluster, 1, model);
    }
    cluster.kill(3);
    fs::copy(cluster.dir().join("backup"), cluster.journal(3)).expect("it can be read");
    cluster.spawn(3);
    until_logged(&cluster, 3, "ITS JOURNAL IS AN OLD ONE").await;
    until(&cluster, 3, "it serves what was committed", |status| status.routing.version == 3).await;
    roll_out(&cluster, 1, "v5");
    cluster.settle().await;
}

#[tokio::test]
async fn files_that_differ_are_told_by_field() {
    let mut cluster = Cluster::start(3, "").await;
    roll_out(&cluster, 1, "v2");
    cluster.kill(3);
    fs::remove_file(cluster.journal(3)).expect("it had one");
    cluster.rewrite(3, "health_window_ms = 200", "health_window_ms = 200\ninitial_model = \"v9\"");
    cluster.rewrite(3, "resend_ms = 100", "resend_ms = 101");
    cluster.spawn(3);
    let here = "initial_model is v1 here and v9 there; timeouts.resend_ms is 100 here and 101 there";
    let there = "initial_model is v9 here and v1 there; timeouts.resend_ms is 101 here and 100 there";
    until_logged(&cluster, 1, &format!("n3 was told something else of the cluster: {here}")).await;
    until_logged(&cluster, 3, &format!("n1 was told something else of the cluster: {there}")).await;
    let told = until_told(&cluster, &format!("n1 was told something else of the cluster: {there}")).await;
    assert!(
        told.contains(&format!("n1 says that n3 was told something else of the cluster: {here}")),
        "{told}"
    );
    assert_eq!(predict(&cluster, 3).await.0, 503);
    // Put right, it is taken in, and nobody complains any more.
    cluster.kill(3);
    cluster.rewrite(3, "\ninitial_model = \"v9\"", "");
    cluster.rewrite(3, "resend_ms = 101", "resend_ms = 100");
    cluster.restart(3).await;
    let told =
        wait_for("all is well", async || Some(shown(&cluster)).filter(|told| !told.contains("warning")))
            .await;
    assert!(told.contains("n1 (coordinates), n2, n3"), "{told}");
    roll_out(&cluster, 1, "v3");
}

/// A cluster whose files differ does not form, and says why.
#[tokio::test]
async fn a_cluster_of_different_files_does_not_form() {
    let mut cluster = Cluster::prepare(2, "");
    cluster.rewrite(2, "id = 1\nrole = \"coordinator\"", "id = 1\nrole = \"participant\"");
    cluster.rewrite(2, "id = 2\nrole = \"participant\"", "id = 2\nrole = \"coordinator\"");
    cluster.spawn(1);
    cluster.spawn(2);
    until_told(&cluster, "coordinator is n1 here and n2 there").await;
    for id in [1, 2] {
        until_logged(&cluster, id, "was told something else of the cluster: coordinator is").await;
        assert_eq!(predict(&cluster, id).await.0, 503);
    }
}

/// A cluster of `up`, which ends with this.
struct Up {
    process: Child,
    _dir: tempfile::TempDir,
    first_port: u16,
}

impl Up {
    fn start(nodes: u16) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let first = crate::support::free_ports(2 * nodes);
        let child = Command::new(CANARY)
            .args(["up", "--nodes", &nodes.to_string(), "--control-port", &first.to_string()])
            .args(["--data-port", &(first + nodes).to_string(), "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        Self { process: child, _dir: dir, first_port: first + nodes }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn larger_clusters_form_and_commit_in_time() {
    for nodes in [5, 9, 25] {
        let up = Up::start(nodes);
        let at = |id: u16| std::net::SocketAddr::from(([127, 0, 0, 1], up.first_port + id - 1));
        for id in 1..=nodes {
            wait_for("it is ready", async || {
                send(at(id), "GET", "/readyz", "").await.ok().filter(|answer| answer.status() == 200)
            })
            .await;
        }
        let began = Instant::now();
        let body = r#"{"model": "v2", "steps": [100], "gates": "off"}"#;
        let accepted = send(at(1), "POST", "/rollouts", body).await.expect("an answer");
        assert_eq!(accepted.status(), 202);
        for id in 1..=nodes {
            wait_for("it serves v2", async || {
                let status: StatusView = read_json(&send(at(id), "GET", "/status", "").await.ok()?).ok()?;
                (status.routing.version == 1).then_some(())
            })
            .await;
        }
        let took = began.elapsed();
        println!("{nodes} nodes: {took:?}");
        assert!(took < Duration::from_secs(2), "{nodes} nodes: {took:?}");
    }
}

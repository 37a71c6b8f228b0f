//! Who may ask what of real processes, and with which words the others are sent away.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::any;
use coalmine_real::rollout::wire::Progress;
use serde_json::Value;

use super::support::upstream::Upstream;
use super::support::{CANARY, Cluster, canary, free_ports, send, send_request, stderr, wait_for};
use super::up_with;

pub(crate) const TOKEN: &str = "the-operators-own-token";
const TOKENS: &str = "[access]\ntokens = \"tokens.txt\"\n";

/// A file that only its owner can read.
fn secret(file: &Path, text: &str) -> PathBuf {
    fs::write(file, text).expect("written");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("it is ours");
    file.to_owned()
}

/// A cluster with an operator, whose files end with this; not started yet.
pub(crate) fn prepare(nodes: usize, more: &str) -> (Cluster, String) {
    let cluster = Cluster::prepare(nodes, more);
    let file = secret(&cluster.dir().join("tokens.txt"), &format!("alice {TOKEN}\n"));
    (cluster, file.to_str().expect("a path").to_owned())
}

/// The program with this variable.
fn canary_with(variable: &str, args: &[&str]) -> Output {
    let mut command = Command::new(CANARY);
    command.args(args).env("COALMINE_TOKEN_FILE", variable).stdin(Stdio::null());
    command.output().expect("the program runs")
}

/// A server that complains, and says of what it has heard.
async fn tell(headers: HeaderMap) -> (StatusCode, String) {
    let heard = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
    let heard =
        serde_json::json!({ "error": format!("I have heard {}", heard.collect::<Vec<_>>().join(", ")) });
    (StatusCode::CONFLICT, heard.to_string())
}

fn request(method: &str, path: &str, token: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("authorization", token);
    request.body(Bytes::from("{}")).expect("valid")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_steers_shows_a_token() {
    let (cluster, file) = prepare(2, TOKENS);
    let mut cluster = cluster.started().await;
    let coordinator = cluster.data(1).to_string();
    let closed = [
        ("POST", "/rollouts"),
        ("POST", "/rollouts/pause"),
        ("POST", "/rollouts/resume"),
        ("POST", "/rollouts/promote"),
        ("POST", "/rollouts/abort"),
        ("POST", "/health/report"),
        ("GET", "/nowhere"),
    ];
    for (method, path) in closed {
        for token in ["Bearer the-operators-old-token", ""] {
            let answer =
                send_request(cluster.data(1), request(method, path, token)).await.expect("an answer");
            let json: Value = serde_json::from_slice(answer.body()).expect("JSON");
            assert!(json["error"].as_str().is_some_and(|why| why.starts_with(&format!("{method} {path}: "))));
            assert!(answer.status() == 401 && answer.headers()["www-authenticate"] == "Bearer", "{answer:?}");
        }
    }
    for path in
        ["/status", "/rollouts", "/routing/state", "/health/snapshot", "/health/live", "/health/ready"]
    {
        assert_eq!(send(cluster.data(1), "GET", path, "").await.expect("an answer").status(), 200, "{path}");
    }
    assert_eq!(send(cluster.data(2), "POST", "/predict", "{}").await.expect("an answer").status(), 200);

    let stranger = canary(&["rollout", "v2", "--no-gates", "--coordinator", &coordinator]);
    let said = stderr(&stranger);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(
        said.contains("POST /rollouts: this needs a token") && said.contains("--token-file FILE"),
        "{said}"
    );
    // It is shown to whom one is sent on to, as well.
    let other = cluster.data(2).to_string();
    let hold = ["--steps", "5,100", "--pause-ms", "3600000", "--no-wait"];
    let rollout =
        [&["rollout", "v2", "--no-gates", "--coordinator", &other, "--token-file", &file], &hold[..]];
    let output = canary(&rollout.concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let output = canary_with(&file, &["pause", "--coordinator", &coordinator]);
    assert!(output.status.success(), "{}", stderr(&output));
    for command in ["resume", "promote"] {
        let output = canary(&[command, "--coordinator", &coordinator, "--token-file", &file]);
        assert!(output.status.success(), "{command}: {}", stderr(&output));
        let refused = canary(&[command, "--coordinator", &coordinator]);
        assert!(stderr(&refused).contains("this needs a token"), "{}", stderr(&refused));
    }
    let output = canary_with(&file, &["abort", "--coordinator", &coordinator]);
    assert!(output.status.success(), "{}", stderr(&output));
    cluster.until(Progress::Returned).await;
    for id in [1, 2] {
        assert!(!cluster.log(id).contains(TOKEN), "a token is in the log: {}", cluster.log(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_predictions_can_be_closed_and_a_token_goes_no_further() {
    let upstream = Upstream::of(Router::new().fallback(any(tell))).await;
    let access = format!("{TOKENS}read = \"token\"\npredict = \"token\"\n");
    let (mut cluster, file) = prepare(1, &format!("{access}{}", upstream.backend("v1")));
    let data = cluster.data(1).to_string();
    cluster.spawn(1);
    let status = wait_for("n1 serves", async || {
        let output = canary(&["status", "--nodes", &data, "--token-file", &file, "--format", "json"]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await;
    assert!(status.contains("\"node\": 1"), "{status}");
    for path in ["/status", "/health/ready", "/health/live", "/rollouts"] {
        assert_eq!(send(cluster.data(1), "GET", path, "").await.expect("an answer").status(), 401, "{path}");
    }
    assert_eq!(send(cluster.data(1), "POST", "/predict", "{}").await.expect("an answer").status(), 401);
    for args in [["status", "--nodes", &data], ["predict", "--node", &data]] {
        let output = canary(&args);
        let said = format!("{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
        assert!(!output.status.success() && said.contains("; `--token-file FILE` shows"), "{said}");
    }
    let said = stderr(&canary_with(&file, &["predict", "--node", &data]));
    assert!(
        said.contains("1 of 1 requests were refused (status 4xx)"),
        "the model's server was asked: {said}"
    );
    // What the model's server hears of the request does not have the token.
    let bearer = format!("Bearer {TOKEN}");
    let answer =
        send_request(cluster.data(1), request("POST", "/predict", &bearer)).await.expect("an answer");
    let heard = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(answer.status() == 409 && heard.contains("I have heard"), "{heard}");
    assert!(!heard.contains(TOKEN) && !heard.contains("authorization"), "{heard}");
}

/// A key for the model's server is none of ours.
#[tokio::test(flavor = "multi_thread")]
async fn where_predictions_are_open_a_key_is_the_models() {
    let upstream = Upstream::of(Router::new().fallback(any(tell))).await;
    let (cluster, _) = prepare(1, &format!("{TOKENS}{}", upstream.backend("v1")));
    let cluster = cluster.started().await;
    let answer = send_request(cluster.data(1), request("POST", "/predict", "Bearer of-the-model")).await;
    let answer = answer.expect("an answer");
    let heard = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(heard.contains("authorization: Bearer of-the-model"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_calls_a_node_by_its_own_name_is_refused() {
    let cluster = Cluster::start(1, "").await;
    let data = cluster.data(1);
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(data).expect("it listens");
        let request = format!("{head}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let (port, abort) = (data.port(), "POST /rollouts/abort HTTP/1.1");
    for (head, expected) in [
        (format!("GET /status HTTP/1.1\r\nhost: {data}"), "200"),
        (format!("GET /health/ready HTTP/1.1\r\nhost: localhost:{port}"), "200"),
        (format!("GET /status HTTP/1.1\r\nhost: rebound.example:{port}"), "421"),
        (format!("GET /health/live HTTP/1.1\r\nhost: rebound.example:{port}"), "421"),
        ("GET /status HTTP/1.1".into(), "400"),
        (format!("{abort}\r\nhost: {data}"), "409"),
        (format!("{abort}\r\nhost: {data}\r\norigin: http://{data}"), "409"),
        (format!("{abort}\r\nhost: {data}\r\norigin: https://evil.example"), "403"),
        (format!("{abort}\r\nhost: rebound.example\r\norigin: http://rebound.example"), "421"),
    ] {
        let answer = ask(&head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}: {answer}");
        assert!(expected == "200" || answer.contains("{\"error\":"), "{head}: {answer}");
    }
}

#[test]
fn a_node_does_not_start_with_tokens_that_are_none() {
    let (cluster, file) = prepare(1, TOKENS);
    let config = cluster.config(1);
    let start = || {
        let output = canary(&["node", "--config", config.to_str().expect("a path")]);
        (output.status.code(), stderr(&output))
    };
    let expect = |words: &[&str]| {
        let (code, said) = start();
        let all = words.iter().all(|word| said.contains(word));
        assert!(
            code == Some(2) && all && said.lines().count() == 1 && !said.contains(TOKEN),
            "{code:?} {said}"
        );
    };
    secret(Path::new(&file), &format!("alice {TOKEN}\nbob {TOKEN}"));
    expect(&["tokens.txt: line 2: bob has the token of line 1"]);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
    expect(&["tokens.txt: others than its owner", "(mode 0644)", "chmod 600"]);
    fs::remove_file(&file).expect("it is there");
    expect(&["tokens.txt: ", "o such file"]);
    let text = fs::read_to_string(&config).expect("a config");
    fs::write(&config, text.replace(TOKENS, "[access]\nread = \"token\"\n")).expect("written");
    expect(&["node-1.toml: access.read: \"token\" asks for a token, and access.tokens names no file"]);
}

/// What a client cannot read is not sent away as if it were nothing.
#[test]
fn a_client_whose_token_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let path = file.to_str().expect("a path");
    secret(&file, "short");
    for output in [canary(&["status", "--token-file", path]), canary_with(path, &["predict"])] {
        let said = stderr(&output);
        assert!(output.status.code() == Some(2) && said.contains("line 1: a token has 16 to 128"), "{said}");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("it is ours");
    let said = stderr(&canary(&["abort", "--token-file", path]));
    assert!(said.contains(&format!("--token-file {path}: others than its owner")), "{said}");
    let said = stderr(&canary_with("/nowhere", &["abort"]));
    assert!(said.contains("COALMINE_TOKEN_FILE=/nowhere: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_draws_a_token_if_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("c");
    let port = free_ports(6);
    let up = up_with(&dir, port, &["--tokens"]);
    let file = dir.join("operator.token");
    let mode = fs::metadata(&file).expect("it was drawn").permissions().mode() & 0o777;
    let token = fs::read_to_string(&file).expect("it is ours");
    let drawn = token.trim_end().strip_prefix("operator ").expect("its name");
    assert_eq!((mode, drawn.len()), (0o600, 64), "{mode:o} {token}");
    let path = file.to_str().expect("a path");
    assert!(up.introduction.contains(&format!("export COALMINE_TOKEN_FILE={path}\n")), "{}", up.introduction);
    assert!(!up.introduction.contains(drawn), "{}", up.introduction);
    let rollout = ["rollout", "v2", "--no-gates", "--coordinator", &up.data[0]];
    assert!(stderr(&canary(&rollout)).contains("this needs a token"));
    let output = canary_with(path, &rollout);
    assert!(output.status.success(), "{}", stderr(&output));
    drop(up);

    // It stays what it is when the cluster goes on, also where reads need it.
    for id in 1..=3 {
        let config = dir.join(format!("node-{id}.toml"));
        let text = fs::read_to_string(&config).expect("a config");
        fs::write(&config, text + "read = \"token\"\n").expect("written");
    }
    let again = up_with(&dir, port, &["--tokens"]);
    assert_eq!(fs::read_to_string(&file).expect("it is ours"), token);
    assert!(!canary(&["status", "--nodes", &again.data.join(",")]).status.success());
    assert!(canary_with(path, &["status", "--nodes", &again.data.join(",")]).status.success());
    drop(again);

    // A cluster that has none does not get one behind its configs' back.
    let plain = folder.path().join("plain");
    drop(up_with(&plain, free_ports(6), &[]));
    let output = canary(&["up", "--tokens", "--dir", plain.to_str().expect("a path")]);
    let said = stderr(&output);
    assert!(
        output.status.code() == Some(2) && said.contains("node-1.toml has no [access] with tokens"),
        "{said}"
    );
    assert!(!plain.join("operator.token").exists());
}

/// In its own folder, a cluster's token is found without a word, and is shown to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_cluster_is_for_its_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("coalmine-out/canary");
    let up = up_with(&dir, free_ports(6), &["--tokens"]);
    let upstream = Upstream::of(Router::new().fallback(any(tell))).await;
    let elsewhere = upstream.address.to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(CANARY);
        command.args(args).current_dir(folder.path()).stdin(Stdio::null());
        command.output().expect("the program runs")
    };
    let said = stderr(&run(&["abort", "--coordinator", &elsewhere]));
    assert!(said.contains("I have heard") && !said.contains("authorization"), "{said}");
    let file = "coalmine-out/canary/operator.token";
    let said = stderr(&run(&["abort", "--coordinator", &elsewhere, "--token-file", file]));
    assert!(said.contains("authorization: Bearer "), "{said}");
    drop(up);
}

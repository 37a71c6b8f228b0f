//! The edge of the process: arguments that are no text, output that nobody takes, files that are no files, folders with
//! names that a shell would take apart.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::upstream::Upstream;
use super::support::{CANARY, Cluster, canary, free_ports, send, stderr, wait_for};
use super::up_in;

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let said = stderr(output);
    let all = words.iter().all(|word| said.contains(word));
    assert!(output.status.code() == Some(code) && all && !said.contains("panicked"), "{output:?}");
}

#[test]
fn arguments_that_are_no_text_are_refused_in_words() {
    for line in ["rollout", "status --nodes", ""] {
        let bad: &OsStr = OsStr::from_bytes(b"\xff\xfe");
        let output =
            Command::new(CANARY).args(line.split_whitespace()).arg(bad).output().expect("the program runs");
        says(&output, 2, &[]);
    }
}

/// The program's own name is an argument, too, and begins the lines that it suggests.
#[test]
fn a_program_whose_name_is_no_text_suggests_lines_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_ports(4);
    let ports = [port.to_string(), (port + 2).to_string()];
    let mut child = Command::new(CANARY)
        .arg0(OsStr::from_bytes(b"\xffcanary"))
        .args(["up", "--nodes", "2", "--control-port", &ports[0], "--data-port", &ports[1], "--dir"])
        .arg(dir.path())
        .env_remove("CARGO")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let said: Vec<_> =
        lines.map_while(Result::ok).take_while(|line| !line.contains("Ctrl-C stops")).collect();
    let _ = child.kill();
    let _ = child.wait();
    let line = said.iter().find(|line| line.contains(" status "));
    let line = line.unwrap_or_else(|| panic!("{said:?}")).trim();
    let read_back = format!("set -- {line}; printf %s \"$1\"");
    let read_back = Command::new("sh").args(["-c", &read_back]).output().expect("there is a shell");
    assert_eq!(read_back.stdout, b"\xffcanary");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn output_that_cannot_be_written_is_an_error() {
    let cluster = Cluster::start(1, "").await;
    let data = cluster.data(1).to_string();
    let run = |args: &[&str]| {
        let full = File::options().write(true).open("/dev/full").expect("Linux has one");
        Command::new(CANARY).args(args).stdout(full).output().expect("the program runs")
    };
    let no_space = ["standard output: No space left on device"];
    says(&run(&["status", "--nodes", &data]), 1, &no_space);
    says(&run(&["status", "--nodes", &data, "--format", "json"]), 1, &no_space);
    says(&run(&["predict", "--node", &data]), 1, &no_space);
    says(&run(&["rollout", "v2", "--coordinator", &data, "--no-wait"]), 1, &no_space);
    says(&run(&["--help"]), 1, &no_space);
    // Whoever does not want to read more has read enough.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let gone = Command::new(CANARY).args(["status", "--nodes", &data]).stdout(writer).output();
    let gone = gone.expect("the program runs");
    assert_eq!((gone.status.code(), stderr(&gone)), (Some(0), String::new()));
}

/// A device never ends, a pipe never begins.
#[test]
fn files_that_are_no_files_are_named() {
    let cluster = Cluster::prepare(1, "");
    let config = cluster.config(1);
    let journal = cluster.journal(1);
    let journals = journal.parent().expect("it is in a folder");
    fs::create_dir(journals).expect("made");
    let node = |config: &Path| canary(&["node", "--config", config.to_str().expect("text")]);
    let make = |kind: &str, at: &Path| match kind {
        "folder" => fs::create_dir(at).expect("made"),
        "device" => symlink("/dev/zero", at).expect("made"),
        _ => assert!(Command::new("mkfifo").arg(at).status().is_ok_and(|made| made.success())),
    };
    let kinds = ["pipe", "folder", "device"];
    for kind in &kinds[..if Path::new("/dev/zero").exists() { 3 } else { 2 }] {
        let other = config.with_file_name(format!("{kind}.toml"));
        make(kind, &other);
        says(&node(&other), 2, &[&format!("{kind}.toml: "), kind]);
        let record = ["node", "--config", config.to_str().expect("text"), "--record"];
        says(&canary(&[&record[..], &[other.to_str().expect("text")]].concat()), 2, &["--record", kind]);
        make(kind, &journal);
        says(&node(&config), 1, &["node-1.journal: ", kind]);
        let _ = fs::remove_file(&journal).or_else(|_| fs::remove_dir(&journal));
    }
}

/// The line that starts a node again is pasted by somebody in a hurry.
#[tokio::test]
async fn the_line_that_starts_a_node_again_can_be_pasted() {
    let whole = tempfile::tempdir().expect("a folder");
    let dir = whole.path().join("it's a \"$HOME\" & `more`;");
    let mut cluster = up_in(&dir, free_ports(6));
    kill(Pid::from_raw(cluster.pids[1]), Signal::SIGKILL).expect("it runs");
    let mut errors = BufReader::new(cluster.child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(" node --config ") {
        line.clear();
        assert!(errors.read_line(&mut line).expect("UTF-8") > 0, "it ended");
    }
    let pasted = format!("exec {}", line.trim());
    let mut again = Command::new("sh")
        .args(["-c", &pasted])
        .current_dir("/")
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut said = String::new();
    let read = BufReader::new(again.stdout.take().expect("piped")).read_line(&mut said);
    let _ = again.kill();
    let _ = again.wait();
    assert!(read.is_ok() && said.starts_with("n2 participant"), "{pasted}: {said}");
}

/// More than a control port has places for strangers. The member that comes back finds its own.
#[tokio::test]
async fn strangers_that_hold_connections_do_not_keep_a_member_out() {
    let mut cluster = Cluster::start(2, "").await;
    cluster.kill(2);
    let control = cluster.control(1);
    let connect = |_| TcpStream::connect(control).expect("it listens");
    let strangers: Vec<_> = (0..300).map(connect).collect();
    cluster.restart(2).await;
    cluster.roll_out(r#"{"model": "v2", "steps": [100], "gates": "off"}"#).await;
    assert_eq!(cluster.settle().await.1.routing.stable_model_id.as_str(), "v2");
    drop(strangers);
}

/// A process that may open few files gives back what nobody uses.
#[tokio::test]
async fn a_node_out_of_files_still_answers() {
    let cluster = Cluster::prepare(1, "");
    let mut node = Command::new("sh")
        .args(["-c", "ulimit -n 128 && exec \"$0\" node --stop-with-parent --config \"$1\"", CANARY])
        .arg(cluster.config(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    let data = cluster.data(1);
    let up = async || send(data, "GET", "/health/live", "").await.ok();
    wait_for("it is up", up).await;
    let began = Instant::now();
    let strangers: Vec<_> = (0..300).map(|_| TcpStream::connect(data).expect("it listens")).collect();
    let live = send(data, "GET", "/health/live", "").await;
    let took = began.elapsed();
    let _ = node.kill();
    let _ = node.wait();
    assert!(live.is_ok_and(|answer| answer.status() == 200));
    assert!(took < Duration::from_secs(8), "it has waited until they were cut off: {took:?}");
    drop(strangers);
}

/// A node that listens everywhere does not say where; whoever has reached it knows.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_is_told_addresses_that_lead_somewhere() {
    let cluster = Cluster::start(1, "").await;
    let answer = send(cluster.data(1), "GET", "/members", "").await.expect("an answer");
    let mut members: Value = serde_json::from_slice(answer.body()).expect("JSON");
    for key in ["control", "data"] {
        let lives = members["members"][0][key].as_str().expect("an address").replace("127.0.0.1", "0.0.0.0");
        members["members"][0][key] = lives.into();
    }
    let told = members.to_string();
    let upstream = Upstream::of(Router::new().route("/members", any(move || std::future::ready(told)))).await;
    let (config, at) = (cluster.dir().join("new.toml"), upstream.address.to_string());
    let first = free_ports(2);
    let [control, data] = [first, first + 1].map(|port| format!("127.0.0.1:{port}"));
    let mut command = Command::new(CANARY);
    command.args(["node", "--stop-with-parent", "--join", &at, "--control", &control, "--data", &data]);
    command.arg("--config").arg(&config).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut node = command.spawn().expect("the program runs");
    let text = wait_for("its file is written", async || {
        fs::read_to_string(&config).ok().filter(|text| text.contains("[[peers]]"))
    })
    .await;
    node.kill().expect("it is ours");
    node.wait().expect("it ends");
    for address in [cluster.control(1), cluster.data(1)] {
        assert!(text.contains(&format!("\"{address}\"")) && !text.contains("0.0.0.0"), "{text}");
    }

    // And it is not asked to tell the others an address that leads nowhere.
    let everywhere = text.replacen(&control, "0.0.0.0:7712", 1);
    fs::write(&config, everywhere + "\n[tls]\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\n").expect("written");
    let output = canary(&["node", "--join", &at, "--config", config.to_str().expect("a path")]);
    let said = stderr(&output);
    assert!(output.status.code() == Some(2), "{said}");
    assert!(
        said.contains("new.toml: control: 0.0.0.0:7712 is no address at which others reach it"),
        "{said}"
    );
}

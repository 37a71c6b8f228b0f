//! How a node is run: when its disk fails, when nobody reads its log, when it is asked to stop; what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::Progress;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{CANARY, Cluster, PATIENCE, canary, send, stderr, wait_for};

/// Starts a node by a shell that does this first.
fn start_after(cluster: &Cluster, id: usize, first: &str, more: &[&str], stderr: Stdio) -> Child {
    Command::new("bash")
        .args(["-c", &format!("{first}; exec \"$0\" \"$@\""), CANARY, "node", "--stop-with-parent"])
        .args(more)
        .arg("--config")
        .arg(cluster.config(id))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("there is a shell")
}

/// What a process says on standard error, as it says it.
fn listen(child: &mut Child) -> Arc<Mutex<String>> {
    let (said, mut from) = (Arc::new(Mutex::new(String::new())), child.stderr.take().expect("piped"));
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            heard.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    });
    said
}

async fn json(of: SocketAddr, path: &str) -> (u16, Value) {
    let answer = send(of, "GET", path, "").await.expect("an answer");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
}

/// The value of a sample that has these labels, as they are written.
async fn sample(of: SocketAddr, name: &str) -> Option<f64> {
    let answer = send(of, "GET", "/metrics", "").await.ok()?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
}

async fn end_of(child: &mut Child) -> Option<i32> {
    wait_for("it ends", async || child.try_wait().expect("it is ours")).await.code()
}

/// The journal cannot grow beyond 6 KiB: what a full disk does to a node, without a disk.
const SMALL_DISK: &str = "trap '' XFSZ; ulimit -f 6";

#[tokio::test]
async fn a_full_disk_stops_voting_and_not_predicting() {
    let mut cluster = Cluster::prepare(2, "");
    cluster.spawn(1);
    let mut node = start_after(&cluster, 2, SMALL_DISK, &[], Stdio::piped());
    let said = listen(&mut node);
    let data = cluster.data(2);
    let ready = async || send(data, "GET", "/readyz", "").await.ok().filter(|answer| answer.status() == 200);
    wait_for("n2 is ready", ready).await;
    assert_eq!(sample(data, "coalmine_stale").await, Some(0.0));

    let mut committed = 0;
    while json(data, "/readyz").await.1["stale"] == false {
        assert!(committed < 200, "the journal does not grow");
        let body = format!(r#"{{"model": "m{committed}", "steps": [5, 20, 50, 100], "gates": "off"}}"#);
        cluster.roll_out(&body).await;
        wait_for("the rollout is over, or n2 has stopped", async || {
            let is_stale = json(data, "/readyz").await.1["stale"] == true;
            let is_over = cluster.rollout().await.is_some_and(|rollout| rollout.course.is_over());
            (is_stale || is_over).then_some(())
        })
        .await;
        committed += 1;
    }
    let why = "File too large";
    let (status, ready) = json(data, "/readyz").await;
    assert_eq!((status, &ready["ready"], &ready["draining"]), (200, &true.into(), &false.into()), "{ready}");
    assert!(ready["stale_why"].as_str().is_some_and(|told| told.contains(why)), "{ready}");
    assert_eq!(json(data, "/livez").await.0, 200);
    assert_eq!(sample(data, "coalmine_stale").await, Some(1.0));
    assert_eq!(sample(data, "coalmine_ready").await, Some(1.0));

    // It serves what it served, for as long as anybody asks, and takes no orders.
    let version = json(data, "/status").await.1["routing"]["version"].clone();
    for _ in 0..50 {
        let answer = send(data, "POST", "/predict", "{}").await.expect("an answer");
        let served: Value = read_json(&answer).expect("served");
        assert_eq!(served["routing_version"], version);
    }
    let (frames, records) = (sample(data, "coalmine_frames_sent_total").await, json(data, "/readyz").await.1);
    let order = send(data, "POST", "/rollouts/abort", "").await.expect("an answer");
    let told = String::from_utf8_lossy(order.body()).into_owned();
    assert!(order.status() == 503 && told.contains("the node has stopped: ") && told.contains(why), "{told}");
    assert!(TcpStream::connect(cluster.control(2)).is_err(), "it still takes frames");
    let status = canary(&["status", "--nodes", &data.to_string()]);
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        !status.status.success() && told.contains("takes in nothing any more") && told.contains(why),
        "{told}"
    );
    wait_for("the log says so", async || said.lock().expect("nobody panics").contains(why).then_some(()))
        .await;
    assert_eq!(sample(data, "coalmine_frames_sent_total").await, frames, "it has spoken");
    assert_eq!(json(data, "/readyz").await.1["journal_records"], records["journal_records"]);
    assert_eq!(node.try_wait().expect("it is ours"), None, "it has ended");

    // With room on its disk it is what it was.
    signal(&node, Signal::SIGTERM);
    assert_eq!(end_of(&mut node).await, Some(0));
    cluster.restart(2).await;
    let (_, status) = cluster.settle().await;
    assert!(status.routing.version >= version.as_u64().expect("a number"));
    assert_eq!(json(data, "/readyz").await.1["stale"], false);
}

/// A pipe holds 64 KiB; more than that and what a queue takes is said here, and nobody reads it.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let cluster = Cluster::prepare(1, "");
    let mut node = start_after(&cluster, 1, ":", &[], Stdio::piped());
    let unread = node.stderr.take().expect("piped");
    let data = cluster.data(1);
    let ready = async || send(data, "GET", "/readyz", "").await.ok().filter(|answer| answer.status() == 200);
    wait_for("it is ready", ready).await;
    let said = async || {
        let all = send(data, "GET", "/metrics", "").await.expect("an answer");
        let text = String::from_utf8_lossy(all.body()).into_owned();
        let facts = text.lines().filter(|line| line.starts_with("coalmine_facts_total{"));
        facts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
    };
    // The pipe holds some 1,500 lines, and the queue 4,096.
    let (steps, mut models): (Vec<u32>, _) = ((1..=100).collect(), 0);
    while said().await < 8_000 {
        models += 1;
        let body = format!(r#"{{"model": "m{models}", "steps": {steps:?}, "gates": "off"}}"#);
        cluster.roll_out(&body).await;
        let done = async || json(data, "/status").await.1["rollout"]["course"].as_str().map(str::to_owned);
        wait_for("it is over", async || done().await.filter(|course| course == "completed")).await;
    }
    let began = Instant::now();
    signal(&node, Signal::SIGTERM);
    assert_eq!(end_of(&mut node).await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(60), "it has waited for its reader");
    let first = BufReader::new(unread).lines().next().expect("a line").expect("text");
    let time = first.split_whitespace().next().unwrap_or_default();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{first}");
}

/// Whoever can reach the control port can make a node complain: not for ever.
#[tokio::test]
async fn strangers_do_not_fill_the_log_and_its_lines_are_json_on_demand() {
    let cluster = Cluster::prepare(1, "");
    let mut node = start_after(&cluster, 1, ":", &["--log", "json"], Stdio::piped());
    let said = listen(&mut node);
    let ready = async || send(cluster.data(1), "GET", "/livez", "").await.ok();
    wait_for("it lives", ready).await;
    for _ in 0..400 {
        let Ok(mut stream) = TcpStream::connect(cluster.control(1)) else { continue };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\nno frame at all");
    }
    let heard = || said.lock().expect("nobody panics").clone();
    wait_for("it says what it left out", async || heard().contains("complaints were left out").then_some(()))
        .await;
    let lines: Vec<Value> = heard()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    let complaints = lines.iter().filter(|line| line["kind"] == "complaint").count();
    assert!((1..150).contains(&complaints), "{complaints} of 400");
    assert!(
        lines.iter().all(|line| line["node"] == 1 && line["time"].is_string() && line["level"].is_string())
    );
    signal(&node, Signal::SIGTERM);
    assert_eq!(end_of(&mut node).await, Some(0));
}

/// Asks on a connection that stays open.
/// Asks a node by the address that it is connected with, which stands for `HOST`.
fn ask(stream: &mut TcpStream, request: &str) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let host = stream.peer_addr().expect("it is connected").to_string();
    stream.write_all(request.replace("HOST", &host).as_bytes()).expect("it is open");
}

fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a reset ends it too
    String::from_utf8_lossy(&bytes).into_owned()
}

const PREDICT: &str = "POST /predict HTTP/1.1\r\nhost: HOST\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_node_that_is_asked_to_stop_answers_what_is_under_way() {
    let mut cluster = Cluster::start(1, "[backends.v1]\nlatency_ms = 1500\n").await;
    let data = cluster.data(1);
    let connect = || TcpStream::connect(data).expect("it listens");
    let (mut busy, mut fresh, mut idle) = (connect(), connect(), connect());
    ask(&mut idle, "GET /livez HTTP/1.1\r\nhost: HOST\r\n\r\n");
    let mut some = [0; 20];
    idle.read_exact(&mut some).expect("an answer");
    ask(&mut busy, PREDICT);
    let under_way = async || sample(data, "coalmine_requests_in_flight").await.filter(|count| *count >= 2.0);
    wait_for("it is under way", under_way).await;
    let mut node = cluster.take(1);
    signal(&node, Signal::SIGTERM);
    wait_for("it takes no more", async || TcpStream::connect(data).err()).await;
    ask(&mut fresh, "GET /readyz HTTP/1.1\r\nhost: HOST\r\n\r\n");
    let said = rest(&mut fresh);
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("\"draining\":true"), "{said}");
    assert!(said.to_lowercase().contains("connection: close"), "{said}");
    let said = rest(&mut busy);
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"model\":\"v1\""), "{said}");
    assert!(said.to_lowercase().contains("connection: close"), "{said}");
    assert_eq!(end_of(&mut node).await, Some(0));
    rest(&mut idle); // which has kept nobody
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_up_or_somebody_asks_again() {
    for (drain_ms, again) in [(300, false), (600_000, true)] {
        let prepared = Cluster::prepare(1, "[backends.v1]\nlatency_ms = 500_000\n");
        let config = std::fs::read_to_string(prepared.config(1)).expect("a config");
        std::fs::write(prepared.config(1), format!("drain_ms = {drain_ms}\n{config}")).expect("written");
        let mut cluster = prepared.started().await;
        let data = cluster.data(1);
        let mut busy = TcpStream::connect(data).expect("it listens");
        ask(&mut busy, PREDICT);
        let under_way =
            async || sample(data, "coalmine_requests_in_flight").await.filter(|count| *count >= 2.0);
        wait_for("it is under way", under_way).await;
        let mut node = cluster.take(1);
        let began = Instant::now();
        signal(&node, Signal::SIGTERM);
        wait_for("it takes no more", async || TcpStream::connect(data).err()).await;
        if again {
            assert_eq!(node.try_wait().expect("it is ours"), None, "it has not waited");
            signal(&node, Signal::SIGINT);
        }
        assert_eq!(end_of(&mut node).await, Some(0));
        assert!(began.elapsed() < Duration::from_secs(60), "it did not stop in time");
        assert_eq!(rest(&mut busy), "");
        let word = if again {
            "SIGINT again: 1 requests are cut off"
        } else {
            "after 300ms: 1 requests are cut off"
        };
        assert!(cluster.log(1).contains(word), "{}", cluster.log(1));
    }
    let cluster = Cluster::prepare(1, "");
    let config = std::fs::read_to_string(cluster.config(1)).expect("a config");
    std::fs::write(cluster.config(1), format!("drain_ms = 3_600_001\n{config}")).expect("written");
    let output = canary(&["node", "--config", cluster.config(1).to_str().expect("text")]);
    assert!(
        output.status.code() == Some(2) && stderr(&output).contains("drain_ms: 3600001"),
        "{}",
        stderr(&output)
    );
}

type Samples = BTreeMap<String, f64>;

/// Reads Prometheus's text format, and refuses what Prometheus or its linter would.
fn parse_metrics(text: &str) -> Result<BTreeMap<String, (String, Samples)>, String> {
    let mut families: BTreeMap<String, (String, Samples)> = BTreeMap::new();
    let (mut current, mut helped) = (String::new(), BTreeSet::new());
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or("no help")?;
            if !helped.insert(name.to_owned()) {
                return wrong("a family comes twice");
            }
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            if name != current || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("a type out of place");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("counters, and they alone, end with _total");
            }
            families.insert(name.to_owned(), (kind.to_owned(), Samples::new()));
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
            let name = series.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family =
                family.filter(|it| families.get(*it).is_some_and(|it| it.0 == "histogram")).unwrap_or(name);
            if family != current || !is_name(name) {
                return wrong("a sample outside its family");
            }
            if let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) {
                let mut rest = labels.strip_suffix('}').ok_or("an open brace")?;
                while !rest.is_empty() {
                    let (label, after) = rest.split_once("=\"").ok_or("no label")?;
                    let mut end = None;
                    let mut escaped = false;
                    for (i, c) in after.char_indices() {
                        match (escaped, c) {
                            (true, '\\' | '"' | 'n') => escaped = false,
                            (true, _) => return wrong("an unknown escape"),
                            (false, '\\') => escaped = true,
                            (false, '"') => {
                                end = Some(i);
                                break;
                            }
                            (false, _) => {}
                        }
                    }
                    if !is_name(label) || end.is_none() {
                        return wrong("a label that is none");
                    }
                    rest = &after[end.unwrap_or_default() + 1..];
                    rest = rest.strip_prefix(',').unwrap_or(rest);
                }
            }
            let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
            let samples = &mut families.get_mut(family).ok_or("no type")?.1;
            if samples.insert(series.to_owned(), value).is_some() {
                return wrong("a sample comes twice");
            }
        }
    }
    Ok(families)
}

#[tokio::test]
async fn what_is_measured_can_be_scraped() {
    let mut cluster = Cluster::start(2, "[backends.v2]\nerror_rate = 1.0\nlatency_ms = 30\n").await;
    cluster.roll_out(r#"{"model": "v2", "steps": [50], "gates": "off"}"#).await;
    cluster.settle().await;
    let data = cluster.data(1);
    for _ in 0..100 {
        send(data, "POST", "/predict", "{}").await.expect("an answer");
    }
    let scrape = async |id: usize| {
        let answer = send(cluster.data(id), "GET", "/metrics", "").await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        String::from_utf8(answer.body().to_vec()).expect("text")
    };
    let text = scrape(1).await;
    let families = parse_metrics(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let value = |family: &str, series: &str| families.get(family).and_then(|it| it.1.get(series)).copied();
    let requests = |model: &str| {
        value("canary_requests_total", &format!("canary_requests_total{{model=\"{model}\",version=\"1\"}}"))
    };
    assert_eq!((requests("v1"), requests("v2")), (Some(50.0), Some(50.0)), "{text}");
    let errors = |model: &str| {
        let name = "canary_request_errors_total";
        value(name, &format!("{name}{{model=\"{model}\",version=\"1\"}}"))
    };
    assert_eq!((errors("v1"), errors("v2")), (Some(0.0), Some(50.0)));
    let took = "canary_request_duration_seconds";
    let bucket = |le: &str| value(took, &format!("{took}_bucket{{model=\"v2\",version=\"1\",le=\"{le}\"}}"));
    assert_eq!(
        (bucket("0.025"), bucket("10"), bucket("+Inf")),
        (Some(0.0), Some(50.0), Some(50.0)),
        "{text}"
    );
    let sum = value(took, &format!("{took}_sum{{model=\"v2\",version=\"1\"}}")).expect("a sum");
    assert!(sum >= 1.5, "{sum}");
    assert_eq!(value("canary_weight_ratio", "canary_weight_ratio{model=\"v2\"}"), Some(0.5));
    for (family, expected) in [
        ("canary_routing_version", 1.0),
        ("coalmine_ready", 1.0),
        ("coalmine_stale", 0.0),
        ("coalmine_draining", 0.0),
        ("canary_rollout_steps", 1.0),
        ("canary_rollout_steps_committed", 1.0),
    ] {
        assert_eq!(value(family, family), Some(expected), "{family}");
    }
    for family in [
        "coalmine_journal_records",
        "coalmine_up_seconds",
        "coalmine_frames_sent_total",
        "coalmine_frames_received_total",
    ] {
        assert!(value(family, family).is_some_and(|value| value > 0.0), "{family}\n{text}");
    }
    let journal = std::fs::metadata(cluster.journal(1)).expect("a journal").len();
    assert_eq!(value("coalmine_journal_bytes", "coalmine_journal_bytes"), Some(journal as f64));
    let facts =
        |fact: &str| value("coalmine_facts_total", &format!("coalmine_facts_total{{fact=\"{fact}\"}}"));
    assert!(facts("Committed") == Some(1.0), "{text}");
    let open = "coalmine_connections_open";
    assert_eq!(value(open, &format!("{open}{{port=\"control\"}}")), Some(1.0), "{text}");
    assert_eq!(value(open, &format!("{open}{{port=\"http\"}}")), Some(1.0), "{text}");
    let text = scrape(2).await;
    parse_metrics(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(text.contains("coalmine_facts_total{fact=\"Voted\"} 1\n"), "{text}");
    // Prometheus's own linter, where it is installed.
    if let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let output = promtool.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", stderr(&output));
    } else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: promtool is not installed, so only our own parser has looked"
        );
    }
}

/// Reads events until one is found.
fn until(events: &mut impl BufRead, what: &str, is_it: impl Fn(&str, &Value) -> bool) -> (String, Value) {
    let (mut id, mut kind) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        assert!(events.read_line(&mut line).expect("an event in time") > 0, "it ended before {what}");
        let line = line.trim_end();
        if let Some(is) = line.strip_prefix("id: ") {
            id = is.to_owned();
        } else if let Some(is) = line.strip_prefix("event: ") {
            kind = is.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).expect("JSON");
            if is_it(&kind, &data) {
                return (id, data);
            }
        }
    }
}

fn events(of: SocketAddr, last: Option<&str>) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(of).expect("it listens");
    let last = last.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
    ask(&mut stream, &format!("GET /events HTTP/1.1\r\nhost: HOST\r\n{last}\r\n"));
    let mut events = BufReader::new(stream);
    let mut head = String::new();
    while !head.contains("retry: ") {
        assert!(events.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    events
}

#[tokio::test]
async fn decisions_are_told_as_they_are_made_and_orders_leave_a_trail() {
    let mut cluster = Cluster::start(2, "").await;
    let data = cluster.data(1);
    let mut live = events(data, None);
    let name = cluster.roll_out(r#"{"model": "v2", "steps": [20, 100], "gates": "off"}"#).await;
    let (first, accepted) =
        until(&mut live, "it is accepted", |kind, data| kind == "fact" && data["fact"] == "Accepted");
    assert!(
        accepted["text"].as_str().is_some_and(|text| !text.is_empty()) && accepted["node"] == 1,
        "{accepted}"
    );
    let is_route = |version: u64| {
        move |kind: &str, data: &Value| kind == "route" && data["routing"]["version"] == version
    };
    let (_, route) = until(&mut live, "version 1", is_route(1));
    assert_eq!(route["routing"]["weights"]["v2"], 0.2);
    let (second, _) = until(&mut live, "version 2", is_route(2));
    until(&mut live, "it is complete", |kind, data| {
        kind == "rollout" && data["rollout"]["course"] == "completed"
    });
    cluster.until(Progress::Completed).await;
    // Whoever was away gets what he missed, once.
    let mut again = events(data, Some(&first));
    assert_eq!(until(&mut again, "version 2 again", is_route(2)).0, second);
    let mut other = events(cluster.data(2), Some("1-1"));
    until(&mut other, "something is missing", |kind, _| kind == "missed");
    until(&mut other, "version 2 there", is_route(2));

    let refused = send(data, "POST", "/rollouts/pause", "").await.expect("an answer");
    assert_eq!(refused.status(), 409);
    let (_, told) =
        until(&mut live, "the refusal", |kind, data| kind == "audit" && data["path"] == "/rollouts/pause");
    send(data, "POST", "/predict", "{}").await.expect("an answer"); // which is no order
    let trail = async |path: &str| json(data, path).await;
    let (status, all) = trail("/audit").await;
    let all = all.as_array().cloned().expect("a list");
    assert_eq!((status, all.len(), &all[1]), (200, 2, &told));
    assert_eq!(
        (&all[0]["path"], &all[0]["status"], &all[0]["method"]),
        (&"/rollouts".into(), &202.into(), &"POST".into())
    );
    let says = |field: &str, words: &str| all[0][field].as_str().is_some_and(|text| text.contains(words));
    assert!(
        says("body", r#""steps": [20, 100]"#) && says("answer", &name) && says("from", "127.0.0.1:"),
        "{all:?}"
    );
    assert_eq!(trail("/audit?last=1").await.1.as_array().map(Vec::len), Some(1));
    for wrong in ["/audit?last=0", "/audit?last=x", "/audit?first=1"] {
        assert_eq!(trail(wrong).await.0, 400, "{wrong}");
    }
    let file = cluster.journal(1).with_file_name("node-1.audit.jsonl");
    let written = async || std::fs::read_to_string(&file).ok().filter(|text| text.lines().count() == 2);
    let text = wait_for("both are in the file", written).await;
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(kept, all);
    // It outlives the process.
    cluster.kill(1);
    cluster.restart(1).await;
    assert_eq!(json(data, "/audit").await.1.as_array(), Some(&all));
    drop(live);
    let gone =
        async || sample(cluster.data(2), "coalmine_event_readers").await.filter(|readers| *readers == 1.0);
    wait_for("one reader is left", gone).await;
    drop(other);
    let gone =
        async || sample(cluster.data(2), "coalmine_event_readers").await.filter(|readers| *readers == 0.0);
    wait_for("nobody listens", gone).await;
}

/// Reads lines until one has all these words.
fn see(lines: &mut impl Iterator<Item = std::io::Result<String>>, words: &[&str]) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let line = lines.next().expect("it goes on").expect("text");
        let found = words.iter().all(|word| line.contains(word));
        seen.push(line);
        if found {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_status_that_is_watched_tells_what_changes() {
    let cluster = Cluster::start(2, "").await;
    let nodes = format!("{},{}", cluster.data(1), cluster.data(2));
    let mut watch = Command::new(CANARY)
        .args(["status", "--watch", "--nodes", &nodes])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    see(&mut lines, &["n2", "participant"]);
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    cluster.roll_out(r#"{"model": "v2", "steps": [40], "gates": "off"}"#).await;
    let seen = tokio::task::spawn_blocking(move || see(&mut lines, &["v2 40%"])).await.expect("it is seen");
    // Nothing was printed again before that; a step that is being announced may come in between.
    let pictures = seen.iter().filter(|line| line.starts_with("node ")).count();
    assert!(pictures <= 3 && !seen.concat().contains('\u{1b}'), "{seen:#?}");
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");

    let mut json = Command::new(CANARY)
        .args(["status", "--watch", "--format", "json", "--nodes", &nodes])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(json.stdout.take().expect("piped")).lines();
    for _ in 0..2 {
        let line = lines.next().expect("a line").expect("text");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")[1]["status"]["node"], 2);
    }
    drop(lines); // whoever does not want to read more has read enough
    assert_eq!(end_of(&mut json).await, Some(0));
}

/// On a terminal, which `script` (of util-linux) pretends to be.
#[tokio::test]
async fn a_rollout_that_is_watched_is_drawn_with_all_nodes() {
    let cluster = Cluster::start(2, "").await;
    let command =
        format!("{CANARY} rollout v2 --watch --no-gates --pause-ms 700 --coordinator {}", cluster.data(1));
    let Ok(output) =
        Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output()
    else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: `script` is not installed, so nothing was drawn on a terminal"
        );
        return;
    };
    let drawn = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{drawn}");
    let pictures: Vec<_> = drawn.split("\u{1b}[H").skip(1).collect();
    assert!(pictures.len() >= 3, "{drawn}");
    for picture in &pictures {
        assert!(
            picture.contains("n1") && picture.contains("n2") && picture.contains("participant"),
            "{picture}"
        );
    }
    let last = pictures[pictures.len() - 1];
    assert!(last.contains("100%") && last.contains("for good") && last.contains("completed in"), "{last}");
    assert!(pictures.iter().any(|picture| picture.contains("5%") && !picture.contains("20%")), "{drawn}");
    // Elsewhere it is told in lines.
    let lines =
        canary(&["rollout", "v1", "--watch", "--no-gates", "--coordinator", &cluster.data(1).to_string()]);
    let told = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(lines.status.success() && !told.contains('\u{1b}') && told.contains("completed in"), "{told}");
}

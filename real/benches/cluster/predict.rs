//! `POST /predict` beside nginx's `split_clients`: an answer that the node gives itself, and one of a server behind it. The
//! load comes from `wrk`; what is compared is requests in a second of the server's processor time.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::client::Client;
use crate::nodes::{Cluster, Process, at, free_port, is_installed, wait_for};
use crate::{Scale, table};

pub fn measure(scale: &Scale, place: &Path) -> Result<(), String> {
    if !is_installed("wrk") || !is_installed("nginx") {
        println!("not measured: /predict beside nginx, since nginx or wrk is not installed\n");
        return Ok(());
    }
    let folder = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
    let dir = folder.path();
    let (behind, local, proxied) = (free_port(), free_port(), free_port());
    let _model = nginx(dir, "model", &server(behind, "return 200 '{\"answer\": 42}';"), "")?;
    let split = "split_clients $http_x_routing_key $model { 5% v2; * v1; }";
    let answer = "add_header X-Coalmine-Model $model; return 200 '{\"model\":\"$model\",\"routing_version\":1,\"node\":1}';";
    let there = format!("upstream model {{ server 127.0.0.1:{behind}; keepalive 64; }}");
    let pass = "add_header X-Coalmine-Model $model; proxy_http_version 1.1; proxy_set_header Connection ''; \
                proxy_pass http://model;";
    let nginx_local = nginx(dir, "local", &server(local, answer), split)?;
    let nginx_proxied = nginx(dir, "proxied", &server(proxied, pass), &format!("{split} {there}"))?;
    let [ours, forwards] = ["ours", "forwards"].map(|name| dir.join(name));
    fs::create_dir(&ours).and_then(|()| fs::create_dir(&forwards)).map_err(|error| error.to_string())?;
    let table_of = |model: &str| format!("[backends.{model}]\nurl = \"http://127.0.0.1:{behind}/\"\n");
    let node = Cluster::start(&ours, 1, "")?;
    let forwarding = Cluster::start(&forwards, 1, &[table_of("v1"), table_of("v2")].concat())?;
    for cluster in [&node, &forwarding] {
        let canary = r#"{"model": "v2", "steps": [5], "gates": "off"}"#;
        let mut client = cluster.client(0)?;
        client.ask("POST", "/rollouts", canary)?;
        let mut serves =
            || client.ask("GET", "/routing/state", "").is_ok_and(|it| it.contains("\"version\":1,"));
        wait_for("the canary", &mut serves)?;
    }
    let script = dir.join("keys.lua");
    fs::write(&script, KEYS).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    let pairs = [
        ("answered here", (&nginx_local, at(local)), (node.process(0), node.data(0))),
        ("by a server behind it", (&nginx_proxied, at(proxied)), (forwarding.process(0), forwarding.data(0))),
    ];
    for (what, theirs, mine) in pairs {
        let load = |(process, to): (&Process, SocketAddr)| load(process, to, &script, scale.seconds);
        let (mut nginx, mut canary) = (Load::default(), Load::default());
        for _ in 0..3 {
            nginx = nginx.best(load(theirs)?);
            canary = canary.best(load(mine)?);
        }
        let ratio = canary.per_processor / nginx.per_processor;
        for (who, load, ratio) in [("nginx", nginx, String::new()), ("canary", canary, format!("{ratio:.2}"))]
        {
            let cells = [load.per_second, load.per_processor].map(|it| format!("{it:.0}"));
            let row = [vec![format!("{what}: {who}")], cells.to_vec(), vec![load.p99, ratio]].concat();
            rows.push(row);
        }
    }
    println!("POST /predict with a key, 16 connections, {} s, the best of three turns:\n", scale.seconds);
    table(&["", "requests/s", "per s of its processor time", "p99", "canary / nginx"], &rows);
    Ok(())
}

/// A key that is another one for each request.
const KEYS: &str = "\
local n = 0
request = function()
  n = n + 1
  return wrk.format('POST', '/predict', { ['X-Routing-Key'] = 'user-' .. n, ['Content-Type'] = 'application/json' }, '{}')
end
";

#[derive(Clone, Debug, Default)]
struct Load {
    per_second: f64,
    per_processor: f64,
    p99: String,
}

impl Load {
    fn best(self, other: Self) -> Self {
        if other.per_processor > self.per_processor { other } else { self }
    }
}

fn load(server: &Process, to: SocketAddr, script: &Path, seconds: u32) -> Result<Load, String> {
    let before = server.weight().1;
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c16", "--latency", &format!("-d{seconds}"), "-s"])
        .arg(script)
        .arg(format!("http://{to}"));
    let output = wrk.output().map_err(|error| format!("wrk: {error}"))?;
    let used = server.weight().1 - before;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("{to} does not answer all: {text}"));
    }
    let word = |line: &str| {
        let found = text.lines().find_map(|it| it.trim().strip_prefix(line));
        found.map(|rest| rest.trim().to_owned()).ok_or_else(|| format!("wrk says no {line:?}: {text}"))
    };
    let per_second: f64 = word("Requests/sec:")?.parse().map_err(|error| format!("wrk: {error}"))?;
    let requests = requests_of(&text)? as f64;
    Ok(Load { per_second, per_processor: requests / used.max(0.01), p99: word("99%")? })
}

/// How many requests `wrk` has made, by what it prints.
pub fn requests_of(text: &str) -> Result<u64, String> {
    let line = text.lines().find(|line| line.contains(" requests in "));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.filter(|count| *count > 0).ok_or_else(|| format!("wrk says no number of requests: {text}"))
}

fn server(port: u16, location: &str) -> String {
    format!(
        "server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000; location / {{ default_type application/json; {location} }} }}"
    )
}

/// One worker, no log of requests.
fn nginx(dir: &Path, name: &str, server: &str, more: &str) -> Result<Process, String> {
    let home = dir.join(name);
    fs::create_dir(&home).map_err(|error| error.to_string())?;
    let config = format!(
        "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f; \
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; {more} {server} }}\n",
        home.display()
    );
    let file = home.join("nginx.conf");
    fs::write(&file, config).map_err(|error| error.to_string())?;
    let mut command = Command::new("nginx");
    command.env("PATH", "/usr/sbin:/usr/bin:/bin").arg("-p").arg(&home).arg("-c").arg(&file);
    let process = Process::start(&mut command, &home.join("log"))?;
    let port = server.split(&[':', ';'][..]).nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let asked = || Client::new(at(port)).and_then(|mut client| client.send("GET", "/", ""));
    wait_for(&format!("nginx, see {}", home.display()), || asked().is_ok())?;
    Ok(process)
}

//! An etcd of three nodes, by its HTTP gateway.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::client::Client;
use crate::nodes::{Process, at, free_port, is_installed, wait_for};

/// A cluster, and a connection to one of its nodes.
pub struct Etcd {
    _nodes: Vec<Process>,
    client: Client,
    count: usize,
}

impl Etcd {
    /// Starts one; none if it is not installed.
    pub fn start(dir: &Path) -> Result<Option<Self>, String> {
        if !is_installed("etcd") {
            return Ok(None);
        }
        let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
        let all: Vec<_> = (0..3).map(|n| format!("e{n}=http://127.0.0.1:{}", ports[n].0)).collect();
        let start = |n: usize| {
            let [peers, clients] = [ports[n].0, ports[n].1].map(|port| format!("http://127.0.0.1:{port}"));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("e{n}"), "--data-dir"]).arg(dir.join(format!("etcd-{n}")));
            command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
            command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
            command.args(["--initial-cluster", &all.join(","), "--log-level", "error"]);
            Process::start(&mut command, &dir.join(format!("etcd-{n}.log")))
        };
        let nodes = (0..3).map(start).collect::<Result<_, _>>()?;
        let to = at(ports[0].1);
        let put = || Client::new(to).and_then(|mut client| client.ask("POST", "/v3/kv/put", PUT));
        wait_for("etcd", || put().is_ok())?;
        Ok(Some(Self { _nodes: nodes, client: Client::new(to)?, count: 0 }))
    }

    /// A put, in microseconds.
    pub fn put(&mut self) -> Result<f64, String> {
        self.count += 1;
        let began = Instant::now();
        self.client.ask("POST", "/v3/kv/put", PUT)?;
        Ok(began.elapsed().as_secs_f64() * 1e6)
    }
}

/// The key `weights`, and a value of some hundred bytes, in base64.
const PUT: &str = r#"{"key": "d2VpZ2h0cw==", "value": "eyJ2ZXJzaW9uIjogMTIsICJzdGFibGUiOiAidjEiLCAiY2FuYXJ5IjogInYyIiwgIndlaWdodHMiOiB7InYxIjogMC45NSwgInYyIjogMC4wNX0sICJ0eGlkIjogIjEuMTIiLCAibWVtYmVycyI6IFsxLCAyLCAzXX0="}"#;

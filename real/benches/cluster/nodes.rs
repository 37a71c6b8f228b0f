//! Real nodes, and whatever else is started: processes that end with this one.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// How long anything may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of loopback that nobody has, below those that the system gives to connections.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + (std::process::id() % 89) as u16 * 100;
    let ports = || Some(first + NEXT.fetch_add(1, Ordering::Relaxed));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::from_fn(ports).take(1_000).find(is_free).expect("a free port")
}

/// An address of loopback.
pub fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    let found = |dir: PathBuf| dir.join(program).is_file();
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into()])
        .any(found)
}

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program; what it says goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let file = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = file.map_err(|error| format!("{}: {error}", log.display()))?;
        let child = command.stdin(Stdio::piped()).stdout(out).stderr(err).spawn();
        child.map(Self).map_err(|error| format!("{}: {error}", command.get_program().display()))
    }

    /// What it takes of the memory, in MiB, and the time that it had of the processors, in seconds, with its children.
    pub fn weight(&self) -> (f64, f64) {
        let (mut kib, mut ticks) = (0.0, 0.0);
        for pid in self.with_children() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
            kib += line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
            ticks += fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
        }
        (kib / 1_024.0, ticks / 100.0)
    }

    fn with_children(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        [pid].into_iter().chain(children).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in self.with_children().into_iter().skip(1) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A canary cluster.
pub struct Cluster {
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
    nodes: Vec<Option<Process>>,
}

impl Cluster {
    /// Starts so many nodes, whose files say this besides.
    pub fn start(dir: &Path, nodes: usize, more: &str) -> Result<Self, String> {
        let ports: Vec<_> = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let mut cluster = Self { dir: dir.into(), ports, nodes: Vec::new() };
        for node in 0..nodes {
            let text = cluster.file(node, more);
            fs::write(dir.join(format!("node-{}.toml", node + 1)), text)
                .map_err(|error| error.to_string())?;
            cluster.nodes.push(None);
            cluster.spawn(node)?;
        }
        (0..nodes).try_for_each(|node| cluster.wait(node))?;
        Ok(cluster)
    }

    fn file(&self, me: usize, more: &str) -> String {
        let node = |node: usize| {
            let (role, (control, data)) =
                (if node == 0 { "coordinator" } else { "participant" }, self.ports[node]);
            format!(
                "id = {}\nrole = \"{role}\"\ncontrol = \"127.0.0.1:{control}\"\ndata = \"127.0.0.1:{data}\"\n",
                node + 1
            )
        };
        let others = (0..self.ports.len()).filter(|other| *other != me);
        let peers: String = others.map(|other| format!("[[peers]]\n{}", node(other))).collect();
        format!("{}journal_dir = \"journal\"\n{more}{peers}", node(me))
    }

    /// Starts a node.
    pub fn spawn(&mut self, node: usize) -> Result<(), String> {
        let name = format!("node-{}", node + 1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_canary"));
        command.args(["node", "--stop-with-parent", "--config"]).arg(self.dir.join(format!("{name}.toml")));
        self.nodes[node] = Some(Process::start(&mut command, &self.dir.join(format!("{name}.log")))?);
        Ok(())
    }

    /// Ends a node.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Waits until a node serves.
    pub fn wait(&self, node: usize) -> Result<(), String> {
        let what =
            format!("node {}, see {}", node + 1, self.dir.join(format!("node-{}.log", node + 1)).display());
        wait_for(&what, || self.client(node).and_then(|mut it| it.ask("GET", "/readyz", "")).is_ok())
    }

    /// A connection to a node.
    pub fn client(&self, node: usize) -> Result<Client, String> {
        Client::new(self.data(node))
    }

    /// Where a node takes HTTP.
    pub fn data(&self, node: usize) -> SocketAddr {
        at(self.ports[node].1)
    }

    /// A node's process.
    pub fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// How large a node's journal is, in KiB.
    pub fn journal_kib(&self) -> f64 {
        let files = fs::read_dir(self.dir.join("journal")).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len() as f64 / 1_024.0).sum()
    }
}

/// Looks until something is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("{what}: not ready within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

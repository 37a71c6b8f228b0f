//! The cluster that the tutorial starts: real processes on free ports, of which one is killed and started again. All
//! that was started here ends here, by its id.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use coalmine_core::form::Form;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Crate;

/// After so long a test hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ports that the tutorial names, and those that are free here: three for frames, three for HTTP.
const NAMED: [u16; 6] = [7_711, 7_712, 7_713, 8_711, 8_712, 8_713];

/// Below the ports that the system gives to outgoing connections, beside those of other tests, and of four digits as those
/// that the tutorial names, for tables have columns.
fn free_ports() -> [u16; 6] {
    let first = |attempt: u32| 4_000 + ((std::process::id() + attempt) % 330 * 6) as u16;
    let mut runs = (0..330).map(|attempt| std::array::from_fn(|i| first(attempt) + i as u16));
    let are_free =
        |ports: &[u16; 6]| ports.iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    runs.find(are_free).expect("six free ports")
}

/// What runs in the reader's terminals.
#[derive(Default)]
pub struct Processes {
    up: Option<Up>,
    /// The node that was started again.
    node: Option<Running>,
    ports: [u16; 6],
}

struct Up {
    running: Running,
    /// The pids of the nodes.
    pids: Vec<i32>,
    says: Receiver<String>,
}

struct Running(Child);

impl Running {
    /// As Ctrl-C does.
    fn interrupt(mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).expect("it runs");
        assert!(self.0.wait().expect("it ends").success(), "a node or a cluster that is asked to stop does");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // the nodes of a cluster follow it
        let _ = self.0.wait();
    }
}

impl Processes {
    /// Whether a command is about them.
    pub fn concern(&self, command: &str) -> bool {
        let words = ["cargo run -- up", "cargo run -- node", "cargo run -- verify", "kill -9", "curl"];
        words.iter().any(|word| command.starts_with(word)) || self.up.is_some() && command.contains(" -- ")
    }

    /// Does what a command says, and says what it prints, as if all ports were those of the tutorial.
    pub fn obey(&mut self, reader: &Crate, command: &str) -> String {
        let printed = match command.split_whitespace().collect::<Vec<_>>()[..] {
            ["cargo", "run", "--", "up", ..] => self.start(reader, command),
            ["cargo", "run", "--", "node", ..] => {
                let (running, line) = start(reader, command, |said| said.ends_with('\n'));
                self.node = Some(running);
                line
            }
            ["cargo", "run", "--", "verify", ..] => {
                // "Stop them all with Ctrl-C."
                self.node.take().expect("a node was started again").interrupt();
                self.up.take().expect("a cluster was started").running.interrupt();
                reader.run(command)
            }
            ["kill", "-9", _] => {
                let first = self.up.as_ref().expect("a cluster runs").pids[0];
                has_recorded(reader, "{\"send\":[2,{\"Reserved\":[3]}]}");
                kill(Pid::from_raw(first), Signal::SIGKILL).expect("it runs");
                String::new()
            }
            ["curl", ..] => self.ask(command),
            _ => reader.run(command),
        };
        NAMED.iter().zip(self.ports).fold(printed, |said, (named, port)| {
            said.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{named}"))
        })
    }

    fn start(&mut self, reader: &Crate, command: &str) -> String {
        self.ports = free_ports();
        let [control, _, _, data, ..] = self.ports;
        let command = format!("{command} --control-port {control} --data-port {data}");
        let (mut running, introduction) = start(reader, &command, |said| said.contains("Ctrl-C stops"));
        let rows = introduction.lines().filter(|line| line.contains("node-"));
        let pid = |row: &str| row.split_whitespace().nth(3).and_then(|pid| pid.parse().ok()).expect("a pid");
        let pids: Vec<_> = rows.map(pid).collect();
        assert_eq!(pids.len(), 3, "{introduction}");
        let mut errors = BufReader::new(running.0.stderr.take().expect("piped")).lines();
        let (out, says) = channel();
        std::thread::spawn(move || {
            while errors.next().is_some_and(|line| out.send(line.unwrap_or_default()).is_ok()) {}
        });
        self.up = Some(Up { running, pids, says });
        introduction
    }

    /// What `up` says about a node that has ended, up to the line that starts it again.
    pub fn what_up_says(&self) -> String {
        let up = self.up.as_ref().expect("a cluster runs");
        let mut said = String::new();
        while !said.contains(" node --config ") {
            said += &up.says.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("{why}: {said}"));
            said.push('\n');
        }
        said.trim_start().into()
    }

    /// What a line of curl does: `curl -H 'HEADER' -d 'BODY' http://ADDRESS/PATH`.
    fn ask(&self, line: &str) -> String {
        let pieces: Vec<_> = line.split('\'').collect();
        let ["curl -H ", header, " -d ", body, url] = pieces[..] else { panic!("not known: {line}") };
        let (address, path) =
            url.trim().strip_prefix("http://").and_then(|it| it.split_once('/')).expect("a URL");
        let port: u16 =
            address.strip_prefix("127.0.0.1:").and_then(|port| port.parse().ok()).expect("a port");
        let place = NAMED.iter().position(|&named| named == port).expect("a port of the tutorial");
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports[place]));
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let length = body.len();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{header}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
        body.into()
    }

    /// All that the tutorial started was stopped.
    pub fn are_done(&self) {
        assert!(
            self.ports[0] > 0 && self.up.is_none() && self.node.is_none(),
            "the tutorial stops what it starts"
        );
    }
}

/// Waits until n1 has recorded that it did this. Whoever kills it by hand is slower than its recorder; this test is not.
fn has_recorded(reader: &Crate, words: &str) {
    let did = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let step: Value = Form::MessagePack.read_text(line["packed"].as_str()?.as_bytes()).ok()?;
        Some(step[3].to_string())
    };
    let deadline = Instant::now() + PATIENCE;
    let is_there = |text: String| text.lines().filter_map(did).any(|did| did.contains(words));
    while !is_there(reader.read("coalmine-out/tickets/node-1.rec")) {
        assert!(Instant::now() < deadline, "n1 does not record {words}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts something that goes on, and says what it prints at first.
fn start(reader: &Crate, command: &str, is_all: impl Fn(&str) -> bool) -> (Running, String) {
    let mut run = reader.command(command);
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().expect("the example runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut running = Running(child);
    let mut said = String::new();
    while !is_all(&said) {
        if stdout.read_line(&mut said).expect("UTF-8") == 0 {
            let mut why = String::new();
            let _ = running.0.stderr.take().expect("piped").read_to_string(&mut why);
            panic!("{command} ended: {said}{why}");
        }
    }
    (running, said)
}

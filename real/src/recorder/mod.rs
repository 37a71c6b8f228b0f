//! Records one life of a node to a file, as a [probe](Probe): see
//! [`recording`](coalmine_core::codec::recording) for what is written and why, and [`parts`](mod@parts) for
//! the files.
//!
//! **The node never waits.** What it did is cloned into a bounded queue; a thread of its own encodes and
//! writes. If the queue is full, or the file cannot be written, the recording of this life ends with a *gap*
//! that says so, and the node goes on without it.
//!
//! Nothing is synced. A process that is killed loses the last milliseconds of its recording; a machine that
//! loses power may lose more. A recording is evidence, not a promise.

pub mod parts;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use coalmine_core::codec::journal::Recovered;
use coalmine_core::codec::recording::{Header, Took};
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId};

use crate::lock::lock;
use crate::probe::Probe;
use writer::{Taken, Writer};

/// How long the end of a recording is waited for: a disk that hangs does not keep a process alive.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much room a recording may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A part that is larger is followed by a new one.
    pub part_bytes: u64,
    /// How many parts there may be.
    pub parts: usize,
    /// How many events may wait to be written.
    pub queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { part_bytes: 64 << 20, parts: 8, queued: 1 << 14 }
    }
}

/// Whose recording it is.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The program, with its version.
    pub program: &'a str,
    /// The name under which the verifier knows this kind of node.
    pub protocol: &'a str,
    /// The node.
    pub node: NodeId,
}

/// Where the complaints of a recorder go.
pub type Warn = Box<dyn Fn(String) + Send>;

/// Records one node.
pub struct Recorder<N: Node>(Arc<Shared<N>>);

impl<N: Node> Clone for Recorder<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<N: Node> {
    state: Mutex<State<N>>,
    /// The queue was full.
    overflowed: Arc<AtomicBool>,
}

struct State<N: Node> {
    /// `None` once nothing is recorded any more.
    queue: Option<SyncSender<Taken<N>>>,
    /// The event of the step that is under way.
    takes: Option<Event<N>>,
    /// What the node was told during it.
    chose: Vec<u32>,
    /// Hears when the writer has ended.
    ended: Receiver<()>,
}

impl<N: Node> Recorder<N> {
    /// Begins a recording: what is there already becomes older parts.
    pub fn start(
        path: &Path,
        who: Who<'_>,
        config: &N::Config,
        limits: Limits,
        warn: Warn,
    ) -> io::Result<Self> {
        Self::start_on(|path| File::create(path), path, who, config, limits, warn)
    }

    /// The same on any kind of file.
    fn start_on<F: Write + Send + 'static>(
        create: impl Fn(&Path) -> io::Result<F> + Send + 'static,
        path: &Path,
        who: Who<'_>,
        config: &N::Config,
        limits: Limits,
        warn: Warn,
    ) -> io::Result<Self> {
        let part = parts::make_room(path, limits.parts)?;
        let header = Header::new::<N>(who.program, who.protocol, who.node, part, config);
        let mut writer = Writer::open(create, path, header, limits)?;
        let (queue, taken) = sync_channel(limits.queued);
        let (end, ended) = sync_channel(1);
        let overflowed = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&overflowed);
        let path = path.display().to_string();
        let work = move || {
            if let Err(why) = writer.work(&taken, &full) {
                drop(taken); // from now on the recorder knows that nobody listens
                warn(format!("recording {path}: {why}; no more of this life is recorded"));
            }
            let _ = end.send(()); // whoever did not wait for it has gone
        };
        thread::Builder::new().name("recorder".into()).spawn(work)?;
        let state = Mutex::new(State { queue: Some(queue), takes: None, chose: Vec::new(), ended });
        Ok(Self(Arc::new(Shared { state, overflowed })))
    }

    /// Ends the recording: all that was recorded is written when this returns, unless the disk hangs.
    pub fn finish(&self) {
        self.with(|state| {
            state.queue = None;
            let _ = state.ended.recv_timeout(PATIENCE);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<N>) -> T) -> T {
        work(&mut lock(&self.0.state))
    }

    fn record(&self, took: impl FnOnce() -> Took<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        self.with(|state| self.add(state, took, effects));
        ControlFlow::Continue(())
    }

    fn add(&self, state: &mut State<N>, took: impl FnOnce() -> Took<N>, effects: &[Effect<N>]) {
        let chose = std::mem::take(&mut state.chose);
        let Some(queue) = &state.queue else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if queue.try_send(Taken { at, took: took(), chose, effects: effects.to_vec() }).is_err() {
            // If the writer has gone instead, nobody reads this.
            self.0.overflowed.store(true, Ordering::Relaxed);
            state.queue = None;
        }
    }
}

impl<N: Node> Probe<N> for Recorder<N> {
    fn on_boot(
        &self,
        journal: &Recovered<N::Record>,
        host: &Host<N>,
        effects: &[Effect<N>],
    ) -> ControlFlow<()> {
        self.record(|| Took::boot(host.incarnation(), journal), effects)
    }

    fn on_event(&self, event: &Event<N>) -> ControlFlow<()> {
        self.with(|state| state.takes = state.queue.is_some().then(|| event.clone()));
        ControlFlow::Continue(())
    }

    fn on_step(&self, _host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        self.with(|state| {
            if let Some(event) = state.takes.take() {
                self.add(state, || Took::Event(event), effects);
            }
        });
        ControlFlow::Continue(())
    }

    fn on_sync(&self, upto: u64, _host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        self.record(|| Took::Synced(upto), effects)
    }

    fn on_choice(&self, answer: u32) {
        self.with(|state| state.chose.push(answer));
    }
}

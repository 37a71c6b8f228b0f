//! A world for tests that is all in memory, so that its time can stand still: it passes as soon as nobody does anything, and
//! not while bytes are on their way through the system.

#![cfg(test)]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coalmine_core::codec::journal::Segment;
use coalmine_core::node::Delay;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::runtime::{Listener, Runtime};
use crate::tokio_runtime::TokioJournal;

/// How many bytes a connection holds that nobody has read.
pub(crate) const PIPE_BYTES: usize = 4096;

type Backlog = mpsc::UnboundedSender<(DuplexStream, SocketAddr)>;

/// The world. Its clones are one.
#[derive(Clone)]
pub(crate) struct Memory {
    began: Instant,
    listeners: Arc<Mutex<BTreeMap<SocketAddr, Backlog>>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), listeners: Arc::default() }
    }
}

/// An address, one for each number.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Runtime for Memory {
    type Stream = DuplexStream;
    type Listener = MemoryListener;
    type Journal = TokioJournal;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
    fn choose(&self, _: u32) -> u32 {
        0
    }
    fn draw(&self, _: Delay) -> Duration {
        Duration::ZERO
    }
    async fn connect(&self, to: SocketAddr) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let listeners = self.listeners.lock().expect("no test panics here");
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        listeners.get(&to).ok_or_else(refused)?.send((theirs, at(0))).map_err(|_| refused())?;
        Ok(ours)
    }
    async fn listen(&self, at: SocketAddr) -> io::Result<MemoryListener> {
        let (backlog, accepted) = mpsc::unbounded_channel();
        self.listeners.lock().expect("no test panics here").insert(at, backlog);
        Ok(MemoryListener { at, accepted })
    }
    async fn open_journal(&self) -> io::Result<(Vec<Segment>, TokioJournal)> {
        unreachable!("no test writes here")
    }
}

pub(crate) struct MemoryListener {
    at: SocketAddr,
    accepted: mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>,
}

impl Listener for MemoryListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        self.accepted.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

//! What the shell needs of the outside world, as a trait: tasks, time, TCP, one journal, and the few
//! random numbers that a driver draws for its node.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use coalmine_core::codec::journal::Segment;
use coalmine_core::node::{Delay, NodeId};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is held by the error of a connection whose other end cannot prove who it is, or does not believe this one.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unproven(pub String);

impl Unproven {
    /// What an error says, if it is one of these.
    pub fn of(error: &io::Error) -> Option<String> {
        error.get_ref()?.downcast_ref::<Self>().map(ToString::to_string)
    }
}

/// One node's outside world.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A TCP connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A TCP listener.
    type Listener: Listener<Stream = Self::Stream>;
    /// The node's journal.
    type Journal: JournalFile;

    /// Runs a task on its own. It ends with the node.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// The time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// A number below `n`: what [`Context::choose`](coalmine_core::node::Context::choose) answers.
    fn choose(&self, n: u32) -> u32;

    /// How long a timer with this range waits this time.
    fn draw(&self, delay: Delay) -> Duration;

    /// Opens a connection.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Listens for connections.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a connection for frames to this peer, and to nobody else if peers can prove who they are.
    fn connect_peer(
        &self,
        _peer: NodeId,
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        self.connect(to)
    }

    /// Listens for the frames of peers.
    fn listen_for_peers(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send {
        self.listen(at)
    }

    /// Who the other end of a connection between peers has proved to be. Nobody where it cannot, or has not yet: then it is
    /// whoever it says.
    fn certified(&self, _stream: &Self::Stream) -> Option<NodeId> {
        None
    }

    /// Opens the journal, creating it if need be, and reads all of its files, in order: one at least.
    fn open_journal(&self) -> impl Future<Output = io::Result<(Vec<Segment>, Self::Journal)>> + Send;

    /// How large the journal's last file is, in bytes, before another one is begun. That happens where something is forgotten:
    /// until a node forgets, its journal is one file.
    fn segment_bytes(&self) -> u64 {
        1 << 20
    }
}

/// Takes connections.
pub trait Listener: Send + 'static {
    /// What is taken.
    type Stream;

    /// The next connection, and who opened it.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A row of files, the [segments](coalmine_core::codec::journal) of a journal. The last one grows at its end.
pub trait JournalFile: Send + 'static {
    /// Cuts the last file to its first `length` bytes, durably.
    fn truncate(&mut self, length: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes at the end. It may be kept back until the next [`sync`](Self::sync).
    fn write(&mut self, line: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes all that was written durable. An error is final: what is on disk is unknown then, and must not
    /// be written again as if it were (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC
    /// 2020).
    fn sync(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Begins another file, durably, whose first record has this number. All that was written before is synced.
    fn begin_segment(&mut self, first: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Deletes the files before the one whose first record has this number, durably.
    fn remove_before(&mut self, first: u64) -> impl Future<Output = io::Result<()>> + Send;
}

//! The real world: tokio's tasks, clock and TCP, in [TLS](crate::tls) between peers that have an identity, and a file on disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coalmine_core::codec::journal::Segment;
use coalmine_core::node::{Delay, NodeId};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::files;
use crate::runtime::{JournalFile, Listener, Runtime};
use crate::tls::{self, Identity, Stream};

/// One process's outside world.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    inner: Arc<Inner>,
    identity: Option<Identity>,
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    journal: PathBuf,
    random: RandomState,
    drawn: AtomicU64,
}

impl TokioRuntime {
    /// The world of a node whose journal is this file. Must be used within a tokio runtime.
    pub fn new(journal: impl Into<PathBuf>) -> Self {
        let inner = Inner {
            started: Instant::now(),
            journal: journal.into(),
            random: RandomState::new(),
            drawn: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner), identity: None }
    }

    /// The same, whose connections with peers are in TLS if there is an identity.
    pub fn with_identity(self, identity: Option<Identity>) -> Self {
        Self { identity, ..self }
    }

    /// A random number: the process's random hash keys over a counter. Jitter needs no more.
    fn random(&self) -> u64 {
        self.inner.random.hash_one(self.inner.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

impl Runtime for TokioRuntime {
    type Stream = Stream;
    type Listener = TokioListener;
    type Journal = TokioJournal;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn now(&self) -> Duration {
        self.inner.started.elapsed()
    }

    fn choose(&self, n: u32) -> u32 {
        (self.random() % u64::from(n)) as u32
    }

    fn draw(&self, delay: Delay) -> Duration {
        delay.draw(|n| self.random() % n)
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        connect(to).await.map(Stream::Plain)
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TokioListener> {
        Ok(TcpListener::bind(at).await?.into())
    }

    async fn connect_peer(&self, peer: NodeId, to: SocketAddr) -> io::Result<Stream> {
        let stream = connect(to).await?;
        match &self.identity {
            Some(identity) => tls::dial(identity, peer, stream).await,
            None => Ok(Stream::Plain(stream)),
        }
    }

    async fn listen_for_peers(&self, at: SocketAddr) -> io::Result<TokioListener> {
        Ok(TokioListener { identity: self.identity.clone(), ..self.listen(at).await? })
    }

    fn certified(&self, stream: &Stream) -> Option<NodeId> {
        stream.peer()
    }

    async fn open_journal(&self) -> io::Result<(Vec<Segment>, TokioJournal)> {
        let path = self.inner.journal.clone();
        blocking(move || open(&path)).await
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The system gives an outgoing connection any free port, perhaps one that a node which is down just
    // now wants to listen on again. Marked so, the connection does not keep the port from it, neither
    // while it lives nor in TIME-WAIT.
    socket.set_reuseaddr(true)?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TCP listener.
#[derive(Debug)]
pub struct TokioListener {
    tcp: TcpListener,
    /// What is taken are peers, who prove who they are.
    identity: Option<Identity>,
}

impl From<TcpListener> for TokioListener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, identity: None }
    }
}

impl Listener for TokioListener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        let stream = match &self.identity {
            Some(identity) => tls::accept(identity, stream),
            None => Stream::Plain(stream),
        };
        Ok((stream, from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A journal in files. The first has the name that was given; it is locked against a second process, and never deleted:
/// when all in it is forgotten it is empty. A later one has the number of its first record behind a dot. What is written
/// waits in memory for the sync, which is one `write` and one `fdatasync` on a thread of its own.
#[derive(Debug)]
pub struct TokioJournal {
    path: PathBuf,
    first: Arc<File>,
    /// The one that grows.
    file: Arc<File>,
    unsynced: Vec<u8>,
}

impl JournalFile for TokioJournal {
    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            file.set_len(length)?;
            (&*file).seek(SeekFrom::End(0))?;
            file.sync_all()
        })
        .await
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.unsynced.extend_from_slice(line);
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        let (file, bytes) = (Arc::clone(&self.file), std::mem::take(&mut self.unsynced));
        blocking(move || {
            (&*file).write_all(&bytes)?;
            file.sync_data()
        })
        .await
    }

    async fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        let (path, journal) = (segment_path(&self.path, first), self.path.clone());
        self.file = blocking(move || {
            let file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
            File::open(folder_of(&journal))?.sync_all()?;
            Ok(Arc::new(file))
        })
        .await?;
        Ok(())
    }

    async fn remove_before(&mut self, first: u64) -> io::Result<()> {
        let (path, locked) = (self.path.clone(), Arc::clone(&self.first));
        blocking(move || {
            // The oldest first: what is left of them follows one another without a gap.
            locked.set_len(0)?;
            locked.sync_all()?;
            for (number, segment) in later_segments(&path)? {
                if number < first {
                    std::fs::remove_file(segment)?;
                }
            }
            File::open(folder_of(&path))?.sync_all()
        })
        .await
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn segment_path(journal: &Path, first: u64) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(format!(".{first}"));
    name.into()
}

/// The files of a journal but the first, in order.
fn later_segments(journal: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder_of(journal))? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
        let Ok(first) = number.1.parse::<u64>() else { continue };
        let path = segment_path(journal, first);
        if path.file_name() == Some(&name) {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// All files of a journal as they are now, in order. Nothing is locked or changed: a node may be writing it.
pub fn read_journal(path: &Path) -> io::Result<Vec<Segment>> {
    let read =
        |first: u64, path: &Path| files::read_regular(path, u64::MAX).map(|bytes| Segment { first, bytes });
    let mut segments = vec![read(1, path)?];
    for (first, path) in later_segments(path)? {
        segments.push(read(first, &path)?);
    }
    if segments.len() > 1 && segments[0].bytes.is_empty() {
        segments.remove(0); // all in it is forgotten
    }
    Ok(segments)
}

/// The first file of a journal, created if need be, and locked as long as it is open.
pub fn lock_journal(path: &Path) -> io::Result<File> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    files::regular_or_missing(path)?;
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other(taken(&file, folder)),
        TryLockError::Error(error) => error,
    })?;
    File::open(folder)?.sync_all()?; // the file's name must survive as well
    Ok(file)
}

fn open(path: &Path) -> io::Result<(Vec<Segment>, TokioJournal)> {
    let first = Arc::new(lock_journal(path)?);
    let segments = read_journal(path)?;
    let last = match later_segments(path)?.last() {
        Some((_, path)) => Arc::new(OpenOptions::new().read(true).append(true).open(path)?),
        None => Arc::clone(&first),
    };
    let path = path.to_owned();
    Ok((segments, TokioJournal { path, first, file: last, unsynced: Vec::new() }))
}

/// What is said of a journal that another process has locked.
fn taken(journal: &File, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let who = holder(journal).map_or("another process".into(), |pid| format!("process {pid}"));
    format!("{who} has it open, and no two nodes can use one journal in the folder {}", folder.display())
}

/// Who has locked a file, where the system tells.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`; those that wait have `->` behind the number.
    let held = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut held = held.filter(|words| words.len() > 5 && words[1] == "FLOCK");
    let of = |words: &Vec<&str>| words[5].rsplit(':').next() == Some(&inode);
    held.find(of)?[4].parse().ok().filter(|&pid| pid > 0)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_outgoing_connection_does_not_keep_its_port_from_a_listener() -> io::Result<()> {
        let runtime = TokioRuntime::new("");
        let mut listener = runtime.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let client = runtime.connect(Listener::local_addr(&listener)?).await?;
        let (server, port_of_client) = Listener::accept(&mut listener).await?;
        runtime.listen(port_of_client).await?;
        drop(client); // it ends first, so it is the one in TIME-WAIT
        drop(server);
        runtime.listen(port_of_client).await?;
        Ok(())
    }
}

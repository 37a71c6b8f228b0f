//! Links between nodes. The production transport writes frames into what it takes for a TCP connection; here
//! the frames are taken out again, and each is delivered, lost, doubled or held back as the seed and the plan
//! decide.
//!
//! Faults are injected on whole frames because madsim's TCP has none: what it is given arrives, in order.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use coalmine_core::node::NodeId;
use madsim::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use super::numbers::Numbers;
use crate::engine::network::{Direction, Mood, Trouble};
use crate::faults::{Directions, Effect, Effects};
use crate::plan::Links;

/// What becomes of a frame, and which send it comes from, for whoever watches.
pub type Watch = Arc<dyn Fn(NodeId, NodeId, &'static str, &Frame) + Send + Sync>;

/// A frame under way.
#[derive(Clone)]
pub struct Frame {
    /// What is on the wire.
    pub bytes: Vec<u8>,
    /// Which of all sends it comes from, if that is known.
    pub send: Option<u64>,
}

/// The network's mood.
#[derive(Clone)]
pub struct Network {
    mood: Arc<Mutex<Mood>>,
    watch: Watch,
    /// Which frame is which.
    pub numbers: Numbers,
    /// Wakes what waits for a clog to end, and what must break. (A `Notify` wakes in order; a `watch` would
    /// wake in an order that it draws from the process.)
    changed: Arc<Notify>,
}

impl Network {
    /// A network that draws from this seed.
    pub fn new(seed: u64, links: Links, watch: Watch, numbers: Numbers) -> Self {
        Self { mood: Arc::new(Mutex::new(Mood::new(seed, links))), watch, numbers, changed: Arc::default() }
    }

    /// Makes trouble on these directions, or takes it back. Troubles add up.
    pub fn trouble(&self, directions: &Directions, trouble: Trouble, begin: bool) {
        self.with(|mood| mood.trouble(directions, trouble, begin));
        self.changed.notify_waiters();
    }

    /// Breaks the connections that carry these directions.
    pub fn reset(&self, directions: &Directions) {
        self.with(|mood| mood.reset(directions));
        self.changed.notify_waiters();
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.with(Mood::heal);
        self.changed.notify_waiters();
    }

    /// Whether frames pass.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        self.with(|mood| mood.passes(from, to))
    }

    /// What took effect so far.
    pub fn effects(&self) -> Effects {
        self.with(|mood| mood.effects.clone())
    }

    fn direction(&self, from: NodeId, to: NodeId) -> Direction {
        self.with(|mood| mood.direction(from, to))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Mood) -> T) -> T {
        work(&mut self.mood.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After how long each copy of a frame sets out: none if it is lost.
    fn fate(&self, from: NodeId, to: NodeId, frame: &Frame) -> impl Iterator<Item = Duration> {
        let fate = self.with(|mood| mood.fate(from, to));
        (self.watch)(from, to, fate.tell, frame);
        fate.copies.into_iter().flatten()
    }

    /// A connection whose frames pass through this network.
    pub fn connect(&self, from: NodeId, to: NodeId, stream: TcpStream) -> FramedStream {
        let wire = self.numbers.opens((from, to), stream.local_addr());
        let (reader, writer) = tokio::io::split(stream);
        let (frames, frames_in) = mpsc::unbounded_channel();
        madsim::task::spawn(self.clone().pump(from, to, writer, wire, frames_in));
        let numbers = self.numbers.clone();
        FramedStream { reader, direction: (from, to), written: Vec::new(), frames, numbers }
    }

    /// Writes each frame when its time has come, until the connection breaks.
    async fn pump(
        self,
        from: NodeId,
        to: NodeId,
        mut writer: WriteHalf<TcpStream>,
        wire: Option<usize>,
        mut frames: mpsc::UnboundedReceiver<Frame>,
    ) {
        let clock = madsim::time::TimeHandle::current();
        let resets = self.direction(from, to).resets;
        let mut due: BTreeMap<(Duration, u64), Frame> = BTreeMap::new();
        let mut count = 0;
        loop {
            let changed = self.changed.notified();
            let clogged = self.direction(from, to).clogs > 0;
            let next = due.first_key_value().map(|(&(at, _), _)| at).filter(|_| !clogged);
            let wait = async {
                match next {
                    Some(at) if at > clock.elapsed() => madsim::time::sleep(at - clock.elapsed()).await,
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {
                    if self.direction(from, to).resets > resets {
                        self.with(|mood| mood.effects.count(Effect::ConnectionReset));
                        for frame in due.values() {
                            (self.watch)(from, to, "is lost in a reset", frame);
                        }
                        return;
                    }
                }
                frame = frames.recv() => {
                    let Some(frame) = frame else { return };
                    for delay in self.fate(from, to, &frame) {
                        count += 1;
                        due.insert((clock.elapsed() + delay, count), frame.clone());
                    }
                }
                () = wait => {
                    let Some((_, frame)) = due.pop_first() else { continue };
                    if !self.passes(from, to) {
                        self.with(|mood| mood.effects.count(Effect::FrameCutOff));
                        (self.watch)(from, to, "is cut off", &frame);
                    } else if writer.write_all(&frame.bytes).await.is_err() || writer.flush().await.is_err() {
                        return; // the receiver has gone
                    } else {
                        self.numbers.written(wire, frame.bytes.len(), frame.send);
                    }
                }
            }
        }
    }
}

/// What the transport takes for a TCP connection to a peer.
pub struct FramedStream {
    reader: ReadHalf<TcpStream>,
    direction: (NodeId, NodeId),
    /// Bytes that are not a whole frame yet.
    written: Vec<u8>,
    frames: mpsc::UnboundedSender<Frame>,
    numbers: Numbers,
}

impl AsyncRead for FramedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for FramedStream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        while let Some((header, _)) = self.written.split_first_chunk::<4>() {
            let length = 4 + u32::from_be_bytes(*header) as usize;
            if self.written.len() < length {
                break;
            }
            let rest = self.written.split_off(length);
            let bytes = std::mem::replace(&mut self.written, rest);
            let send = self.numbers.leaves(self.direction, &bytes);
            if self.frames.send(Frame { bytes, send }).is_err() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// madsim sends an empty packet when it is flushed without anything to flush; hyper flushes at every poll;
/// and so the two ends of a connection would wake each other for ever. This stream flushes what was written
/// and nothing else.
pub struct FlushOnce {
    stream: TcpStream,
    dirty: bool,
    numbers: Numbers,
    /// Which wire this is the receiving end of, once something was read.
    wire: Option<usize>,
}

impl FlushOnce {
    /// Wraps a connection.
    pub fn new(stream: TcpStream) -> Self {
        Self::accepted(stream, Numbers::default())
    }

    /// Wraps the receiving end of a connection.
    pub fn accepted(stream: TcpStream, numbers: Numbers) -> Self {
        Self { stream, dirty: false, numbers, wire: None }
    }
}

impl AsyncRead for FlushOnce {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (this, before) = (&mut *self, buf.filled().len());
        let ready = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let (Poll::Ready(Ok(())), Ok(address)) = (&ready, this.stream.peer_addr()) {
            this.numbers.read(address, &mut this.wire, buf.filled().len() - before);
        }
        ready
    }
}

impl AsyncWrite for FlushOnce {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.dirty |= !bytes.is_empty();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::take(&mut self.dirty) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

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
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::faults::{Directions, Effect, Effects};
use crate::plan::{Draw, Links, Stream};

/// What becomes of a frame, for whoever watches.
pub type Watch = Arc<dyn Fn(NodeId, NodeId, &'static str, &[u8]) + Send + Sync>;

/// What becomes of frames that arrive untouched.
pub const PASSED: &str = "arrives";

/// The network's mood.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    watch: Watch,
    /// Wakes what waits for a clog to end, and what must break. (A `Notify` wakes in order; a `watch` would
    /// wake in an order that it draws from the process.)
    changed: Arc<Notify>,
}

struct State {
    rng: ChaCha8Rng,
    links: Links,
    effects: Effects,
    /// What the plan did to each direction.
    directions: BTreeMap<(NodeId, NodeId), Direction>,
}

/// What the plan did to one direction; the same done twice must be undone twice.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    cuts: u32,
    clogs: u32,
    slower_ms: u64,
    resets: u64,
}

/// Something that a plan does to directions, and may undo.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Frames are lost.
    Cut,
    /// Frames are held.
    Clog,
    /// Frames take longer.
    Slow(u64),
}

impl Network {
    /// A network that draws from this seed.
    pub fn new(seed: u64, links: Links, watch: Watch) -> Self {
        let (rng, effects, directions) = (Stream::Network.of(seed), Effects::default(), BTreeMap::new());
        let state = State { rng, links, effects, directions };
        Self { state: Arc::new(Mutex::new(state)), watch, changed: Arc::default() }
    }

    /// Makes trouble on these directions, or takes it back. Troubles add up.
    pub fn trouble(&self, directions: &Directions, trouble: Trouble, begin: bool) {
        self.with(|state| {
            for &direction in directions {
                let it = state.directions.entry(direction).or_default();
                let step = |n: u64, by: u64| if begin { n + by } else { n.saturating_sub(by) };
                match trouble {
                    Trouble::Cut => it.cuts = step(it.cuts.into(), 1) as u32,
                    Trouble::Clog => it.clogs = step(it.clogs.into(), 1) as u32,
                    Trouble::Slow(ms) => it.slower_ms = step(it.slower_ms, ms),
                }
            }
        });
        self.changed.notify_waiters();
    }

    /// Breaks the connections that carry these directions.
    pub fn reset(&self, directions: &Directions) {
        self.with(|state| {
            for &direction in directions {
                state.directions.entry(direction).or_default().resets += 1;
            }
        });
        self.changed.notify_waiters();
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.with(|state| {
            state.links = Links::default();
            for direction in state.directions.values_mut() {
                *direction = Direction { resets: direction.resets, ..Direction::default() };
            }
        });
        self.changed.notify_waiters();
    }

    /// Whether frames pass.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        self.direction(from, to).cuts == 0
    }

    /// What took effect so far.
    pub fn effects(&self) -> Effects {
        self.with(|state| state.effects.clone())
    }

    fn direction(&self, from: NodeId, to: NodeId) -> Direction {
        self.with(|state| state.directions.get(&(from, to)).copied().unwrap_or_default())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After how long each copy of a frame sets out: none if it is lost.
    fn fate(&self, from: NodeId, to: NodeId, frame: &[u8]) -> Vec<Duration> {
        let (fate, copies) = self.with(|state| {
            let State { rng, links, effects, directions } = state;
            let direction = directions.get(&(from, to)).copied().unwrap_or_default();
            if rng.permille(links.loss_permille) {
                effects.count(Effect::FrameLost);
                return ("is lost", vec![]);
            }
            let copies = if rng.permille(links.duplicate_permille) { 2 } else { 1 };
            let mut delay = || match rng.permille(links.delay_permille) {
                true => Duration::from_millis(rng.below(u64::from(links.delay_ms) + 1)),
                false => Duration::ZERO,
            };
            let slower = Duration::from_millis(direction.slower_ms);
            let copies: Vec<_> = (0..copies).map(|_| delay() + slower).collect();
            effects.add(Effect::FrameDuplicated, copies.len() as u64 - 1);
            effects.add(Effect::FrameDelayed, copies.iter().filter(|delay| **delay > slower).count() as u64);
            effects.add(Effect::FrameSlowed, u64::from(!slower.is_zero()));
            effects.add(Effect::FrameClogged, u64::from(direction.clogs > 0));
            let fate = match copies.as_slice() {
                [_] if direction.clogs > 0 => "is held by a clog",
                [delay] if delay.is_zero() => PASSED,
                [_] => "is held back",
                _ => "arrives twice",
            };
            (fate, copies)
        });
        (self.watch)(from, to, fate, frame);
        copies
    }

    /// A connection whose frames pass through this network.
    pub fn connect(&self, from: NodeId, to: NodeId, stream: TcpStream) -> FramedStream {
        let (reader, writer) = tokio::io::split(stream);
        let (frames, frames_in) = mpsc::unbounded_channel();
        madsim::task::spawn(self.clone().pump(from, to, writer, frames_in));
        FramedStream { reader, written: Vec::new(), frames }
    }

    /// Writes each frame when its time has come, until the connection breaks.
    async fn pump(
        self,
        from: NodeId,
        to: NodeId,
        mut writer: WriteHalf<TcpStream>,
        mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        let clock = madsim::time::TimeHandle::current();
        let resets = self.direction(from, to).resets;
        let mut due: BTreeMap<(Duration, u64), Vec<u8>> = BTreeMap::new();
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
                        self.with(|state| state.effects.count(Effect::ConnectionReset));
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
                        self.with(|state| state.effects.count(Effect::FrameCutOff));
                        (self.watch)(from, to, "is cut off", &frame);
                    } else if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                        return; // the receiver has gone
                    }
                }
            }
        }
    }
}

/// What the transport takes for a TCP connection to a peer.
pub struct FramedStream {
    reader: ReadHalf<TcpStream>,
    /// Bytes that are not a whole frame yet.
    written: Vec<u8>,
    frames: mpsc::UnboundedSender<Vec<u8>>,
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
            let frame = std::mem::replace(&mut self.written, rest);
            if self.frames.send(frame).is_err() {
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
}

impl FlushOnce {
    /// Wraps a connection.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, dirty: false }
    }
}

impl AsyncRead for FlushOnce {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
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

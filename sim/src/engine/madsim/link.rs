//! Links between nodes. The production transport writes frames into what it takes for a TCP connection; here
//! the frames are taken out again, and each is delivered, lost, doubled or held back as the seed and the plan
//! decide.
//!
//! What passes at once is drawn, too (see [`super::wire`]): the transport has to put the pieces together.
//!
//! madsim's TCP opens a connection and refuses it where nobody listens. The frames travel beside it, in a
//! [`Pipe`] from one task's hand to the other's: madsim has no faults of its own for them, and would take two
//! wake-ups for each where one is enough. A frame that finds its reader idle sets one timer, which wakes it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use coalmine_core::node::NodeId;
use madsim::net::TcpStream;
use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Alarm;
use super::numbers::Numbers;
use super::wire::Wire;
use crate::engine::report::RunOptions;
use crate::engine::shared::network::{Direction, LinkFault, NetworkState, Remains};
use crate::spec::faults::{Directions, Effect, FrameFate};
use crate::spec::plan::{Links, Stream};
use crate::trace::Fate;

/// What becomes of a frame, and which send it comes from, for whoever watches.
pub type OnFrame = Arc<dyn Fn(NodeId, NodeId, Fate, &Frame) + Send + Sync>;

/// A frame under way.
#[derive(Clone)]
pub struct Frame {
    /// What is on the wire.
    pub bytes: Vec<u8>,
    /// Which of all sends it comes from, if that is known.
    pub send: Option<u64>,
}

/// The network's network_state, and the connections through it.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    watch: OnFrame,
    /// Which frame is which.
    pub numbers: Numbers,
}

struct State {
    network_state: NetworkState,
    /// What each end of a connection draws from begins here.
    wires: ChaCha8Rng,
    /// Numbers the connections.
    connections: u64,
    /// The sending ends that are open, and whom to wake when the plan does something to directions.
    open: BTreeMap<u64, Option<Waker>>,
    /// Connections that were opened and not yet taken, by their sender's address.
    opened: BTreeMap<SocketAddr, Opened>,
}

/// A connection that nobody has taken yet.
struct Opened {
    direction: (NodeId, NodeId),
    pipe: Arc<Mutex<Pipe>>,
}

impl Network {
    /// A network that draws from this seed.
    pub fn new(options: RunOptions, links: Links, watch: OnFrame, numbers: Numbers) -> Self {
        let (network_state, open, opened) =
            (NetworkState::new(options, links), BTreeMap::new(), BTreeMap::new());
        let state =
            State { network_state, wires: Stream::Wire.of(options.seed), connections: 0, open, opened };
        Self { state: Arc::new(Mutex::new(state)), watch, numbers }
    }

    /// Begins a fault of these directions, or ends it. Faults add up.
    pub fn change_fault(&self, directions: &Directions, fault: LinkFault, begin: bool) {
        self.change(|network_state| network_state.change_fault(directions, fault, begin));
    }

    /// Breaks the connections that carry these directions.
    pub fn reset(&self, directions: &Directions) {
        self.change(|network_state| network_state.reset(directions));
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.change(NetworkState::heal);
    }

    /// Whether frames pass.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        self.with(|state| state.network_state.passes(from, to))
    }

    /// A step of the plan says what becomes of the `nth` frame of a direction from now on.
    pub fn say(&self, step: usize, direction: (NodeId, NodeId), nth: u32, fate: FrameFate) {
        self.with(|state| state.network_state.say(step, direction, nth, fate));
    }

    /// What is known at the end.
    pub fn remains(&self) -> Remains {
        self.with(|state| state.network_state.remains())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what happens to frames, and wakes all connections, in order.
    fn change(&self, work: impl FnOnce(&mut NetworkState)) {
        self.with(|state| {
            work(&mut state.network_state);
            state.open.values_mut().filter_map(Option::take).for_each(Waker::wake);
        });
    }

    /// A connection that was opened: its sending end.
    pub fn connect(&self, from: NodeId, to: NodeId, stream: TcpStream) -> io::Result<FrameWriter> {
        let (pipe, address) = (Arc::default(), stream.local_addr()?);
        let (number, direction, wire) = self.with(|state| {
            state.opened.insert(address, Opened { direction: (from, to), pipe: Arc::clone(&pipe) });
            state.connections += 1;
            state.open.insert(state.connections, None);
            (state.connections, state.network_state.direction(from, to), Wire::new(state.wires.next_u64()))
        });
        Ok(FrameWriter {
            network: self.clone(),
            number,
            address,
            from,
            to,
            resets: direction.resets,
            pipe,
            wire,
            clock: TimeHandle::current(),
            part: Vec::new(),
            held: BTreeMap::new(),
            counted: 0,
            alarm: None,
            arrival: Alarm::new(&TimeHandle::current(), Duration::ZERO),
            stream,
        })
    }

    /// A connection that was taken: its receiving end, if it is one between nodes.
    pub fn accept(&self, from: SocketAddr) -> Option<FrameReader> {
        let (Opened { direction, pipe }, wire) =
            self.with(|state| Some((state.opened.remove(&from)?, Wire::new(state.wires.next_u64()))))?;
        lock(&pipe).accepted = true;
        let (clock, numbers) = (TimeHandle::current(), self.numbers.clone());
        let alarm = Alarm::new(&clock, Duration::ZERO);
        Some(FrameReader { pipe, wire, clock, direction, numbers, read: 0, alarm, awaits: None })
    }
}

/// What is under way on one connection.
#[derive(Default)]
struct Pipe {
    /// Frames, and when each arrives. They keep their order.
    frames: VecDeque<(Instant, Frame)>,
    /// Who reads.
    reader: Option<Waker>,
    /// The reader has seen that there is no frame.
    reader_waits: bool,
    /// Who wants to know when the receiver has gone.
    writer: Option<Waker>,
    /// The receiver has taken the connection.
    accepted: bool,
    /// One of the ends has gone.
    closed: bool,
}

impl Pipe {
    fn close(&mut self) {
        self.closed = true;
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

fn lock(pipe: &Mutex<Pipe>) -> std::sync::MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sending end. It lets each frame go when its time has come, until it breaks. What is held back sets out
/// while the transport reads, which it always does, to learn that its peer has gone.
pub struct FrameWriter {
    network: Network,
    /// Which of the network's connections it is.
    number: u64,
    address: SocketAddr,
    from: NodeId,
    to: NodeId,
    /// How often the direction had been reset when it was opened.
    resets: u64,
    pipe: Arc<Mutex<Pipe>>,
    /// How much it takes at once.
    wire: Wire,
    clock: TimeHandle,
    /// Bytes that are not a whole frame yet.
    part: Vec<u8>,
    /// Frames that are held back, by the time at which they set out.
    held: BTreeMap<(Duration, u64), Frame>,
    counted: u64,
    /// Wakes the task for the first of them.
    alarm: Option<(Duration, Alarm)>,
    /// Wakes the reader for the frame that sets out.
    arrival: Alarm,
    /// The connection itself.
    stream: TcpStream,
}

impl FrameWriter {
    /// Takes bytes; every frame that is whole sets out, or not.
    pub fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if lock(&self.pipe).closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.held.is_empty() {
            self.check_reset()?;
            self.let_go_due(cx);
        }
        let bytes = &bytes[..ready!(self.wire.pass(bytes.len(), cx))];
        if self.part.is_empty() && whole_frame(bytes) == Some(bytes.len()) {
            self.send(bytes.to_vec())?;
        } else {
            self.part.extend_from_slice(bytes);
            while let Some(length) = whole_frame(&self.part) {
                let rest = self.part.split_off(length);
                let frame = std::mem::replace(&mut self.part, rest);
                self.send(frame)?;
            }
        }
        if !self.held.is_empty() {
            self.let_go_due(cx);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Does what has become due. Ready when the connection has ended.
    pub fn tend(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let accepted = {
            let mut pipe = lock(&self.pipe);
            if pipe.closed {
                return Poll::Ready(Ok(()));
            }
            register(&mut pipe.writer, cx);
            pipe.accepted
        };
        // A receiver that dies before it takes the connection leaves no trace in the pipe.
        if !accepted && Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut [0])).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.network.with(|state| register(state.open.entry(self.number).or_default(), cx));
        self.check_reset()?;
        self.let_go_due(cx);
        Poll::Pending
    }

    /// Decides what becomes of a frame, and lets it go if nothing holds it back.
    fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (from, to) = (self.from, self.to);
        let now = self.clock.elapsed();
        let decided = self.network.with(|State { network_state, .. }| {
            let direction = network_state.direction(from, to);
            if direction.resets != self.resets {
                return None;
            }
            let passage = network_state.passage(now, from, to);
            let at_once = passage.copies == [Some(Duration::ZERO), None];
            let passes = at_once && direction.clogs == 0 && !direction.cuts.any();
            Some((passage, direction, passes.then(|| network_state.latency())))
        });
        let Some((passage, direction, latency)) = decided else { return self.check_reset() };
        let frame = Frame { send: self.network.numbers.leaves((from, to), &bytes), bytes };
        (self.network.watch)(from, to, passage.fate, &frame);
        if let Some(latency) = latency {
            self.depart(frame, latency);
            return Ok(());
        }
        let [first, second] = passage.copies;
        if let Some(delay) = second {
            self.set_out(frame.clone(), delay, direction);
        }
        if let Some(delay) = first {
            self.set_out(frame, delay, direction);
        }
        Ok(())
    }

    /// A frame sets out after so long.
    fn set_out(&mut self, frame: Frame, delay: Duration, direction: Direction) {
        if delay.is_zero() && direction.clogs == 0 {
            return self.let_go(frame, direction);
        }
        self.counted += 1;
        self.held.insert((self.clock.elapsed() + delay, self.counted), frame);
    }

    /// Lets all go whose time has come, and sees to it that the task is woken for the next.
    fn let_go_due(&mut self, cx: &mut Context<'_>) {
        while let Some((&(at, _), _)) = self.held.first_key_value() {
            let direction = self.network.with(|state| state.network_state.direction(self.from, self.to));
            if direction.clogs > 0 {
                return;
            }
            if at > self.clock.elapsed() {
                if self.alarm.as_ref().is_none_or(|(rings, _)| *rings != at) {
                    self.alarm = Some((at, Alarm::new(&self.clock, at)));
                }
                if self.alarm.as_mut().is_some_and(|(_, alarm)| alarm.poll(cx).is_pending()) {
                    return;
                }
            }
            if let Some((_, frame)) = self.held.pop_first() {
                self.let_go(frame, direction);
            }
        }
    }

    /// A frame sets out, unless the direction is cut.
    fn let_go(&mut self, frame: Frame, direction: Direction) {
        if direction.cuts.any() {
            self.network.with(|state| state.network_state.cut_off(direction.cuts));
            return (self.network.watch)(self.from, self.to, Fate::CutOff, &frame);
        }
        let latency = self.network.with(|state| state.network_state.latency());
        self.depart(frame, latency);
    }

    /// A frame is under way.
    fn depart(&mut self, frame: Frame, latency: Duration) {
        let arrives = self.clock.now_instant() + latency;
        let pipe = &mut *lock(&self.pipe);
        if std::mem::take(&mut pipe.reader_waits)
            && let Some(reader) = &pipe.reader
        {
            self.arrival.wake_at(arrives, reader); // it sleeps until then: one timer, one wake-up
        }
        pipe.frames.push_back((arrives, frame));
    }

    /// Whether it is still whole.
    fn check_reset(&mut self) -> io::Result<()> {
        if self.network.with(|state| state.network_state.direction(self.from, self.to)).resets == self.resets
        {
            return Ok(());
        }
        self.network.with(|state| state.network_state.effects.count(Effect::ConnectionReset));
        for frame in std::mem::take(&mut self.held).values() {
            (self.network.watch)(self.from, self.to, Fate::LostInReset, frame);
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        self.network.with(|state| {
            state.open.remove(&self.number);
            // Nobody may take it any more: the next one from this address may be of another kind.
            if state.opened.get(&self.address).is_some_and(|opened| Arc::ptr_eq(&opened.pipe, &self.pipe)) {
                state.opened.remove(&self.address);
            }
        });
        lock(&self.pipe).close();
    }
}

/// The receiving end.
pub struct FrameReader {
    pipe: Arc<Mutex<Pipe>>,
    /// How much it gives at once.
    wire: Wire,
    clock: TimeHandle,
    direction: (NodeId, NodeId),
    numbers: Numbers,
    /// How many bytes of the first frame were read.
    read: usize,
    /// Wakes the task when the first frame arrives, if it was read after others and is still under way.
    alarm: Alarm,
    /// For when the alarm is set.
    awaits: Option<Instant>,
}

impl FrameReader {
    /// Reads what has arrived; nothing more comes once the sender has gone and all has arrived.
    pub fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *lock(&self.pipe);
        let Some((arrives, frame)) = pipe.frames.front() else {
            if pipe.closed {
                return Poll::Ready(Ok(()));
            }
            pipe.reader_waits = true;
            register(&mut pipe.reader, cx);
            return Poll::Pending;
        };
        if *arrives > self.clock.now_instant() {
            if self.awaits != Some(*arrives) {
                self.awaits = Some(*arrives);
                self.alarm.set(*arrives);
            }
            ready!(self.alarm.poll(cx));
        }
        let rest = frame.bytes.len() - self.read;
        let mut length = ready!(self.wire.pass(rest.min(buf.remaining()), cx));
        while let Some((_, frame)) = pipe.frames.front() {
            buf.put_slice(&frame.bytes[self.read..][..length]);
            self.read += length;
            if self.read < frame.bytes.len() {
                break;
            }
            self.numbers.read(self.direction, frame.send);
            pipe.frames.pop_front();
            self.read = 0;
            // What has arrived besides may come along.
            let Some((arrives, next)) = pipe.frames.front() else { break };
            if *arrives > self.clock.now_instant() || !self.wire.joins() {
                break;
            }
            length = next.bytes.len().min(buf.remaining());
            if length == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        lock(&self.pipe).close();
    }
}

/// Keeps whom to wake.
fn register(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

/// The length of the frame at the beginning of these bytes, if they hold all of it.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*header) as usize;
    (rest.len() >= length).then_some(4 + length)
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

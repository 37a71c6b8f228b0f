//! The shell's outside world in simulation: madsim's tasks, clock and TCP, our links and disks.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use coalmine_core::codec::journal::Segment;
use coalmine_core::node::{Delay, NodeId};
use coalmine_real::runtime::{Listener, Runtime};
use madsim::net::{TcpListener, TcpStream};
use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::alarm::Alarm;
use super::disk::{Disks, SEGMENT_BYTES, SimJournal};
use super::link::{FlushOnce, FrameReader, FrameWriter, Network};
use super::survive::{OnPanic, reporting};
use crate::engine::shared::clock::ClockState;
use crate::spec::plan::Draw;

/// How long a connection to an unreachable node takes to fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One node's simulated outside world.
#[derive(Clone)]
pub struct SimRuntime {
    /// Who lives here; `None` for a client.
    pub me: Option<NodeId>,
    /// The links between nodes.
    pub network: Network,
    /// Which addresses are nodes' control planes: what is sent there passes through the links.
    pub control: Arc<BTreeMap<SocketAddr, NodeId>>,
    /// Where timers and choices are drawn from.
    pub draws: Arc<Mutex<ChaCha8Rng>>,
    /// What this node takes for the time.
    pub clock: Clock,
    /// Who is told when one of its tasks panics.
    pub on_panic: OnPanic,
}

/// A node's clock: it may run fast or slow, and jump ahead. It never goes back.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    truly: TimeHandle,
    hand: Mutex<ClockState>,
    /// How often it was touched. Whoever sleeps looks here, without a lock, whenever it is polled.
    touches: AtomicU64,
    touched: Notify,
}

impl Default for Clock {
    /// A clock of the simulation that is running.
    fn default() -> Self {
        let (truly, hand, touched) = (TimeHandle::current(), Mutex::default(), Notify::new());
        Self(Arc::new(Inner { truly, hand, touches: AtomicU64::new(0), touched }))
    }
}

impl Clock {
    /// What it shows.
    pub fn now(&self) -> Duration {
        self.hand().shows(self.0.truly.elapsed())
    }

    /// From now on it runs at this speed, after a jump ahead.
    pub fn touch(&self, percent: Option<u32>, jump: Duration) {
        let truly = self.0.truly.elapsed();
        self.0.hand.lock().unwrap_or_else(PoisonError::into_inner).touch(truly, percent, jump);
        self.0.touches.fetch_add(1, Ordering::Relaxed);
        self.0.touched.notify_waiters();
    }

    fn hand(&self) -> ClockState {
        *self.0.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touches(&self) -> u64 {
        self.0.touches.load(Ordering::Relaxed)
    }

    /// Waits until it shows so much more than now, whatever happens to it.
    async fn sleep(self, duration: Duration) {
        let until = self.now().saturating_add(duration);
        loop {
            let mut touched = pin!(self.0.touched.notified());
            let (hand, touches) = (self.hand(), self.touches());
            let truly = self.0.truly.elapsed();
            let left = until.saturating_sub(hand.shows(truly));
            if left.is_zero() {
                return;
            }
            let mut alarm = Alarm::new(&self.0.truly, truly.saturating_add(hand.takes(left)));
            poll_fn(|cx| {
                if self.touches() != touches {
                    return Poll::Ready(());
                }
                if alarm.wakes(cx) {
                    return alarm.rings(); // nobody else has polled this since
                }
                if touched.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                alarm.poll(cx)
            })
            .await;
        }
    }
}

impl SimRuntime {
    fn draw_below(&self, n: u64) -> u64 {
        self.draws.lock().unwrap_or_else(PoisonError::into_inner).below(n)
    }
}

impl Runtime for SimRuntime {
    type Stream = SimStream;
    type Listener = SimListener;
    type Journal = SimJournal;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        madsim::task::spawn(reporting(task, Arc::clone(&self.on_panic)));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.clock.clone().sleep(duration)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn choose(&self, n: u32) -> u32 {
        self.draw_below(u64::from(n)) as u32
    }

    fn draw(&self, delay: Delay) -> Duration {
        delay.draw(|n| self.draw_below(n))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<SimStream> {
        let (Some(me), Some(&peer)) = (self.me, self.control.get(&to)) else {
            return Ok(SimStream::Plain(FlushOnce::new(TcpStream::connect(to).await?)));
        };
        let numbers = &self.network.numbers;
        numbers.connects((me, peer), TimeHandle::current().elapsed());
        let stream = if !self.network.passes(me, peer) || !self.network.passes(peer, me) {
            madsim::time::sleep(CONNECT_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        } else {
            TcpStream::connect(to).await
        };
        let stream = stream.inspect_err(|_| numbers.fails((me, peer)))?;
        Ok(SimStream::Sending(self.network.connect(me, peer, stream)?))
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        Ok(SimListener { listener: TcpListener::bind(at).await?, network: self.network.clone() })
    }

    async fn open_journal(&self) -> io::Result<(Vec<Segment>, SimJournal)> {
        Ok(Disks::current().open())
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }
}

/// A simulated listener.
pub struct SimListener {
    listener: TcpListener,
    network: Network,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (stream, from) = self.listener.accept().await?;
        let stream = match self.network.accept(from) {
            Some(reader) => SimStream::Receiving { reader, _connection: stream },
            None => SimStream::Plain(FlushOnce::new(stream)),
        };
        Ok((stream, from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A simulated connection.
pub enum SimStream {
    /// To or from a client.
    Plain(FlushOnce),
    /// The sending end between nodes.
    Sending(FrameWriter),
    /// The receiving end between nodes.
    Receiving {
        /// What arrives.
        reader: FrameReader,
        /// Its end is how the sender learns that nobody takes it, and keeps the port.
        _connection: TcpStream,
    },
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sending(stream) => stream.tend(cx),
            Self::Receiving { reader, .. } => reader.read(cx, buf),
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Sending(stream) => stream.write(bytes, cx),
            Self::Receiving { .. } => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Sending(_) | Self::Receiving { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Sending(_) | Self::Receiving { .. } => Poll::Ready(Ok(())),
        }
    }
}

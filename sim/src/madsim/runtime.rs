//! The shell's outside world in simulation: madsim's tasks, clock and TCP, our links and disks.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use coalmine_core::node::{Delay, NodeId};
use coalmine_real::runtime::{Listener, Runtime};
use madsim::net::{TcpListener, TcpStream};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::disk::{Disks, SimJournal};
use super::link::{FlushOnce, FramedStream, Network};
use super::numbers::Numbers;
use crate::engine::clock::Hand;
use crate::plan::Draw;

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
}

/// A node's clock: it may run fast or slow, and jump ahead. It never goes back.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<(Mutex<Hand>, Notify)>);

impl Clock {
    /// What it shows.
    pub fn now(&self) -> Duration {
        self.hand().shows(madsim::time::TimeHandle::current().elapsed())
    }

    /// From now on it runs at this speed, after a jump ahead.
    pub fn touch(&self, percent: Option<u32>, jump: Duration) {
        let truly = madsim::time::TimeHandle::current().elapsed();
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).touch(truly, percent, jump);
        self.0.1.notify_waiters();
    }

    fn hand(&self) -> Hand {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it shows so much more than now, whatever happens to it.
    async fn sleep(self, duration: Duration) {
        let until = self.now() + duration;
        loop {
            let touched = self.0.1.notified();
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = touched => {}
                () = madsim::time::sleep(self.hand().takes(left)) => {}
            }
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
        madsim::task::spawn(task);
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
        let spread = (delay.max - delay.min).as_nanos() as u64;
        delay.min + Duration::from_nanos(self.draw_below(spread + 1))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<SimStream> {
        let (Some(me), Some(&peer)) = (self.me, self.control.get(&to)) else {
            return Ok(SimStream::Plain(FlushOnce::new(TcpStream::connect(to).await?)));
        };
        let numbers = &self.network.numbers;
        numbers.connects((me, peer), madsim::time::TimeHandle::current().elapsed());
        let stream = if !self.network.passes(me, peer) || !self.network.passes(peer, me) {
            madsim::time::sleep(CONNECT_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        } else {
            TcpStream::connect(to).await
        };
        let stream = stream.inspect_err(|_| numbers.fails((me, peer)))?;
        Ok(SimStream::Framed(self.network.connect(me, peer, stream)))
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        Ok(SimListener(TcpListener::bind(at).await?, self.network.numbers.clone()))
    }

    async fn open_journal(&self) -> io::Result<(Vec<u8>, SimJournal)> {
        Ok(Disks::current().open())
    }
}

/// A simulated listener.
pub struct SimListener(TcpListener, Numbers);

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((SimStream::Plain(FlushOnce::accepted(stream, self.1.clone())), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A simulated connection.
pub enum SimStream {
    /// To a client, or the receiving end.
    Plain(FlushOnce),
    /// The sending end between nodes.
    Framed(FramedStream),
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Framed(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Framed(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Framed(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Framed(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

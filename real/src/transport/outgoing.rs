//! What goes to one peer: a queue, and the connection that empties it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use coalmine_core::node::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sparing::Sparing;
use super::wake_set::SlotWaker;
use super::{Later, RECONNECT, Who};
use crate::runtime::{Runtime, Unproven};

/// How many frames may wait for a peer; more are lost.
const QUEUED_FRAMES: usize = 1024;
/// How many bytes they may have all together: a few of the largest frames, and many more than that of usual ones.
const QUEUED_BYTES: usize = 16 << 20;
/// A write that takes longer ends its connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer, as far as frames go to it.
pub(super) struct Outgoing<R: Runtime> {
    runtime: R,
    peer: NodeId,
    address: SocketAddr,
    waker: SlotWaker<Who>,
    queue: VecDeque<Vec<u8>>,
    link: Link<R::Stream>,
    /// How long to wait when it cannot be reached the next time.
    pause: Duration,
    /// Nothing more will be sent.
    is_leaving: bool,
    /// Why the last attempt failed, if the other end was not who it should be.
    unproven: Option<String>,
    pub(super) complaints: Sparing,
    /// How many frames were lost since somebody asked.
    lost: u64,
}

enum Link<S> {
    /// There was nothing to send since the last connection ended.
    Closed,
    Connecting(Later<io::Result<S>>),
    /// It could not be reached.
    Pausing(Later<()>),
    Open(Open<S>),
}

struct Open<S> {
    stream: S,
    /// How much of the frame that is being written has gone.
    written: usize,
    /// Ends the connection, while a write hangs.
    timeout: Option<Later<()>>,
}

impl<R: Runtime> Outgoing<R> {
    pub(super) fn new(runtime: R, peer: NodeId, address: SocketAddr, waker: SlotWaker<Who>) -> Self {
        let (queue, link, pause) = (VecDeque::new(), Link::Closed, RECONNECT.0);
        Self {
            runtime,
            peer,
            address,
            waker,
            queue,
            link,
            pause,
            is_leaving: false,
            unproven: None,
            complaints: Sparing::default(),
            lost: 0,
        }
    }

    /// Where it takes frames.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it was not reached, if it was not who it should be. Told once.
    pub(super) fn take_unproven(&mut self) -> Option<String> {
        self.unproven.take()
    }

    /// How many frames were lost since this was last asked.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Whether nothing more will be sent.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Something will be sent after all.
    pub(super) fn stay(&mut self) {
        self.is_leaving = false;
    }

    /// Nothing more will be sent. Says whether it is over already.
    pub(super) fn leave(&mut self) -> bool {
        self.is_leaving = true;
        self.is_over()
    }

    /// Whether nothing more will be sent, and nothing waits: a peer that has not been reached is not tried again.
    pub(super) fn is_over(&self) -> bool {
        self.is_leaving && (self.queue.is_empty() || matches!(self.link, Link::Closed | Link::Pausing(_)))
    }

    /// Sends a frame: at once, if the connection takes it. `false` if too many wait already.
    pub(super) fn send(&mut self, frame: &[u8]) -> bool {
        if let Link::Open(open) = &mut self.link
            && self.queue.is_empty()
        {
            match open.write(frame, &mut Context::from_waker(self.waker.waker())) {
                Poll::Ready(Ok(())) => return true,
                Poll::Ready(Err(_)) => {
                    self.link = Link::Closed; // the frame is lost with the connection
                    self.lost += 1;
                    return true;
                }
                Poll::Pending => {} // what is written of it so far, `open` knows
            }
        }
        let waiting: usize = self.queue.iter().map(Vec::len).sum();
        if self.queue.len() >= QUEUED_FRAMES || waiting + frame.len() > QUEUED_BYTES {
            return false;
        }
        self.queue.push_back(frame.to_vec());
        if self.queue.len() == 1 {
            self.tend();
        }
        true
    }

    /// Goes on with whatever is to be done. What that waits for wakes this peer's waker.
    pub(super) fn tend(&mut self) {
        let waker = self.waker.answer().clone();
        let _ = self.poll(&mut Context::from_waker(&waker));
    }

    /// Never ready.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.link = match &mut self.link {
                Link::Closed if self.queue.is_empty() => return Poll::Pending,
                Link::Closed => {
                    let (runtime, peer, address) = (self.runtime.clone(), self.peer, self.address);
                    Link::Connecting(Box::pin(async move { runtime.connect_peer(peer, address).await }))
                }
                Link::Connecting(connected) => match ready!(connected.as_mut().poll(cx)) {
                    Ok(stream) => {
                        self.pause = RECONNECT.0;
                        Link::Open(Open { stream, written: 0, timeout: None })
                    }
                    Err(error) => {
                        self.unproven = Unproven::of(&error);
                        Link::Pausing(Box::pin(self.runtime.sleep(self.pause)))
                    }
                },
                Link::Pausing(over) => {
                    ready!(over.as_mut().poll(cx));
                    self.pause = (self.pause * 2).min(RECONNECT.1);
                    self.lost += self.queue.len() as u64;
                    self.queue.clear(); // what could not be sent is lost
                    Link::Closed
                }
                Link::Open(open) => {
                    let lost = ready!(open.tend(&mut self.queue, &self.runtime, cx));
                    self.lost += lost;
                    Link::Closed
                }
            };
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Open<S> {
    /// Writes what waits, and watches for the peer's end. Ready when the connection has broken, with how many frames are lost.
    fn tend<R: Runtime>(
        &mut self,
        queue: &mut VecDeque<Vec<u8>>,
        runtime: &R,
        cx: &mut Context<'_>,
    ) -> Poll<u64> {
        if self.write_queue(queue, runtime, cx).is_ready() {
            return Poll::Ready(1);
        }
        if !queue.is_empty() {
            return Poll::Pending; // the write tells whether it is broken
        }
        // Peers never write here: if there is anything to read, it has closed the connection.
        Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut [0])).map(|_| 0)
    }

    /// Writes until nothing waits or the connection takes no more. Ready when it has broken; the frame that was
    /// being written is lost.
    fn write_queue<R: Runtime>(
        &mut self,
        queue: &mut VecDeque<Vec<u8>>,
        runtime: &R,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while let Some(frame) = queue.front() {
            let broken = match self.write(frame, cx) {
                Poll::Ready(written) => written.is_err(),
                Poll::Pending => {
                    let timeout = || -> Later<()> { Box::pin(runtime.sleep(WRITE_TIMEOUT)) };
                    ready!(self.timeout.get_or_insert_with(timeout).as_mut().poll(cx));
                    true
                }
            };
            queue.pop_front();
            if broken {
                return Poll::Ready(());
            }
            self.timeout = None;
        }
        Poll::Pending
    }

    /// Writes a frame, or what is left of it.
    fn write(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < frame.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &frame[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.written += more,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

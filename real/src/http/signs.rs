//! What the parts of a connection tell of it, for its own task to look at: its stream, the bodies of its requests, those of
//! its answers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::vitals::Vitals;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request's head.
    Head,
    /// The request's body.
    Body,
    /// The answer, and its end.
    Answer,
}

/// In which directions bytes have moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moves {
    pub(super) read: bool,
    pub(super) written: bool,
}

impl Moves {
    pub(super) fn any(self) -> bool {
        self.read || self.written
    }
}

/// What is known of a connection. Whoever changes something here is about to wake the task, or is that task: that is what
/// orders the changes.
#[derive(Debug, Default)]
pub(super) struct Signs {
    phase: AtomicU8,
    requests: AtomicU64,
    has_read: AtomicBool,
    has_written: AtomicBool,
    is_blocked: AtomicBool,
    awaits_body: AtomicBool,
}

const HEAD: u8 = 0;
const BODY: u8 = 1;
const ANSWER: u8 = 2;

impl Signs {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            BODY => Phase::Body,
            ANSWER => Phase::Answer,
            _ => Phase::Head,
        }
    }

    /// How many requests have begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether the client does not take what is written.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Whether somebody wants more of a request's body, and nothing has come.
    pub(super) fn awaits_body(&self) -> bool {
        self.awaits_body.load(Ordering::Relaxed)
    }

    /// What has moved since this was last asked.
    pub(super) fn take_moves(&self) -> Moves {
        let take = |sign: &AtomicBool| sign.swap(false, Ordering::Relaxed);
        Moves { read: take(&self.has_read), written: take(&self.has_written) }
    }

    /// The request is there as a whole, or nobody wants the rest of it.
    fn body_is_over(&self) {
        self.awaits_body.store(false, Ordering::Relaxed);
        let _ = self.phase.compare_exchange(BODY, ANSWER, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A request that is in flight, until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Signs>, Arc<Vitals>);

impl InFlight {
    /// Its head is there.
    pub(super) fn begin(signs: &Arc<Signs>, vitals: &Arc<Vitals>, body: &Incoming) -> Self {
        vitals.in_flight.add(1);
        signs.requests.fetch_add(1, Ordering::Relaxed);
        let phase = if body.is_end_stream() { ANSWER } else { BODY };
        signs.phase.store(phase, Ordering::Relaxed);
        Self(Arc::clone(signs), Arc::clone(vitals))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.phase.store(HEAD, Ordering::Relaxed);
        self.1.in_flight.take_one();
    }
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    /// Until it is over.
    signs: Option<Arc<Signs>>,
}

impl Upload {
    pub(super) fn new(body: Incoming, signs: &Arc<Signs>) -> Self {
        let signs = (!body.is_end_stream()).then(|| Arc::clone(signs));
        Self { body, signs }
    }

    fn is_over(&mut self) {
        if let Some(signs) = self.signs.take() {
            signs.body_is_over();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Before it asks for more: the connection's task may be woken by that, and look at once.
        if let Some(signs) = &self.signs {
            signs.awaits_body.store(true, Ordering::Relaxed);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(signs) = &self.signs {
            signs.awaits_body.store(false, Ordering::Relaxed);
        }
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.is_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.is_over();
    }
}

/// The body of an answer. Whoever drops it has given all of it to the connection.
#[derive(Debug)]
pub(super) struct Answer {
    body: axum::body::Body,
    _in_flight: InFlight,
}

impl Answer {
    pub(super) fn new(body: axum::body::Body, in_flight: InFlight) -> Self {
        Self { body, _in_flight: in_flight }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a connection.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    signs: Arc<Signs>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, signs: Arc<Signs>) -> Self {
        Self { stream, signs }
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.signs.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.signs.has_written.store(true, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.signs.has_read.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Nothing is flushed before all is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.signs.is_blocked.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

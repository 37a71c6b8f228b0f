//! What comes from peers: the connections that they have opened.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use coalmine_core::codec::frame::{Decoder, FrameError};
use coalmine_core::form::Form;
use coalmine_core::node::NodeId;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf};

use super::wake_set::SlotWaker;
use super::{Envelope, Later, NONSENSE, Who};
use crate::runtime::{Listener, Runtime, Unproven};

/// What a listener has taken, and the listener.
pub(super) type Accepted<L> = (L, io::Result<(<L as Listener>::Stream, SocketAddr)>);

/// Waits for the next connection, after a while.
pub(super) fn accept<R: Runtime>(
    pause: Option<Duration>,
    mut listener: R::Listener,
    runtime: R,
) -> Later<Accepted<R::Listener>> {
    Box::pin(async move {
        if let Some(pause) = pause {
            runtime.sleep(pause).await;
        }
        let accepted = listener.accept().await;
        (listener, accepted)
    })
}

/// What is wrong with a connection.
pub(super) enum Wrong {
    /// Its bytes are no frames.
    Nonsense(String),
    /// Its other end cannot prove who it is.
    Unproven(String),
}

/// A connection that a peer has opened.
pub(super) struct Incoming<S> {
    stream: S,
    from: SocketAddr,
    waker: SlotWaker<Who>,
    decoder: Decoder,
    /// Nothing more will be read.
    ended: bool,
    /// Why nothing was read, if the other end cannot prove who it is.
    unproven: Option<String>,
    /// Whose it is, once a frame has said it.
    pub(super) whose: Option<NodeId>,
    /// When it was opened.
    pub(super) since: Duration,
    /// The turn of its last frame, or of its beginning.
    pub(super) heard: u64,
    /// It is closed if there is nothing to read.
    pub(super) is_overdue: bool,
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    pub(super) fn new(stream: S, from: SocketAddr, waker: SlotWaker<Who>, form: Form) -> Self {
        Self {
            stream,
            from,
            waker,
            decoder: Decoder::new(form),
            ended: false,
            unproven: None,
            whose: None,
            since: Duration::ZERO,
            heard: 0,
            is_overdue: false,
        }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn from(&self) -> SocketAddr {
        self.from
    }

    pub(super) fn waker(&self) -> &SlotWaker<Who> {
        &self.waker
    }

    /// The next message; nothing after the connection's end. `Err` says what is wrong with it; it is of no use
    /// any more. What is read goes through `room`.
    pub(super) fn next<M: DeserializeOwned>(
        &mut self,
        room: &mut [u8],
    ) -> Poll<Result<Option<Envelope<M>>, Wrong>> {
        let next = ready!(self.poll_next(room));
        if let Some(why) = self.unproven.take() {
            return Poll::Ready(Err(Wrong::Unproven(format!(
                "refused a connection from {}: {why}",
                self.from
            ))));
        }
        let why = match next {
            Ok(next) => return Poll::Ready(Ok(next)),
            Err(Some(error)) => error.to_string(),
            Err(None) => "it ended within a frame".into(),
        };
        Poll::Ready(Err(Wrong::Nonsense(format!("{NONSENSE} {} closed: {why}", self.from))))
    }

    fn poll_next<M: DeserializeOwned>(
        &mut self,
        room: &mut [u8],
    ) -> Poll<Result<Option<Envelope<M>>, Option<FrameError>>> {
        self.waker.answer();
        loop {
            if let Some(envelope) = self.decoder.next_frame().map_err(Some)? {
                return Poll::Ready(Ok(Some(envelope)));
            }
            if self.ended {
                return Poll::Ready(if self.decoder.is_between_frames() { Ok(None) } else { Err(None) });
            }
            ready!(self.read(room));
        }
    }

    /// Whether nothing can be read now, so that it will call: then nobody has to look at it before.
    pub(super) fn is_quiet(&mut self, room: &mut [u8]) -> bool {
        self.decoder.is_between_frames() && !self.ended && self.read(room).is_pending()
    }

    /// Reads once.
    fn read(&mut self, room: &mut [u8]) -> Poll<()> {
        let cx = &mut Context::from_waker(self.waker.waker());
        let mut read = ReadBuf::new(room);
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
        self.unproven = result.as_ref().err().and_then(Unproven::of);
        self.ended = result.is_err() || read.filled().is_empty();
        self.decoder.feed(read.filled());
        Poll::Ready(())
    }
}

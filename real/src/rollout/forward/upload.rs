//! The body of a request on its way to an upstream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::lock::lock;
use crate::runtime::Runtime;

/// How far a request's body has come, for whoever waits for the answer.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Moments>>);

#[derive(Debug)]
struct Moments {
    /// When the last piece came, or the request began.
    last: Duration,
    /// Since when the client is waited for.
    waits_since: Option<Duration>,
    /// How long it was waited for before.
    waited: Duration,
    broke: Option<Broke>,
}

/// Why a body did not come to its end. The upstream has no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broke {
    /// It is longer than what is forwarded.
    TooLong,
    /// The client broke off.
    Client,
}

impl Progress {
    pub(super) fn new(began: Duration) -> Self {
        let nothing = Moments { last: began, waits_since: None, waited: Duration::ZERO, broke: None };
        Self(Arc::new(Mutex::new(nothing)))
    }

    /// When the last piece of the body came, or the request began.
    pub(super) fn last(&self) -> Duration {
        self.lock().last
    }

    /// Whether the upstream would take more than the client has sent.
    pub(super) fn waits(&self) -> bool {
        self.lock().waits_since.is_some()
    }

    /// How long the client was waited for, all together: no time of the upstream's.
    pub(super) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// Whether the body did not come to its end, and why not.
    pub(super) fn broke(&self) -> Option<Broke> {
        self.lock().broke
    }

    fn wait(&self, now: Duration) {
        self.lock().waits_since.get_or_insert(now);
    }

    fn go_on(&self, now: Duration) {
        let mut moments = self.lock();
        moments.last = now;
        if let Some(since) = moments.waits_since.take() {
            moments.waited += now.saturating_sub(since);
        }
    }

    fn break_off(&self, why: Broke) {
        self.lock().broke = Some(why);
    }

    fn lock(&self) -> MutexGuard<'_, Moments> {
        // Moments stay moments, whatever happened to the one who held them.
        lock(&self.0)
    }
}

/// Passes a body on, and no more of it than is allowed.
pub(super) struct Upload<R> {
    pub(super) body: Body,
    /// How many bytes may follow.
    pub(super) left: u64,
    pub(super) progress: Progress,
    pub(super) clock: R,
}

/// Nothing in it is pinned in place.
impl<R> Unpin for Upload<R> {}

impl<R: Runtime> Upload<R> {
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => {
                self.progress.break_off(Broke::TooLong);
                Err("the body is too long".into())
            }
        }
    }
}

impl<R: Runtime> HttpBody for Upload<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let now = this.clock.now();
        let Poll::Ready(piece) = polled else {
            this.progress.wait(now);
            return Poll::Pending;
        };
        this.progress.go_on(now);
        Poll::Ready(match piece {
            Some(Ok(frame)) => Some(this.pass(frame)),
            Some(Err(error)) => {
                this.progress.break_off(Broke::Client);
                Some(Err(error.into()))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body of which the beginning was read already.
pub(in crate::rollout) struct Resumed {
    read: Option<Bytes>,
    rest: Body,
}

impl Resumed {
    /// What was read, and what follows.
    pub(in crate::rollout) fn new(read: Bytes, rest: Body) -> Self {
        Self { read: Some(read).filter(|read| !read.is_empty()), rest }
    }
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        match this.read.take() {
            Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
            None => Pin::new(&mut this.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = (self.read.as_ref().map_or(0, Bytes::len) as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::tokio_runtime::TokioRuntime;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn only_time_in_which_the_client_was_waited_for_is_waited() {
        let progress = Progress::new(s(1));
        assert!(progress.last() == s(1) && !progress.waits());
        progress.go_on(s(3)); // the upstream had not taken more before
        progress.wait(s(4));
        progress.wait(s(6));
        assert!(progress.waits());
        progress.go_on(s(9));
        assert!(!progress.waits());
        progress.wait(s(20));
        progress.go_on(s(21));
        assert_eq!((progress.last(), progress.waited(), progress.broke()), (s(21), s(6), None));
    }

    #[tokio::test]
    async fn no_more_is_passed_on_than_is_allowed() {
        let pass = async |left: u64| {
            let progress = Progress::new(s(0));
            let clock = TokioRuntime::new("");
            let body = Body::new(Resumed::new(Bytes::from_static(b"ab"), Body::from("cde")));
            let upload = Upload { body, left, progress: progress.clone(), clock };
            (upload.collect().await.map(|body| body.to_bytes()).ok(), progress.broke())
        };
        assert_eq!(pass(5).await, (Some(Bytes::from_static(b"abcde")), None));
        assert_eq!(pass(4).await, (None, Some(Broke::TooLong)));
        assert_eq!(pass(0).await, (None, Some(Broke::TooLong)));
    }
}

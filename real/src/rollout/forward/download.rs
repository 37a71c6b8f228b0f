//! The body of an upstream's answer on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::upload::Progress;
use crate::rollout::data_plane::Measurement;
use crate::runtime::Runtime;

/// Passes the body of an answer on. Whoever drops it ends the upstream's request.
pub(super) struct Download<R> {
    pub(super) body: Incoming,
    /// How long the next piece may take.
    pub(super) timeout: Duration,
    pub(super) clock: R,
    /// Runs while the upstream is waited for: not while the client takes its time.
    pub(super) timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The request's own body, which may still be on its way.
    pub(super) upload: Progress,
    /// Counts when this is dropped, however it ends.
    pub(super) measurement: Measurement,
    pub(super) _place: OwnedSemaphorePermit,
}

/// Nothing in it is pinned in place.
impl<R> Unpin for Download<R> {}

impl<R: Runtime> Download<R> {
    /// The body breaks off. That is the upstream's fault unless the request's body broke off before.
    fn break_off(&mut self) {
        if self.upload.broke().is_none() {
            self.measurement.fail();
        }
    }

    /// Whether the next piece takes too long.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(self.clock.sleep(self.timeout)));
        timer.as_mut().poll(context).is_ready()
    }
}

impl<R: Runtime> HttpBody for Download<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let Poll::Ready(piece) = polled else {
            if !this.is_late(context) {
                return Poll::Pending;
            }
            this.break_off();
            return Poll::Ready(Some(Err(format!("nothing more within {:?}", this.timeout).into())));
        };
        this.timer = None;
        Poll::Ready(piece.map(|piece| {
            piece.map_err(|error| {
                this.break_off();
                error.into()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Tasks that panic, and what is left of them. madsim would take the panic through its own run loop, and the whole
//! simulation with it: with what was seen so far, and without freeing it. So each task of ours is polled within a
//! [`catch`], and whoever watches the run is told.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::panics::{Panic, catch};

/// Who is told of a panic.
pub type OnPanic = std::sync::Arc<dyn Fn(Panic) + Send + Sync>;

/// Works until it is done, or panics. After that it is not polled again.
pub async fn survive<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch(|| work.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Works as a task of its own. If it panics that is told, and it never ends.
pub async fn reporting(work: impl Future<Output = ()>, on_panic: OnPanic) {
    if let Err(panic) = survive(work).await {
        on_panic(panic);
        std::future::pending::<()>().await;
    }
}

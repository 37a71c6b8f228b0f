//! The clients that wait for an answer.

use std::collections::BTreeMap;

use coalmine_core::node::RequestId;
use tokio::sync::oneshot;

/// How many requests may be waited for before it is looked of whom nobody waits any more.
const MANY_REQUESTS: usize = 1024;
/// How many clients may wait for the answer to one request before it is looked who of them has gone.
const SAME_REQUESTS: usize = 8;

/// Clients that wait for an answer: several where one has sent its request again. Of those that have gone no more are kept
/// than there may be others.
pub(super) struct Waiting<A>(BTreeMap<RequestId, Vec<oneshot::Sender<A>>>);

impl<A> Default for Waiting<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A> Waiting<A> {
    /// One more.
    pub(super) fn add(&mut self, id: RequestId, answer: oneshot::Sender<A>) {
        if self.0.len() >= MANY_REQUESTS {
            self.0.retain(|_, answers| answers.iter().any(|answer| !answer.is_closed()));
        }
        let same = self.0.entry(id).or_default();
        if same.len() >= SAME_REQUESTS {
            same.retain(|answer| !answer.is_closed());
        }
        same.push(answer);
    }

    /// All who wait for this answer.
    pub(super) fn take(&mut self, id: RequestId) -> impl Iterator<Item = oneshot::Sender<A>> {
        self.0.remove(&id).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_have_gone_are_not_kept_for_ever() {
        let mut waiting = Waiting::<u8>::default();
        let (answer, mut stays) = oneshot::channel();
        let id = |client| RequestId { client, sequence: 1 };
        waiting.add(id(7), answer);
        // One asks the same again and again, and never waits for the answer; others ask for something new.
        for n in 0..10_000 {
            waiting.add(id(7), oneshot::channel().0);
            waiting.add(id(100 + n), oneshot::channel().0);
        }
        assert!(waiting.0.len() <= MANY_REQUESTS + 1 && waiting.0[&id(7)].len() <= SAME_REQUESTS);
        assert_eq!(waiting.take(id(7)).map(|answer| answer.send(5)).filter(Result::is_ok).count(), 1);
        assert_eq!(stays.try_recv(), Ok(5));
    }
}

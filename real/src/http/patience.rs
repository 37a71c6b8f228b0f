//! How long a client is waited for.

use std::time::Duration;

use super::places::Standing;
use super::signs::{Phase, Signs};

/// The head of a request has to be complete so long after its first byte, that of the first one after the connection's
/// beginning. Heads fit into a packet or two, and a second is long for those, even when some are lost.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// So long a connection is kept for the next request. Clients keep theirs for as long or less, as a rule.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// So long a client may send nothing of a body that is waited for. Longer than what a network needs to find itself again.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// So long a client may take nothing of an answer, as far as the system lets us see that: it says that there is room again
/// when a good part of its buffer has gone, and that may be a megabyte, which takes a slow reader a while.
pub(super) const TAKE_TIMEOUT: Duration = Duration::from_secs(120);

/// What is known of one connection's times.
#[derive(Debug)]
pub(super) struct Patience {
    phase: Phase,
    /// Since when it is in this phase; in the same one again, if a request came and went in between.
    since: Duration,
    /// How many requests have begun.
    requests: u64,
    /// When bytes last went in or out.
    moved: Duration,
    /// From when on the head that is being read counts, if one is.
    head_began: Option<Duration>,
}

impl Patience {
    /// Of a connection that was taken just now.
    pub(super) fn new(now: Duration) -> Self {
        Self { phase: Phase::Head, since: now, requests: 0, moved: now, head_began: Some(now) }
    }

    /// How the connection stands, and until when it may stay so.
    pub(super) fn look(&mut self, signs: &Signs, now: Duration) -> (Standing, Option<Duration>) {
        let moves = signs.take_moves();
        let (phase, requests) = (signs.phase(), signs.requests());
        if moves.any() {
            self.moved = now;
        }
        if (phase, requests) != (self.phase, self.requests) {
            (self.phase, self.requests) = (phase, requests);
            (self.since, self.head_began) = (now, None);
        } else if phase == Phase::Head && moves.read {
            self.head_began.get_or_insert(now);
        }
        self.judge(signs)
    }

    fn judge(&self, signs: &Signs) -> (Standing, Option<Duration>) {
        let (since, moved) = (self.since, self.moved.max(self.since));
        if signs.is_blocked() {
            return (Standing::Awaited { since: moved }, Some(moved + TAKE_TIMEOUT));
        }
        let body = || signs.awaits_body().then_some(moved + BODY_TIMEOUT);
        match self.phase {
            Phase::Head => {
                let deadline = self.head_began.map_or(moved + IDLE_TIMEOUT, |began| began + HEAD_TIMEOUT);
                (Standing::Idle { since }, Some(deadline))
            }
            Phase::Body => (Standing::Awaited { since }, body()),
            Phase::Answer => (Standing::Busy, body()),
        }
    }
}

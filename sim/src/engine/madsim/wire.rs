//! How much a connection takes or gives at once. TCP promises an order of bytes and nothing about pieces: a write may take
//! a part, or nothing for a while; a read may give less than a frame, or several. Most do neither, so that runs stay as
//! fast as they are; what is drawn here is drawn from a stream of its own.

use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::alarm::Alarm;
use crate::spec::plan::Draw;

/// How many in a thousand come in pieces, and how many of these wait between two pieces.
const PIECES_PERMILLE: u32 = 20;
const WAITS_PERMILLE: u32 = 500;
/// For how long.
const WAITS: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(4);

/// One end of a connection.
pub struct Wire {
    rng: ChaCha8Rng,
    clock: TimeHandle,
    /// It takes, or gives, nothing until this rings.
    stuck: Option<Alarm>,
}

impl Wire {
    /// One that draws from this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), clock: TimeHandle::current(), stuck: None }
    }

    /// How many of so many bytes pass now. Whoever has to wait is woken.
    pub fn pass(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(stuck) = &mut self.stuck {
            ready!(stuck.poll(cx));
            self.stuck = None;
            return Poll::Ready(bytes); // it was held up once
        }
        if bytes < 2 || !self.rng.permille(PIECES_PERMILLE) {
            return Poll::Ready(bytes);
        }
        let piece = self.rng.below(bytes as u64) as usize;
        if piece == 0 || self.rng.permille(WAITS_PERMILLE) {
            let spread = (WAITS.end - WAITS.start).as_nanos() as u64;
            let wait = WAITS.start + Duration::from_nanos(self.rng.below(spread));
            self.stuck = Some(Alarm::new(&self.clock, self.clock.elapsed() + wait));
        }
        if piece == 0 { self.pass(bytes, cx) } else { Poll::Ready(piece) }
    }

    /// Whether what has arrived besides is given together with what was read.
    pub fn joins(&mut self) -> bool {
        self.stuck.is_none() && self.rng.permille(500)
    }
}

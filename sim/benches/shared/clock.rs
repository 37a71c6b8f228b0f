//! How long something takes, in processor time: a busy machine stretches that less than the clock on the wall.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What comes of it, and how much processor time it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    let before = now().expect("the clock is there");
    let done = work();
    (done, now().expect("the clock is there").saturating_sub(before))
}

/// The one in the middle, if there is any.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

//! The data plane: routes predictions by weight and measures how they go.
//!
//! What serves a model is *simulated*: a latency and an error rate, both configured, so that a bad model can
//! be tried. What is measured is real: the latency of a request as this node saw it, and whether it failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::Request;
use coalmine_core::rollout::state::{ModelId, WHOLE_BP};
use hdrhistogram::Histogram;
use xxhash_rust::xxh3::xxh3_64;

use crate::runtime::Runtime;
use crate::shell::Handle;

/// The client that the data plane's own reports come from.
const REPORTER: u64 = u64::MAX;

/// The longest latency that is told apart, in microseconds: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// How the data plane of a node behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPlane {
    /// What serves each model. A model that is not named answers at once and never fails.
    pub backends: BTreeMap<ModelId, Backend>,
    /// How long one window of measurements is. Default 5 s.
    pub window: Duration,
}

impl Default for DataPlane {
    fn default() -> Self {
        Self { backends: BTreeMap::new(), window: Duration::from_secs(5) }
    }
}

/// A simulated backend of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// How long it takes for each answer, in milliseconds.
    pub latency_ms: u64,
    /// The share of requests that fail, in basis points.
    pub error_bp: u32,
}

/// The measurements of a running node.
#[derive(Debug)]
pub(super) struct Meter {
    open: Mutex<OpenWindow>,
    windows: AtomicU64,
}

#[derive(Debug)]
struct OpenWindow {
    latencies_us: Histogram<u32>,
    errors: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are valid");
        Self { open: Mutex::new(OpenWindow { latencies_us, errors: 0 }), windows: AtomicU64::new(0) }
    }

    /// Counts one request.
    pub(super) fn record(&self, latency: Duration, failed: bool) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_US);
        let mut open = self.lock();
        open.latencies_us.saturating_record(us);
        open.errors += u64::from(failed);
    }

    /// The name of the next window to be reported.
    pub(super) fn next_window(&self) -> u64 {
        self.windows.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Closes the window and opens the next. Latency and errors are rounded up, so that a gate is never
    /// passed by rounding.
    fn close(&self) -> Health {
        let mut open = self.lock();
        let samples = open.latencies_us.len();
        let p95_us = open.latencies_us.value_at_quantile(0.95);
        let error_bp = (open.errors * u64::from(WHOLE_BP)).div_ceil(samples.max(1));
        open.latencies_us.reset();
        open.errors = 0;
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        Health {
            window_id: 0, // named when it is reported
            samples: narrow(samples),
            p95_ms: narrow(p95_us.div_ceil(1_000)),
            error_bp: narrow(error_bp),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenWindow> {
        // Counters stay counters, whatever happened to the one who held them.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a window after another and reports each to the node, until the node stops. A silent data plane
/// reports its first empty window only: that the evidence has gone is news, that it is still gone is not.
pub(super) async fn report_windows<R: Runtime>(
    runtime: R,
    handle: Handle<RolloutNode>,
    meter: std::sync::Arc<Meter>,
    window: Duration,
) {
    let mut silent = true;
    loop {
        runtime.sleep(window).await;
        let health = meter.close();
        if health.samples == 0 && silent {
            continue;
        }
        silent = health.samples == 0;
        let window_id = meter.next_window();
        let id = RequestId { client: REPORTER, sequence: window_id };
        if handle.request(id, Request::ReportHealth(Health { window_id, ..health })).await.is_err() {
            return;
        }
    }
}

/// A number below [`WHOLE_BP`] that is the same whenever the key is.
pub(super) fn sticky_point(key: &str) -> u32 {
    (xxh3_64(key.as_bytes()) % u64::from(WHOLE_BP)) as u32
}

/// The `n`-th of an equidistributed sequence below [`WHOLE_BP`]: the step is prime to the whole, so any
/// 10,000 in a row meet every point once, and close to the golden section, so that few in a row are spread
/// evenly too.
pub(super) fn spread_point(n: u64) -> u32 {
    const STEP: u64 = 6_181;
    let whole = u64::from(WHOLE_BP);
    ((n % whole) * STEP % whole) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn spread_points_meet_every_point_once() {
        let points: BTreeSet<_> = (7..7 + u64::from(WHOLE_BP)).map(spread_point).collect();
        assert_eq!(points.len(), WHOLE_BP as usize);
    }

    #[test]
    fn few_spread_points_are_fair() {
        for start in [0, 1_234, u64::MAX - 200] {
            let hits = (start..start + 100).filter(|&n| spread_point(n) < 500).count();
            assert!((4..=6).contains(&hits), "{hits} of 100 for a share of 5 %");
        }
    }

    #[test]
    fn a_window_rounds_up_and_starts_anew() {
        let meter = Meter::new();
        for n in 0..100 {
            meter.record(Duration::from_micros(if n < 90 { 300 } else { 250_400 }), n == 0);
        }
        let health = meter.close();
        assert_eq!((health.samples, health.error_bp), (100, 100));
        assert!((251..=252).contains(&health.p95_ms), "{}", health.p95_ms);
        let empty = meter.close();
        assert_eq!((empty.samples, empty.error_bp, empty.p95_ms), (0, 0, 0));
    }
}

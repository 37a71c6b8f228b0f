//! The data plane: routes predictions by weight and measures how they go.
//!
//! What serves a model is a server that requests are [forwarded](super::forward) to, or it is *simulated*: a
//! latency and an error rate, both configured, so that a bad model can be tried. What is measured is real either
//! way: the latency of a request as this node saw it, and whether it failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::Request;
use coalmine_core::rollout::state::{ModelId, WHOLE_BP};
use hdrhistogram::Histogram;

use super::backend::{Backend, Forwarding};
use crate::lock::lock;
use crate::runtime::Runtime;
use crate::shell::Handle;

/// The client that the data plane's own reports come from.
const REPORTER: u64 = u64::MAX;

/// Where a request may say what it is routed by.
pub(super) const KEY_HEADER: &str = "x-routing-key";
pub(super) const KEY_COOKIE: &str = "routing_key";

/// The longest latency that is told apart, in microseconds: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// How the data plane of a node behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPlane {
    /// What serves each model. A model that is not named answers at once and never fails.
    pub backends: BTreeMap<ModelId, Backend>,
    /// What forwarding may use.
    pub forwarding: Forwarding,
    /// How long one window of measurements is. Default 5 s.
    pub window: Duration,
}

impl Default for DataPlane {
    fn default() -> Self {
        Self { backends: BTreeMap::new(), forwarding: Forwarding::default(), window: Duration::from_secs(5) }
    }
}

/// Over how many windows evidence is gathered while one version is served.
const GATHERED_WINDOWS: usize = 12;

/// How many models one window tells apart. A version serves two at most.
const MOST_MODELS: usize = 16;

/// The upper bounds by which latencies are counted since the process began, in seconds.
pub(super) const BUCKETS_S: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Of how many pairs of version and model that is kept, the newest versions first.
const MOST_SERIES: usize = 64;

/// What one model did under one version since the process began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// How many took longer than the bound before, and at most as long as this one.
    pub(super) buckets: [u64; BUCKETS_S.len()],
    pub(super) sum_s: f64,
}

impl Series {
    fn add(&mut self, latency: Duration, failed: bool) {
        self.requests += 1;
        self.errors += u64::from(failed);
        self.sum_s += latency.as_secs_f64();
        if let Some(bucket) = BUCKETS_S.iter().position(|bound| latency.as_secs_f64() <= *bound) {
            self.buckets[bucket] += 1;
        }
    }
}

/// By version and model.
pub(super) type Served = BTreeMap<(u64, ModelId), Series>;

/// The measurements of a running node: of each model by itself, under the version that is served.
///
/// A request counts for the version that routed it. Evidence gathers over the last windows for as long as a version is
/// served, so that a small share of few requests becomes enough to judge by; another version starts anew.
#[derive(Debug)]
pub(super) struct Meter {
    measured: Mutex<Measured>,
    served: Mutex<Served>,
    windows: AtomicU64,
}

/// What was measured under one version.
#[derive(Debug)]
struct Measured {
    version: u64,
    /// Oldest first; the last one is open.
    windows: VecDeque<BTreeMap<ModelId, Counts>>,
}

/// What one model did.
#[derive(Debug)]
struct Counts {
    latencies_us: Histogram<u32>,
    errors: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are valid");
        Self { latencies_us, errors: 0 }
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.latencies_us.add(&more.latencies_us).expect("the bounds are the same");
        self.errors += more.errors;
    }

    /// Latency and errors are rounded up, so that a gate is never passed by rounding.
    fn window(&self) -> Window {
        let samples = self.latencies_us.len();
        let p95_us = self.latencies_us.value_at_quantile(0.95);
        let error_bp = (self.errors * u64::from(WHOLE_BP)).div_ceil(samples.max(1));
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        Window {
            samples: narrow(samples),
            p95_ms: narrow(p95_us.div_ceil(1_000)),
            error_bp: narrow(error_bp),
        }
    }
}

impl Measured {
    fn under(version: u64) -> Self {
        Self { version, windows: [BTreeMap::new()].into() }
    }

    /// Versions only rise. What was measured under an earlier one says nothing about this one.
    fn move_to(&mut self, version: u64) {
        if version > self.version {
            *self = Self::under(version);
        }
    }

    fn open_window(&mut self) -> &mut BTreeMap<ModelId, Counts> {
        self.windows.back_mut().expect("one is always open")
    }

    fn merged(&self) -> BTreeMap<ModelId, Window> {
        let mut sums: BTreeMap<&ModelId, Counts> = BTreeMap::new();
        for (model, counts) in self.windows.iter().flatten() {
            sums.entry(model).or_default().add(counts);
        }
        sums.into_iter().map(|(model, counts)| (model.clone(), counts.window())).collect()
    }
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            measured: Mutex::new(Measured::under(0)),
            served: Mutex::default(),
            windows: AtomicU64::new(0),
        }
    }

    /// Counts one request that `model` has answered, and that was routed under `version`. An answer that comes after
    /// another version has begun to be measured is dropped.
    pub(super) fn record(&self, version: u64, model: &ModelId, latency: Duration, failed: bool) {
        self.count(version, model, latency, failed);
        let us = u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_US);
        let mut measured = self.lock();
        measured.move_to(version);
        if version < measured.version {
            return;
        }
        let open = measured.open_window();
        if open.len() >= MOST_MODELS && !open.contains_key(model) {
            return;
        }
        let counts = open.entry(model.clone()).or_default();
        counts.latencies_us.saturating_record(us);
        counts.errors += u64::from(failed);
    }

    fn count(&self, version: u64, model: &ModelId, latency: Duration, failed: bool) {
        let mut served = lock(&self.served);
        let key = (version, model.clone());
        if served.len() >= MOST_SERIES && !served.contains_key(&key) {
            if served.first_key_value().is_some_and(|(oldest, _)| *oldest > key) {
                return; // older than all that are kept
            }
            served.pop_first();
        }
        served.entry(key).or_default().add(latency, failed);
    }

    /// What was counted since the process began.
    pub(super) fn served(&self) -> Served {
        lock(&self.served).clone()
    }

    /// The name of the next window to be reported.
    pub(super) fn next_window(&self) -> u64 {
        self.windows.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Closes the window and opens the next, while this version is served. Tells what each model that was asked for
    /// anything did in the last windows of that version.
    fn close(&self, served: u64) -> Health {
        let mut measured = self.lock();
        measured.move_to(served);
        let models = measured.merged();
        measured.windows.push_back(BTreeMap::new());
        if measured.windows.len() > GATHERED_WINDOWS {
            measured.windows.pop_front();
        }
        Health { window_id: 0, version: measured.version, models } // named when it is reported
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        // Counters stay counters, whatever happened to the one who held them.
        lock(&self.measured)
    }
}

/// One request that a model has answered, or failed to: it counts when this is dropped. That a body breaks off is known
/// only when it is over.
#[derive(Debug)]
pub(super) struct Measurement {
    pub(super) meter: Arc<Meter>,
    /// Under which version it was routed, and to whom.
    pub(super) version: u64,
    pub(super) model: ModelId,
    pub(super) latency: Duration,
    pub(super) failed: bool,
}

impl Measurement {
    /// The model has failed after all.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.meter.record(self.version, &self.model, self.latency, self.failed);
    }
}

/// Closes a window after another and reports the evidence so far to the node, until the node stops. Once there is none
/// any more, that is reported once: that the evidence has gone is news, that it is still gone is not.
pub(super) async fn report_windows<R: Runtime>(
    runtime: R,
    handle: Handle<RolloutNode>,
    meter: Arc<Meter>,
    window: Duration,
) {
    let mut silent = true;
    loop {
        runtime.sleep(window).await;
        let Some(view) = handle.view() else { continue };
        let health = meter.close(view.routing.version);
        let is_empty = health.models.is_empty();
        if is_empty && silent {
            continue;
        }
        silent = is_empty;
        let window_id = meter.next_window();
        let id = RequestId { client: REPORTER, sequence: window_id };
        if handle.request(id, Request::ReportHealth(Health { window_id, ..health })).await.is_err() {
            return;
        }
    }
}

/// What a request is routed by: who sends the same is served by the same model, on every node, for as long as it is on
/// trial. The header comes before the cookie; where neither is there, the body may have a `key`.
pub(super) fn routing_key(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let in_cookie = || pairs.find(|(name, _)| *name == KEY_COOKIE).map(|(_, value)| value.as_bytes());
    headers.get(KEY_HEADER).map(HeaderValue::as_bytes).or_else(in_cookie)
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
    fn a_key_is_looked_for_in_the_header_and_the_cookies() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            routing_key(&headers).map(<[u8]>::to_vec)
        };
        let cookie = ("cookie", "a=1; routing_key=of-cookie; b=2");
        assert_eq!(of(&[(KEY_HEADER, "of-header"), cookie]), Some(b"of-header".to_vec()));
        assert_eq!(of(&[("cookie", "x=y"), cookie]), Some(b"of-cookie".to_vec()));
        assert_eq!(of(&[("cookie", "not_routing_key=3")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn few_spread_points_are_fair() {
        for start in [0, 1_234, u64::MAX - 200] {
            let hits = (start..start + 100).filter(|&n| spread_point(n) < 500).count();
            assert!((4..=6).contains(&hits), "{hits} of 100 for a share of 5 %");
        }
    }

    fn model(name: &str) -> ModelId {
        ModelId::new(name).expect("a name")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_window_rounds_up() {
        let (meter, v1) = (Meter::new(), model("v1"));
        for n in 0..300 {
            meter.record(0, &v1, Duration::from_micros(if n < 270 { 300 } else { 250_400 }), n == 0);
        }
        let window = meter.close(0).of(&v1);
        assert_eq!((window.samples, window.error_bp), (300, 34), "1 of 300 is 33.3 basis points");
        assert!((251..=252).contains(&window.p95_ms), "{}", window.p95_ms);
    }

    #[test]
    fn what_one_model_does_is_not_hidden_by_another() {
        let (meter, v1, v2) = (Meter::new(), model("v1"), model("v2"));
        for n in 0..2_000 {
            meter.record(3, if n % 20 == 0 { &v2 } else { &v1 }, ms(1), n % 20 == 0);
        }
        let health = meter.close(3);
        assert_eq!((health.version, health.models.len()), (3, 2));
        assert_eq!((health.of(&v1).samples, health.of(&v1).error_bp), (1_900, 0));
        assert_eq!((health.of(&v2).samples, health.of(&v2).error_bp), (100, WHOLE_BP));
        assert!(!health.models.contains_key(&model("v3")), "it was not asked for anything");
    }

    #[test]
    fn each_version_starts_anew_and_late_answers_count_for_their_own() {
        let (meter, v1) = (Meter::new(), model("v1"));
        meter.record(4, &v1, ms(1), true);
        let health = meter.close(4);
        assert_eq!((health.version, health.of(&v1).samples), (4, 1));
        // The next version is known by its first request, or when a window ends.
        meter.record(5, &v1, ms(1), false);
        meter.record(4, &v1, ms(1), true);
        let health = meter.close(5);
        assert_eq!((health.version, health.of(&v1).samples, health.of(&v1).error_bp), (5, 1, 0));
        let health = meter.close(6);
        assert_eq!((health.version, health.models.len()), (6, 0));
        meter.record(5, &v1, ms(1), true);
        assert!(meter.close(6).models.is_empty(), "a late answer counts for another version");
    }

    #[test]
    fn evidence_gathers_over_twelve_windows_and_then_drops_out() {
        let (meter, v1) = (Meter::new(), model("v1"));
        let mut samples = Vec::new();
        for window in 0..26 {
            if window < 13 {
                meter.record(1, &v1, ms(1), window == 0);
            }
            samples.push(meter.close(1).of(&v1).samples);
        }
        let rising = 1..=12;
        let falling = (0..=12).rev();
        assert_eq!(samples, rising.chain(falling).chain([0]).collect::<Vec<_>>());
    }

    #[test]
    fn models_without_end_do_not_fill_the_memory() {
        let meter = Meter::new();
        for n in 0..1_000 {
            meter.record(1, &model(&format!("m{n}")), ms(1), false);
        }
        assert_eq!(meter.close(1).models.len(), MOST_MODELS);
        assert_eq!(meter.served().len(), MOST_SERIES);
        for version in 2..=MOST_SERIES as u64 + 1 {
            meter.record(version, &model("v1"), ms(1), false);
        }
        meter.record(1, &model("a"), ms(1), false);
        let versions: Vec<_> = meter.served().into_keys().map(|(version, _)| version).collect();
        assert_eq!(versions, (2..=MOST_SERIES as u64 + 1).collect::<Vec<_>>(), "the newest are kept");
    }
}

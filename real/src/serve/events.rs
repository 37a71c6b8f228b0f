//! `GET /events`: what the node does, as it does it, as server-sent events.
//!
//! | event | data |
//! | --- | --- |
//! | `fact` | a decision of the node: its name, its words, itself |
//! | what the [service](super::Service::changes) names | what has changed in what the node publishes |
//! | `audit` | what somebody has asked for, and what came of it |
//! | `missed` | first, if what came after `Last-Event-ID` is no longer all known: how many are missing, if that is known |
//! | `dropped` | last: this reader is too slow, and so many events have passed him by |
//! | `draining` | last: the process is about to end |
//!
//! The last events are kept, so many and no more; who comes again with the `Last-Event-ID` of what he saw last gets what he
//! missed. Readers are so many at most.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http_api::{ApiError, wrong_method};
use crate::lock::lock;
use crate::runtime::Runtime;
use crate::vitals::Vitals;

/// Where they are.
pub const EVENTS: &str = "/events";

/// How many events are kept, and how many bytes they have together.
const MOST_EVENTS: usize = 1_024;
const MOST_BYTES: usize = 1 << 20;
/// The longest event, in bytes.
const LONGEST: usize = 16 << 10;
/// How many readers there may be.
pub const MOST_READERS: usize = 64;
/// A reader is sent so many bytes at a time.
const AT_ONCE: usize = 32 << 10;
/// After so long without an event a reader is told that the node is still there.
const STILL_THERE: Duration = Duration::from_secs(15);

/// The last events, and those who wait for more.
#[derive(Debug)]
pub struct Hub {
    /// Tells events of this process from those of former ones.
    life: u64,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    readers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Each with its number; they follow one another.
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// How many there have been.
    count: u64,
}

impl Default for Hub {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            life: u64::try_from(since.as_millis()).unwrap_or_default(),
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            readers: Arc::new(Semaphore::new(MOST_READERS)),
        }
    }
}

impl Hub {
    /// Tells all readers.
    pub fn publish(&self, kind: &str, data: &Value) {
        let mut data = data.to_string();
        if data.len() > LONGEST {
            data = json!({ "left_out_bytes": data.len() }).to_string();
        }
        let mut ring = lock(&self.ring);
        ring.count += 1;
        let number = ring.count;
        let event = Bytes::from(event(Some((self.life, number)), kind, &data));
        ring.bytes += event.len();
        ring.events.push_back((number, event));
        while ring.events.len() > MOST_EVENTS || ring.bytes > MOST_BYTES {
            let Some((_, gone)) = ring.events.pop_front() else { break };
            ring.bytes -= gone.len();
        }
        drop(ring);
        self.newest.send_replace(number);
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        MOST_READERS.saturating_sub(self.readers.available_permits())
    }

    /// From where a reader goes on, who comes with this `Last-Event-ID`; and what he is told first.
    fn begin(&self, last: Option<(u64, u64)>) -> (u64, Option<String>) {
        let ring = lock(&self.ring);
        let first = ring.count + 1 - ring.events.len() as u64;
        match last {
            None => (ring.count + 1, None),
            Some((life, seen)) if life == self.life && seen <= ring.count => {
                let missed = first.saturating_sub(seen + 1);
                let told =
                    (missed > 0).then(|| event(None, "missed", &json!({ "events": missed }).to_string()));
                (first.max(seen + 1), told)
            }
            // Of another process: nobody knows what has happened in between.
            Some(_) => (first, Some(event(None, "missed", &json!({ "events": null }).to_string()))),
        }
    }

    /// Some events from this one on; `Err` says how many of them are gone.
    fn take(&self, next: u64) -> Result<(u64, Vec<u8>), u64> {
        let ring = lock(&self.ring);
        let first = ring.count + 1 - ring.events.len() as u64;
        if next < first {
            return Err(first - next);
        }
        let (mut bytes, mut taken) = (Vec::new(), next);
        let skipped = usize::try_from(next - first).unwrap_or(usize::MAX);
        for (number, event) in ring.events.iter().skip(skipped) {
            if bytes.len() >= AT_ONCE {
                break;
            }
            bytes.extend_from_slice(event);
            taken = number + 1;
        }
        Ok((taken, bytes))
    }
}

/// An event as it is sent. Its data is JSON on one line.
fn event(id: Option<(u64, u64)>, kind: &str, data: &str) -> String {
    let id = id.map_or(String::new(), |(life, number)| format!("id: {life}-{number}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n")
}

/// What a service's events are served by.
pub(super) fn routes<R: Runtime>(runtime: &R, hub: Arc<Hub>, vitals: Arc<Vitals>) -> Router {
    let state = (runtime.clone(), hub, vitals);
    let routes = Router::new().route(EVENTS, get(events::<R>));
    routes.method_not_allowed_fallback(wrong_method).with_state(state)
}

async fn events<R: Runtime>(
    State((runtime, hub, vitals)): State<(R, Arc<Hub>, Arc<Vitals>)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = headers.get("last-event-id").map(|value| {
        let parsed = value.to_str().ok().and_then(|text| text.split_once('-'));
        let parsed = parsed.and_then(|(life, number)| Some((life.parse().ok()?, number.parse().ok()?)));
        let why = "header last-event-id: it is none of this program's, `NUMBER-NUMBER`";
        parsed.ok_or_else(|| ApiError(StatusCode::BAD_REQUEST, why.into()))
    });
    let last = last.transpose()?;
    let place = Arc::clone(&hub.readers).try_acquire_owned().map_err(|_| {
        let why = format!("{MOST_READERS} readers are listening already, as many as may be");
        ApiError(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    let reader = Reader::new(runtime, hub, &vitals, last, place);
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Stream { next: Some(Box::pin(reader.next())) })).into_response())
}

type Draining = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody who listens.
struct Reader<R> {
    runtime: R,
    hub: Arc<Hub>,
    newest: watch::Receiver<u64>,
    next: u64,
    /// What he is told before all else.
    first: Option<String>,
    draining: Draining,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl<R: Runtime> Reader<R> {
    fn new(
        runtime: R,
        hub: Arc<Hub>,
        vitals: &Vitals,
        last: Option<(u64, u64)>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let newest = hub.newest.subscribe();
        let (next, missed) = hub.begin(last);
        // Something at once, so that the reader knows that he is heard.
        let first = Some(format!("retry: 2000\n\n{}", missed.unwrap_or_default()));
        let draining = Box::pin(vitals.draining());
        Self { runtime, hub, newest, next, first, draining, is_over: false, _place: place }
    }

    /// What comes next, and the reader who waits for more; nothing at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.is_over {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some((first.into(), self));
        }
        loop {
            self.newest.mark_unchanged();
            match self.hub.take(self.next) {
                Err(missed) => {
                    self.is_over = true;
                    let data = json!({ "events": missed, "why": "this reader is too slow" });
                    return Some((event(None, "dropped", &data.to_string()).into(), self));
                }
                Ok((_, bytes)) if bytes.is_empty() => {}
                Ok((next, bytes)) => {
                    self.next = next;
                    return Some((bytes.into(), self));
                }
            }
            tokio::select! {
                biased;
                changed = self.newest.changed() => changed.ok()?,
                () = &mut self.draining => {
                    self.is_over = true;
                    return Some((event(None, "draining", "{}").into(), self));
                }
                () = self.runtime.sleep(STILL_THERE) => return Some((": still here\n\n".into(), self)),
            }
        }
    }
}

type Next<R> = Pin<Box<dyn Future<Output = Option<(Bytes, Reader<R>)>> + Send>>;

/// A reader as the body of an answer. It is asked for more when the connection takes more.
struct Stream<R> {
    next: Option<Next<R>>,
}

impl<R: Runtime> HttpBody for Stream<R> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let taken = ready!(next.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(taken.map(|(bytes, reader)| {
            self.next = Some(Box::pin(reader.next()));
            Ok(Frame::data(bytes))
        }))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::tokio_runtime::TokioRuntime;

    fn ask(hub: &Arc<Hub>, vitals: &Arc<Vitals>, last: Option<&str>) -> Result<Response, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert("last-event-id", last.parse().expect("text"));
        }
        let state = State((TokioRuntime::new(""), Arc::clone(hub), Arc::clone(vitals)));
        let asked = std::pin::pin!(events(state, headers));
        match asked.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it waits for nothing"),
        }
    }

    async fn more(body: &mut Body) -> Option<String> {
        let frame = body.frame().await?.expect("it does not break off");
        Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
    }

    fn ids(text: &str) -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("id: ")?.split_once('-'));
        lines.map(|(_, number)| number.parse().expect("a number")).collect()
    }

    #[tokio::test]
    async fn whoever_comes_again_gets_what_he_missed() {
        let (hub, vitals) = (Arc::new(Hub::default()), Arc::new(Vitals::default()));
        (1..=3).for_each(|n| hub.publish("fact", &json!({ "n": n })));
        let mut body = ask(&hub, &vitals, Some(&format!("{}-1", hub.life))).expect("room").into_body();
        assert_eq!(more(&mut body).await.as_deref(), Some("retry: 2000\n\n"));
        let told = more(&mut body).await.expect("two");
        assert_eq!(ids(&told), [2, 3]);
        assert!(
            told.starts_with(&format!("id: {}-2\nevent: fact\ndata: {{\"n\":2}}\n\n", hub.life)),
            "{told}"
        );
        // Without a mark only what is new.
        let mut fresh = ask(&hub, &vitals, None).expect("room").into_body();
        more(&mut fresh).await;
        hub.publish("fact", &json!({ "n": 4 }));
        assert_eq!(ids(&more(&mut fresh).await.expect("one")), [4]);
        assert_eq!(ids(&more(&mut body).await.expect("one")), [4]);
        // Of a former process, or of long ago: he is told that something is missing.
        let mut old = ask(&hub, &vitals, Some("7-1")).expect("room").into_body();
        assert!(more(&mut old).await.expect("a word").contains("event: missed\ndata: {\"events\":null}"));
        assert_eq!(ids(&more(&mut old).await.expect("all")), [1, 2, 3, 4]);
        (0..MOST_EVENTS).for_each(|n| hub.publish("fact", &json!({ "n": n })));
        let mut late = ask(&hub, &vitals, Some(&format!("{}-1", hub.life))).expect("room").into_body();
        assert!(more(&mut late).await.expect("a word").contains("event: missed\ndata: {\"events\":3}"));
        assert_eq!(ids(&more(&mut late).await.expect("some"))[0], 5);
        for wrong in ["x", "1", "1-x", "-"] {
            let refused = ask(&hub, &vitals, Some(wrong));
            assert_eq!(refused.err().map(|why| why.0), Some(StatusCode::BAD_REQUEST), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_so_and_dropped() {
        let (hub, vitals) = (Arc::new(Hub::default()), Arc::new(Vitals::default()));
        let mut body = ask(&hub, &vitals, None).expect("room").into_body();
        more(&mut body).await;
        let long = "x".repeat(5_000);
        (0..2_000).for_each(|_| hub.publish("fact", &json!({ "text": long })));
        let missed = {
            let ring = hub.ring.lock().expect("nobody panics");
            assert!(ring.bytes <= MOST_BYTES && ring.events.len() <= MOST_EVENTS);
            2_000 - ring.events.len()
        };
        let last = more(&mut body).await.expect("a last word");
        assert!(
            last.starts_with("event: dropped\n") && last.contains(&format!("\"events\":{missed}")),
            "{last}"
        );
        assert_eq!(more(&mut body).await, None);
        drop(body);
        assert_eq!(hub.readers(), 0);
        hub.publish("fact", &json!({ "text": "x".repeat(2 * LONGEST) }));
        assert!(hub.take(2_001).is_ok_and(|(_, bytes)| bytes.len() < 200), "it is too long");
    }

    #[tokio::test]
    async fn readers_are_so_many_and_go_when_the_process_does() {
        let (hub, vitals) = (Arc::new(Hub::default()), Arc::new(Vitals::default()));
        let mut all: Vec<_> =
            (0..MOST_READERS).map(|_| ask(&hub, &vitals, None).expect("room").into_body()).collect();
        let refused = ask(&hub, &vitals, None);
        assert_eq!(refused.err().map(|why| why.0), Some(StatusCode::SERVICE_UNAVAILABLE));
        all.pop();
        let mut body = ask(&hub, &vitals, None).expect("room").into_body();
        more(&mut body).await;
        vitals.drain();
        assert_eq!(more(&mut body).await.as_deref(), Some("event: draining\ndata: {}\n\n"));
        assert_eq!(more(&mut body).await, None);
    }
}

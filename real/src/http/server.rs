//! The server: a bounded number of connections, of which none keeps its place by doing nothing.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::patience::Patience;
use super::places::{Place, Places};
use super::signs::{Answer, InFlight, Signs, Upload, Watched};
use crate::runtime::{Listener, Runtime};
use crate::vitals::Vitals;

/// How many connections are served at a time. With those of the control plane they are fewer than the 1,024 files that a
/// process may have open where nobody says otherwise: else the door would be closed by the system, for peers as well.
pub(super) const MAX_CONNECTIONS: usize = 640;
/// The longest head of a request; a longer one, or one of more than a hundred headers, is answered 431.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long to wait after the system refused a connection, such as for too many open files: it may pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// While all places are taken, it is looked this often whether one that was of use has become idle meanwhile, beside
/// what the connections themselves say. Short against any time that a client waits.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Serves a router for as long as the node lives.
///
/// A connection is closed when its client lets it wait: for the rest of a request's head (10 s), for another request
/// (60 s), for the next byte of a body (30 s), for room for more of an answer (120 s). How long the answer itself takes is the
/// router's affair, and whoever reads it slowly may do so for as long as bytes move.
///
/// When all places are taken, the connection that has been idle for longest gives way to a new one; where none is idle, one
/// whose client has let it wait for a minute in the midst of a request. If all are at work, the new one waits until one of them
/// has been answered, and those behind it wait in the system's queue: a client would rather be late than be refused, and
/// knows best how long it wants to wait.
pub async fn serve<R: Runtime>(runtime: R, listener: R::Listener, router: Router) {
    serve_counted(runtime, listener, router, Arc::default()).await;
}

/// The same, which counts what it does, and ends when the process is [about to](Vitals::drain): no connection is taken from
/// then on, and each that there is is closed after its next answer. Those that are not asked for anything any more last as long
/// as the process: to close them sooner might meet a request on its way. Each request says [who](Peer) has sent it.
pub async fn serve_counted<R: Runtime>(
    runtime: R,
    mut listener: R::Listener,
    router: Router,
    vitals: Arc<Vitals>,
) {
    let places = Arc::new(Places::new(MAX_CONNECTIONS));
    let mut draining = pin!(vitals.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            vitals.http.failed.add(1);
            room(&runtime, &places, ACCEPT_PAUSE).await; // what it gives back may be all that is missing
            continue;
        };
        let place = place(&runtime, &places).await;
        vitals.http.accepted.add(1);
        let door = Door { router: router.clone(), peer: Peer(peer), vitals: Arc::clone(&vitals) };
        runtime.spawn(attend(runtime.clone(), stream, door, place));
    }
}

/// Who has sent a request: the other end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What a connection leads to.
struct Door {
    router: Router,
    peer: Peer,
    vitals: Arc<Vitals>,
}

/// A connection that is open, until this is dropped.
struct Open(Arc<Vitals>);

impl Open {
    fn new(vitals: &Arc<Vitals>) -> Self {
        vitals.http.open.add(1);
        Self(Arc::clone(vitals))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http.open.take_one();
    }
}

/// Waits for a place, and sees to it that there will be one.
async fn place<R: Runtime>(runtime: &R, places: &Arc<Places>) -> Place {
    loop {
        if let Some(place) = places.take(runtime.now()) {
            return place;
        }
        room(runtime, places, LOOK_AGAIN).await;
    }
}

/// Has a connection go that can be spared, and waits until that has changed something, but no longer than this.
async fn room<R: Runtime>(runtime: &R, places: &Places, most: Duration) {
    places.make_room(runtime.now());
    tokio::select! {
        biased;
        () = places.changed() => {}
        () = runtime.sleep(most) => {}
    }
}

/// Serves a connection until it ends, or has to go.
async fn attend<R: Runtime>(runtime: R, stream: R::Stream, door: Door, place: Place) {
    let Door { router, peer, vitals } = door;
    let _open = Open::new(&vitals);
    let signs = Arc::new(Signs::default());
    let mut watch = Watch::new(runtime, place, Arc::clone(&signs));
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&signs)));
    let router = TowerToHyperService::new(router);
    let made_room = Arc::clone(&vitals);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let in_flight = InFlight::begin(&signs, &vitals, request.body());
        request.extensions_mut().insert(peer);
        let (vitals, answer) =
            (Arc::clone(&vitals), router.call(request.map(|body| Upload::new(body, &signs))));
        async move {
            let mut answer = answer.await?;
            if vitals.is_draining() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, in_flight)))
        }
    });
    let mut connection =
        pin!(http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).serve_connection(io, service));
    poll_fn(|cx| {
        match connection.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()), // a client's error is the client's
            Poll::Pending => watch.poll(cx),
        }
    })
    .await;
    made_room.http.made_room.add(u64::from(watch.has_made_room));
}

/// Watches over one connection, in its own task: after whatever it has done.
struct Watch<R> {
    runtime: R,
    place: Place,
    signs: Arc<Signs>,
    patience: Patience,
    alarm: Option<Alarm>,
    /// It was asked to make room, and does.
    has_made_room: bool,
}

/// Wakes the task at this time.
struct Alarm {
    at: Duration,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<R: Runtime> Watch<R> {
    fn new(runtime: R, place: Place, signs: Arc<Signs>) -> Self {
        let patience = Patience::new(runtime.now());
        Self { runtime, place, signs, patience, alarm: None, has_made_room: false }
    }

    /// Ready when the connection has to go.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.runtime.now();
            let (standing, deadline) = self.patience.look(&self.signs, now);
            if self.place.report(standing, now, cx) {
                self.has_made_room = true;
                return Poll::Ready(());
            }
            let Some(deadline) = deadline else {
                self.alarm = None;
                return Poll::Pending;
            };
            if deadline <= now {
                return Poll::Ready(());
            }
            // One that rings too early is kept: it is set anew when it has rung, and not with every byte.
            let alarm = match self.alarm.take_if(|alarm| alarm.at <= deadline) {
                Some(alarm) => self.alarm.insert(alarm),
                None => {
                    let sleep = Box::pin(self.runtime.sleep(deadline - now));
                    self.alarm.insert(Alarm { at: deadline, sleep })
                }
            };
            ready!(alarm.sleep.as_mut().poll(cx));
            self.alarm = None;
        }
    }
}

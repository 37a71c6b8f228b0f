//! Datagrams on TCP. Each node keeps one connection to each peer, for what it sends; what it receives comes
//! in on the connections that the others opened.
//!
//! Nothing is promised: while a peer cannot be reached, what is sent to it is lost, and so is what was under
//! way when a connection broke. Protocols send again what matters. In return nothing waits without bound:
//! queues, frames and connections are limited, and a write that hangs ends its connection. Connections of strangers, however
//! many, take no places from those of members (`places.rs`). Where the [runtime](Runtime::certified) knows no certificates nobody is
//! authenticated, so who says that he is a member is one; where it does, nobody speaks for another node, and
//! who has proved to be a member has his place before he has said anything.
//!
//! A connection that has long been quiet is closed by its receiver, whose sender sees that and opens another for its next
//! frame. A frame that sets out in just that moment is lost.
//!
//! **All of it is done by the node's own task.** A frame is written where it is sent, if its connection takes
//! it; only what it does not take is queued. A message is read when the node has time for it: what it has no
//! time for stays in the connection, and slows its sender down. So a frame passes through no queue and no other
//! task on its way, and costs one wake-up.

mod incoming;
#[cfg(test)]
pub(crate) mod memory;
mod outgoing;
mod places;
mod sparing;
#[cfg(test)]
mod tests;
mod wake_set;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use coalmine_core::codec::frame::{self, FrameError};
use coalmine_core::node::{Node, NodeId};
use serde::{Deserialize, Serialize};

use self::incoming::{Accepted, Wrong};
use self::outgoing::Outgoing;
use self::places::Places;
use self::sparing::Sparing;
use self::wake_set::{SlotWaker, WakeSet};
use crate::probe::Probe;
use crate::runtime::Runtime;
use crate::vitals::Vitals;

/// How many connections are taken in one round. The others are looked at before there are more, so nobody who comes with a
/// frame loses his place before it was read.
const ACCEPTS: usize = 32;
/// How long to wait before connecting again: doubled from the first to the last.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How many bytes are read at a time.
const ROOM_BYTES: usize = 16 * 1024;

/// How a complaint about a connection begins whose bytes are no frames. Nodes write nothing else, so where nobody but
/// nodes connects it is this transport that has put the pieces together wrongly.
pub const NONSENSE: &str = "connection from";

/// What a frame between nodes holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<M> {
    /// Who sends.
    pub from: NodeId,
    /// What.
    pub message: M,
}

/// Why a message was not sent.
#[derive(Debug, PartialEq)]
pub(crate) enum NotSent {
    /// It was lost at once, as any message may be.
    Lost(String),
    /// Nobody knows where the peer lives.
    Unknown,
    /// No frame takes so many bytes, and none ever will.
    TooLarge(usize),
}

/// Something that is still under way.
type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the node's task waits for here.
#[derive(Clone, Copy)]
enum Who {
    Listener,
    Peer(NodeId),
    Connection(usize),
}

/// A node's connections.
pub(crate) struct Transport<N, R: Runtime, P> {
    me: NodeId,
    runtime: R,
    probe: P,
    wakes: WakeSet<Who>,
    peers: BTreeMap<NodeId, Outgoing<R>>,
    /// Waits for the next connection.
    accepted: Later<Accepted<R::Listener>>,
    listener_waker: SlotWaker<Who>,
    places: Places<R::Stream>,
    /// Of those that could not prove who they are.
    refusals: Sparing,
    /// The frame that is being sent.
    frame: Vec<u8>,
    /// What is read, on its way to a connection's decoder.
    room: Vec<u8>,
    vitals: Arc<Vitals>,
    node: PhantomData<fn() -> N>,
}

impl<N: Node, R: Runtime, P: Probe<N>> Transport<N, R, P> {
    /// Takes connections from now on, and opens its own when there is something to send. Complaints go to the
    /// probe.
    pub(crate) fn new(
        runtime: R,
        listener: R::Listener,
        me: NodeId,
        peers: &BTreeMap<NodeId, SocketAddr>,
        probe: P,
    ) -> Self {
        let wakes = WakeSet::new();
        let listener_waker = wakes.waker(Who::Listener);
        let accepted = incoming::accept(None, listener, runtime.clone());
        let places = Places::new(runtime.now());
        let mut transport = Self {
            me,
            runtime,
            probe,
            wakes,
            peers: BTreeMap::new(),
            accepted,
            listener_waker,
            places,
            refusals: Sparing::default(),
            frame: Vec::new(),
            room: vec![0; ROOM_BYTES],
            vitals: Arc::default(),
            node: PhantomData,
        };
        peers.iter().for_each(|(&id, &address)| transport.meet(id, address));
        transport
    }

    /// The same, which counts what it does there.
    pub(crate) fn counted_in(self, vitals: Arc<Vitals>) -> Self {
        Self { vitals, ..self }
    }

    /// From now on this peer takes frames there. What still waits for it elsewhere is lost.
    pub(crate) fn meet(&mut self, peer: NodeId, address: SocketAddr) {
        match self.peers.get_mut(&peer) {
            Some(known) if known.address() == address => known.stay(),
            Some(_) | None => {
                let waker = self.wakes.waker(Who::Peer(peer));
                self.peers.insert(peer, Outgoing::new(self.runtime.clone(), peer, address, waker));
            }
        }
    }

    /// Nothing more is sent to this peer. What waits for it still goes, if it can be reached at once.
    pub(crate) fn part(&mut self, peer: NodeId) {
        if self.peers.get_mut(&peer).is_some_and(Outgoing::leave) {
            self.peers.remove(&peer);
        }
    }

    /// Sends a datagram. `Err` says why not.
    pub(crate) fn send(&mut self, to: NodeId, message: N::Message) -> Result<(), NotSent> {
        let vitals = Arc::clone(&self.vitals);
        let lost = |why| {
            vitals.frames_lost.add(1);
            Err(NotSent::Lost(why))
        };
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| !peer.is_leaving()) else {
            return Err(NotSent::Unknown);
        };
        match frame::encode_into(N::FORM, &Envelope { from: self.me, message }, &mut self.frame) {
            Ok(()) if peer.send(&self.frame) => {
                vitals.frames_sent.add(1);
                vitals.frames_lost.add(peer.take_lost());
                Ok(())
            }
            Ok(()) => lost(format!("the queue to {to} is full")),
            Err(FrameError::TooLong { length, .. }) => Err(NotSent::TooLarge(length)),
            Err(why @ (FrameError::Body { .. } | FrameError::Version { .. })) => lost(why.to_string()),
        }
    }

    /// The next message. May be dropped and called again. Nothing else moves while nobody waits here, except
    /// what [`send`](Self::send) can do at once.
    pub(crate) async fn next(&mut self) -> (NodeId, N::Message) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(NodeId, N::Message)> {
        // What is left of the last round, then one more and not two: something that always calls must leave the
        // rest of the task its turn.
        if let Some(Envelope { from, message }) = self.answer_all() {
            return Poll::Ready((from, message));
        }
        self.places.begin_round(|| self.runtime.now());
        self.wakes.next_round(cx);
        let answered = self.answer_all();
        self.vitals.control.open.set(self.places.count() as u64);
        self.vitals.control.made_room.set(self.places.made_room());
        match answered {
            Some(Envelope { from, message }) => Poll::Ready((from, message)),
            None => Poll::Pending,
        }
    }

    /// Looks at everybody who has called in this round, until there is a message.
    fn answer_all(&mut self) -> Option<Envelope<N::Message>> {
        while let Some(who) = self.wakes.next() {
            match who {
                Who::Listener => self.accept(),
                Who::Peer(id) => {
                    if self.tend(id) {
                        self.peers.remove(&id);
                    }
                }
                Who::Connection(place) => {
                    if let Some(envelope) = self.read(place) {
                        return Some(envelope);
                    }
                }
            }
        }
        None
    }

    /// Goes on with what is to be sent to a peer. Says whether that is over.
    fn tend(&mut self, id: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        peer.tend();
        self.vitals.frames_lost.add(peer.take_lost());
        if let Some(why) = peer.take_unproven() {
            let what = format!("did not connect to {id} at {}: {why}", peer.address());
            if let Some(what) = peer.complaints.tell(what, self.runtime.now()) {
                self.probe.warn(what);
            }
        }
        peer.is_over()
    }

    /// Takes connections while there are any, but not too many at once.
    fn accept(&mut self) {
        let cx = &mut Context::from_waker(self.listener_waker.answer());
        for _ in 0..ACCEPTS {
            let Poll::Ready((listener, accepted)) = self.accepted.as_mut().poll(cx) else { return };
            let pause = match accepted {
                Ok(connection) => {
                    let now = self.runtime.now();
                    self.vitals.control.accepted.add(1);
                    self.places.look(now);
                    self.places.add(&self.wakes, connection, N::FORM, now);
                    None
                }
                Err(error) => {
                    self.vitals.control.failed.add(1);
                    self.probe.warn(format!("cannot accept a connection: {error}"));
                    self.places.close_a_silent_one(); // what it gives back may be all that is missing
                    Some(RECONNECT.1) // such as too many open files: it may pass
                }
            };
            self.accepted = incoming::accept(pause, listener, self.runtime.clone());
        }
        self.listener_waker.waker().wake_by_ref();
    }

    /// Reads the next message of a connection, if there is one.
    fn read(&mut self, place: usize) -> Option<Envelope<N::Message>> {
        let connection = self.places.get(place)?;
        let read = match connection.next(&mut self.room) {
            Poll::Ready(read) => read,
            Poll::Pending if connection.is_overdue => Ok(None),
            Poll::Pending => {
                if connection.whose.is_none()
                    && let Some(proved) = self.runtime.certified(connection.stream())
                {
                    self.places.hear(place, proved, |id| self.peers.contains_key(&id));
                }
                return None;
            }
        };
        let why = match read {
            Ok(Some(envelope)) => match self.runtime.certified(connection.stream()) {
                Some(proved) if proved != envelope.from => Some(Wrong::Unproven(format!(
                    "refused a connection from {}: it speaks for {}, and its certificate is {proved}'s",
                    connection.from(),
                    envelope.from
                ))),
                Some(_) | None => {
                    if !connection.is_quiet(&mut self.room) {
                        self.wakes.again(connection.waker());
                    }
                    self.vitals.frames_received.add(1);
                    self.places.hear(place, envelope.from, |id| self.peers.contains_key(&id));
                    return Some(envelope);
                }
            },
            Ok(None) => None,
            Err(why) => Some(why),
        };
        self.places.clear(place);
        let why = match why? {
            Wrong::Nonsense(why) => why,
            Wrong::Unproven(why) => self.refusals.tell(why, self.runtime.now())?,
        };
        self.probe.warn(why);
        None
    }
}

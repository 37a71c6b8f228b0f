//! The run loop: one node, one [`Host`], one task. It takes events from the timers, the disk, the peers and
//! the clients, one at a time, and carries out what the host releases, in order, but for answers to clients,
//! which leave last. Timers and the disk come first: however many messages arrive, neither waits for more than
//! one of them.
//!
//! The loop decides nothing. What an effect means is decided in the host; what the network and the disk do is
//! decided behind the [`Runtime`].

mod waiting;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use coalmine_core::codec::too_large;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId, RequestId};
use coalmine_core::order::Order;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use self::waiting::Waiting;
use crate::call::Call;
use crate::journal::{self, Entry, JournalError, Writer};
use crate::lock::lock;
use crate::probe::Probe;
use crate::runtime::Runtime;
use crate::transport::{NotSent, Transport};
use crate::vitals::Vitals;

/// How many requests may wait for the node.
const QUEUED_REQUESTS: usize = 1024;

/// Where a node stands in its cluster.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Who it is.
    pub me: NodeId,
    /// Where it takes frames from its peers.
    pub control: SocketAddr,
    /// Where it takes HTTP from clients.
    pub data: SocketAddr,
    /// Where the others take frames.
    pub peers: BTreeMap<NodeId, SocketAddr>,
}

impl Placement {
    /// All members of the cluster, this one among them, in ascending order.
    pub fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<_> = self.peers.keys().copied().chain([self.me]).collect();
        members.sort_unstable();
        members
    }
}

/// Why a node stopped.
#[derive(Debug, Error)]
pub enum ShellError {
    /// The journal that is there is not its own.
    #[error("journal: {0}")]
    Foreign(String),
    /// Its journal cannot be read, or no longer written.
    #[error("journal: {0}")]
    Journal(#[from] JournalError),
    /// It cannot listen for its peers.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// A client's way to a running node.
#[derive(Debug)]
pub struct Handle<N: Node> {
    me: NodeId,
    /// Where the members take HTTP, as far as that is known.
    addresses: Addresses,
    vitals: Arc<Vitals>,
    requests: mpsc::Sender<Asked<N>>,
    view: watch::Receiver<Option<Arc<N::View>>>,
}

impl<N: Node> Clone for Handle<N> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            addresses: Arc::clone(&self.addresses),
            vitals: Arc::clone(&self.vitals),
            requests: self.requests.clone(),
            view: self.view.clone(),
        }
    }
}

/// Where the members take HTTP. Whoever meets a member adds to it.
type Addresses = Arc<Mutex<BTreeMap<NodeId, SocketAddr>>>;

/// The node has stopped, or will not answer any more.
#[derive(Debug, Error)]
#[error("the node has stopped{}", self.0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct Stopped(Option<Arc<str>>);

impl<N: Node> Handle<N> {
    /// Asks the node, and waits for its answer.
    pub async fn request(&self, id: RequestId, request: N::Request) -> Result<N::Reply, Stopped> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Stopped(self.vitals.stopped());
        self.requests.send(Asked { id, request, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }

    /// Whether as many requests wait for the node as may.
    pub fn is_full(&self) -> bool {
        self.requests.capacity() == 0
    }

    /// The same way, which knows where the members take HTTP.
    pub fn with_addresses(self, addresses: BTreeMap<NodeId, SocketAddr>) -> Self {
        let mut known = lock(&self.addresses);
        for (member, address) in addresses {
            known.entry(member).or_insert(address); // what the node itself has said is newer
        }
        drop(known);
        self
    }

    /// Where a member takes HTTP, if that is known.
    pub fn address_of(&self, member: NodeId) -> Option<SocketAddr> {
        lock(&self.addresses).get(&member).copied()
    }

    /// Who the node is.
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// How many records of its journal are known to be on disk; `None` before the node has recovered them.
    pub fn journal_records(&self) -> Option<u64> {
        self.vitals.records()
    }

    /// How it does.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Where all members take HTTP, as far as that is known.
    pub fn addresses(&self) -> BTreeMap<NodeId, SocketAddr> {
        lock(&self.addresses).clone()
    }

    /// What the node last published; `None` before it has.
    pub fn view(&self) -> Option<Arc<N::View>> {
        self.view.borrow().clone()
    }
}

#[derive(Debug)]
struct Asked<N: Node> {
    id: RequestId,
    request: N::Request,
    answer: oneshot::Sender<N::Reply>,
}

/// A node, ready to run.
pub struct Shell<N: Node, R: Runtime, P: Probe<N>> {
    runtime: R,
    config: N::Config,
    placement: Placement,
    probe: P,
    vitals: Arc<Vitals>,
    requests: mpsc::Receiver<Asked<N>>,
    view: watch::Sender<Option<Arc<N::View>>>,
    addresses: Addresses,
    /// How many messages were for somebody who is not known.
    lost: u64,
    order: Order,
}

impl<N: Node, R: Runtime, P: Probe<N>> Shell<N, R, P> {
    /// A node that is not running yet, and the clients' way to it.
    pub fn new(runtime: R, config: N::Config, placement: Placement, probe: P) -> (Self, Handle<N>) {
        let (requests_out, requests) = mpsc::channel(QUEUED_REQUESTS);
        let (view, view_out) = watch::channel(None);
        let vitals = Arc::new(Vitals::default());
        let addresses = Addresses::default();
        let handle = Handle {
            me: placement.me,
            addresses: Arc::clone(&addresses),
            vitals: Arc::clone(&vitals),
            requests: requests_out,
            view: view_out,
        };
        let order = Order::Safe;
        (
            Self { runtime, config, placement, probe, vitals, requests, view, addresses, lost: 0, order },
            handle,
        )
    }

    /// The same node in a host that keeps another [order](coalmine_core::order): only a simulation has a reason to.
    pub fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Boots the node and runs it until it fails, or until the future is dropped.
    pub async fn run(mut self) -> Result<std::convert::Infallible, ShellError> {
        let runtime = self.runtime.clone();
        let (recovered, file) = journal::open(&runtime, N::FORM).await?;
        let on_disk = recovered.journal().last();
        if let Some(why) = N::refuses(&self.config, recovered.journal().records) {
            return Err(ShellError::Foreign(why));
        }

        let address = self.placement.control;
        let listener =
            runtime.listen_for_peers(address).await.map_err(|error| ShellError::Listen { address, error })?;
        let Placement { me, peers, .. } = &self.placement;
        let transport = Transport::new(runtime.clone(), listener, *me, peers, self.probe.clone());
        let transport = transport.counted_in(Arc::clone(&self.vitals));

        let mut out = Vec::new();
        let life = u64::from(runtime.choose(u32::MAX)) << 32 | u64::from(runtime.choose(u32::MAX));
        let probe = self.probe.clone();
        let mut choose = |n| {
            let answer = runtime.choose(n);
            probe.on_choice(answer);
            answer
        };
        let mut host =
            Host::boot_in(self.order, &self.config, recovered.journal(), life, &mut choose, &mut out);
        let verdict = self.probe.on_boot(&recovered, &host, &out);
        let mut drive = Drive {
            transport,
            journal: journal::start_writer(&runtime, file, Arc::clone(&self.vitals)),
            written: on_disk,
            timers: Timers::default(),
            waiting: Waiting::default(),
        };
        self.carry_out(verdict, &mut drive, &mut out).await;
        self.vitals.set_records(on_disk);

        let mut calls = Call::default();
        loop {
            let event = tokio::select! {
                biased;
                timer = poll_fn(|cx| drive.timers.poll_next(&runtime, cx)) => Event::Timer(timer),
                // The disk has nothing to say but about what it was given.
                Some(durable) = drive.journal.durable.recv(), if host.written() > host.durable() => {
                    let upto = durable.map_err(|why| self.fails(why))?;
                    self.vitals.set_records(upto);
                    host.synced(&self.config, life, upto, &mut choose, &mut out);
                    let verdict = self.probe.on_sync(upto, &host, &out);
                    self.carry_out(verdict, &mut drive, &mut out).await;
                    continue;
                }
                (from, message) = drive.transport.next() => Event::Message { from, message },
                Some(asked) = poll_fn(|cx| calls.poll(cx, |cx| self.requests.poll_recv(cx))) => {
                    drive.waiting.add(asked.id, asked.answer);
                    Event::Request { id: asked.id, request: asked.request }
                }
            };
            if self.probe.on_event(&event).is_break() {
                std::future::pending::<()>().await;
            }
            host.step(&self.config, event, &mut choose, &mut out);
            let verdict = self.probe.on_step(&host, &out);
            self.carry_out(verdict, &mut drive, &mut out).await;
        }
    }

    async fn carry_out(
        &mut self,
        verdict: ControlFlow<()>,
        drive: &mut Drive<N, R, P>,
        effects: &mut Vec<Effect<N>>,
    ) {
        if verdict.is_break() {
            std::future::pending::<()>().await;
        }
        // Clients are answered last: whoever is told that something has happened, and looks, must find it in the
        // view, and other threads look while this one still writes frames.
        let mut answers = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Append(record) => {
                    drive.written += 1;
                    // If the writer has gone it has failed, and the loop is about to learn it.
                    let _ = drive.journal.lines.send(Entry::record(N::FORM, drive.written, &record)).await;
                }
                Effect::Forget(before) => {
                    let _ = drive.journal.lines.send(Entry::forget(before, drive.written + 1)).await;
                }
                Effect::Send { to, message } => {
                    match drive.transport.send(to, message) {
                        Ok(()) => {}
                        Err(NotSent::Lost(why)) => self.probe.warn(format!("a message was lost: {why}")),
                        Err(NotSent::Unknown) => self.count_lost(to),
                        // Lost in silence it would be lost for ever: sent again it is as large.
                        Err(NotSent::TooLarge(bytes)) => panic!("{}", too_large(to, bytes)),
                    }
                }
                Effect::Reply { to, reply } => {
                    let waiting = drive.waiting.take(to);
                    answers.extend(waiting.map(|answer| (answer, reply.clone())));
                }
                Effect::Publish(view) => {
                    self.view.send_replace(Some(Arc::new(view.0)));
                }
                Effect::SetTimer { timer, delay } => {
                    let delay = self.runtime.draw(delay);
                    drive.timers.arm(timer, self.runtime.now().saturating_add(delay));
                }
                Effect::CancelTimer(timer) => drive.timers.disarm(&timer),
                Effect::Meet { peer, address } => {
                    if peer != self.placement.me {
                        drive.transport.meet(peer, address.control);
                    }
                    lock(&self.addresses).insert(peer, address.data);
                }
                Effect::Part(peer) => drive.transport.part(peer),
                Effect::Lost { to, .. } => self.count_lost(to),
                Effect::Observe(_) => {} // the probe has seen it
                Effect::WhenDurable(_) => unreachable!("the host keeps tokens to itself"),
            }
        }
        for (answer, reply) in answers {
            let _ = answer.send(reply); // the client may have gone
        }
    }
}

impl<N: Node, R: Runtime, P: Probe<N>> Shell<N, R, P> {
    /// The journal takes no more. What the node does from here on could not be durable, so it does nothing; that is known before
    /// any client who waits for it learns that there will be no answer.
    fn fails(&self, why: io::Error) -> ShellError {
        let why = ShellError::Journal(JournalError::Io(why));
        self.vitals.stop(&why.to_string());
        why
    }

    /// A message was for somebody who is not known. It says so the more seldom, the oftener that comes.
    fn count_lost(&mut self, to: NodeId) {
        self.lost += 1;
        self.vitals.frames_lost.add(1);
        if self.lost.is_power_of_two() {
            let lost = self.lost;
            let all = if lost == 1 { String::new() } else { format!(" ({lost} for unknown members so far)") };
            self.probe.warn(format!("a message was lost: {to} is not a peer{all}"));
        }
    }
}

/// What the loop drives beside the host.
struct Drive<N: Node, R: Runtime, P> {
    transport: Transport<N, R, P>,
    journal: Writer,
    /// How many records were given to the journal.
    written: u64,
    timers: Timers<N::Timer>,
    waiting: Waiting<N::Reply>,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The deadlines of the armed timers, and one sleep until the earliest.
struct Timers<T> {
    deadlines: BTreeMap<T, Duration>,
    /// The earliest. The loop asks for it at every event, and timers change more seldom.
    first: Option<(Duration, T)>,
    sleep: Option<(Duration, Sleep)>,
    call: Call,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { deadlines: BTreeMap::new(), first: None, sleep: None, call: Call::default() }
    }
}

impl<T: Ord + Clone> Timers<T> {
    fn arm(&mut self, timer: T, deadline: Duration) {
        self.deadlines.insert(timer, deadline);
        self.find_first();
    }

    fn disarm(&mut self, timer: &T) {
        if self.deadlines.remove(timer).is_some() {
            self.find_first();
        }
    }

    fn find_first(&mut self) {
        let first = self.deadlines.iter().min_by_key(|&(_, deadline)| deadline);
        self.first = first.map(|(timer, deadline)| (*deadline, timer.clone()));
    }

    /// The next timer that fires; it is disarmed.
    fn poll_next<R: Runtime>(&mut self, runtime: &R, cx: &Context<'_>) -> Poll<T> {
        loop {
            let Some((deadline, timer)) = &self.first else { return Poll::Pending };
            let deadline = *deadline;
            if self.sleep.as_ref().is_none_or(|(until, _)| *until != deadline) {
                let now = runtime.now();
                if deadline <= now {
                    let timer = timer.clone();
                    self.disarm(&timer);
                    return Poll::Ready(timer);
                }
                self.sleep = Some((deadline, Box::pin(runtime.sleep(deadline - now))));
                self.call.look_again();
            }
            if let Some((_, sleep)) = &mut self.sleep {
                ready!(self.call.poll(cx, |cx| sleep.as_mut().poll(cx)));
                self.sleep = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The one interpreter of effects. Every driver (the real shell, the simulators, the checker) hosts its node
//! in a [`Host`] and merely carries out what the host releases, in the order given.
//!
//! ```text
//!             event                          effects, in order
//!   driver ──────────▶ Host ──▶ Node::on ──▶ ┌─ Append: to the disk at once; closes the gate
//!                       ▲                    ├─ timers: at once
//!                       │ synced             └─ the rest: at once while the gate is open,
//!   disk   ─────────────┘                       or said to leave at once, else held until what
//!                                               they wait for is durable
//! ```
//!
//! The journal is a sequence of records counted from 1. `written` is how many were handed to the disk,
//! `durable` how many are known to have reached it; what was [forgotten](Context::forget) is counted by both. An effect
//! waits for all records that were written when it was produced. A host is pure and hashable: the checker keeps millions of them.
//!
//! A host may be told to keep another [order](crate::order), which is wrong, to see whether that is found.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::disk::Journal;
use crate::ghost::Ghost;
use crate::node::{Choose, Context, Delay, Effect, Event, Node, NodeId};
use crate::order::{Kept, Order};

/// A node, its timer table and its gate to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host<N: Node> {
    node: N,
    incarnation: u64,
    /// The timers that are armed, in order.
    timers: Vec<N::Timer>,
    /// For how long each of them was set.
    delays: Vec<Delay>,
    held: VecDeque<Held<N>>,
    written: u64,
    durable: u64,
    book: Book,
    order: Ghost<Kept>,
}

/// An effect that waits until `after` records are durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held<N: Node> {
    after: u64,
    effect: Effect<N>,
}

impl<N: Node> Host<N> {
    /// Boots a node from what is left of its journal, all of which is durable. `incarnation` names this life of
    /// the node, like no other life of it: so a disk's late answer to a former life is recognised, and the
    /// node itself may [tell lives apart](Context::life).
    pub fn boot<'a>(
        config: &N::Config,
        disk: impl Into<Journal<'a, N::Record>>,
        incarnation: u64,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) -> Self {
        Self::boot_in(Order::Safe, config, disk, incarnation, choose, out)
    }

    /// The same in a host that keeps this [order](Order), and no other for the whole life of the node.
    pub fn boot_in<'a>(
        order: Order,
        config: &N::Config,
        disk: impl Into<Journal<'a, N::Record>>,
        incarnation: u64,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) -> Self {
        let before = out.len();
        let disk = disk.into();
        let on_disk = disk.last();
        let mut cx = Context::new(incarnation, on_disk, choose, out);
        let node = N::start(config, disk.records, &mut cx);
        let at_once = cx.into_at_once();
        let mut host = Self {
            node,
            incarnation,
            timers: Vec::new(),
            delays: Vec::new(),
            held: VecDeque::new(),
            written: on_disk,
            durable: on_disk,
            book: Book::new(N::knows(config)),
            order: Ghost(Kept::new(order)),
        };
        host.route(before, &at_once, out);
        host.release(config, choose, out);
        host.book.read(&mut out[before..]);
        host
    }

    /// Gives the node one event and appends to `out` what may leave now. A timer that is not armed (it was
    /// cancelled while its firing was under way) is ignored.
    #[inline]
    pub fn step(
        &mut self,
        config: &N::Config,
        event: Event<N>,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) {
        if let Event::Timer(timer) = &event
            && !disarm(&mut self.timers, &mut self.delays, timer)
        {
            return;
        }
        assert!(!matches!(event, Event::Durable(_)), "only the host itself tells a node what is durable");
        let before = out.len();
        self.run(config, event, choose, out);
        if !self.held.is_empty() {
            self.release(config, choose, out);
        }
        self.book.read(&mut out[before..]);
    }

    /// The first `upto` records of the journal are durable: releases what waited for them. An answer to a
    /// former life is ignored.
    pub fn synced(
        &mut self,
        config: &N::Config,
        incarnation: u64,
        upto: u64,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) {
        if incarnation != self.incarnation {
            return;
        }
        assert!(upto <= self.written, "{upto} records durable, only {} written", self.written);
        self.durable = self.durable.max(upto);
        let before = out.len();
        self.release(config, choose, out);
        self.book.read(&mut out[before..]);
    }

    /// The same host of a node that calls others by other names: how these are exchanged in timers, in what
    /// waits and among whom it has met, the caller says.
    pub fn renamed(
        &self,
        node: N,
        timer: impl Fn(&N::Timer) -> N::Timer,
        effect: impl Fn(&Effect<N>) -> Effect<N>,
        peer: impl Fn(NodeId) -> NodeId,
    ) -> Self {
        let held = self.held.iter().map(|held| Held { after: held.after, effect: effect(&held.effect) });
        let timers: BTreeMap<_, _> = self.timers.iter().map(timer).zip(self.delays.iter().copied()).collect();
        let (timers, delays) = timers.into_iter().unzip();
        Self {
            node,
            incarnation: self.incarnation,
            timers,
            delays,
            held: held.collect(),
            written: self.written,
            durable: self.durable,
            book: self.book.renamed(peer),
            order: self.order,
        }
    }

    /// Whether what it sends to this member leaves.
    pub fn knows(&self, peer: NodeId) -> bool {
        self.book.has(peer)
    }

    /// The node itself.
    pub fn node(&self) -> &N {
        &self.node
    }

    /// Which life of the node this is.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The timers that are armed.
    pub fn timers(&self) -> &[N::Timer] {
        &self.timers
    }

    /// For how long each of them was set.
    pub fn delays(&self) -> &[Delay] {
        &self.delays
    }

    /// How many records were handed to the disk, since the journal began.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of them are known to be on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether something has left early, since it keeps a wrong [order](Order). Steps that are taken again from an equal
    /// host may say otherwise: it is not part of the state.
    pub fn has_let_out_early(&self) -> bool {
        self.order.0.is_broken
    }

    /// How many effects wait for the disk.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn run(
        &mut self,
        config: &N::Config,
        event: Event<N>,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) {
        let before = out.len();
        let mut cx = Context::new(self.incarnation, self.written, choose, out);
        self.node.on(config, event, &mut cx);
        let at_once = cx.into_at_once();
        if out.len() > before {
            self.route(before, &at_once, out);
        }
    }

    /// Sends each effect from `before` on its way: what goes to the disk, into the timer table or out stays in
    /// `out`, the rest moves into the queue. Those at the places `at_once` do not wait.
    fn route(&mut self, before: usize, at_once: &[usize], out: &mut Vec<Effect<N>>) {
        let Self { timers, delays, held, written, durable, order: Ghost(order), .. } = self;
        let mut shut = *written > *durable || !held.is_empty();
        let mut before = before;
        if !shut {
            // Most steps only send and arm timers.
            for effect in &out[before..] {
                match effect {
                    Effect::Send { .. } | Effect::Reply { .. } | Effect::Publish(_) => {}
                    Effect::Observe(_) | Effect::Forget(_) | Effect::Meet { .. } | Effect::Part(_) => {}
                    Effect::SetTimer { timer, delay } => arm(timers, delays, timer, *delay),
                    Effect::Append(_)
                    | Effect::CancelTimer(_)
                    | Effect::WhenDurable(_)
                    | Effect::Lost { .. } => {
                        break;
                    }
                }
                before += 1;
            }
            if before == out.len() {
                return;
            }
        }
        let (written, kept) = (Cell::from_mut(written), order.order);
        let mut places = before..;
        let mut leaves_at_once = || places.next().is_some_and(|place| at_once.binary_search(&place).is_ok());
        let stays_behind = |effect: &mut Effect<N>| match (leaves_at_once(), effect) {
            (_, Effect::Append(_)) => {
                written.set(written.get() + 1);
                shut = true;
                false
            }
            (_, Effect::SetTimer { timer, delay }) => {
                arm(timers, delays, timer, *delay);
                false
            }
            (_, Effect::CancelTimer(timer)) => !disarm(timers, delays, timer),
            // A token always passes through the queue: its answer is a step of its own.
            (_, Effect::WhenDurable(_)) => {
                order.asked(written.get() > *durable);
                shut = true;
                true
            }
            (
                leaves_at_once,
                effect @ (Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::Observe(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. }
                | Effect::Forget(_)),
            ) => !leaves_at_once && shut && !order.lets_out(effect),
        };
        for effect in out.extract_if(before.., stays_behind) {
            // A timer that is not armed need not be cancelled.
            if !matches!(effect, Effect::CancelTimer(_)) {
                held.push_back(Held { after: kept.waits_for(written.get()), effect });
            }
        }
    }

    /// Lets out, in order, all that no longer waits.
    fn release(&mut self, config: &N::Config, choose: &mut dyn Choose, out: &mut Vec<Effect<N>>) {
        while self.held.front().is_some_and(|held| held.after <= self.durable) {
            let Some(held) = self.held.pop_front() else { return };
            match held.effect {
                Effect::WhenDurable(token) => self.run(config, Event::Durable(token), choose, out),
                effect @ (Effect::Append(_)
                | Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::Observe(_)
                | Effect::Forget(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. }
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)) => out.push(effect),
            }
        }
    }
}

/// Whom a node may send to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Book {
    /// Whom it knew when it booted; `None`: everybody. It follows from the configuration.
    first: Ghost<Option<Arc<[NodeId]>>>,
    /// Whom it has met since, and from whom it has parted.
    since: BTreeMap<NodeId, bool>,
}

impl Book {
    fn new(first: Option<Vec<NodeId>>) -> Self {
        Self { first: Ghost(first.map(Arc::from)), since: BTreeMap::new() }
    }

    fn has(&self, peer: NodeId) -> bool {
        let knew = || self.first.0.as_ref().is_none_or(|first| first.contains(&peer));
        self.since.get(&peer).copied().unwrap_or_else(knew)
    }

    /// Takes in, in order, whom a node meets and from whom it parts; what is for somebody else is lost.
    fn read<N: Node>(&mut self, out: &mut [Effect<N>]) {
        for effect in out {
            match effect {
                Effect::Meet { peer, .. } => drop(self.since.insert(*peer, true)),
                Effect::Part(peer) => drop(self.since.insert(*peer, false)),
                Effect::Send { to, message } if !self.has(*to) => {
                    *effect = Effect::Lost { to: *to, message: message.clone() };
                }
                Effect::Append(_)
                | Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::Observe(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)
                | Effect::WhenDurable(_)
                | Effect::Lost { .. }
                | Effect::Forget(_) => {}
            }
        }
    }

    fn renamed(&self, peer: impl Fn(NodeId) -> NodeId) -> Self {
        let first = self.first.0.as_ref().map(|first| first.iter().map(|&id| peer(id)).collect());
        let since = self.since.iter().map(|(&id, &is_met)| (peer(id), is_met)).collect();
        Self { first: Ghost(first), since }
    }
}

fn arm<T: Ord + Clone>(timers: &mut Vec<T>, delays: &mut Vec<Delay>, timer: &T, delay: Delay) {
    match timers.binary_search(timer) {
        Ok(place) => delays[place] = delay,
        Err(place) => {
            timers.insert(place, timer.clone());
            delays.insert(place, delay);
        }
    }
}

/// Whether it was armed.
fn disarm<T: Ord>(timers: &mut Vec<T>, delays: &mut Vec<Delay>, timer: &T) -> bool {
    let place = timers.binary_search(timer);
    if let Ok(place) = place {
        timers.remove(place);
        delays.remove(place);
    }
    place.is_ok()
}

//! The one interpreter of effects. Every driver (the real shell, the simulators, the checker) hosts its node
//! in a [`Host`] and merely carries out what the host releases, in the order given.
//!
//! ```text
//!             event                          effects, in order
//!   driver ──────────▶ Host ──▶ Node::on ──▶ ┌─ Append: to the disk at once; closes the gate
//!                       ▲                    ├─ timers: at once
//!                       │ synced             └─ the rest: at once while the gate is open,
//!   disk   ─────────────┘                       else held until what they wait for is durable
//! ```
//!
//! The journal is a sequence of records counted from 1. `written` is how many were handed to the disk,
//! `durable` how many are known to have reached it. An effect waits for all records that were written when
//! it was produced. A host is pure and hashable: the checker keeps millions of them.

use std::collections::{BTreeSet, VecDeque};

use crate::node::{Choose, Context, Effect, Event, Node};

/// A node, its timer table and its gate to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host<N: Node> {
    node: N,
    incarnation: u64,
    timers: BTreeSet<N::Timer>,
    held: VecDeque<Held<N>>,
    written: u64,
    durable: u64,
}

/// An effect that waits until `after` records are durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held<N: Node> {
    after: u64,
    effect: Effect<N>,
}

impl<N: Node> Host<N> {
    /// Boots a node from its journal, which is durable as far as `disk` goes. `incarnation` names this life of
    /// the node, like no other life of it: so a disk's late answer to a former life is recognised, and the
    /// node itself may [tell lives apart](Context::life).
    pub fn boot(
        config: &N::Config,
        disk: &[N::Record],
        incarnation: u64,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) -> Self {
        let mut cx = Context::new(incarnation, choose);
        let node = N::start(config, disk, &mut cx);
        let effects = cx.into_effects();
        let on_disk = disk.len() as u64;
        let mut host = Self {
            node,
            incarnation,
            timers: BTreeSet::new(),
            held: VecDeque::new(),
            written: on_disk,
            durable: on_disk,
        };
        host.route(effects, out);
        host.release(config, choose, out);
        host
    }

    /// Gives the node one event and appends to `out` what may leave now. A timer that is not armed (it was
    /// cancelled while its firing was under way) is ignored.
    pub fn step(
        &mut self,
        config: &N::Config,
        event: Event<N>,
        choose: &mut dyn Choose,
        out: &mut Vec<Effect<N>>,
    ) {
        if let Event::Timer(timer) = &event
            && !self.timers.remove(timer)
        {
            return;
        }
        assert!(!matches!(event, Event::Durable(_)), "only the host itself tells a node what is durable");
        self.run(config, event, choose, out);
        self.release(config, choose, out);
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
        self.release(config, choose, out);
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
    pub fn timers(&self) -> &BTreeSet<N::Timer> {
        &self.timers
    }

    /// How many records were handed to the disk, since the journal began.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of them are known to be on disk.
    pub fn durable(&self) -> u64 {
        self.durable
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
        let mut cx = Context::new(self.incarnation, choose);
        self.node.on(config, event, &mut cx);
        let effects = cx.into_effects();
        self.route(effects, out);
    }

    /// Sends each effect on its way: to the disk, into the timer table, out, or into the queue.
    fn route(&mut self, effects: Vec<Effect<N>>, out: &mut Vec<Effect<N>>) {
        for effect in effects {
            match &effect {
                Effect::Append(_) => {
                    self.written += 1;
                    out.push(effect);
                }
                Effect::SetTimer { timer, .. } => {
                    self.timers.insert(timer.clone());
                    out.push(effect);
                }
                Effect::CancelTimer(timer) => {
                    if self.timers.remove(timer) {
                        out.push(effect);
                    }
                }
                Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::Observe(_)
                | Effect::WhenDurable(_) => {
                    // A token always passes through the queue: its answer is a step of its own.
                    if self.written > self.durable
                        || !self.held.is_empty()
                        || matches!(effect, Effect::WhenDurable(_))
                    {
                        self.held.push_back(Held { after: self.written, effect });
                    } else {
                        out.push(effect);
                    }
                }
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
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)) => out.push(effect),
            }
        }
    }
}

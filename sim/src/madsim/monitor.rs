//! Watches all nodes of a run: keeps the trace, folds the facts, checks the invariants after every step, and
//! pulls the triggers of the plan.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coalmine_core::codec::journal::Recovered;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId, variant_name};
use coalmine_core::observation::{History, Invariant, Observation, Observed};
use coalmine_real::shell::Probe;
use tokio::sync::mpsc;

use crate::faults::{Effect as FaultEffect, Effects, Fault};
use crate::plan::{Plan, What, When};
use crate::run::{RunOptions, RunReport, Verdict};
use crate::system::{ConfigOf, NodeOf, System};
use crate::trace::{Happening, Trace};

/// Shared by all that watch one run.
pub struct Monitor<S: System>(Arc<Mutex<State<S>>>);

impl<S: System> Clone for Monitor<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct State<S: System> {
    system: Arc<S>,
    invariants: Vec<Invariant<NodeOf<S>, S::History>>,
    places: Vec<Place<S>>,
    history: S::History,
    trace: Trace<NodeOf<S>>,
    effects: Effects,
    /// Who has booted at least once.
    booted: BTreeSet<NodeId>,
    triggers: Vec<Trigger<NodeOf<S>>>,
    orders: mpsc::UnboundedSender<Order<NodeOf<S>>>,
    max_events: u64,
    verdict: Option<Verdict>,
    closed: bool,
}

struct Place<S: System> {
    id: NodeId,
    config: ConfigOf<S>,
    state: Option<NodeOf<S>>,
    /// What its journal holds, as far as it was written.
    journal: Vec<<NodeOf<S> as Node>::Record>,
    durable: usize,
}

impl<S: System> Place<S> {
    fn observe(&self) -> Observed<'_, NodeOf<S>> {
        let durable = Some(&self.journal[..self.durable]);
        Observed { id: self.id, config: &self.config, state: self.state.as_ref(), durable }
    }
}

struct Trigger<N: Node> {
    when: When,
    seen: u32,
    what: What<N>,
}

/// What the monitor asks of the one who drives the run.
pub enum Order<N: Node> {
    /// A trigger was pulled.
    Do(What<N>),
    /// A node has stopped by itself.
    Stopped(NodeId),
    /// There is a verdict: stop.
    Stop,
}

impl<S: System> Monitor<S> {
    /// Watches a system through a plan. Orders go to `orders`.
    pub fn new(
        system: Arc<S>,
        plan: &Plan<NodeOf<S>>,
        options: RunOptions,
        orders: mpsc::UnboundedSender<Order<NodeOf<S>>>,
    ) -> Self {
        let place = |(id, config)| Place { id, config, state: None, journal: Vec::new(), durable: 0 };
        let triggered = plan.steps.iter().filter(|step| !matches!(step.when, When::AtMs(_)));
        let trigger = |step: &crate::plan::PlanStep<_>| Trigger {
            when: step.when.clone(),
            seen: 0,
            what: step.what.clone(),
        };
        Self(Arc::new(Mutex::new(State {
            invariants: system.invariants(),
            places: system.members().into_iter().map(place).collect(),
            system,
            history: S::History::default(),
            trace: Trace::new(options.keep_trace),
            effects: Effects::default(),
            booted: BTreeSet::new(),
            triggers: triggered.map(trigger).collect(),
            orders,
            max_events: options.max_events,
            verdict: None,
            closed: false,
        })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<S>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The simulated time.
    pub fn now(&self) -> Duration {
        self.with(|state| state.trace.last)
    }

    /// Writes down what happened outside the nodes.
    pub fn note(&self, what: Happening<NodeOf<S>>) {
        self.with(|state| state.push(what));
    }

    /// Writes down what the network did to a frame. What arrives untouched is only digested.
    pub fn frame(&self, from: NodeId, to: NodeId, fate: &'static str, bytes: &[u8]) {
        self.with(|state| {
            state.trace.wire(from, to, bytes);
            if fate != super::link::PASSED {
                state.push(Happening::Frame { from, to, fate, bytes: bytes.to_vec() });
            }
        });
    }

    /// A node has crashed, and this is what its disk kept.
    pub fn crashed(&self, node: NodeId, crash: super::disk::Crash) {
        self.with(|state| {
            let place = state.place(node);
            place.state = None;
            place.journal.truncate(place.durable + crash.kept);
            place.durable = place.journal.len();
            let super::disk::Crash { kept, lost, torn_bytes } = crash;
            state.effects.count(FaultEffect::Crash);
            state.push(Happening::Crashed { node, kept, lost, torn_bytes });
            state.judge();
        });
    }

    /// The disk of a node that is down is empty now.
    pub fn wiped(&self, node: NodeId) {
        self.with(|state| {
            let place = state.place(node);
            place.journal.clear();
            place.durable = 0;
        });
    }

    /// A node has stopped by itself.
    pub fn stopped(&self, node: NodeId, why: String) {
        self.with(|state| {
            state.place(node).state = None;
            state.push(Happening::Stopped { node, why });
            let _ = state.orders.send(Order::Stopped(node));
        });
    }

    /// The run is over: what still happens is no part of it.
    pub fn close(&self) {
        self.with(|state| state.closed = true);
    }

    /// A fault took effect.
    pub fn count(&self, effect: FaultEffect) {
        self.with(|state| state.effects.count(effect));
    }

    /// What took effect elsewhere.
    pub fn merge(&self, effects: &Effects) {
        self.with(|state| state.effects.merge(effects));
    }

    /// No trigger is pulled any more.
    pub fn disarm(&self) {
        self.with(|state| state.triggers.clear());
    }

    /// Which nodes are down.
    pub fn down(&self) -> Vec<NodeId> {
        self.with(|state| {
            state.places.iter().filter(|place| place.state.is_none()).map(|place| place.id).collect()
        })
    }

    /// What was decided about the run so far.
    pub fn verdict(&self) -> Option<Verdict> {
        self.with(|state| state.verdict.clone())
    }

    /// Asks something about the whole system.
    pub fn ask<T>(&self, question: impl FnOnce(&S, &Observation<'_, NodeOf<S>, S::History>) -> T) -> T {
        self.with(|state| question(&state.system, &state.observe()))
    }

    /// The end of the run.
    pub fn finish(&self, verdict: Verdict, simulated: Duration) -> RunReport<NodeOf<S>> {
        self.with(|state| RunReport {
            verdict,
            digest: state.trace.digest(),
            events: state.trace.events,
            simulated,
            wall: Duration::ZERO,
            trace: state.trace.entries.take(),
            effects: std::mem::take(&mut state.effects),
        })
    }

    /// The eye on one node. `crash` is called when a trigger crashes it.
    pub fn eye(&self, node: NodeId) -> Eye<S> {
        Eye { monitor: self.clone(), node }
    }
}

impl<S: System> State<S> {
    fn place(&mut self, id: NodeId) -> &mut Place<S> {
        let place = self.places.iter_mut().find(|place| place.id == id);
        place.unwrap_or_else(|| panic!("the plan names {id}, which is not a member"))
    }

    fn push(&mut self, what: Happening<NodeOf<S>>) {
        if self.closed {
            return;
        }
        self.trace.push(madsim::time::TimeHandle::current().elapsed(), what);
        if self.trace.events > self.max_events {
            let why = format!("still busy after {} events: the nodes keep each other awake", self.max_events);
            self.decide(Verdict::NotConverged { why });
        }
    }

    fn observe(&self) -> Observation<'_, NodeOf<S>, S::History> {
        Observation { nodes: self.places.iter().map(Place::observe).collect(), history: &self.history }
    }

    /// Takes in what a node did.
    fn took(&mut self, node: NodeId, state: &NodeOf<S>, effects: &[Effect<NodeOf<S>>]) {
        self.trace.show(state);
        for effect in effects {
            if let Effect::Observe(fact) = effect {
                self.history.observe(node, fact);
            }
        }
        let place = self.place(node);
        place.state = Some(state.clone());
        for effect in effects {
            if let Effect::Append(record) = effect {
                place.journal.push(record.clone());
            }
        }
        self.judge();
    }

    fn judge(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let now = self.observe();
        let broken = self
            .invariants
            .iter()
            .find_map(|invariant| (invariant.check)(&now).err().map(|why| (invariant.name.to_owned(), why)));
        if let Some((invariant, why)) = broken {
            self.decide(Verdict::Violated { invariant, why });
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        if self.verdict.is_none() {
            self.verdict = Some(verdict);
            let _ = self.orders.send(Order::Stop);
        }
    }

    /// Pulls the triggers that wait for this, and says whether the node is to stop on the spot.
    fn pull(&mut self, node: NodeId, is_it: impl Fn(&When) -> u32) -> ControlFlow<()> {
        let mut flow =
            if self.verdict.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let mut pulled = Vec::new();
        self.triggers.retain_mut(|trigger| {
            let nth = match &trigger.when {
                When::Received { nth, .. } | When::Durable { nth, .. } => *nth,
                When::AtMs(_) => return false,
            };
            trigger.seen += is_it(&trigger.when);
            if trigger.seen >= nth {
                pulled.push(trigger.what.clone());
            }
            trigger.seen < nth
        });
        for what in pulled {
            let crash = match &what {
                What::Fault(Fault::Crash { node, .. } | Fault::Wipe { node, .. }) => Some(*node),
                What::Fault(_) | What::Ask { .. } => None,
            };
            if crash == Some(node) {
                flow = ControlFlow::Break(());
            }
            let _ = self.orders.send(Order::Do(what));
        }
        flow
    }
}

/// Watches one node.
pub struct Eye<S: System> {
    monitor: Monitor<S>,
    node: NodeId,
}

impl<S: System> Clone for Eye<S> {
    fn clone(&self) -> Self {
        Self { monitor: self.monitor.clone(), node: self.node }
    }
}

impl<S: System> Probe<NodeOf<S>> for Eye<S> {
    fn booted(
        &self,
        journal: &Recovered<<NodeOf<S> as Node>::Record>,
        host: &Host<NodeOf<S>>,
        effects: &[Effect<NodeOf<S>>],
    ) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let place = state.place(self.node);
            place.journal.clone_from(&journal.records);
            place.durable = journal.records.len();
            if !state.booted.insert(self.node) {
                state.effects.count(FaultEffect::Restart);
            }
            state.push(Happening::booted(self.node, journal.records.len(), journal.torn, effects));
            state.took(self.node, host.node(), effects);
            state.pull(self.node, |_| 0)
        })
    }

    fn stepped(
        &self,
        event: &Event<NodeOf<S>>,
        host: &Host<NodeOf<S>>,
        effects: &[Effect<NodeOf<S>>],
    ) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let received = match event {
                Event::Message { message, .. } => Some(variant_name(message)),
                Event::Timer(_) | Event::Request { .. } | Event::Durable(_) => None,
            };
            let is_it = |when: &When| match when {
                When::Received { node, message, .. } => {
                    u32::from(*node == self.node && Some(message) == received.as_ref())
                }
                When::AtMs(_) | When::Durable { .. } => 0,
            };
            let flow = state.pull(self.node, is_it);
            if flow.is_break() {
                // The node stops before it does anything: as far as anybody can tell, it has done nothing.
                let (node, event) = (self.node, event.clone());
                state.push(Happening::Stepped { node, event, effects: Vec::new() });
                return flow;
            }
            let (node, event) = (self.node, event.clone());
            state.push(Happening::Stepped { node, event, effects: effects.to_vec() });
            state.took(self.node, host.node(), effects);
            if state.verdict.is_some() { ControlFlow::Break(()) } else { flow }
        })
    }

    fn synced(&self, upto: u64, host: &Host<NodeOf<S>>, effects: &[Effect<NodeOf<S>>]) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let place = state.place(self.node);
            let fresh: Vec<_> =
                place.journal[place.durable..upto as usize].iter().map(variant_name).collect();
            place.durable = upto as usize;
            let is_it = |when: &When| match when {
                When::Durable { node, record, .. } if *node == self.node => {
                    fresh.iter().filter(|name| *name == record).count() as u32
                }
                When::AtMs(_) | When::Received { .. } | When::Durable { .. } => 0,
            };
            let flow = state.pull(self.node, is_it);
            let effects = if flow.is_break() { &[] } else { effects };
            state.push(Happening::Synced { node: self.node, upto, effects: effects.to_vec() });
            if flow.is_continue() {
                state.took(self.node, host.node(), effects);
            }
            if state.verdict.is_some() { ControlFlow::Break(()) } else { flow }
        })
    }

    fn complain(&self, what: String) {
        self.monitor.note(Happening::Plan(format!("{}: {what}", self.node)));
    }
}

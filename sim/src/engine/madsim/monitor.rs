//! Watches all nodes of a run under madsim: an [`NodeProbe`] on each, and the one [`Recorder`] behind them.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coalmine_core::codec::frame;
use coalmine_core::codec::journal::Recovered;
use coalmine_core::codec::recording::Took;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId};
use coalmine_core::observation::Observed;
use coalmine_real::probe::Probe;
use coalmine_real::transport::{Envelope, NONSENSE};
use madsim::time::TimeHandle;
use tokio::sync::mpsc;

use super::disk::{Content, Disks};
use super::link::Frame;
use super::numbers::Numbers;
use super::survive::OnPanic;
use crate::engine::report::{RunOptions, RunReport};
use crate::engine::shared::disk::Crash;
use crate::engine::shared::network::Remains;
use crate::engine::shared::recorder::{Pulled, Recorder, crashes, note_early_output};
use crate::panics::Panic;
use crate::spec::faults::{CrashKind, Effect as FaultEffect, Effects};
use crate::spec::plan::{Plan, What};
use crate::spec::scenario::Expectation;
use crate::spec::system::{ConfigOf, NodeOf, Operation, System};
use crate::spec::verdict::Verdict;
use crate::trace::{Fate, TraceEvent};

/// What the verdict names if a shell takes for durable what its disk has not synced: that is what all the safety of a
/// node rests on, and no invariant of a protocol asks for it.
const DURABLE: &str = "durable";

/// What the verdict names if a transport does not read the frames that were written: protocols survive what is lost
/// that way, and would hide it.
const FRAMES: &str = "frames";

/// Shared by all that watch one run.
pub struct Monitor<S: System>(Arc<Mutex<State<S>>>);

impl<S: System> Clone for Monitor<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct State<S: System> {
    system: Arc<S>,
    recorder: Recorder<S>,
    places: Vec<Place<S>>,
    numbers: Numbers,
    orders: mpsc::UnboundedSender<Order<NodeOf<S>>>,
    clock: TimeHandle,
    /// The event of the step that is under way, if it is recorded.
    recorded: Option<Event<NodeOf<S>>>,
}

struct Place<S: System> {
    id: NodeId,
    config: ConfigOf<S>,
    state: Option<NodeOf<S>>,
    /// How many records before these it has forgotten.
    forgotten: u64,
    /// What its journal holds, as far as it was written.
    journal: Vec<<NodeOf<S> as Node>::Record>,
    durable: usize,
    /// The timers that are armed, while it is up.
    timers: Vec<<NodeOf<S> as Node>::Timer>,
    /// What it has told too early, if it ever did.
    early_output: Option<Box<str>>,
}

impl<S: System> Place<S> {
    fn observe(&self) -> Observed<'_, NodeOf<S>> {
        let durable = Some(&self.journal[..self.durable]);
        let (state, early_output) = (self.state.as_ref(), self.early_output.as_deref());
        let timers = if state.is_some() { &self.timers } else { &[][..] };
        let forgotten = self.forgotten;
        Observed { id: self.id, config: &self.config, state, durable, forgotten, timers, early_output }
    }

    /// How many of these records there are up to the one of this number.
    fn records_upto(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX).min(self.journal.len())
    }
}

/// What the monitor asks of the one who drives the run.
pub enum Order<N: Node> {
    /// The trigger of a step of the plan was pulled.
    Do(usize, What<N>),
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
        let place = |(id, config)| Place {
            id,
            config,
            state: None,
            forgotten: 0,
            journal: Vec::new(),
            durable: 0,
            timers: Vec::new(),
            early_output: None,
        };
        let places = system.members().into_iter().map(place).collect();
        let recorder = Recorder::new(&*system, plan, options);
        let numbers = Numbers::new(options.keep_trace);
        let clock = TimeHandle::current();
        let state = State { recorder, places, system, numbers, orders, clock, recorded: None };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<S>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which frame is which.
    pub fn numbers(&self) -> Numbers {
        self.with(|state| state.numbers.clone())
    }

    /// The simulated time of the last event.
    pub fn now(&self) -> Duration {
        self.with(|state| state.recorder.trace.last())
    }

    /// Writes down what happened outside the nodes.
    pub fn note(&self, what: &TraceEvent<NodeOf<S>>) {
        self.with(|state| state.push(what));
    }

    /// Writes down what the network did to a frame. What arrives untouched is only digested.
    pub fn frame(&self, from: NodeId, to: NodeId, fate: Fate, frame: &Frame) {
        self.with(|state| {
            state.recorder.trace.wire(from, to, &frame.bytes);
            if fate != Fate::Passes {
                let bytes = frame.bytes.clone();
                state.push_about(&TraceEvent::Frame { from, to, fate, bytes }, frame.send);
            }
        });
    }

    /// A node's life has ended, and this is what its disk kept.
    pub fn crashed(&self, node: NodeId, kind: CrashKind, crash: Crash, content: Content) {
        self.with(|state| {
            let place = state.place(node);
            place.state = None;
            // The disk may have synced what nobody has been told of yet.
            place.durable = place.records_upto(content.durable);
            place.journal.truncate(place.records_upto(content.written));
            let Crash { kept, lost, torn_bytes } = crash;
            match kind {
                CrashKind::Kill => {
                    state.recorder.effects.count(FaultEffect::Kill);
                    state.push(&TraceEvent::Killed { node, kept, lost });
                }
                CrashKind::Power | CrashKind::Wipe => {
                    state.recorder.effects.count(FaultEffect::Crash);
                    state.push(&TraceEvent::Crashed { node, kept, lost, torn_bytes, prevented: Vec::new() });
                }
            }
            state.judge();
        });
    }

    /// The disk of a node that is down is empty now.
    pub fn wiped(&self, node: NodeId) {
        self.with(|state| {
            let place = state.place(node);
            place.journal.clear();
            (place.forgotten, place.durable) = (0, 0);
        });
    }

    /// A node has stopped by itself.
    pub fn stopped(&self, node: NodeId, why: String) {
        self.with(|state| {
            state.place(node).state = None;
            state.push(&TraceEvent::Stopped { node, why });
            let _ = state.orders.send(Order::Stopped(node));
        });
    }

    /// Something panicked.
    pub fn panicked(&self, panic: Panic) {
        self.with(|state| {
            state.recorder.panicked(state.clock.elapsed(), panic);
            state.stop_if_decided();
        });
    }

    /// Takes in what panics.
    pub fn on_panic(&self) -> OnPanic {
        let monitor = self.clone();
        Arc::new(move |panic| monitor.panicked(panic))
    }

    /// The run is over: what still happens is no part of it.
    pub fn close(&self) {
        self.with(|state| state.recorder.close());
    }

    /// A fault took effect.
    pub fn count(&self, effect: FaultEffect) {
        self.with(|state| state.recorder.effects.count(effect));
    }

    /// What the network leaves behind.
    pub fn take_in(&self, network: Remains) {
        self.with(|state| state.recorder.take_in(network));
    }

    /// What took effect elsewhere.
    pub fn merge(&self, effects: &Effects) {
        self.with(|state| state.recorder.effects.merge(effects));
    }

    /// No trigger is pulled any more.
    pub fn disarm(&self) {
        self.with(|state| state.recorder.disarm());
    }

    /// Which nodes are down.
    pub fn down(&self) -> Vec<NodeId> {
        self.with(|state| {
            state.places.iter().filter(|place| place.state.is_none()).map(|place| place.id).collect()
        })
    }

    /// A step of the plan is carried out now, which may also take what a node that is down has left at risk.
    pub fn carries_out(&self, step: usize, what: &What<NodeOf<S>>, is_at_risk: bool) {
        self.with(|State { recorder, places, .. }| {
            let is_up = |id| places.iter().any(|it| it.id == id && it.state.is_some());
            recorder.carries_out(step, what, |id| is_at_risk || is_up(id));
        });
    }

    /// What was decided about the run so far.
    pub fn verdict(&self) -> Option<Verdict> {
        self.with(|state| state.recorder.verdict().cloned())
    }

    /// A client is to ask. Returns what it asks now, if it waits for nothing else, and its number.
    pub fn asked(&self, operation: Operation<NodeOf<S>>) -> Option<(usize, Operation<NodeOf<S>>)> {
        self.with(|State { recorder, system, clock, .. }| recorder.asked(system, clock.elapsed(), operation))
    }

    /// The client of this number is answered. Returns what it asks next.
    pub fn answered(
        &self,
        client: usize,
        told: (&str, Option<&<NodeOf<S> as Node>::Reply>),
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        self.with(|state| {
            let next = state.recorder.answered(&state.system, state.clock.elapsed(), client, told);
            state.stop_if_decided();
            next
        })
    }

    /// Whether the client of this number gives up; if it does, what it asks next.
    pub fn gives_up(&self, client: usize) -> Option<Option<(usize, Operation<NodeOf<S>>)>> {
        self.with(|State { recorder, system, clock, .. }| {
            let now = clock.elapsed();
            recorder.gives_up(now, client).then(|| recorder.given_up(system, now, client))
        })
    }

    /// Looks whether the system has come to rest.
    pub fn look(&self, expect: Expectation<S>) {
        self.with(|State { recorder, system, clock, places, .. }| {
            recorder.look(system, expect, clock.elapsed(), places.iter().map(Place::observe));
        });
    }

    /// The end of the run.
    pub fn finish(&self, verdict: Verdict, simulated: Duration) -> RunReport<NodeOf<S>> {
        self.with(|state| state.recorder.finish(verdict, simulated))
    }

    /// The eye on one node. `crash` is called when a trigger crashes it.
    pub fn eye(&self, node: NodeId) -> NodeProbe<S> {
        let place = self.with(|state| state.places.iter().position(|place| place.id == node));
        NodeProbe { monitor: self.clone(), node, place: place.expect("only members are watched") }
    }
}

impl<S: System> State<S> {
    fn place(&mut self, id: NodeId) -> &mut Place<S> {
        let place = self.places.iter_mut().find(|place| place.id == id);
        place.expect("only members are spoken of: plans are checked")
    }

    fn push(&mut self, what: &TraceEvent<NodeOf<S>>) {
        self.push_about(what, None);
    }

    /// Writes down something about the message of this number.
    fn push_about(&mut self, what: &TraceEvent<NodeOf<S>>, send: Option<u64>) {
        let now = self.clock.elapsed();
        let number = self.recorder.trace.sends;
        self.recorder.push(now, what, send);
        if let TraceEvent::Booted { node, .. }
        | TraceEvent::Stepped { node, .. }
        | TraceEvent::Synced { node, .. } = what
        {
            self.sent(*node, what.effects(), number);
        }
        self.stop_if_decided();
    }

    /// Writes down what a node has done about the event that it has just taken.
    fn did(&mut self, node: NodeId, effects: &[Effect<NodeOf<S>>]) {
        let number = self.recorder.trace.sends;
        self.recorder.on_effects(effects);
        self.sent(node, effects, number);
        self.stop_if_decided();
    }

    /// Numbers what a node sends, from this number on.
    fn sent(&self, node: NodeId, effects: &[Effect<NodeOf<S>>], mut number: u64) {
        if !self.numbers.are_kept() {
            return;
        }
        let now = self.clock.elapsed();
        for effect in effects {
            if let Effect::Send { to, message } = effect {
                let frame = || {
                    frame::encode(NodeOf::<S>::FORM, &Envelope { from: node, message }).unwrap_or_default()
                };
                self.numbers.sent((node, *to), number, now, frame);
                number += 1;
            }
        }
    }

    /// Records what a node took in, and did.
    fn record(
        &mut self,
        node: NodeId,
        took: impl FnOnce() -> Took<NodeOf<S>>,
        effects: &[Effect<NodeOf<S>>],
    ) {
        self.recorder.record(self.clock.elapsed(), node, took, effects);
    }

    /// Takes in what a node did.
    fn took(&mut self, place: usize, host: &Host<NodeOf<S>>, effects: &[Effect<NodeOf<S>>]) {
        let (place, state) = (&mut self.places[place], host.node());
        if place.timers != host.timers() {
            place.timers = host.timers().to_vec();
        }
        let Place { early_output, config, journal, durable, .. } = place;
        note_early_output(early_output, config, effects, &journal[..*durable]);
        self.recorder.on_step(place.id, state, effects);
        match &mut place.state {
            Some(known) if known == state => {}
            known => *known = Some(state.clone()),
        }
        for effect in effects {
            if let Effect::Append(record) = effect {
                place.journal.push(record.clone());
            }
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.recorder.judge(self.places.iter().map(Place::observe));
        if self.recorder.is_at_rest() {
            self.recorder.stays(&self.system, self.places.iter().map(Place::observe));
        }
        self.stop_if_decided();
    }

    /// A shell takes for durable what is not.
    fn lies(&mut self, why: String) {
        self.recorder.decide(Verdict::Violated { invariant: DURABLE.into(), why });
        self.stop_if_decided();
    }

    fn stop_if_decided(&self) {
        if self.recorder.verdict().is_some() {
            let _ = self.orders.send(Order::Stop);
        }
    }

    /// Hands on what the plan does now, and says whether the node is to stop on the spot.
    fn pulled(&mut self, node: NodeId, pulled: Pulled<NodeOf<S>>) -> ControlFlow<()> {
        let stops = self.recorder.verdict().is_some() || crashes(&pulled, node);
        for (step, what) in pulled {
            let _ = self.orders.send(Order::Do(step, what));
        }
        if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether a node may go on.
    fn flow(&self) -> ControlFlow<()> {
        if self.recorder.verdict().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Watches one node.
pub struct NodeProbe<S: System> {
    monitor: Monitor<S>,
    node: NodeId,
    /// Where the node is among the monitor's places.
    place: usize,
}

impl<S: System> Clone for NodeProbe<S> {
    fn clone(&self) -> Self {
        Self { monitor: self.monitor.clone(), node: self.node, place: self.place }
    }
}

impl<S: System> Probe<NodeOf<S>> for NodeProbe<S> {
    fn on_boot(
        &self,
        journal: &Recovered<<NodeOf<S> as Node>::Record>,
        host: &Host<NodeOf<S>>,
        effects: &[Effect<NodeOf<S>>],
    ) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let place = &mut state.places[self.place];
            place.journal.clone_from(&journal.records);
            (place.forgotten, place.durable) = (journal.forgotten, journal.records.len());
            let relies_on = journal.journal().last();
            state.recorder.on_boot(self.node);
            state.numbers.boots(self.node);
            TraceEvent::forgotten(self.node, journal.forgotten).iter().for_each(|note| state.push(note));
            state.push(&TraceEvent::booted(self.node, journal.records.len(), journal.torn, effects));
            state.record(self.node, || Took::boot(host.incarnation(), journal), effects);
            let synced = Disks::current().content(madsim::plugin::node()).durable;
            if synced < relies_on {
                let node = self.node;
                state.lies(format!(
                    "{node} starts from {relies_on} records, of which its disk has synced {synced}"
                ));
            }
            state.took(self.place, host, effects);
            state.flow()
        })
    }

    fn on_event(&self, event: &Event<NodeOf<S>>) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let node = self.node;
            let send = match event {
                Event::Message { from, .. } => state.numbers.taken((*from, node)),
                Event::Timer(_) | Event::Request { .. } | Event::Durable(_) => None,
            };
            let pulled = state.recorder.triggered_by_event(node, event);
            let flow = state.pulled(node, pulled);
            state.recorder.on_event(state.clock.elapsed(), node, event, send);
            if flow.is_break() {
                // The node stops before it does anything.
                state.did(node, &[]);
            } else if state.recorder.is_recording() {
                state.recorded = Some(event.clone());
            }
            flow
        })
    }

    fn on_step(&self, host: &Host<NodeOf<S>>, effects: &[Effect<NodeOf<S>>]) -> ControlFlow<()> {
        self.monitor.with(|state| {
            state.did(self.node, effects);
            if let Some(event) = state.recorded.take() {
                state.record(self.node, || Took::Event(event), effects);
            }
            state.took(self.place, host, effects);
            state.flow()
        })
    }

    fn on_sync(&self, upto: u64, host: &Host<NodeOf<S>>, effects: &[Effect<NodeOf<S>>]) -> ControlFlow<()> {
        self.monitor.with(|state| {
            let State { recorder, places, .. } = state;
            let place = &mut places[self.place];
            let synced = Disks::current().content(madsim::plugin::node()).durable;
            let durable = place.records_upto(upto);
            let pulled = recorder.triggered_by_records(self.node, &place.journal[place.durable..durable]);
            if synced < upto {
                let node = self.node;
                state.lies(format!(
                    "the shell of {node} says record {upto} is durable, its disk has synced {synced}"
                ));
                return ControlFlow::Break(());
            }
            place.durable = durable;
            let flow = state.pulled(self.node, pulled);
            let effects = if flow.is_break() { &[] } else { effects };
            state.push(&TraceEvent::Synced { node: self.node, upto, effects: effects.to_vec() });
            if flow.is_break() {
                state.recorder.forget_step();
                return flow;
            }
            state.record(self.node, || Took::Synced(upto), effects);
            state.took(self.place, host, effects);
            state.flow()
        })
    }

    fn on_choice(&self, answer: u32) {
        self.monitor.with(|state| state.recorder.on_choice(answer));
    }

    fn warn(&self, what: String) {
        self.monitor.with(|state| {
            state.push(&TraceEvent::Complained { node: self.node, what: what.clone() });
            if what.starts_with(NONSENSE) {
                state.recorder.decide(Verdict::Violated { invariant: FRAMES.into(), why: what });
                state.stop_if_decided();
            }
        });
    }
}

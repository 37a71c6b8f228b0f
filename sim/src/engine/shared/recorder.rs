//! Watches a run, whichever engine makes it: keeps the trace, folds the facts, checks the invariants, counts
//! what took effect and finds the triggers of the plan. It has no clock and no locks: engines bring those.

use std::collections::BTreeSet;
use std::time::Duration;

use coalmine_core::codec::recording::{Step, Took};
use coalmine_core::codec::survives;
use coalmine_core::node::{Effect, Event, Node, NodeId, RequestId, Word, variant_name};
use coalmine_core::observation::{History, Invariant, Observation, Observed};
use coalmine_core::write_ahead::early_output;

use super::clients::Clients;
use super::liveness::{Liveness, Rest};
use super::network::Remains;
use super::recording::Recordings;
use crate::engine::report::{RunOptions, RunReport};
use crate::panics::Panic;
use crate::panics::describe;
use crate::spec::faults::{Effect as FaultEffect, Effects, Fault, Passed};
use crate::spec::plan::{Plan, What, When};
use crate::spec::scenario::Expectation;
use crate::spec::system::{Armed, NodeOf, Operation, System, invariants_of, meets_at_home, timers_are_armed};
use crate::spec::verdict::Verdict;
use crate::trace::{Call, Trace, TraceEvent};

/// Of every so many seeds the runs of one ask of all that nodes do whether it [survives] being written: that takes
/// longer than the rest of a run, and what does not survive is soon seen. It is asked by the seed and nothing else, so
/// that a seed has one verdict. The checker asks it of everything.
const ASK_CODEC_EVERY: u64 = 256;

/// What is known of a run so far.
pub struct Recorder<S: System> {
    /// What happened.
    pub trace: Trace<NodeOf<S>>,
    /// Which faults took effect.
    pub effects: Effects,
    history: S::History,
    /// The timers that each node has had armed.
    armed: Armed<S>,
    invariants: Vec<Invariant<NodeOf<S>, S::History>>,
    /// Who has booted at least once.
    booted: BTreeSet<NodeId>,
    triggers: Vec<Trigger<NodeOf<S>>>,
    /// The steps of the plan that were not carried out so far.
    unused: BTreeSet<usize>,
    max_events: u64,
    clients: Clients<S>,
    liveness: Liveness,
    /// How long after all was healed the rest began that has lasted.
    converged_after: Option<Duration>,
    verdict: Option<Verdict>,
    closed: bool,
    /// What became of each frame, if that is kept.
    passed: Vec<Passed>,
    /// The recordings, if the run is recorded.
    recordings: Option<Recordings<NodeOf<S>>>,
    /// What a node was told during the step that is under way.
    chosen: Vec<u32>,
    /// See [`ASK_CODEC_EVERY`].
    asks_codec: bool,
}

struct Trigger<N: Node> {
    step: usize,
    when: When,
    seen: u32,
    what: What<N>,
}

/// Steps of the plan that are due now, each with its place in the plan.
pub type Pulled<N> = Vec<(usize, What<N>)>;

impl<S: System> Recorder<S> {
    /// Watches a system through a plan.
    pub fn new(system: &S, plan: &Plan<NodeOf<S>>, options: RunOptions) -> Self {
        let steps = plan.steps.iter().enumerate();
        let triggered = steps.filter(|(_, step)| !matches!(step.when, When::AtMs(_)));
        let triggers = triggered.map(|(place, step)| Trigger {
            step: place,
            when: step.when.clone(),
            seen: 0,
            what: step.what.clone(),
        });
        Self {
            trace: Trace::new(options.keep_trace),
            effects: Effects::default(),
            history: S::History::default(),
            armed: Armed::<S>::new(),
            invariants: invariants_of(system),
            booted: BTreeSet::new(),
            triggers: triggers.collect(),
            unused: (0..plan.steps.len()).collect(),
            max_events: options.max_events,
            clients: Clients::default(),
            liveness: Liveness::of(plan),
            converged_after: None,
            verdict: None,
            closed: false,
            passed: Vec::new(),
            recordings: options.record.map(|protocol| Recordings::new(protocol, system)),
            chosen: Vec::new(),
            asks_codec: options.seed.is_multiple_of(ASK_CODEC_EVERY),
        }
    }

    /// A node had a choice, and this is what it was told.
    pub fn on_choice(&mut self, answer: u32) {
        if self.is_recording() {
            self.chosen.push(answer);
        }
    }

    /// Whether anybody reads what is recorded.
    pub fn is_recording(&self) -> bool {
        self.recordings.is_some() && !self.closed
    }

    /// Records what a node took in, and did.
    pub fn record(
        &mut self,
        at: Duration,
        node: NodeId,
        took: impl FnOnce() -> Took<NodeOf<S>>,
        effects: &[Effect<NodeOf<S>>],
    ) {
        let chose = std::mem::take(&mut self.chosen);
        if let Some(recordings) = self.recordings.as_mut().filter(|_| !self.closed) {
            recordings.add(node, Step::new(at, took(), chose, effects));
        }
    }

    /// The step that is under way does not happen after all.
    pub fn forget_step(&mut self) {
        self.chosen.clear();
    }

    /// Writes down what happened; if it is about a message, say which send (see [`crate::trace::Entry`]).
    pub fn push(&mut self, at: Duration, what: &TraceEvent<NodeOf<S>>, send: Option<u64>) {
        if self.closed {
            return;
        }
        self.trace.push(at, what, send);
        self.check_budget();
    }

    /// Writes down that a node takes an event, without cloning it; what it does follows.
    pub fn on_event(&mut self, at: Duration, node: NodeId, event: &Event<NodeOf<S>>, send: Option<u64>) {
        if self.closed {
            return;
        }
        if let Event::Request { id, request } = event {
            self.on_call(node, *id, request);
        }
        self.trace.on_event(at, node, event, send);
        self.check_budget();
    }

    /// Whether there is anything to [judge](Self::judge), or to look whether it [stays](Self::stays).
    pub fn has_to_judge(&self) -> bool {
        !self.invariants.is_empty() || self.liveness.is_at_rest()
    }

    /// Whether the system has come to rest, and it must be looked after every step whether it [stays](Self::stays)
    /// there.
    pub fn is_at_rest(&self) -> bool {
        self.liveness.is_at_rest()
    }

    /// The same for a message, if it is certain which send it comes from. The time is in nanoseconds.
    #[inline]
    pub fn on_message(&mut self, at: u64, node: NodeId, event: &Event<NodeOf<S>>, send: u64) {
        if self.closed {
            return;
        }
        self.trace.on_message(at, node, event, send);
        self.check_budget();
    }

    /// Whether the plan may do something when a node takes an event.
    pub fn has_triggers(&self) -> bool {
        !self.triggers.is_empty()
    }

    /// Writes down what it did.
    pub fn on_effects(&mut self, effects: &[Effect<NodeOf<S>>]) {
        if !self.closed {
            self.trace.on_effects(effects);
        }
    }

    fn check_budget(&mut self) {
        if self.trace.events > self.max_events {
            let why = format!("still busy after {} events: the nodes keep each other awake", self.max_events);
            self.decide(Verdict::NotConverged { why });
        }
    }

    /// A node has booted; it counts as a restart if it is not for the first time.
    pub fn on_boot(&mut self, node: NodeId) {
        if !self.booted.insert(node) {
            self.effects.count(FaultEffect::Restart);
        }
    }

    /// Takes in what a node did.
    pub fn on_step(&mut self, node: NodeId, state: &NodeOf<S>, effects: &[Effect<NodeOf<S>>]) {
        self.trace.show(state);
        self.on_facts(node, effects);
    }

    /// A node takes what a client asks.
    pub fn on_call(&mut self, node: NodeId, id: RequestId, request: &<NodeOf<S> as Node>::Request) {
        if S::History::HEARS_CALLS {
            self.history.called(node, id, request);
        }
    }

    /// Takes in what the history hears of what a node did.
    pub fn on_facts(&mut self, node: NodeId, effects: &[Effect<NodeOf<S>>]) {
        if self.asks_codec
            && let Err(why) = effects.iter().try_for_each(survives)
        {
            self.panicked(self.trace.last(), Panic::without_place(why));
        }
        self.history.learn(node, effects);
        for effect in effects {
            if let Effect::SetTimer { timer, .. } = effect {
                let armed = self.armed.entry(node).or_default();
                if !armed.contains(timer) {
                    armed.insert(timer.clone());
                }
            } else if let Err(why) = meets_at_home(effect) {
                self.panicked(self.trace.last(), Panic::without_place(why));
            }
        }
    }

    /// A client is to ask. Returns what it asks now, if it waits for nothing else, and its number.
    pub fn asked(
        &mut self,
        system: &S,
        at: Duration,
        operation: Operation<NodeOf<S>>,
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        let begins = self.clients.ask(system, at, operation);
        self.begins(at, begins)
    }

    fn begins(
        &mut self,
        at: Duration,
        begins: Option<(usize, Operation<NodeOf<S>>)>,
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        if let Some((_, Operation { to, id, request })) = &begins {
            let call = Call { id: *id, what: describe::<NodeOf<S>>(Word::Request(request)) };
            self.push(at, &TraceEvent::Asked { to: *to, call }, None);
        }
        begins
    }

    /// The client of this number is answered. Returns what it asks next.
    pub fn answered(
        &mut self,
        system: &S,
        at: Duration,
        client: usize,
        (what, reply): (&str, Option<&<NodeOf<S> as Node>::Reply>),
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        let (from, id) = self.clients.asked(client);
        self.push(at, &TraceEvent::Answered { from, call: Call { id, what: what.into() } }, None);
        let begins = self.clients.goes_on(system, at, client, reply.cloned());
        self.begins(at, begins)
    }

    /// Whether the client of this number gives up and goes on with something else.
    pub fn gives_up(&self, at: Duration, client: usize) -> bool {
        self.clients.gives_up(at, client)
    }

    /// The client of this number has given up. Returns what it asks next.
    pub fn given_up(
        &mut self,
        system: &S,
        at: Duration,
        client: usize,
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        let (_, id) = self.clients.asked(client);
        self.push(at, &TraceEvent::Noted(format!("client {id} gives up, and asks something else")), None);
        let begins = self.clients.goes_on(system, at, client, None);
        self.begins(at, begins)
    }

    /// Looks whether the system has come to rest, once all is healed. It decides the run when that has lasted, or is
    /// too late.
    pub fn look<'a>(
        &'a mut self,
        system: &S,
        expect: Expectation<S>,
        at: Duration,
        nodes: impl IntoIterator<Item = Observed<'a, NodeOf<S>>>,
    ) {
        let now = Observation { nodes: nodes.into_iter().collect(), history: &self.history };
        let converged = self.has_converged(system, &now);
        let owes_answers = converged.is_ok() && system.owes_answers(&now);
        let answered = if owes_answers { self.clients.are_answered() } else { Ok(()) };
        let rest = self.liveness.look(at, converged.and(answered));
        let steady = self.liveness.steady().as_secs_f64();
        let note = match &rest {
            Rest::NotYet | Rest::Goes | Rest::Missed(_) | Rest::Lasts(_) => None,
            Rest::Begins => Some(format!("converged; it must stay so for {steady} s")),
            Rest::Ended(why) => Some(format!("converged no more: {why}")),
        };
        let verdict = match rest {
            Rest::NotYet | Rest::Begins | Rest::Goes | Rest::Ended(_) => None,
            Rest::Missed(why) => Some(Verdict::NotConverged { why }),
            Rest::Lasts(after) => {
                self.converged_after = Some(after);
                Some(match expect(&now) {
                    Ok(()) => Verdict::Passed,
                    Err(why) => Verdict::Violated { invariant: "expectation".into(), why },
                })
            }
        };
        if let Some(note) = note {
            self.push(at, &TraceEvent::Noted(note), None);
        }
        if let Some(verdict) = verdict {
            for unanswered in self.clients.describe_unanswered() {
                self.push(at, &TraceEvent::Noted(unanswered), None);
            }
            self.decide(verdict);
        }
    }

    fn has_converged(&self, system: &S, now: &Observation<'_, NodeOf<S>, S::History>) -> Result<(), String> {
        system.converged(now)?;
        timers_are_armed(system, now, &self.armed)
    }

    /// Looks whether a system that has come to rest stays there.
    pub fn stays<'a>(&'a mut self, system: &S, nodes: impl IntoIterator<Item = Observed<'a, NodeOf<S>>>) {
        if self.verdict.is_some() {
            return;
        }
        let now = Observation { nodes: nodes.into_iter().collect(), history: &self.history };
        if let Err(why) = self.has_converged(system, &now) {
            let (at, note) = (self.trace.last(), format!("converged no more: {why}"));
            self.liveness.look(at, Err(why));
            self.push(at, &TraceEvent::Noted(note), None);
        }
    }

    /// Checks the invariants; the first that is broken decides the run.
    pub fn judge<'a>(&'a mut self, nodes: impl IntoIterator<Item = Observed<'a, NodeOf<S>>>) {
        if self.verdict.is_some() || self.invariants.is_empty() {
            return;
        }
        let now = Observation { nodes: nodes.into_iter().collect(), history: &self.history };
        let broken = self
            .invariants
            .iter()
            .find_map(|invariant| (invariant.check)(&now).err().map(|why| (invariant.name.to_owned(), why)));
        if let Some((invariant, why)) = broken {
            self.verdict = Some(Verdict::Violated { invariant, why });
        }
    }

    /// Something panicked, and that ends the run: where and how is part of what happened.
    pub fn panicked(&mut self, at: Duration, panic: Panic) {
        self.push(at, &TraceEvent::Noted(panic.to_string()), None);
        self.decide(Verdict::Panicked(panic));
    }

    /// Decides the run, unless it is decided.
    pub fn decide(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    /// What was decided so far.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The facts so far.
    pub fn history(&self) -> &S::History {
        &self.history
    }

    /// A step of the plan is carried out now, and so it is [used](RunReport::unused_steps), unless it does
    /// something to a node's life and there is none, nor anything that it [left at risk](crate::spec::faults::CrashKind).
    /// What it says of a frame is carried out when there is [such a frame](Self::take_in).
    pub fn carries_out(&mut self, step: usize, what: &What<NodeOf<S>>, is_up: impl FnOnce(NodeId) -> bool) {
        let living = match what {
            What::Fault(Fault::Frame { .. }) => return,
            What::Fault(Fault::Crash { node, .. } | Fault::Kill { node, .. } | Fault::Pause { node, .. }) => {
                Some(*node)
            }
            What::Fault(_) | What::Ask { .. } => None,
        };
        if living.is_none_or(is_up) {
            self.unused.remove(&step);
        }
    }

    /// What the network leaves behind at the end.
    pub fn take_in(&mut self, network: Remains) {
        self.effects.merge(&network.effects);
        self.unused.retain(|step| !network.met.contains(step));
        self.passed = network.passed;
    }

    /// What the plan does when a node takes this event.
    pub fn triggered_by_event(&mut self, me: NodeId, event: &Event<NodeOf<S>>) -> Pulled<NodeOf<S>> {
        let Event::Message { message: received, .. } = event else { return Vec::new() };
        if self.triggers.is_empty() {
            return Vec::new();
        }
        let name = variant_name(received);
        self.pull(|when| match when {
            When::Received { node, message, .. } => u32::from(*node == me && *message == name),
            When::AtMs(_) | When::Durable { .. } => 0,
        })
    }

    /// What the plan does when these records have become durable at a node.
    pub fn triggered_by_records(
        &mut self,
        me: NodeId,
        records: &[<NodeOf<S> as Node>::Record],
    ) -> Pulled<NodeOf<S>> {
        if self.triggers.is_empty() {
            return Vec::new();
        }
        let fresh: Vec<_> = records.iter().map(variant_name).collect();
        self.pull(|when| match when {
            When::Durable { node, record, .. } if *node == me => {
                fresh.iter().filter(|name| *name == record).count() as u32
            }
            When::AtMs(_) | When::Received { .. } | When::Durable { .. } => 0,
        })
    }

    fn pull(&mut self, is_it: impl Fn(&When) -> u32) -> Pulled<NodeOf<S>> {
        let mut pulled = Vec::new();
        self.triggers.retain_mut(|trigger| {
            let nth = match &trigger.when {
                When::Received { nth, .. } | When::Durable { nth, .. } => *nth,
                When::AtMs(_) => return false,
            };
            trigger.seen += is_it(&trigger.when);
            if trigger.seen >= nth {
                pulled.push((trigger.step, trigger.what.clone()));
            }
            trigger.seen < nth
        });
        pulled
    }

    /// No trigger is pulled any more.
    pub fn disarm(&mut self) {
        self.triggers.clear();
    }

    /// The run is over: what still happens is no part of it.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The end of the run.
    pub fn finish(&mut self, verdict: Verdict, simulated: Duration) -> RunReport<NodeOf<S>> {
        // Where a run was cut short, clients may well have waited still.
        let unanswered = match verdict {
            Verdict::Passed | Verdict::NotConverged { .. } => self.clients.describe_unanswered(),
            Verdict::Violated { .. }
            | Verdict::Refused { .. }
            | Verdict::Panicked { .. }
            | Verdict::EnginesDiffer { .. }
            | Verdict::NotDeterministic { .. } => Vec::new(),
        };
        let panicked = matches!(verdict, Verdict::Panicked { .. });
        let recordings = self.recordings.take().map(|it| it.into_files(panicked));
        RunReport {
            verdict,
            digest: self.trace.digest(),
            events: self.trace.events,
            simulated,
            wall: Duration::ZERO,
            trace: self.trace.entries.take(),
            passed: std::mem::take(&mut self.passed),
            recordings: recordings.unwrap_or_default(),
            effects: std::mem::take(&mut self.effects),
            unused_steps: Some(self.unused.iter().copied().collect()),
            converged_after: self.converged_after,
            unanswered,
        }
    }
}

/// Whether one of these crashes the node on the spot.
pub fn crashes<N: Node>(pulled: &Pulled<N>, me: NodeId) -> bool {
    pulled.iter().any(|(_, what)| match what {
        What::Fault(Fault::Crash { node, .. } | Fault::Kill { node, .. } | Fault::Wipe { node, .. }) => {
            *node == me
        }
        What::Fault(_) | What::Ask { .. } => false,
    })
}

/// Notes in `early` what among these effects is [told too early](coalmine_core::write_ahead), while so much is durable.
pub fn note_early_output<N: Node>(
    early: &mut Option<Box<str>>,
    config: &N::Config,
    effects: &[Effect<N>],
    durable: &[N::Record],
) {
    if early.is_none() && N::rests_on().is_some() {
        *early = effects.iter().find_map(|effect| early_output(config, effect, durable));
    }
}

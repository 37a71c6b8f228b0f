//! A kept trace as a [`Page`].

use std::collections::BTreeMap;

use coalmine_core::node::{Delay, Effect, Event, Node, NodeId, RequestId, Word, variant_name};
use coalmine_real::transport::Envelope;

use super::bands::Bands;
use super::flights::Flights;
use super::page::{Act, ActKind, End, Ending, Flight, Kind, Lane, Outage, Page, Step};
use super::planned::planned;
use super::states::States;
use crate::panics::describe;
use crate::spec::faults::Fault;
use crate::spec::plan::Plan;
use crate::spec::verdict::Verdict;
use crate::trace::slice::{Slice, describe_armed};
use crate::trace::text::{
    HEALED, describe_cut, describe_effect, describe_event, describe_fate, describe_killed,
};
use crate::trace::{Entry, Fate, TraceEvent, turn};

/// What a trace does not say about its run.
pub struct About<'a, N: Node> {
    /// The scenario's name.
    pub title: String,
    /// One sentence about it.
    pub subtitle: String,
    /// The line to paste that makes the run again, if it is known.
    pub replay: Option<String>,
    /// Further facts, each with its name.
    pub details: Vec<(String, String)>,
    /// What was to happen; `None` if the trace is of a path, where all that happens was chosen, and where there
    /// is no clock.
    pub plan: Option<&'a Plan<N>>,
    /// The members.
    pub members: Vec<NodeId>,
    /// How it came out.
    pub verdict: &'a Verdict,
    /// Which timers are armed for ever: what they cause is quiet, as long as nothing comes of it.
    pub is_periodic: &'a dyn Fn(&N::Timer) -> bool,
}

/// The page of a trace.
pub fn of_trace<N: Node>(about: About<'_, N>, entries: &[Entry<N>]) -> Page {
    let mut reader = Reader::new(&about.members);
    reader.flights.outlive_nodes = about.plan.is_none();
    let slice = Slice::of(entries, Some(about.verdict));
    for (place, (entry, told)) in entries.iter().zip(slice.told).enumerate() {
        let mut step = reader.read(entry, about.is_periodic);
        // What a node did right before a crash is never quiet, nor what changed it.
        step.quiet &= !matches!(entries.get(place + 1), Some(entry) if entry.what.ends_a_life());
        step.quiet &= !told.in_slice && told.changes.is_empty();
        let turn = |at| about.plan.is_none().then(|| turn(at));
        step.timer = told.timer.map(|armed| describe_armed(armed, entry.at, turn(armed.at)));
        (step.changes, step.led) = (told.changes, told.in_slice);
        reader.steps.push(step);
    }
    reader.wake_senders();
    let lanes = &reader.lanes;
    let mut bands = reader.bands.finish(&reader.steps, |node| lanes.get(&node).copied().unwrap_or(CLIENT));

    if about.plan.is_none() {
        for (step, entry) in reader.steps.iter_mut().zip(entries) {
            (step.at_ns, step.turn) = (None, Some(turn(entry.at)));
            step.quiet = false; // a path has no step too many
        }
        bands.iter_mut().for_each(|band| band.for_ns = 0);
    }

    let client = Lane { name: "client".into(), client: true };
    let nodes = about.members.iter().map(|id| Lane { name: id.to_string(), client: false });
    Page {
        title: about.title,
        subtitle: about.subtitle,
        ending: ending(about.verdict, slice.end),
        replay: about.replay,
        details: about.details,
        lanes: std::iter::once(client).chain(nodes).collect(),
        steps: reader.steps,
        flights: reader.flights.all,
        outages: reader.outages,
        bands,
        plan: about.plan.map(|plan| planned(plan, entries)),
        lines: reader.states.lines,
        states: reader.states.states,
        left_out: None,
    }
}

fn ending(verdict: &Verdict, step: Option<usize>) -> Ending {
    let (headline, why) = match verdict {
        Verdict::Passed => ("passed".into(), None),
        Verdict::Violated { invariant, why } => (format!("{invariant} is violated"), Some(why.clone())),
        Verdict::NotConverged { why } => ("did not converge".into(), Some(why.clone())),
        Verdict::Refused { why } => ("cannot be run".into(), Some(why.clone())),
        Verdict::Panicked(panic) => ("panicked".into(), Some(panic.to_string())),
        Verdict::EnginesDiffer { .. } => ("the engines differ".into(), Some(verdict.describe())),
        Verdict::NotDeterministic { digests: [a, b], .. } => {
            ("not deterministic".into(), Some(format!("two runs of one seed have the digests {a} and {b}")))
        }
    };
    let passed = *verdict == Verdict::Passed;
    Ending { passed, headline, why, step }
}

/// The clients' lane comes first.
const CLIENT: usize = 0;

/// Goes through a trace, entry by entry.
struct Reader<'a, N: Node> {
    lanes: BTreeMap<NodeId, usize>,
    steps: Vec<Step>,
    flights: Flights,
    outages: Vec<Outage>,
    bands: Bands,
    states: States,
    /// Which nodes are up.
    up: BTreeMap<NodeId, bool>,
    /// Which step wrote each record of a node's journal, if the trace shows it.
    writers: BTreeMap<NodeId, Vec<Option<usize>>>,
    /// Which step armed a timer last.
    armed: BTreeMap<(NodeId, &'a N::Timer), usize>,
    /// What clients ask, while it is under way. (Whoever asks again is not seen to: what a node takes may have no
    /// beginning.)
    requests: BTreeMap<(NodeId, RequestId), usize>,
    /// What clients are answered, while it is under way.
    replies: BTreeMap<(NodeId, RequestId), usize>,
}

impl<'a, N: Node> Reader<'a, N> {
    fn new(members: &[NodeId]) -> Self {
        Self {
            lanes: members.iter().enumerate().map(|(i, &id)| (id, CLIENT + 1 + i)).collect(),
            steps: Vec::new(),
            flights: Flights::default(),
            outages: Vec::new(),
            bands: Bands::new(members),
            states: States::default(),
            up: BTreeMap::new(),
            writers: BTreeMap::new(),
            armed: BTreeMap::new(),
            requests: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }

    fn lane(&self, node: NodeId) -> usize {
        self.lanes.get(&node).copied().unwrap_or(CLIENT)
    }

    fn read(&mut self, entry: &'a Entry<N>, is_periodic: &dyn Fn(&N::Timer) -> bool) -> Step {
        let (at, send) = (entry.at, entry.send);
        let mut step = Step {
            at_ns: u64::try_from(at.as_nanos()).ok(),
            turn: None,
            lane: None,
            kind: Kind::Plan,
            name: String::new(),
            text: String::new(),
            quiet: false,
            acts: Vec::new(),
            changes: Vec::new(),
            timer: None,
            led: false,
            flight: None,
            cause: None,
            state: entry.state.as_deref().map(|text| self.states.intern(text)),
        };
        match &entry.what {
            TraceEvent::Booted { node, records, torn, effects } => {
                step.kind = Kind::Boot;
                let torn = torn.map_or(String::new(), |(line, bytes)| {
                    format!(", cut off {bytes} bytes of a torn record in line {line}")
                });
                step.text = match records {
                    0 => format!("from an empty disk{torn}"),
                    1 => format!("from 1 record{torn}"),
                    records => format!("from {records} records{torn}"),
                };
                self.boots(*node, *records, &mut step);
                step.acts = self.acts(*node, effects);
            }
            TraceEvent::Stepped { node, event, effects } => {
                step.lane = Some(self.lane(*node));
                self.takes(*node, send, event, &mut step);
                step.acts = self.acts(*node, effects);
                step.quiet = self.is_quiet(event, effects, &step, is_periodic);
            }
            TraceEvent::Synced { node, upto, effects } => {
                (step.kind, step.lane) = (Kind::Synced, Some(self.lane(*node)));
                step.text = format!("durable up to record {upto}");
                let records = self.writers.entry(*node).or_default();
                let writer = upto.checked_sub(1).and_then(|last| records.get(last as usize));
                step.cause = writer.copied().flatten();
                step.acts = self.acts(*node, effects);
                step.quiet = !effects.iter().any(|effect| describe_effect(effect).is_some());
            }
            TraceEvent::Crashed { node, kept, lost, torn_bytes, prevented } => {
                step.kind = Kind::Crash;
                step.text = describe_crash(*kept, *lost, *torn_bytes);
                step.acts = prevented.iter().filter_map(prevented_act).collect();
                self.ends(*node, &mut step);
                self.bands.ends_life(*node, at);
            }
            TraceEvent::Killed { node, kept, lost } => {
                step.kind = Kind::Crash;
                step.text = format!("its process is killed{}", describe_killed(*kept, *lost));
                self.ends(*node, &mut step);
                self.bands.ends_life(*node, at);
            }
            TraceEvent::Stopped { node, why } => {
                (step.kind, step.text) = (Kind::Stop, why.clone());
                self.ends(*node, &mut step);
            }
            TraceEvent::Frame { from, to, fate, bytes } => {
                step.kind = Kind::Network;
                self.touches((*from, *to), send, *fate, bytes, &mut step);
            }
            TraceEvent::Asked { to, call } => {
                (step.kind, step.lane, step.text) = (Kind::Asked, Some(CLIENT), call.to_string());
                let flight = self.call(CLIENT, self.lane(*to), "request", &step.text);
                self.requests.insert((*to, call.id), flight);
                step.flight = Some(flight);
            }
            TraceEvent::Answered { from, call } => {
                (step.kind, step.lane, step.text) = (Kind::Answered, Some(CLIENT), call.to_string());
                step.flight = self.replies.remove(&(*from, call.id));
                step.cause = self.lands(step.flight);
            }
            TraceEvent::Complained { node, what } => {
                (step.lane, step.text) = (Some(self.lane(*node)), what.clone());
            }
            TraceEvent::Fault(fault) => {
                step.text = fault.describe();
                let stands = |node| self.up.get(node) == Some(&true);
                if !matches!(fault, Fault::Pause { node, .. } if !stands(node)) {
                    self.bands.begin(fault, self.steps.len(), at);
                }
            }
            TraceEvent::Noted(what) => (step.name, step.text) = ("note".into(), what.clone()),
            TraceEvent::Cut { from, to, both_ways } => {
                step.text = describe_cut(*from, *to, *both_ways);
                self.bands.cut(*from, *to, *both_ways, self.steps.len(), at);
            }
            TraceEvent::Mended { from, to } => {
                step.text = format!("{from} → {to} is mended");
                self.bands.mend(*from, *to, self.steps.len(), at);
            }
            TraceEvent::Healed => {
                (step.name, step.text) = ("heal".into(), HEALED.into());
                self.bands.heal(at);
            }
        }
        step
    }

    fn boots(&mut self, node: NodeId, records: usize, step: &mut Step) {
        let lane = self.lane(node);
        step.lane = Some(lane);
        self.up.insert(node, true);
        self.writers.entry(node).or_default().resize(records, None);
        self.armed.retain(|(of, _), _| *of != node);
        if let Some(outage) = self.outages.iter_mut().rfind(|it| it.lane == lane && it.to.is_none()) {
            outage.to = Some(self.steps.len());
        }
    }

    fn ends(&mut self, node: NodeId, step: &mut Step) {
        let lane = self.lane(node);
        step.lane = Some(lane);
        if self.up.insert(node, false) != Some(false) {
            self.outages.push(Outage { lane, from: self.steps.len(), to: None });
        }
        self.flights.down(lane);
    }

    /// Fills in the event that a node took.
    fn takes(&mut self, node: NodeId, send: Option<u64>, event: &'a Event<N>, step: &mut Step) {
        match event {
            Event::Message { from, message } => {
                step.kind = Kind::Message;
                step.name = variant_name(message);
                step.text = describe::<N>(Word::Message(message));
                let number = self.steps.len();
                let flight = self.flights.received(send, number).unwrap_or_else(|| {
                    // It was sent where the trace does not see it.
                    let (from, to) = (self.lane(*from), self.lane(node));
                    self.flights.all.push(Flight {
                        received: vec![number],
                        end: End::Arrived,
                        ..flight(from, to, None, &step.name, &step.text)
                    });
                    self.flights.all.len() - 1
                });
                step.flight = Some(flight);
                step.cause = self.flights.all[flight].sent;
            }
            Event::Timer(timer) => {
                step.kind = Kind::Timer;
                step.name = variant_name(timer);
                step.text = describe::<N>(Word::Timer(timer));
                step.cause = self.armed.remove(&(node, timer));
            }
            Event::Request { id, request } => {
                step.kind = Kind::Request;
                step.name = variant_name(request);
                step.text = format!("{id} {}", describe::<N>(Word::Request(request)));
                step.flight = self.requests.remove(&(node, *id));
                step.cause = self.lands(step.flight);
            }
            Event::Durable(_) => (step.kind, step.text) = (Kind::Durable, describe_event(event)),
        }
    }

    fn acts(&mut self, node: NodeId, effects: &'a [Effect<N>]) -> Vec<Act> {
        let number = self.steps.len();
        let mut acts = Vec::new();
        for effect in effects {
            let (kind, text, flight) = match effect {
                Effect::Append(record) => {
                    self.writers.entry(node).or_default().push(Some(number));
                    (ActKind::Append, describe::<N>(Word::Record(record)), None)
                }
                Effect::Send { to, message } => {
                    let text = describe::<N>(Word::Message(message));
                    let name = variant_name(message);
                    let flight = flight(self.lane(node), self.lane(*to), Some(number), &name, &text);
                    let up = self.up.get(to).copied().unwrap_or(true);
                    (ActKind::Send, text, Some(self.flights.sent(up, flight)))
                }
                Effect::Reply { to, reply } => {
                    let text = describe::<N>(Word::Reply(reply));
                    (ActKind::Reply, text, Some(self.answer(node, *to, &variant_name(reply), reply)))
                }
                Effect::Observe(fact) => (ActKind::Fact, describe::<N>(Word::Fact(fact)), None),
                Effect::SetTimer { timer, delay } => {
                    self.armed.insert((node, timer), number);
                    let text = format!("{} {}", describe::<N>(Word::Timer(timer)), describe_delay(*delay));
                    (ActKind::Arm, text, None)
                }
                Effect::CancelTimer(timer) => (ActKind::Disarm, describe::<N>(Word::Timer(timer)), None),
                Effect::Publish(_) => (ActKind::Publish, "a new view".into(), None),
                Effect::Forget(before) => {
                    (ActKind::Append, format!("the records before number {before} may vanish"), None)
                }
                Effect::Meet { .. } | Effect::Part(_) | Effect::Lost { .. } => {
                    (ActKind::Fact, describe_effect(effect).unwrap_or_default(), None)
                }
                Effect::WhenDurable(_) => continue, // the host answers it, nothing leaves
            };
            acts.push(Act { kind, text, flight });
        }
        acts
    }

    fn answer(&mut self, node: NodeId, to: RequestId, name: &str, reply: &N::Reply) -> usize {
        let flight = self.call(self.lane(node), CLIENT, name, &describe::<N>(Word::Reply(reply)));
        self.replies.insert((node, to), flight);
        flight
    }

    /// A request or an answer sets out.
    fn call(&mut self, from: usize, to: usize, name: &str, text: &str) -> usize {
        self.flights.all.push(flight(from, to, Some(self.steps.len()), name, text));
        self.flights.all.len() - 1
    }

    /// A request or an answer has arrived at the step that is being read.
    fn lands(&mut self, flight: Option<usize>) -> Option<usize> {
        let flight = &mut self.flights.all[flight?];
        flight.received.push(self.steps.len());
        flight.end = End::Arrived;
        flight.sent
    }

    fn touches(
        &mut self,
        (from, to): (NodeId, NodeId),
        send: Option<u64>,
        fate: Fate,
        bytes: &[u8],
        step: &mut Step,
    ) {
        step.flight = self.flights.touched(send, fate, self.steps.len());
        step.cause = step.flight.and_then(|flight| self.flights.all[flight].sent);
        let frame: Option<Envelope<N::Message>> = bytes.get(4..).and_then(|body| N::FORM.read(body).ok());
        let what = match &frame {
            Some(frame) => {
                step.name = variant_name(&frame.message);
                describe::<N>(Word::Message(&frame.message))
            }
            None => format!("{} bytes", bytes.len()),
        };
        step.text = format!("{from} → {to} {}: {what}", describe_fate(fate));
        step.quiet = step.cause.is_some_and(|sender| self.steps[sender].quiet);
    }

    /// Quiet is what periodic timers cause, as long as nothing comes of it.
    fn is_quiet(
        &self,
        event: &Event<N>,
        effects: &[Effect<N>],
        step: &Step,
        is_periodic: &dyn Fn(&N::Timer) -> bool,
    ) -> bool {
        let tells = |effect: &Effect<N>| describe_effect(effect).is_some();
        match event {
            Event::Timer(timer) => {
                let sends = |effect: &Effect<N>| matches!(effect, Effect::Send { .. });
                is_periodic(timer) && !effects.iter().any(|effect| tells(effect) && !sends(effect))
            }
            Event::Message { .. } => {
                step.cause.is_some_and(|sender| self.steps[sender].quiet) && !effects.iter().any(tells)
            }
            Event::Request { .. } | Event::Durable(_) => false,
        }
    }

    /// A step that sent what something came of is not quiet after all.
    fn wake_senders(&mut self) {
        for flight in &self.flights.all {
            if let Some(sent) = flight.sent
                && flight.received.iter().any(|&step| !self.steps[step].quiet)
            {
                self.steps[sent].quiet = false;
            }
        }
    }
}

fn flight(from: usize, to: usize, sent: Option<usize>, name: &str, text: &str) -> Flight {
    let (name, text) = (name.to_owned(), text.to_owned());
    Flight { from, to, name, text, sent, touches: Vec::new(), received: Vec::new(), end: End::Unknown }
}

/// What a node never comes to; it sends nothing on its way.
fn prevented_act<N: Node>(effect: &Effect<N>) -> Option<Act> {
    let (kind, text) = match effect {
        Effect::Append(record) => (ActKind::Append, describe::<N>(Word::Record(record))),
        Effect::Send { to, message } => {
            (ActKind::Send, format!("{} to {to}", describe::<N>(Word::Message(message))))
        }
        Effect::Reply { reply, .. } => (ActKind::Reply, describe::<N>(Word::Reply(reply))),
        Effect::Observe(fact) => (ActKind::Fact, describe::<N>(Word::Fact(fact))),
        Effect::Forget(before) => (ActKind::Append, format!("the records before number {before} may vanish")),
        Effect::Publish(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::WhenDurable(_) => {
            return None;
        }
        Effect::Meet { .. } | Effect::Part(_) | Effect::Lost { .. } => return None,
    };
    Some(Act { kind, text, flight: None })
}

fn describe_crash(kept: usize, lost: usize, torn_bytes: usize) -> String {
    let records = match (kept, lost) {
        (0, 0) => "nothing was waiting for the disk".into(),
        (kept, 0) => format!("its {kept} unsynced records survive"),
        (0, lost) => format!("its {lost} unsynced records are lost"),
        (kept, lost) => format!("of its unsynced records {kept} survive, {lost} are lost"),
    };
    if torn_bytes > 0 { format!("{records}, the next one is torn after {torn_bytes} bytes") } else { records }
}

fn describe_delay(Delay { min, max }: Delay) -> String {
    if min == max { format!("in {min:?}") } else { format!("in {min:?} to {max:?}") }
}

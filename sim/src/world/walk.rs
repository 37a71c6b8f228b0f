//! Walks a path of [`Action`]s through a [`World`], and tells it as the engines tell a run: the same entries in
//! the same trace, the same digest, the same invariants. The [`Rules`] that were explored are those that are
//! walked, so a counterexample cannot mean anything else here than it did there.
//!
//! There is no clock. Each action is one turn, and what happens in it happens at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coalmine_core::codec::frame;
use coalmine_core::node::{Effect, Event, Node, NodeId, Word};
use coalmine_real::transport::Envelope;

use super::rules::{PANICKED, tells_boots};
use super::{Action, Kept, Packet, Rules, Step, World};
use crate::engine::report::{RunOptions, RunReport};
use crate::engine::shared::recorder::Recorder;
use crate::panics::catch;
use crate::panics::describe;
use crate::spec::faults::{CutKind, Effect as FaultEffect, Fault, directions};
use crate::spec::limits::Network;
use crate::spec::plan::Plan;
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict::Verdict;
use crate::trace::{Call, Fate, TURN, TraceEvent};

/// Walks a path from [where it begins](Rules::start_of), to its end or to the first state that breaks an invariant. Every action must
/// be one that may happen where it is taken.
pub fn walk<S: System>(
    rules: &Rules<S>,
    path: &[Action<NodeOf<S>>],
    keep_trace: bool,
) -> RunReport<NodeOf<S>> {
    let started = Instant::now();
    // Nothing is drawn, so no seed matters; and a path is as long as it is.
    let options = RunOptions { keep_trace, max_events: u64::MAX, ..RunOptions::of(0) };
    let mut walker = Walker {
        rules,
        world: rules.before_boot(),
        recorder: Recorder::new(&rules.system, &Plan::quiet([]), options),
        sends: BTreeMap::new(),
        cuts: BTreeMap::new(),
        now: Duration::ZERO,
    };
    if !tells_boots(path) {
        for boot in rules.plain_boots() {
            walker.go(&boot);
        }
    }
    for action in path {
        if walker.recorder.verdict().is_some() {
            break;
        }
        walker.now += TURN;
        walker.go(action);
    }
    let verdict = walker.recorder.verdict().cloned().unwrap_or(Verdict::Passed);
    let mut report = walker.recorder.finish(verdict, walker.now);
    report.wall = started.elapsed();
    report
}

struct Walker<'a, S: System> {
    rules: &'a Rules<S>,
    world: World<S>,
    recorder: Recorder<S>,
    /// Which send each packet under way comes from.
    sends: BTreeMap<Packet<NodeOf<S>>, u64>,
    /// What cut each link last.
    cuts: BTreeMap<(NodeId, NodeId), CutKind>,
    now: Duration,
}

impl<S: System> Walker<'_, S> {
    /// One action, and what is to be said of it. A panic meanwhile decides.
    fn go(&mut self, action: &Action<NodeOf<S>>) {
        let gone = catch(|| {
            self.take(action);
            self.judge();
        });
        if let Some(panic) = gone.err().or_else(|| self.world.panic().cloned()) {
            self.recorder.decide(Verdict::Panicked(panic));
        }
    }

    fn judge(&mut self) {
        if self.world.panic().is_some() {
            return;
        }
        let now = self.rules.observe(&self.world);
        self.recorder.judge(now.nodes);
        if self.world.verdict & PANICKED != 0 {
            // The invariants have not: so it is a witness.
            let now = self.rules.observe(&self.world);
            for witness in &self.rules.witnesses {
                (witness.seen)(&now);
            }
        }
    }

    fn push(&mut self, what: &TraceEvent<NodeOf<S>>) {
        self.recorder.push(self.now, what, None);
    }

    fn take(&mut self, action: &Action<NodeOf<S>>) {
        let (next, effects) = self.rules.apply(&self.world, action);
        match action {
            Action::Step { place, step, choices, crash } => {
                self.step(*place, step, &effects, &next);
                if let Some(point) = crash {
                    let whole = Action::Step {
                        place: *place,
                        step: step.clone(),
                        choices: choices.clone(),
                        crash: None,
                    };
                    let (_, all) = self.rules.apply(&self.world, &whole);
                    let at_risk =
                        self.rules.at_risk(&self.world.slots[*place], *place, step, choices, *point);
                    self.crash(*place, point.kept, at_risk, all[effects.len()..].to_vec());
                }
                self.set_out(*place, effects);
            }
            Action::Crash { place, kept } => {
                self.crash(*place, *kept, self.world.slots[*place].disk.unsynced(), Vec::new());
            }
            Action::Drop(packet) => {
                self.recorder.effects.count(FaultEffect::FrameLost);
                let send = self.sends.remove(packet);
                self.record_fate(packet, send, Fate::Lost);
            }
            Action::Cut { from, to, both_ways } => {
                let (from, to, both_ways) = (*from, *to, *both_ways);
                self.push(&TraceEvent::Cut { from, to, both_ways });
                let kind = CutKind::of_cut(both_ways);
                let cut = directions(&[from], &[to], both_ways);
                self.cuts.extend(cut.into_iter().map(|direction| (direction, kind)));
                let is_cut = |packet: &Packet<_>| next.cut.contains(&(packet.from, packet.to));
                let sends = std::mem::take(&mut self.sends);
                let (gone, left): (BTreeMap<_, _>, _) =
                    sends.into_iter().partition(|(packet, _)| is_cut(packet));
                self.sends = left;
                for (packet, send) in gone {
                    self.cut_off(&packet, Some(send));
                }
            }
            Action::Heal { from, to } => self.push(&TraceEvent::Mended { from: *from, to: *to }),
        }
        self.world = next;
    }

    /// What a node takes, and what it does about it.
    fn step(&mut self, place: usize, step: &Step<NodeOf<S>>, effects: &[Effect<NodeOf<S>>], next: &World<S>) {
        let (me, slot) = (self.rules.members[place].0, &self.world.slots[place]);
        let effects_too = effects.to_vec();
        match step {
            Step::Boot => {
                let gone = next.slots[place].disk.forgotten();
                let records = slot.disk.written().len() - (gone - slot.disk.forgotten()) as usize;
                TraceEvent::forgotten(me, gone).iter().for_each(|note| self.push(note));
                self.recorder.on_boot(me);
                self.push(&TraceEvent::Booted { node: me, records, torn: None, effects: effects_too });
            }
            Step::Flush => {
                let upto = slot.disk.durable_upto() + 1;
                self.push(&TraceEvent::Synced { node: me, upto, effects: effects_too });
            }
            Step::Fire(timer) => {
                let event = Event::Timer(timer.clone());
                self.push(&TraceEvent::Stepped { node: me, event, effects: effects_too });
            }
            Step::Ask(ask) => {
                let (id, request) = (self.rules.requests[ask.index].id, ask.request.clone());
                let call = Call { id, what: describe::<NodeOf<S>>(Word::Request(&request)) };
                self.push(&TraceEvent::Asked { to: me, call });
                self.recorder.on_call(me, id, &request);
                let event = Event::Request { id, request };
                self.push(&TraceEvent::Stepped { node: me, event, effects: effects_too });
            }
            Step::Deliver { packet, again } => {
                let is_up = slot.host.is_some();
                let send = self.sends.get(packet).copied();
                if !*again && self.rules.limits.network == Network::Datagrams {
                    self.sends.remove(packet);
                }
                if *again {
                    self.recorder.effects.count(FaultEffect::FrameDuplicated);
                    self.record_fate(packet, send, Fate::Doubled);
                }
                if !is_up {
                    return self.record_fate(packet, send, Fate::NobodyThere);
                }
                let event = Event::Message { from: packet.from, message: packet.message.clone() };
                let what = TraceEvent::Stepped { node: me, event, effects: effects_too };
                self.recorder.push(self.now, &what, send);
            }
        }
        match &next.slots[place].host {
            Some(host) => self.recorder.on_step(me, host.node(), effects),
            None => self.recorder.on_facts(me, effects),
        }
        for effect in effects {
            if let Effect::Reply { to, reply } = effect {
                let call = Call { id: *to, what: describe::<NodeOf<S>>(Word::Reply(reply)) };
                self.push(&TraceEvent::Answered { from: me, call });
            }
        }
    }

    fn crash(&mut self, place: usize, kept: Kept, unsynced: usize, prevented: Vec<Effect<NodeOf<S>>>) {
        let node = self.rules.members[place].0;
        let kept = match kept {
            Kept::Unsynced(kept) => kept,
            Kept::Nothing => {
                self.recorder.effects.count(FaultEffect::DiskWiped);
                self.push(&TraceEvent::Fault(Fault::Wipe { node, down_ms: None }));
                0
            }
        };
        self.recorder.effects.count(FaultEffect::Crash);
        self.recorder.effects.add(FaultEffect::UnsyncedWriteKept, kept as u64);
        self.recorder.effects.add(FaultEffect::UnsyncedWriteLost, (unsynced - kept) as u64);
        self.push(&TraceEvent::Crashed { node, kept, lost: unsynced - kept, torn_bytes: 0, prevented });
    }

    /// What a node sent is under way, unless its link is cut. What equals a packet under way is that one.
    fn set_out(&mut self, place: usize, effects: Vec<Effect<NodeOf<S>>>) {
        let from = self.rules.members[place].0;
        let sends = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { to, message } => Some(Packet { from, to, message }),
            Effect::Append(_)
            | Effect::Reply { .. }
            | Effect::Publish(_)
            | Effect::Observe(_)
            | Effect::SetTimer { .. }
            | Effect::CancelTimer(_)
            | Effect::WhenDurable(_)
            | Effect::Meet { .. }
            | Effect::Part(_)
            | Effect::Lost { .. }
            | Effect::Forget(_) => None,
        });
        let sends: Vec<_> = sends.collect();
        let first = self.recorder.trace.sends - sends.len() as u64;
        for (number, packet) in (first..).zip(sends) {
            if !self.world.is_peer(packet.from, packet.to) {
                let what = format!("a message was lost: {} is not a peer", packet.to);
                self.push(&TraceEvent::Complained { node: from, what });
            } else if self.world.cut.contains(&(packet.from, packet.to)) {
                self.cut_off(&packet, Some(number));
            } else {
                self.sends.entry(packet).or_insert(number);
            }
        }
    }

    fn cut_off(&mut self, packet: &Packet<NodeOf<S>>, send: Option<u64>) {
        if let Some(kind) = self.cuts.get(&(packet.from, packet.to)) {
            self.recorder.effects.count(kind.effect());
        }
        self.record_fate(packet, send, Fate::CutOff);
    }

    /// Writes down what became of a packet, with the bytes that it would have on the wire.
    fn record_fate(&mut self, packet: &Packet<NodeOf<S>>, send: Option<u64>, fate: Fate) {
        let (from, to) = (packet.from, packet.to);
        let bytes =
            frame::encode(S::Node::FORM, &Envelope { from, message: &packet.message }).unwrap_or_default();
        self.recorder.push(self.now, &TraceEvent::Frame { from, to, fate, bytes }, send);
    }
}

//! What the plan can make go wrong here: the engine as a [`Stage`] of faults.

use std::time::Duration;

use coalmine_core::codec::journal;
use coalmine_core::node::{Node, NodeId};

use super::agenda::Due;
use super::place::Place;
use super::{Engine, Task};
use crate::engine::shared::disk::{self, Crash, crash, kill};
use crate::engine::shared::faults::{self, End, Lasting, Stage};
use crate::engine::shared::network::LinkFault;
use crate::spec::faults::{CrashKind, Directions, Effect as FaultEffect, Fault, FrameFate, SUPERVISOR_MS};
use crate::spec::system::System;
use crate::trace::TraceEvent;

impl<S: System> Stage for Engine<'_, S> {
    fn members(&self) -> Vec<NodeId> {
        self.places.iter().map(|place| place.id).collect()
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.places[self.place(node)].host.is_some()
    }

    fn lasting(&mut self) -> &mut Lasting {
        &mut self.lasting
    }

    fn count(&mut self, effect: FaultEffect) {
        self.recorder.effects.count(effect);
    }

    fn ends_after(&mut self, after: Duration, end: End) {
        self.agenda.after(after, Task::End(end));
    }

    fn stand_still(&mut self, node: NodeId, still: bool) {
        let place = self.place(node);
        if still {
            self.paused += usize::from(!std::mem::replace(&mut self.places[place].paused, true));
        } else {
            self.resume(place);
        }
    }

    /// All timers that are armed follow it.
    fn turn_clock(&mut self, node: NodeId, percent: Option<u32>, jump: Duration) {
        let (place, now) = (self.place(node), self.agenda.time());
        let Self { places, agenda, armed, .. } = self;
        let it = &mut places[place];
        it.clock.touch(now, percent, jump);
        let shown = it.clock.shows(now);
        for (_, pending) in &mut it.timers {
            *armed += 1;
            pending.number = *armed;
            agenda.after(
                it.clock.takes(pending.at.saturating_sub(shown)),
                Task::Fire { place, number: *armed },
            );
        }
    }

    fn change_disk_fault(&mut self, node: NodeId, change: impl FnOnce(&mut disk::DiskFault)) {
        let place = self.place(node);
        change(&mut self.places[place].disk_fault);
    }

    fn change_link_fault(&mut self, directions: &Directions, fault: LinkFault, begin: bool) {
        self.network_state.change_fault(directions, fault, begin);
        if !begin {
            self.release(directions);
        }
    }

    fn reset(&mut self, directions: &Directions) {
        self.network_state.reset(directions);
        self.recorder.effects.add(FaultEffect::ConnectionReset, directions.len() as u64);
    }

    fn say(&mut self, step: usize, direction: (NodeId, NodeId), nth: u32, fate: FrameFate) {
        self.network_state.say(step, direction, nth, fate);
    }

    fn crash(&mut self, node: NodeId, kind: CrashKind, down: Option<Duration>) {
        let place = self.place(node);
        if self.places[place].host.is_none() && kind == CrashKind::Wipe {
            return self.replace_disk(place, down);
        }
        if self.places[place].host.is_none() && !(kind == CrashKind::Power && self.is_at_risk(place)) {
            return;
        }
        let Crash { kept, lost, torn_bytes } = self.end_life(place, kind);
        let (effect, what) = match kind {
            CrashKind::Kill => (FaultEffect::Kill, TraceEvent::Killed { node, kept, lost }),
            CrashKind::Power | CrashKind::Wipe => {
                let what = TraceEvent::Crashed { node, kept, lost, torn_bytes, prevented: Vec::new() };
                (FaultEffect::Crash, what)
            }
        };
        self.recorder.effects.count(effect);
        self.push(&what);
        self.recorder.judge(self.places.iter().map(Place::observe));
        if kind == CrashKind::Wipe {
            return self.replace_disk(place, down);
        }
        if let Some(down) = down {
            self.agenda.after(down, Task::Restart(place));
        }
    }

    fn rot(&mut self, node: NodeId, permille: u32) {
        let place = self.place(node);
        let it = &mut self.places[place];
        let records = it.disk.durable().len();
        if records > 0 {
            it.rotten = Some(records * permille.min(999) as usize / 1000);
            self.recorder.effects.count(FaultEffect::BitRot);
        }
    }
}

impl<S: System> Engine<'_, S> {
    pub(super) fn fault(&mut self, step: usize, fault: Fault) {
        if self.healed {
            return;
        }
        self.push(&TraceEvent::Fault(fault.clone()));
        faults::begin(self, step, fault);
    }

    /// A node that is down gets an empty disk.
    fn replace_disk(&mut self, place: usize, down: Option<Duration>) {
        self.recorder.effects.count(FaultEffect::DiskWiped);
        let it = &mut self.places[place];
        it.disk.wipe();
        // A life that was about to begin has read the other disk.
        (it.torn, it.rotten, it.starting, it.life) = (None, None, false, it.life + 1);
        if let Some(down) = down {
            self.agenda.after(down, Task::Restart(place));
        }
    }

    /// Whether a crash of the machine could still take something from a node that is down.
    pub(super) fn is_at_risk(&self, place: usize) -> bool {
        self.places[place].disk.unsynced() > 0
    }

    /// A node goes on; what has waited for it comes at once.
    fn resume(&mut self, place: usize) {
        self.paused -= usize::from(std::mem::take(&mut self.places[place].paused));
        for due in std::mem::take(&mut self.places[place].backlog) {
            self.agenda.add(self.agenda.now(), due);
        }
    }

    /// A node stops by itself; its supervisor starts it again.
    pub(super) fn stop(&mut self, place: usize, why: String) {
        self.end_life(place, CrashKind::Kill);
        self.push(&TraceEvent::Stopped { node: self.places[place].id, why });
        self.agenda.after(Duration::from_millis(SUPERVISOR_MS), Task::Restart(place));
    }

    fn end_life(&mut self, place: usize, kind: CrashKind) -> Crash {
        self.lasting.ends_life(self.places[place].id);
        let Self { places, disk_draws, recorder, pipes, agenda, .. } = self;
        let it = &mut places[place];
        self.paused -= usize::from(it.paused);
        // A process that only boots has written nothing.
        let at_hand = if it.host.is_some() { it.disk.unsynced() } else { 0 };
        for due in it.end_life() {
            match due {
                Due::Leave(frame) | Due::Arrive(frame) => drop(pipes.frames.take(frame)),
                Due::Task(task) => drop(agenda.take(task)),
            }
        }
        let (crash, torn) = match kind {
            CrashKind::Kill => (kill(&mut it.disk, at_hand, disk_draws, &mut recorder.effects), Vec::new()),
            CrashKind::Power | CrashKind::Wipe => {
                crash(&mut it.disk, disk_draws, &mut recorder.effects, |record| {
                    let mut line = Vec::new();
                    journal::encode(S::Node::FORM, 0, &record, &mut line);
                    line
                })
            }
        };
        if !torn.is_empty() {
            it.torn = Some((it.disk.written().len() as u64 + 1, torn.len() as u64));
        }
        self.hang_up(place);
        crash
    }

    /// Ends all faults and starts every node that is down.
    pub(super) fn heal(&mut self) {
        self.push(&TraceEvent::Healed);
        self.recorder.disarm();
        self.network_state.heal();
        self.lasting.heal();
        self.release_all();
        for place in 0..self.places.len() {
            self.places[place].disk_fault = disk::DiskFault::default();
            self.turn_clock(self.places[place].id, Some(100), Duration::ZERO);
            self.resume(place);
            self.restart(place);
        }
        self.healed = true;
        self.agenda.after(Duration::ZERO, Task::Look);
    }
}

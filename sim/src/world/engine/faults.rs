//! What the plan makes go wrong, and how that ends.

use std::time::Duration;

use coalmine_core::codec::journal;

use super::agenda::Due;
use super::place::Place;
use super::{Engine, Task};
use crate::engine::disk::{Crash, crash};
use crate::engine::network::Trouble;
use crate::faults::{Directions, Effect as FaultEffect, Fault, SUPERVISOR_MS, directions};
use crate::system::System;
use crate::trace::Happening;

/// The end of a fault that lasts.
pub enum Undo {
    Link(Directions, Trouble),
    Pause(usize),
    Clock(usize),
    SlowSync(usize),
    DiskFull(usize),
}

impl<S: System> Engine<'_, S> {
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.push(&Happening::Fault(fault.clone()));
        match fault {
            Fault::Crash { node, down_ms } => self.crash(self.place(node), down_ms, false),
            Fault::Wipe { node, down_ms } => self.crash(self.place(node), down_ms, true),
            Fault::Pause { node, for_ms } => {
                let place = self.place(node);
                if self.places[place].host.is_some() {
                    self.watch.effects.count(FaultEffect::Pause);
                    self.paused += usize::from(!std::mem::replace(&mut self.places[place].paused, true));
                    self.undo_later(for_ms, Undo::Pause(place));
                }
            }
            Fault::Clock { node, percent, for_ms } => {
                let effect = if percent < 100 { FaultEffect::ClockSlow } else { FaultEffect::ClockFast };
                let place = self.place(node);
                self.touch_clock(place, Some(percent), 0, Some(effect));
                self.undo_later(for_ms, Undo::Clock(place));
            }
            Fault::ClockJump { node, by_ms } => {
                self.touch_clock(self.place(node), None, by_ms, Some(FaultEffect::ClockJump));
            }
            Fault::Cut { .. } | Fault::Partition { .. } | Fault::Clog { .. } | Fault::SlowLink { .. } => {
                let members: Vec<_> = self.places.iter().map(|place| place.id).collect();
                if let Some((directions, trouble, for_ms)) = Trouble::of(&fault, &members) {
                    self.link_trouble(directions, trouble, for_ms);
                }
            }
            Fault::Reset { a, b } => {
                let broken = directions(&[a], &[b], true);
                self.mood.reset(&broken);
                self.watch.effects.add(FaultEffect::ConnectionReset, broken.len() as u64);
            }
            Fault::SlowSync { node, delay_ms, for_ms } => {
                let place = self.place(node);
                self.places[place].trouble.slower = Duration::from_millis(delay_ms);
                self.undo_later(for_ms, Undo::SlowSync(place));
            }
            Fault::FailSync { node } => {
                let place = self.place(node);
                self.places[place].trouble.fail_sync = true;
            }
            Fault::DiskFull { node, for_ms } => {
                let place = self.place(node);
                self.places[place].trouble.full = true;
                self.undo_later(for_ms, Undo::DiskFull(place));
            }
            Fault::BitRot { node, permille } => self.rot(self.place(node), permille),
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Link(directions, trouble) => {
                self.mood.trouble(&directions, trouble, false);
                self.release(&directions);
            }
            Undo::Pause(place) => self.resume(place),
            Undo::Clock(place) => self.touch_clock(place, Some(100), 0, None),
            Undo::SlowSync(place) => self.places[place].trouble.slower = Duration::ZERO,
            Undo::DiskFull(place) => self.places[place].trouble.full = false,
        }
    }

    fn undo_later(&mut self, after_ms: u64, undo: Undo) {
        self.agenda.after(Duration::from_millis(after_ms), Task::Undo(undo));
    }

    fn link_trouble(&mut self, directions: Directions, trouble: Trouble, for_ms: u64) {
        self.mood.trouble(&directions, trouble, true);
        self.undo_later(for_ms, Undo::Link(directions, trouble));
    }

    /// A node goes on; what has waited for it comes at once.
    fn resume(&mut self, place: usize) {
        self.paused -= usize::from(std::mem::take(&mut self.places[place].paused));
        for due in std::mem::take(&mut self.places[place].backlog) {
            self.agenda.add(self.agenda.now(), due);
        }
    }

    /// Changes a clock: all timers that are armed follow it.
    fn touch_clock(&mut self, place: usize, percent: Option<u32>, jump_ms: u64, effect: Option<FaultEffect>) {
        let now = self.agenda.time();
        let Self { places, agenda, armed, watch, .. } = self;
        let it = &mut places[place];
        if let Some(effect) = effect
            && it.host.is_some()
        {
            watch.effects.count(effect);
        }
        it.clock.touch(now, percent, Duration::from_millis(jump_ms));
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

    /// Crashes a node, unless it is down already.
    fn crash(&mut self, place: usize, down_ms: Option<u64>, wipe: bool) {
        let it = &self.places[place];
        let node = it.id;
        if it.host.is_none() {
            return if wipe {
                self.replace_disk(place, down_ms)
            };
        }
        let crash = self.end_life(place);
        self.watch.effects.count(FaultEffect::Crash);
        let Crash { kept, lost, torn_bytes, .. } = crash;
        let what = Happening::Crashed { node, kept, lost, torn_bytes, prevented: Vec::new() };
        self.push(&what);
        self.watch.judge(self.places.iter().map(Place::observe));
        if wipe {
            return self.replace_disk(place, down_ms);
        }
        if let Some(down_ms) = down_ms {
            self.agenda.after(Duration::from_millis(down_ms), Task::Restart(place));
        }
    }

    /// A node that is down has an empty disk from now on, and starts from it.
    fn replace_disk(&mut self, place: usize, down_ms: Option<u64>) {
        self.watch.effects.count(FaultEffect::DiskWiped);
        let it = &mut self.places[place];
        it.disk.wipe();
        // What was about to start has read another disk.
        (it.torn, it.rotten, it.starting, it.life) = (None, None, false, it.life + 1);
        if let Some(down_ms) = down_ms {
            self.agenda.after(Duration::from_millis(down_ms), Task::Restart(place));
        }
    }

    /// A node stops by itself; its supervisor starts it again.
    pub(super) fn stop(&mut self, place: usize, why: String) {
        self.end_life(place);
        self.push(&Happening::Stopped { node: self.places[place].id, why });
        self.agenda.after(Duration::from_millis(SUPERVISOR_MS), Task::Restart(place));
    }

    fn end_life(&mut self, place: usize) -> Crash {
        let Self { places, disk_draws, watch, pipes, agenda, .. } = self;
        let it = &mut places[place];
        self.paused -= usize::from(it.paused);
        for due in it.end_life() {
            match due {
                Due::Leave(frame) | Due::Arrive(frame) => drop(pipes.frames.take(frame)),
                Due::Task(task) => drop(agenda.take(task)),
            }
        }
        let (crash, torn) = crash(&mut it.disk, disk_draws, &mut watch.effects, |record| {
            let mut line = Vec::new();
            journal::encode(0, &record, &mut line);
            line
        });
        if !torn.is_empty() {
            it.torn = Some((it.disk.written().len() as u64 + 1, torn.len() as u64));
        }
        self.hang_up(place);
        crash
    }

    fn rot(&mut self, place: usize, permille: u32) {
        let it = &mut self.places[place];
        let records = it.disk.durable().len();
        if records > 0 {
            it.rotten = Some(records * permille.min(999) as usize / 1000);
            self.watch.effects.count(FaultEffect::BitRot);
        }
    }

    /// Ends all faults and starts every node that is down.
    pub(super) fn heal(&mut self) {
        self.push(&Happening::Healed);
        self.watch.disarm();
        self.mood.heal();
        self.release_all();
        for place in 0..self.places.len() {
            self.places[place].trouble = crate::engine::disk::Trouble::default();
            self.touch_clock(place, Some(100), 0, None);
            self.resume(place);
            self.restart(place);
        }
        self.healed = true;
        self.agenda.after(Duration::ZERO, Task::Look);
    }
}

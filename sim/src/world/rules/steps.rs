//! The ways a step of a node may go: what it chooses, and where in the step it crashes. They follow from the node's own
//! place alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use coalmine_core::codec::survives;
use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node};
use coalmine_core::observation::{Heard, History};
use coalmine_core::write_ahead::early_output;

use super::{CrashPoint, Kept, Rules, Step};
use crate::panics::{Panic, catch};
use crate::spec::limits::Disk;
use crate::spec::system::{ConfigOf, NodeOf, Operation, System};
use crate::world::{Packet, Slot};

/// What one step of a node did.
#[derive(PartialEq)]
pub(super) struct Ran<N: Node> {
    pub(super) slot: Slot<N>,
    /// The disk without what this step wrote: where a crash within the step begins to count.
    disk_before: LossyDisk<N::Record>,
    /// All effects in program order; a record that the disk has made durable at once follows its write.
    pub(super) effects: Vec<Effect<N>>,
    /// For each question the node asked: how many answers there were.
    pub(super) asked: Vec<u32>,
    /// The first effect that tells too early, and what is wrong with it.
    early: Option<(usize, Box<str>)>,
    /// What a client asks in this step, if the history hears of that.
    called: Option<Heard<N>>,
}

/// One of the ways in which a step of a node may go: what it chooses, whether it crashes. Follows from the
/// node's own place alone, so the same step from the same place goes the same ways in every world.
pub(crate) struct Way<N: Node> {
    pub choices: Vec<u32>,
    pub crash: Option<CrashPoint>,
    /// What becomes of the place.
    pub slot: Slot<N>,
    /// What happened, in order.
    pub effects: Vec<Effect<N>>,
    /// What the history hears before that.
    pub called: Option<Heard<N>>,
}

/// In how many ways a step may go: by what is chosen in it, and by where it crashes.
pub const MOST_WAYS: usize = 100_000;
/// How many records a step may write where disks sync at once.
const MOST_WRITES: usize = 1_000;

/// Which crashes the budgets still allow.
#[derive(Clone, Copy)]
pub(crate) struct Crashes {
    pub crash: bool,
    pub wipe: bool,
}

impl<S: System> Rules<S> {
    /// All the ways a step of a place may go: every choice, and a crash at every point of it. None if nobody
    /// is there to take it.
    pub(crate) fn ways(
        &self,
        slot: &Slot<NodeOf<S>>,
        place: usize,
        step: &Step<NodeOf<S>>,
        crashes: Crashes,
        mut each: impl FnMut(Way<NodeOf<S>>),
    ) {
        let opens = match step {
            Step::Boot => slot.lives == 0,
            Step::Ask(index) => self.is_followed(*index) || S::History::HEARS_CALLS,
            Step::Deliver { .. } | Step::Fire(_) | Step::Flush => false,
        };
        let (mut choices, mut asked) = (Vec::new(), Vec::new());
        let mut left = MOST_WAYS;
        while let Some(ran) = self.run(slot, place, step, &choices) {
            // The script before asked the same up to here.
            if ran.asked.get(..choices.len()) != asked.get(..choices.len()) {
                return self.differs(place, step, &choices, describe_asked(&asked, &ran.asked));
            } else if self.again.is_asked() {
                self.compare(place, step, &choices, &ran, self.run(slot, place, step, &choices).as_ref());
            }
            choices.resize(ran.asked.len(), 0);
            let mut too_many = false;
            let mut each = |crash| {
                too_many = left == 0;
                if !too_many {
                    left -= 1;
                    each(self.finish(&ran, choices.clone(), crash));
                }
            };
            self.crash_points(crashes, ran.disk_before.unsynced(), &ran.effects, opens, |point| {
                each(Some(point));
            });
            each(None);
            if too_many {
                return self.goes_too_many_ways(place, step);
            }
            // The next script in order: raise the last answer that can be raised, drop what follows.
            while choices.last().is_some_and(|&last| last + 1 >= ran.asked[choices.len() - 1]) {
                choices.pop();
            }
            let Some(last) = choices.last_mut() else { return };
            *last += 1;
            asked = ran.asked;
        }
    }

    /// Every point of a step at which a crash makes a difference: before all effects, and before each further one that
    /// is [visible](is_visible). What is not visible is gone with the node, whether it happened or not. The crash after
    /// the last effect is an action of its own.
    ///
    /// A fact outlives the node as well. So a crash also falls after what was told, if what comes next is told too, or
    /// cannot be lost any more. Of a step that `opens` the way for something else (a first boot, a request that its
    /// client lets others follow, or of which a history hears) nothing is left out: that it was begun is seen by what
    /// follows.
    fn crash_points(
        &self,
        crashes: Crashes,
        mut unsynced: usize,
        effects: &[Effect<NodeOf<S>>],
        opens: bool,
        mut each: impl FnMut(CrashPoint),
    ) {
        let is_fact = |effect: &Effect<_>| matches!(effect, Effect::Observe(_));
        let is_write = |effect: &Effect<_>| matches!(effect, Effect::Append(_));
        let every = self.every_crash_point || opens;
        let mut is_first = true;
        // Whether something has happened since the last point that outlives the node.
        let mut outlived = false;
        for (after, effect) in effects.iter().enumerate() {
            let mut point = |after| kept(crashes, unsynced, |kept| each(CrashPoint { after, kept }));
            // A fact only tells what the effect before it has done: there is no moment between the two.
            let is_told_of = after > 0 && is_fact(effect);
            if !is_told_of {
                let makes_a_difference = every || is_visible(effect);
                let first = makes_a_difference && std::mem::take(&mut is_first);
                if first {
                    point(0);
                }
                let is_told = effects.get(after + 1).is_some_and(is_fact);
                let stays = is_told || self.limits.disk == Disk::Sync && is_write(effect);
                if makes_a_difference && !first || outlived && stays {
                    point(after);
                    outlived = false;
                }
            }
            outlived |= is_visible(effect) || is_fact(effect);
            if self.limits.disk == Disk::Async && is_write(effect) {
                unsynced += 1;
            }
        }
    }

    /// Runs a node through a step, on a copy. `None` if nobody is there to take it. If it panics nothing has come of
    /// the step.
    pub(super) fn run(
        &self,
        slot: &Slot<NodeOf<S>>,
        place: usize,
        step: &Step<NodeOf<S>>,
        choices: &[u32],
    ) -> Option<Ran<NodeOf<S>>> {
        if slot.host.is_none() && *step != Step::Boot {
            return None;
        }
        let mut slot = slot.clone();
        match step {
            Step::Boot => slot.lives += 1,
            Step::Flush => slot.disk.sync(slot.disk.durable().len() + 1),
            Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_) => {}
        }
        let disk_before = slot.disk.clone();
        let (mut asked, mut effects) = (Vec::new(), Vec::new());
        let mut choose = |n| {
            asked.push(n);
            let chosen = choices.get(asked.len() - 1).copied().unwrap_or(0);
            // Whoever asks for it sees by what was asked that this is another question.
            if chosen < n { chosen } else { 0 }
        };
        let reacted = catch(|| self.react(&mut slot, place, step, &mut choose, &mut effects));
        if slot.host.as_ref().is_some_and(Host::has_let_out_early) {
            self.let_out_early.store(true, Ordering::Relaxed);
        }
        let judged = reacted.and_then(|()| {
            catch(|| {
                effects.iter().try_for_each(survives).map_err(Panic::without_place)?;
                Ok(self.first_early_output(&self.members[place].1, &disk_before, &effects))
            })?
        });
        let early = judged.unwrap_or_else(|panic| {
            effects.clear();
            slot.disk = disk_before.clone();
            slot.panicked(panic);
            None
        });
        if let Some((_, why)) = &early {
            slot.early_output.get_or_insert_with(|| why.clone());
        }
        Some(Ran { slot, disk_before, effects, asked, early, called: self.called(step) })
    }

    /// What a node does about a step.
    fn react(
        &self,
        slot: &mut Slot<NodeOf<S>>,
        place: usize,
        step: &Step<NodeOf<S>>,
        choose: &mut dyn FnMut(u32) -> u32,
        out: &mut Vec<Effect<NodeOf<S>>>,
    ) {
        let (config, lives, upto) = (&self.members[place].1, slot.lives, slot.disk.durable().len() as u64);
        let mut choose = |n| choose(n);
        match (step, &mut slot.host) {
            (Step::Boot, host) => {
                *host = Some(Host::boot_in(self.order, config, slot.disk.written(), lives, &mut choose, out));
            }
            (Step::Flush, Some(host)) => host.synced(config, lives, upto, &mut choose, out),
            (Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_), Some(host)) => {
                host.step(config, self.event(step), &mut choose, out);
            }
            (Step::Flush | Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_), None) => {}
        }
        self.flush_at_once(slot, config, out, &mut choose);
    }

    /// The first effect that tells what rests on a record that is not durable when it leaves.
    fn first_early_output(
        &self,
        config: &ConfigOf<S>,
        before: &LossyDisk<<NodeOf<S> as Node>::Record>,
        effects: &[Effect<NodeOf<S>>],
    ) -> Option<(usize, Box<str>)> {
        NodeOf::<S>::rests_on()?;
        let mut durable = before.durable().to_vec();
        effects.iter().enumerate().find_map(|(number, effect)| match effect {
            Effect::Append(record) => {
                if self.limits.disk == Disk::Sync {
                    durable.push(record.clone());
                }
                None
            }
            Effect::Send { .. }
            | Effect::Reply { .. }
            | Effect::Publish(_)
            | Effect::Observe(_)
            | Effect::SetTimer { .. }
            | Effect::CancelTimer(_)
            | Effect::WhenDurable(_) => Some((number, early_output(config, effect, &durable)?)),
        })
    }

    /// What the history hears of what is asked.
    fn called(&self, step: &Step<NodeOf<S>>) -> Option<Heard<NodeOf<S>>> {
        let (true, Step::Ask(index)) = (S::History::HEARS_CALLS, step) else { return None };
        let Operation { id, request, .. } = self.requests[*index].clone();
        Some(Heard::Call { id, request })
    }

    fn event(&self, step: &Step<NodeOf<S>>) -> Event<NodeOf<S>> {
        match step {
            Step::Deliver { packet: Packet { from, message, .. }, .. } => {
                Event::Message { from: *from, message: message.clone() }
            }
            Step::Fire(timer) => Event::Timer(timer.clone()),
            Step::Ask(index) => {
                let Operation { id, request, .. } = self.requests[*index].clone();
                Event::Request { id, request }
            }
            Step::Boot | Step::Flush => unreachable!("no event of the node"),
        }
    }

    /// Writes the records among the effects to the disk. With [`Disk::Sync`] each becomes durable before
    /// anything that follows it in the program, so the effects it releases are put right behind it.
    fn flush_at_once(
        &self,
        slot: &mut Slot<NodeOf<S>>,
        config: &ConfigOf<S>,
        effects: &mut Vec<Effect<NodeOf<S>>>,
        mut choose: &mut dyn FnMut(u32) -> u32,
    ) {
        if self.limits.disk == Disk::Async {
            for effect in effects.iter() {
                if let Effect::Append(record) = effect {
                    slot.disk.append(record.clone());
                }
            }
            return;
        }
        let Some(host) = &mut slot.host else { return };
        let is_write = |effect: &Effect<_>| matches!(effect, Effect::Append(_));
        let (mut writes, mut ordered): (Vec<_>, Vec<_>) = effects.drain(..).partition(is_write);
        for count in 0.. {
            if writes.is_empty() {
                break;
            }
            assert!(
                count < MOST_WRITES,
                "one step writes more than {MOST_WRITES} records, each because the one before it is durable: where a \
                 disk syncs at once this has no end; check it with --disk async"
            );
            let write = writes.remove(0);
            if let Effect::Append(record) = &write {
                slot.disk.append(record.clone());
            }
            ordered.push(write);
            let upto = slot.disk.written().len();
            slot.disk.sync(upto);
            let mut released = Vec::new();
            host.synced(config, slot.lives, upto as u64, &mut choose, &mut released);
            for effect in released {
                if is_write(&effect) { writes.push(effect) } else { ordered.push(effect) }
            }
        }
        *effects = ordered;
    }

    /// What happens in a step: all of it, or what comes before a crash.
    pub(super) fn finish(
        &self,
        ran: &Ran<NodeOf<S>>,
        choices: Vec<u32>,
        crash: Option<CrashPoint>,
    ) -> Way<NodeOf<S>> {
        let Some(point) = crash else {
            let (slot, effects, called) = (ran.slot.clone(), ran.effects.clone(), ran.called.clone());
            return Way { choices, crash, slot, effects, called };
        };
        let effects = ran.effects[..point.after.min(ran.effects.len())].to_vec();
        let early = ran.early.as_ref().filter(|(number, _)| *number < effects.len());
        let early_output = early.map(|(_, why)| why.clone());
        let (disk, lives) = (ran.disk_before.clone(), ran.slot.lives);
        let mut slot = Slot { host: None, disk, lives, early_output, panic: None };
        for effect in &effects {
            if let Effect::Append(record) = effect {
                slot.disk.append(record.clone());
            }
        }
        if self.limits.disk == Disk::Sync {
            let all = slot.disk.written().len();
            slot.disk.sync(all);
        }
        slot.crash(point.kept);
        Way { choices, crash, slot, effects, called: ran.called.clone() }
    }
}

/// Everything that a crash may leave of a disk with so many unsynced records.
pub(crate) fn kept(crashes: Crashes, unsynced: usize, mut each: impl FnMut(Kept)) {
    if crashes.crash {
        (0..=unsynced).for_each(|keep| each(Kept::Unsynced(keep)));
    }
    if crashes.wipe {
        each(Kept::Nothing);
    }
}

/// Whether anybody can tell after a crash that it happened: it is on the disk, or on its way to somebody.
fn is_visible<N: Node>(effect: &Effect<N>) -> bool {
    matches!(effect, Effect::Append(_) | Effect::Send { .. } | Effect::Reply { .. })
}

impl<N: Node> Slot<N> {
    pub(crate) fn crash(&mut self, kept: Kept) {
        match kept {
            Kept::Unsynced(keep) => drop(self.disk.crash(keep)),
            Kept::Nothing => self.disk.wipe(),
        }
        self.host = None;
    }

    pub(crate) fn panicked(&mut self, panic: Panic) {
        self.host = None;
        self.panic = Some(Arc::new(panic));
    }
}

/// How the questions of two runs differ: by the numbers of answers.
pub(super) fn describe_asked(once: &[u32], again: &[u32]) -> (String, String) {
    let told = |asked: &[u32]| {
        let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
        if asked.is_empty() {
            "it chose nothing".into()
        } else {
            format!("it chose among {}", asked.join(", then "))
        }
    };
    (told(once), told(again))
}

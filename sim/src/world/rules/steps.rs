//! The ways a step of a node may go: what it chooses, and where in the step it crashes. They follow from the node's own
//! place alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use coalmine_core::codec::survives;
use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, Output};
use coalmine_core::observation::{Heard, History};
use coalmine_core::write_ahead::early_output;

use super::{CrashPoint, Kept, Rules, Step};
use crate::panics::{Panic, catch};
use crate::spec::limits::Disk;
use crate::spec::system::{ConfigOf, NodeOf, System, meets_at_home};
use crate::world::{Packet, Slot};

/// What one step of a node did.
#[derive(PartialEq)]
pub(super) struct Ran<N: Node> {
    pub(super) slot: Slot<N>,
    /// The disk without what this step wrote: where a crash within the step begins to count.
    disk_before: LossyDisk<N::Record>,
    /// All effects, in the order in which they happen.
    pub(super) effects: Vec<Effect<N>>,
    /// What is durable before each of them, and after the last.
    durable: Vec<Durable>,
    /// For each question the node asked: how many answers there were.
    pub(super) asked: Vec<u32>,
    /// The first effect that tells too early, and what is wrong with it.
    early: Option<(usize, Box<str>)>,
    /// What a client asks in this step, if the history hears of that.
    called: Option<Heard<N>>,
}

/// How many records of a disk are durable at a moment.
#[derive(Clone, Copy, PartialEq)]
struct Durable {
    /// So many, when what comes next happens.
    now: usize,
    /// A crash at this moment may find as few as these: what makes the others durable lies between two effects.
    least: usize,
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
    /// How many records a crash in it had to choose from.
    pub at_risk: usize,
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

impl Crashes {
    /// None.
    pub const NONE: Self = Self { crash: false, wipe: false };
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
            Step::Ask(ask) => self.is_followed(ask.index) || S::History::HEARS_CALLS || S::SESSIONS,
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
            self.crash_points(crashes, &ran, opens, |point| each(Some(point)));
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
        Ran { disk_before, effects, durable, .. }: &Ran<NodeOf<S>>,
        opens: bool,
        mut each: impl FnMut(CrashPoint),
    ) {
        let mut written = disk_before.written().len();
        let is_fact = |effect: &Effect<_>| matches!(effect, Effect::Observe(_));
        let is_write = |effect: &Effect<_>| matches!(effect, Effect::Append(_));
        let every = self.every_crash_point || opens;
        let mut is_first = true;
        // Whether something has happened since the last point that outlives the node.
        let mut outlived = false;
        for (after, effect) in effects.iter().enumerate() {
            let unsynced = written - durable[after].least;
            let mut point = |after| kept(crashes, unsynced, |kept| each(CrashPoint { after, kept }));
            let syncs = durable[after].syncs();
            // A fact only tells what the effect before it has done: there is no moment between the two.
            let is_told_of = after > 0 && is_fact(effect) && !syncs;
            if !is_told_of {
                let makes_a_difference = every || is_visible(effect);
                let first = makes_a_difference && std::mem::take(&mut is_first);
                if first {
                    point(0);
                }
                let is_told = effects.get(after + 1).is_some_and(is_fact);
                let stays = is_told || self.limits.disk == Disk::Sync && is_write(effect);
                if makes_a_difference && !first || outlived && stays || syncs {
                    point(after);
                    outlived = false;
                }
            }
            outlived |= is_visible(effect) || is_fact(effect);
            written += usize::from(is_write(effect));
        }
        if let Some(last) = durable.last().filter(|last| last.syncs()) {
            kept(crashes, written - last.least, |kept| each(CrashPoint { after: effects.len(), kept }));
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
        let (mut asked, mut effects, mut durable) = (Vec::new(), Vec::new(), Vec::new());
        let mut choose = |n| {
            asked.push(n);
            let chosen = choices.get(asked.len() - 1).copied().unwrap_or(0);
            // Whoever asks for it sees by what was asked that this is another question.
            if chosen < n { chosen } else { 0 }
        };
        match step {
            Step::Boot => {
                slot.lives += 1;
                // Of what was forgotten as much is gone as it may be.
                let gone = match slot.disk.forgettable() as u32 {
                    0 => 0,
                    most => choose(most + 1),
                };
                slot.disk.vanish(gone as usize);
            }
            Step::Flush => slot.disk.sync(slot.disk.durable().len() + 1),
            Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_) => {}
        }
        let disk_before = slot.disk.clone();
        let reacted = catch(|| durable = self.react(&mut slot, place, step, &mut choose, &mut effects));
        if slot.host.as_ref().is_some_and(Host::has_let_out_early) {
            self.let_out_early.store(true, Ordering::Relaxed);
        }
        let judged = reacted.and_then(|()| {
            catch(|| {
                let is_sound = |effect: &_| survives(effect).and_then(|()| meets_at_home(effect));
                effects.iter().try_for_each(is_sound).map_err(Panic::without_place)?;
                Ok(first_early_output(&self.members[place].1, &disk_before, &effects, &durable))
            })?
        });
        let early = judged.unwrap_or_else(|panic| {
            effects.clear();
            durable.truncate(1);
            slot.disk = disk_before.clone();
            slot.panicked(panic);
            None
        });
        if let Some((_, why)) = &early {
            slot.early_output.get_or_insert_with(|| why.clone());
        }
        Some(Ran { slot, disk_before, effects, durable, asked, early, called: self.called(step) })
    }

    /// What a node does about a step. Returns what is durable before each effect, and after the last.
    fn react(
        &self,
        slot: &mut Slot<NodeOf<S>>,
        place: usize,
        step: &Step<NodeOf<S>>,
        choose: &mut dyn FnMut(u32) -> u32,
        out: &mut Vec<Effect<NodeOf<S>>>,
    ) -> Vec<Durable> {
        let (config, lives, upto) = (&self.members[place].1, slot.lives, slot.disk.durable_upto());
        let mut choose = |n| choose(n);
        match (step, &mut slot.host) {
            (Step::Boot, host) => {
                *host = Some(Host::boot_in(self.order, config, slot.disk.journal(), lives, &mut choose, out));
            }
            (Step::Flush, Some(host)) => host.synced(config, lives, upto, &mut choose, out),
            (Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_), Some(host)) => {
                host.step(config, self.event(step), &mut choose, out);
            }
            (Step::Flush | Step::Deliver { .. } | Step::Fire(_) | Step::Ask(_), None) => {}
        }
        self.write(slot, config, out, &mut choose)
    }

    /// What the history hears of what is asked.
    fn called(&self, step: &Step<NodeOf<S>>) -> Option<Heard<NodeOf<S>>> {
        let (true, Step::Ask(ask)) = (S::History::HEARS_CALLS || S::SESSIONS, step) else { return None };
        Some(Heard::Call { id: self.requests[ask.index].id, request: ask.request.clone() })
    }

    fn event(&self, step: &Step<NodeOf<S>>) -> Event<NodeOf<S>> {
        match step {
            Step::Deliver { packet: Packet { from, message, .. }, .. } => {
                Event::Message { from: *from, message: message.clone() }
            }
            Step::Fire(timer) => Event::Timer(timer.clone()),
            Step::Ask(ask) => {
                Event::Request { id: self.requests[ask.index].id, request: ask.request.clone() }
            }
            Step::Boot | Step::Flush => unreachable!("no event of the node"),
        }
    }

    /// Writes the records among the effects to the disk. With [`Disk::Sync`] each becomes durable at once, and what it
    /// releases follows it. But what waits for no record may leave while one is being written: where something of the
    /// kind follows a record, that is durable only after it. Returns what is durable before each effect, and after the
    /// last.
    fn write(
        &self,
        slot: &mut Slot<NodeOf<S>>,
        config: &ConfigOf<S>,
        effects: &mut Vec<Effect<NodeOf<S>>>,
        mut choose: &mut dyn FnMut(u32) -> u32,
    ) -> Vec<Durable> {
        let mut writing = Writing::new(slot.disk.durable().len());
        if self.limits.disk == Disk::Async {
            effects.drain(..).for_each(|effect| writing.happens(effect, &mut slot.disk));
        } else if let Some(host) = &mut slot.host {
            writing.take_in(std::mem::take(effects), &mut slot.disk);
            while writing.goes_on(&mut slot.disk) {
                assert!(
                    writing.syncs <= MOST_WRITES,
                    "one step writes more than {MOST_WRITES} records, each because the one before it is durable: \
                     where a disk syncs at once this has no end; check it with --disk async"
                );
                let (mut released, upto) = (Vec::new(), slot.disk.durable_upto());
                host.synced(config, slot.lives, upto, &mut choose, &mut released);
                writing.take_in(released, &mut slot.disk);
            }
        }
        let (happened, durable) = writing.end();
        *effects = happened;
        durable
    }

    /// How many records a crash at this point of a step has to choose from.
    pub(crate) fn at_risk(
        &self,
        slot: &Slot<NodeOf<S>>,
        place: usize,
        step: &Step<NodeOf<S>>,
        choices: &[u32],
        point: CrashPoint,
    ) -> usize {
        let ran = self.run(slot, place, step, choices);
        ran.map_or(0, |ran| self.finish(&ran, choices.to_vec(), Some(point)).at_risk)
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
            return Way { choices, crash, slot, effects, called, at_risk: 0 };
        };
        let effects = ran.effects[..point.after.min(ran.effects.len())].to_vec();
        let early = ran.early.as_ref().filter(|(number, _)| *number < effects.len());
        let early_output = early.map(|(_, why)| why.clone());
        let (disk, lives) = (ran.disk_before.clone(), ran.slot.lives);
        let mut slot = Slot { host: None, disk, lives, early_output, panic: None };
        for (effect, durable) in effects.iter().zip(&ran.durable) {
            slot.disk.sync(durable.now);
            put(effect, &mut slot.disk);
        }
        // A step that has panicked has done nothing.
        ran.durable.get(effects.len()).into_iter().for_each(|durable| slot.disk.sync(durable.least));
        let at_risk = slot.disk.unsynced();
        slot.crash(point.kept);
        Way { choices, crash, slot, effects, called: ran.called.clone(), at_risk }
    }
}

/// What a step writes, as it gets onto a disk that syncs at once.
struct Writing<N: Node> {
    effects: Vec<Effect<N>>,
    durable: Vec<Durable>,
    now: Durable,
    /// Records that are about to be written, and durable at once.
    writes: VecDeque<Effect<N>>,
    syncs: usize,
}

impl<N: Node> Writing<N> {
    fn new(durable: usize) -> Self {
        let now = Durable { now: durable, least: durable };
        Self { effects: Vec::new(), durable: Vec::new(), now, writes: VecDeque::new(), syncs: 0 }
    }

    /// One more thing that happens; a record is written, and not durable yet.
    fn happens(&mut self, effect: Effect<N>, disk: &mut LossyDisk<N::Record>) {
        put(&effect, disk);
        self.effects.push(effect);
        self.durable.push(self.now);
        self.now.least = self.now.now;
    }

    /// What the host lets out at once. If something leaves after a record is written it does not wait for that.
    fn take_in(&mut self, out: Vec<Effect<N>>, disk: &mut LossyDisk<N::Record>) {
        let is_write = |effect: &Effect<N>| matches!(effect, Effect::Append(_));
        let mut follows = out.iter().skip_while(|effect| !is_write(effect));
        if follows.any(leaves) {
            let writes = std::mem::take(&mut self.writes);
            writes.into_iter().chain(out).for_each(|effect| self.happens(effect, disk));
            return;
        }
        for effect in out {
            if is_write(&effect) { self.writes.push_back(effect) } else { self.happens(effect, disk) }
        }
    }

    /// Makes the next record durable; `false` if all are.
    fn goes_on(&mut self, disk: &mut LossyDisk<N::Record>) -> bool {
        let is_late = disk.unsynced() > 0;
        if !is_late {
            let Some(write) = self.writes.pop_front() else { return false };
            self.happens(write, disk);
        }
        self.syncs += 1;
        self.now.now += 1;
        disk.sync(self.now.now);
        if !is_late {
            self.now.least = self.now.now;
        }
        true
    }

    fn end(mut self) -> (Vec<Effect<N>>, Vec<Durable>) {
        self.durable.push(self.now);
        (self.effects, self.durable)
    }
}

impl Durable {
    /// Whether records become durable just before this moment, after something has left that does not wait for them.
    fn syncs(self) -> bool {
        self.least < self.now
    }
}

/// The first effect that tells what rests on a record that is not durable when it leaves.
fn first_early_output<N: Node>(
    config: &N::Config,
    before: &LossyDisk<N::Record>,
    effects: &[Effect<N>],
    durable: &[Durable],
) -> Option<(usize, Box<str>)> {
    N::rests_on()?;
    let mut journal = before.written().to_vec();
    effects.iter().zip(durable).enumerate().find_map(|(number, (effect, durable))| {
        if let Effect::Append(record) = effect {
            journal.push(record.clone());
        }
        Some((number, early_output(config, effect, &journal[..durable.now])?))
    })
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

/// What comes of an effect on the node's disk.
fn put<N: Node>(effect: &Effect<N>, disk: &mut LossyDisk<N::Record>) {
    match effect {
        Effect::Append(record) => disk.append(record.clone()),
        Effect::Forget(before) => disk.forget(*before),
        Effect::Send { .. }
        | Effect::Reply { .. }
        | Effect::Publish(_)
        | Effect::Observe(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer(_)
        | Effect::Meet { .. }
        | Effect::Part(_)
        | Effect::Lost { .. }
        | Effect::WhenDurable(_) => {}
    }
}

/// Whether anybody can tell after a crash that it happened: it is on the disk, or on its way to somebody.
fn is_visible<N: Node>(effect: &Effect<N>) -> bool {
    matches!(effect, Effect::Append(_) | Effect::Forget(_) | Effect::Send { .. } | Effect::Reply { .. })
}

/// Whether it leaves the node.
fn leaves<N: Node>(effect: &Effect<N>) -> bool {
    Output::of(effect).is_some()
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

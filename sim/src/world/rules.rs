//! How one world becomes the next.

use std::fmt;

use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId, Word};
use coalmine_core::observation::{History, Invariant, Observation, Observed, Witness};
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::{Packet, Slot, Spent, World};
use crate::faults::Directions;
use crate::system::{ConfigOf, NodeOf, Operation, System};

/// How many invariants and witnesses a system may have together: one bit each.
pub const MAX_PROPERTIES: usize = 32;

/// How many requests of clients a system may have: one bit each.
pub const MAX_REQUESTS: usize = 64;

/// How disks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// A record is durable as soon as it is written. Crashes still fall between any two effects.
    Sync,
    /// Records become durable one by one, as actions of their own; a crash keeps any prefix of the others.
    Async,
}

/// What becomes of a packet that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// It is gone; a second delivery is a duplicate, and costs.
    Datagrams,
    /// It stays: every message may be delivered any number of times, for free (Lamport's set of messages).
    Persistent,
}

/// How much of everything may happen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Crashes of any node.
    pub crashes: u8,
    /// Crashes of any node after which its disk is empty.
    pub wipes: u8,
    /// Cuts between any two nodes, one way or both ways.
    pub cuts: u8,
    /// Dropped packets.
    pub drops: u8,
    /// Duplicated packets.
    pub duplicates: u8,
    /// Timers that fire; `None`: as many as are armed.
    pub timeouts: Option<u8>,
    /// [Periodic](System::is_periodic) timers that fire, which do not count as timeouts.
    pub periodic: u8,
    /// Requests that are sent again.
    pub retries: u8,
    /// Members whose [health turns bad](System::ailments).
    pub unhealthy: u8,
    /// Who is down for ever when it is asked whether the system [settles](crate::check::SETTLES).
    pub without: Option<NodeId>,
    /// How disks behave.
    pub disk: Disk,
    /// What becomes of delivered packets.
    pub network: Network,
}

impl Limits {
    /// Nothing goes wrong, and no timer fires.
    pub const NONE: Self = Self {
        crashes: 0,
        wipes: 0,
        cuts: 0,
        drops: 0,
        duplicates: 0,
        timeouts: Some(0),
        periodic: 0,
        retries: 0,
        unhealthy: 0,
        without: None,
        disk: Disk::Sync,
        network: Network::Datagrams,
    };
}

impl Limits {
    /// The budgets in words. Those that few checks have are told only where there are some.
    pub fn tell(&self) -> String {
        let timeouts = self.timeouts.map_or("any number of".into(), |timeouts| timeouts.to_string());
        let rare = [
            (self.wipes, "wipes"),
            (self.cuts, "cuts"),
            (self.retries, "retries"),
            (self.unhealthy, "unhealthy"),
        ];
        let rare = rare.iter().filter(|(budget, _)| *budget > 0);
        let rare: String = rare.map(|(budget, of)| format!("{budget} {of}, ")).collect();
        let Self { crashes, drops, duplicates, periodic, disk, .. } = self;
        let without = self.without.map_or(String::new(), |id| format!("; settles without {id}"));
        format!(
            "{crashes} crashes, {drops} drops, {duplicates} duplicates, {timeouts} time-outs, \
             {periodic} heartbeats, {rare}disk {disk:?}{without}"
        )
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// A system under limits: all that a step depends on besides the world.
pub struct Rules<S: System> {
    /// The system.
    pub system: S,
    /// The limits.
    pub limits: Limits,
    pub(crate) members: Vec<(NodeId, ConfigOf<S>)>,
    /// What clients ask, then what they tell of a member's bad health.
    pub(crate) requests: Vec<Operation<NodeOf<S>>>,
    /// How many of the requests are operations.
    pub(crate) operations: usize,
    pub(crate) invariants: Vec<Invariant<NodeOf<S>, S::History>>,
    pub(crate) witnesses: Vec<Witness<NodeOf<S>, S::History>>,
    /// Whether a crash may also fall where it makes no difference: see [`Reductions::crash_points`].
    ///
    /// [`Reductions::crash_points`]: crate::check::Reductions::crash_points
    pub(crate) every_crash_point: bool,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<N: Node> {
    /// A node takes an event, or boots, or its disk makes a record durable; what it chooses is `choices`.
    Step {
        /// The node's place.
        place: usize,
        /// What happens to it.
        step: Step<N>,
        /// What it is answered when it chooses, in order.
        choices: Vec<u32>,
        /// The node crashes during the step.
        crash: Option<CrashPoint>,
    },
    /// A packet is lost.
    Drop(Packet<N>),
    /// A node that does nothing at the moment crashes.
    Crash {
        /// The node's place.
        place: usize,
        /// What survives.
        kept: Kept,
    },
    /// A link is cut.
    Cut {
        /// From whom nothing arrives any more.
        from: NodeId,
        /// At whom.
        to: NodeId,
        /// Whether the other direction is cut, too.
        both_ways: bool,
    },
    /// A link is healed.
    Heal {
        /// From whom messages arrive again.
        from: NodeId,
        /// At whom.
        to: NodeId,
    },
}

/// What happens to a node in a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<N: Node> {
    /// It (re)starts.
    Boot,
    /// A packet arrives; with `again` a copy stays under way.
    Deliver {
        /// The packet.
        packet: Packet<N>,
        /// Whether a copy stays.
        again: bool,
    },
    /// A timer fires.
    Fire(N::Timer),
    /// The request with this number in the list is sent, for the first time or again.
    Ask(usize),
    /// The next unsynced record becomes durable.
    Flush,
}

/// Where in a step a crash falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrashPoint {
    /// How many of the step's effects still happen.
    pub after: usize,
    /// What survives of what the disk holds then.
    pub kept: Kept,
}

/// What a crash leaves on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// All that is durable, and so many of the unsynced records.
    Unsynced(usize),
    /// Nothing: the node gets a new disk.
    Nothing,
}

/// An action and the world it leads to.
pub struct Transition<S: System> {
    /// What happens.
    pub action: Action<NodeOf<S>>,
    /// What comes of it.
    pub next: World<S>,
}

/// What one step of a node did.
struct Ran<N: Node> {
    slot: Slot<N>,
    /// The disk without what this step wrote: where a crash within the step begins to count.
    disk_before: LossyDisk<N::Record>,
    /// All effects in program order; a record that the disk has made durable at once follows its write.
    effects: Vec<Effect<N>>,
    /// For each question the node asked: how many answers there were.
    asked: Vec<u32>,
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
}

/// Which crashes the budgets still allow.
#[derive(Clone, Copy)]
pub(crate) struct Crashes {
    pub crash: bool,
    pub wipe: bool,
}

/// What an action takes from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Crash,
    Wipe,
    Cut,
    Drop,
    Duplicate,
    Timeout,
    Periodic,
    Ask(usize),
}

impl<S: System> Rules<S> {
    /// Whether there can be rules for a system: a world counts what was asked, and what was seen, in one word
    /// each.
    pub fn fits(system: &S) -> Result<(), String> {
        let properties = system.invariants().len() + system.witnesses().len();
        if properties > MAX_PROPERTIES {
            return Err(format!("{properties} invariants and witnesses are more than {MAX_PROPERTIES}"));
        }
        let (operations, ailments) = (system.operations().len(), system.ailments().len());
        if operations + ailments > MAX_REQUESTS {
            return Err(format!(
                "{operations} requests of clients and {ailments} that tell members they are unwell are more \
                 than {MAX_REQUESTS} together: take fewer operations or nodes"
            ));
        }
        Ok(())
    }

    /// The rules for a system that [fits](Self::fits).
    pub fn new(system: S, limits: Limits) -> Self {
        let (invariants, witnesses) = (system.invariants(), system.witnesses());
        assert!(invariants.len() + witnesses.len() <= MAX_PROPERTIES, "too many properties");
        let (members, mut requests) = (system.members(), system.operations());
        let operations = requests.len();
        requests.extend(system.ailments());
        assert!(requests.len() <= MAX_REQUESTS, "too many requests");
        let every_crash_point = false;
        Self { members, requests, operations, invariants, witnesses, system, limits, every_crash_point }
    }

    /// The world before anything has happened: every node has just booted on its
    /// [first disk](System::first_disk).
    pub fn initial(&self) -> World<S> {
        let boots = (0..self.members.len()).map(Self::boot);
        boots.fold(self.before_boot(), |world, boot| self.apply(&world, &boot).0)
    }

    /// A node starts.
    pub(crate) fn boot(place: usize) -> Action<NodeOf<S>> {
        Action::Step { place, step: Step::Boot, choices: Vec::new(), crash: None }
    }

    /// The world in which no node has booted yet.
    pub(crate) fn before_boot(&self) -> World<S> {
        let down = |(id, _): &(NodeId, _)| {
            let mut disk = LossyDisk::default();
            self.system.first_disk(*id).into_iter().for_each(|record| disk.append(record));
            disk.sync(disk.written().len());
            Slot { host: None, disk, lives: 0 }
        };
        World {
            members: self.members.iter().map(|(id, _)| *id).collect(),
            slots: self.members.iter().map(|member| Shared::new(down(member))).collect(),
            packets: Vec::new(),
            cut: Directions::new(),
            history: Shared::new(S::History::default()),
            spent: Spent::default(),
            verdict: 0,
        }
    }

    /// All that may happen next, in a fixed order.
    pub fn successors(&self, world: &World<S>, out: &mut Vec<Transition<S>>) {
        let spent = &world.spent;
        for packet in &world.packets {
            let place = self.place(packet.to);
            let deliver = |again| Step::Deliver { packet: (**packet).clone(), again };
            self.step(world, place, deliver(false), out);
            let up = world.slots[place].host.is_some();
            if up && self.limits.network == Network::Datagrams && self.can_pay(spent, Cost::Duplicate) {
                self.step(world, place, deliver(true), out);
            }
            if self.can_pay(spent, Cost::Drop) {
                self.push(world, Action::Drop((**packet).clone()), out);
            }
        }
        for (place, slot) in world.slots.iter().enumerate() {
            let Some(host) = &slot.host else {
                self.step(world, place, Step::Boot, out);
                continue;
            };
            for timer in host.timers() {
                if self.may_fire(spent, self.system.is_periodic(timer)) {
                    self.step(world, place, Step::Fire(timer.clone()), out);
                }
            }
            if slot.disk.unsynced() > 0 {
                self.step(world, place, Step::Flush, out);
            }
            kept(self.crashes(spent), slot.disk.unsynced(), |kept| {
                self.push(world, Action::Crash { place, kept }, out);
            });
        }
        for (index, request) in self.requests.iter().enumerate() {
            let place = self.place(request.to);
            if self.may_ask(spent, index) && world.slots[place].host.is_some() {
                self.step(world, place, Step::Ask(index), out);
            }
        }
        for &(from, to) in &world.cut {
            self.push(world, Action::Heal { from, to }, out);
        }
        if self.can_pay(spent, Cost::Cut) {
            self.cuts(&world.cut, |cut| self.push(world, cut, out));
        }
    }

    /// Whether a request may be sent now: a client sends one after the other, and with budget again.
    pub(crate) fn may_ask(&self, spent: &Spent, index: usize) -> bool {
        let is_asked = |index: usize| spent.asked & (1 << index) != 0;
        if is_asked(index) {
            return index < self.operations && spent.retries < self.limits.retries;
        }
        if index >= self.operations {
            return spent.unhealthy < self.limits.unhealthy;
        }
        let client = self.requests[index].id.client;
        (0..index).all(|earlier| is_asked(earlier) || self.requests[earlier].id.client != client)
    }

    /// Every link that may be cut besides those that are.
    pub(crate) fn cuts(&self, cut: &Directions, mut each: impl FnMut(Action<NodeOf<S>>)) {
        for &(from, _) in &self.members {
            for &(to, _) in self.members.iter().filter(|(to, _)| *to != from) {
                if cut.contains(&(from, to)) {
                    continue;
                }
                each(Action::Cut { from, to, both_ways: false });
                if from < to && !cut.contains(&(to, from)) {
                    each(Action::Cut { from, to, both_ways: true });
                }
            }
        }
    }

    /// One action. The effects are those that happened.
    pub fn apply(&self, world: &World<S>, action: &Action<NodeOf<S>>) -> (World<S>, Vec<Effect<NodeOf<S>>>) {
        let mut next = world.clone();
        let mut happened = Vec::new();
        match action {
            Action::Drop(packet) => {
                next.remove(packet);
                self.pay(&mut next.spent, Cost::Drop);
            }
            Action::Crash { place, kept } => {
                let mut slot = (*world.slots[*place]).clone();
                slot.crash(*kept);
                next.slots[*place] = Shared::new(slot);
                self.pay(&mut next.spent, kept.cost());
            }
            Action::Step { place, step, choices, crash } => {
                self.begin(&mut next, step);
                if let Some(ran) = self.run(&world.slots[*place], *place, step, choices) {
                    let way = self.finish(&ran, choices.clone(), *crash);
                    happened.clone_from(&way.effects);
                    self.take(&mut next, *place, way);
                }
            }
            Action::Cut { from, to, both_ways } => {
                next.cut(*from, *to);
                if *both_ways {
                    next.cut(*to, *from);
                }
                self.pay(&mut next.spent, Cost::Cut);
            }
            Action::Heal { from, to } => {
                next.cut.remove(&(*from, *to));
            }
        }
        next.verdict = self.judge_world(&next);
        (next, happened)
    }

    /// A step in all its ways.
    fn step(&self, world: &World<S>, place: usize, step: Step<NodeOf<S>>, out: &mut Vec<Transition<S>>) {
        let mut begun = world.clone();
        self.begin(&mut begun, &step);
        let slot = &world.slots[place];
        if slot.host.is_none() && step != Step::Boot {
            let action = Action::Step { place, step, choices: Vec::new(), crash: None };
            return self.offer(world, action, begun, out); // nobody is there to take it
        }
        self.ways(slot, place, &step, self.crashes(&world.spent), |way| {
            let (choices, crash) = (way.choices.clone(), way.crash);
            let mut next = begun.clone();
            self.take(&mut next, place, way);
            self.offer(world, Action::Step { place, step: step.clone(), choices, crash }, next, out);
        });
    }

    /// Which crashes the budgets still allow.
    pub(crate) fn crashes(&self, spent: &Spent) -> Crashes {
        Crashes { crash: self.can_pay(spent, Cost::Crash), wipe: self.can_pay(spent, Cost::Wipe) }
    }

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
        let mut choices = Vec::new();
        while let Some(ran) = self.run(slot, place, step, &choices) {
            choices.resize(ran.asked.len(), 0);
            self.crash_points(crashes, ran.disk_before.unsynced(), &ran.effects, |point| {
                each(self.finish(&ran, choices.clone(), Some(point)));
            });
            each(self.finish(&ran, choices.clone(), None));
            // The next script in order: raise the last answer that can be raised, drop what follows.
            while choices.last().is_some_and(|&last| last + 1 == ran.asked[choices.len() - 1]) {
                choices.pop();
            }
            let Some(last) = choices.last_mut() else { return };
            *last += 1;
        }
    }

    /// Every point of a step at which a crash makes a difference: before all effects, and before each further one that
    /// is [visible](is_visible). What is not visible is gone with the node, whether it happened or not. The crash after
    /// the last effect is an action of its own.
    fn crash_points(
        &self,
        crashes: Crashes,
        mut unsynced: usize,
        effects: &[Effect<NodeOf<S>>],
        mut each: impl FnMut(CrashPoint),
    ) {
        let mut is_first = true;
        for (after, effect) in effects.iter().enumerate() {
            // A fact only tells what the effect before it has done: there is no moment between the two.
            let is_told_of = after > 0 && matches!(effect, Effect::Observe(_));
            if !is_told_of && (self.every_crash_point || is_visible(effect)) {
                let after = if std::mem::take(&mut is_first) { 0 } else { after };
                kept(crashes, unsynced, |kept| each(CrashPoint { after, kept }));
            }
            if self.limits.disk == Disk::Async && matches!(effect, Effect::Append(_)) {
                unsynced += 1;
            }
        }
    }

    fn push(&self, world: &World<S>, action: Action<NodeOf<S>>, out: &mut Vec<Transition<S>>) {
        let (next, _) = self.apply(world, &action);
        self.offer(world, action, next, out);
    }

    /// What changes nothing is not a transition.
    fn offer(
        &self,
        world: &World<S>,
        action: Action<NodeOf<S>>,
        mut next: World<S>,
        out: &mut Vec<Transition<S>>,
    ) {
        if next != *world {
            next.verdict = self.judge_world(&next);
            out.push(Transition { action, next });
        }
    }

    /// Runs a node through a step, on a copy. `None` if nobody is there to take it.
    fn run(
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
        let config = &self.members[place].1;
        let mut asked = Vec::new();
        let mut choose = |n| {
            asked.push(n);
            choices.get(asked.len() - 1).copied().unwrap_or(0)
        };
        let mut out = Vec::new();
        if let Step::Flush = step {
            let upto = slot.disk.durable().len() + 1;
            slot.disk.sync(upto);
        }
        let disk_before = slot.disk.clone();
        if let Step::Boot = step {
            slot.lives += 1;
            let host = Host::boot(config, slot.disk.written(), slot.lives, &mut choose, &mut out);
            slot.host = Some(host);
        } else if let Step::Flush = step {
            let upto = slot.disk.durable().len() as u64;
            slot.host.as_mut()?.synced(config, slot.lives, upto, &mut choose, &mut out);
        } else {
            let event = self.event(step);
            slot.host.as_mut()?.step(config, event, &mut choose, &mut out);
        }
        self.flush_at_once(&mut slot, config, &mut out, &mut choose);
        Some(Ran { slot, disk_before, effects: out, asked })
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
        while !writes.is_empty() {
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
    fn finish(&self, ran: &Ran<NodeOf<S>>, choices: Vec<u32>, crash: Option<CrashPoint>) -> Way<NodeOf<S>> {
        let Some(point) = crash else {
            return Way { choices, crash, slot: ran.slot.clone(), effects: ran.effects.clone() };
        };
        let effects = ran.effects[..point.after.min(ran.effects.len())].to_vec();
        let mut slot = Slot { host: None, disk: ran.disk_before.clone(), lives: ran.slot.lives };
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
        Way { choices, crash, slot, effects }
    }

    /// What becomes of the world when a step goes this way.
    fn take(&self, next: &mut World<S>, place: usize, way: Way<NodeOf<S>>) {
        let me = self.members[place].0;
        let mut history = None;
        for effect in way.effects {
            match effect {
                Effect::Send { to, message } => next.insert(Packet { from: me, to, message }),
                Effect::Observe(fact) => {
                    history.get_or_insert_with(|| (*next.history).clone()).observe(me, &fact);
                }
                Effect::Append(_)
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_) => {}
                Effect::WhenDurable(_) => unreachable!("the host keeps tokens to itself"),
            }
        }
        if let Some(history) = history {
            next.history = Shared::new(history);
        }
        next.slots[place] = Shared::new(way.slot);
        if let Some(point) = way.crash {
            self.pay(&mut next.spent, point.kept.cost());
        }
    }

    /// What a step takes from the network and from the budgets, whoever takes it.
    fn begin(&self, next: &mut World<S>, step: &Step<NodeOf<S>>) {
        if let Step::Deliver { packet, again: false } = step
            && self.limits.network == Network::Datagrams
        {
            next.remove(packet);
        }
        if let Some(cost) = self.cost(step) {
            self.pay(&mut next.spent, cost);
        }
    }

    /// What a step costs.
    pub(crate) fn cost(&self, step: &Step<NodeOf<S>>) -> Option<Cost> {
        match step {
            Step::Boot | Step::Flush | Step::Deliver { again: false, .. } => None,
            Step::Deliver { again: true, .. } => Some(Cost::Duplicate),
            Step::Fire(timer) if self.system.is_periodic(timer) => Some(Cost::Periodic),
            Step::Fire(_) => self.limits.timeouts.map(|_| Cost::Timeout),
            Step::Ask(index) => Some(Cost::Ask(*index)),
        }
    }

    pub(crate) fn pay(&self, spent: &mut Spent, cost: Cost) {
        match cost {
            Cost::Crash => spent.crashes += 1,
            Cost::Wipe => spent.wipes += 1,
            Cost::Cut => spent.cuts += 1,
            Cost::Drop => spent.drops += 1,
            Cost::Duplicate => spent.duplicates += 1,
            Cost::Timeout => spent.timeouts += 1,
            Cost::Periodic => spent.periodic += 1,
            Cost::Ask(index) => {
                if spent.asked & (1 << index) != 0 {
                    spent.retries += 1;
                } else if index >= self.operations {
                    spent.unhealthy += 1;
                }
                spent.asked |= 1 << index;
            }
        }
    }

    /// Whether the budgets allow this.
    pub(crate) fn can_pay(&self, spent: &Spent, cost: Cost) -> bool {
        let limits = &self.limits;
        match cost {
            Cost::Crash => spent.crashes < limits.crashes,
            Cost::Wipe => spent.wipes < limits.wipes,
            Cost::Cut => spent.cuts < limits.cuts,
            Cost::Drop => spent.drops < limits.drops,
            Cost::Duplicate => spent.duplicates < limits.duplicates,
            Cost::Timeout => limits.timeouts.is_none_or(|limit| spent.timeouts < limit),
            Cost::Periodic => spent.periodic < limits.periodic,
            Cost::Ask(index) => self.may_ask(spent, index),
        }
    }

    /// Whether the budgets allow a timer to fire.
    pub(crate) fn may_fire(&self, spent: &Spent, is_periodic: bool) -> bool {
        self.can_pay(spent, if is_periodic { Cost::Periodic } else { Cost::Timeout })
    }

    pub(crate) fn place(&self, id: NodeId) -> usize {
        self.members.iter().position(|(member, _)| *member == id).unwrap_or_else(|| {
            panic!("{id} is not a member of the system, but is sent to");
        })
    }

    /// The world as invariants see it.
    pub fn observe<'a>(&'a self, world: &'a World<S>) -> Observation<'a, NodeOf<S>, S::History> {
        self.observe_parts(world.slots.iter().map(|slot| &**slot), &world.history)
    }

    fn observe_parts<'a>(
        &'a self,
        slots: impl Iterator<Item = &'a Slot<NodeOf<S>>>,
        history: &'a S::History,
    ) -> Observation<'a, NodeOf<S>, S::History> {
        let nodes = self.members.iter().zip(slots).map(|((id, config), slot)| Observed {
            id: *id,
            config,
            state: slot.host.as_ref().map(Host::node),
            durable: Some(slot.disk.durable()),
        });
        Observation { nodes: nodes.collect(), history }
    }

    fn judge_world(&self, world: &World<S>) -> u64 {
        self.judge(world.slots.iter().map(|slot| &**slot), &world.history)
    }

    /// Which invariants are broken and which witnesses are seen, a bit each.
    pub(crate) fn judge<'a>(
        &'a self,
        slots: impl Iterator<Item = &'a Slot<NodeOf<S>>>,
        history: &'a S::History,
    ) -> u64 {
        let now = self.observe_parts(slots, history);
        let broken = self.invariants.iter().map(|invariant| (invariant.check)(&now).is_err());
        let seen = self.witnesses.iter().map(|witness| (witness.seen)(&now));
        broken.chain(seen).enumerate().fold(0, |bits, (i, bit)| bits | (u64::from(bit) << i))
    }

    /// Whether the system has come to rest.
    pub(crate) fn converged<'a>(
        &'a self,
        slots: impl Iterator<Item = &'a Slot<NodeOf<S>>>,
        history: &'a S::History,
    ) -> Result<(), String> {
        let now = self.observe_parts(slots, history);
        match self.limits.without {
            None => self.system.converged(&now),
            Some(gone) => self.system.goes_on_without(gone, &now),
        }
    }

    /// An action in words.
    pub fn tell(&self, action: &Action<NodeOf<S>>) -> String {
        let name = |place: usize| self.members[place].0;
        let tell = |word| NodeOf::<S>::tell(word);
        match action {
            Action::Drop(Packet { from, to, message }) => {
                format!("{from} → {to} is lost: {}", tell(Word::Message(message)))
            }
            Action::Crash { place, kept } => format!("{} crashes{}", name(*place), tell_kept(*kept)),
            Action::Cut { from, to, both_ways } => {
                let arrow = if *both_ways { "↔" } else { "→" };
                format!("{from} {arrow} {to} is cut")
            }
            Action::Heal { from, to } => format!("{from} → {to} is healed"),
            Action::Step { place, step, choices, crash } => {
                let me = name(*place);
                let mut what = match step {
                    Step::Boot => format!("{me} starts"),
                    Step::Deliver { packet, again } => {
                        let copy = if *again { " (a copy stays under way)" } else { "" };
                        format!("{} → {me}: {}{copy}", packet.from, tell(Word::Message(&packet.message)))
                    }
                    Step::Fire(timer) => format!("{me} timer: {}", tell(Word::Timer(timer))),
                    Step::Ask(index) => {
                        let request = &self.requests[*index].request;
                        format!("client → {me}: {}", tell(Word::Request(request)))
                    }
                    Step::Flush => format!("{me} disk: the next record is durable"),
                };
                if !choices.is_empty() {
                    let choices: Vec<_> = choices.iter().map(ToString::to_string).collect();
                    what += &format!(", choosing {}", choices.join(", "));
                }
                match crash {
                    None => what,
                    Some(CrashPoint { after, kept }) => {
                        format!("{what}, and crashes after {after} of its effects{}", tell_kept(*kept))
                    }
                }
            }
        }
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

fn tell_kept(kept: Kept) -> String {
    match kept {
        Kept::Unsynced(0) => String::new(),
        Kept::Unsynced(keep) => format!(" ({keep} unsynced records survive)"),
        Kept::Nothing => " (it will start again with an empty disk)".into(),
    }
}

/// Whether anybody can tell after a crash that it happened: it is on the disk, or on its way to somebody.
fn is_visible<N: Node>(effect: &Effect<N>) -> bool {
    matches!(effect, Effect::Append(_) | Effect::Send { .. } | Effect::Reply { .. })
}

impl Kept {
    pub(crate) fn cost(self) -> Cost {
        match self {
            Self::Unsynced(_) => Cost::Crash,
            Self::Nothing => Cost::Wipe,
        }
    }
}

impl<N: Node> Slot<N> {
    pub(crate) fn crash(&mut self, kept: Kept) {
        match kept {
            Kept::Unsynced(keep) => drop(self.disk.crash(keep)),
            Kept::Nothing => self.disk.wipe(),
        }
        self.host = None;
    }
}

impl<S: System> World<S> {
    fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
        self.packets.retain(|packet| (packet.from, packet.to) != (from, to));
    }

    /// A packet that equals one under way adds nothing: to deliver it twice is a duplicate, and costs. Over
    /// a link that is cut nothing gets under way.
    fn insert(&mut self, packet: Packet<NodeOf<S>>) {
        if self.cut.contains(&(packet.from, packet.to)) {
            return;
        }
        let packet = Shared::new(packet);
        if let Err(at) = self.packets.binary_search(&packet) {
            self.packets.insert(at, packet);
        }
    }

    fn remove(&mut self, packet: &Packet<NodeOf<S>>) {
        let at = self.packets.iter().position(|there| **there == *packet);
        self.packets.remove(at.expect("only packets under way are delivered or lost"));
    }
}

impl<S: System> Clone for Transition<S> {
    fn clone(&self) -> Self {
        Self { action: self.action.clone(), next: self.next.clone() }
    }
}
impl<S: System> PartialEq for Transition<S> {
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action
    }
}
impl<S: System> fmt::Debug for Transition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)
    }
}

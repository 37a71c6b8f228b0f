//! How one world becomes the next: what may happen, and what comes of it. `steps` says how a node may take a step,
//! `again` what shows that it does not follow from the
//! step, `boots` how all begins, `limits` how much of everything may happen, `tell` what it is called.

mod again;
mod boots;
mod costs;
mod describe;
mod sessions;
mod steps;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Node, NodeId};
use coalmine_core::observation::Heard;
use coalmine_core::observation::{History, Invariant, Observation, Observed, Witness};
use coalmine_core::order::Order;

pub use self::again::Parted;
pub(crate) use self::boots::tells_boots;
pub(crate) use self::costs::Cost;
pub use self::steps::MOST_WAYS;
pub(crate) use self::steps::{Crashes, Way, kept};
use super::clients::{Ask, MemoryOf};
use super::shared::Shared;
use super::{Packet, Slot, World};
use crate::panics::{Panic, catch};
use crate::spec::budget::Budget;
use crate::spec::faults::Directions;
use crate::spec::limits::Limits;
use crate::spec::limits::Network;
use crate::spec::sound;
use crate::spec::system::{Armed, ConfigOf, NodeOf, Operation, System, invariants_of, timers_are_armed};

/// The bit of a verdict which says that something panicked.
pub(crate) const PANICKED: u64 = 1 << 63;

/// How many invariants and witnesses a system may have together: one bit each.
pub const MAX_PROPERTIES: usize = 32;

/// How many requests of clients a system may have: one bit each.
pub const MAX_REQUESTS: usize = 64;

/// A system under limits: all that a step depends on besides the world.
pub struct Rules<S: System> {
    /// The system.
    pub system: S,
    /// The limits.
    pub limits: Limits,
    /// The order that the hosts keep.
    pub order: Order,
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
    /// Whether stateright is to begin [before all boots](Self::before_boot), and not where all have booted.
    pub(crate) from_boot: bool,
    /// The timers that members arm when they boot, from their first disks or from empty ones.
    pub(crate) armed_first: OnceLock<Armed<S>>,
    /// Whether a host that keeps a wrong order has let out anything early.
    pub(crate) let_out_early: AtomicBool,
    /// What was found of steps that were taken twice.
    pub(crate) again: again::Again,
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
    /// A client sends a request, for the first time or again.
    Ask(Ask<N>),
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

impl<S: System> Rules<S> {
    /// Whether there can be rules for a system: its members and operations make sense, and a world counts what was
    /// asked, and what was seen, in one word each.
    pub fn fits(system: &S) -> Result<(), String> {
        sound::operations(system, &sound::system(system)?)?;
        let properties = invariants_of(system).len() + system.witnesses().len();
        if properties > MAX_PROPERTIES {
            return Err(format!("{properties} invariants and witnesses are more than {MAX_PROPERTIES}"));
        }
        if S::FOLLOWS_UP && !S::SESSIONS {
            return Err("what clients ask can follow from what they heard only where SESSIONS".into());
        }
        if S::FOLLOWS_UP && system.symmetry().is_some() {
            return Err(
                "what clients heard has no other names, so FOLLOWS_UP and a symmetry exclude each other"
                    .into(),
            );
        }
        let (operations, inputs) = (system.operations().len(), system.inputs().len());
        if operations + inputs > MAX_REQUESTS {
            return Err(format!(
                "requests of clients ({operations}) and inputs ({inputs}) are more \
                 than {MAX_REQUESTS} together: take fewer operations or nodes"
            ));
        }
        Ok(())
    }

    /// The rules for a system that [fits](Self::fits); a [check](crate::check::check) refuses any other.
    pub fn new(system: S, limits: Limits) -> Self {
        let (invariants, witnesses) = (invariants_of(&system), system.witnesses());
        let (members, mut requests) = (system.members(), system.operations());
        let operations = requests.len();
        requests.extend(system.inputs());
        Self {
            members,
            requests,
            operations,
            invariants,
            witnesses,
            system,
            limits,
            order: Order::Safe,
            every_crash_point: false,
            from_boot: false,
            armed_first: OnceLock::new(),
            let_out_early: AtomicBool::new(false),
            again: again::Again::default(),
        }
    }

    /// The same rules for hosts that keep this order.
    pub fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same rules, but a crash also falls where it makes no difference: see
    /// [`Reductions::crash_points`](crate::check::Reductions::crash_points).
    pub fn with_every_crash_point(self) -> Self {
        Self { every_crash_point: true, ..self }
    }

    /// All that may happen next, in a fixed order.
    pub fn successors(&self, world: &World<S>, out: &mut Vec<Transition<S>>) {
        if world.panic().is_some() {
            return;
        }
        if self.is_starting(world) {
            return self.boots(world, out);
        }
        let spent = &world.spent;
        for packet in &world.packets {
            let place = self.place(packet.to);
            let deliver = |again| Step::Deliver { packet: (**packet).clone(), again };
            if world.slots[place].lives > 0 {
                self.step(world, place, deliver(false), out);
            }
            let up = world.slots[place].host.is_some();
            if up && self.limits.network == Network::Datagrams && self.allows(spent, Budget::Duplicates) {
                self.step(world, place, deliver(true), out);
            }
            if self.allows(spent, Budget::Drops) {
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
        for index in 0..self.requests.len() {
            let Some(ask) = self.ask(spent, &world.memory.clients, index) else { continue };
            let place = self.place(ask.to);
            if world.slots[place].host.is_some() {
                self.step(world, place, Step::Ask(ask), out);
            }
        }
        for &(from, to) in &world.cut {
            self.push(world, Action::Heal { from, to }, out);
        }
        if self.allows(spent, Budget::Cuts) {
            self.cuts(&world.cut, |cut| self.push(world, cut, out));
        }
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
                self.pay(&mut next.spent, Cost::One(Budget::Drops));
            }
            Action::Crash { place, kept } => {
                let mut slot = (*world.slots[*place]).clone();
                slot.crash(*kept);
                next.slots[*place] = Shared::new(slot);
                self.pay(&mut next.spent, Cost::One(kept.cost()));
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
                self.pay(&mut next.spent, Cost::One(Budget::Cuts));
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

    /// What becomes of the world when a step goes this way.
    fn take(&self, next: &mut World<S>, place: usize, way: Way<NodeOf<S>>) {
        let (me, mut slot) = (self.members[place].0, way.slot);
        let mut facts: Vec<_> = way.called.into_iter().collect();
        for effect in way.effects {
            if let Effect::Send { to, message } = effect {
                next.insert(Packet { from: me, to, message });
            } else {
                facts.extend(heard::<S>(effect));
            }
        }
        if !facts.is_empty() {
            match self.hear_all(&next.memory, me, &facts) {
                Ok(memory) => next.memory = Shared::new(memory),
                Err(panic) => slot.panicked(panic),
            }
        }
        next.slots[place] = Shared::new(slot);
        if let Some(point) = way.crash {
            self.pay(&mut next.spent, Cost::One(point.kept.cost()));
        }
    }

    /// A memory of more, unless that makes the history panic.
    pub(crate) fn hear_all(
        &self,
        before: &MemoryOf<S>,
        node: NodeId,
        facts: &[Heard<NodeOf<S>>],
    ) -> Result<MemoryOf<S>, Panic> {
        catch(|| {
            let mut memory = before.clone();
            for fact in facts {
                self.tell(&mut memory.clients, fact);
                let is_heard = match fact {
                    Heard::Fact(_) => true,
                    Heard::Call { .. } => S::History::HEARS_CALLS,
                    Heard::Reply { .. } => S::History::HEARS_REPLIES,
                };
                if is_heard {
                    memory.history.hear(node, fact);
                }
            }
            memory
        })
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

    pub(crate) fn is_member(&self, id: NodeId) -> bool {
        self.members.iter().any(|(member, _)| *member == id)
    }

    pub(crate) fn place(&self, id: NodeId) -> usize {
        self.members.iter().position(|(member, _)| *member == id).unwrap_or_else(|| {
            panic!("{id} is not a member of the system, but is spoken of");
        })
    }

    /// The world as invariants see it.
    pub fn observe<'a>(&'a self, world: &'a World<S>) -> Observation<'a, NodeOf<S>, S::History> {
        self.observe_parts(world.slots.iter().map(|slot| &**slot), &world.memory.history)
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
            forgotten: slot.disk.forgotten(),
            timers: slot.host.as_ref().map_or(&[][..], Host::timers),
            early_output: slot.early_output.as_deref(),
        });
        Observation { nodes: nodes.collect(), history }
    }

    /// The budgets of which there is nothing, as far as they would allow anything here, in words.
    pub(crate) fn not_tried(&self) -> Vec<&'static str> {
        let beats = || {
            let armed = self.armed_first.get_or_init(|| self.armed_at_first());
            armed.values().flatten().any(|timer| self.system.is_periodic(timer))
        };
        let allows_something = |budget: Budget| match budget {
            Budget::Duplicates => self.limits.network == Network::Datagrams,
            Budget::Periodic => beats(),
            Budget::Retries => self.operations > 0,
            Budget::Inputs => self.requests.len() > self.operations,
            Budget::Crashes | Budget::Wipes | Budget::Cuts | Budget::Drops | Budget::Timeouts => true,
            Budget::LateBoots => false,
        };
        let is_nothing = |budget: &Budget| self.limits.of(*budget) == Some(0) && allows_something(*budget);
        Budget::spent().filter(is_nothing).map(Budget::word).collect()
    }

    /// The bits of a verdict that must never be seen.
    pub(crate) fn bad(&self) -> u64 {
        ((1 << self.invariants.len()) - 1) | PANICKED
    }

    fn judge_world(&self, world: &World<S>) -> u64 {
        self.judge(world.slots.iter().map(|slot| &**slot), &world.memory.history)
    }

    /// Which invariants are broken and which witnesses are seen, a bit each; and whether a node has panicked, or one of
    /// these does: then nobody asks those after it.
    pub(crate) fn judge<'a>(
        &'a self,
        slots: impl Iterator<Item = &'a Slot<NodeOf<S>>>,
        history: &'a S::History,
    ) -> u64 {
        let mut is_over = false;
        let now = self.observe_parts(slots.inspect(|slot| is_over |= slot.panic.is_some()), history);
        if is_over {
            return PANICKED;
        }
        let mut bits = 0;
        let judged = catch(|| {
            let broken = self.invariants.iter().map(|invariant| (invariant.check)(&now).is_err());
            let seen = self.witnesses.iter().map(|witness| (witness.seen)(&now));
            broken.chain(seen).enumerate().for_each(|(i, bit)| bits |= u64::from(bit) << i);
        });
        if judged.is_ok() { bits } else { bits | PANICKED }
    }

    /// See `armed_first`. A boot that panics is a counterexample of its own; here it arms nothing.
    fn armed_at_first(&self) -> Armed<S> {
        let timers = |id: NodeId, config: &ConfigOf<S>| {
            let mut timers = BTreeSet::new();
            for disk in [self.system.first_disk(id), Vec::new()] {
                let host = catch(|| Host::boot(config, &disk, 1, &mut |_| 0, &mut Vec::new())).ok();
                timers.extend(host.iter().flat_map(|host: &Host<NodeOf<S>>| host.timers().iter().cloned()));
            }
            timers
        };
        self.members.iter().map(|(id, config)| (*id, timers(*id, config))).collect()
    }

    /// Whether the system has come to rest; `Err` if it panics when it is asked.
    pub(crate) fn converged<'a>(
        &'a self,
        slots: impl Iterator<Item = &'a Slot<NodeOf<S>>>,
        memory: &'a MemoryOf<S>,
    ) -> Result<Result<(), String>, Panic> {
        let now = self.observe_parts(slots, &memory.history);
        catch(|| {
            match self.limits.without {
                None => self.system.converged(&now)?,
                Some(gone) => self.system.progress_without(gone, &now)?,
            }
            timers_are_armed(&self.system, &now, self.armed_first.get_or_init(|| self.armed_at_first()))?;
            self.are_answered(&memory.clients, &now)
        })
    }
}

/// What the history hears of an effect.
pub(crate) fn heard<S: System>(effect: Effect<NodeOf<S>>) -> Option<Heard<NodeOf<S>>> {
    match effect {
        Effect::Observe(fact) => Some(Heard::Fact(fact)),
        Effect::Reply { to, reply } => {
            (S::History::HEARS_REPLIES || S::SESSIONS).then_some(Heard::Reply { to, reply })
        }
        Effect::Append(_)
        | Effect::Send { .. }
        | Effect::Publish(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer(_)
        | Effect::Meet { .. }
        | Effect::Part(_)
        | Effect::Lost { .. }
        | Effect::Forget(_) => None,
        Effect::WhenDurable(_) => unreachable!("the host keeps tokens to itself"),
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
        if self.cut.contains(&(packet.from, packet.to)) || !self.is_peer(packet.from, packet.to) {
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

//! A system taken apart into what repeats: places, what is under way to each, histories, budgets. A world is a row of numbers
//! that name its parts.
//!
//! Nodes are pure, so a step from the same place of the same node has the same outcomes in every world: it is
//! run once, and remembered. A world's fingerprint is the sum of its parts' hashes, each taken of the part's
//! content and never of its number, so the fingerprint of what comes next follows from what changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use coalmine_core::host::Host;
use coalmine_core::node::{Effect, NodeId, variant_name};
use coalmine_core::observation::Heard;
use foldhash::fast::FixedState;

use super::arena::Interner;
use super::costs::{Costs, KINDS_OF_COSTS, number};
use super::parts::{
    Cause, Choice, Facts, KnownPacket, Local, NO_PACKET, NOTHING, Offer, OfferKind, Origin, OriginCause,
    Outcome, Packets, Paid, Part, Past, Sent, hash_of, hash_of_memory, hash_of_packet, hash_of_slot,
};
use crate::check::Reductions;
use crate::fingerprint::fingerprint;
use crate::panics::Panic;
use crate::spec::budget::Budget;
use crate::spec::faults::Directions;
use crate::spec::limits::Network;
use crate::spec::system::{NodeOf, Operation, System};
use crate::world::clients::{Ask, MemoryOf};
use crate::world::rules::{Cost, Crashes, Kept, Way, heard, kept};
use crate::world::{Action, Packet, Rules, Slot, Spent, Step, World};

/// A system, taken apart.
pub struct Space<'r, S: System> {
    pub rules: &'r Rules<S>,
    pub reductions: Reductions,
    /// Whether it is asked of every state if it settles: then it matters that a packet is gone, even if nobody heeds it.
    settles: bool,
    /// Who never comes back, when it is asked whether the system settles.
    pub gone: Option<usize>,
    /// What can ever be paid.
    payable: Costs,
    /// By place: what may be there.
    pub places: Vec<Interner<Local<NodeOf<S>>>>,
    pub packets: Interner<KnownPacket<NodeOf<S>>>,
    /// By place: what may be under way to it.
    pub inboxes: Vec<Interner<Packets>>,
    sends: Interner<Sent>,
    /// By their numbers among those that a host has armed: timers that a step arms.
    arms: Interner<Box<[u32]>>,
    /// What clients ask; first what the system says that they do, of whom it says.
    pub asks: Interner<Ask<NodeOf<S>>>,
    pub facts: Interner<Facts<NodeOf<S>>>,
    pub histories: Interner<Past<S::History, NodeOf<S>>>,
    /// What was spent, and which links are cut.
    pub budgets: Interner<Paid>,
    /// By place: the outcomes of a packet or a request in the hands of a local state.
    handlers: Vec<Handlers>,
    outcomes: Interner<Box<[Outcome]>>,
    runs: AtomicU64,
}

/// By local state and event: the number of the list of outcomes.
type Handlers = RwLock<HashMap<(u32, Cause), u32, FixedState>>;

impl<'r, S: System> Space<'r, S> {
    pub fn new(rules: &'r Rules<S>, reductions: Reductions) -> Self {
        let places = rules.members.len();
        let space = Self {
            payable: Costs::among(|budget| rules.allows(&Spent::default(), budget)),
            gone: rules.limits.without.map(|id| rules.place(id)),
            rules,
            reductions,
            settles: false,
            places: (0..places).map(|_| Interner::default()).collect(),
            packets: Interner::default(),
            sends: Interner::default(),
            arms: Interner::default(),
            inboxes: (0..places).map(|_| Interner::default()).collect(),
            asks: Interner::default(),
            facts: Interner::default(),
            histories: Interner::default(),
            budgets: Interner::default(),
            handlers: (0..places).map(|_| RwLock::default()).collect(),
            outcomes: Interner::default(),
            runs: AtomicU64::new(0),
        };
        for inboxes in &space.inboxes {
            assert_eq!(inboxes.intern(0, |_| true, Packets::default), NOTHING);
        }
        assert_eq!(space.sends.intern(0, |_| true, Sent::default), NOTHING);
        assert_eq!(space.arms.intern(0, |_| true, Box::default), NOTHING);
        for (index, Operation { to, request, .. }) in rules.requests.iter().enumerate() {
            let ask = Ask { index, to: *to, request: request.clone(), sent_on: false };
            assert_eq!(space.asked(ask), index as u32);
        }
        let nobody = Facts { node: NodeId(0), facts: Vec::new(), is_for_clients: false };
        assert_eq!(space.facts.intern(0, |_| true, || nobody), NOTHING);
        space
    }

    /// The same, where it is asked of every state if it settles.
    pub fn settling(self, settles: bool) -> Self {
        Self { settles, ..self }
    }

    /// How often a node was run.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// A world as a row: its places, what is under way to each, then history and budgets.
    pub fn row(&self, world: &World<S>) -> Vec<u32> {
        let places = world.slots.iter().enumerate();
        let mut row: Vec<_> = places.map(|(place, slot)| self.local(place, (**slot).clone()).0).collect();
        let packets: Vec<_> = world.packets.iter().map(|packet| self.packet((**packet).clone())).collect();
        row.extend((0..self.places.len()).map(|place| self.inbox(place, self.packets_for(place, &packets))));
        row.push(self.past((*world.memory).clone()));
        row.push(self.budget(world.spent, world.cut.clone()));
        row
    }

    /// The sum of the hashes of a row's parts.
    pub fn fingerprint(&self, row: &[u32]) -> u64 {
        let places = self.places.len();
        let inboxes = self.inboxes.iter().zip(&row[places..]);
        let inboxes = inboxes.map(|(inboxes, &inbox)| inboxes.get(inbox).hash);
        let budget = self.budgets.get(row[2 * places + 1]).hash;
        inboxes.fold(self.view(row).wrapping_add(budget), u64::wrapping_add)
    }

    /// The sum of the hashes of what invariants see.
    pub fn view(&self, row: &[u32]) -> u64 {
        let places = self.places.len();
        let locals = self.places.iter().zip(row).map(|(locals, &slot)| locals.get(slot).hash);
        let past = self.histories.get(row[2 * places]).hash;
        locals.fold(past, u64::wrapping_add)
    }

    /// Which invariants are broken and which witnesses are seen, a bit each.
    pub fn judge(&self, row: &[u32]) -> u64 {
        let slots = self.places.iter().zip(row).map(|(locals, &slot)| &locals.get(slot).slot);
        self.rules.judge(slots, &self.histories.get(row[2 * self.places.len()]).memory.history)
    }

    /// Whether a step that only takes away may be left out.
    pub fn may_leave_out(&self, choice: &Choice) -> bool {
        if choice.costs.have(Budget::Drops) {
            self.reductions.losses
        } else {
            self.reductions.idle && (choice.takes == NO_PACKET || !self.settles)
        }
    }

    /// Whether a node is up.
    pub fn is_up(&self, place: usize, slot: u32) -> bool {
        self.places[place].get(slot).slot.host.is_some()
    }

    /// All that may happen at a place, where these packets are under way to it, in the order of
    /// [`Rules::successors`]. Requests of clients are not among it.
    pub fn menu(&self, place: usize, slot: u32, inbox: u32, menu: &mut Vec<Choice>) {
        menu.clear();
        let limits = &self.rules.limits;
        let local = self.places[place].get(slot);
        let mut push = |outcomes: &[Outcome], takes: u32, costs: Costs| {
            let choices = outcomes.iter().map(|outcome| Choice::of(outcome, local.hash, takes, costs));
            let may_skip = |choice: &Choice| {
                let is_free = choice.takes == NO_PACKET && choice.costs == Costs::NONE;
                choice.is_nothing(slot) && (is_free || self.may_leave_out(choice))
            };
            menu.extend(choices.filter(|choice| !may_skip(choice)));
        };
        let nothing =
            Outcome { slot, hash: local.hash, sends: NOTHING, facts: NOTHING, arms: NOTHING, crash: None };
        for &packet in &self.inboxes[place].get(inbox).packets {
            // What is sent to a member that has not booted yet waits.
            if local.slot.lives > 0 {
                let outcomes = self.outcomes(self.outcomes_of_cause(place, slot, Cause::Packet(packet)));
                let stays = self.is_persistent();
                push(outcomes, if stays { NO_PACKET } else { packet }, Costs::NONE);
                if !stays && local.slot.host.is_some() && limits.duplicates > 0 {
                    push(outcomes, NO_PACKET, Costs::of(Budget::Duplicates));
                }
            }
            if limits.drops > 0 && !self.reductions.losses {
                push(&[nothing], packet, Costs::of(Budget::Drops));
            }
        }
        for offer in self.offers(local) {
            let costs = match offer.kind {
                OfferKind::Fire { is_periodic: true, .. } => Costs::of(Budget::Periodic),
                OfferKind::Fire { .. } if limits.timeouts.is_some() => Costs::of(Budget::Timeouts),
                OfferKind::Fire { .. } | OfferKind::Free | OfferKind::Crash => Costs::NONE,
            };
            if !costs.are_in(self.payable) {
                continue;
            }
            push(self.outcomes_of_offer(place, slot, offer), NO_PACKET, costs);
        }
    }

    /// How the request of this number may be sent now: to which place, and as what; whether that is free.
    pub fn ask(&self, spent: &Spent, past: u32, index: usize) -> Option<(usize, u32, bool)> {
        let clients = &self.histories.get(past).memory.clients;
        if !S::FOLLOWS_UP && clients.is_plain(index) {
            let place = || self.rules.place(self.rules.requests[index].to);
            return self.rules.may_ask(spent, index).then(|| (place(), index as u32, false));
        }
        let ask = self.rules.ask(spent, clients, index)?;
        Some((self.rules.place(ask.to), self.asked(ask.clone()), ask.sent_on))
    }

    /// What the clients that wait ask again, and at which place.
    pub fn waiting(&self, past: u32) -> Vec<(usize, u32)> {
        let waiting = self.rules.waiting(&self.histories.get(past).memory.clients);
        waiting.into_iter().map(|ask| (self.rules.place(ask.to), self.asked(ask))).collect()
    }

    /// Whether a client waits.
    pub fn waits(&self, past: u32) -> bool {
        !self.rules.waiting(&self.histories.get(past).memory.clients).is_empty()
    }

    /// The number of what a client asks.
    pub fn asked(&self, ask: Ask<NodeOf<S>>) -> u32 {
        self.asks.intern(fingerprint(&ask), |known| *known == ask, || ask.clone())
    }

    /// All that may come of what is asked at a place.
    pub fn answers(&self, place: usize, slot: u32, ask: u32, menu: &mut Vec<Choice>) {
        let before = self.places[place].get(slot).hash;
        let outcomes = self.outcomes(self.outcomes_of_cause(place, slot, Cause::Request(ask)));
        menu.clear();
        menu.extend(outcomes.iter().map(|outcome| Choice::of(outcome, before, NO_PACKET, Costs::NONE)));
    }

    /// What may happen at a place by itself, in order.
    pub fn offers<'a>(&self, local: &'a Local<NodeOf<S>>) -> &'a [Offer] {
        local.offers.get_or_init(|| {
            let offer = |kind| Offer { number: 0, kind, outcomes: OnceLock::new() };
            if local.slot.panic.is_some() {
                return Box::default();
            }
            let Some(host) = &local.slot.host else { return [offer(OfferKind::Free)].into() };
            let timers = host.timers().iter().enumerate().map(|(number, timer)| {
                let is_periodic = self.rules.system.is_periodic(timer);
                offer(OfferKind::Fire { number, is_periodic })
            });
            let flush = (local.slot.disk.unsynced() > 0).then(|| offer(OfferKind::Free));
            let offers = timers.chain(flush).chain([offer(OfferKind::Crash)]);
            (0..).zip(offers).map(|(number, offer)| Offer { number, ..offer }).collect()
        })
    }

    /// What comes of an offer of a local state.
    pub fn outcomes_of_offer(&self, place: usize, before: u32, offer: &Offer) -> &[Outcome] {
        let local = self.places[place].get(before);
        let cause = OriginCause::Offer(offer.number);
        let id = *offer.outcomes.get_or_init(|| {
            let host = local.slot.host.as_ref();
            let step = match (offer.kind, host) {
                (OfferKind::Crash, _) => {
                    return self.keep(place, before, cause, self.crashes_at_rest(place, &local.slot));
                }
                (OfferKind::Free, None) => Step::Boot,
                (OfferKind::Free, Some(_)) => Step::Flush,
                (OfferKind::Fire { number, .. }, host) => {
                    let timer = host.and_then(|host| host.timers().get(number));
                    Step::Fire(timer.expect("timers fire at nodes that are up").clone())
                }
            };
            self.keep(place, before, cause, self.run(place, &local.slot, &step))
        });
        self.outcomes.get(id)
    }

    /// The number of the list of what comes of a packet or a request. Nobody may be there to take it.
    pub fn outcomes_of_cause(&self, place: usize, slot: u32, cause: Cause) -> u32 {
        let handlers = &self.handlers[place];
        let key = (slot, cause);
        if let Some(&id) = handlers.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return id;
        }
        let local = self.places[place].get(slot);
        let step = match cause {
            Cause::Packet(packet) => {
                Step::Deliver { packet: self.packets.get(packet).packet.clone(), again: false }
            }
            Cause::Request(ask) => Step::Ask(self.asks.get(ask).clone()),
        };
        let mut outcomes = self.run(place, &local.slot, &step);
        if local.slot.host.is_none() {
            let same = Outcome {
                slot,
                hash: local.hash,
                sends: NOTHING,
                facts: NOTHING,
                arms: NOTHING,
                crash: None,
            };
            outcomes.push(same);
        }
        let origin = match cause {
            Cause::Packet(packet) => OriginCause::Packet(packet),
            Cause::Request(ask) => OriginCause::Request(ask),
        };
        let id = self.keep(place, slot, origin, outcomes);
        handlers.write().unwrap_or_else(PoisonError::into_inner).insert(key, id);
        id
    }

    /// A list of outcomes by its number.
    pub fn outcomes(&self, id: u32) -> &[Outcome] {
        self.outcomes.get(id)
    }

    /// What a packet adds to the fingerprint.
    pub fn hash_of_packet(&self, packet: u32) -> u64 {
        self.packets.get(packet).hash
    }

    /// The place that has sent a packet.
    pub fn sender_of(&self, packet: u32) -> usize {
        self.packets.get(packet).from
    }

    /// What is under way in an inbox.
    pub fn packets_in(&self, place: usize, inbox: u32) -> impl Iterator<Item = &Packet<NodeOf<S>>> {
        self.inboxes[place].get(inbox).packets.iter().map(|&packet| &self.packets.get(packet).packet)
    }

    /// What a step sends, by place.
    pub fn sent(&self, sends: u32) -> &[(usize, u32)] {
        self.sends.get(sends)
    }

    /// Which timers a step arms, by their numbers among those that its host has armed then.
    pub fn armed(&self, arms: u32) -> &[u32] {
        self.arms.get(arms)
    }

    /// An inbox without one of its packets.
    pub fn without(&self, place: usize, inbox: u32, packet: u32) -> u32 {
        let packets = self.inboxes[place].get(inbox).packets.iter();
        self.inbox(place, packets.copied().filter(|&there| there != packet).collect())
    }

    /// An inbox with the packets of another.
    pub fn with(&self, place: usize, inbox: u32, more: u32) -> u32 {
        let inboxes = &self.inboxes[place];
        let packets = inboxes.get(inbox).packets.iter().chain(&inboxes.get(more).packets);
        self.inbox(place, packets.copied().collect())
    }

    /// An inbox without what is under way on links that are cut.
    pub fn inbox_under(&self, place: usize, inbox: u32, budget: u32) -> u32 {
        let cut = &self.budgets.get(budget).cut;
        let passes = |packet: &u32| {
            let packet = &self.packets.get(*packet).packet;
            !cut.contains(&(packet.from, packet.to))
        };
        let packets = self.inboxes[place].get(inbox).packets.iter();
        self.inbox(place, packets.copied().filter(passes).collect())
    }

    /// What is sent without what is sent on links that are cut.
    pub fn sends_under(&self, sends: u32, budget: u32) -> u32 {
        let sent = self.sends.get(sends).iter();
        self.send(sent.map(|&(place, inbox)| (place, self.inbox_under(place, inbox, budget))).collect())
    }

    /// A history that has seen more, unless that makes it panic.
    pub fn observe(&self, past: u32, observed: u32) -> Result<u32, Panic> {
        let Facts { node, facts, .. } = self.facts.get(observed);
        let after = self.past(self.rules.hear_all(&self.histories.get(past).memory, *node, facts)?);
        if past < after {
            let _ = self.histories.get(after).origin.set((past, observed)); // the first is as good as any
        }
        Ok(after)
    }

    /// The same place, where what was observed there made the history panic; and its hash.
    pub fn panicked(&self, place: usize, slot: u32, panic: Panic) -> (u32, u64) {
        let mut slot = self.places[place].get(slot).slot.clone();
        slot.panicked(panic);
        self.local(place, slot)
    }

    /// The budgets once all this is paid.
    pub fn pay_all(&self, budget: u32, costs: Costs) -> u32 {
        costs.iter().fold(budget, |budget, one| self.pay(budget, Cost::One(one)))
    }

    /// The budgets once this is paid.
    pub fn pay(&self, budget: u32, cost: Cost) -> u32 {
        let of = self.budgets.get(budget);
        let number = number(cost);
        *of.after[number].get_or_init(|| {
            let mut spent = of.spent;
            self.rules.pay(&mut spent, cost);
            self.budget(spent, of.cut.clone())
        })
    }

    /// What healing and cutting links comes to, in order.
    pub fn links<'a>(&self, of: &'a Paid) -> &'a [u32] {
        of.links.get_or_init(|| {
            let mut links = Vec::new();
            for direction in &of.cut {
                let mut cut = of.cut.clone();
                cut.remove(direction);
                links.push(self.budget(of.spent, cut));
            }
            if of.spent[Budget::Cuts] < self.rules.limits.cuts {
                self.rules.cuts(&of.cut, |action| {
                    let Action::Cut { from, to, both_ways } = action else {
                        unreachable!("cuts are cuts");
                    };
                    let (mut spent, mut cut) = (of.spent, of.cut.clone());
                    cut.insert((from, to));
                    if both_ways {
                        cut.insert((to, from));
                    }
                    self.rules.pay(&mut spent, Cost::One(Budget::Cuts));
                    links.push(self.budget(spent, cut));
                });
            }
            links.into()
        })
    }

    /// Whether a packet stays under way when it is delivered.
    pub fn is_persistent(&self) -> bool {
        self.rules.limits.network == Network::Persistent
    }

    fn run(&self, place: usize, slot: &Slot<NodeOf<S>>, step: &Step<NodeOf<S>>) -> Vec<Outcome> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        self.rules.ways(slot, place, step, self.possible_crashes(), |way| {
            outcomes.push(self.outcome(place, way));
        });
        outcomes
    }

    /// The crashes that some budget allows.
    fn possible_crashes(&self) -> Crashes {
        self.rules.crashes(&Spent::default())
    }

    fn crashes_at_rest(&self, place: usize, slot: &Slot<NodeOf<S>>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        kept(self.possible_crashes(), slot.disk.unsynced(), |kept| {
            let mut slot = slot.clone();
            slot.crash(kept);
            let (slot, hash) = self.local(place, slot);
            outcomes.push(Outcome {
                slot,
                hash,
                sends: NOTHING,
                facts: NOTHING,
                arms: NOTHING,
                crash: Some(kept.cost()),
            });
        });
        outcomes
    }

    /// The same place, but down.
    pub fn crashed(&self, place: usize, before: u32) -> u32 {
        let mut slot = self.places[place].get(before).slot.clone();
        slot.crash(Kept::Unsynced(0));
        let slot = self.local(place, slot).0;
        self.remember(place, slot, Origin { before, cause: OriginCause::Gone, outcome: 0 });
        slot
    }

    fn outcome(&self, place: usize, way: Way<NodeOf<S>>) -> Outcome {
        let node = self.rules.members[place].0;
        let (mut sends, mut facts) = (Vec::new(), Vec::from_iter(way.called));
        let armed = way.slot.host.as_ref().map_or(&[][..], Host::timers);
        let mut arms = Vec::new();
        for effect in way.effects {
            if let Effect::Send { to, message } = effect {
                if to != node && self.rules.is_member(to) {
                    sends.push(self.packet(Packet { from: node, to, message })); // else it is lost
                }
                continue;
            }
            if let Effect::SetTimer { timer, .. } = &effect
                && let Ok(number) = armed.binary_search(timer)
            {
                arms.push(number as u32);
            }
            facts.extend(heard::<S>(effect));
        }
        arms.sort_unstable();
        arms.dedup();
        let arms = match arms.is_empty() {
            true => NOTHING,
            false => self.arms.intern(fingerprint(&arms), |known| **known == *arms, || arms.clone().into()),
        };
        let to = |place| (place, self.inbox(place, self.packets_for(place, &sends)));
        let sends = self.send((0..self.places.len()).map(to).collect());
        let (slot, hash) = self.local(place, way.slot);
        let crash = way.crash.map(|point| point.kept.cost());
        Outcome { slot, hash, sends, facts: self.told(node, facts), arms, crash }
    }

    fn keep(&self, place: usize, before: u32, cause: OriginCause, outcomes: Vec<Outcome>) -> u32 {
        for (outcome, after) in (0..).zip(&outcomes) {
            self.remember(place, after.slot, Origin { before, cause, outcome });
        }
        let key = |outcome: &Outcome| (outcome.hash, outcome.sends, outcome.facts, outcome.crash.is_some());
        let hash = fingerprint(&outcomes.iter().map(key).collect::<Vec<_>>());
        self.outcomes.intern(hash, |known| **known == *outcomes, || outcomes.clone().into())
    }

    /// Remembers where a local state comes from, if it comes from one that was there before it.
    fn remember(&self, place: usize, slot: u32, origin: Origin) {
        if origin.before < slot {
            let _ = self.places[place].get(slot).origin.set(origin); // the first is as good as any
        }
    }

    /// The local state that comes from there; `new` tells the numbers of packets, `ask` those of what is asked.
    pub fn again(
        &self,
        place: usize,
        origin: Origin,
        new: impl Fn(u32) -> Result<u32, String>,
        ask: impl Fn(u32) -> Result<u32, String>,
    ) -> Result<Option<u32>, String> {
        let Origin { before, cause, outcome } = origin;
        let outcomes = match cause {
            OriginCause::Gone => return Ok(Some(self.crashed(place, before))),
            OriginCause::Packet(packet) => self.outcomes_of_cause(place, before, Cause::Packet(new(packet)?)),
            OriginCause::Request(asked) => self.outcomes_of_cause(place, before, Cause::Request(ask(asked)?)),
            OriginCause::Offer(number) => {
                let offers = self.offers(self.places[place].get(before));
                let Some(offer) = offers.get(number as usize) else { return Ok(None) };
                let outcomes = self.outcomes_of_offer(place, before, offer);
                return Ok(outcomes.get(outcome as usize).map(|outcome| outcome.slot));
            }
        };
        Ok(self.outcomes(outcomes).get(outcome as usize).map(|outcome| outcome.slot))
    }

    fn local(&self, place: usize, slot: Slot<NodeOf<S>>) -> (u32, u64) {
        let hash = hash_of_slot(place, &slot);
        let make = || Local { hash, slot: slot.clone(), origin: OnceLock::new(), offers: OnceLock::new() };
        (self.places[place].intern(hash, |known| known.slot == slot, make), hash)
    }

    /// The number of a packet.
    pub fn packet(&self, packet: Packet<NodeOf<S>>) -> u32 {
        let hash = hash_of_packet(&packet);
        let (place, from) = (self.rules.place(packet.to), self.rules.place(packet.from));
        let make = || {
            let kind = variant_name(&packet.message);
            KnownPacket { hash, place, from, kind, packet: packet.clone() }
        };
        self.packets.intern(hash, |known| known.packet == packet, make)
    }

    /// Packets as an inbox.
    pub fn inbox(&self, place: usize, mut packets: Vec<u32>) -> u32 {
        let known = |id: u32| self.packets.get(id);
        packets.sort_unstable_by(|&a, &b| {
            let (a, b) = (known(a), known(b));
            a.hash.cmp(&b.hash).then_with(|| a.packet.cmp(&b.packet))
        });
        packets.dedup();
        let hash = packets.iter().fold(0_u64, |sum, &id| sum.wrapping_add(known(id).hash));
        let make = || {
            let mut in_order: Box<[u32]> = packets.clone().into();
            in_order.sort_unstable_by(|&a, &b| known(a).packet.cmp(&known(b).packet));
            Packets { hash, packets: packets.clone().into(), in_order }
        };
        self.inboxes[place].intern(hash, |known| *known.packets == *packets, make)
    }

    fn packets_for(&self, place: usize, packets: &[u32]) -> Vec<u32> {
        let here = |packet: &u32| self.packets.get(*packet).place == place;
        packets.iter().copied().filter(here).collect()
    }

    /// What is sent as a number.
    fn send(&self, mut sent: Vec<(usize, u32)>) -> u32 {
        sent.retain(|(_, inbox)| *inbox != NOTHING);
        if sent.is_empty() {
            return NOTHING;
        }
        let hashes: Vec<_> =
            sent.iter().map(|&(place, inbox)| (place, self.inboxes[place].get(inbox).hash)).collect();
        self.sends.intern(fingerprint(&hashes), |known| **known == *sent, || sent.clone().into())
    }

    /// The number of what the history hears of a node.
    pub fn told(&self, node: NodeId, facts: Vec<Heard<NodeOf<S>>>) -> u32 {
        if facts.is_empty() {
            return NOTHING;
        }
        let hash = fingerprint(&(node, &facts));
        let is = |known: &Facts<_>| known.node == node && known.facts == facts;
        let is_for_clients = S::SESSIONS && facts.iter().any(|heard| !matches!(heard, Heard::Fact(_)));
        self.facts.intern(hash, is, || Facts { node, facts: facts.clone(), is_for_clients })
    }

    fn past(&self, memory: MemoryOf<S>) -> u32 {
        let hash = hash_of_memory(&memory);
        let make = || Past { hash, memory: memory.clone(), origin: OnceLock::new() };
        self.histories.intern(hash, |known| known.memory == memory, make)
    }

    /// The number of what was spent and cut.
    pub fn budget(&self, spent: Spent, cut: Directions) -> u32 {
        let hash = hash_of(Part::Budget, &(spent, &cut));
        let make = || Paid {
            hash,
            spent,
            affordable: Costs::among(|budget| self.rules.allows(&spent, budget)),
            cut: cut.clone(),
            after: (0..KINDS_OF_COSTS + self.rules.requests.len()).map(|_| OnceLock::new()).collect(),
            links: OnceLock::new(),
        };
        self.budgets.intern(hash, |known| known.spent == spent && known.cut == cut, make)
    }
}

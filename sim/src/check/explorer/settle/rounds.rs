//! A round: who is down restarts, and disks sync; every client that waits asks again, if it is time; then what is under way
//! arrives, by receiver, sender and message. If nothing is under way then, time passes until the first of the armed
//! timers is [due](super::clock), and that fires. After each of these steps the disk of who took it syncs, and
//! no node crashes. Links are whole.
//!
//! A node that panics in a round does nothing any more; whoever asked for the round looks for it at its end.
//!
//! What a round does follows from the moment, and from what nodes choose meanwhile: that is a [`Script`].

use super::Settling;
use super::clock::{Moment, Next, TRIPS};
use crate::check::Unsettled;
use crate::check::explorer::parts::{Cause, NO_PACKET, NOTHING, OfferKind, Outcome};
use crate::check::explorer::space::Space;
use crate::panics::Panic;
use crate::spec::system::{NodeOf, System};
use crate::world::Step;

/// A step of a round.
pub(super) struct Stepped<'a, S: System> {
    /// What has come of it.
    pub row: &'a [u32],
    /// Whose it was.
    pub place: usize,
    /// How much time has passed before it, in nanoseconds.
    pub after: u64,
    /// Which it was.
    pub step: &'a dyn Fn() -> Step<NodeOf<S>>,
}

/// What a round tells each step.
pub(super) trait Watch<S: System>: FnMut(Stepped<'_, S>) {}

impl<S: System, W: FnMut(Stepped<'_, S>)> Watch<S> for W {}

/// What nodes choose in a round, one after the other: one of so many ways each. The first script takes the first
/// way everywhere.
#[derive(Default)]
pub struct Script {
    chosen: Vec<usize>,
    ways: Vec<usize>,
}

impl Script {
    /// The next choice of one of these ways.
    fn choose(&mut self, ways: usize) -> usize {
        let number = self.ways.len();
        self.ways.push(ways);
        if number == self.chosen.len() {
            self.chosen.push(0);
        }
        self.chosen[number]
    }

    /// Whether nobody has chosen anything.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Turns to the next script, if there is one: raises the last choice that can be raised, forgets what followed.
    pub fn next(&mut self) -> bool {
        while let (Some(&chosen), Some(ways)) = (self.chosen.last(), self.ways.pop()) {
            if chosen + 1 < ways {
                *self.chosen.last_mut().expect("it is there") += 1;
                self.ways.clear();
                return true;
            }
            self.chosen.pop();
        }
        false
    }
}

impl<S: System> Settling<'_, '_, S> {
    /// A round; `each` is told of each step.
    pub(super) fn round(&mut self, at: &mut Moment, script: &mut Script, each: &mut impl Watch<S>) {
        let space = self.space;
        let places = space.places.len();
        for place in 0..places {
            self.idle(at, place, script, each);
        }
        let under_way = at.row[places..2 * places].to_vec();
        if at.clock.is_to_ask() {
            self.clients_ask(at, script, each);
        }
        for (place, inbox) in under_way.into_iter().enumerate() {
            for &packet in &space.inboxes[place].get(inbox).in_order {
                let outcomes = space.outcomes_of_cause(place, at.row[place], Cause::Packet(packet));
                let takes = if space.is_persistent() { NO_PACKET } else { packet };
                self.take(at, place, space.outcomes(outcomes), takes, script);
                let known = &space.packets.get(packet).packet;
                let step = &|| Step::Deliver { packet: known.clone(), again: false };
                each(Stepped { row: &at.row, place, after: 0, step });
                self.idle(at, place, script, each);
            }
        }
        if space.is_quiet(&at.row) || space.is_persistent() || at.clock.trips == TRIPS {
            self.time_passes(at, script, each);
        } else {
            at.clock.trips += 1;
        }
    }

    fn clients_ask(&mut self, at: &mut Moment, script: &mut Script, each: &mut impl Watch<S>) {
        let space = self.space;
        let waiting = space.waiting(at.row[2 * space.places.len()]);
        if waiting.is_empty() {
            return;
        }
        at.clock.asked();
        for (place, ask) in waiting {
            if space.is_up(place, at.row[place]) {
                let outcomes = space.outcomes_of_cause(place, at.row[place], Cause::Request(ask));
                self.take(at, place, space.outcomes(outcomes), NO_PACKET, script);
                let step = &|| Step::Ask(space.asks.get(ask).clone());
                each(Stepped { row: &at.row, place, after: 0, step });
                self.idle(at, place, script, each);
            }
        }
    }

    /// Until something is due; if that is a timer it fires.
    fn time_passes(&mut self, at: &mut Moment, script: &mut Script, each: &mut impl Watch<S>) {
        let space = self.space;
        let waits = space.waits(at.row[2 * space.places.len()]);
        let Some((Next::Timer(place, number), after)) = at.clock.pass(waits) else { return };
        let local = space.places[place].get(at.row[place]);
        let fires = |kind| matches!(kind, OfferKind::Fire { number: it, .. } if it == number);
        let offer = space.offers(local).iter().find(|offer| fires(offer.kind));
        let outcomes = space.outcomes_of_offer(place, at.row[place], offer.expect("what is armed may fire"));
        self.take(at, place, outcomes, NO_PACKET, script);
        let timers = local.slot.host.as_ref().map_or(&[][..], |host| host.timers());
        each(Stepped { row: &at.row, place, after, step: &|| Step::Fire(timers[number].clone()) });
        self.idle(at, place, script, each);
    }

    /// Lets happen what happens by itself at a place: a node that is down starts, a disk syncs what it held then. (What
    /// a node writes because something is durable is synced later: it might go on for ever.)
    fn idle(&mut self, at: &mut Moment, place: usize, script: &mut Script, each: &mut impl Watch<S>) {
        let space = self.space;
        let mut syncs = None;
        while space.gone != Some(place) {
            let local = space.places[place].get(at.row[place]);
            let mut offers = space.offers(local).iter();
            let Some(free) = offers.find(|offer| offer.kind == OfferKind::Free) else { return };
            if local.slot.host.is_some() {
                let left = syncs.get_or_insert(local.slot.disk.unsynced());
                let Some(less) = left.checked_sub(1) else { return };
                *left = less;
            }
            let outcomes = space.outcomes_of_offer(place, at.row[place], free);
            self.take(at, place, outcomes, NO_PACKET, script);
            let is_up = local.slot.host.is_some();
            let step = &|| if is_up { Step::Flush } else { Step::Boot };
            each(Stepped { row: &at.row, place, after: 0, step });
        }
    }

    /// Takes the outcome in which nothing crashes; where there are several, that which the script says.
    fn take(&mut self, at: &mut Moment, place: usize, outcomes: &[Outcome], takes: u32, script: &mut Script) {
        let space = self.space;
        let places = space.places.len();
        let mut whole = outcomes.iter().filter(|outcome| outcome.crash.is_none());
        let ways = whole.clone().count();
        let chosen = if ways > 1 { script.choose(ways) } else { 0 };
        let Some(outcome) = whole.nth(chosen) else { return };
        let Moment { row, clock } = at;
        let before = row[place];
        row[place] = outcome.slot;
        row[places + place] = self.caches.without(space, place, row[places + place], takes);
        for &(to, more) in space.sent(outcome.sends) {
            row[places + to] = self.caches.with(space, to, row[places + to], more).0;
        }
        let mut arms = outcome.arms;
        if outcome.facts != NOTHING {
            match self.caches.observe(space, row[2 * places], outcome.facts) {
                Ok(past) => row[2 * places] = past,
                Err(panic) => (row[place], arms) = (space.panicked(place, outcome.slot, panic).0, NOTHING),
            }
        }
        if row[place] != before || arms != NOTHING {
            let [before, after] = [before, row[place]].map(|slot| &space.places[place].get(slot).slot);
            clock.stepped(place, before, after, space.armed(arms));
        }
    }
}

impl<S: System> Space<'_, S> {
    /// Whether the system has come to rest, as far as this moment shows.
    pub(super) fn converged(&self, row: &[u32]) -> Result<(), Unsettled> {
        let slots = self.places.iter().zip(row).map(|(locals, &slot)| &locals.get(slot).slot);
        let converged = self.rules.converged(slots, &self.histories.get(row[2 * self.places.len()]).memory);
        let unsettled = |why| Unsettled::Never { why, rounds: Vec::new() };
        converged.map_err(Unsettled::Panicked)?.map_err(unsettled)
    }

    /// Whether nothing is under way.
    pub(super) fn is_quiet(&self, row: &[u32]) -> bool {
        row[self.places.len()..2 * self.places.len()].iter().all(|&inbox| inbox == NOTHING)
    }

    /// What a node has panicked with in this state, if one has.
    pub(super) fn panic_in(&self, row: &[u32]) -> Option<&Panic> {
        (0..self.places.len()).find_map(|place| self.places[place].get(row[place]).slot.panic.as_deref())
    }

    /// What differs between two states, in words.
    pub(super) fn what_differs(&self, before: &[u32], after: &[u32]) -> String {
        let places = self.places.len();
        let mut what = Vec::new();
        for (place, (id, _)) in self.rules.members.iter().enumerate() {
            let slot = |row: &[u32]| &self.places[place].get(row[place]).slot;
            let (before_it, after_it) = (slot(before), slot(after));
            if before_it.disk.written().len() < after_it.disk.written().len() {
                what.push(format!("the journal of {id}"));
            } else if before_it != after_it {
                what.push(format!("the state of {id}"));
            }
            if before[places + place] != after[places + place] {
                what.push(format!("what is under way to {id}"));
            }
        }
        if before[2 * places] != after[2 * places] {
            what.push("the history of facts".into());
        }
        if what.is_empty() { String::new() } else { format!("; still changing: {}", what.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::Script;

    /// Every script once, in order, whatever the number of choices that follow from the first.
    #[test]
    fn scripts_try_every_way() {
        let mut script = Script::default();
        let mut tried = Vec::new();
        loop {
            let first = script.choose(3);
            let second = (first != 1).then(|| script.choose(2));
            tried.push((first, second));
            if !script.next() {
                break;
            }
        }
        let all = [(0, Some(0)), (0, Some(1)), (1, None), (2, Some(0)), (2, Some(1))];
        assert_eq!(tried, all);
        assert!(!Script::default().next() && Script::default().is_empty());
    }
}

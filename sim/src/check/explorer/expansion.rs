//! What follows a state: its row is taken apart, and of each place the menu is looked up.

use coalmine_core::observation::History;

use super::arena::{Cache, Menus};
use super::parts::{Choice, NO_PACKET, NO_PAST, NOTHING};
use super::sleep::{self, Asleep};
use super::space::Space;
use crate::panics::Panic;
use crate::spec::system::System;
use crate::world::rules::Cost;

/// No place.
const NOWHERE: u16 = u16::MAX;

/// How a state differs from the one before it.
#[derive(Clone, Copy)]
pub struct Successor {
    /// Which row it follows, of those that are expanded together.
    pub row: u16,
    /// The place that took a step.
    place: u16,
    slot: u32,
    /// The packet that was taken from the network.
    takes: u32,
    sends: u32,
    past: u32,
    pub budget: u32,
}

/// What was worked out before.
pub struct Caches {
    /// Inboxes without one of their packets.
    without: Cache<[u32; 3], u32>,
    /// Inboxes with further packets, and what those add to the fingerprint.
    with: Cache<[u32; 3], (u32, u64)>,
    /// Packets without those on links that are cut.
    uncut: Cache<[u32; 3], u32>,
    /// Histories with further facts.
    pasts: Cache<[u32; 2], u32>,
}

impl Successor {
    /// The place that took a step, if one did.
    pub fn place(&self) -> Option<usize> {
        (self.place != NOWHERE).then_some(usize::from(self.place))
    }

    /// Turns the row before into this one's.
    pub fn apply<S: System>(&self, space: &Space<'_, S>, caches: &mut Caches, row: &mut [u32]) {
        let places = space.places.len();
        if self.place == NOWHERE {
            for (place, inbox) in row[places..2 * places].iter_mut().enumerate() {
                *inbox = caches.inbox_under(space, place, *inbox, self.budget);
            }
        } else {
            let place = usize::from(self.place);
            row[place] = self.slot;
            row[places + place] = caches.without(space, place, row[places + place], self.takes);
        }
        for &(to, more) in space.sent(self.sends) {
            row[places + to] = caches.with(space, to, row[places + to], more).0;
        }
        (row[2 * places], row[2 * places + 1]) = (self.past, self.budget);
    }
}

impl Caches {
    pub fn new() -> Self {
        Self { without: Cache::new(14), with: Cache::new(14), uncut: Cache::new(12), pasts: Cache::new(14) }
    }

    /// An inbox without one of its packets.
    pub fn without<S: System>(&mut self, space: &Space<'_, S>, place: usize, inbox: u32, packet: u32) -> u32 {
        if packet == NO_PACKET {
            return inbox;
        }
        self.without.get([inbox, packet, 0], || space.without(place, inbox, packet))
    }

    /// An inbox with further packets, and what these add to the fingerprint.
    pub fn with<S: System>(
        &mut self,
        space: &Space<'_, S>,
        place: usize,
        inbox: u32,
        more: u32,
    ) -> (u32, u64) {
        self.with.get([inbox, more, place as u32], || {
            let with = space.with(place, inbox, more);
            let hash = |inbox| space.inboxes[place].get(inbox).hash;
            (with, hash(with).wrapping_sub(hash(inbox)))
        })
    }

    /// A history with further facts, unless that makes it panic.
    pub fn observe<S: System>(&mut self, space: &Space<'_, S>, past: u32, facts: u32) -> Result<u32, Panic> {
        let after = self.pasts.get([past, facts], || space.observe(past, facts).unwrap_or(NO_PAST));
        if after == NO_PAST { space.observe(past, facts) } else { Ok(after) }
    }

    fn inbox_under<S: System>(&mut self, space: &Space<'_, S>, place: usize, inbox: u32, budget: u32) -> u32 {
        self.uncut.get([inbox, budget, place as u32], || space.inbox_under(place, inbox, budget))
    }

    fn sends_under<S: System>(&mut self, space: &Space<'_, S>, sends: u32, budget: u32) -> u32 {
        if sends == NOTHING || space.budgets.get(budget).cut.is_empty() {
            return sends;
        }
        self.uncut.get([sends, budget, u32::MAX], || space.sends_under(sends, budget))
    }
}

/// One row being expanded.
pub struct Expansion<'a, 's, S: System, F> {
    pub space: &'s Space<'s, S>,
    pub caches: &'a mut Caches,
    pub row: &'a [u32],
    pub fingerprint: u64,
    /// Whose steps need not be taken.
    pub asleep: Asleep,
    /// Is told of each state that follows, with its fingerprint, and who is asleep there.
    pub found: F,
}

impl<S: System, F: FnMut(u64, Successor, Asleep)> Expansion<'_, '_, S, F> {
    /// All that may happen next.
    pub fn all(&mut self, menus: &mut Menus) {
        let space = self.space;
        let places = space.places.len();
        let budget = self.row[2 * places + 1];
        let now = space.budgets.get(budget);
        let (slots, inboxes) = self.row[..2 * places].split_at(places);
        for (place, (&slot, &inbox)) in slots.iter().zip(inboxes).enumerate() {
            if sleep::is_asleep(self.asleep, place) {
                continue;
            }
            let menu = menus.get([slot, inbox, place as u32], |menu| space.menu(place, slot, inbox, menu));
            for choice in menu {
                if choice.costs.are_in(now.affordable) {
                    self.step(place, choice, space.pay_all(budget, choice.costs), true, false);
                }
            }
        }
        for index in 0..space.rules.requests.len() {
            let Some((place, ask, is_free)) = space.ask(&now.spent, self.row[2 * places], index) else {
                continue;
            };
            let slot = slots[place];
            if !sleep::is_asleep(self.asleep, place) && space.is_up(place, slot) {
                let key = [slot, ask, u32::MAX - place as u32];
                let is_repeated = now.spent.asked & (1 << index) != 0;
                let opens = !is_repeated && space.rules.is_followed(index);
                for choice in menus.get(key, |menu| space.answers(place, slot, ask, menu)) {
                    if space.reductions.idle && is_repeated && choice.is_nothing(slot) {
                        continue;
                    }
                    if choice.costs.are_in(now.affordable) {
                        let asked = if is_free { budget } else { space.pay(budget, Cost::Ask(index)) };
                        self.step(place, choice, space.pay_all(asked, choice.costs), false, opens);
                    }
                }
            }
        }
        if !space.reductions.losses {
            for &after in space.links(now) {
                self.link(after);
            }
        }
    }

    /// All first boots that may happen, and nothing else.
    pub fn boots(&mut self, menus: &mut Menus) {
        let space = self.space;
        let places = space.places.len();
        let budget = self.row[2 * places + 1];
        let now = space.budgets.get(budget);
        for (place, &slot) in self.row[..places].iter().enumerate() {
            if space.places[place].get(slot).slot.lives > 0 {
                continue;
            }
            let key = [slot, NOTHING, place as u32];
            for choice in menus.get(key, |menu| space.menu(place, slot, NOTHING, menu)) {
                if choice.costs.are_in(now.affordable) {
                    self.step(place, choice, space.pay_all(budget, choice.costs), false, false);
                }
            }
        }
    }

    /// What comes of one thing that happens at a place. It may come before or after what happens elsewhere, unless it
    /// makes that possible; and it may come to nothing, but if it `opens` the way for a client's next request.
    fn step(&mut self, place: usize, choice: &Choice, budget: u32, may_wait: bool, opens: bool) {
        let space = self.space;
        let places = space.places.len();
        let mut hash = choice.hash;
        if choice.takes != NO_PACKET {
            hash = hash.wrapping_sub(space.hash_of_packet(choice.takes));
        }
        let sends = self.caches.sends_under(space, choice.sends, self.row[2 * places + 1]);
        let mut only_takes_away = choice.slot == self.row[place] && choice.facts == NOTHING;
        for &(to, more) in space.sent(sends) {
            let mut inbox = self.row[places + to];
            if to == place {
                inbox = self.caches.without(space, place, inbox, choice.takes);
            }
            let (with, added) = self.caches.with(space, to, inbox, more);
            only_takes_away &= with == inbox;
            hash = hash.wrapping_add(added);
        }
        if only_takes_away && !opens && space.may_leave_out(choice) {
            return;
        }
        // What a client hears may let it go on elsewhere.
        let goes_on = S::SESSIONS && space.facts.get(choice.facts).is_for_clients;
        let may_wait = may_wait && !goes_on && (choice.facts == NOTHING || !S::History::IS_ORDERED);
        let asleep = if may_wait && space.reductions.sleep {
            let from = (choice.takes != NO_PACKET).then(|| space.sender_of(choice.takes));
            sleep::after(place, from, space.sent(sends))
        } else {
            0
        };
        let (mut past, mut slot) = (self.row[2 * places], choice.slot);
        if choice.facts != NOTHING {
            match self.caches.observe(space, past, choice.facts) {
                Ok(after) => past = after,
                Err(panic) => {
                    let before = space.places[place].get(slot).hash;
                    let (panicked, after) = space.panicked(place, slot, panic);
                    hash = hash.wrapping_sub(before).wrapping_add(after);
                    slot = panicked;
                }
            }
        }
        let (place, takes) = (place as u16, choice.takes);
        self.emit(hash, Successor { row: 0, place, slot, takes, sends, past, budget }, asleep);
    }

    /// A link is cut or healed.
    fn link(&mut self, budget: u32) {
        let space = self.space;
        let places = space.places.len();
        let mut hash = 0_u64;
        for place in 0..places {
            let inbox = self.row[places + place];
            let under = self.caches.inbox_under(space, place, inbox, budget);
            let hash_of = |inbox| space.inboxes[place].get(inbox).hash;
            hash = hash.wrapping_add(hash_of(under)).wrapping_sub(hash_of(inbox));
        }
        let past = self.row[2 * places];
        let (place, takes, sends) = (NOWHERE, NO_PACKET, NOTHING);
        self.emit(hash, Successor { row: 0, place, slot: 0, takes, sends, past, budget }, 0);
    }

    /// What changes nothing is not a step.
    fn emit(&mut self, hash: u64, successor: Successor, asleep: Asleep) {
        let space = self.space;
        let [.., past, budget] = *self.row else {
            unreachable!("a row ends with history and budgets");
        };
        let mut fingerprint = self.fingerprint.wrapping_add(hash);
        let mut replace = |before: u64, after: u64| {
            fingerprint = fingerprint.wrapping_sub(before).wrapping_add(after);
        };
        if successor.past != past {
            replace(space.histories.get(past).hash, space.histories.get(successor.past).hash);
        }
        if successor.budget != budget {
            replace(space.budgets.get(budget).hash, space.budgets.get(successor.budget).hash);
        }
        if fingerprint != self.fingerprint {
            (self.found)(fingerprint, successor, asleep);
        }
    }
}

//! Whether a system comes to rest from a state, once all is healed.
//!
//! Time goes in rounds. What a round does follows from the state alone, so the states of a run that has come to
//! rest are known to settle, whoever comes across them later: most searches end after a round.

use super::arena::Recent;
use super::parts::{Cause, NO_PACKET, NOTHING, OfferKind, Outcome};
use super::space::Space;
use crate::check::{Reductions, Unsettled};
use crate::panics::Panic;
use crate::system::System;
use crate::world::{Rules, World};

/// So many rounds are enough for whatever settles.
const ROUNDS: usize = 64;
/// What has converged in so many rounds, one after the other, has settled. (So has what a round does not change.)
const CALM: usize = 8;

/// Whether the system settles from a world.
pub fn settles<S: System>(rules: &Rules<S>, world: &World<S>) -> Result<(), Unsettled> {
    let space = Space::new(rules, Reductions::NONE);
    space.settle(&space.row(world), &mut Recent::new(0))
}

impl<S: System> Space<'_, S> {
    /// Heals all, and goes on until the system has converged and stays so; `Err` says what is missing if it never does.
    /// With a budget for losses it must do so twice: once all that is under way arrives, once it is lost.
    /// Whoever is [gone](crate::world::Limits::without) crashes first, and stays down.
    pub fn settle(&self, row: &[u32], settled: &mut Recent) -> Result<(), Unsettled> {
        let limits = &self.rules.limits;
        let mut row = row.to_vec();
        if let Some(gone) = self.gone {
            row[gone] = self.crashed(gone, row[gone]);
        }
        self.settle_from(row.clone(), settled)?;
        if limits.drops > 0 || limits.cuts > 0 {
            let places = self.places.len();
            row[places..2 * places].fill(NOTHING);
            self.settle_from(row, settled).map_err(|why| match why {
                Unsettled::Never(why) => Unsettled::Never(format!("with all that is under way lost, {why}")),
                Unsettled::Panicked(panic) => Unsettled::Panicked(panic),
            })?;
        }
        Ok(())
    }

    fn settle_from(&self, mut row: Vec<u32>, settled: &mut Recent) -> Result<(), Unsettled> {
        let mut passed: Vec<u64> = Vec::new();
        let mut missing = String::new();
        let mut calm = 0;
        for _ in 0..ROUNDS {
            let budget = self.budgets.get(row[2 * self.places.len() + 1]).hash;
            let state = self.fingerprint(&row).wrapping_sub(budget);
            let is_known = settled.knows(state);
            match if is_known { Ok(()) } else { self.converged(&row)? } {
                Ok(()) if is_known || passed.last() == Some(&state) => calm = CALM,
                Ok(()) => calm += 1,
                Err(why) => (calm, missing) = (0, why),
            }
            passed.push(state);
            if calm == CALM {
                passed.into_iter().for_each(|state| settled.add(state));
                return Ok(());
            }
            self.round(&mut row)?;
        }
        let but = self.rules.limits.without.map_or(String::new(), |gone| format!(", but {gone} is down"));
        let round = "in each of which what is under way arrives and every timer fires";
        Err(Unsettled::Never(format!("{missing} after {ROUNDS} rounds, {round}; all is healed{but}")))
    }

    fn converged(&self, row: &[u32]) -> Result<Result<(), String>, Panic> {
        let slots = self.places.iter().zip(row).map(|(locals, &slot)| &locals.get(slot).slot);
        self.rules.converged(slots, &self.histories.get(row[2 * self.places.len()]).history)
    }

    /// Whoever is down restarts, and disks sync; what is under way arrives; then every armed timer fires.
    fn round(&self, row: &mut [u32]) -> Result<(), Panic> {
        let places = self.places.len();
        (0..places).try_for_each(|place| self.idle(row, place))?;
        let under_way = row[places..2 * places].to_vec();
        for (place, inbox) in under_way.into_iter().enumerate() {
            for &packet in &self.inboxes[place].get(inbox).packets {
                let outcomes = self.outcomes_of_cause(place, row[place], Cause::Packet(packet));
                let takes = if self.is_persistent() { NO_PACKET } else { packet };
                self.go(row, place, self.outcomes(outcomes), takes)?;
            }
        }
        for place in 0..places {
            let local = self.places[place].get(row[place]);
            for timer in local.slot.host.iter().flat_map(|host| host.timers()) {
                let local = self.places[place].get(row[place]);
                let mut armed = local.slot.host.iter().flat_map(|host| host.timers());
                let Some(number) = armed.position(|armed| armed == timer) else { continue };
                let fires = |kind| matches!(kind, OfferKind::Fire { number: it, .. } if it == number);
                let offer = self.offers(local).iter().find(|offer| fires(offer.kind));
                let offer = offer.expect("what is armed may fire");
                self.go(row, place, self.outcomes_of_offer(place, row[place], offer), NO_PACKET)?;
            }
        }
        Ok(())
    }

    /// One thing happens at a place, without a crash; then its disk syncs.
    fn go(&self, row: &mut [u32], place: usize, outcomes: &[Outcome], takes: u32) -> Result<(), Panic> {
        self.take(row, place, outcomes, takes)?;
        self.idle(row, place)
    }

    /// Lets happen what happens by itself at a place: a node that is down starts, a disk syncs.
    fn idle(&self, row: &mut [u32], place: usize) -> Result<(), Panic> {
        while self.gone != Some(place) {
            let local = self.places[place].get(row[place]);
            let mut offers = self.offers(local).iter();
            let Some(free) = offers.find(|offer| offer.kind == OfferKind::Free) else { return Ok(()) };
            self.take(row, place, self.outcomes_of_offer(place, row[place], free), NO_PACKET)?;
        }
        Ok(())
    }

    /// Takes one of the outcomes in which nothing crashes: whoever chooses, chooses by the state.
    fn take(&self, row: &mut [u32], place: usize, outcomes: &[Outcome], takes: u32) -> Result<(), Panic> {
        let places = self.places.len();
        let count = outcomes.iter().filter(|outcome| outcome.crash.is_none()).count() as u64;
        let chosen = if count > 1 { self.fingerprint(row) % count } else { 0 };
        let mut whole = outcomes.iter().filter(|outcome| outcome.crash.is_none());
        let Some(outcome) = whole.nth(chosen as usize) else { return Ok(()) };
        if let Some(panic) = self.panic_of(place, outcome.slot) {
            return Err(panic.clone());
        }
        row[place] = outcome.slot;
        if takes != NO_PACKET {
            row[places + place] = self.without(place, row[places + place], takes);
        }
        for &(to, more) in self.sent(outcome.sends) {
            row[places + to] = self.with(to, row[places + to], more);
        }
        if outcome.facts != NOTHING {
            row[2 * places] = self.observe(row[2 * places], outcome.facts)?;
        }
        Ok(())
    }
}

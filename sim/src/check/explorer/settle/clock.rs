//! Time, while it is asked whether a system settles.
//!
//! The checker's world has no time: any timer may fire at any moment. A run that is to come to rest needs some, since a
//! lease of 800 ms that ends as soon as work of 150 ms is no run that anybody has. So here each armed timer has as much time
//! left as the middle of its range, from the moment at which it is armed; all that is armed where the question is asked
//! has just been armed.
//!
//! Messages are faster than timers, up to a point: see [`TRIPS`].
//!
//! Where a long timer waits while short ones make the same rounds come again, nothing new happens until it is due. Of such a
//! [`Line`] all but the last rounds are skipped.

use std::collections::HashMap;

use coalmine_core::node::{Delay, Node};
use foldhash::fast::FixedState;

use crate::check::explorer::space::Space;
use crate::fingerprint::fingerprint;
use crate::spec::system::System;
use crate::world::Slot;

/// So many rounds in a row messages may follow from messages before a timer is due all the same.
pub const TRIPS: u8 = 16;
/// So many repetitions are walked through before any is skipped.
pub const REPETITIONS: u64 = 8;
/// The shortest time that is told from none, in nanoseconds: that of the timers of operating systems.
const SHORTEST: u64 = 1_000_000;
/// After so long a client that waits asks again, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;
/// So many clocks of one state are remembered along a line.
const REMEMBERED: usize = 64;

/// A state of a run in which all is healed, and when what is armed is due.
#[derive(Clone)]
pub struct Moment {
    pub row: Vec<u32>,
    pub clock: Clock,
}

/// When what is armed is due.
#[derive(Clone)]
pub struct Clock {
    /// The timers, by place, in the order of each host.
    timers: Vec<Due>,
    /// When the clients that wait ask again.
    asks: Due,
    /// In how many rounds, one after the other, messages arrived and no timer fired.
    pub trips: u8,
    /// How many were armed so far.
    armed: u64,
}

#[derive(Clone, Copy)]
struct Due {
    place: usize,
    /// In so many nanoseconds.
    left: u64,
    /// Which of all that were armed.
    number: u64,
}

/// What comes when no message is under way.
pub enum Next {
    /// The clients that wait ask again.
    Asks,
    /// A timer: the place's, and its number among those that are armed there.
    Timer(usize, usize),
}

impl Moment {
    /// The first of a run that begins in this state.
    pub fn first<S: System>(space: &Space<'_, S>, row: Vec<u32>) -> Self {
        let asks = Due { place: space.places.len(), left: 0, number: 0 };
        let mut clock = Clock { timers: Vec::new(), asks, trips: 0, armed: 0 };
        for (place, locals) in space.places.iter().enumerate() {
            for &delay in delays(&locals.get(row[place]).slot) {
                let due = clock.arm(place, delay);
                clock.timers.push(due);
            }
        }
        Self { row, clock }
    }
}

impl Clock {
    /// What tells moments of one state apart: clients' patience only where one waits, trips only where something is under
    /// way.
    pub fn key(&self, waits: bool, is_quiet: bool) -> u64 {
        let left: Vec<_> = self.timers.iter().map(|due| due.left).collect();
        fingerprint(&(left, (!is_quiet).then_some(self.trips), waits.then_some(self.asks.left)))
    }

    /// Whether clients that wait ask now.
    pub fn is_to_ask(&self) -> bool {
        self.asks.left == 0
    }

    /// They have asked.
    pub fn asked(&mut self) {
        self.armed += 1;
        self.asks = Due { left: PATIENCE, number: self.armed, ..self.asks };
    }

    /// Lets time pass until something is due, and says what and after how many nanoseconds; nothing, if nothing is armed.
    pub fn pass(&mut self, waits: bool) -> Option<(Next, u64)> {
        self.trips = 0;
        let asks = waits.then_some((self.asks, Next::Asks));
        let of_place = |at: usize| at - self.timers.partition_point(|due| due.place < self.timers[at].place);
        let timers = self.timers.iter().enumerate();
        let timers = timers.map(|(at, due)| (*due, Next::Timer(due.place, of_place(at))));
        // Of those that are due together the first is first.
        let (Due { left, .. }, next) = asks.into_iter().chain(timers).min_by_key(|(due, _)| due.left)?;
        for due in self.timers.iter_mut().chain([&mut self.asks]) {
            due.left = due.left.saturating_sub(left);
        }
        Some((next, left))
    }

    /// A place has taken a step, which has armed these of the timers that are armed now.
    pub fn stepped<N: Node>(&mut self, place: usize, before: &Slot<N>, after: &Slot<N>, arms: &[u32]) {
        let begin = self.timers.partition_point(|due| due.place < place);
        let end = self.timers.partition_point(|due| due.place <= place);
        let [old, new] = [before, after].map(|slot| slot.host.as_ref().map_or(&[][..], |host| host.timers()));
        let delays = delays(after);
        if old == new {
            for &number in arms {
                self.timers[begin + number as usize] = self.arm(place, delays[number as usize]);
            }
            return;
        }
        let kept = self.timers[begin..end].to_vec();
        let now: Vec<_> = (0..)
            .zip(new.iter().zip(delays))
            .map(|(number, (timer, &delay))| match old.binary_search(timer) {
                Ok(before) if !arms.contains(&number) => kept[before],
                Ok(_) | Err(_) => self.arm(place, delay),
            })
            .collect();
        self.timers.splice(begin..end, now);
    }

    fn arm(&mut self, place: usize, delay: Delay) -> Due {
        self.armed += 1;
        let left = u64::try_from(delay.middle().as_nanos()).unwrap_or(u64::MAX).max(SHORTEST);
        Due { place, left, number: self.armed }
    }

    /// If all is as it was at an earlier moment of the same state, but for what has waited ever since, the same comes again until
    /// that is due. Skips this, if it is long; says whether it was.
    fn skip(&mut self, earlier: &Self) -> bool {
        let all = |clock: &Self| clock.timers.iter().chain([&clock.asks]).copied().collect::<Vec<_>>();
        let pairs: Vec<_> = all(earlier).into_iter().zip(all(self)).collect();
        let waits = |(then, now): &(Due, Due)| then.number == now.number;
        let is_alike = self.timers.len() == earlier.timers.len() && self.trips == earlier.trips;
        if !is_alike || pairs.iter().any(|pair| !waits(pair) && pair.0.left != pair.1.left) {
            return false;
        }
        // What waits together has waited for the same time. (Nobody may be there to ask, who might for long.)
        let waiting = || pairs.iter().filter(|pair| waits(pair) && (pair.0.left, pair.1.left) != (0, 0));
        let period = waiting().map(|(then, now)| then.left - now.left).max().unwrap_or(0);
        if period == 0 || waiting().any(|(then, now)| then.left - now.left != period) {
            return false;
        }
        let least = waiting().map(|(_, now)| now.left).min().unwrap_or(0);
        let again = least.saturating_sub(1) / period;
        if again < REPETITIONS {
            return false;
        }
        let waiting: Vec<_> = pairs.iter().map(waits).collect();
        for (due, waits) in self.timers.iter_mut().chain([&mut self.asks]).zip(waiting) {
            if waits {
                due.left = due.left.saturating_sub(again * period);
            }
        }
        true
    }
}

fn delays<N: Node>(slot: &Slot<N>) -> &[Delay] {
    slot.host.as_ref().map_or(&[], |host| host.delays())
}

/// Moments that follow one another, where nobody chooses.
#[derive(Default)]
pub struct Line {
    /// By state.
    clocks: HashMap<u64, Vec<Clock>, FixedState>,
}

impl Line {
    /// A moment of it, and its state without the clock.
    pub fn passes(&mut self, state: u64, at: &Moment) {
        let clocks = self.clocks.entry(state).or_default();
        if clocks.len() == REMEMBERED {
            clocks.remove(0);
        }
        clocks.push(at.clock.clone());
    }

    /// Skips what comes again and again until something else is due, after this moment of it.
    pub fn skip(&self, state: u64, at: &mut Moment) {
        let earlier = self.clocks.get(&state).into_iter().flatten().rev();
        let _ = earlier.into_iter().any(|earlier| at.clock.skip(earlier));
    }

    /// Nobody knows what comes after what is chosen next.
    pub fn ends(&mut self) {
        self.clocks.clear();
    }
}

//! Looking for an order of calls: one call after the other is placed, and taken back where nothing fits.

use std::collections::{BTreeMap, BTreeSet};

use super::Specification;
use super::call::{Call, GoOn, events};
use super::ways::side_by_side;

/// What a [`search`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The places of calls in one order that explains all answers; calls without an answer may be missing.
    Order(Vec<usize>),
    /// There is one, but it was not written down.
    Some,
    /// There is none: see [`unexplained`].
    None,
    /// Nobody knows: it was told to stop.
    Stopped,
}

/// Looks for an order of the calls that respects real time.
///
/// Where there is an order the search finds it fast, as a rule; where there is none it tries all. Therefore, if it takes
/// long, all orders are followed side by side instead: that takes as much time for either.
pub fn search<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Found {
    let most = 4_096 + 16 * calls.len();
    let mut steps = 0;
    let mut goes_on = true;
    let mut some_more = |known: usize| {
        steps += 1_024;
        goes_on = go_on(known);
        goes_on && steps < most
    };
    match Search::new(calls, |_| 0).run(&mut some_more) {
        Some(Some(order)) => Found::Order(order),
        Some(None) => Found::None,
        None if !goes_on => Found::Stopped,
        None => match side_by_side(calls, go_on) {
            Some(None) => Found::Some,
            Some(Some(_)) => Found::None,
            None => Found::Stopped,
        },
    }
}

/// Looks for an order of the calls that respects that of each client's own calls, whatever the time of others'.
pub fn search_by_client<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Found {
    // What respects real time is one, and found sooner.
    let most = 4_096 + 16 * calls.len();
    let mut steps = 0;
    let mut some = |_: usize| {
        steps += 1_024;
        steps < most
    };
    if let Some(Some(order)) = Search::new(calls, |_| 0).run(&mut some) {
        return Found::Order(order);
    }
    match Search::new(calls, |call| call.id.client).run(go_on) {
        Some(Some(order)) => Found::Order(order),
        Some(None) => Found::None,
        None => Found::Stopped,
    }
}

/// What had happened at some time: calls that begin later are not there, and those that return later have no answer
/// yet. Each comes with its place among all.
pub fn beginning<S: Specification>(calls: &[Call<S>], until: u64) -> Vec<(usize, Call<S>)> {
    let begun = calls.iter().enumerate().filter(|(_, call)| call.began <= until);
    let so_far = |(place, call): (usize, &Call<S>)| {
        let returned = call.returned.clone().filter(|(at, _)| *at <= until);
        (place, Call { returned, ..call.clone() })
    };
    begun.map(so_far).collect()
}

/// When all has returned that is needed to show that there is no order: what had happened [before](beginning) can be
/// explained, and what returns then cannot. `None` if there is an order, or if it was stopped before that was known.
pub fn unexplained<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Option<u64> {
    let at = side_by_side(calls, go_on)??;
    let returns = |call: &Call<S>| Some((call.began, call.returned.as_ref()?.0));
    let all: Vec<_> = calls.iter().filter_map(returns).collect();
    let last = all.iter().filter(|(began, _)| *began <= at).map(|(_, until)| *until).max()?;
    let mut times: Vec<u64> =
        all.iter().map(|(_, until)| *until).filter(|it| (at..=last).contains(it)).collect();
    times.sort_unstable();
    times.dedup();
    // With the last of these there is none; what explains a history explains its beginnings.
    let (mut first, mut last) = (0, times.len() - 1);
    while first < last {
        let middle = first + (last - first) / 2;
        let some: Vec<_> = beginning(calls, times[middle]).into_iter().map(|(_, call)| call).collect();
        match side_by_side(&some, go_on)? {
            Some(_) => last = middle,
            None => first = middle + 1,
        }
    }
    Some(times[last])
}

/// Calls and returns in time, in one lane or in several, from which what is placed is taken out, and put back in the same
/// place. Only within a lane must what has returned stand before what begins later.
struct Search<'a, S: Specification> {
    calls: &'a [Call<S>],
    /// What happens: even numbers are calls, odd ones returns; those behind all of these are the ends of the lanes.
    next: Vec<usize>,
    before: Vec<usize>,
    lanes: usize,
    /// The same number for calls of one lane that ask for the same and were answered the same.
    alike: Vec<usize>,
    /// The how manyeth of those that have returned.
    number: Vec<Option<usize>>,
    /// By what is alike, when such a call was seen last.
    seen: Vec<u64>,
    /// How many of those that have returned are not placed.
    left: usize,
    placed: Placed,
    known: BTreeSet<(Placed, S)>,
}

/// Which calls are placed: of those that have returned all before `from`, and these bits after it; and these of the
/// others, of which most never are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    from: usize,
    bits: Vec<u64>,
    others: Vec<usize>,
}

impl Placed {
    fn put_other(&mut self, call: usize) {
        let place = self.others.partition_point(|other| *other < call);
        self.others.insert(place, call);
    }

    fn put(&mut self, number: usize) {
        let at = number - self.from;
        if at / 64 >= self.bits.len() {
            self.bits.resize(at / 64 + 1, 0);
        }
        self.bits[at / 64] |= 1 << (at % 64);
        // Whole words at the beginning are said by `from`.
        let full = self.bits.iter().take_while(|&&bits| bits == u64::MAX).count();
        self.bits.drain(..full);
        self.from += 64 * full;
    }
}

/// How far it has come: what may stand next, and which of it is tried.
struct Step<S> {
    state: S,
    placed: Placed,
    candidates: Vec<usize>,
    at: usize,
    /// Which of the states after it, if there are several.
    choice: usize,
}

impl<'a, S: Specification> Search<'a, S> {
    fn new(calls: &'a [Call<S>], lane_of: impl Fn(&Call<S>) -> u64) -> Self {
        let mut lanes = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        let mut alike = Vec::with_capacity(calls.len());
        let mut last = Vec::new();
        for call in calls {
            let ends = 2 * calls.len() + lanes.len();
            let lane = *lanes.entry(lane_of(call)).or_insert(ends);
            let kind = (lane, &call.call, call.returned.as_ref().map(|(_, answer)| answer));
            let number = kinds.len();
            alike.push(*kinds.entry(kind).or_insert(number));
            last.push(lane);
        }
        let lanes = lanes.len();
        let ends = 2 * calls.len();
        let lane_of = last;
        let mut last: Vec<usize> = (0..ends + lanes).collect();
        let (mut next, mut before) = (last.clone(), last.clone());
        for (_, kind, call) in events(calls) {
            let (event, end) = (2 * call + kind, lane_of[call]);
            (next[last[end]], before[event]) = (event, last[end]);
            last[end] = event;
        }
        for end in ends..ends + lanes {
            (next[last[end]], before[end]) = (end, last[end]);
        }
        let mut left = 0;
        let mut count = |call: &Call<S>| {
            left += usize::from(call.returned.is_some());
            call.returned.is_some().then(|| left - 1)
        };
        let number = calls.iter().map(&mut count).collect();
        let seen = vec![0; kinds.len()];
        let known = BTreeSet::new();
        Self { calls, next, before, lanes, alike, number, seen, left, placed: Placed::default(), known }
    }

    /// An order, if there is one; nothing at all if it was stopped before that was known.
    fn run(mut self, go_on: &mut GoOn<'_>) -> Option<Option<Vec<usize>>> {
        let mut way: Vec<Step<S>> = Vec::new();
        let mut state = S::default();
        for steps in 1_u64.. {
            if self.left == 0 {
                return Some(Some(way.into_iter().map(|step| step.candidates[step.at]).collect()));
            }
            let candidates = self.candidates(&state, steps);
            let placed = self.placed.clone();
            way.push(Step { state, placed, candidates, at: 0, choice: 0 });
            state = loop {
                let Some(step) = way.last_mut() else { return Some(None) };
                if let Some(after) = self.advance(step) {
                    break after;
                }
                // Nothing that may stand here leads anywhere: so something before was wrong.
                way.pop();
                if let Some(before) = way.last_mut() {
                    self.put_back(before.candidates[before.at]);
                    self.placed.clone_from(&before.placed);
                    before.choice += 1;
                }
            };
            if steps.is_multiple_of(1_024) && !go_on(self.known.len()) {
                return None;
            }
        }
        unreachable!("nobody takes so many steps")
    }

    /// Places the next candidate that fits and leads to something new, and returns the state after it.
    fn advance(&mut self, step: &mut Step<S>) -> Option<S> {
        while let Some(&call) = step.candidates.get(step.at) {
            let Some(after) = self.after(&step.state, call, step.choice) else {
                (step.at, step.choice) = (step.at + 1, 0);
                continue;
            };
            match self.number[call] {
                Some(number) => self.placed.put(number),
                None => self.placed.put_other(call),
            }
            // After a read all is as before it.
            if self.calls[call].is_read() || self.known.insert((self.placed.clone(), after.clone())) {
                self.take_out(call);
                return Some(after);
            }
            self.placed.clone_from(&step.placed);
            step.choice += 1;
        }
        None
    }

    /// What may come next, the first to return first. If that is a read that was answered as one copy would answer it,
    /// nothing else need be tried. Of those that are alike, only the first to return: the others may change places with
    /// it.
    fn candidates(&mut self, state: &S, step: u64) -> Vec<usize> {
        let ends = 2 * self.calls.len();
        let mut all = Vec::new();
        for end in ends..ends + self.lanes {
            let mut event = self.next[end];
            while event < ends && event.is_multiple_of(2) {
                let place = event / 2;
                let Call { call, returned, .. } = &self.calls[place];
                if let (Some((_, answer)), true) = (returned, self.calls[place].is_read()) {
                    if let Some(after) = state.step(call, answer) {
                        assert!(after == *state, "a call that only reads has changed {state:?}: {call:?}");
                        return vec![place];
                    }
                } else {
                    all.push(place);
                }
                event = self.next[event];
            }
        }
        let returns = |place: &usize| self.calls[*place].returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
        all.sort_by_key(returns);
        all.retain(|&place| std::mem::replace(&mut self.seen[self.alike[place]], step) != step);
        all
    }

    /// The state after this call, if it is the next; of several the one with this number.
    fn after(&self, state: &S, call: usize, choice: usize) -> Option<S> {
        let Call { call, returned, .. } = &self.calls[call];
        match returned {
            Some((_, answer)) if choice == 0 => state.step(call, answer),
            Some(_) => None,
            None => state.maybe(call).into_iter().nth(choice),
        }
    }

    fn take_out(&mut self, call: usize) {
        let events = if self.calls[call].returned.is_some() { 2 } else { 1 };
        for event in 2 * call..2 * call + events {
            let (before, next) = (self.before[event], self.next[event]);
            (self.next[before], self.before[next]) = (next, before);
        }
        self.left -= events - 1;
    }

    fn put_back(&mut self, call: usize) {
        let events = if self.calls[call].returned.is_some() { 2 } else { 1 };
        for event in (2 * call..2 * call + events).rev() {
            let (before, next) = (self.before[event], self.next[event]);
            (self.next[before], self.before[next]) = (event, event);
        }
        self.left += events - 1;
    }
}

//! Following all orders at once, from one event to the next (Lowe's *just-in-time linearization*, op. cit., §3): a call
//! is placed when it returns, or when another one needs it before.
//!
//! What is kept of an order is its state, and what it has placed of the calls under way. Three things keep these few:
//!
//! * A read that fits is placed at once.
//! * Calls that are alike are placed in the order in which they return.
//! * A call that [overwrites](Specification::overwrites) may stand just before another such call without anybody noticing.
//!   So when one is placed, all that are under way *may* count as placed: they owe nothing any more, and can still be
//!   placed where they are seen. A call of which nobody knows whether it took effect owes nothing from the beginning.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Specification;
use super::call::{CALL, Call, GoOn, events};

/// When is there no order any more, as all that has begun by then will be answered? `None` if it was stopped before that
/// was known, or if more than 32,768 calls are under way at a time.
pub(super) fn side_by_side<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Option<Option<u64>> {
    let events = events(calls);
    let (mut open, mut most) = (0_usize, 0);
    for (_, kind, _) in &events {
        open = if *kind == CALL { open + 1 } else { open - 1 };
        most = most.max(open);
    }
    match most {
        0..=64 => Front::<S, 1>::follow(calls, &events, go_on),
        65..=512 => Front::<S, 8>::follow(calls, &events, go_on),
        513..=4_096 => Front::<S, 64>::follow(calls, &events, go_on),
        4_097..=32_768 => Front::<S, 512>::follow(calls, &events, go_on),
        // That needs more memory than there is.
        32_769.. => None,
    }
}

/// Some of the calls under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bits<const N: usize>([u64; N]);

impl<const N: usize> Bits<N> {
    const NONE: Self = Self([0; N]);

    fn has(&self, bit: usize) -> bool {
        self.0[bit / 64] & 1 << (bit % 64) != 0
    }

    fn put(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn take(&mut self, bit: usize) {
        self.0[bit / 64] &= !(1 << (bit % 64));
    }

    /// Whether one of these is not one of those.
    fn exceed(&self, those: &Self) -> bool {
        self.0.iter().zip(&those.0).any(|(mine, theirs)| mine & !theirs != 0)
    }
}

/// What of the calls under way is placed, and what may count as placed and is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way<const N: usize> {
    placed: Bits<N>,
    owes_nothing: Bits<N>,
}

impl<const N: usize> Way<N> {
    /// Whether whatever the other can lead to, this one can, too.
    fn is_as_good_as(&self, other: &Self, reads: &Bits<N>) -> bool {
        (0..N).all(|at| {
            let (mine, free, reads) = (self.placed.0[at], self.owes_nothing.0[at], reads.0[at]);
            let (theirs, their_free) = (other.placed.0[at], other.owes_nothing.0[at]);
            let differs = mine ^ theirs;
            their_free & !free == 0 && differs & !reads & !free == 0 && differs & reads & !mine == 0
        })
    }

    fn without(mut self, bit: usize) -> Self {
        self.placed.take(bit);
        self.owes_nothing.take(bit);
        self
    }
}

/// Ways by the state they lead to.
struct Ways<S, const N: usize> {
    by_state: BTreeMap<S, (Vec<Way<N>>, BTreeSet<Way<N>>)>,
    /// How many there are.
    number: usize,
}

/// A new way is compared with so many: with one that is as good it is not needed.
const COMPARED: usize = 128;

impl<S: Specification, const N: usize> Ways<S, N> {
    fn new() -> Self {
        Self { by_state: BTreeMap::new(), number: 0 }
    }

    /// Whether it can do more than those that there are.
    fn insert(&mut self, state: &S, way: Way<N>, reads: &Bits<N>) -> bool {
        if !self.by_state.contains_key(state) {
            self.by_state.insert(state.clone(), Default::default());
        }
        let Some((some, more)) = self.by_state.get_mut(state) else { return true };
        if some.iter().any(|other| other.is_as_good_as(&way, reads)) {
            return false;
        }
        let before = some.len();
        some.retain(|other| !way.is_as_good_as(other, reads));
        self.number -= before - some.len();
        if some.len() < COMPARED {
            some.push(way);
        } else if !more.insert(way) {
            return false;
        }
        self.number += 1;
        true
    }

    fn into_each(self) -> impl Iterator<Item = (S, Way<N>)> {
        self.by_state.into_iter().flat_map(|(state, (some, more))| {
            some.into_iter().chain(more).map(move |way| (state.clone(), way))
        })
    }
}

/// The calls under way, each with a number that others have used before and will use after it.
struct Front<'a, S: Specification, const N: usize> {
    calls: &'a [Call<S>],
    /// What is under way, by its number.
    open: Vec<Option<usize>>,
    free: Vec<usize>,
    /// The numbers of those that may change something, the first to return first.
    updates: Vec<usize>,
    reads: Bits<N>,
    /// Those that overwrite, and have an answer.
    overwriting: Bits<N>,
    /// By number, what such a call leaves.
    leaves: Vec<Option<S>>,
    /// By number, those that are alike and return sooner.
    sooner: Vec<Bits<N>>,
    numbers: BTreeMap<usize, usize>,
}

impl<'a, S: Specification, const N: usize> Front<'a, S, N> {
    fn follow(
        calls: &'a [Call<S>],
        events: &[(u64, usize, usize)],
        go_on: &mut GoOn<'_>,
    ) -> Option<Option<u64>> {
        let mut front = Self {
            calls,
            open: Vec::new(),
            free: Vec::new(),
            updates: Vec::new(),
            reads: Bits::NONE,
            overwriting: Bits::NONE,
            leaves: Vec::new(),
            sooner: Vec::new(),
            numbers: BTreeMap::new(),
        };
        let mut ways = Ways::new();
        ways.insert(&S::default(), Way { placed: Bits::NONE, owes_nothing: Bits::NONE }, &Bits::NONE);
        let mut steps = 0;
        for &(time, kind, place) in events {
            ways = if kind == CALL {
                front.begin(place, ways)
            } else {
                front.end(place, ways, &mut steps, go_on)?
            };
            if ways.number == 0 {
                return Some(Some(time));
            }
        }
        Some(None)
    }

    fn begin(&mut self, place: usize, ways: Ways<S, N>) -> Ways<S, N> {
        let number = self.free.pop().unwrap_or(self.open.len());
        if number == self.open.len() {
            self.open.push(None);
            self.leaves.push(None);
            self.sooner.push(Bits::NONE);
        }
        let call = &self.calls[place];
        self.open[number] = Some(place);
        self.numbers.insert(place, number);
        let owes_nothing = call.returned.is_none();
        if call.is_read() {
            self.reads.put(number);
        } else {
            self.find_alike(number, call);
            let at = self.updates.partition_point(|other| self.until(*other) <= self.until(number));
            self.updates.insert(at, number);
            self.leaves[number] = None;
            if let (true, Some((_, answer))) = (S::overwrites(&call.call), &call.returned)
                && let Some(leaves) = S::default().step(&call.call, answer)
            {
                self.overwriting.put(number);
                self.leaves[number] = Some(leaves);
            }
            if !owes_nothing {
                return ways;
            }
        }
        let mut next = Ways::new();
        for (state, mut way) in ways.into_each() {
            if owes_nothing {
                way.owes_nothing.put(number);
            } else if self.fits(number, &state) {
                way.placed.put(number);
            }
            next.insert(&state, way, &self.reads);
        }
        next
    }

    fn find_alike(&mut self, number: usize, call: &Call<S>) {
        let answer = |call: &Call<S>| call.returned.as_ref().map(|(_, answer)| answer.clone());
        for &other in &self.updates {
            let Some(place) = self.open[other] else { continue };
            let its = &self.calls[place];
            if its.call == call.call && answer(its) == answer(call) {
                if self.until(other) <= self.until(number) {
                    self.sooner[number].put(other);
                } else {
                    self.sooner[other].put(number);
                }
            }
        }
    }

    fn until(&self, number: usize) -> u64 {
        let call = self.open[number].map(|place| &self.calls[place]);
        call.and_then(|call| call.returned.as_ref()).map_or(u64::MAX, |(at, _)| *at)
    }

    /// What returns is placed, or counts as placed, in all ways that go on.
    fn end(
        &mut self,
        place: usize,
        ways: Ways<S, N>,
        steps: &mut u64,
        go_on: &mut GoOn<'_>,
    ) -> Option<Ways<S, N>> {
        let number = self.numbers.remove(&place)?;
        let (mut next, mut known) = (Ways::new(), Ways::new());
        let mut left = VecDeque::new();
        for (state, mut way) in ways.into_each() {
            let is_free = way.owes_nothing.has(number);
            if is_free || way.placed.has(number) {
                next.insert(&state, way.without(number), &self.reads);
            }
            // If it only may count as placed, this is the last chance to place it where it is seen.
            if !way.placed.has(number) {
                way.owes_nothing.take(number);
                left.push_back((state, way, is_free));
            }
        }
        while let Some((state, way, is_free)) = left.pop_front() {
            for at in 0..self.updates.len() {
                let update = self.updates[at];
                if way.placed.has(update) || self.sooner[update].exceed(&way.placed) {
                    continue;
                }
                for after in self.after(update, &state) {
                    *steps += 1;
                    if steps.is_multiple_of(1_024) && !go_on(next.number + known.number) {
                        return None;
                    }
                    let mut way = self.place(update, way, &after);
                    if way.placed.has(number) || way.owes_nothing.has(number) && !is_free {
                        next.insert(&after, way.without(number), &self.reads);
                    }
                    way.owes_nothing.take(number);
                    if !way.placed.has(number) && known.insert(&after, way, &self.reads) {
                        left.push_back((after, way, is_free));
                    }
                }
            }
        }
        self.open[number] = None;
        self.free.push(number);
        self.updates.retain(|other| *other != number);
        self.reads.take(number);
        self.overwriting.take(number);
        self.sooner[number] = Bits::NONE;
        for sooner in &mut self.sooner {
            sooner.take(number);
        }
        Some(next)
    }

    fn place(&self, update: usize, mut way: Way<N>, after: &S) -> Way<N> {
        if let Some(leaves) = &self.leaves[update] {
            assert!(leaves == after, "a call that overwrites has left {after:?}, and elsewhere {leaves:?}");
        }
        way.placed.put(update);
        way.owes_nothing.take(update);
        if self.open[update].is_some_and(|place| S::overwrites(&self.calls[place].call)) {
            for at in 0..N {
                way.owes_nothing.0[at] |= self.overwriting.0[at] & !way.placed.0[at];
            }
        }
        for at in 0..self.open.len() {
            if self.reads.has(at) && !way.placed.has(at) && self.fits(at, after) {
                way.placed.put(at);
            }
        }
        way
    }

    /// Whether a read is answered by this state.
    fn fits(&self, read: usize, state: &S) -> bool {
        let call = self.open[read].map(|place| &self.calls[place]);
        call.and_then(|Call { call, returned, .. }| state.step(call, &returned.as_ref()?.1)).is_some()
    }

    fn after(&self, update: usize, state: &S) -> Vec<S> {
        match self.open[update].map(|place| &self.calls[place]) {
            Some(Call { call, returned: Some((_, answer)), .. }) => Vec::from_iter(state.step(call, answer)),
            Some(Call { call, returned: None, .. }) => state.maybe(call),
            None => Vec::new(),
        }
    }
}

//! Looking for an order of calls, in two ways: one that goes back, and one that follows all side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::Specification;
use crate::node::RequestId;

/// One call, in a time that only orders: of what ends before another begins, the one came before the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call<S: Specification> {
    /// When it began.
    pub began: u64,
    /// Who asked, and for the how manyeth time.
    pub id: RequestId,
    /// What was asked.
    pub call: S::Call,
    /// When it returned, and what; `None` if nobody knows whether it ever took effect.
    pub returned: Option<(u64, S::Answer)>,
}

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

/// Looks for an order of the calls. It asks every 1,024 steps whether to go on.
///
/// Where there is an order the search finds it fast, as a rule; where there is none it tries all. Therefore, if it takes
/// long, all orders are followed side by side instead: that takes as much time for either.
pub fn search<S: Specification>(calls: &[Call<S>], go_on: &mut dyn FnMut() -> bool) -> Found {
    let most = 65_536 + 1_024 * calls.len();
    let mut steps = 0;
    let mut goes_on = true;
    let mut some_more = || {
        steps += 1_024;
        goes_on = go_on();
        goes_on && steps < most
    };
    match Search::new(calls).run(&mut some_more) {
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
pub fn unexplained<S: Specification>(calls: &[Call<S>], go_on: &mut dyn FnMut() -> bool) -> Option<u64> {
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

/// Ways in which one copy may have answered so far: its state, which of the calls under way it has answered that may
/// change it, and which that only read. Of two ways that differ in the latter alone, whoever has answered more can go on
/// as the other can; so only that one is kept.
#[derive(Clone)]
struct Ways<S>(BTreeMap<(S, BTreeSet<usize>), Vec<BTreeSet<usize>>>);

type Way<S> = (S, BTreeSet<usize>, BTreeSet<usize>);

impl<S: Specification> Ways<S> {
    /// Whether it can do more than those that there are.
    fn insert(&mut self, (state, placed, reads): Way<S>) -> bool {
        let others = self.0.entry((state, placed)).or_default();
        if others.iter().any(|other| other.is_superset(&reads)) {
            return false;
        }
        others.retain(|other| !other.is_subset(&reads));
        others.push(reads);
        true
    }

    fn drain(self) -> impl Iterator<Item = Way<S>> {
        let each = |((state, placed), all): ((S, BTreeSet<usize>), Vec<BTreeSet<usize>>)| {
            all.into_iter().map(move |reads| (state.clone(), placed.clone(), reads))
        };
        self.0.into_iter().flat_map(each)
    }
}

/// Follows all orders at once, from one event to the next (Lowe's *just-in-time linearization*, op. cit., §3): a call is
/// placed when it returns, or when another one needs it before. When is there no order any more, as all that has begun
/// by then will be answered? `None` if it was stopped before that was known.
pub(super) fn side_by_side<S: Specification>(
    calls: &[Call<S>],
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Option<u64>> {
    let after = |state: &S, place: usize| match &calls[place] {
        Call { call, returned: Some((_, answer)), .. } => Vec::from_iter(state.step(call, answer)),
        Call { call, returned: None, .. } => state.maybe(call),
    };
    let only_reads = |place: usize| S::only_reads(&calls[place].call) && calls[place].returned.is_some();
    // A read that fits is placed at once, here as well.
    let with_reads = |(state, placed, mut reads): Way<S>, open: &BTreeSet<usize>| {
        reads.extend(open.iter().filter(|&&read| only_reads(read) && !after(&state, read).is_empty()));
        (state, placed, reads)
    };
    let mut open = BTreeSet::new();
    let mut ways = Ways(BTreeMap::new());
    ways.insert((S::default(), BTreeSet::new(), BTreeSet::new()));
    let mut steps = 0_u64;
    for (time, kind, place) in events(calls) {
        let mut next = Ways(BTreeMap::new());
        if kind == CALL {
            open.insert(place);
            if only_reads(place) {
                for way in ways.drain() {
                    next.insert(with_reads(way, &open));
                }
                ways = next;
            }
            continue;
        }
        let mut known = ways.clone();
        let mut left = Vec::from_iter(ways.drain());
        while let Some((state, mut placed, mut reads)) = left.pop() {
            steps += 1;
            if steps.is_multiple_of(1_024) && !go_on() {
                return None;
            }
            if placed.remove(&place) || reads.remove(&place) {
                next.insert((state, placed, reads));
                continue;
            }
            for &other in open.difference(&placed).filter(|other| !only_reads(**other)) {
                for state in after(&state, other) {
                    let mut placed = placed.clone();
                    placed.insert(other);
                    let way = with_reads((state, placed, reads.clone()), &open);
                    if known.insert(way.clone()) {
                        left.push(way);
                    }
                }
            }
        }
        open.remove(&place);
        if next.0.is_empty() {
            return Some(Some(time));
        }
        ways = next;
    }
    Some(None)
}

const CALL: usize = 0;
const RETURN: usize = 1;

/// What happens: when, whether it is a call or a return, of which call. At one time calls come first: what ends there
/// was before none of them.
fn events<S: Specification>(calls: &[Call<S>]) -> Vec<(u64, usize, usize)> {
    let mut events = Vec::with_capacity(2 * calls.len());
    for (place, call) in calls.iter().enumerate() {
        events.push((call.began, CALL, place));
        events.extend(call.returned.as_ref().map(|(at, _)| (*at, RETURN, place)));
    }
    events.sort_unstable();
    events
}

/// Calls and returns in time, from which what is placed is taken out, and put back in the same place.
struct Search<'a, S: Specification> {
    calls: &'a [Call<S>],
    /// What happens: even numbers are calls, odd ones returns; the last is the end of the list.
    next: Vec<usize>,
    before: Vec<usize>,
    /// How many of those that have returned are not placed.
    left: usize,
    placed: Placed,
    known: BTreeSet<(Placed, S)>,
}

/// Which calls are placed: all before `from`, and these bits after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    from: usize,
    bits: Vec<u64>,
}

impl Placed {
    fn put(&mut self, call: usize) {
        let at = call - self.from;
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

/// A call that is placed, and how to go back: where it stood, which of the states after it was taken, and what was before.
struct Step<S> {
    call: usize,
    choice: usize,
    state: S,
    placed: Placed,
    /// Nothing else need be tried in its stead.
    is_free: bool,
}

impl<'a, S: Specification> Search<'a, S> {
    fn new(calls: &'a [Call<S>]) -> Self {
        let end = 2 * calls.len();
        let (mut next, mut before) = (vec![end; end + 1], vec![end; end + 1]);
        let mut last = end;
        for (_, kind, call) in events(calls) {
            let event = 2 * call + kind;
            (next[last], before[event]) = (event, last);
            last = event;
        }
        (next[last], before[end]) = (end, last);
        let left = calls.iter().filter(|call| call.returned.is_some()).count();
        Self { calls, next, before, left, placed: Placed::default(), known: BTreeSet::new() }
    }

    /// An order, if there is one; nothing at all if it was stopped before that was known.
    fn run(mut self, go_on: &mut dyn FnMut() -> bool) -> Option<Option<Vec<usize>>> {
        let end = 2 * self.calls.len();
        let mut state = S::default();
        let mut way: Vec<Step<S>> = Vec::new();
        let (mut event, mut choice) = (self.next[end], 0);
        for steps in 1_u64.. {
            if self.left == 0 {
                return Some(Some(way.into_iter().map(|step| step.call).collect()));
            } else if steps.is_multiple_of(1_024) && !go_on() {
                return None;
            }
            // At the beginning of the list: is there a call that costs nothing?
            let free = if event == self.next[end] && choice == 0 { self.free(&state) } else { None };
            let call = free.or((event < end && event.is_multiple_of(2)).then_some(event / 2));
            if let Some(call) = call {
                let Some(after) = self.after(&state, call, choice) else {
                    (event, choice) = (self.next[event], 0);
                    continue;
                };
                let mut placed = self.placed.clone();
                placed.put(call);
                if self.known.insert((placed.clone(), after.clone())) {
                    let placed = std::mem::replace(&mut self.placed, placed);
                    let state = std::mem::replace(&mut state, after);
                    way.push(Step { call, choice, state, placed, is_free: free.is_some() });
                    self.take_out(call);
                    (event, choice) = (self.next[end], 0);
                    continue;
                } else if free.is_none() {
                    choice += 1;
                    continue;
                }
            }
            // What returns here is not placed, and nothing that began before can be: so something before was wrong.
            loop {
                let Some(step) = way.pop() else { return Some(None) };
                self.put_back(step.call);
                (state, self.placed) = (step.state, step.placed);
                if !step.is_free {
                    (event, choice) = (2 * step.call, step.choice + 1);
                    break;
                }
            }
        }
        unreachable!("nobody takes so many steps")
    }

    /// A call that only reads, may come next, and was answered as one copy would answer it.
    fn free(&self, state: &S) -> Option<usize> {
        let mut event = self.next[2 * self.calls.len()];
        while event < 2 * self.calls.len() && event.is_multiple_of(2) {
            let Call { call, returned, .. } = &self.calls[event / 2];
            if let (Some((_, answer)), true) = (returned, S::only_reads(call))
                && let Some(after) = state.step(call, answer)
            {
                assert!(after == *state, "a call that only reads has changed {state:?}: {call:?}");
                return Some(event / 2);
            }
            event = self.next[event];
        }
        None
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

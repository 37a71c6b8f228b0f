//! Whether what clients saw is **linearizable**: all calls can be put in one order that one copy of the service would
//! have answered so, in which no call stands before one that had returned when it began (Herlihy, Wing,
//! *Linearizability: A Correctness Condition for Concurrent Objects*, TOPLAS 1990, §2).
//!
//! What one copy does is a [`Specification`]. [`search`] looks for an order as Wing and Gong do (*Testing and Verifying
//! Concurrent Objects*, JPDC 1993): place a call that may come next, and go back where nothing fits. What was
//! placed and where that led is remembered, so that no dead end is entered twice (Lowe, *Testing for
//! Linearizability*, 2017). A call that only reads, and may come next, is placed at once and for good: in any order
//! that explains the rest it may as well stand first.
//!
//! [`Calls`] is the history by which every world asks it. A call begins when a member takes the request, and has
//! returned when the answer leaves. A client that is far away calls earlier and hears later; but one next door does
//! not, and what holds must hold for that one, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::hash::Hash;

use crate::ghost::Ghost;
use crate::node::{Node, NodeId, RequestId};
use crate::observation::{History, Invariant};

/// What one copy of a service does; the value is its state, and the default one that nothing was asked of.
///
/// Most are an [`Object`]. This is for those that may answer one thing or another.
pub trait Specification: Clone + Eq + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// What is asked.
    type Call: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    /// What is answered.
    type Answer: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;

    /// What it is after it has answered this; `None` if it would not answer so.
    fn step(&self, call: &Self::Call, answer: &Self::Answer) -> Option<Self>;

    /// What else it may be after a call whose answer nobody knows: all that makes a difference to those who ask later.
    fn maybe(&self, call: &Self::Call) -> Vec<Self>;

    /// Whether such a call leaves every state as it is: then fewer orders need be tried. Default no.
    fn only_reads(_call: &Self::Call) -> bool {
        false
    }
}

/// What one copy of a service does, if it has one answer to each call.
pub trait Object: Clone + Eq + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// What is asked.
    type Call: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    /// What is answered.
    type Answer: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;

    /// Answers a call.
    fn apply(&mut self, call: &Self::Call) -> Self::Answer;

    /// See [`Specification::only_reads`].
    fn only_reads(_call: &Self::Call) -> bool {
        false
    }
}

impl<O: Object> Specification for O {
    type Call = O::Call;
    type Answer = O::Answer;

    fn step(&self, call: &O::Call, answer: &O::Answer) -> Option<Self> {
        let mut after = self.clone();
        (after.apply(call) == *answer).then_some(after)
    }

    fn maybe(&self, call: &O::Call) -> Vec<Self> {
        let mut after = self.clone();
        after.apply(call);
        if after == *self { Vec::new() } else { vec![after] }
    }

    fn only_reads(call: &O::Call) -> bool {
        O::only_reads(call)
    }
}

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
fn side_by_side<S: Specification>(calls: &[Call<S>], go_on: &mut dyn FnMut() -> bool) -> Option<Option<u64>> {
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

/// What clients have asked and were answered, as a history: see [`linearizable`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Calls<S: Specification> {
    /// What clients may have heard. More than one where a request was answered twice, and differently: its client has
    /// heard one of the two.
    ways: BTreeSet<Heard<S>>,
}

/// So many ways are followed; a way that is not looks as if the first answer had been the one.
const MOST_WAYS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Heard<S: Specification> {
    /// In the order in which they began. Time is even where calls begin and odd where they return, and goes on only
    /// where one follows the other: so two that differ in nothing that matters are the same.
    calls: Vec<Call<S>>,
    now: u64,
    /// Whether there is an order that explains it.
    explained: bool,
    /// What an order leaves of exactly the calls that have returned, if one was found: to find the next one sooner.
    last: Ghost<Option<S>>,
}

impl<S: Specification> Default for Calls<S> {
    fn default() -> Self {
        let nothing = Heard { calls: Vec::new(), now: 0, explained: true, last: Ghost(Some(S::default())) };
        Self { ways: BTreeSet::from([nothing]) }
    }
}

impl<S: Specification> Calls<S> {
    /// A client begins a call, or makes it again.
    pub fn begins(&mut self, id: RequestId, call: &S::Call) {
        let ways = std::mem::take(&mut self.ways);
        self.ways = ways.into_iter().map(|way| way.begins(id, call)).collect();
    }

    /// An answer has left for a client.
    pub fn returns(&mut self, id: RequestId, answer: &S::Answer) {
        for way in std::mem::take(&mut self.ways) {
            let Some(place) = way.calls.iter().position(|call| call.id == id) else {
                self.ways.insert(way);
                continue;
            };
            match &way.calls[place].returned {
                None => {
                    self.ways.insert(way.returns(place, answer));
                }
                // It was answered before. That answer may have been lost, unless the client has gone on since; and
                // to hear the same one later says less.
                Some((_, first)) => {
                    let has_gone_on = |call: &Call<S>| call.id.client == id.client && call.id > id;
                    if first != answer && !way.calls.iter().any(has_gone_on) && self.ways.len() < MOST_WAYS {
                        self.ways.insert(way.clone().returns(place, answer));
                    }
                    self.ways.insert(way);
                }
            }
        }
    }

    /// Whether there is an order for whatever clients have heard; `Err` shows what has none.
    pub fn are_linearizable(&self) -> Result<(), String> {
        match self.ways.iter().find(|way| !way.explained) {
            Some(way) => Err(describe(&way.calls)),
            None => Ok(()),
        }
    }

    /// Whether some call has returned this.
    pub fn has_returned(&self, is_it: impl Fn(&S::Call, &S::Answer) -> bool) -> bool {
        let mut calls = self.ways.iter().flat_map(|way| &way.calls);
        calls.any(|Call { call, returned, .. }| {
            returned.as_ref().is_some_and(|(_, answer)| is_it(call, answer))
        })
    }
}

impl<S: Specification> Heard<S> {
    fn begins(mut self, id: RequestId, call: &S::Call) -> Self {
        if self.calls.iter().all(|known| known.id != id) {
            self.now += self.now % 2;
            let began = self.now;
            let place = self.calls.partition_point(|known| (known.began, known.id) < (began, id));
            self.calls.insert(place, Call { began, id, call: call.clone(), returned: None });
        }
        self
    }

    /// The client of this call hears this now.
    fn returns(mut self, place: usize, answer: &S::Answer) -> Self {
        self.now += (self.now + 1) % 2;
        let before = self.calls[place].returned.replace((self.now, answer.clone()));
        let last = self.last.0.take().filter(|_| before.is_none());
        // Behind all that have returned it may stand, whatever it is.
        self.last.0 = last.and_then(|state| state.step(&self.calls[place].call, answer));
        if self.last.0.is_none() {
            (self.explained, self.last.0) = self.explain();
        }
        self
    }

    /// Whether there is an order, and what one leaves in which no call stands that has not returned.
    fn explain(&self) -> (bool, Option<S>) {
        let order = match search(&self.calls, &mut || true) {
            Found::Order(order) => order,
            Found::Some => return (true, None),
            Found::None | Found::Stopped => return (false, None),
        };
        let left = order.iter().try_fold(S::default(), |state, &place| {
            let Call { call, returned, .. } = &self.calls[place];
            state.step(call, &returned.as_ref()?.1)
        });
        (true, left)
    }
}

/// The calls, one after the other, each with who asked it and when.
fn describe<S: Specification>(calls: &[Call<S>]) -> String {
    let mut out = "no order of these calls explains their answers:".to_owned();
    for Call { began, id, call, returned } in calls {
        let _ = match returned {
            Some((until, answer)) => write!(out, " {id} {call:?} = {answer:?} [{began}, {until}];"),
            None => write!(out, " {id} {call:?} [{began}, …];"),
        };
    }
    out.pop();
    out
}

impl<N, S> History<N> for Calls<S>
where
    N: Node,
    S: Specification<Call = N::Request, Answer = N::Reply>,
{
    const HEARS_REPLIES: bool = true;
    const HEARS_CALLS: bool = true;

    fn observe(&mut self, _: NodeId, _: &N::Fact) {}

    fn called(&mut self, _: NodeId, id: RequestId, request: &N::Request) {
        self.begins(id, request);
    }

    fn replied(&mut self, _: NodeId, to: RequestId, reply: &N::Reply) {
        if !N::is_not_yet(reply) && N::instead(reply).is_none() {
            self.returns(to, reply);
        }
    }
}

/// One copy of the service would have answered so, whatever clients have heard.
pub fn linearizable<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Specification<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "linearizable",
        about: "one order of all calls explains what was answered",
        source: "Herlihy, Wing 1990, §2.2",
        check: |now| now.history.are_linearizable(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// A register that also swaps: what it held is the answer.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Cell(u8);

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    enum Ask {
        Read,
        Write(u8),
        Swap(u8),
    }

    impl Object for Cell {
        type Call = Ask;
        type Answer = Option<u8>;

        fn apply(&mut self, call: &Ask) -> Option<u8> {
            let Self(held) = self;
            match *call {
                Ask::Read => Some(*held),
                Ask::Write(value) => {
                    *held = value;
                    None
                }
                Ask::Swap(value) => Some(std::mem::replace(held, value)),
            }
        }

        fn only_reads(call: &Ask) -> bool {
            *call == Ask::Read
        }
    }

    fn id(client: u64, sequence: u64) -> RequestId {
        RequestId { client, sequence }
    }

    /// Whether some order of some of the calls explains all answers: all orders are tried.
    fn by_trying_all(state: &Cell, left: &[&Call<Cell>]) -> bool {
        if left.iter().all(|call| call.returned.is_none()) {
            return true;
        }
        let may_be_next = |it: &Call<Cell>| {
            left.iter().all(|other| other.returned.as_ref().is_none_or(|(until, _)| *until >= it.began))
        };
        (0..left.len()).filter(|&place| may_be_next(left[place])).any(|place| {
            let mut rest = left.to_vec();
            let Call { call, returned, .. } = rest.remove(place);
            let mut after = state.clone();
            let answer = after.apply(call);
            let fits = returned.as_ref().is_none_or(|(_, told)| *told == answer);
            fits && by_trying_all(&after, &rest)
        })
    }

    fn calls() -> impl Strategy<Value = Vec<Call<Cell>>> {
        let ask = prop_oneof![Just(Ask::Read), (1..4_u8).prop_map(Ask::Write), (1..4_u8).prop_map(Ask::Swap)];
        let call = (0..12_u64, ask, prop::option::weighted(0.8, (0..6_u64, 0..4_u8)));
        prop::collection::vec(call, 0..7).prop_map(|calls| {
            let mut calls: Vec<_> = calls
                .into_iter()
                .zip(1..)
                .map(|((began, call, returned), client)| {
                    let answer = |told| if matches!(call, Ask::Write(_)) { None } else { Some(told) };
                    let returned = returned.map(|(lasted, told)| (began + lasted, answer(told)));
                    Call { began, id: id(client, 1), call, returned }
                })
                .collect();
            calls.sort();
            calls
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 10_000,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        #[test]
        fn it_finds_an_order_where_there_is_one(calls in calls()) {
            let expected = by_trying_all(&Cell::default(), &calls.iter().collect::<Vec<_>>());
            prop_assert_eq!(side_by_side(&calls, &mut || true).expect("nobody stops it").is_none(), expected);
            match search(&calls, &mut || true) {
                Found::None => {
                    prop_assert!(!expected);
                    let at = unexplained(&calls, &mut || true).expect("a time");
                    // What came before can be explained, and what came then cannot.
                    let before = at.checked_sub(1).map(|before| (before, true));
                    for (until, explained) in before.into_iter().chain([(at, false)]) {
                        let mut begun: Vec<_> = calls.iter().filter(|it| it.began <= until).cloned().collect();
                        for call in &mut begun {
                            call.returned = call.returned.filter(|(at, _)| *at <= until);
                        }
                        let found = by_trying_all(&Cell::default(), &begun.iter().collect::<Vec<_>>());
                        prop_assert_eq!(found, explained);
                    }
                }
                Found::Some | Found::Stopped => prop_assert!(false, "an order of so few is written down"),
                Found::Order(order) => {
                    prop_assert!(expected);
                    // The order is one: what it says can be checked call by call.
                    let mut cell = Cell::default();
                    for (place, &at) in order.iter().enumerate() {
                        let answer = cell.apply(&calls[at].call);
                        let told = calls[at].returned.as_ref();
                        prop_assert!(told.is_none_or(|(_, told)| *told == answer));
                        let ended = |later: &&usize| {
                            let until = calls[**later].returned.as_ref().map(|(until, _)| *until);
                            until.is_some_and(|until| until < calls[at].began)
                        };
                        prop_assert!(!order[place..].iter().any(|later| ended(&later)));
                    }
                    let missing = |at: &usize| calls[*at].returned.is_some() && !order.contains(at);
                    prop_assert!(!(0..calls.len()).any(|at| missing(&at)));
                }
            }
        }

        /// Told step by step, the history says at each moment what a search of all of it says.
        #[test]
        fn a_history_says_the_same_step_by_step(calls in calls()) {
            let mut events: Vec<_> = (0..).zip(&calls).map(|(at, call)| (call.began, 0, at)).collect();
            let until = |(at, call): (usize, &Call<Cell>)| Some((call.returned.as_ref()?.0, 1, at));
            events.extend((0..).zip(&calls).filter_map(until));
            events.sort_unstable();
            let mut history = Calls::<Cell>::default();
            let mut so_far: Vec<Call<Cell>> = Vec::new();
            for (now, (_, kind, at)) in (0..).zip(events) {
                let Call { id, call, returned, .. } = &calls[at];
                if kind == 0 {
                    history.begins(*id, call);
                    so_far.push(Call { began: now, id: *id, call: *call, returned: None });
                } else {
                    let answer = returned.expect("it returns").1;
                    history.returns(*id, &answer);
                    let mine = so_far.iter_mut().find(|known| known.id == *id).expect("it has begun");
                    mine.returned = Some((now, answer));
                }
                let expected = search(&so_far, &mut || true) != Found::None;
                prop_assert_eq!(history.are_linearizable().is_ok(), expected);
            }
        }
    }

    /// A client whose first answer was lost may have heard the second: that it was applied twice is seen.
    #[test]
    fn an_answer_may_be_lost_and_another_one_heard() {
        let mut history = Calls::<Cell>::default();
        history.begins(id(1, 1), &Ask::Swap(1));
        history.returns(id(1, 1), &Some(0));
        assert_eq!(history.are_linearizable(), Ok(()));
        history.begins(id(1, 1), &Ask::Swap(1));
        history.returns(id(1, 1), &Some(0));
        assert_eq!(history.are_linearizable(), Ok(()), "the same answer again");
        let mut gone_on = history.clone();
        history.returns(id(1, 1), &Some(1));
        let why = history.are_linearizable().expect_err("it was applied twice");
        assert_eq!(why, "no order of these calls explains their answers: c1/1 Swap(1) = Some(1) [0, 1]");
        // Who goes on has heard the first.
        gone_on.begins(id(1, 2), &Ask::Read);
        gone_on.returns(id(1, 1), &Some(1));
        assert_eq!(gone_on.are_linearizable(), Ok(()));
    }

    /// Histories that order the same calls in the same way are the same, and count as one state.
    #[test]
    fn what_differs_in_nothing_that_matters_is_the_same() {
        let [mut one, mut other] = [(); 2].map(|()| Calls::<Cell>::default());
        one.begins(id(1, 1), &Ask::Write(1));
        one.begins(id(2, 1), &Ask::Read);
        one.returns(id(1, 1), &None);
        one.returns(id(2, 1), &Some(1));
        other.begins(id(2, 1), &Ask::Read);
        other.begins(id(1, 1), &Ask::Write(1));
        other.returns(id(2, 1), &Some(1));
        other.returns(id(1, 1), &None);
        assert_eq!(one, other);
        other.begins(id(3, 1), &Ask::Read);
        one.begins(id(3, 1), &Ask::Read);
        assert_eq!(one, other);
    }

    /// Ten thousand calls of twenty clients, some of which nobody ever answers.
    #[test]
    fn a_long_history_is_no_matter() {
        let mut calls: Vec<Call<Cell>> = Vec::new();
        let mut cell = Cell::default();
        for number in 0..10_000_u64 {
            let call = match number % 7 {
                0 | 3 => Ask::Write((number % 250) as u8),
                1 => Ask::Swap((number % 251) as u8),
                _ => Ask::Read,
            };
            let answer = cell.apply(&call);
            let returned = (number % 1_000 != 5).then_some((number * 10 + 60, answer));
            calls.push(Call { began: number * 10, id: id(number % 20, number), call, returned });
        }
        assert!(matches!(search(&calls, &mut || true), Found::Order(order) if order.len() >= 9_990));
        // Among twenty at a time as well it is the search that finds it.
        let mut wide = calls.clone();
        for call in &mut wide {
            call.returned = call.returned.map(|(_, answer)| (call.began + 200, answer));
        }
        assert!(matches!(search(&wide, &mut || true), Found::Order(_)));
        calls[9_000].returned = Some((9_000 * 10 + 60, Some(255)));
        calls[9_000].call = Ask::Read;
        assert_eq!(search(&calls, &mut || true), Found::None);
        assert_eq!(unexplained(&calls, &mut || true), Some(9_000 * 10 + 60));
        let mut asked = 0;
        let mut stop = || {
            asked += 1;
            asked < 3
        };
        assert_eq!(search(&calls, &mut stop), Found::Stopped);
    }
}

//! The calls of clients as a history of the harness, and the invariants that ask about it.
#![allow(clippy::mutable_key_type, reason = "what is remembered of a history tells no two apart")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::Hash;
use std::sync::OnceLock;

use super::acknowledged::{Lost, lost};
use super::call::Call;
use super::search::{Found, search, search_by_client};
use super::sessions::{Broken, no_view, reads_go_back, writes_are_missed};
use super::{Places, Specification};
use crate::ghost::Ghost;
use crate::node::{Node, NodeId, RequestId};
use crate::observation::{History, Invariant};

/// What clients have asked and were answered, as a history: see [`linearizable`], [`sequential`],
/// [`acknowledged_is_never_lost`], [`session`], [`monotonic_reads`], [`read_your_writes`].
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
    /// What was asked about these calls.
    known: Ghost<Known<S>>,
}

/// Answers that follow from the calls; each is found once somebody asks.
#[derive(Clone, Debug)]
struct Known<S> {
    linearizable: OnceLock<Order<S>>,
    sequential: OnceLock<Order<S>>,
    never_lost: OnceLock<bool>,
    one_view: OnceLock<bool>,
}

/// Whether there is an order.
#[derive(Clone, Debug)]
enum Order<S> {
    /// There is. If one was found in which exactly those calls stand that have returned, this is what it leaves: with it
    /// the next one is found sooner.
    Leaves(Option<S>),
    /// There is none.
    No,
}

impl<S> Default for Known<S> {
    fn default() -> Self {
        Self {
            linearizable: OnceLock::new(),
            sequential: OnceLock::new(),
            never_lost: OnceLock::new(),
            one_view: OnceLock::new(),
        }
    }
}

impl<S: Specification> Default for Calls<S> {
    fn default() -> Self {
        let known = Known { linearizable: Order::Leaves(Some(S::default())).into(), ..Known::default() };
        let known = Known { sequential: known.linearizable.clone(), ..known };
        Self { ways: BTreeSet::from([Heard { calls: Vec::new(), now: 0, known: Ghost(known) }]) }
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
        let search = |way: &Heard<S>| way.look(search(&way.calls, &mut |_| true));
        self.all(|way| match way.known.0.linearizable.get_or_init(|| search(way)) {
            Order::Leaves(_) => Ok(()),
            Order::No => Err(describe("no order of these calls explains their answers", &way.calls)),
        })
    }

    /// Whether there is an order that respects that of each client's own calls.
    pub fn are_sequential(&self) -> Result<(), String> {
        let search = |way: &Heard<S>| way.look(search_by_client(&way.calls, &mut |_| true));
        let what =
            "no order of these calls explains their answers in which each client's own stand as it made them";
        self.all(|way| match way.known.0.sequential.get_or_init(|| search(way)) {
            Order::Leaves(_) => Ok(()),
            Order::No => Err(describe(what, &way.calls)),
        })
    }

    /// Whether each call that only reads sees all that had returned when it began: see [`lost`].
    pub fn are_never_lost(&self) -> Result<(), String> {
        self.all(|way| {
            let find = || lost(&way.calls, &mut |_| true).unwrap_or(None);
            if *way.known.0.never_lost.get_or_init(|| find().is_none()) {
                return Ok(());
            }
            let what = match find() {
                Some(Lost::Read(place)) => {
                    let Call { id, call, .. } = &way.calls[place];
                    format!("{id} {call:?} does not see what had been acknowledged before it began")
                }
                Some(Lost::Updates) | None => {
                    "no order explains the answers to what changes something".into()
                }
            };
            Err(describe(&what, &way.calls))
        })
    }

    /// Whether one view explains what each session has heard: see [`no_view`].
    pub fn have_one_view(&self) -> Result<(), String> {
        self.all(|way| {
            let find = || no_view(&way.calls, &mut |_| true).unwrap_or(None);
            if *way.known.0.one_view.get_or_init(|| find().is_none()) {
                return Ok(());
            }
            way.blame(find(), "has heard what no one copy that goes forward would answer")
        })
    }

    fn all(&self, holds: impl Fn(&Heard<S>) -> Result<(), String>) -> Result<(), String> {
        self.ways.iter().try_for_each(holds)
    }

    /// Whether some call has returned this.
    pub fn has_returned(&self, is_it: impl Fn(&S::Call, &S::Answer) -> bool) -> bool {
        let mut calls = self.ways.iter().flat_map(|way| &way.calls);
        calls.any(|Call { call, returned, .. }| {
            returned.as_ref().is_some_and(|(_, answer)| is_it(call, answer))
        })
    }
}

impl<S: Places> Calls<S> {
    /// Whether no session sees less than it has seen before: see [`reads_go_back`].
    pub fn have_monotonic_reads(&self) -> Result<(), String> {
        self.all(|way| way.blame(reads_go_back(&way.calls), "reads again what it had seen replaced"))
    }

    /// Whether all sessions see what they have written: see [`writes_are_missed`].
    pub fn read_their_writes(&self) -> Result<(), String> {
        self.all(|way| way.blame(writes_are_missed(&way.calls), "does not see what it has written"))
    }
}

impl<S: Specification> Heard<S> {
    fn blame(&self, broken: Option<Broken>, what: &str) -> Result<(), String> {
        let Some(Broken { client, shown }) = broken else { return Ok(()) };
        let shown: Vec<_> = shown.into_iter().map(|place| self.calls[place].clone()).collect();
        Err(describe(&format!("client {client} {what}"), &shown))
    }

    fn begins(mut self, id: RequestId, call: &S::Call) -> Self {
        if self.calls.iter().all(|known| known.id != id) {
            self.now += self.now % 2;
            let began = self.now;
            let place = self.calls.partition_point(|known| (known.began, known.id) < (began, id));
            self.calls.insert(place, Call { began, id, call: call.clone(), returned: None });
            // Whatever has an order has one without this call.
            let Known { linearizable, sequential, never_lost, one_view } = &mut self.known.0;
            for order in [linearizable, sequential] {
                if matches!(order.get(), Some(Order::No)) {
                    order.take();
                }
            }
            for holds in [never_lost, one_view] {
                if holds.get() == Some(&false) {
                    holds.take();
                }
            }
        }
        self
    }

    /// The client of this call hears this now.
    fn returns(mut self, place: usize, answer: &S::Answer) -> Self {
        self.now += (self.now + 1) % 2;
        let before = self.calls[place].returned.replace((self.now, answer.clone()));
        let known = std::mem::take(&mut self.known.0);
        // Behind all that have returned it may stand, whatever it is.
        let add = |order: OnceLock<Order<S>>| match order.into_inner() {
            Some(Order::Leaves(Some(state))) if before.is_none() => {
                let after = state.step(&self.calls[place].call, answer);
                after.map_or_else(OnceLock::new, |after| Order::Leaves(Some(after)).into())
            }
            Some(Order::Leaves(_) | Order::No) | None => OnceLock::new(),
        };
        let (linearizable, sequential) = (add(known.linearizable), add(known.sequential));
        self.known.0 = Known { linearizable, sequential, ..Known::default() };
        self
    }

    /// Whether there is an order, and what one leaves in which no call stands that has not returned.
    fn look(&self, found: Found) -> Order<S> {
        let order = match found {
            Found::Order(order) => order,
            Found::Some => return Order::Leaves(None),
            Found::None => return Order::No,
            Found::Stopped => {
                panic!("so many calls are under way that nobody knows whether there is an order")
            }
        };
        Order::Leaves(order.iter().try_fold(S::default(), |state, &place| {
            let Call { call, returned, .. } = &self.calls[place];
            state.step(call, &returned.as_ref()?.1)
        }))
    }
}

/// The calls, one after the other, each with who asked it and when.
fn describe<S: Specification>(what: &str, calls: &[Call<S>]) -> String {
    let mut out = format!("{what}:");
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

/// One copy of the service would have answered so, if what clients asked had reached it in some order that respects only
/// that of each client's own calls (Lamport, *How to Make a Multiprocessor Computer That Correctly Executes Multiprocess
/// Programs*, IEEE ToC 1979). It does not notice that what is read is old, as long as nobody sees time go back.
pub fn sequential<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Specification<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "sequential",
        about: "one order of all calls, in which each client's own stand as it made them, explains what was answered",
        source: "Lamport 1979; Attiya, Welch 1994, §2.3",
        check: |now| now.history.are_sequential(),
    }
}

/// Who reads sees all that had been acknowledged when it began to: see [`lost`]. It does not notice two reads, of which
/// the later sees less, while somebody writes.
pub fn acknowledged_is_never_lost<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Specification<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "acknowledged-is-never-lost",
        about: "whoever reads sees all that had been acknowledged before",
        source: "Shao, Welch, Pierce, Lee 2011, MWR-weak",
        check: |now| now.history.are_never_lost(),
    }
}

/// Each client has heard what one copy could have told it that only goes forward: see [`no_view`]. It does not notice
/// that clients do not agree, nor that what is read is old.
pub fn session<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Specification<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "session",
        about: "each client sees one copy that goes forward and takes in its own writes",
        source: "Terry et al. 1994, §3; Lipton, Sandberg 1988",
        check: |now| now.history.have_one_view(),
    }
}

/// No client sees less than it has seen before: see [`reads_go_back`].
pub fn monotonic_reads<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Places<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "monotonic-reads",
        about: "no client sees less than it has seen before",
        source: "Terry et al. 1994, §3.2; Viotti, Vukolić 2016, §3.3",
        check: |now| now.history.have_monotonic_reads(),
    }
}

/// Each client sees what it has written: see [`writes_are_missed`].
pub fn read_your_writes<N, S>() -> Invariant<N, Calls<S>>
where
    N: Node,
    S: Places<Call = N::Request, Answer = N::Reply>,
{
    Invariant {
        name: "read-your-writes",
        about: "each client sees what it has written",
        source: "Terry et al. 1994, §3.1; Viotti, Vukolić 2016, §3.3",
        check: |now| now.history.read_their_writes(),
    }
}

//! The calls of clients as a history of the harness, and the invariant that asks about it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::Hash;

use super::Specification;
use super::search::{Call, Found, search};
use crate::ghost::Ghost;
use crate::node::{Node, NodeId, RequestId};
use crate::observation::{History, Invariant};

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

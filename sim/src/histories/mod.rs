//! Histories from outside: what clients of any service asked and were answered, written down by whoever tested it, and
//! judged by a model of one copy of it. [`read`] says how they are written, [`models`] what there is to judge by.

pub mod models;
pub mod promises;
pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use coalmine_core::linearize::{
    Broken, Call, Found, GoOn, Lost, Places, Specification, beginning, lost, no_view, reads_go_back, search,
    search_by_client, unexplained, writes_are_missed,
};
use coalmine_core::node::RequestId;

use self::models::{Model, Whole};
use self::promises::Promise;
use self::read::Operation;
use crate::chunks::in_chunks;

/// What a history comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// How many operations it has.
    pub operations: usize,
    /// How many clients.
    pub clients: usize,
    /// How many things it is about, each of which is judged by itself.
    pub objects: usize,
    /// The verdict.
    pub verdict: Verdict,
}

/// Whether a history keeps what was promised.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does not.
    Violated(Violation),
    /// It was stopped before that was known.
    NotKnown,
}

/// What shows that a promise was broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// What it is about, if that has a name.
    pub object: String,
    /// In words, what is wrong with the operations that are shown.
    pub what: String,
    /// If this is the shortest beginning of a history that no order explains: how many operations on the object had
    /// returned before.
    pub explained: Option<usize>,
    /// The operations that are needed to show it, in the order in which they began; the last to return is the one that
    /// cannot be explained, if there is one.
    pub shown: Vec<Operation>,
}

/// Judges a history by the model of this name. `Err` says what is wrong with the history or the names.
pub fn judge(
    model: &str,
    promise: &str,
    operations: &[Operation],
    go_on: &mut GoOn<'_>,
) -> Result<Judged, String> {
    let promise = Promise::named(promise)?;
    match model {
        models::Register::NAME => with_places(History::<models::Register>::of(operations)?, promise, go_on),
        models::Kv::NAME => with_places(History::<models::Kv>::of(operations)?, promise, go_on),
        models::Counter::NAME => without_places(History::<models::Counter>::of(operations)?, promise, go_on),
        models::Set::NAME => without_places(History::<models::Set>::of(operations)?, promise, go_on),
        models::Queue::NAME => without_places(History::<models::Queue>::of(operations)?, promise, go_on),
        unknown => Err(format!("there is no model {unknown:?}; there are: {}", models::NAMES.join(", "))),
    }
}

/// Operations, as calls of a model; in the order in which they began.
pub(crate) struct History<'a, M: Model> {
    calls: Vec<Call<M>>,
    operations: Vec<&'a Operation>,
    clients: Vec<&'a str>,
}

impl<'a, M: Model> History<'a, M> {
    fn of(operations: &'a [Operation]) -> Result<Self, String> {
        let clients: BTreeSet<&str> = operations.iter().map(|operation| &*operation.client).collect();
        let clients: Vec<&str> = clients.into_iter().collect();
        let mut calls = Vec::with_capacity(operations.len());
        for (sequence, operation) in (0..).zip(operations) {
            let call = M::call(operation).map_err(|why| operation.wrong(&why))?;
            let returned = match operation.returned {
                None => None,
                Some(at) => {
                    let answer = M::answer(&call, operation);
                    Some((at, answer.map_err(|why| operation.wrong(&why))?))
                }
            };
            let client = clients.binary_search(&&*operation.client).unwrap_or_default() as u64;
            let id = RequestId { client, sequence };
            calls.push((Call { began: operation.called, id, call, returned }, operation));
        }
        calls.sort_by_key(|(call, _)| (call.began, call.id.sequence));
        let (calls, operations) = calls.into_iter().unzip();
        Ok(Self { calls, operations, clients })
    }

    /// By what calls are about, their places.
    fn objects(&self) -> BTreeMap<String, Vec<usize>> {
        let mut objects: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, call) in self.calls.iter().enumerate() {
            objects.entry(M::about(&call.call)).or_default().push(place);
        }
        objects
    }

    fn judged(&self, verdict: Verdict) -> Judged {
        let (operations, clients) = (self.calls.len(), self.clients.len());
        Judged { operations, clients, objects: self.objects().len(), verdict }
    }
}

fn with_places<M: Model + Places>(
    history: History<'_, M>,
    promise: Promise,
    go_on: &mut GoOn<'_>,
) -> Result<Judged, String> {
    let verdict = match promise {
        Promise::MonotonicReads => {
            history.blames(reads_go_back(&history.calls), "reads again what it had seen replaced")
        }
        Promise::ReadYourWrites => {
            history.blames(writes_are_missed(&history.calls), "does not see what it has written")
        }
        Promise::Linearizable | Promise::Sequential | Promise::NeverLost | Promise::Session => {
            return without_places(history, promise, go_on);
        }
    };
    Ok(history.judged(verdict))
}

fn without_places<M: Model>(
    history: History<'_, M>,
    promise: Promise,
    go_on: &mut GoOn<'_>,
) -> Result<Judged, String> {
    let verdict = match promise {
        Promise::Linearizable => history.each(go_on, linearizable),
        Promise::NeverLost => history.each(go_on, never_lost),
        Promise::Sequential => history.sequential(go_on),
        Promise::Session => history.one_view(go_on),
        Promise::MonotonicReads | Promise::ReadYourWrites => {
            let name = promise.name();
            return Err(format!(
                "{name:?} is asked of what is written and read as a whole: of register and kv"
            ));
        }
    };
    Ok(history.judged(verdict))
}

/// What is wrong with some calls on one thing, in words; what of them shows it; how many had been explained before.
type Wrong = (String, Vec<usize>, Option<usize>);

impl<M: Model> History<'_, M> {
    fn violated(&self, object: String, (what, shown, explained): Wrong) -> Verdict {
        let shown = shown.into_iter().map(|place| self.operations[place].clone()).collect();
        Verdict::Violated(Violation { object, what, explained, shown })
    }

    fn blames(&self, broken: Option<Broken>, what: &str) -> Verdict {
        let Some(Broken { client, shown }) = broken else { return Verdict::Holds };
        let what = format!("Client {} {what}", self.clients[client as usize]);
        self.violated(String::new(), (what, shown, None))
    }

    /// Judges each thing by itself: what is promised of all is kept if it is kept of each.
    fn each(
        &self,
        go_on: &mut GoOn<'_>,
        judge: impl Fn(&str, &[Call<M>], &mut GoOn<'_>) -> Option<Option<Wrong>>,
    ) -> Verdict {
        for (object, places) in self.objects() {
            let calls: Vec<_> = places.iter().map(|place| self.calls[*place].clone()).collect();
            match judge(&object, &calls, go_on) {
                Some(None) => continue,
                Some(Some((what, shown, explained))) => {
                    let shown = shown.into_iter().map(|at| places[at]).collect();
                    return self.violated(object, (what, shown, explained));
                }
                None => return Verdict::NotKnown,
            }
        }
        Verdict::Holds
    }

    fn sequential(&self, go_on: &mut GoOn<'_>) -> Verdict {
        // What clients see of one thing may contradict what they see of another.
        let calls = Whole::all_of(&self.calls);
        let mut is_explained = |calls: &[Call<Whole<M>>]| match search_by_client(calls, go_on) {
            Found::Order(_) | Found::Some => Some(true),
            Found::None => Some(false),
            Found::Stopped => None,
        };
        match is_explained(&calls) {
            Some(true) => return Verdict::Holds,
            None => return Verdict::NotKnown,
            Some(false) => {}
        }
        let shown = without_needless_reads((0..).zip(calls).collect(), |_| true, &mut is_explained);
        let what = "There is no order of these in which each client's own stand as it made them".to_owned();
        self.violated(String::new(), (what, shown, None))
    }

    fn one_view(&self, go_on: &mut GoOn<'_>) -> Verdict {
        let what = "has heard what no one copy would tell it that only goes forward";
        // Without others' things fewer orders are possible.
        let broken = if self.objects().len() > 1 {
            no_view(&Whole::all_of(&self.calls), go_on)
        } else {
            no_view(&self.calls, go_on)
        };
        broken.map_or(Verdict::NotKnown, |broken| self.blames(broken, what))
    }
}

fn linearizable<M: Model>(object: &str, calls: &[Call<M>], go_on: &mut GoOn<'_>) -> Option<Option<Wrong>> {
    match search(calls, go_on) {
        Found::Order(_) | Found::Some => return Some(None),
        Found::Stopped => return None,
        Found::None => {}
    }
    let until = unexplained(calls, go_on)?;
    let answers = calls.iter().filter_map(|call| call.returned.as_ref());
    let explained = answers.filter(|(at, _)| *at < until).count();
    let mut shown = beginning(calls, until);
    // What only reads and has not returned says nothing; of what has, it may say nothing.
    shown.retain(|(_, call)| call.returned.is_some() || !M::only_reads(&call.call));
    let may_go = |call: &Call<M>| call.returned.as_ref().is_some_and(|(at, _)| *at != until);
    let shown = without_needless_reads(shown, may_go, |calls| match search(calls, go_on) {
        Found::None => Some(false),
        Found::Order(_) | Found::Some => Some(true),
        Found::Stopped => None,
    });
    let about = if object.is_empty() { String::new() } else { format!(" on {object}") };
    let what = format!("The answers{about} cannot be put in an order");
    Some(Some((what, shown, Some(explained))))
}

fn never_lost<M: Model>(object: &str, calls: &[Call<M>], go_on: &mut GoOn<'_>) -> Option<Option<Wrong>> {
    let about = if object.is_empty() { String::new() } else { format!(" on {object}") };
    let updates = (0..calls.len()).filter(|place| !M::only_reads(&calls[*place].call));
    Some(match lost(calls, go_on)? {
        None => None,
        Some(Lost::Updates) => {
            let what = format!("There is no order of these{about}, whatever was read");
            Some((what, updates.collect(), None))
        }
        Some(Lost::Read(read)) => {
            let at = calls[read].returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
            let mut shown: Vec<usize> =
                updates.filter(|place| calls[*place].began <= at).chain([read]).collect();
            shown.sort_unstable();
            let what =
                format!("What was read last{about} is not what had been acknowledged when it was asked for");
            Some((what, shown, None))
        }
    })
}

/// The places of these calls without those that only read, may go, and are not needed: the others still cannot be
/// explained. (A write that is left out would make what was read inexplicable.) Where nobody knows they stay.
fn without_needless_reads<S: Specification>(
    mut shown: Vec<(usize, Call<S>)>,
    may_go: impl Fn(&Call<S>) -> bool,
    mut is_explained: impl FnMut(&[Call<S>]) -> Option<bool>,
) -> Vec<usize> {
    let may_go = shown.iter().filter(|(_, call)| S::only_reads(&call.call) && may_go(call));
    let mut may_go: Vec<usize> = may_go.map(|(place, _)| *place).collect();
    let _ = in_chunks(may_go.len(), |range| {
        let goes = &may_go[range.clone()];
        let stays = shown.iter().filter(|(place, _)| goes.binary_search(place).is_err());
        let stays: Vec<_> = stays.cloned().collect();
        let without: Vec<_> = stays.iter().map(|(_, call)| call.clone()).collect();
        let goes = !is_explained(&without)?;
        if goes {
            shown = stays;
            may_go.drain(range);
        }
        Some(goes)
    });
    shown.into_iter().map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests;

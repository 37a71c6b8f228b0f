//! Histories from outside: what clients of any service asked and were answered, written down by whoever tested it, and
//! judged by a model of one copy of it. [`read`] says how they are written, [`models`] what there is to judge by.

pub mod models;
pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use coalmine_core::linearize::{Call, Found, beginning, search, unexplained};
use coalmine_core::node::RequestId;

use self::models::Model;
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

/// Whether one order explains a history.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// One does.
    Linearizable,
    /// None does.
    Violated(Violation),
    /// It was stopped before that was known.
    NotKnown,
}

/// The shortest beginning of a history that no order explains.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// What it is about, if that has a name.
    pub object: String,
    /// How many operations on it had returned before.
    pub explained: usize,
    /// The operations that are needed to show it, in the order in which they began; the last to return is the one that
    /// cannot be explained.
    pub shown: Vec<Operation>,
}

/// Judges a history by the model of this name. `Err` says what is wrong with the history or the name.
pub fn judge(
    model: &str,
    operations: &[Operation],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Judged, String> {
    match model {
        models::Register::NAME => judge_by::<models::Register>(operations, go_on),
        models::Kv::NAME => judge_by::<models::Kv>(operations, go_on),
        models::Counter::NAME => judge_by::<models::Counter>(operations, go_on),
        models::Set::NAME => judge_by::<models::Set>(operations, go_on),
        models::Queue::NAME => judge_by::<models::Queue>(operations, go_on),
        unknown => Err(format!("there is no model {unknown:?}; there are: {}", models::NAMES.join(", "))),
    }
}

fn judge_by<M: Model>(operations: &[Operation], go_on: &mut dyn FnMut() -> bool) -> Result<Judged, String> {
    let mut objects: BTreeMap<String, Vec<(Call<M>, &Operation)>> = BTreeMap::new();
    for (place, operation) in (0..).zip(operations) {
        let call = M::call(operation).map_err(|why| operation.wrong(&why))?;
        let returned = match operation.returned {
            None => None,
            Some(at) => {
                let answer = M::answer(&call, operation);
                Some((at, answer.map_err(|why| operation.wrong(&why))?))
            }
        };
        let id = RequestId { client: place, sequence: 0 };
        let object = M::about(&call);
        objects
            .entry(object)
            .or_default()
            .push((Call { began: operation.called, id, call, returned }, operation));
    }
    let clients: BTreeSet<_> = operations.iter().map(|operation| &operation.client).collect();
    let mut judged = Judged {
        operations: operations.len(),
        clients: clients.len(),
        objects: objects.len(),
        verdict: Verdict::Linearizable,
    };
    for (object, mut calls) in objects {
        calls.sort_by_key(|(call, _)| (call.began, call.id));
        let (calls, operations): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        match search(&calls, go_on) {
            Found::Order(_) | Found::Some => continue,
            Found::Stopped => judged.verdict = Verdict::NotKnown,
            Found::None => {
                judged.verdict = match explain(&calls, go_on) {
                    Some((explained, shown)) => {
                        let shown = shown.into_iter().map(|place| operations[place].clone()).collect();
                        Verdict::Violated(Violation { object, explained, shown })
                    }
                    None => Verdict::NotKnown,
                };
            }
        }
        break;
    }
    Ok(judged)
}

/// How many answers can be explained, and which operations show that the next one cannot: of those that only read, as
/// few as possible. (A write that is left out would make what was read inexplicable.)
fn explain<M: Model>(calls: &[Call<M>], go_on: &mut dyn FnMut() -> bool) -> Option<(usize, Vec<usize>)> {
    let until = unexplained(calls, go_on)?;
    let answers = calls.iter().filter_map(|call| call.returned.as_ref());
    let explained = answers.filter(|(at, _)| *at < until).count();
    let mut shown = beginning(calls, until);
    // What only reads and has not returned says nothing; of what has, it may say nothing.
    shown.retain(|(_, call)| call.returned.is_some() || !M::only_reads(&call.call));
    let is_last = |call: &Call<M>| call.returned.as_ref().is_some_and(|(at, _)| *at == until);
    let may_go = shown.iter().filter(|(_, call)| M::only_reads(&call.call) && !is_last(call));
    let mut may_go: Vec<usize> = may_go.map(|(place, _)| *place).collect();
    in_chunks(may_go.len(), |range| {
        let goes = &may_go[range.clone()];
        let stays = shown.iter().filter(|(place, _)| goes.binary_search(place).is_err());
        let stays: Vec<_> = stays.cloned().collect();
        let without: Vec<_> = stays.iter().map(|(_, call)| call.clone()).collect();
        match search(&without, go_on) {
            Found::None => {
                shown = stays;
                may_go.drain(range);
                Some(true)
            }
            Found::Order(_) | Found::Some => Some(false),
            Found::Stopped => None,
        }
    })?;
    Some((explained, shown.into_iter().map(|(place, _)| place).collect()))
}

#[cfg(test)]
mod tests;

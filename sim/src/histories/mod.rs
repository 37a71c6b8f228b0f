//! Histories from outside: what clients of any service asked and were answered, written down by whoever tested it, and
//! judged by a model of one copy of it. [`read`] says how they are written, [`models`] what there is to judge by.

pub mod models;
pub mod read;

use std::collections::BTreeMap;

use coalmine_core::linearize::{Call, Found, beginning, search};
use coalmine_core::node::RequestId;

use self::models::Model;
use self::read::Operation;

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
    let clients =
        operations.iter().map(|operation| &operation.client).collect::<std::collections::BTreeSet<_>>();
    let mut judged = Judged {
        operations: operations.len(),
        clients: clients.len(),
        objects: objects.len(),
        verdict: Verdict::Linearizable,
    };
    for (object, mut calls) in objects {
        calls.sort_by_key(|(call, _)| (call.began, call.id));
        let all: Vec<_> = calls.iter().map(|(call, _)| call.clone()).collect();
        match search(&all, go_on) {
            Found::Order(_) | Found::Some => {}
            Found::Stopped => {
                judged.verdict = Verdict::NotKnown;
                return Ok(judged);
            }
            Found::None(at) => {
                let explained =
                    all.iter().filter_map(|call| call.returned.as_ref()).filter(|it| it.0 < at).count();
                let Some(shown) = needed(&all, at, go_on) else {
                    judged.verdict = Verdict::NotKnown;
                    return Ok(judged);
                };
                let shown = shown.into_iter().map(|at| calls[at].1.clone()).collect();
                judged.verdict = Verdict::Violated(Violation { object, explained, shown });
                return Ok(judged);
            }
        }
    }
    Ok(judged)
}

/// Which operations show that what returns at this time cannot be explained: of those that only read, as few as
/// possible. (A write that is left out would make what was read inexplicable.)
fn needed<M: Model>(calls: &[Call<M>], until: u64, go_on: &mut dyn FnMut() -> bool) -> Option<Vec<usize>> {
    let mut shown = beginning(calls, until);
    // What has not returned and is no write of anybody's says nothing; of what has, reads may say nothing.
    shown.retain(|(_, call)| call.returned.is_some() || !M::only_reads(&call.call));
    let mut place = shown.len();
    while place > 0 {
        place -= 1;
        let (_, call) = &shown[place];
        let is_last = call.returned.as_ref().is_some_and(|(at, _)| *at == until);
        if is_last || !M::only_reads(&call.call) {
            continue;
        }
        let without: Vec<_> = shown
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != place)
            .map(|(_, (_, call))| call.clone())
            .collect();
        match search(&without, go_on) {
            Found::None(_) => drop(shown.remove(place)),
            Found::Order(_) | Found::Some => {}
            Found::Stopped => return None,
        }
    }
    Some(shown.into_iter().map(|(at, _)| at).collect())
}

#[cfg(test)]
mod tests;

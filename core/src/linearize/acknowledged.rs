//! Whether what was acknowledged is ever lost: a call that only reads sees all that had returned when it began.
//!
//! What is asked: for each call that only reads, all calls that may change something can be put in one order with this
//! one, in which no call stands before one that had returned when it began, and which one copy would have answered so.
//! Two reads may have different orders. That is *weak regularity* (Shao, Welch, Pierce, Lee, *Multiwriter Consistency
//! Conditions for Shared Memory Registers*, SIAM J. Comput. 2011: MWR-weak), for any specification: what is read may be
//! older than what is being written at that time, and newer again than what somebody else reads later; but what has
//! been acknowledged before is there, unless something newer has taken its place.

use super::Specification;
use super::call::{Call, GoOn};
use super::search::{Found, search};

/// What cannot be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The calls that may change something have no order, whatever was read.
    Updates,
    /// They have none in which this call fits, which only reads: its place.
    Read(usize),
}

/// What shows that something was lost that had been acknowledged, if anything does; nothing at all if it was stopped
/// before that was known.
pub fn lost<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Option<Option<Lost>> {
    let mut updates: Vec<Call<S>> = calls.iter().filter(|call| !S::only_reads(&call.call)).cloned().collect();
    let is_read = |call: &Call<S>| S::only_reads(&call.call) && call.returned.is_some();
    let mut reads: Vec<usize> = (0..calls.len()).filter(|place| is_read(&calls[*place])).collect();
    let mut order = match search(&updates, go_on) {
        Found::Order(order) => order,
        Found::Some => Vec::new(),
        Found::None => return Some(Some(Lost::Updates)),
        Found::Stopped => return None,
    };
    // In one order most reads fit; another one is looked for those that do not.
    let is_an_order = |order: &Vec<usize>| updates.is_empty() || !order.is_empty();
    if is_an_order(&order) {
        leave_what_does_not_fit(&mut reads, calls, &updates, &order);
    }
    while let Some(read) = reads.pop() {
        let number = updates.len();
        updates.push(calls[read].clone());
        let found = search(&updates, go_on);
        updates.truncate(number);
        match found {
            Found::Order(with) => {
                order = with.into_iter().filter(|place| *place != number).collect();
                leave_what_does_not_fit(&mut reads, calls, &updates, &order);
            }
            Found::Some => {}
            Found::None => return Some(Some(Lost::Read(read))),
            Found::Stopped => return None,
        }
    }
    Some(None)
}

/// Keeps those reads that fit nowhere in this order of the updates.
fn leave_what_does_not_fit<S: Specification>(
    reads: &mut Vec<usize>,
    calls: &[Call<S>],
    updates: &[Call<S>],
    order: &[usize],
) {
    let mut states = vec![S::default()];
    for &place in order {
        let Call { call, returned, .. } = &updates[place];
        let after = match (states.last(), returned) {
            (Some(state), Some((_, answer))) => state.step(call, answer),
            // Which of several states it was is not written down.
            (Some(state), None) => state.maybe(call).pop().filter(|_| state.maybe(call).len() == 1),
            (None, _) => None,
        };
        match after {
            Some(after) => states.push(after),
            None => break,
        }
    }
    reads.retain(|&read| {
        let Call { call, returned, .. } = &calls[read];
        let Some((_, answer)) = returned else { return false };
        let from = order.iter().rposition(|place| updates[*place].is_before(&calls[read]));
        let until = order.iter().position(|place| calls[read].is_before(&updates[*place]));
        let states = states.iter().take(until.map_or(usize::MAX, |until| until + 1));
        let mut states = states.skip(from.map_or(0, |from| from + 1));
        !states.any(|state| state.step(call, answer).is_some())
    });
}

//! Calls in time.

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

impl<S: Specification> Call<S> {
    /// Whether it had returned when the other began.
    pub fn is_before(&self, other: &Self) -> bool {
        self.returned.as_ref().is_some_and(|(until, _)| *until < other.began)
    }

    /// Whether it has returned, and has changed nothing.
    pub(super) fn is_read(&self) -> bool {
        self.returned.as_ref().is_some_and(|(_, answer)| S::changed_nothing(&self.call, answer))
    }

    /// Whether nothing can be said of it: it only reads, and nobody knows what.
    pub(super) fn says_nothing(&self) -> bool {
        self.returned.is_none() && S::only_reads(&self.call)
    }
}

/// Whether a search goes on: it asks every 1,024 steps, and says how many states it remembers, which is what it needs
/// memory for.
pub type GoOn<'a> = dyn FnMut(usize) -> bool + 'a;

pub(super) const CALL: usize = 0;
pub(super) const RETURN: usize = 1;

/// What happens: when, whether it is a call or a return, of which call. At one time calls come first: what ends there
/// was before none of them. Calls that say nothing are left out.
pub(super) fn events<S: Specification>(calls: &[Call<S>]) -> Vec<(u64, usize, usize)> {
    let mut events = Vec::with_capacity(2 * calls.len());
    for (place, call) in calls.iter().enumerate().filter(|(_, call)| !call.says_nothing()) {
        events.push((call.began, CALL, place));
        events.extend(call.returned.as_ref().map(|(at, _)| (*at, RETURN, place)));
    }
    events.sort_unstable();
    events
}

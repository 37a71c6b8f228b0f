//! How much may happen, and what it costs.

use super::{Crashes, Kept, Rules, Step};
use crate::spec::budget::Budget;
use crate::spec::system::{NodeOf, Operation, System};
use crate::world::Spent;

/// What an action takes from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    One(Budget),
    /// The request of this number: it is free once, but for [inputs](System::inputs) that have a budget.
    Ask(usize),
}

impl Kept {
    pub(crate) fn cost(self) -> Budget {
        match self {
            Self::Unsynced(_) => Budget::Crashes,
            Self::Nothing => Budget::Wipes,
        }
    }
}

impl<S: System> Rules<S> {
    /// Whether a request may be sent now: a client sends one after the other, and with budget again.
    pub(crate) fn may_ask(&self, spent: &Spent, index: usize) -> bool {
        if let Some(budget) = self.budget_of(spent, index) {
            return (index < self.operations || budget != Budget::Retries) && self.allows(spent, budget);
        }
        let is_asked = |index: usize| spent.asked & (1 << index) != 0;
        let client = self.requests[index].id.client;
        (0..index).all(|earlier| is_asked(earlier) || self.requests[earlier].id.client != client)
    }

    /// Whether a client asks something else after this.
    pub(crate) fn is_followed(&self, index: usize) -> bool {
        let client = |request: &Operation<NodeOf<S>>| request.id.client;
        let mut later = (index + 1).min(self.operations)..self.operations;
        later.any(|later| client(&self.requests[later]) == client(&self.requests[index]))
    }

    /// Which crashes the budgets still allow.
    pub(crate) fn crashes(&self, spent: &Spent) -> Crashes {
        Crashes { crash: self.allows(spent, Budget::Crashes), wipe: self.allows(spent, Budget::Wipes) }
    }

    /// What a step costs.
    pub(crate) fn cost(&self, step: &Step<NodeOf<S>>) -> Option<Cost> {
        match step {
            Step::Boot | Step::Flush | Step::Deliver { again: false, .. } => None,
            Step::Deliver { again: true, .. } => Some(Cost::One(Budget::Duplicates)),
            Step::Fire(timer) if self.system.is_periodic(timer) => Some(Cost::One(Budget::Periodic)),
            Step::Fire(_) => self.limits.timeouts.map(|_| Cost::One(Budget::Timeouts)),
            Step::Ask(ask) => (!ask.sent_on).then_some(Cost::Ask(ask.index)),
        }
    }

    /// What a request takes from, if it is sent now.
    fn budget_of(&self, spent: &Spent, request: usize) -> Option<Budget> {
        if spent.asked & (1 << request) != 0 {
            return Some(Budget::Retries);
        }
        (request >= self.operations).then_some(Budget::Inputs)
    }

    pub(crate) fn pay(&self, spent: &mut Spent, cost: Cost) {
        match cost {
            Cost::One(budget) => spent[budget] += 1,
            Cost::Ask(index) => {
                if let Some(budget) = self.budget_of(spent, index) {
                    spent[budget] += 1;
                }
                spent.asked |= 1 << index;
            }
        }
    }

    /// Whether something is left of a budget.
    pub(crate) fn allows(&self, spent: &Spent, budget: Budget) -> bool {
        self.limits.of(budget).is_none_or(|limit| spent[budget] < limit)
    }

    /// Whether the budgets allow a timer to fire.
    pub(crate) fn may_fire(&self, spent: &Spent, is_periodic: bool) -> bool {
        self.allows(spent, if is_periodic { Budget::Periodic } else { Budget::Timeouts })
    }
}

//! How much may happen, and what it costs.

use super::{Crashes, Kept, Rules, Step};
use crate::spec::system::{NodeOf, Operation, System};
use crate::world::Spent;

/// What an action takes from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Crash,
    Wipe,
    Cut,
    Drop,
    Duplicate,
    Timeout,
    Periodic,
    Ask(usize),
}

impl Kept {
    pub(crate) fn cost(self) -> Cost {
        match self {
            Self::Unsynced(_) => Cost::Crash,
            Self::Nothing => Cost::Wipe,
        }
    }
}

impl<S: System> Rules<S> {
    /// Whether a request may be sent now: a client sends one after the other, and with budget again.
    pub(crate) fn may_ask(&self, spent: &Spent, index: usize) -> bool {
        let is_asked = |index: usize| spent.asked & (1 << index) != 0;
        if is_asked(index) {
            return index < self.operations && spent.retries < self.limits.retries;
        }
        if index >= self.operations {
            return spent.unhealthy < self.limits.unhealthy;
        }
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
        Crashes { crash: self.can_pay(spent, Cost::Crash), wipe: self.can_pay(spent, Cost::Wipe) }
    }

    /// What a step costs.
    pub(crate) fn cost(&self, step: &Step<NodeOf<S>>) -> Option<Cost> {
        match step {
            Step::Boot | Step::Flush | Step::Deliver { again: false, .. } => None,
            Step::Deliver { again: true, .. } => Some(Cost::Duplicate),
            Step::Fire(timer) if self.system.is_periodic(timer) => Some(Cost::Periodic),
            Step::Fire(_) => self.limits.timeouts.map(|_| Cost::Timeout),
            Step::Ask(index) => Some(Cost::Ask(*index)),
        }
    }

    pub(crate) fn pay(&self, spent: &mut Spent, cost: Cost) {
        match cost {
            Cost::Crash => spent.crashes += 1,
            Cost::Wipe => spent.wipes += 1,
            Cost::Cut => spent.cuts += 1,
            Cost::Drop => spent.drops += 1,
            Cost::Duplicate => spent.duplicates += 1,
            Cost::Timeout => spent.timeouts += 1,
            Cost::Periodic => spent.periodic += 1,
            Cost::Ask(index) => {
                if spent.asked & (1 << index) != 0 {
                    spent.retries += 1;
                } else if index >= self.operations {
                    spent.unhealthy += 1;
                }
                spent.asked |= 1 << index;
            }
        }
    }

    /// Whether the budgets allow this.
    pub(crate) fn can_pay(&self, spent: &Spent, cost: Cost) -> bool {
        let limits = &self.limits;
        match cost {
            Cost::Crash => spent.crashes < limits.crashes,
            Cost::Wipe => spent.wipes < limits.wipes,
            Cost::Cut => spent.cuts < limits.cuts,
            Cost::Drop => spent.drops < limits.drops,
            Cost::Duplicate => spent.duplicates < limits.duplicates,
            Cost::Timeout => limits.timeouts.is_none_or(|limit| spent.timeouts < limit),
            Cost::Periodic => spent.periodic < limits.periodic,
            Cost::Ask(index) => self.may_ask(spent, index),
        }
    }

    /// Whether the budgets allow a timer to fire.
    pub(crate) fn may_fire(&self, spent: &Spent, is_periodic: bool) -> bool {
        self.can_pay(spent, if is_periodic { Cost::Periodic } else { Cost::Timeout })
    }
}

//! What a step takes from the budgets, besides the requests of clients: a bit for each budget.

use crate::spec::budget::Budget;
use crate::world::rules::Cost;

/// A set of budgets, from each of which one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs(u16);

const _: () = assert!(Budget::COUNT <= u16::BITS as usize, "a bit for each budget");

impl Costs {
    /// Nothing is paid.
    pub const NONE: Self = Self(0);

    /// One cost; requests have no bit here.
    pub fn of(budget: Budget) -> Self {
        Self(1 << budget as u16)
    }

    /// Those of which this is true.
    pub fn among(is_in: impl Fn(Budget) -> bool) -> Self {
        let among = Budget::ALL.into_iter().filter(|&budget| is_in(budget));
        among.fold(Self::NONE, |all, budget| all.and(Self::of(budget)))
    }

    /// These and those.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of these are among those.
    pub fn are_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether this is among them.
    pub fn have(self, budget: Budget) -> bool {
        Self::of(budget).are_in(self)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Budget> {
        Budget::ALL.into_iter().filter(move |&budget| self.have(budget))
    }
}

/// How many numbers there are before those of the requests.
pub const KINDS_OF_COSTS: usize = Budget::COUNT;

/// The number of a cost; requests come behind the budgets.
pub fn number(cost: Cost) -> usize {
    match cost {
        Cost::One(budget) => budget as usize,
        Cost::Ask(index) => KINDS_OF_COSTS + index,
    }
}

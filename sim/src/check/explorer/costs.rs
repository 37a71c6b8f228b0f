//! What a step takes from the budgets, besides the requests of clients: a bit for each kind.

use crate::world::rules::Cost;

const KINDS: [Cost; 7] =
    [Cost::Crash, Cost::Wipe, Cost::Cut, Cost::Drop, Cost::Duplicate, Cost::Timeout, Cost::Periodic];

/// How many kinds there are.
pub const KINDS_OF_COSTS: usize = KINDS.len();

/// A set of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs(u8);

impl Costs {
    /// Nothing is paid.
    pub const NONE: Self = Self(0);

    /// One cost; requests have no bit here.
    pub fn of(cost: Cost) -> Self {
        Self(1 << number(cost))
    }

    /// Those of which this is true.
    pub fn among(is_in: impl Fn(Cost) -> bool) -> Self {
        KINDS.iter().filter(|&&cost| is_in(cost)).fold(Self::NONE, |all, &cost| all.and(Self::of(cost)))
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
    pub fn have(self, cost: Cost) -> bool {
        Self::of(cost).are_in(self)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Cost> {
        KINDS.into_iter().filter(move |&cost| Self::of(cost).are_in(self))
    }
}

/// The number of a kind of cost; requests come behind the others.
pub fn number(cost: Cost) -> usize {
    match cost {
        Cost::Ask(index) => KINDS.len() + index,
        Cost::Crash
        | Cost::Wipe
        | Cost::Cut
        | Cost::Drop
        | Cost::Duplicate
        | Cost::Timeout
        | Cost::Periodic => KINDS.iter().position(|kind| *kind == cost).expect("all are listed"),
    }
}

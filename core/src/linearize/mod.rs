//! Whether what clients saw is **linearizable**: all calls can be put in one order that one copy of the service would
//! have answered so, in which no call stands before one that had returned when it began (Herlihy, Wing,
//! *Linearizability: A Correctness Condition for Concurrent Objects*, TOPLAS 1990, §2).
//!
//! What one copy does is a [`Specification`]. [`search`] looks for an order as Wing and Gong do (*Testing and Verifying
//! Concurrent Objects*, JPDC 1993): place a call that may come next, and go back where nothing fits. What was
//! placed and where that led is remembered, so that no dead end is entered twice (Lowe, *Testing for
//! Linearizability*, 2017). A call that only reads, and may come next, is placed at once and for good: in any order
//! that explains the rest it may as well stand first.
//!
//! [`Calls`] is the history by which every world asks it. A call begins when a member takes the request, and has
//! returned when the answer leaves. A client that is far away calls earlier and hears later; but one next door does
//! not, and what holds must hold for that one, too.
//!
//! Beside it stands what promises less, and is asked of the same calls: [`sequential`], [`acknowledged_is_never_lost`]
//! and [`session`] of any specification, [`monotonic_reads`] and [`read_your_writes`] of [`Places`]. Each follows from
//! some that promise more:
//!
//! ```text
//! linearizable ─┬─▶ sequential ───▶ session ─┬─▶ monotonic-reads
//!               │                            └─▶ read-your-writes
//!               └─▶ acknowledged-is-never-lost ─▶ read-your-writes
//! ```

mod acknowledged;
mod call;
mod calls;
mod search;
mod sessions;
#[cfg(test)]
mod tests;
mod ways;

use std::fmt::Debug;
use std::hash::Hash;

pub use self::acknowledged::{Lost, lost};
pub use self::call::{Call, GoOn};
pub use self::calls::{
    Calls, acknowledged_is_never_lost, linearizable, monotonic_reads, read_your_writes, sequential, session,
};
pub use self::search::{Found, beginning, search, search_by_client, unexplained};
pub use self::sessions::{Broken, no_view, reads_go_back, writes_are_missed};

/// What one copy of a service does; the value is its state, and the default one that nothing was asked of.
///
/// Most are an [`Object`]. This is for those that may answer one thing or another.
pub trait Specification: Clone + Eq + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// What is asked.
    type Call: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    /// What is answered.
    type Answer: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;

    /// What it is after it has answered this; `None` if it would not answer so.
    fn step(&self, call: &Self::Call, answer: &Self::Answer) -> Option<Self>;

    /// What else it may be after a call whose answer nobody knows: all that makes a difference to those who ask later.
    fn maybe(&self, call: &Self::Call) -> Vec<Self>;

    /// Whether such a call leaves every state as it is: then fewer orders need be tried. Default no.
    fn only_reads(_call: &Self::Call) -> bool {
        false
    }

    /// Whether a call that was answered so has left the state as it was, such as one that compares and sets and was
    /// refused: then fewer orders need be tried. Default: if it [only reads](Self::only_reads).
    fn changed_nothing(call: &Self::Call, _answer: &Self::Answer) -> bool {
        Self::only_reads(call)
    }

    /// Whether such a call leaves the same state whatever was before, and is always answered in the same way, as a write
    /// to a register is: then fewer orders need be tried. Default no.
    fn overwrites(_call: &Self::Call) -> bool {
        false
    }
}

/// What one copy of a service does, if it has one answer to each call.
pub trait Object: Clone + Eq + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// What is asked.
    type Call: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;
    /// What is answered.
    type Answer: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static;

    /// Answers a call.
    fn apply(&mut self, call: &Self::Call) -> Self::Answer;

    /// See [`Specification::only_reads`].
    fn only_reads(_call: &Self::Call) -> bool {
        false
    }

    /// See [`Specification::changed_nothing`].
    fn changed_nothing(call: &Self::Call, _answer: &Self::Answer) -> bool {
        Self::only_reads(call)
    }

    /// See [`Specification::overwrites`].
    fn overwrites(_call: &Self::Call) -> bool {
        false
    }
}

impl<O: Object> Specification for O {
    type Call = O::Call;
    type Answer = O::Answer;

    fn step(&self, call: &O::Call, answer: &O::Answer) -> Option<Self> {
        let mut after = self.clone();
        (after.apply(call) == *answer).then_some(after)
    }

    fn maybe(&self, call: &O::Call) -> Vec<Self> {
        let mut after = self.clone();
        after.apply(call);
        if after == *self { Vec::new() } else { vec![after] }
    }

    fn only_reads(call: &O::Call) -> bool {
        O::only_reads(call)
    }

    fn changed_nothing(call: &O::Call, answer: &O::Answer) -> bool {
        O::changed_nothing(call, answer)
    }

    fn overwrites(call: &O::Call) -> bool {
        O::overwrites(call)
    }
}

/// A specification of places each of which is written as a whole and read as a whole, as a register is, or each of many
/// keys. Of these it can be asked which write a read has seen, which is what [`monotonic_reads`] and [`read_your_writes`]
/// are about.
pub trait Places: Specification {
    /// Where something is written and read: a key, or `()` if there is one place.
    type Place: Clone + Ord + Debug;
    /// What is there.
    type Value: Clone + Ord + Debug;

    /// What a call that was answered so has read, if it says what it has found.
    fn reads(call: &Self::Call, answer: &Self::Answer) -> Option<(Self::Place, Self::Value)>;

    /// What a call has written that was answered so, whatever was there before; of a call without an answer, what it may
    /// have written.
    fn writes(call: &Self::Call, answer: Option<&Self::Answer>) -> Option<(Self::Place, Self::Value)>;
}

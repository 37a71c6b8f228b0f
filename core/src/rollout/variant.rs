//! Specimens: known mistakes in two-phase commit, each a constant that turns one rule off.
//!
//! A harness that has never failed proves nothing. Tests run the node as a [`Variant`] with one mistake and
//! demand that the sweep and the checker find it. The production node is [`Sound`]: its constants are all
//! `false`, so the mistakes are not in its code at all.

use std::fmt::Debug;
use std::hash::Hash;

/// Which rules a node breaks. The default is none.
pub trait Variant: Clone + Eq + Ord + Hash + Debug + Send + Sync + 'static {
    /// The resolver decides ABORT although all it can reach are prepared. (The coordinator, which it cannot
    /// reach, may have decided COMMIT.)
    const RESOLVER_GUESSES: bool = false;
    /// A participant sends its vote before the vote is durable. (It may crash and forget a vote that the
    /// coordinator counts.)
    const VOTE_BEFORE_DURABLE: bool = false;
    /// A node that has lost its disk goes on at once, as if it had never promised anything. (It refuses what it
    /// voted for; as the coordinator it uses a txid again.)
    const JOINS_UNASKED: bool = false;
}

/// The node as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sound;

impl Variant for Sound {}

//! Specimens: known mistakes in two-phase commit, each of which turns one rule off.
//!
//! A harness that has never failed proves nothing. Tests plant a mistake in a node's [`Config`](super::config::Config) and demand that the
//! sweep and the checker find it; no configuration file and no command line can. (A recording of such a node says
//! so, in order that it can be executed again.)

use serde::{Deserialize, Serialize};

/// A rule that a node breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mistake {
    /// The resolver decides ABORT although all it can reach are prepared. (The coordinator, which it cannot
    /// reach, may have decided COMMIT.)
    ResolverGuesses,
    /// A coordinator that restarts and finds no decision presumes COMMIT. (Not all may have voted.)
    PresumesCommit,
    /// A participant sends its vote before the vote is durable. (It may crash and forget a vote that the
    /// coordinator counts.)
    VoteBeforeDurable,
    /// A participant keeps its vote in memory only. (It forgets it in every crash.)
    ForgetsVote,
    /// A coordinator that restarts counts its transactions from the beginning: its life is not part of their
    /// names. (What its former life proposed has the same name, and so have the votes for that.)
    ReusesTxid,
    /// The coordinator counts a vote without a look at which transaction it is for. (A vote for the one before
    /// may arrive late.)
    CountsAnyVote,
    /// The coordinator tells its decision before it is durable. (It may crash and presume ABORT for what others
    /// have committed.)
    DecidesBeforeDurable,
    /// A node in doubt lets others catch up with what it voted for. (It may not be committed.)
    CatchUpFromDoubt,
    /// A node that has lost its disk goes on at once, as if it had never promised anything. (It refuses what it
    /// voted for; as the coordinator it uses a txid again.)
    JoinsUnasked,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ResolverGuesses,
        Self::PresumesCommit,
        Self::VoteBeforeDurable,
        Self::ForgetsVote,
        Self::ReusesTxid,
        Self::CountsAnyVote,
        Self::DecidesBeforeDurable,
        Self::CatchUpFromDoubt,
        Self::JoinsUnasked,
    ];
}

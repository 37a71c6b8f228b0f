//! Known mistakes in two-phase commit, each of which turns one rule off. (Those of *order*, such as a vote that is sent
//! before it is durable, the [host](crate::order) makes for any node.)
//!
//! A harness that has never failed proves nothing. The simulator plants a mistake in a node's
//! [`Config`](super::config::Config), and a test demands that the sweeps and the checker find it; no configuration file
//! and no command line of a running node can. (A recording of such a node says so, in order that it can be executed
//! again.)
//!
//! A new mistake is one row of the table, and an `if` in the protocol.

use crate::mistakes::mistakes;

/// Hands the table of mistakes to a macro that makes something of every row:
///
/// ```text
/// /// What is wrong, in one sentence.
/// /// What comes of it.
/// Variant, "its-name", source "…", space { budget: times, … };
/// ```
///
/// The space is a small one in which the checker finds it: what is not named there is nothing.
#[macro_export]
macro_rules! for_rollout_mistakes {
    ($make:ident) => {
        $make! {
            /// The resolver decides ABORT because all it can reach are in doubt.
            /// (The coordinator, which it cannot reach, may have decided COMMIT.)
            ResolverGuesses, "guessing-resolver",
                source "Skeen 1981, the blocking of two-phase commit", space { timeouts: 3 };
            /// A coordinator that restarts and finds no decision presumes COMMIT.
            /// (Not all may have voted.)
            PresumesCommit, "presumed-commit",
                source "Mohan, Lindsay, Obermarck 1986, presumed abort", space { crashes: 1, timeouts: 1 };
            /// A vote is kept in memory only.
            /// (The participant forgets it in every crash.)
            ForgetsVote, "forgetful-voter",
                source "Gray 1978, the write-ahead log", space { crashes: 1, timeouts: 1 };
            /// A coordinator that restarts names its transactions like those of its former life.
            /// (What its former life proposed has the same name, and so have the votes for that.)
            ReusesTxid, "reused-txid",
                source "Gray, Lamport 2006, §2.2: messages name their transaction",
                space { crashes: 1, timeouts: 1 };
            /// Votes are counted whatever transaction they are for.
            /// (A vote for the one before may arrive late.)
            CountsAnyVote, "any-vote",
                source "Gray, Lamport 2006, §2.2: messages name their transaction",
                space { crashes: 1, timeouts: 1 };
            /// A node in doubt lets others catch up with what it voted for.
            /// (It may not be committed.)
            CatchUpFromDoubt, "doubtful-catch-up",
                source "Bernstein, Hadzilacos, Goodman 1987, §7.4, the window of uncertainty",
                space { periodic: 1 };
            /// A request that comes again is rolled out again.
            /// (The answer to the first was lost, or late.)
            ForgetsRequests, "repeated-request",
                source "Helland 2012, Idempotence Is Not a Medical Condition", space { retries: 1 };
            /// A node that has lost its disk goes on at once.
            /// (It refuses what it voted for; as the coordinator it uses a txid again.)
            JoinsUnasked, "amnesiac",
                source "rule 10 of core/src/rollout", space { wipes: 1, operations: 2 };
            /// A canary is judged by all requests of a node.
            /// (The stable model's hide what it does.)
            JudgesTheMixture, "judged-mixture",
                source "rule 11 of core/src/rollout", space { inputs: 2, timeouts: 1 };
            /// No evidence is taken for health.
            /// (A canary that nobody has asked for anything is promoted.)
            PromotesInSilence, "silent-promotion",
                source "rule 11 of core/src/rollout", space { timeouts: 1 };
            /// A rollout that waited for another begins although that failed.
            /// (What comes after a bad model was to build on it.)
            QueuesOn, "heedless-queue",
                source "rule 11 of core/src/rollout", space { operations: 3 };
            /// The way back is asked about at the gates.
            /// (They are what the bad model breaks.)
            LocksTheExit, "locked-exit",
                source "rule 12 of core/src/rollout", space { operations: 2 };
            /// A node in doubt takes the refusal of one that has no vote for an outcome.
            /// (Who is dismissed as gone is not asked, and may be there after all.)
            AsksTheDismissed, "dismissed-witness",
                source "rule 14 of core/src/rollout", space { operations: 2, timeouts: 3 };
            /// A member takes over although somebody is in doubt.
            /// (The coordinator that is gone may have decided, and told a client.)
            TakesOverInDoubt, "hasty-successor",
                source "rule 15 of core/src/rollout", space { operations: 2, periodic: 1 };
            /// Records may vanish as soon as a snapshot is due, and it is written with the next ones.
            /// (A crash between the two leaves a part of the journal, or nothing.)
            ForgetsEarly, "early-forgetting",
                source "Gray, Reuter 1993, §11.3: the log is truncated behind a checkpoint", space { crashes: 1 };
            /// A snapshot leaves out what the node has promised not to vote for.
            /// (After the next crash it votes for it.)
            SnapshotsTooLittle, "thin-snapshot",
                source "rule 16 of core/src/rollout", space { };
            /// The next region begins when the one before has begun.
            /// (It has not come to its end, and may never.)
            LeadsOn, "hasty-region",
                source "rule 17 of core/src/rollout", space { nodes: 3 };
            /// A region that has done its part is taken for one that has taken it back.
            /// (The word that it is done comes late, or twice.)
            TakesAnyDone, "stale-region",
                source "rule 17 of core/src/rollout", space { operations: 2 };
            /// A region that is asked to take back what it has not begun does not remember that.
            /// (The question to begin comes late, or twice.)
            LeavesTheDoorOpen, "late-region",
                source "rule 17 of core/src/rollout", space { operations: 2 };
        }
    };
}

for_rollout_mistakes!(mistakes);

impl Mistake {
    /// Whether only a cluster whose members change can show it.
    pub fn is_about_members(self) -> bool {
        matches!(self, Self::AsksTheDismissed)
    }

    /// Whether only a cluster whose coordinator changes can show it.
    pub fn is_about_succession(self) -> bool {
        matches!(self, Self::TakesOverInDoubt)
    }

    /// Whether only nodes that write snapshots can show it.
    pub fn is_about_snapshots(self) -> bool {
        matches!(self, Self::ForgetsEarly | Self::SnapshotsTooLittle)
    }

    /// Whether only a fleet of several regions can show it.
    pub fn is_about_regions(self) -> bool {
        matches!(self, Self::LeadsOn | Self::TakesAnyDone | Self::LeavesTheDoorOpen)
    }

    /// Whether only a rollout that gates judge can show it.
    pub fn is_about_gates(self) -> bool {
        matches!(self, Self::JudgesTheMixture | Self::PromotesInSilence | Self::LocksTheExit | Self::QueuesOn)
    }
}

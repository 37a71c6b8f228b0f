//! The mistakes that the nodes of a rollout can make on purpose, and what shows each.

use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system;

/// What it is called.
pub fn name(mistake: Mistake) -> &'static str {
    match mistake {
        Mistake::ResolverGuesses => "guessing-resolver",
        Mistake::PresumesCommit => "presumed-commit",
        Mistake::VoteBeforeDurable => "hasty-voter",
        Mistake::ForgetsVote => "forgetful-voter",
        Mistake::ReusesTxid => "reused-txid",
        Mistake::CountsAnyVote => "any-vote",
        Mistake::DecidesBeforeDurable => "hasty-decider",
        Mistake::CatchUpFromDoubt => "doubtful-catch-up",
        Mistake::JoinsUnasked => "amnesiac",
    }
}

/// What is wrong, in a sentence.
pub fn about(mistake: Mistake) -> &'static str {
    match mistake {
        Mistake::ResolverGuesses => "The resolver decides ABORT because all it can reach are in doubt.",
        Mistake::PresumesCommit => "A coordinator that restarts and finds no decision presumes COMMIT.",
        Mistake::VoteBeforeDurable => "A vote is sent before it is durable.",
        Mistake::ForgetsVote => "A vote is kept in memory only.",
        Mistake::ReusesTxid => {
            "A coordinator that restarts names its transactions like those of its former life."
        }
        Mistake::CountsAnyVote => "Votes are counted whatever transaction they are for.",
        Mistake::DecidesBeforeDurable => "A decision is told before it is durable.",
        Mistake::CatchUpFromDoubt => "A node in doubt lets others catch up with what it voted for.",
        Mistake::JoinsUnasked => "A node that has lost its disk goes on at once.",
    }
}

/// A small space in which it shows.
pub fn space(mistake: Mistake) -> ModelArgs {
    let quiet = ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };
    let crash = ModelArgs { crashes: Some(1), timeouts: Some(1), ..quiet };
    match mistake {
        Mistake::ResolverGuesses => ModelArgs { timeouts: Some(3), ..quiet },
        Mistake::CatchUpFromDoubt => ModelArgs { periodic: Some(1), ..quiet },
        Mistake::JoinsUnasked => ModelArgs { wipes: Some(1), operations: Some(2), ..quiet },
        Mistake::PresumesCommit
        | Mistake::VoteBeforeDurable
        | Mistake::ForgetsVote
        | Mistake::ReusesTxid
        | Mistake::CountsAnyVote
        | Mistake::DecidesBeforeDurable => crash,
    }
}

/// Which rule of the protocol it breaks.
fn source(mistake: Mistake) -> &'static str {
    match mistake {
        Mistake::ResolverGuesses => "Skeen 1981, the blocking of two-phase commit",
        Mistake::PresumesCommit => "Mohan, Lindsay, Obermarck 1986, presumed abort",
        Mistake::VoteBeforeDurable | Mistake::ForgetsVote | Mistake::DecidesBeforeDurable => {
            "Gray 1978, the write-ahead log"
        }
        Mistake::ReusesTxid | Mistake::CountsAnyVote => {
            "Gray, Lamport 2006, §2.2: messages name their transaction"
        }
        Mistake::CatchUpFromDoubt => "Bernstein, Hadzilacos, Goodman 1987, §7.4, the window of uncertainty",
        Mistake::JoinsUnasked => "rule 10 of core/src/rollout",
    }
}

/// All of them.
pub fn all() -> Vec<system::Mistake> {
    let listed = |mistake| system::Mistake {
        name: name(mistake),
        about: about(mistake),
        source: source(mistake),
        space: space(mistake),
        scenario: Some("rollout-chaos"),
    };
    Mistake::ALL.into_iter().map(listed).collect()
}

/// The mistake of this name.
pub fn find(wanted: &str) -> Option<Mistake> {
    Mistake::ALL.into_iter().find(|mistake| name(*mistake) == wanted)
}

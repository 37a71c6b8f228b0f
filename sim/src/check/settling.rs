//! Whether a system comes to rest from every state: what is asked, and how it may come out.

use serde::Serialize;

pub use super::explorer::settling_asked;
use crate::panics::Panic;

/// The name of the property that from every state the system settles: once all is healed it comes to rest, and stays
/// so. All is healed: links are whole, and nothing crashes any more. Time goes in rounds. In each
///
/// 1. who is down restarts, member by member, and unsynced records become durable;
/// 2. what is under way then arrives, by receiver, sender and message;
/// 3. every timer that is armed then fires once, member by member.
///
/// After each of these steps the disk of who took it syncs what it held then. So a round follows from the state, but for what nodes
/// [choose](coalmine_core::node::Context::choose), and the states between rounds repeat, or go on changing for ever.
/// The system settles if everything has [converged](crate::spec::system::System::converged) in all rounds that repeat: at
/// every moment, between rounds and after each step of them. How long it takes to come there does not matter. A timer
/// that changes something is no rest: only what it comes to at last is.
///
/// Choices are taken to be fair, such as a random back-off: whatever may be chosen again and again is chosen at last.
/// So rounds repeat where no choice leads out of a set of states, and everything must have converged in each of them,
/// whichever such set the choices lead to.
///
/// A run that goes on changing for ever is given up after [so many rounds](super::CheckOptions::settle_rounds), or if
/// it needs too much memory. Then it is [not known](super::Verdict::Unknown) whether the system settles, and the check
/// is no proof. (Where nodes choose, that is also the most rounds that are tried from one state, of those of which it
/// is not yet known that they settle.)
///
/// With a budget for losses the system must also settle if, once, before any one of the rounds, something is lost of
/// what is under way: all of it, each single message, all of each kind (a message's variant), all on a link if links
/// may be cut, as many together as `drops` allows (if these are no more than 128 sets); and of up to four messages
/// every part. The budget bounds the search, not what is lost here.
///
/// Where a member is [gone](crate::world::Limits::without), it is down instead, and the others must
/// [go on](crate::spec::system::System::goes_on_without).
pub const SETTLES: &str = "settles";

/// After how many rounds nobody waits any longer, if nobody says.
pub const SETTLE_ROUNDS: usize = 10_000;

/// Why it cannot be said that a system settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// It does not.
    Never {
        /// What is missing, and how the rounds repeat.
        why: String,
        /// What happens in the rounds, in words.
        rounds: Vec<String>,
    },
    /// Nobody knows: which limit was reached, and what goes on changing.
    Unknown(String),
    /// Something panics meanwhile.
    Panicked(Panic),
}

impl Unsettled {
    /// The same, under this condition.
    pub(super) fn with(self, condition: &str) -> Self {
        match self {
            Self::Never { why, mut rounds } => {
                rounds.insert(0, format!("with {condition}:"));
                Self::Never { why: format!("with {condition}, {why}"), rounds }
            }
            Self::Unknown(why) => Self::Unknown(format!("with {condition}, {why}")),
            Self::Panicked(panic) => Self::Panicked(panic),
        }
    }
}

/// The first state of which it is not known whether the system settles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotKnown {
    /// Which limit was reached, and what goes on changing.
    pub why: String,
    /// The way there, in words.
    pub path: Vec<String>,
}

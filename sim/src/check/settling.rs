//! Whether a system comes to rest from every state: what is asked, and how it may come out.

use serde::Serialize;

pub use super::explorer::settling_asked;
use crate::panics::Panic;

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

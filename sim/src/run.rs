//! What a run is told, and what it reports, whichever engine ran it.

use std::any::Any;
use std::time::Duration;

use coalmine_core::node::Node;
use serde::{Deserialize, Serialize};

use crate::faults::Effects;
use crate::trace::Entry;

/// How one run is made.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The seed that everything is drawn from.
    pub seed: u64,
    /// Keep the trace, for a story.
    pub keep_trace: bool,
    /// A run that takes more events is stuck in a loop.
    pub max_events: u64,
}

impl RunOptions {
    /// The options of an ordinary run of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, keep_trace: false, max_events: 2_000_000 }
    }
}

/// How a run came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held, and the system converged.
    Passed,
    /// An invariant was broken.
    Violated {
        /// Which.
        invariant: String,
        /// How, in words.
        why: String,
    },
    /// The invariants held, but the system did not come to rest after all was healed.
    NotConverged {
        /// What was missing.
        why: String,
    },
    /// A node, or the harness, panicked.
    Panicked {
        /// Its message.
        message: String,
    },
    /// Two runs of one seed differed.
    NotDeterministic {
        /// The digests of the two.
        digests: [String; 2],
    },
}

impl Verdict {
    /// The exit code of a process that reports this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Violated { .. } => 1,
            Self::NotConverged { .. } => 3,
            Self::Panicked { .. } => 4,
            Self::NotDeterministic { .. } => 5,
        }
    }

    /// Its name, as it is printed for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Violated { .. } => "violated",
            Self::NotConverged { .. } => "not_converged",
            Self::Panicked { .. } => "panicked",
            Self::NotDeterministic { .. } => "not_deterministic",
        }
    }

    /// What is behind it; nothing for a run that passed.
    pub fn why(&self) -> Option<String> {
        (*self != Self::Passed).then(|| self.tell())
    }

    /// In one line.
    pub fn tell(&self) -> String {
        match self {
            Self::Passed => "passed".into(),
            Self::Violated { invariant, why } => format!("invariant {invariant} is violated: {why}"),
            Self::NotConverged { why } => format!("did not converge: {why}"),
            Self::Panicked { message } => format!("panicked: {message}"),
            Self::NotDeterministic { digests: [a, b] } => format!("not deterministic: digests {a} and {b}"),
        }
    }
}

/// What came of one run.
#[derive(Debug)]
pub struct RunReport<N: Node> {
    /// How it came out.
    pub verdict: Verdict,
    /// The digest of everything that happened.
    pub digest: u64,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// How much time passed outside.
    pub wall: Duration,
    /// Which faults took effect, and how often.
    pub effects: Effects,
    /// The trace, if it was kept.
    pub trace: Option<Vec<Entry<N>>>,
}

impl<N: Node> RunReport<N> {
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self {
            verdict: Verdict::Panicked { message: message.unwrap_or_else(|| "without a message".into()) },
            digest: 0,
            events: 0,
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            effects: Effects::default(),
            trace: None,
        }
    }
}

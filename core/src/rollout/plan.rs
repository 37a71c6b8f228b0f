//! What a client asks for when it starts a rollout.

use serde::{Deserialize, Serialize};

use super::gates::Gates;
use super::state::ModelId;

/// What a client asks for when it starts a rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// The model to roll out.
    pub model: ModelId,
    /// Its shares, in basis points, strictly rising.
    pub steps_bp: Vec<u32>,
    /// How long to hold each step before the next, in milliseconds; [`LONGEST_MS`](super::config::LONGEST_MS) at most.
    #[serde(default)]
    pub pause_ms: u64,
    /// The hold of each step, where they differ; as many as there are steps, or none.
    #[serde(default)]
    pub holds_ms: Vec<u64>,
    /// What judges it.
    #[serde(default)]
    pub gates: Guard,
    /// What comes of a step that fails, or of a canary that does.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long after its hold a step waits for evidence before it pauses, in milliseconds.
    #[serde(default = "RolloutPlan::deadline")]
    pub deadline_ms: u64,
    /// Whether it takes the place of a rollout that is under way.
    #[serde(default)]
    pub supersede: bool,
}

impl RolloutPlan {
    /// Ten minutes.
    pub const DEADLINE_MS: u64 = 600_000;

    /// A rollout that nothing judges, and that stops where a step fails: what two-phase commit is tried with.
    pub fn unguarded(model: ModelId, steps_bp: Vec<u32>, pause_ms: u64) -> Self {
        Self {
            model,
            steps_bp,
            pause_ms,
            holds_ms: Vec::new(),
            gates: Guard::Off,
            on_failure: OnFailure::Stop,
            deadline_ms: Self::DEADLINE_MS,
            supersede: false,
        }
    }

    /// A rollout that the configured gates judge, and that returns to the stable model if it fails.
    pub fn guarded(model: ModelId, steps_bp: Vec<u32>, pause_ms: u64) -> Self {
        let unguarded = Self::unguarded(model, steps_bp, pause_ms);
        Self { gates: Guard::Configured, on_failure: OnFailure::Return, ..unguarded }
    }

    fn deadline() -> u64 {
        Self::DEADLINE_MS
    }
}

/// What judges a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Nothing: each step follows when the hold of the one before is over.
    #[default]
    Off,
    /// The gates of the coordinator's configuration.
    Configured,
    /// These.
    These(Gates),
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is over, and the weights stay where they are.
    #[default]
    Stop,
    /// Every node returns to the stable model.
    Return,
    /// It stays where it is until somebody gives an order.
    Pause,
}

//! The word for where a rollout goes.

use coalmine_core::rollout::message::{Course, Rollout};
use serde::{Deserialize, Serialize};

/// Where a rollout goes, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// From step to step.
    Running,
    /// It stays where it is until somebody gives an order.
    Paused,
    /// Back to the stable model.
    Returning,
    /// All steps were committed.
    Completed,
    /// It is over: every node serves the stable model alone.
    Returned,
    /// It is over: a step was aborted, or the canary failed; the weights stay where they are.
    Stopped,
    /// It is over: another one took its place.
    Superseded,
}

impl Progress {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Returning => "returning",
            Self::Completed => "completed",
            Self::Returned => "returned",
            Self::Stopped => "stopped",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        match self {
            Self::Completed | Self::Returned | Self::Stopped | Self::Superseded => true,
            Self::Running | Self::Paused | Self::Returning => false,
        }
    }

    pub(super) fn of(rollout: &Rollout) -> Self {
        match &rollout.course {
            Course::Paused(_) => Self::Paused,
            Course::Returning(_) => Self::Returning,
            Course::Returned(_) => Self::Returned,
            Course::Stopped(_) => Self::Stopped,
            Course::Superseded { .. } => Self::Superseded,
            Course::Going | Course::Promoted | Course::Kept => {
                match (rollout.is_complete(), rollout.is_over()) {
                    (true, _) => Self::Completed,
                    (false, true) => Self::Stopped, // by a step that was aborted
                    (false, false) => Self::Running,
                }
            }
        }
    }
}

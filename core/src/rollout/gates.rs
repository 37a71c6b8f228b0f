//! The gates that a change must pass: what a node judges its health by before it votes.

use serde::{Deserialize, Serialize};

use super::health::Health;
use super::message::Refusal;

/// When a node is healthy enough to vote for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// The highest 95th percentile of latency, in milliseconds. Default 200.
    pub max_p95_ms: u32,
    /// The highest share of requests that failed, in basis points. Default 500, which is 5 %.
    pub max_error_bp: u32,
    /// How many requests a window must hold to be evidence. Default 20.
    pub min_samples: u32,
    /// How to vote without evidence.
    pub on_no_evidence: NoEvidence,
}

impl Default for Gates {
    fn default() -> Self {
        Self { max_p95_ms: 200, max_error_bp: 500, min_samples: 20, on_no_evidence: NoEvidence::Abort }
    }
}

impl Gates {
    /// Whether the last window allows a change.
    pub fn judge(&self, health: Option<&Health>) -> Result<(), Refusal> {
        let samples = health.map_or(0, |health| health.samples);
        let Some(health) = health.filter(|health| health.samples >= self.min_samples.max(1)) else {
            return match self.on_no_evidence {
                NoEvidence::Commit => Ok(()),
                NoEvidence::Abort => Err(Refusal::NoEvidence { samples, needed: self.min_samples.max(1) }),
            };
        };
        if health.p95_ms > self.max_p95_ms {
            return Err(Refusal::Latency { p95_ms: health.p95_ms, limit_ms: self.max_p95_ms });
        }
        if health.error_bp > self.max_error_bp {
            return Err(Refusal::Errors { error_bp: health.error_bp, limit_bp: self.max_error_bp });
        }
        Ok(())
    }
}

/// How a gate without enough samples votes. No evidence is not health, so it is said explicitly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoEvidence {
    /// Vote for the change.
    Commit,
    /// Vote against it.
    Abort,
}

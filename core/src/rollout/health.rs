//! How well a node serves, as it measured itself.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What the data plane measured over one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Which window, counted by the data plane.
    pub window_id: u64,
    /// How many requests it held.
    pub samples: u32,
    /// The 95th percentile of their latency, in milliseconds.
    pub p95_ms: u32,
    /// The share that failed, in basis points.
    pub error_bp: u32,
}

impl Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = f64::from(self.error_bp) / 100.0;
        write!(f, "p95 {} ms, {errors}% errors, {} samples", self.p95_ms, self.samples)
    }
}

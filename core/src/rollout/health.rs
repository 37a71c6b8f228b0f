//! How well a node serves, as it measured itself: each model by itself.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::state::ModelId;

/// What a data plane measured under one version of the routing state, up to the end of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Which window ended last, counted by the data plane.
    pub window_id: u64,
    /// The version under which all of it was served.
    pub version: u64,
    /// What each model did. A model that is not there was asked for nothing.
    #[serde(default)]
    pub models: BTreeMap<ModelId, Window>,
}

/// What one model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many requests it took.
    pub samples: u32,
    /// The 95th percentile of their latency, in milliseconds.
    pub p95_ms: u32,
    /// The share that failed, in basis points.
    pub error_bp: u32,
}

/// What a node knows of a data plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was reported last.
    pub health: Health,
    /// Whether that is too long ago to say anything about now.
    pub is_stale: bool,
}

impl Health {
    /// What one model did; nothing, if it was asked for nothing.
    pub fn of(&self, model: &ModelId) -> Window {
        self.models.get(model).copied().unwrap_or_default()
    }

    /// All models as if they were one: what a gate must *not* judge a canary by, since the others hide it.
    pub(super) fn mixture(&self) -> Window {
        let samples = |window: &Window| u64::from(window.samples);
        let all: u64 = self.models.values().map(samples).sum();
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        let mean = |of: fn(&Window) -> u32| {
            let sum: u128 =
                self.models.values().map(|window| u128::from(of(window)) * u128::from(samples(window))).sum();
            u32::try_from(sum / u128::from(all.max(1))).unwrap_or(u32::MAX)
        };
        Window { samples: narrow(all), p95_ms: mean(|it| it.p95_ms), error_bp: mean(|it| it.error_bp) }
    }
}

impl Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = f64::from(self.error_bp) / 100.0;
        write!(f, "p95 {} ms, {errors}% errors, {} samples", self.p95_ms, self.samples)
    }
}

impl Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "under v{}", self.version)?;
        if self.models.is_empty() {
            return f.write_str(": no requests");
        }
        for (i, (model, window)) in self.models.iter().enumerate() {
            write!(f, "{} {model} {window}", if i > 0 { ";" } else { ":" })?;
        }
        Ok(())
    }
}

//! The gates that a canary must pass before it gets more: what it did itself, on each node, under the version that is
//! served now; by itself, and beside the stable model in the same windows (progressive delivery calls this canary
//! analysis).
//!
//! A verdict is one of four. *No evidence* is not health: whoever was asked for little may be anything. *Stale* is a
//! report too old to say anything about now.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::health::{Evidence, Window};
use super::state::{ModelId, RoutingState};

/// The limits of a canary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// The highest 95th percentile of the canary's latency, in milliseconds. Default 200.
    pub max_p95_ms: u32,
    /// The highest share of the canary's requests that fail, in basis points. Default 500, which is 5 %.
    pub max_error_bp: u32,
    /// By how many milliseconds the canary's 95th percentile may lie above the stable model's. Default 100.
    pub max_p95_rise_ms: u32,
    /// By how many basis points the canary's share of failures may lie above the stable model's. Default 200, which
    /// is 2 percentage points.
    pub max_error_rise_bp: u32,
    /// How many requests a model must have taken to be judged, or to be compared with. Default 100; at least 1.
    pub min_samples: u32,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            max_p95_ms: 200,
            max_error_bp: 500,
            max_p95_rise_ms: 100,
            max_error_rise_bp: 200,
            min_samples: 100,
        }
    }
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The canary's latency.
    P95,
    /// The canary's failures.
    Errors,
    /// The canary's latency above the stable model's.
    P95Rise,
    /// The canary's failures above the stable model's.
    ErrorRise,
}

/// A limit that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Breach {
    /// Which.
    pub gate: Gate,
    /// What was measured, in milliseconds or basis points.
    pub value: u32,
    /// The limit, in the same unit.
    pub limit: u32,
    /// Of how many of the canary's requests.
    pub samples: u32,
}

/// What a node's evidence says about a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It keeps all limits.
    Pass,
    /// It does not keep this one.
    Fail(Breach),
    /// It took too few requests under this version.
    NoEvidence {
        /// How many there are.
        samples: u32,
        /// How many are needed.
        needed: u32,
    },
    /// The last report is too old.
    Stale {
        /// Which window it was about.
        window_id: u64,
    },
}

impl Gates {
    /// How many requests it takes to judge.
    pub fn needed(&self) -> u32 {
        self.min_samples.max(1)
    }

    /// What one node's evidence says about the canary of the served state, beside its stable model.
    pub fn judge(&self, canary: &ModelId, served: &RoutingState, evidence: Option<&Evidence>) -> Verdict {
        let of = |evidence: &Evidence, model| evidence.health.of(model);
        self.judge_by(served, evidence, |it| of(it, canary), |it| of(it, &served.stable_model_id))
    }

    pub(super) fn judge_by(
        &self,
        served: &RoutingState,
        evidence: Option<&Evidence>,
        canary: impl Fn(&Evidence) -> Window,
        stable: impl Fn(&Evidence) -> Window,
    ) -> Verdict {
        let needed = self.needed();
        let Some(evidence) = evidence.filter(|evidence| evidence.health.version == served.version) else {
            return Verdict::NoEvidence { samples: 0, needed };
        };
        if evidence.is_stale {
            return Verdict::Stale { window_id: evidence.health.window_id };
        }
        let (canary, stable) = (canary(evidence), stable(evidence));
        let samples = canary.samples;
        if samples < needed {
            return Verdict::NoEvidence { samples, needed };
        }
        let mut limits = vec![
            (Gate::P95, canary.p95_ms, self.max_p95_ms),
            (Gate::Errors, canary.error_bp, self.max_error_bp),
        ];
        if stable.samples >= needed {
            let p95_rise = canary.p95_ms.saturating_sub(stable.p95_ms);
            let error_rise = canary.error_bp.saturating_sub(stable.error_bp);
            limits.push((Gate::P95Rise, p95_rise, self.max_p95_rise_ms));
            limits.push((Gate::ErrorRise, error_rise, self.max_error_rise_bp));
        }
        let breach = limits.into_iter().find(|(_, value, limit)| value > limit);
        breach.map_or(Verdict::Pass, |(gate, value, limit)| {
            Verdict::Fail(Breach { gate, value, limit, samples })
        })
    }
}

/// Whether a change gives the canary that is served more than it has, or makes it the stable model. Only such a change
/// is asked about at the gates: the first step of a model has no evidence, and a way back needs none.
pub fn asks_gates(served: &RoutingState, proposed: &RoutingState) -> bool {
    served.canary_model_id.as_ref().is_some_and(|canary| {
        let is_made_stable = proposed.stable_model_id == *canary;
        is_made_stable || proposed.weights.of(canary) > served.weights.of(canary)
    })
}

impl Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |bp: u32| f64::from(bp) / 100.0;
        let Self { gate, value, limit, samples } = *self;
        match gate {
            Gate::P95 => write!(f, "its p95 of {value} ms is above {limit} ms")?,
            Gate::Errors => write!(f, "its {}% errors are above {}%", percent(value), percent(limit))?,
            Gate::P95Rise => {
                write!(f, "its p95 is {value} ms above the stable model's, {limit} ms are allowed")?;
            }
            Gate::ErrorRise => write!(
                f,
                "its errors are {} points above the stable model's, {} are allowed",
                percent(value),
                percent(limit)
            )?,
        }
        write!(f, " ({samples} samples)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::health::Health;
    use crate::rollout::state::Txid;

    fn model(name: &str) -> ModelId {
        ModelId::new(name).expect("a name")
    }

    fn served() -> RoutingState {
        RoutingState::initial(&model("v1"), &[])
            .next_canary(&model("v2"), 500, Txid::default())
            .expect("a step")
    }

    fn window(samples: u32, p95_ms: u32, error_bp: u32) -> Window {
        Window { samples, p95_ms, error_bp }
    }

    fn judged(version: u64, is_stale: bool, stable: Window, canary: Window) -> Verdict {
        let models = [(model("v1"), stable), (model("v2"), canary)].into();
        let evidence = Evidence { health: Health { window_id: 7, version, models }, is_stale };
        Gates::default().judge(&model("v2"), &served(), Some(&evidence))
    }

    #[test]
    fn each_gate_judges_the_canary_at_its_limit() {
        let good = window(1_000, 50, 10);
        assert_eq!(judged(1, false, good, window(100, 150, 210)), Verdict::Pass);
        let fails = |stable, canary| match judged(1, false, stable, canary) {
            Verdict::Fail(Breach { gate, value, limit, .. }) => (gate, value, limit),
            other @ (Verdict::Pass | Verdict::NoEvidence { .. } | Verdict::Stale { .. }) => {
                panic!("{other:?}")
            }
        };
        assert_eq!(fails(good, window(100, 201, 0)), (Gate::P95, 201, 200));
        assert_eq!(fails(good, window(100, 50, 501)), (Gate::Errors, 501, 500));
        assert_eq!(fails(good, window(100, 151, 0)), (Gate::P95Rise, 101, 100));
        assert_eq!(fails(good, window(100, 50, 211)), (Gate::ErrorRise, 201, 200));
        // Who took too few requests is nobody to compare with.
        assert_eq!(judged(1, false, window(99, 0, 0), window(100, 200, 500)), Verdict::Pass);
    }

    #[test]
    fn what_says_nothing_passes_nothing() {
        let good = window(1_000, 50, 10);
        assert_eq!(
            judged(1, false, good, window(99, 50, 0)),
            Verdict::NoEvidence { samples: 99, needed: 100 }
        );
        assert_eq!(judged(1, true, good, good), Verdict::Stale { window_id: 7 });
        // What was served under another version says nothing about this one.
        for version in [0, 2] {
            assert_eq!(judged(version, false, good, good), Verdict::NoEvidence { samples: 0, needed: 100 });
        }
        let none = Gates::default().judge(&model("v2"), &served(), None);
        assert_eq!(none, Verdict::NoEvidence { samples: 0, needed: 100 });
    }

    #[test]
    fn more_for_the_canary_is_asked_about_and_no_way_back_is() {
        let v1 = RoutingState::initial(&model("v1"), &[]);
        let at = |share| v1.next_canary(&model("v2"), share, Txid::default()).expect("a step");
        assert!(!asks_gates(&v1, &at(500)), "the first step has no evidence");
        assert!(asks_gates(&at(500), &at(501)));
        assert!(!asks_gates(&at(500), &at(499)));
        let whole = at(500).next(&model("v2"), 10_000, Txid::default()).expect("a step");
        assert!(asks_gates(&at(10_000), &whole), "to be made stable");
        let back = at(500).next(&model("v1"), 10_000, Txid::default()).expect("a step");
        assert!(!asks_gates(&at(500), &back));
        let other = at(500).next_canary(&model("v3"), 100, Txid::default()).expect("a step");
        assert!(!asks_gates(&at(500), &other));
    }
}

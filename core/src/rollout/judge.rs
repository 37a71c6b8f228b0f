//! What a node of a configuration makes of its evidence: a verdict, and a vote.

use super::config::Config;
use super::gates::{Gates, Verdict};
use super::health::{Evidence, Window};
use super::message::Refusal;
use super::mistake::Mistake;
use super::state::RoutingState;

impl Verdict {
    /// Why a node with this verdict votes against; `None` if it does not.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Pass => None,
            Self::Fail(breach) => Some(Refusal::Gate(breach)),
            Self::NoEvidence { samples, needed } => Some(Refusal::NoEvidence { samples, needed }),
            Self::Stale { window_id } => Some(Refusal::StaleEvidence { window_id }),
        }
    }
}

/// What the evidence of a node of this configuration says about the canary that is served.
pub(super) fn verdict(
    config: &Config,
    gates: &Gates,
    served: &RoutingState,
    evidence: Option<&Evidence>,
) -> Verdict {
    let Some(canary) = &served.canary_model_id else {
        return Verdict::Pass; // nothing is on trial
    };
    let verdict = if config.makes(Mistake::JudgesTheMixture) {
        gates.judge_by(served, evidence, |it| it.health.mixture(), |_| Window::default())
    } else {
        gates.judge(canary, served, evidence)
    };
    match verdict {
        Verdict::NoEvidence { .. } if config.makes(Mistake::PromotesInSilence) => Verdict::Pass,
        Verdict::Pass | Verdict::Fail(_) | Verdict::NoEvidence { .. } | Verdict::Stale { .. } => verdict,
    }
}

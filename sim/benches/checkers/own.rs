//! What our own explorer does: the toy, the production node, and the production node with a rule off.

use coalmine::rollout::{self, RolloutSystem};
use coalmine::twophase;
use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::check::{self, CheckOptions, CheckReport, Reductions};
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system::System;
use coalmine_sim::suite::ModelDef;
use coalmine_sim::world::Rules;
use serde::{Deserialize, Serialize};

use crate::job::{Counterexample, Counts};

/// What a check leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// What it leaves out if nobody says.
    Usual,
    Nothing,
    /// Only steps that change nothing but what is under way or left of a budget.
    Idle,
    /// Only losses.
    Losses,
    /// Only crash points that make no difference.
    CrashPoints,
    /// Only orders of steps that make no difference.
    Orders,
    /// The usual, but who is who instead of orders.
    Names,
}

impl LeftOut {
    /// Each alone.
    pub const ALONE: [Self; 4] = [Self::Idle, Self::Losses, Self::CrashPoints, Self::Orders];

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Usual => "the usual",
            Self::Nothing => "nothing",
            Self::Idle => "idle steps",
            Self::Losses => "losses",
            Self::CrashPoints => "crash points",
            Self::Orders => "orders",
            Self::Names => "who is who",
        }
    }

    fn reductions(self) -> Reductions {
        match self {
            Self::Usual => Reductions::USUAL,
            Self::Nothing => Reductions::NONE,
            Self::Idle => Reductions { idle: true, ..Reductions::NONE },
            Self::Losses => Reductions { losses: true, ..Reductions::NONE },
            Self::CrashPoints => Reductions { crash_points: true, ..Reductions::NONE },
            Self::Orders => Reductions { sleep: true, ..Reductions::NONE },
            Self::Names => Reductions { sleep: false, symmetry: true, ..Reductions::USUAL },
        }
    }
}

/// Exhausts *TwoPhase*.
pub fn two_phase(resource_managers: u32, left_out: LeftOut, threads: usize) -> Counts {
    let args = ModelArgs { nodes: Some(resource_managers), ..ModelArgs::default() };
    exhaust(&twophase::model(), args, left_out, threads)
}

/// Exhausts the rollout of three members with one crash, one loss and one time-out.
pub fn rollout(left_out: LeftOut, threads: usize) -> Counts {
    let args = ModelArgs {
        nodes: Some(3),
        crashes: Some(1),
        drops: Some(1),
        timeouts: Some(1),
        ..ModelArgs::default()
    };
    exhaust(&rollout::model(), args, left_out, threads)
}

fn exhaust<S: System>(model: &ModelDef<S>, args: ModelArgs, left_out: LeftOut, threads: usize) -> Counts {
    let (report, _) = search(model.rules(args), left_out, threads);
    assert!(report.is_proof(), "{report:#?}");
    counts(&report)
}

/// A rule that is off, and a space in which that shows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Planted {
    pub mistake: Mistake,
    pub space: ModelArgs,
}

/// All of them, with three members each.
pub fn planted() -> Vec<Planted> {
    let space = rollout::mistakes::space;
    Mistake::ALL.into_iter().map(|mistake| Planted { mistake, space: space(mistake) }).collect()
}

impl Planted {
    fn rules(self) -> Rules<RolloutSystem> {
        let correct = rollout::model().rules(self.space);
        Rules::new(correct.system.with(self.mistake), correct.limits)
    }

    /// What is at hand to make it show.
    pub fn budgets(self) -> String {
        let Rules { system, limits, .. } = self.rules();
        let budgets = [
            (system.rollouts, "rollouts"),
            (limits.crashes.into(), "crashes"),
            (limits.wipes.into(), "wipes"),
            (limits.drops.into(), "drops"),
            (limits.timeouts.unwrap_or(u8::MAX).into(), "time-outs"),
            (limits.periodic.into(), "heartbeats"),
        ];
        let told = budgets.iter().filter(|(budget, _)| *budget > 0);
        told.map(|(budget, of)| format!("{of} {budget}")).collect::<Vec<_>>().join(", ")
    }

    /// Searches until it shows.
    pub fn find(self, threads: usize) -> Counts {
        let (report, found) = search(self.rules(), LeftOut::Usual, threads);
        assert!(found.is_some(), "{:?} is not found in {}: {report:#?}", self.mistake, self.budgets());
        Counts { counterexample: found, ..counts(&report) }
    }
}

fn search<S: System>(
    rules: Rules<S>,
    left_out: LeftOut,
    threads: usize,
) -> (CheckReport, Option<Counterexample>) {
    let reductions = left_out.reductions();
    let options = CheckOptions { reductions, settle: false, threads, ..CheckOptions::default() };
    let (report, found) = check::check("benchmark", rules, &options, &mut |_| {});
    let found =
        found.map(|found| Counterexample { invariant: found.invariant.into(), steps: found.path.len() });
    (report, found)
}

fn counts(report: &CheckReport) -> Counts {
    Counts {
        distinct: report.unique_states,
        steps: report.steps,
        handler_runs: report.handler_runs,
        counterexample: None,
    }
}

//! What comes of a run, whatever its system.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::{Node, NodeId};

use super::steps::StepCounts;
use crate::engine::report::RunReport;
use crate::spec::faults::Effects;
use crate::spec::plan::Plan;
use crate::spec::verdict::{Engine, Expected, Verdict};
use crate::trace::html::Page;
use crate::trace::story::Story;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it came out.
    pub verdict: Verdict,
    /// The digest of everything that happened.
    pub digest: u64,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// How many steps of a path were walked, where there is no clock.
    pub turns: Option<u64>,
    /// How much time passed outside.
    pub wall: Duration,
    /// Which faults took effect, and how often.
    pub effects: Effects,
    /// The steps of the plan by kind, and how many were carried out.
    pub steps: StepCounts,
    /// The steps of the plan or the path, counted from 0, that were not carried out: see
    /// [`RunReport::unused_steps`].
    pub unused_steps: Option<Vec<usize>>,
    /// The same in words, if a story was asked for or a file was run.
    pub unused: Vec<String>,
    /// How long after all was healed the system had converged, and stayed so; see [`RunReport::converged_after`].
    pub converged_after: Option<Duration>,
    /// The clients that were never answered, in words.
    pub unanswered: Vec<String>,
    /// What happened, in words.
    pub story: Option<Story>,
    /// The same with all that every run is full of.
    pub whole_story: Option<Story>,
    /// The same, to be shown.
    pub page: Option<Page>,
    /// The recording of each node, where there is a story.
    pub recordings: BTreeMap<NodeId, Vec<u8>>,
}

/// What came of running a file.
#[derive(Clone, Debug)]
pub struct FileOutcome {
    /// The run.
    pub outcome: Outcome,
    /// The engine that ran it.
    pub engine: Engine,
    /// The seed that it was run under; a path needs none.
    pub seed: Option<u64>,
    /// The verdict it must give, if it [says so](Expected::is_said).
    pub expected: Expected,
}

/// What came of a run, without what happened.
pub(super) fn without_story<N: Node>(report: RunReport<N>, plan: Option<&Plan<N>>) -> Outcome {
    let steps = plan.zip(report.unused_steps.as_deref()).map(|(plan, unused)| StepCounts::of(plan, unused));
    Outcome {
        steps: steps.unwrap_or_default(),
        story: None,
        whole_story: None,
        page: None,
        unused: Vec::new(),
        verdict: report.verdict,
        digest: report.digest,
        events: report.events,
        simulated: report.simulated,
        turns: None,
        wall: report.wall,
        effects: report.effects,
        unused_steps: report.unused_steps,
        converged_after: report.converged_after,
        unanswered: report.unanswered,
        recordings: report.recordings,
    }
}

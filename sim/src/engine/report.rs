//! What a run is told, and what it reports, whichever engine ran it.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::{Node, NodeId};

use crate::fingerprint::fingerprint;
use crate::panics::Panic;
use crate::spec::faults::{Effects, Passed};
use crate::spec::verdict::Verdict;
use crate::trace::Entry;

/// How one run is made.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The seed that everything is drawn from.
    pub seed: u64,
    /// Keep the trace, for a story.
    pub keep_trace: bool,
    /// Record each node, under this name of a scenario or a model, so that it can be
    /// [verified](crate::verify).
    pub record: Option<&'static str>,
    /// Keep what becomes of each frame.
    pub keep_frames: bool,
    /// A run that takes more events is stuck in a loop.
    pub max_events: u64,
}

impl RunOptions {
    /// The options of an ordinary run of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, keep_trace: false, record: None, keep_frames: false, max_events: 2_000_000 }
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
    /// The steps of the plan, by their places in it, that were not carried out. A step is used once its time
    /// has come, or its trigger was pulled, before the verdict; and if it crashes or pauses a node, that node was
    /// up. `None` if a panic took away what was known.
    pub unused_steps: Option<Vec<usize>>,
    /// How long after all was healed the system had converged, and stayed so.
    pub converged_after: Option<Duration>,
    /// The clients that were never answered, in words, if the run came to its end.
    pub unanswered: Vec<String>,
    /// The trace, if it was kept.
    pub trace: Option<Vec<Entry<N>>>,
    /// What became of each frame, if that was kept.
    pub passed: Vec<Passed>,
    /// The recordings, if they were asked for.
    pub recordings: BTreeMap<NodeId, Vec<u8>>,
}

impl<N: Node> RunReport<N> {
    /// A run that a panic ended before anything had happened.
    pub(crate) fn panicked(panic: Panic) -> Self {
        let digest = fingerprint(&panic);
        Self::without_a_run(Verdict::Panicked(panic), digest)
    }

    /// There is nothing to run.
    pub(crate) fn refused(why: String) -> Self {
        Self::without_a_run(Verdict::Refused { why }, 0)
    }

    /// Nothing is known but this.
    fn without_a_run(verdict: Verdict, digest: u64) -> Self {
        Self {
            verdict,
            digest,
            events: 0,
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            effects: Effects::default(),
            unused_steps: None,
            converged_after: None,
            unanswered: Vec::new(),
            trace: None,
            passed: Vec::new(),
            recordings: BTreeMap::new(),
        }
    }
}

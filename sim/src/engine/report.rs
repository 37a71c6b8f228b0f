//! What a run is told, and what it reports, whichever engine ran it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use coalmine_core::node::{Node, NodeId};
use serde::{Deserialize, Serialize};

use crate::panics::Panic;
use crate::spec::faults::Effects;
use crate::trace::Entry;
use crate::world::shared::fingerprint;

/// What runs a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The production shell and its bytes, on simulated TCP: see [`madsim`](crate::engine::madsim).
    #[default]
    Madsim,
    /// The hosts alone, stepped from one heap: see [`world::engine`](crate::engine::direct).
    World,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Madsim => "madsim",
            Self::World => "world",
        })
    }
}

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
    /// A run that takes more events is stuck in a loop.
    pub max_events: u64,
}

impl RunOptions {
    /// The options of an ordinary run of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, keep_trace: false, record: None, max_events: 2_000_000 }
    }
}

/// How a run came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held, and the system converged.
    Passed,
    /// An invariant was broken.
    Violated {
        /// Which.
        invariant: String,
        /// How, in words.
        why: String,
    },
    /// The invariants held, but the system did not come to rest after all was healed.
    NotConverged {
        /// What was missing.
        why: String,
    },
    /// There was no run: its system or its plan makes no sense.
    Refused {
        /// What is wrong, and where.
        why: String,
    },
    /// A node, or the harness, panicked.
    Panicked(Panic),
    /// The two engines came to different verdicts.
    EnginesDiffer {
        /// Under madsim.
        madsim: Box<Verdict>,
        /// In the world engine.
        world: Box<Verdict>,
    },
    /// Two runs of one seed differed.
    NotDeterministic {
        /// The digests of the two.
        digests: [String; 2],
        /// What came of the two, if that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdicts: Option<[String; 2]>,
        /// The first step that differs.
        #[serde(default)]
        difference: Option<Difference>,
    },
}

/// The first step at which two runs of a seed differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which step, counted from 1.
    pub step: usize,
    /// What happened in this process.
    pub here: String,
    /// What happened in the other.
    pub there: String,
}

impl Verdict {
    /// The exit code of a process that reports this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Violated { .. } => 1,
            Self::Refused { .. } => 2,
            Self::NotConverged { .. } => 3,
            Self::Panicked(_) => 4,
            Self::NotDeterministic { .. } => 5,
            Self::EnginesDiffer { madsim, world } => match madsim.exit_code() {
                0 => world.exit_code(),
                code => code,
            },
        }
    }

    /// Its name, as it is printed for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Violated { .. } => "violated",
            Self::NotConverged { .. } => "not_converged",
            Self::Refused { .. } => "refused",
            Self::Panicked(_) => "panicked",
            Self::NotDeterministic { .. } => "not_deterministic",
            Self::EnginesDiffer { .. } => "engines_differ",
        }
    }

    /// What is behind it; nothing for a run that passed.
    pub fn why(&self) -> Option<String> {
        (*self != Self::Passed).then(|| self.tell())
    }

    /// In one line.
    pub fn tell(&self) -> String {
        match self {
            Self::Passed => "passed".into(),
            Self::Violated { invariant, why } => format!("invariant {invariant} is violated: {why}"),
            Self::NotConverged { why } => format!("did not converge: {why}"),
            Self::Refused { why } => format!("cannot be run: {why}"),
            Self::Panicked(panic) => panic.to_string(),
            Self::EnginesDiffer { madsim, world } => {
                format!("the engines differ: under madsim {}; under world {}", madsim.tell(), world.tell())
            }
            Self::NotDeterministic { digests: [a, b], verdicts, difference } => {
                let mut digests = format!("not deterministic: digests {a} and {b}");
                if let Some([here, there]) = verdicts {
                    digests += &format!("\n      here:  {here}\n      there: {there}");
                }
                let difference = difference.as_ref().map(|Difference { step, here, there }| {
                    let lead = if verdicts.is_some() { "\n      " } else { "; " };
                    format!(
                        "{lead}step {step} is the first that differs\n      here:  {here}\n      there: {there}"
                    )
                });
                digests + &difference.unwrap_or_default()
            }
        }
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
            recordings: BTreeMap::new(),
        }
    }
}

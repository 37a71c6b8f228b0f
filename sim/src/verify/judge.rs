//! Folds the facts of a history and asks the invariants, each as far as it may be asked.
//!
//! In the [history](super::order), which is a run, all of them are asked after each step. Beyond it only those are
//! asked that [hold in parts](System::holds_in_parts): what breaks them breaks them whatever is missing.

use coalmine_core::node::{Effect, Event, NodeId};
use coalmine_core::observation::{History, Invariant, Observation, Observed};
use coalmine_core::write_ahead::WRITE_AHEAD;

use crate::spec::system::{NodeOf, System, invariants_of};

/// See the module's head.
pub struct Judge<S: System> {
    history: S::History,
    invariants: Vec<Asked<S>>,
    /// The first that is broken, and how.
    pub broken: Option<(String, String)>,
}

struct Asked<S: System> {
    invariant: Invariant<NodeOf<S>, S::History>,
    in_parts: bool,
    steps: u64,
}

impl<S: System> Judge<S> {
    /// Nothing is judged yet.
    pub fn new(system: &S) -> Self {
        let asked = |invariant: Invariant<_, _>| {
            // What one node tells too early is told by its own life alone.
            let in_parts = invariant.name == WRITE_AHEAD || system.holds_in_parts(invariant.name);
            Asked { invariant, in_parts, steps: 0 }
        };
        let invariants = invariants_of(system).into_iter().map(asked).collect();
        Self { history: S::History::default(), invariants, broken: None }
    }

    /// Takes in what a node took, if a client asked it, and the facts among what it did.
    pub fn learn(&mut self, node: NodeId, event: Option<&Event<NodeOf<S>>>, effects: &[Effect<NodeOf<S>>]) {
        if let (true, Some(Event::Request { id, request })) = (S::History::HEARS_CALLS, event) {
            self.history.called(node, *id, request);
        }
        self.history.learn(node, effects);
    }

    /// Asks the invariants about this moment: all of them if it is one of a run. Whether it `counts` as a step.
    pub fn judge<'a>(
        &'a mut self,
        nodes: impl IntoIterator<Item = Observed<'a, NodeOf<S>>>,
        is_run: bool,
        counts: bool,
    ) {
        if self.broken.is_some() {
            return;
        }
        let now = Observation { nodes: nodes.into_iter().collect(), history: &self.history };
        for asked in self.invariants.iter_mut().filter(|it| is_run || it.in_parts) {
            asked.steps += u64::from(counts);
            if let Err(why) = (asked.invariant.check)(&now) {
                self.broken = Some((asked.invariant.name.to_owned(), why));
                return;
            }
        }
    }

    /// The invariants by name, and after how many steps each was asked.
    pub fn asked(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.invariants.iter().map(|it| (it.invariant.name, it.steps))
    }
}

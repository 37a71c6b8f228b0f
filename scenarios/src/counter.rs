//! The write-ahead counter, to be counted itself: see [`coalmine_core::counter`].

use coalmine_core::counter::{self, Config, CountMe, Counter};
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::suite::ModelDef;

/// A counter and those whom it counts.
#[derive(Debug)]
pub struct CounterSystem {
    /// How many are to be counted.
    pub clients: u32,
}

/// The limits that `coalmine check counter` has by default: those of the model in Promela, in which nobody is late.
pub const LIMITS: Limits =
    Limits { crashes: 1, drops: 1, timeouts: Some(1), late_boots: 0, disk: Disk::Async, ..Limits::NONE };

impl System for CounterSystem {
    type Node = Counter;
    type History = ();
    /// Its states are counted by others, too, who know nothing of who was answered.
    const SESSIONS: bool = false;

    fn members(&self) -> Vec<(NodeId, Config)> {
        (0..=self.clients).map(NodeId).map(|me| (me, Config { me })).collect()
    }

    /// Each member has a client of its own.
    fn operations(&self) -> Vec<Operation<Counter>> {
        let count = |member: u32| Operation {
            to: NodeId(member),
            id: RequestId { client: member.into(), sequence: 1 },
            request: CountMe,
        };
        (1..=self.clients).map(count).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Counter, ()>> {
        counter::invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Counter, ()>> {
        counter::witnesses()
    }

    fn converged(&self, now: &Observation<'_, Counter, ()>) -> Result<(), String> {
        match now.up().find(|(_, state)| matches!(state, Counter::Asking(_) | Counter::Saving(_))) {
            Some((id, _)) => Err(format!("{id} does not know its number")),
            None => Ok(()),
        }
    }
}

/// The counter in any size: `nodes` counts those whom it counts.
pub fn model() -> ModelDef<CounterSystem> {
    ModelDef {
        name: "counter",
        about: "A write-ahead counter with every fault, to be counted: SPIN finds as many states.",
        system: |clients, _| CounterSystem { clients },
        size: (2, 0),
        limits: LIMITS,
    }
}

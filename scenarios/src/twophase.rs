//! *TwoPhase*, to be counted: see [`coalmine_core::twophase`].

use coalmine_core::node::NodeId;
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_core::twophase::{self, Config, TwoPhase};
use coalmine_sim::spec::limits::{Limits, Network};
use coalmine_sim::spec::symmetry::Symmetry;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::suite::ModelDef;

/// A transaction manager and its resource managers.
#[derive(Debug)]
pub struct TwoPhaseSystem {
    /// How many resource managers there are.
    pub resource_managers: u32,
    /// How many of them the transaction manager waits for. Less than all is a mistake.
    pub needed: u32,
}

impl TwoPhaseSystem {
    /// With so many resource managers, all of which the transaction manager waits for.
    pub fn new(resource_managers: u32) -> Self {
        Self { resource_managers, needed: resource_managers }
    }
}

/// The specification's world: no crashes, no disks, messages that are never consumed.
pub const LIMITS: Limits =
    Limits { timeouts: None, network: Network::Persistent, late_boots: 0, ..Limits::NONE };

impl System for TwoPhaseSystem {
    type Node = TwoPhase;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Config)> {
        let Self { resource_managers, needed } = *self;
        (0..=resource_managers).map(NodeId).map(|me| (me, Config { me, resource_managers, needed })).collect()
    }

    fn operations(&self) -> Vec<Operation<TwoPhase>> {
        Vec::new()
    }

    /// The resource managers; only the transaction manager knows them by name.
    fn symmetry(&self) -> Option<Symmetry<TwoPhase, ()>> {
        Some(Symmetry {
            members: (1..=self.resource_managers).map(NodeId).collect(),
            node: |node, names| node.renamed(|id| names.of(id)),
            message: |message, _| *message,
            timer: |timer, _| *timer,
            record: |(), _| (),
            fact: |(), _| (),
            history: |(), _| (),
        })
    }

    fn invariants(&self) -> Vec<Invariant<TwoPhase, ()>> {
        vec![twophase::consistent()]
    }

    fn witnesses(&self) -> Vec<Witness<TwoPhase, ()>> {
        twophase::witnesses()
    }

    fn converged(&self, now: &Observation<'_, TwoPhase, ()>) -> Result<(), String> {
        let end = |state: &TwoPhase| matches!(state, TwoPhase::Committed | TwoPhase::Aborted);
        match now.up().find(|(id, state)| *id != twophase::MANAGER && !end(state)) {
            Some((id, _)) => Err(format!("{id} has not finished")),
            None => Ok(()),
        }
    }
}

/// *TwoPhase* in any size: `nodes` counts the resource managers.
pub fn model() -> ModelDef<TwoPhaseSystem> {
    ModelDef {
        name: "twophase",
        about: "Lamport's TwoPhase, to be counted: 288, 8,832, 296,448 states for 3, 5, 7 resource managers. It has no \
                disk: a crash breaks it.",
        system: |resource_managers, _| TwoPhaseSystem::new(resource_managers),
        size: (5, 0),
        limits: LIMITS,
    }
}

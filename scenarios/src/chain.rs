//! The register that is replicated along a chain: see [`coalmine_core::chain`].

use coalmine_core::chain::{self, Config, Link, Mistake, Register, Request};
use coalmine_core::for_chain_mistakes;
use coalmine_core::linearize::Calls;
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_sim::prelude::{Chaos, Draw, PlanStep, Scenario, What, When, nothing_more};
use coalmine_sim::spec::limits::{Disk, Limits, ModelArgs};
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;

use crate::mistakes::listed;

/// A chain, and clients that each write and then read.
#[derive(Debug)]
pub struct ChainSystem {
    /// How many members it has.
    pub members: u32,
    /// How many clients there are.
    pub clients: u32,
    /// What its members do wrong on purpose.
    pub mistake: Option<Mistake>,
}

fn quiet() -> ModelArgs {
    ModelArgs { crashes: Some(0), timeouts: Some(0), retries: Some(0), ..ModelArgs::default() }
}
for_chain_mistakes!(listed);

impl System for ChainSystem {
    type Node = Link;
    type History = Calls<Register>;

    fn members(&self) -> Vec<(NodeId, Config)> {
        let chain: Vec<_> = (1..=self.members).map(NodeId).collect();
        let config = |me: &NodeId| Config { me: *me, chain: chain.clone(), mistake: self.mistake };
        chain.iter().map(|me| (*me, config(me))).collect()
    }

    /// Each client writes its own number at the head, then reads: the first at the tail, the others at the head, which
    /// sends them to the tail unless it answers itself.
    fn operations(&self) -> Vec<Operation<Link>> {
        let (head, tail) = (NodeId(1), NodeId(self.members));
        let of = |client: u32| {
            let id = |sequence| RequestId { client: client.into(), sequence };
            let reads_at = if client == 1 { tail } else { head };
            [
                Operation { to: head, id: id(1), request: Request::Write(client as u8) },
                Operation { to: reads_at, id: id(2), request: Request::Read },
            ]
        };
        (1..=self.clients).flat_map(of).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Link, Calls<Register>>> {
        chain::invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Link, Calls<Register>>> {
        chain::witnesses()
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        Mistake::ALL.map(|mistake| listed(mistake, Some("chain-chaos"))).into()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(Self { mistake: Some(Mistake::named(name)?), ..*self })
    }

    fn with_members(&self, members: u32) -> Option<Self> {
        (members >= 1).then_some(Self { members, ..*self })
    }

    fn converged(&self, now: &Observation<'_, Link, Calls<Register>>) -> Result<(), String> {
        for node in &now.nodes {
            match node.state {
                Some(link) if link.is_done() => {}
                Some(_) => return Err(format!("{} waits for the tail", node.id)),
                None => return Err(format!("{} is down", node.id)),
            }
        }
        Ok(())
    }
}

/// The chain in any size.
pub fn model() -> ModelDef<ChainSystem> {
    ModelDef {
        name: "chain",
        about: "A register replicated along a chain, and what its clients see: linearizable.",
        system: |members, clients| ChainSystem { members, clients, mistake: None },
        size: (3, 2),
        limits: Limits { crashes: 1, timeouts: Some(1), retries: 1, ..Limits::NONE },
    }
}

/// Every fault but lost disks, and clients that write and read meanwhile.
pub fn scenario() -> Scenario<ChainSystem> {
    Scenario {
        name: "chain-chaos",
        about: "A chain of three under random faults; what its clients see is linearizable.",
        system: || ChainSystem { members: 3, clients: 0, mistake: None },
        plan: |system, rng| {
            let chaos = Chaos::of(system);
            let ask = |number: u64| {
                let request = if rng.permille(500) { Request::Write(number as u8) } else { Request::Read };
                let to = NodeId(1 + rng.below(system.members.into()) as u32);
                let id = RequestId { client: 1 + rng.below(4), sequence: number };
                PlanStep {
                    when: When::AtMs(rng.below(chaos.heal_at_ms)),
                    what: What::Ask { to, id, request },
                }
            };
            let asks = (1..=16).map(ask).collect();
            chaos.plan(asks, rng)
        },
        expect: nothing_more::<ChainSystem>,
    }
}

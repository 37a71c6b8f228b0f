//! The tally that forgets: see [`coalmine_core::tally`].

use coalmine_core::for_tally_mistakes;
use coalmine_core::linearize::Calls;
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Witness};
use coalmine_core::tally::{self, Config, Mistake, Request, Sum, Tally};
use coalmine_sim::prelude::{Chaos, Draw, PlanStep, Scenario, What, When, nothing_more};
use coalmine_sim::spec::limits::{Disk, Limits, ModelArgs};
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;

use crate::mistakes::listed;

/// One node, and clients that each add twice and then read.
#[derive(Debug)]
pub struct TallySystem {
    /// How many clients there are.
    pub clients: u32,
    /// What the node does wrong on purpose.
    pub mistake: Option<Mistake>,
}

const NODE: NodeId = NodeId(1);

fn quiet() -> ModelArgs {
    ModelArgs { retries: Some(0), ..ModelArgs::default() }
}
for_tally_mistakes!(listed);

impl System for TallySystem {
    type Node = Tally;
    type History = Calls<Sum>;

    fn members(&self) -> Vec<(NodeId, Config)> {
        vec![(NODE, Config { mistake: self.mistake })]
    }

    fn operations(&self) -> Vec<Operation<Tally>> {
        let of = |client: u32| {
            let ask = move |sequence, request| {
                let id = RequestId { client: client.into(), sequence };
                Operation { to: NODE, id, request }
            };
            [ask(1, Request::Add(1)), ask(2, Request::Add(2)), ask(3, Request::Read)]
        };
        (1..=self.clients).flat_map(of).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Tally, Calls<Sum>>> {
        tally::invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Tally, Calls<Sum>>> {
        tally::witnesses()
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        Mistake::ALL.map(|mistake| listed(mistake, Some("tally-chaos"))).into()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(Self { mistake: Some(Mistake::named(name)?), ..*self })
    }

    /// A client that has gone on is not answered what it asked before.
    fn owes_no_answer(&self, _: &Request) -> Option<&'static str> {
        Some("its client may have asked for something else since")
    }
}

/// The tally, with so many clients.
pub fn model() -> ModelDef<TallySystem> {
    ModelDef {
        name: "tally",
        about: "A sum whose journal forgets what a total replaces: linearizable, whatever has vanished.",
        system: |_, clients| TallySystem { clients, mistake: None },
        size: (1, 2),
        limits: Limits { crashes: 1, retries: 1, disk: Disk::Async, ..Limits::NONE },
    }
}

/// Every fault but lost disks, and clients that add and read meanwhile.
pub fn scenario() -> Scenario<TallySystem> {
    Scenario {
        name: "tally-chaos",
        about: "A sum whose journal forgets, under random faults; what its clients see is linearizable.",
        system: || TallySystem { clients: 0, mistake: None },
        plan: |system, rng| {
            let chaos = Chaos::of(system);
            let ask = |number: u64| {
                let request = if rng.permille(700) { Request::Add(1 + rng.below(9)) } else { Request::Read };
                let id = RequestId { client: number, sequence: 1 };
                PlanStep {
                    when: When::AtMs(rng.below(chaos.heal_at_ms)),
                    what: What::Ask { to: NODE, id, request },
                }
            };
            let asks = (1..=12).map(ask).collect();
            chaos.plan(asks, rng)
        },
        expect: nothing_more::<TallySystem>,
    }
}

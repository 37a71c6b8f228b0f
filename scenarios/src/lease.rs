//! The lock that is lent for a time: see [`coalmine_core::lease`]. One scenario has every fault; of the others one has
//! all that a lease bears without a fence, and each of the rest one way in which time is not what a node takes it for.

use coalmine_core::for_lease_mistakes;
use coalmine_core::lease::{self, Config, LOCK, Lease, Mistake, STORE, Write};
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_sim::prelude::{Chaos, Draw, Fault, Plan, PlanStep, Scenario, What, When, nothing_more};
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::faults::FrameFate;
use coalmine_sim::spec::limits::{Lack, Limits, ModelArgs, SizeFlags};
use coalmine_sim::spec::plan::Links;
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;
use rand_chacha::ChaCha8Rng;

use crate::mistakes::listed;

/// A lock, a store, and holders that write documents for their clients.
#[derive(Debug)]
pub struct LeaseSystem {
    /// How many holders there are.
    pub holders: u32,
    /// How many clients there are, each with one document.
    pub clients: u32,
    /// What the members do wrong on purpose.
    pub mistake: Option<Mistake>,
}

/// Members that are no holders.
const OTHERS: u32 = STORE.0;

fn quiet() -> ModelArgs {
    ModelArgs { crashes: Some(0), retries: Some(0), ..ModelArgs::default() }
}
for_lease_mistakes!(listed);

impl LeaseSystem {
    /// The holder that this client asks.
    fn holder(&self, client: u64) -> NodeId {
        NodeId(OTHERS + 1 + ((client - 1) % u64::from(self.holders.max(1))) as u32)
    }

    fn holders(&self) -> impl Iterator<Item = NodeId> {
        (OTHERS + 1..=OTHERS + self.holders).map(NodeId)
    }
}

impl System for LeaseSystem {
    type Node = Lease;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Config)> {
        let all = [LOCK, STORE].into_iter().chain(self.holders());
        all.map(|me| (me, Config { me, mistake: self.mistake })).collect()
    }

    fn operations(&self) -> Vec<Operation<Lease>> {
        let ask = |client: u32| Operation {
            to: self.holder(client.into()),
            id: RequestId { client: client.into(), sequence: 1 },
            request: Write(client as u8),
        };
        (1..=self.clients).map(ask).collect()
    }

    fn size_flags(&self) -> SizeFlags {
        SizeFlags { nodes: Some("holders"), operations: Some("documents") }
    }

    fn with_members(&self, members: u32) -> Option<Self> {
        let holders = members.checked_sub(OTHERS).filter(|holders| *holders > 0)?;
        Some(Self { holders, ..*self })
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        Mistake::ALL.map(|mistake| listed(mistake, Some("lease-chaos"))).into()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(Self { mistake: Some(Mistake::named(name)?), ..*self })
    }

    fn invariants(&self) -> Vec<Invariant<Lease, ()>> {
        lease::invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Lease, ()>> {
        lease::witnesses()
    }

    /// Two holders with a document each; the work of both must end, or a lease before its holder thinks so.
    fn lacks(&self, witness: &str, limits: &Limits) -> Option<Lack> {
        let timeouts = limits.timeouts.unwrap_or(u8::MAX);
        match witness {
            _ if self.holders < 2 => Some(Lack::Nodes(2)),
            _ if self.clients < 2 => Some(Lack::Operations(2)),
            _ if timeouts < 1 => Some(Lack::Budget(Budget::Timeouts, 1)),
            _ => None,
        }
    }

    fn converged(&self, now: &Observation<'_, Lease, ()>) -> Result<(), String> {
        for node in &now.nodes {
            match node.state {
                Some(state) if state.is_done() => {}
                Some(_) => return Err(format!("{} has documents that are not written", node.id)),
                None => return Err(format!("{} is down", node.id)),
            }
        }
        Ok(())
    }
}

/// Any number of holders: `nodes` counts them.
pub fn model() -> ModelDef<LeaseSystem> {
    ModelDef {
        name: "lease",
        about: "A lock that is lent for a time, and a store that refuses who comes too late: whatever clocks do.",
        system: |holders, clients| LeaseSystem { holders, clients, mistake: None },
        size: (2, 2),
        limits: Limits { crashes: 1, timeouts: Some(3), retries: 1, ..Limits::NONE },
    }
}

/// What goes wrong in a scenario.
#[derive(Clone, Copy, Debug)]
enum Faults {
    /// Everything but lost disks.
    All,
    /// All that leaves clocks, processes and frames in time.
    InTime,
    /// Clocks run fast or slow, or jump.
    Clocks,
    /// Members stand still.
    Pauses,
    /// Frames to the store are slow.
    LateFrames,
}

/// All scenarios.
pub fn scenarios() -> [Scenario<LeaseSystem>; 5] {
    let of = |name, about, plan| Scenario {
        name,
        about,
        system: || LeaseSystem { holders: 2, clients: 0, mistake: None },
        plan,
        expect: nothing_more::<LeaseSystem>,
    };
    [
        of(
            "lease-chaos",
            "A lock that is lent for a time, under random faults: all but lost disks.",
            |it, rng| plan(Faults::All, it, rng),
        ),
        of(
            "lease-in-time",
            "The same lock under all faults that leave clocks, processes and frames in time.",
            |it, rng| plan(Faults::InTime, it, rng),
        ),
        of(
            "lease-clocks",
            "The same lock where clocks run fast or slow, or jump, and nothing else is wrong.",
            |it, rng| plan(Faults::Clocks, it, rng),
        ),
        of(
            "lease-pauses",
            "The same lock where members stand still, and nothing else is wrong.",
            |it, rng| plan(Faults::Pauses, it, rng),
        ),
        of(
            "lease-late-frames",
            "The same lock where frames to the store are slow, and nothing else is wrong.",
            |it, rng| plan(Faults::LateFrames, it, rng),
        ),
    ]
}

/// Clients with a document each, so many that holders wait for one another.
fn plan(faults: Faults, system: &LeaseSystem, rng: &mut ChaCha8Rng) -> Plan<Lease> {
    let chaos = Chaos { heal_at_ms: 20_000, ..Chaos::of(system) };
    let asks = (1..=24).map(|client: u64| PlanStep {
        when: When::AtMs(rng.below(chaos.heal_at_ms)),
        what: What::Ask {
            to: system.holder(client),
            id: RequestId { client, sequence: 1 },
            request: Write(client as u8),
        },
    });
    let mut steps: Vec<_> = asks.collect();
    match faults {
        Faults::All => return chaos.plan(steps, rng),
        Faults::InTime => {
            let mut plan = chaos.plan(steps, rng);
            plan.steps.retain(|step| is_in_time(&step.what));
            plan.links = Links { delay_permille: 0, delay_ms: 0, ..plan.links };
            return plan;
        }
        Faults::Clocks | Faults::Pauses | Faults::LateFrames => {}
    }
    for _ in 0..=rng.below(3) {
        let (node, for_ms) = (*rng.pick(&chaos.nodes), 1_000 + rng.below(8_000));
        let fault = match faults {
            Faults::Pauses => Fault::Pause { node, for_ms },
            Faults::LateFrames => {
                let from = vec![*rng.pick(&system.holders().collect::<Vec<_>>())];
                Fault::SlowLink { from, to: vec![STORE], delay_ms: 200 + rng.below(2_000), for_ms }
            }
            Faults::All | Faults::InTime | Faults::Clocks => match rng.below(3) {
                0 => Fault::Clock { node, percent: 10 + rng.below(60) as u32, for_ms },
                1 => Fault::Clock { node, percent: 150 + rng.below(850) as u32, for_ms },
                _ => Fault::ClockJump { node, by_ms: 500 + rng.below(5_000) },
            },
        };
        let when = When::AtMs(rng.below(chaos.heal_at_ms));
        steps.push(PlanStep { when, what: What::Fault(fault) });
    }
    Plan { steps, heal_at_ms: chaos.heal_at_ms, ..Plan::quiet([]) }
}

/// Whether timers fire and frames arrive when they should, whatever else this does.
fn is_in_time(what: &What<Lease>) -> bool {
    match what {
        What::Ask { .. } => true,
        What::Fault(fault) => match fault {
            Fault::Pause { .. }
            | Fault::Clock { .. }
            | Fault::ClockJump { .. }
            | Fault::Clog { .. }
            | Fault::SlowLink { .. } => false,
            Fault::Frame { fate, .. } => *fate == FrameFate::Lost,
            Fault::Crash { .. }
            | Fault::Kill { .. }
            | Fault::Wipe { .. }
            | Fault::Cut { .. }
            | Fault::Partition { .. }
            | Fault::Reset { .. }
            | Fault::SlowSync { .. }
            | Fault::FailSync { .. }
            | Fault::DiskFull { .. }
            | Fault::BitRot { .. } => true,
        },
    }
}

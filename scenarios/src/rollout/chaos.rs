//! `rollout-chaos`: everything drawn from the seed. Swarm style (Groce et al., *Swarm Testing*, ISSTA 2012):
//! each seed first draws which kinds of faults it has and how strong they are, then the timeline. A run with
//! a few kinds of faults goes deeper than one with a little of everything.
//!
//! Two faults are left out, because the rollout cannot heal them by itself: a disk that is wiped (a node that
//! has lost its promises must be taken in again by a person) and a record that rots (the node refuses to start).

use coalmine_core::node::NodeId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::variant::Variant;
use coalmine_sim::faults::{Fault, Shape};
use coalmine_sim::plan::{Draw, Links, Plan, PlanStep, What, When};
use coalmine_sim::scenario::{Scenario, nothing_more};
use rand_chacha::ChaCha8Rng;

use super::{RolloutSystem, report_health, roll_out};

/// When the faults end, in milliseconds.
const HEAL_AT_MS: u64 = 40_000;

/// The scenario, for any variant of the node.
pub fn scenario<V: Variant>() -> Scenario<RolloutSystem<V>> {
    Scenario {
        name: "rollout-chaos",
        about: "Rollouts under every fault that can be healed, all drawn from the seed.",
        system: || RolloutSystem::new(3, 1),
        plan,
        expect: nothing_more::<RolloutSystem<V>>,
    }
}

fn plan<V: Variant>(system: &RolloutSystem<V>, rng: &mut ChaCha8Rng) -> Plan<RolloutNode<V>> {
    let mut draw = Drawn { rng, nodes: system.nodes, steps: Vec::new() };
    draw.operations();
    // Which kinds of faults this seed has: each a coin, so that every subset comes up.
    if draw.rng.permille(600) {
        draw.crashes();
    }
    if draw.rng.permille(350) {
        draw.aimed_crashes();
    }
    if draw.rng.permille(350) {
        draw.partitions();
    }
    if draw.rng.permille(250) {
        draw.bad_links();
    }
    if draw.rng.permille(250) {
        draw.bad_disks();
    }
    if draw.rng.permille(250) {
        draw.bad_clocks();
    }
    let links = draw.links();
    Plan { members: None, links, steps: draw.steps, heal_at_ms: HEAL_AT_MS, converge_within_ms: 30_000 }
}

/// A plan that is being drawn.
struct Drawn<'a, V: Variant> {
    rng: &'a mut ChaCha8Rng,
    nodes: u32,
    steps: Vec<PlanStep<RolloutNode<V>>>,
}

impl<V: Variant> Drawn<'_, V> {
    fn push(&mut self, at_ms: u64, what: What<RolloutNode<V>>) {
        self.steps.push(PlanStep { when: When::AtMs(at_ms), what });
    }

    /// At some moment of the safety phase.
    fn fault(&mut self, fault: Fault) {
        let at_ms = self.rng.below(HEAL_AT_MS);
        self.push(at_ms, What::Fault(fault));
    }

    fn node(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(u64::from(self.nodes)) as u32)
    }

    fn up_to(&mut self, n: u64) -> u64 {
        1 + self.rng.below(n)
    }

    /// Two groups that share no node; either may be empty.
    fn groups(&mut self) -> (Vec<NodeId>, Vec<NodeId>) {
        (1..=self.nodes).map(NodeId).partition(|_| self.rng.permille(500))
    }

    /// One to four rollouts, and now and then a report of good or bad health.
    fn operations(&mut self) {
        let rollouts = self.up_to(4);
        let mut at = 200;
        for sequence in 1..=rollouts {
            at += self.rng.below(HEAL_AT_MS / rollouts);
            let shares: [&[u64]; 4] = [&[100], &[50, 100], &[5, 20, 50, 100], &[10]];
            let shares = *self.rng.pick(&shares);
            let pause_ms = *self.rng.pick(&[0, 0, 500, 3_000]);
            let model = format!("v{}", 2 + self.rng.below(3));
            self.push(at, roll_out(sequence, &model, shares, pause_ms));
        }
        if self.rng.permille(300) {
            for sequence in 1..=self.up_to(3) {
                let (p95_ms, error_bp) = *self.rng.pick(&[(50, 0), (50, 100), (900, 0), (50, 5_000)]);
                let (to, at) = (self.node().0, self.rng.below(HEAL_AT_MS));
                self.push(at, report_health(to, 100 + sequence, p95_ms, error_bp));
            }
        }
    }

    fn crashes(&mut self) {
        for _ in 0..self.up_to(6) {
            let node = self.node();
            let down_ms = self.rng.permille(800).then(|| 100 + self.rng.below(10_000));
            self.fault(Fault::Crash { node, down_ms });
        }
    }

    /// Crashes at a random time rarely fall between a write and what it releases: these are aimed.
    fn aimed_crashes(&mut self) {
        for _ in 0..self.up_to(3) {
            let (node, nth) = (self.node(), self.up_to(3) as u32);
            let when = if self.rng.permille(500) {
                let messages = ["PrepareReq", "PrepareResp", "Decision", "DecisionAck", "DecisionReq"];
                When::Received { node, message: (*self.rng.pick(&messages)).into(), nth }
            } else {
                let records = ["Epoch", "Accepted", "Voted", "Refused", "Decided", "Installed"];
                When::Durable { node, record: (*self.rng.pick(&records)).into(), nth }
            };
            let down_ms = Some(100 + self.rng.below(10_000));
            self.steps.push(PlanStep { when, what: What::Fault(Fault::Crash { node, down_ms }) });
        }
    }

    fn partitions(&mut self) {
        for _ in 0..self.up_to(4) {
            let for_ms = 200 + self.rng.below(12_000);
            let (group, others) = self.groups();
            let node = self.node();
            let fault = match self.rng.below(5) {
                0 => Fault::Cut { from: group, to: others, both_ways: false, for_ms },
                1 => Fault::Partition { shape: Shape::Isolate { node }, for_ms },
                2 => Fault::Partition { shape: Shape::Halves { group }, for_ms },
                3 => Fault::Partition { shape: Shape::MajorityRing, for_ms },
                _ => Fault::Partition { shape: Shape::Bridge { node }, for_ms },
            };
            self.fault(fault);
        }
    }

    fn bad_links(&mut self) {
        for _ in 0..self.up_to(4) {
            let for_ms = 200 + self.rng.below(8_000);
            let (from, to) = self.groups();
            let (a, b) = (self.node(), self.node());
            let delay_ms = self.up_to(2_500);
            let fault = match self.rng.below(3) {
                0 => Fault::Clog { from, to, for_ms },
                1 => Fault::SlowLink { from, to, delay_ms, for_ms },
                _ => Fault::Reset { a, b },
            };
            self.fault(fault);
        }
    }

    fn bad_disks(&mut self) {
        for _ in 0..self.up_to(3) {
            let (node, for_ms) = (self.node(), 200 + self.rng.below(8_000));
            let delay_ms = self.up_to(1_500);
            let fault = match self.rng.below(3) {
                0 => Fault::SlowSync { node, delay_ms, for_ms },
                1 => Fault::FailSync { node },
                _ => Fault::DiskFull { node, for_ms },
            };
            self.fault(fault);
        }
    }

    fn bad_clocks(&mut self) {
        for _ in 0..self.up_to(3) {
            let (node, for_ms) = (self.node(), 200 + self.rng.below(10_000));
            let by_ms = self.up_to(10_000);
            let fault = match self.rng.below(4) {
                0 => Fault::Pause { node, for_ms },
                1 => Fault::Clock { node, percent: 10 + self.rng.below(80) as u32, for_ms },
                2 => Fault::Clock { node, percent: 120 + self.rng.below(800) as u32, for_ms },
                _ => Fault::ClockJump { node, by_ms },
            };
            self.fault(fault);
        }
    }

    fn links(&mut self) -> Links {
        let mut some = |most: u64| if self.rng.permille(300) { self.up_to(most) as u32 } else { 0 };
        Links {
            loss_permille: some(200),
            duplicate_permille: some(200),
            delay_permille: some(300),
            delay_ms: some(4_000),
        }
    }
}

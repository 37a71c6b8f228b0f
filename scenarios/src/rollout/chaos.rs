//! `rollout-chaos`: everything drawn from the seed: rollouts, reports of health, and
//! [every fault](coalmine_sim::spec::chaos), a lost disk of any member among them. A coordinator without its disk may have
//! to stay out while somebody is in doubt (rule 10); a run that ends so has converged as was promised.

use coalmine_core::rollout::RolloutNode;
use coalmine_sim::spec::chaos::Chaos;
use coalmine_sim::spec::plan::{Draw, Plan, PlanStep, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use rand_chacha::ChaCha8Rng;

use super::{RolloutSystem, report_health, roll_out};
use coalmine_core::rollout::health::Window;

/// At whose arrival, and at whose becoming durable, crashes are aimed.
pub(super) const MESSAGES: [&str; 5] =
    ["PrepareReq", "PrepareResp", "Decision", "DecisionAck", "DecisionReq"];
pub(super) const RECORDS: [&str; 8] =
    ["Epoch", "Accepted", "Voted", "Refused", "Decided", "Installed", "Granted", "Admitted"];

/// The scenario.
pub fn scenario() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-chaos",
        about: "Rollouts under every fault that can be healed, all drawn from the seed.",
        system: || RolloutSystem::new(3, 1),
        plan,
        expect: nothing_more::<RolloutSystem>,
    }
}

pub(super) fn plan(system: &RolloutSystem, rng: &mut ChaCha8Rng) -> Plan<RolloutNode> {
    under_every_fault(system, rng, operations)
}

/// What clients ask, of so many nodes and until that moment, and beside it whatever can be healed.
pub(super) fn under_every_fault(
    system: &RolloutSystem,
    rng: &mut ChaCha8Rng,
    operations: impl Fn(u32, u64, &mut ChaCha8Rng) -> Vec<PlanStep<RolloutNode>>,
) -> Plan<RolloutNode> {
    let everybody = Chaos::of(system).nodes;
    let chaos = Chaos::of(system).aimed_at(&MESSAGES, &RECORDS).wipes(everybody);
    let operations = operations(system.nodes, chaos.heal_at_ms, rng);
    chaos.plan(operations, rng)
}

/// One to four rollouts, and now and then a report of good or bad health.
fn operations(nodes: u32, until_ms: u64, rng: &mut ChaCha8Rng) -> Vec<PlanStep<RolloutNode>> {
    let mut steps = Vec::new();
    let mut push = |at, what: What<_>| steps.push(PlanStep { when: When::AtMs(at), what });
    let rollouts = 1 + rng.below(4);
    let mut at = 200;
    for sequence in 1..=rollouts {
        at += rng.below(until_ms / rollouts);
        let shares: [&[u64]; 4] = [&[100], &[50, 100], &[5, 20, 50, 100], &[10]];
        let shares = *rng.pick(&shares);
        let pause_ms = *rng.pick(&[0, 0, 500, 3_000]);
        let model = format!("v{}", 2 + rng.below(3));
        push(at.min(until_ms - 1), roll_out(sequence, &model, shares, pause_ms));
    }
    if rng.permille(300) {
        for sequence in 1..=1 + rng.below(3) {
            let (p95_ms, error_bp) = *rng.pick(&[(50, 0), (50, 100), (900, 0), (50, 5_000)]);
            let (to, at) = (1 + rng.below(u64::from(nodes)) as u32, rng.below(until_ms));
            let did = Window { samples: 100, p95_ms, error_bp };
            push(at, report_health(to, 100 + sequence, 1, "v2", did));
        }
    }
    steps
}

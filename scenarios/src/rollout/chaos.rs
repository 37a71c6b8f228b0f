//! `rollout-chaos`: everything drawn from the seed. Swarm style (Groce et al., *Swarm Testing*, ISSTA 2012):
//! each seed first draws which kinds of faults it has and how strong they are, then the timeline. A run with
//! a few kinds of faults goes deeper than one with a little of everything.

use coalmine_core::node::NodeId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::variant::Variant;
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
        about: "Rollouts, crashes, partitions, loss, duplication and delay, all drawn from the seed.",
        system: || RolloutSystem::new(3, 1),
        plan,
        expect: nothing_more::<RolloutSystem<V>>,
    }
}

fn plan<V: Variant>(system: &RolloutSystem<V>, rng: &mut ChaCha8Rng) -> Plan<RolloutNode<V>> {
    let mut steps = Vec::new();
    operations(rng, &mut steps);
    if rng.permille(700) {
        crashes(system, rng, &mut steps);
    }
    if rng.permille(500) {
        cuts(system, rng, &mut steps);
    }
    let links = links(rng);
    Plan { links, steps, heal_at_ms: HEAL_AT_MS, converge_within_ms: 30_000 }
}

/// One to four rollouts, and now and then a report of good or bad health.
fn operations<V: Variant>(rng: &mut ChaCha8Rng, steps: &mut Vec<PlanStep<RolloutNode<V>>>) {
    let rollouts = 1 + rng.below(4);
    let mut at = 200;
    for sequence in 1..=rollouts {
        at += rng.below(HEAL_AT_MS / rollouts);
        let shares: [&[u64]; 4] = [&[100], &[50, 100], &[5, 20, 50, 100], &[10]];
        let shares = *rng.pick(&shares);
        let pause_ms = *rng.pick(&[0, 0, 500, 3_000]);
        let model = format!("v{}", 2 + rng.below(3));
        push(steps, at, roll_out(sequence, &model, shares, pause_ms));
    }
    if rng.permille(300) {
        for sequence in 1..=1 + rng.below(3) {
            let (p95_ms, error_bp) = *rng.pick(&[(50, 0), (50, 100), (900, 0), (50, 5_000)]);
            let to = 1 + rng.below(3) as u32;
            push(steps, rng.below(HEAL_AT_MS), report_health(to, 100 + sequence, p95_ms, error_bp));
        }
    }
}

fn crashes<V: Variant>(
    system: &RolloutSystem<V>,
    rng: &mut ChaCha8Rng,
    steps: &mut Vec<PlanStep<RolloutNode<V>>>,
) {
    let what = |rng: &mut ChaCha8Rng| {
        let node = NodeId(1 + rng.below(u64::from(system.nodes)) as u32);
        let down_ms = rng.permille(800).then(|| 100 + rng.below(10_000));
        What::Crash { node, down_ms }
    };
    for _ in 0..=rng.below(6) {
        let what = what(rng);
        push(steps, rng.below(HEAL_AT_MS), what);
    }
    // Crashes at a random time rarely fall between a write and what it releases: some are aimed.
    for _ in 0..rng.below(3) {
        let node = NodeId(1 + rng.below(u64::from(system.nodes)) as u32);
        let nth = 1 + rng.below(3) as u32;
        let when = if rng.permille(500) {
            let message = *rng.pick(&["PrepareReq", "PrepareResp", "Decision", "DecisionAck", "DecisionReq"]);
            When::Received { node, message: message.into(), nth }
        } else {
            let record = *rng.pick(&["Epoch", "Accepted", "Voted", "Refused", "Decided", "Installed"]);
            When::Durable { node, record: record.into(), nth }
        };
        let down_ms = Some(100 + rng.below(10_000));
        steps.push(PlanStep { when, what: What::Crash { node, down_ms } });
    }
}

fn cuts<V: Variant>(
    system: &RolloutSystem<V>,
    rng: &mut ChaCha8Rng,
    steps: &mut Vec<PlanStep<RolloutNode<V>>>,
) {
    for _ in 0..=rng.below(4) {
        let (mut from, mut to): (Vec<_>, Vec<_>) =
            (1..=system.nodes).map(NodeId).partition(|_| rng.permille(500));
        if rng.permille(500) {
            std::mem::swap(&mut from, &mut to);
        }
        let both_ways = rng.permille(600);
        let what = What::Cut { from, to, both_ways, for_ms: 200 + rng.below(12_000) };
        push(steps, rng.below(HEAL_AT_MS), what);
    }
}

fn links(rng: &mut ChaCha8Rng) -> Links {
    let mut some = |most: u64| if rng.permille(400) { 1 + rng.below(most) as u32 } else { 0 };
    Links {
        loss_permille: some(200),
        duplicate_permille: some(200),
        delay_permille: some(300),
        delay_ms: some(4_000),
    }
}

fn push<V: Variant>(steps: &mut Vec<PlanStep<RolloutNode<V>>>, at_ms: u64, what: What<RolloutNode<V>>) {
    steps.push(PlanStep { when: When::AtMs(at_ms), what });
}

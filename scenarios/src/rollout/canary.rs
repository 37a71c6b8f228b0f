//! Rollouts that gates judge: `canary-chaos`, with everything drawn from the seed, and the model `canary`, in which an
//! operator starts one and may abort it, and the data planes report that the canary is well, or fails behind a stable
//! model that hides it.

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::{OnFailure, Order, Request, RolloutPlan};
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::limits::{Lack, Limits, ModelArgs};
use coalmine_sim::spec::plan::{Draw, Plan, PlanStep, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::Operation;
use coalmine_sim::suite::ModelDef;
use rand_chacha::ChaCha8Rng;

use super::chaos::under_every_fault;
use super::{
    ALL_FAIL, Asks, HALF_FAILS, LIMITS, RolloutSystem, WELL, ask, basis_points, health, model_id, operator,
    report_health, steer,
};

impl RolloutSystem {
    /// A cluster of which a client asks for so many things: a rollout that gates judge; that it be aborted.
    pub fn guarded(nodes: u32, requests: u32) -> Self {
        Self { asks: Asks::Guarded, ..Self::new(nodes, requests) }
    }
}

/// The model.
pub fn model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "canary",
        about: "The rollout's node with gates, reports and an operator: what a canary may get, and the way back.",
        system: RolloutSystem::guarded,
        size: (2, 1),
        limits: Limits { inputs: 2, ..LIMITS },
    }
}

/// The spaces of the main job: evidence, what hangs on it, and an abort at any moment; with a crash; with three nodes.
pub fn spaces() -> Vec<ModelArgs> {
    let one = Some(1);
    let none = ModelArgs { crashes: Some(0), timeouts: Some(0), inputs: Some(0), ..ModelArgs::default() };
    vec![
        ModelArgs { inputs: Some(2), timeouts: Some(2), operations: Some(2), ..none },
        ModelArgs { crashes: one, inputs: one, timeouts: one, operations: Some(2), ..none },
        ModelArgs { crashes: one, operations: Some(2), nodes: Some(3), ..none },
        // One that waits for its turn.
        ModelArgs { crashes: one, inputs: one, operations: Some(3), ..none },
    ]
}

/// What the model's operator asks for: v2, at half of the requests and then at all; that it be aborted; that v3 come after it.
pub(super) fn operations(requests: u32) -> Vec<Operation<RolloutNode>> {
    let plan = RolloutPlan::guarded(model_id("v2"), basis_points(&[50, 100]), 0);
    let start = operator(1, Request::StartRollout(plan));
    let abort = operator(2, Request::Steer { order: Order::Abort, rollout: None });
    let next = RolloutPlan::unguarded(model_id("v3"), basis_points(&[100]), 0);
    let next = operator(3, Request::QueueRollout(next));
    [start, abort, next].into_iter().take(requests as usize).collect()
}

/// What the model's data planes report of the first step: that v2 is well, or that all of its requests fail.
pub(super) fn reports(nodes: u32) -> Vec<Operation<RolloutNode>> {
    let report = |member: u32, sequence: u64, did| Operation {
        to: NodeId(member),
        id: RequestId { client: 2, sequence: 2 * u64::from(member) + sequence },
        request: Request::ReportHealth(health(1, 1, "v2", did)),
    };
    (1..=nodes).flat_map(|member| [report(member, 0, WELL), report(member, 1, ALL_FAIL)]).collect()
}

/// What is not to be seen of the model within these limits.
pub(super) fn lacks(system: &RolloutSystem, witness: &str, limits: &Limits) -> Option<Lack> {
    let fires = |times: u8| limits.timeouts.is_none_or(|timeouts| timeouts >= times);
    let need = |is_there: bool, budget, times| (!is_there).then_some(Lack::Budget(budget, times));
    let reports = u8::try_from(system.nodes).unwrap_or(u8::MAX);
    match witness {
        "returns" => need(system.rollouts > 1 || limits.inputs > 0, Budget::Inputs, 1),
        "gets-more" => need(limits.inputs >= reports, Budget::Inputs, reports)
            .or_else(|| need(fires(1), Budget::Timeouts, 1)),
        // The hold, and the deadline after it.
        "pauses" => need(fires(2), Budget::Timeouts, 2),
        _ => None,
    }
}

/// The scenario.
pub fn scenario() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-chaos",
        about: "Guarded rollouts, reports of good and bad canaries, and operators' orders, under every fault.",
        system: || RolloutSystem::guarded(3, 1),
        plan,
        expect: nothing_more::<RolloutSystem>,
    }
}

fn plan(system: &RolloutSystem, rng: &mut ChaCha8Rng) -> Plan<RolloutNode> {
    Plan { converge_within_ms: 60_000, ..under_every_fault(system, rng, requests) }
}

/// One or two guarded rollouts, up to three orders, and what the data planes report, every second or so.
fn requests(nodes: u32, until_ms: u64, rng: &mut ChaCha8Rng) -> Vec<PlanStep<RolloutNode>> {
    let mut steps = Vec::new();
    let mut push =
        |at: u64, what: What<_>| steps.push(PlanStep { when: When::AtMs(at.min(until_ms - 1)), what });
    let mut at = 200;
    for sequence in 1..=1 + rng.below(2) {
        let shares: [&[u64]; 3] = [&[50, 100], &[5, 20, 100], &[10]];
        let shares = *rng.pick(&shares);
        let shares = basis_points(shares);
        let on_failure = *rng.pick(&[OnFailure::Return, OnFailure::Stop, OnFailure::Pause]);
        let (supersede, deadline_ms) = (rng.permille(500), 1_000 + rng.below(3_000));
        let plan = RolloutPlan::guarded(model_id("v2"), shares, 500);
        let plan = RolloutPlan { on_failure, supersede, deadline_ms, ..plan };
        push(at, ask(sequence, Request::StartRollout(plan)));
        at += 3_000 + rng.below(until_ms / 2);
    }
    for sequence in 11..11 + rng.below(4) {
        push(200 + rng.below(until_ms), steer(sequence, *rng.pick(&Order::ALL)));
    }
    for sequence in 21..21 + rng.below(3) {
        let (model, share) = (format!("v{}", 3 + rng.below(2)), *rng.pick(&[10, 100]));
        let plan = RolloutPlan::unguarded(model_id(&model), basis_points(&[share]), 0);
        push(200 + rng.below(until_ms), ask(sequence, Request::QueueRollout(plan)));
    }
    let (mut sequence, mut at, mut version) = (100, 400, 1);
    while at < until_ms {
        // Mostly about the version that is served by then, and mostly that all is well.
        version += u64::from(rng.permille(200));
        let did = *rng.pick(&[WELL, WELL, WELL, WELL, HALF_FAILS, ALL_FAIL]);
        for to in 1..=nodes {
            if rng.permille(850) {
                let did = if rng.permille(900) { did } else { WELL };
                push(at + rng.below(200), report_health(to, sequence, version, "v2", did));
                sequence += 1;
            }
        }
        at += 700 + rng.below(600);
    }
    steps
}

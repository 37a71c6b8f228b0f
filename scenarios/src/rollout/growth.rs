//! Members that come and go, and a coordinator that is succeeded: scenarios with a fixed plan, `growth-chaos` with
//! everything drawn from the seed, and the models `growth` and `succession`.

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::{Outcome, Request};
use coalmine_core::rollout::state::{Change, WHOLE_BP};
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::chaos::Chaos;
use coalmine_sim::spec::faults::{Fault, Shape};
use coalmine_sim::spec::limits::{Lack, Limits, ModelArgs};
use coalmine_sim::spec::plan::{Draw, Plan, PlanStep, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, address_of};
use coalmine_sim::suite::ModelDef;
use rand_chacha::ChaCha8Rng;

use super::chaos::{MESSAGES, RECORDS};
use super::scripted::{FIRST, Now, crash, durable};
use super::{Asks, LIMITS, RolloutSystem, ask, ask_at, operator, roll_out};

impl RolloutSystem {
    /// A cluster of so many nodes, two at least, of which the last comes later, and of which a client asks for so many
    /// things.
    pub fn growing(nodes: u32, requests: u32) -> Self {
        Self { asks: Asks::Changes, later: 1, ..Self::new(nodes.max(2), requests) }
    }

    /// A cluster of so many nodes, two at least, of which the second is to take over from the first.
    pub fn succeeded(nodes: u32, requests: u32) -> Self {
        Self { asks: Asks::Succession, ..Self::new(nodes.max(2), requests) }
    }
}

/// The model of members that come and go.
pub fn growth_model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "growth",
        about: "The rollout's node with members that come and go, by transactions between two rollouts.",
        system: RolloutSystem::growing,
        size: (3, 2),
        limits: LIMITS,
    }
}

/// The model of a coordinator that is succeeded.
pub fn succession_model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "succession",
        about: "The rollout's node with an operator's word that the coordinator is gone, true or not.",
        system: RolloutSystem::succeeded,
        size: (2, 2),
        limits: Limits { periodic: 1, timeouts: Some(1), ..Limits::NONE },
    }
}

/// The spaces of the main job for members that come and go.
pub fn growth_spaces() -> Vec<ModelArgs> {
    let usual = ModelArgs::default();
    vec![usual, ModelArgs { crashes: Some(0), timeouts: Some(0), operations: Some(3), ..usual }]
}

/// The spaces of the main job for a coordinator that is succeeded.
pub fn succession_spaces() -> Vec<ModelArgs> {
    let usual = ModelArgs::default();
    vec![
        usual,
        ModelArgs { nodes: Some(3), timeouts: Some(0), ..usual },
        ModelArgs { crashes: Some(1), ..usual },
    ]
}

/// What the model's client asks for: that the last node become a member; that the second leave, as gone; a rollout.
pub(super) fn changes(nodes: u32, requests: u32) -> Vec<Operation<RolloutNode>> {
    let dismiss = Change::Dismiss { member: NodeId(2), is_gone: true };
    let asked = [
        Request::Change(admission(nodes)),
        Request::Change(dismiss),
        Request::unguarded(super::model_id("v2"), vec![WHOLE_BP], 0),
    ];
    (1..).zip(asked).map(|(sequence, request)| operator(sequence, request)).take(requests as usize).collect()
}

/// What the model's operators ask for: a rollout of the first node, and that the second take over.
pub(super) fn succession(requests: u32) -> Vec<Operation<RolloutNode>> {
    let roll_out = operator(1, Request::unguarded(super::model_id("v2"), vec![WHOLE_BP], 0));
    let id = RequestId { client: 2, sequence: 1 };
    let take_over = Operation { to: NodeId(2), id, request: Request::TakeOver { from: NodeId(1) } };
    [take_over, roll_out].into_iter().take(requests as usize).collect()
}

/// What is not to be seen of these models within these limits.
pub(super) fn lacks(system: &RolloutSystem, witness: &str, limits: &Limits) -> Option<Lack> {
    match witness {
        "shrinks" if system.rollouts < 2 => Some(Lack::Operations(2)),
        "succeeds" | "waits-for-doubt" if limits.periodic < 1 => Some(Lack::Budget(Budget::Periodic, 1)),
        "waits-for-doubt" if system.rollouts < 2 => Some(Lack::Operations(2)),
        _ => None,
    }
}

fn admission(node: u32) -> Change {
    Change::Admit { member: NodeId(node), address: Some(address_of(NodeId(node))) }
}

fn admit(sequence: u64, node: u32) -> What<RolloutNode> {
    ask(sequence, Request::Change(admission(node)))
}

fn dismiss(sequence: u64, node: u32, is_gone: bool) -> What<RolloutNode> {
    ask(sequence, Request::Change(Change::Dismiss { member: NodeId(node), is_gone }))
}

fn take_over(node: u32, sequence: u64, from: u32) -> What<RolloutNode> {
    ask_at(node, sequence, Request::TakeOver { from: NodeId(from) })
}

fn roll_out_at(node: u32, sequence: u64, model: &str) -> What<RolloutNode> {
    let request = Request::unguarded(super::model_id(model), vec![WHOLE_BP], 0);
    ask_at(node, sequence, request)
}

/// It stays down.
fn kill(node: u32) -> What<RolloutNode> {
    What::Fault(Fault::Crash { node: NodeId(node), down_ms: None })
}

/// Nobody hears of it, for so long.
fn cut_off(node: u32, for_ms: u64) -> What<RolloutNode> {
    What::Fault(Fault::Partition { shape: Shape::Isolate { node: NodeId(node) }, for_ms })
}

/// Exactly these are members, all of them serve this model alone, and nobody else serves anything.
fn serves(now: &Now<'_>, members: &[u32], model: &str) -> Result<(), String> {
    for (id, state) in now.up() {
        let is_meant = members.contains(&id.0);
        if state.is_joining() == is_meant {
            let is = if is_meant { "is not" } else { "is" };
            return Err(format!("{id} {is} a member"));
        }
        let served = state.committed();
        if is_meant && !served.ids().eq(members.iter().copied().map(NodeId)) {
            return Err(format!("{id} counts {} members, expected {}", served.members.len(), members.len()));
        }
        if is_meant && served.stable_model_id.as_str() != model {
            return Err(format!("{id} serves {served}, expected {model}"));
        }
    }
    let up = |member: &u32| now.up().any(|(id, _)| id.0 == *member);
    members.iter().find(|member| !up(member)).map_or(Ok(()), |member| Err(format!("n{member} is down")))
}

fn growing() -> RolloutSystem {
    RolloutSystem::growing(4, 1)
}

fn fixed() -> RolloutSystem {
    RolloutSystem::new(3, 1)
}

/// All of them.
pub fn all() -> Vec<Scenario<RolloutSystem>> {
    vec![
        Scenario {
            name: "growth-joins",
            about: "A fourth node is admitted to a running cluster, and votes on the next rollout.",
            system: growing,
            plan: |_, _| Plan::quiet([(500, admit(1, 4)), (6_000, roll_out(2, "v2", &[100], 0))]),
            expect: |now| serves(now, &[1, 2, 3, 4], "v2"),
        },
        Scenario {
            name: "growth-joins-on-the-way",
            about: "A node is admitted while a rollout is held: the rollout goes on, on four nodes.",
            system: growing,
            plan: |_, _| Plan::quiet([(500, roll_out(1, "v2", &[5, 20, 100], 3_000)), (1_500, admit(2, 4))]),
            expect: |now| serves(now, &[1, 2, 3, 4], "v2"),
        },
        Scenario {
            name: "growth-coordinator-dies-admitting",
            about: "The coordinator crashes when the admission of a node is durable there: it goes on with it.",
            system: growing,
            plan: |_, _| {
                Plan::quiet([(500, admit(1, 4)), (9_000, roll_out(2, "v2", &[100], 0))])
                    .with(durable(1, "Changing", 1), crash(1, 2_000))
            },
            expect: |now| serves(now, &[1, 2, 3, 4], "v2"),
        },
        Scenario {
            name: "growth-leaves",
            about: "A member is dismissed, with its own vote: it serves nothing any more, and the others go on.",
            system: fixed,
            plan: |_, _| Plan::quiet([(500, dismiss(1, 3, false)), (3_000, roll_out(2, "v2", &[100], 0))]),
            expect: |now| serves(now, &[1, 2], "v2"),
        },
        Scenario {
            name: "growth-leaves-dead",
            about: "A member that is gone for good blocks a rollout, is dismissed, and the next one commits.",
            system: fixed,
            plan: |_, _| {
                Plan::quiet([
                    (100, kill(3)),
                    (500, roll_out(1, "v2", &[100], 0)),
                    (4_000, dismiss(2, 3, true)),
                    (6_000, roll_out(3, "v3", &[100], 0)),
                ])
            },
            expect: |now| serves(now, &[1, 2], "v3"),
        },
        Scenario {
            name: "growth-leaves-by-mistake",
            about: "A member that is only cut off is dismissed as gone: it hears of it when it is back, and serves no more.",
            system: fixed,
            plan: |_, _| {
                let cut = cut_off(3, 6_000);
                Plan::quiet([(400, cut), (1_000, dismiss(1, 3, true)), (2_000, roll_out(2, "v2", &[100], 0))])
            },
            expect: |now| serves(now, &[1, 2], "v2"),
        },
        Scenario {
            name: "growth-succession",
            about: "The coordinator is gone for good: another node takes over, dismisses it, and rolls out.",
            system: fixed,
            plan: |_, _| {
                Plan::quiet([(500, kill(1)), (9_000, take_over(2, 1, 1)), (12_000, roll_out_at(2, 2, "v2"))])
            },
            expect: |now| serves(now, &[2, 3], "v2"),
        },
        Scenario {
            name: "growth-succession-too-early",
            about: "An operator errs: the coordinator is well. The node refuses to take over, and nothing changes.",
            system: fixed,
            plan: |_, _| Plan::quiet([(9_000, take_over(2, 1, 1)), (10_000, roll_out(2, "v2", &[100], 0))]),
            expect: |now| serves(now, &[1, 2, 3], "v2"),
        },
        Scenario {
            name: "growth-succession-of-a-ghost",
            about: "The coordinator was only cut off, and comes back after another node has taken over: it serves no more.",
            system: fixed,
            plan: |_, _| {
                let cut = cut_off(1, 15_000);
                Plan::quiet([(500, cut), (9_000, take_over(2, 1, 1)), (12_000, roll_out_at(2, 2, "v2"))])
            },
            expect: |now| serves(now, &[2, 3], "v2"),
        },
        Scenario {
            name: "growth-resolved",
            about: "The coordinator decides COMMIT, tells nobody, and is gone: an operator who read its disk says so.",
            system: fixed,
            plan: |_, _| {
                let resolve = Request::Resolve { txid: FIRST, outcome: Outcome::Commit };
                let quiet = Plan::quiet([
                    (500, roll_out(1, "v2", &[100], 0)),
                    (12_000, take_over(2, 2, 1)),
                    (14_000, ask_at(2, 3, resolve)),
                    (20_000, roll_out_at(2, 4, "v3")),
                ]);
                Plan { heal_at_ms: 24_000, ..quiet }.with(durable(1, "Decided", 1), kill(1))
            },
            expect: |now| serves(now, &[2, 3], "v3").and_then(|()| resolved(now)),
        },
    ]
}

/// The transaction that only a lost disk knew of was committed, once and everywhere.
fn resolved(now: &Now<'_>) -> Result<(), String> {
    let is_so = now.history.knows(FIRST, Outcome::Commit) && !now.history.knows(FIRST, Outcome::Abort);
    if is_so { Ok(()) } else { Err(format!("{FIRST} should have been resolved as committed")) }
}

/// The scenario of everything.
pub fn scenario() -> Scenario<RolloutSystem> {
    Scenario {
        name: "growth-chaos",
        about: "Rollouts, members that come and go, and coordinators that are succeeded, under every fault but lost disks.",
        system: || RolloutSystem::growing(5, 1),
        plan,
        expect: nothing_more::<RolloutSystem>,
    }
}

/// Up to four rollouts, at any node; up to four changes; now and then somebody takes over, rightly or not.
fn plan(system: &RolloutSystem, rng: &mut ChaCha8Rng) -> Plan<RolloutNode> {
    let chaos = Chaos::of(system).aimed_at(&MESSAGES, &RECORDS);
    let until_ms = chaos.heal_at_ms;
    let mut steps = Vec::new();
    let mut push = |at: u64, what| steps.push(PlanStep { when: When::AtMs(at), what });
    let any = |rng: &mut ChaCha8Rng| 1 + rng.below(u64::from(system.nodes)) as u32;
    push(200, admit(1, 5));
    for sequence in 2..2 + rng.below(4) {
        let (to, model) = (any(rng), format!("v{}", 2 + rng.below(3)));
        let to = if rng.permille(600) { 1 } else { to };
        push(200 + rng.below(until_ms - 200), roll_out_at(to, sequence, &model));
    }
    for sequence in 11..11 + rng.below(4) {
        let node = any(rng);
        let change = if rng.permille(400) {
            admission(node)
        } else {
            Change::Dismiss { member: NodeId(node), is_gone: rng.permille(500) }
        };
        let to = if rng.permille(700) { 1 } else { any(rng) };
        push(200 + rng.below(until_ms - 200), ask_at(to, sequence, Request::Change(change)));
    }
    for sequence in 21..21 + rng.below(4) {
        let node = 2 + rng.below(u64::from(system.nodes) - 1) as u32;
        push(200 + rng.below(until_ms - 200), take_over(node, sequence, 1 + rng.below(2) as u32));
    }
    Plan { converge_within_ms: 60_000, ..chaos.plan(steps, rng) }
}

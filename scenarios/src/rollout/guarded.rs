//! Scenarios of rollouts that gates judge, and that an operator steers. The first four are what a canary cluster is for:
//! a bad model is stopped although its step is short, although the stable model hides it, and although it breaks the
//! gates on its way back; and an operator can always end what has no end.

use coalmine_core::node::NodeId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::LONGEST_MS;
use coalmine_core::rollout::health::Window;
use coalmine_core::rollout::message::{Course, Guard, OnFailure, Order, Request, RolloutPlan};
use coalmine_sim::spec::plan::{Plan, What, When};
use coalmine_sim::spec::scenario::Scenario;

use super::scripted::{Now, crash};
use super::{
    ALL_FAIL, HALF_FAILS, RolloutSystem, WELL, ask, plan, report_health, roll_out, roll_out_guarded, steer,
};

type Steps = Plan<RolloutNode>;

fn system() -> RolloutSystem {
    RolloutSystem::guarded(3, 1)
}

/// All of them.
pub fn all() -> Vec<Scenario<RolloutSystem>> {
    vec![
        passes(),
        short_hold(),
        hidden(),
        fire_exit(),
        exit_in_silence(),
        endless_hold(),
        no_evidence(),
        stale(),
        one_bad_node(),
        steered(),
        superseded(),
        queued(),
        queued_behind_a_failure(),
        coordinator_dies_returning(),
        abort_during_a_vote(),
    ]
}

/// Every node reports the same of v2 under a version, at a time.
fn all_report(plan: Steps, at_ms: u64, version: u64, did: Window) -> Steps {
    (1..=3).fold(plan, |plan, node| {
        let sequence = 10 * version + u64::from(node) + 100 * at_ms;
        plan.with(When::AtMs(at_ms), report_health(node, sequence, version, "v2", did))
    })
}

/// Every node serves this model alone, and has nothing on trial.
fn all_stable(now: &Now<'_>, model: &str) -> Result<(), String> {
    let is_stable = |state: &RolloutNode| {
        let served = state.committed();
        served.stable_model_id.as_str() == model && served.canary_model_id.is_none()
    };
    match now.up().find(|(_, state)| !is_stable(state)) {
        Some((id, state)) => Err(format!("{id} serves {}, expected {model} alone", state.committed())),
        None => Ok(()),
    }
}

/// This version is the newest that any node committed.
fn newest_is(now: &Now<'_>, version: u64) -> Result<(), String> {
    let newest = now.history.newest(NodeId(1));
    if newest == version { Ok(()) } else { Err(format!("v{newest} is the newest, expected v{version}")) }
}

/// v2 never got further than this version, and every node serves v1 alone again.
fn returned_from(now: &Now<'_>, version: u64) -> Result<(), String> {
    all_stable(now, "v1")?;
    let newest = now.history.newest(NodeId(1));
    if newest == version + 1 {
        Ok(())
    } else {
        Err(format!("v{newest} is the newest, expected v{version} and the way back from it"))
    }
}

/// The last rollout is paused, and v2 serves what it served under this version.
fn paused_at(now: &Now<'_>, version: u64) -> Result<(), String> {
    newest_is(now, version)?;
    let rollouts = now.up().flat_map(|(_, state)| state.durable().rollouts.last());
    let courses: Vec<_> = rollouts.map(|rollout| &rollout.course).collect();
    if matches!(courses[..], [Course::Paused(_)]) {
        Ok(())
    } else {
        Err(format!("the rollout should be paused: {courses:?}"))
    }
}

fn passes() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-passes",
        about: "A canary that is well on every node gets more, step by step, is on trial with everything, is made stable.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[50, 100], 1_000))]);
            all_report(all_report(plan, 4_000, 1, WELL), 9_000, 2, WELL)
        },
        expect: |now| {
            all_stable(now, "v2")?;
            newest_is(now, 3)
        },
    }
}

fn short_hold() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-short-hold",
        about: "A hold shorter than a window: a model that fails half of its requests gets no further than its first step.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[5, 20, 50, 100], 1_000))]);
            all_report(plan, 5_000, 1, HALF_FAILS)
        },
        expect: |now| returned_from(now, 1),
    }
}

fn hidden() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-hidden",
        about: "A model that fails every request, behind fifty times as many that its stable model answers: it is seen.",
        system,
        plan: |_, _| {
            all_report(Plan::quiet([(500, roll_out_guarded(1, "v2", &[4, 100], 1_000))]), 5_000, 1, ALL_FAIL)
        },
        expect: |now| returned_from(now, 1),
    }
}

/// A rollout whose failures leave it where it is.
fn pausing(percents: &[u64]) -> What<RolloutNode> {
    let guarded =
        RolloutPlan { gates: Guard::Configured, on_failure: OnFailure::Pause, ..plan("v2", percents, 1_000) };
    ask(1, Request::StartRollout(guarded))
}

fn fire_exit() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-fire-exit",
        about: "A bad model serves half of the requests and breaks every gate: an abort brings all back to the stable one.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, pausing(&[50, 100])), (8_000, steer(2, Order::Abort))]);
            all_report(plan, 5_000, 1, ALL_FAIL)
        },
        expect: |now| returned_from(now, 1),
    }
}

fn exit_in_silence() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-exit-in-silence",
        about: "Nobody asks for a prediction, so there is no evidence of anything: an abort is carried out all the same.",
        system,
        plan: |_, _| {
            Plan::quiet([
                (500, roll_out_guarded(1, "v2", &[50, 100], 1_000)),
                (3_000, steer(2, Order::Abort)),
            ])
        },
        expect: |now| returned_from(now, 1),
    }
}

fn endless_hold() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-endless-hold",
        about: "A hold of a year: an operator's abort ends it.",
        system,
        plan: |_, _| {
            Plan::quiet([(500, roll_out(1, "v2", &[5, 100], LONGEST_MS)), (5_000, steer(2, Order::Abort))])
        },
        expect: |now| returned_from(now, 1),
    }
}

fn no_evidence() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-no-evidence",
        about: "One node's canary was asked for too little: the rollout waits for its deadline, and pauses.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[5, 100], 1_000))]);
            let plan = all_report(plan, 3_000, 1, WELL);
            let few = Window { samples: 99, ..WELL };
            let plan = plan.with(When::AtMs(3_500), report_health(2, 1, 1, "v2", few));
            Plan { heal_at_ms: 20_000, ..plan }
        },
        expect: |now| paused_at(now, 1),
    }
}

fn stale() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-stale",
        about: "What a node reported is older than three windows when the hold is over: it passes nothing.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[5, 100], 20_000))]);
            let plan = all_report(plan, 3_000, 1, WELL);
            let again = [1, 3].map(|node| report_health(node, u64::from(node), 1, "v2", WELL));
            let plan = again.into_iter().fold(plan, |plan, report| plan.with(When::AtMs(15_000), report));
            Plan { heal_at_ms: 35_000, ..plan }
        },
        expect: |now| paused_at(now, 1),
    }
}

fn one_bad_node() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-one-bad-node",
        about: "The canary passes its first step, and is bad on one node at its second: all return.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[5, 20, 100], 1_000))]);
            let plan = all_report(all_report(plan, 4_000, 1, WELL), 9_000, 2, WELL);
            plan.with(When::AtMs(9_500), report_health(3, 1, 2, "v2", HALF_FAILS))
        },
        expect: |now| returned_from(now, 2),
    }
}

fn steered() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-steered",
        about: "An operator pauses, resumes, and promotes step by step to the end: no gate is asked.",
        system,
        plan: |_, _| {
            let mut plan = Plan::quiet([
                (500, roll_out_guarded(1, "v2", &[5, 50, 100], 1_000)),
                (2_000, steer(2, Order::Pause)),
                (2_500, steer(3, Order::Resume)),
            ]);
            for sequence in 4..=6 {
                plan = plan.with(When::AtMs(1_000 * sequence), steer(sequence, Order::Promote));
                // The same request again is the same request.
                plan = plan.with(When::AtMs(1_000 * sequence + 400), steer(sequence, Order::Promote));
            }
            plan
        },
        expect: |now| {
            all_stable(now, "v2")?;
            newest_is(now, 4)
        },
    }
}

fn superseded() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-superseded",
        about: "A rollout takes the place of one that is held; one that does not say so is refused.",
        system,
        plan: |_, _| {
            let instead = RolloutPlan { supersede: true, ..plan("v3", &[100], 0) };
            Plan::quiet([
                (500, roll_out_guarded(1, "v2", &[50, 100], 1_000)),
                (2_000, roll_out(2, "v4", &[100], 0)),
                (3_000, ask(3, Request::StartRollout(instead))),
            ])
        },
        expect: |now| all_stable(now, "v3"),
    }
}

/// The operator asks for a rollout of the whole share that waits for its turn.
fn queue(sequence: u64, model: &str) -> What<RolloutNode> {
    ask(sequence, Request::QueueRollout(plan(model, &[100], 0)))
}

fn queued() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-queued",
        about: "Three rollouts, of which two wait for their turn, and the coordinator crashes between: all are done, in order.",
        system,
        plan: |_, _| {
            Plan::quiet([
                (500, roll_out(1, "v2", &[50, 100], 3_000)),
                (1_000, queue(2, "v3")),
                (1_500, queue(3, "v4")),
                (2_000, crash(1, 2_000)),
                (9_000, queue(3, "v4")), // the same request again is the same request
            ])
        },
        expect: |now| {
            all_stable(now, "v4")?;
            newest_is(now, 5)
        },
    }
}

fn queued_behind_a_failure() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-queued-behind-a-failure",
        about: "A rollout waits for one that fails: it never begins; one that is queued afterwards does.",
        system,
        plan: |_, _| {
            let plan = Plan::quiet([
                (500, roll_out_guarded(1, "v2", &[50, 100], 1_000)),
                (1_500, queue(2, "v3")),
                (14_000, queue(3, "v4")),
            ]);
            all_report(plan, 5_000, 1, ALL_FAIL)
        },
        expect: |now| {
            all_stable(now, "v4")?;
            newest_is(now, 3)
        },
    }
}

fn coordinator_dies_returning() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-coordinator-dies-returning",
        about: "The coordinator crashes when the way back is ordered, durably: it goes back when it has restarted.",
        system,
        plan: |_, _| {
            let when = When::Durable { node: NodeId(1), record: "Steered".into(), nth: 1 };
            let plan = Plan::quiet([(500, roll_out_guarded(1, "v2", &[50, 100], 1_000))]);
            all_report(plan, 5_000, 1, ALL_FAIL).with(when, crash(1, 3_000))
        },
        expect: |now| returned_from(now, 1),
    }
}

fn abort_during_a_vote() -> Scenario<RolloutSystem> {
    Scenario {
        name: "canary-abort-during-a-vote",
        about: "A member is away while its vote on the second step is missing: an abort ends the vote, and all return.",
        system,
        plan: |_, _| {
            let plan =
                Plan::quiet([(500, roll_out(1, "v2", &[50, 100], 3_000)), (4_500, steer(2, Order::Abort))]);
            plan.with(When::AtMs(3_000), crash(3, 4_000))
        },
        expect: |now| returned_from(now, 1),
    }
}

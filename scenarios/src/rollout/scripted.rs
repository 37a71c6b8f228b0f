//! Scenarios with a fixed plan: the situations that two-phase commit is about. The seed decides the rest:
//! latencies, what a crash leaves on a disk, who is first.

use coalmine_core::node::NodeId;
use coalmine_core::observation::Observation;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::invariants::Ledger;
use coalmine_core::rollout::message::Outcome;
use coalmine_core::rollout::state::Txid;
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::plan::{Plan, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};

use super::{RolloutSystem, roll_out};

/// What a scenario's expectation is told.
pub(super) type Now<'a> = Observation<'a, RolloutNode, Ledger>;

/// The first transaction of a cluster.
pub(super) const FIRST: Txid = Txid { generation: 1, epoch: 1, number: 1 };

fn system() -> RolloutSystem {
    RolloutSystem::new(3, 1)
}

/// All of them.
pub fn all() -> Vec<Scenario<RolloutSystem>> {
    vec![
        calm(),
        participant_dies_voting(),
        participant_dies_prepared(),
        coordinator_dies_undecided(),
        coordinator_dies_decided(),
        proposal_lost(),
        vote_lost(),
        decision_lost(),
        long_outage(),
        partition(),
    ]
}

fn received(node: u32, message: &str, nth: u32) -> When {
    When::Received { node: NodeId(node), message: message.into(), nth }
}

pub(super) fn durable(node: u32, record: &str, nth: u32) -> When {
    When::Durable { node: NodeId(node), record: record.into(), nth }
}

pub(super) fn crash(node: u32, down_ms: u64) -> What<RolloutNode> {
    What::Fault(Fault::Crash { node: NodeId(node), down_ms: Some(down_ms) })
}

/// Every node serves this version.
pub(super) fn all_serve(now: &Now<'_>, version: u64) -> Result<(), String> {
    match now.up().find(|(_, state)| state.committed().version != version) {
        Some((id, state)) => Err(format!("{id} serves v{}, expected v{version}", state.committed().version)),
        None => Ok(()),
    }
}

fn first_ended(now: &Now<'_>, outcome: Outcome) -> Result<(), String> {
    if now.history.knows(FIRST, outcome) {
        Ok(())
    } else {
        Err(format!("transaction {FIRST} should have ended in {outcome:?}"))
    }
}

/// A rollout of one step, by transaction [`FIRST`].
fn one_step() -> Plan<RolloutNode> {
    Plan::quiet([(500, roll_out(1, "v2", &[100], 0))])
}

/// It commits at once, and not when it is tried again.
fn one_step_commits(now: &Now<'_>) -> Result<(), String> {
    all_serve(now, 1).and_then(|()| first_ended(now, Outcome::Commit))
}

fn calm() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-calm",
        about: "A staged rollout, 5, 20, 50, 100 %, without faults: every step commits, and the model is made stable.",
        system,
        plan: |_, _| Plan::quiet([(500, roll_out(1, "v2", &[5, 20, 50, 100], 1000))]),
        expect: |now| all_serve(now, 5),
    }
}

fn participant_dies_voting() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-participant-dies-voting",
        about: "A participant crashes when PREPARE reaches it, before it has voted: the step must abort.",
        system,
        plan: |_, _| {
            Plan::quiet([(500, roll_out(1, "v2", &[5, 100], 0))])
                .with(received(3, "PrepareReq", 1), crash(3, 4_000))
        },
        expect: |now| all_serve(now, 0).and_then(|()| first_ended(now, Outcome::Abort)),
    }
}

fn participant_dies_prepared() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-participant-dies-prepared",
        about: "A participant crashes after its vote, when the decision reaches it: it must learn COMMIT.",
        system,
        plan: |_, _| one_step().with(received(3, "Decision", 1), crash(3, 5_000)),
        expect: one_step_commits,
    }
}

fn coordinator_dies_undecided() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-coordinator-dies-undecided",
        about: "The coordinator crashes when the last vote reaches it: presumed abort, and the step is tried again.",
        system,
        plan: |_, _| one_step().with(received(1, "PrepareResp", 2), crash(1, 3_000)),
        expect: |now| all_serve(now, 1).and_then(|()| first_ended(now, Outcome::Abort)),
    }
}

fn coordinator_dies_decided() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-coordinator-dies-decided",
        about: "The coordinator crashes when COMMIT is durable and nobody has heard it: all block, then commit.",
        system,
        plan: |_, _| one_step().with(durable(1, "Decided", 1), crash(1, 8_000)),
        expect: one_step_commits,
    }
}

/// Cuts off one direction for less than it takes until something is sent again.
fn lose(from: u32, to: u32) -> What<RolloutNode> {
    let (from, to) = (vec![NodeId(from)], vec![NodeId(to)]);
    What::Fault(Fault::Cut { from, to, both_ways: false, for_ms: 300 })
}

fn proposal_lost() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-proposal-lost",
        about: "A proposal is lost: it is sent again before its time is up, and commits.",
        system,
        plan: |_, _| one_step().with(When::AtMs(450), lose(1, 3)),
        expect: one_step_commits,
    }
}

fn vote_lost() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-vote-lost",
        about: "A vote is lost: it is given again when the proposal is sent again, which commits.",
        system,
        plan: |_, _| one_step().with(received(3, "PrepareReq", 1), lose(3, 1)),
        expect: one_step_commits,
    }
}

/// Nobody asks, and no heart beats, before two seconds have passed.
fn decision_lost() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-decision-lost",
        about: "A decision is lost: it is sent again and acknowledged, long before anybody asks.",
        system,
        plan: |_, _| {
            let plan = one_step();
            let plan = plan.with(received(1, "PrepareResp", 2), lose(1, 3));
            Plan { heal_at_ms: 1_100, converge_within_ms: 300, ..plan }
        },
        expect: one_step_commits,
    }
}

fn long_outage() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-long-outage",
        about: "A participant is down for five minutes: it is heard, and learns COMMIT, as soon as it is back.",
        system,
        plan: |_, _| {
            let plan = one_step();
            let plan = plan.with(received(3, "Decision", 1), crash(3, 300_000));
            Plan { heal_at_ms: 302_000, converge_within_ms: 10_000, ..plan }
        },
        expect: one_step_commits,
    }
}

fn partition() -> Scenario<RolloutSystem> {
    Scenario {
        name: "rollout-partition",
        about: "The coordinator is cut off while votes are under way: it aborts, the others wait for it.",
        system,
        plan: |_, _| {
            let others = vec![NodeId(2), NodeId(3)];
            let cut = Fault::Cut { from: vec![NodeId(1)], to: others, both_ways: true, for_ms: 8_000 };
            one_step().with(received(3, "PrepareReq", 1), What::Fault(cut))
        },
        expect: nothing_more::<RolloutSystem>,
    }
}

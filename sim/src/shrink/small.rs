//! Small faults, of which one may do instead of all that a plan has: something becomes of one frame, one direction is cut for
//! some seconds, or one node is down for as long. What clients ask they ask as before, or one after the other.

use std::collections::BTreeSet;

use coalmine_core::node::{Node, NodeId};

use crate::spec::faults::{Fault, FrameFate};
use crate::spec::plan::{Links, Plan, PlanStep, What, When};

/// For how long: longer than clients, and most timers, wait for an answer.
const FOR_MS: u64 = 3_000;

/// How far clients' requests lie apart.
const GAPS_MS: [u64; 2] = [500, 2_000];

/// Which frames of a direction.
const FRAMES: u32 = 3;

/// The plan with each of the small faults and no other; `directions` are those in which there are frames.
pub fn faults<N: Node>(plan: &Plan<N>, directions: &BTreeSet<(NodeId, NodeId)>) -> Vec<Plan<N>> {
    let mut as_before = Plan { links: Links::default(), ..plan.clone() }.in_order();
    as_before.steps.retain(|step| step.time().is_some() && matches!(step.what, What::Ask { .. }));
    let spaced = GAPS_MS.map(|gap| {
        let mut plan = as_before.clone();
        for (step, at) in plan.steps.iter_mut().zip((0..).map(|place: u64| place * gap)) {
            step.when = When::AtMs(at);
        }
        plan
    });
    let all = [&[as_before][..], &spaced].concat();
    let mut tried = Vec::new();
    for fault in frames(directions) {
        tried.extend(all.iter().map(|plan| plan.clone().with(When::AtMs(0), What::Fault(fault.clone()))));
    }
    for fault in lasting(directions) {
        for plan in &all {
            let times =
                BTreeSet::from_iter([0].into_iter().chain(plan.steps.iter().filter_map(PlanStep::time)));
            tried.extend(
                times.into_iter().map(|at| plan.clone().with(When::AtMs(at), What::Fault(fault.clone()))),
            );
        }
    }
    tried.retain(|plan| plan.steps.iter().all(|step| step.time() < Some(plan.heal_at_ms)));
    tried
}

fn frames(directions: &BTreeSet<(NodeId, NodeId)>) -> Vec<Fault> {
    let fates = [FrameFate::Lost, FrameFate::Late { by_ms: FOR_MS }, FrameFate::Twice { by_ms: FOR_MS }];
    let of = |nth| {
        let each = move |fate| directions.iter().map(move |&(from, to)| Fault::Frame { from, to, nth, fate });
        fates.into_iter().flat_map(each)
    };
    (1..=FRAMES).flat_map(of).collect()
}

fn lasting(directions: &BTreeSet<(NodeId, NodeId)>) -> Vec<Fault> {
    let cut = |&(from, to): &(NodeId, NodeId)| Fault::Cut {
        from: vec![from],
        to: vec![to],
        both_ways: false,
        for_ms: FOR_MS,
    };
    let nodes = BTreeSet::from_iter(directions.iter().flat_map(|&(from, to)| [from, to]));
    let crash = |node| Fault::Crash { node, down_ms: Some(FOR_MS) };
    directions.iter().map(cut).chain(nodes.into_iter().map(crash)).collect()
}

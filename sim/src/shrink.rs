//! Shrinking: makes a plan that breaks an invariant as small as it can be while it breaks the *same* one.
//!
//! Delta debugging (Zeller, Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 2002) over the
//! steps of the plan: chunks of steps are left out, in halves, quarters, and so on down to single steps. Then
//! what is left is made simpler: fewer members, no noise on the links, shorter times, simpler requests where
//! the system knows some. Where still more is left than can be taken in at a glance, the failure hangs on chance:
//! then other seeds are tried, and faults are aimed, so that they fall at a message or a record and no longer at a
//! time. A candidate that does not fail the same way is forgotten, so the search may be stopped at any moment with
//! what it has.
//!
//! Deleting a step leaves all other draws alone, because the plan, the network, the disks and the timers draw
//! from separate streams.

use coalmine_core::node::{Node, NodeId};

use crate::chunks::in_chunks;
use crate::spec::faults::Fault;
use crate::spec::plan::{Links, Plan, PlanStep, What, When};
use crate::spec::variants;
use crate::spec::verdict::Expected;

/// So many steps can be taken in at a glance.
const GLANCE: usize = 6;

/// How many other seeds are tried, and how many of those that fail the same way.
const REDRAWS: (u64, usize) = (200, 10);

/// Where a search stands.
#[derive(Clone, Copy, Debug)]
pub struct Shrinking {
    /// How many plans were run.
    pub runs: u64,
    /// How many steps the smallest that still fails has.
    pub steps: usize,
}

/// What a system knows about making a plan simpler.
pub struct Ways<'a, N: Node> {
    /// The plan for a system without its last member, if it can do without.
    pub without_last: &'a dyn Fn(&Plan<N>) -> Option<Plan<N>>,
    /// Requests that ask for less, the simplest first.
    pub simpler_requests: &'a dyn Fn(&N::Request) -> Vec<N::Request>,
}

/// Shrinks a plan under a seed, and returns it with the seed that it fails under. `run` says how a plan comes out
/// under a seed; `go_on` is asked after every run.
pub fn shrink<N: Node>(
    (plan, seed): (Plan<N>, u64),
    expected: &Expected,
    ways: &Ways<'_, N>,
    mut run: impl FnMut(&Plan<N>, u64) -> Expected,
    mut go_on: impl FnMut(Shrinking) -> bool,
) -> ((Plan<N>, u64), Shrinking) {
    let at = Shrinking { runs: 0, steps: plan.steps.len() };
    let mut search = Search { best: plan, seed, at, stopped: false };
    let mut fails = |search: &mut Search<N>, candidate: &Plan<N>| {
        search.at.runs += 1;
        let same = run(candidate, search.seed) == *expected;
        if same {
            search.best = candidate.clone();
            search.at.steps = candidate.steps.len();
        }
        search.stopped |= !go_on(search.at);
        same
    };
    loop {
        let before = search.best.clone();
        leave_out(&mut search, &mut fails);
        leave_members_out(&mut search, ways, &mut fails);
        simplify(&mut search, ways, &mut fails);
        if search.best.steps.len() > GLANCE {
            redraw(&mut search, &mut fails);
        }
        if search.best.steps.len() > GLANCE {
            aim(&mut search, &mut fails);
        }
        if search.stopped || search.best == before {
            return ((search.best, search.seed), search.at);
        }
    }
}

struct Search<N: Node> {
    best: Plan<N>,
    /// What all is drawn from that the plan leaves open.
    seed: u64,
    at: Shrinking,
    stopped: bool,
}

/// Leaves out chunks of steps, large ones first.
fn leave_out<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
    in_chunks(search.best.steps.len(), |range| {
        let mut candidate = search.best.clone();
        candidate.steps.drain(range);
        let has_gone = !search.stopped && fails(search, &candidate);
        (has_gone || !search.stopped).then_some(has_gone)
    });
}

/// Does without the last member, as often as it can.
fn leave_members_out<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    while !search.stopped
        && let Some(candidate) = (ways.without_last)(&search.best)
        && fails(search, &candidate)
    {}
}

/// Makes links quiet, and each step simpler.
fn simplify<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    let quieter: [fn(Links) -> Links; 4] = [
        |_| Links::default(),
        |links| Links { loss_permille: 0, ..links },
        |links| Links { duplicate_permille: 0, ..links },
        |links| Links { delay_permille: 0, delay_ms: 0, ..links },
    ];
    for quieter in quieter {
        let links = quieter(search.best.links);
        if search.best.links != links && !search.stopped {
            let candidate = Plan { links, ..search.best.clone() };
            fails(search, &candidate);
        }
    }
    for place in 0..search.best.steps.len() {
        let mut tried = 0;
        // Each success offers new, yet simpler steps; bounded, since halving ends.
        while tried < 40 && !search.stopped {
            let simpler = simpler_steps(&search.best.steps[place], ways);
            let mut better = false;
            for step in simpler {
                tried += 1;
                let mut candidate = search.best.clone();
                candidate.steps[place] = step;
                if fails(search, &candidate) {
                    better = true;
                    break;
                }
                if search.stopped {
                    return;
                }
            }
            if !better {
                break;
            }
        }
    }
}

/// Looks for a seed under which fewer steps are enough.
fn redraw<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
    let (before, own) = (search.best.clone(), search.seed);
    let mut failed = 0;
    for seed in 0..REDRAWS.0 {
        if search.stopped || failed == REDRAWS.1 {
            return;
        }
        search.seed = seed;
        if fails(search, &before) {
            failed += 1;
            leave_out(search, fails);
        }
        if search.best.steps.len() < before.steps.len() {
            return;
        }
        search.seed = own;
    }
}

/// Aims one fault that has its time. Such a fault may fall at its moment only by the chance that all other steps make,
/// and then none of them can go. First without other faults, then among them: they may go after that.
fn aim<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
    for alone in [true, false] {
        for place in 0..search.best.steps.len() {
            let PlanStep { when: When::AtMs(_), what: What::Fault(fault) } = &search.best.steps[place] else {
                continue;
            };
            for when in fault.nodes().into_iter().flat_map(moments::<N>) {
                let mut candidate = search.best.clone();
                candidate.steps[place].when = when;
                if alone {
                    let aimed = candidate.steps[place].clone();
                    candidate.steps.retain(|it| *it == aimed || matches!(it.what, What::Ask { .. }));
                }
                if search.stopped || fails(search, &candidate) {
                    return;
                }
            }
        }
    }
}

/// Moments at which something may happen to a node, rather than at a time.
fn moments<N: Node>(node: NodeId) -> impl Iterator<Item = When> {
    let (messages, records) = (variants::of::<N::Message>(), variants::of::<N::Record>());
    (1..=3).flat_map(move |nth| {
        let taken = messages.clone().into_iter().map(move |message| When::Received { node, message, nth });
        taken.chain(records.clone().into_iter().map(move |record| When::Durable { node, record, nth }))
    })
}

/// Steps that say the same with less.
fn simpler_steps<N: Node>(step: &PlanStep<N>, ways: &Ways<'_, N>) -> Vec<PlanStep<N>> {
    let mut simpler = Vec::new();
    if let When::AtMs(at) = step.when {
        for earlier in [round(at / 2), round(at)] {
            if earlier < at {
                simpler.push(PlanStep { when: When::AtMs(earlier), ..step.clone() });
            }
        }
    }
    match &step.what {
        What::Fault(fault) => {
            let shorter = shorter(fault).into_iter();
            simpler.extend(shorter.map(|fault| PlanStep { what: What::Fault(fault), ..step.clone() }));
        }
        What::Ask { to, id, request } => {
            let asks = (ways.simpler_requests)(request).into_iter();
            let asks = asks.map(|request| What::Ask { to: *to, id: *id, request });
            simpler.extend(asks.map(|what| PlanStep { what, ..step.clone() }));
        }
    }
    simpler.retain(|simpler| simpler != step);
    simpler
}

/// Two significant digits, rounded down.
fn round(ms: u64) -> u64 {
    let digits = ms.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(1));
    ms / unit * unit
}

/// The same fault for half the time, or a round one.
fn shorter(fault: &Fault) -> Vec<Fault> {
    let halve = |ms: u64| round(ms / 2);
    [with_time(fault, halve), with_time(fault, round)].into_iter().filter(|it| it != fault).collect()
}

fn with_time(fault: &Fault, by: impl Fn(u64) -> u64) -> Fault {
    let mut fault = fault.clone();
    match &mut fault {
        Fault::Crash { down_ms, .. } | Fault::Kill { down_ms, .. } | Fault::Wipe { down_ms, .. } => {
            *down_ms = down_ms.map(by)
        }
        Fault::Pause { for_ms, .. }
        | Fault::Clock { for_ms, .. }
        | Fault::Cut { for_ms, .. }
        | Fault::Partition { for_ms, .. }
        | Fault::Clog { for_ms, .. }
        | Fault::SlowLink { for_ms, .. }
        | Fault::SlowSync { for_ms, .. }
        | Fault::DiskFull { for_ms, .. } => *for_ms = by(*for_ms),
        Fault::ClockJump { by_ms, .. } => *by_ms = by(*by_ms),
        Fault::Reset { .. } | Fault::FailSync { .. } | Fault::BitRot { .. } => {}
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::node::NodeId;
    use coalmine_core::twophase::TwoPhase;

    fn crash(node: u32, at: u64) -> PlanStep<TwoPhase> {
        let fault = Fault::Crash { node: NodeId(node), down_ms: Some(4_321) };
        PlanStep { when: When::AtMs(at), what: What::Fault(fault) }
    }

    const NO_WAYS: Ways<'_, TwoPhase> = Ways { without_last: &|_| None, simpler_requests: &|_| Vec::new() };

    /// Fails if nodes 3 and 7 crash, whatever else happens.
    fn run(plan: &Plan<TwoPhase>) -> Expected {
        let crashes = |id| plan.steps.iter().any(|step| step.what == crash(id, 0).what || names(step, id));
        let violated = crashes(3) && crashes(7);
        let invariant = violated.then(|| "both".to_owned());
        Expected {
            verdict: if violated { "violated" } else { "passed" }.into(),
            invariant,
            ..Expected::default()
        }
    }

    fn names(step: &PlanStep<TwoPhase>, id: u32) -> bool {
        matches!(&step.what, What::Fault(Fault::Crash { node, .. }) if node.0 == id)
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let mut plan = Plan::quiet([]);
        plan.links.loss_permille = 10;
        plan.steps = (0..40).map(|id| crash(id, 1_000 + u64::from(id) * 37)).collect();
        let expected = run(&plan);
        let ((least, _), at) = shrink((plan, 1), &expected, &NO_WAYS, |plan, _| run(plan), |_| true);
        assert_eq!(least.steps.len(), 2);
        assert!(names(&least.steps[0], 3) && names(&least.steps[1], 7));
        assert_eq!(least.links, Links::default());
        assert_eq!(least.steps[0].when, When::AtMs(0), "times shrink as well");
        assert!(at.runs < 250, "{} runs", at.runs);
    }

    #[test]
    fn members_that_are_not_needed_are_left_out() {
        let mut plan = Plan { members: Some(9), ..Plan::quiet([]) };
        plan.steps = [3, 7, 9].map(|id| crash(id, 1_000)).to_vec();
        let expected = run(&plan);
        let without_last = |plan: &Plan<TwoPhase>| {
            let last = plan.members?;
            Some(Plan { members: last.checked_sub(1), ..plan.without(NodeId(last)) })
        };
        let ways = Ways { without_last: &without_last, ..NO_WAYS };
        let ((least, _), _) = shrink((plan, 1), &expected, &ways, |plan, _| run(plan), |_| true);
        assert_eq!(least.members, Some(7));
    }

    #[test]
    fn what_hangs_on_chance_is_aimed() {
        let message = variants::of::<<TwoPhase as Node>::Message>().remove(0);
        let right = When::Received { node: NodeId(3), message, nth: 2 };
        // Any step that is missing moves the others off the one right moment.
        let run = |plan: &Plan<TwoPhase>| {
            let all = plan.steps.len() == 9 && plan.steps.iter().all(|it| matches!(it.when, When::AtMs(_)));
            let violated = all || plan.steps.iter().any(|step| step.when == right && names(step, 3));
            Expected { verdict: if violated { "violated" } else { "passed" }.into(), ..Expected::default() }
        };
        let mut plan = Plan::quiet([]);
        plan.steps = (1..=9).map(|id| crash(id, 1_000 + u64::from(id) * 37)).collect();
        let expected = run(&plan);
        let ((least, _), at) = shrink((plan, 1), &expected, &NO_WAYS, |plan, _| run(plan), |_| true);
        assert_eq!(least.steps.iter().map(|step| &step.when).collect::<Vec<_>>(), [&right]);
        assert!(at.runs < 1_000, "{} runs", at.runs);
    }

    #[test]
    fn another_seed_may_need_fewer_steps() {
        let mut plan = Plan::quiet([]);
        plan.steps = (1..=9).map(|id| crash(id, 1_000)).collect();
        // Some seeds need all, some need two, and most never fail.
        let run = |plan: &Plan<TwoPhase>, seed: u64| {
            let is_left = |id| plan.steps.iter().any(|step| names(step, id));
            let violated = match seed {
                1 | 40 => plan.steps.len() == 9,
                60 => is_left(3) && is_left(7),
                _ => false,
            };
            Expected { verdict: if violated { "violated" } else { "passed" }.into(), ..Expected::default() }
        };
        let expected = run(&plan, 1);
        let ((least, seed), at) = shrink((plan, 1), &expected, &NO_WAYS, run, |_| true);
        assert_eq!((least.steps.len(), seed), (2, 60));
        assert_eq!(run(&least, seed), expected);
        assert!(at.runs < 400, "{} runs", at.runs);
    }

    #[test]
    fn it_can_be_stopped_and_keeps_what_it_has() {
        let mut plan = Plan::quiet([]);
        plan.steps = (0..40).map(|id| crash(id, 1_000)).collect();
        let expected = run(&plan);
        let ((least, _), at) = shrink((plan, 1), &expected, &NO_WAYS, |plan, _| run(plan), |at| at.runs < 5);
        assert_eq!(at.runs, 5);
        assert!(least.steps.len() < 40);
        assert_eq!(run(&least), expected);
    }
}

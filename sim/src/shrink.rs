//! Shrinking: makes a plan that breaks an invariant as small as it can be while it breaks the *same* one.
//!
//! Delta debugging (Zeller, Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 2002) over the
//! steps of the plan: chunks of steps are left out, in halves, quarters, and so on down to single steps. Then
//! what is left is made simpler: fewer members, no noise on the links, shorter times, simpler requests where
//! the system knows some.
//!
//! What hangs on chance resists that: whatever is left out, all that is drawn falls elsewhere. If it is the noise on
//! links, then what became of each frame is said as a step (`fates`), links draw nothing any more, and the steps are left
//! out like others. Where still more is left than can be taken in at a glance, one small fault (`small`) is tried in the
//! place of all others, then other seeds, and faults are aimed, so that they fall at a message or a record and no longer at a time.
//!
//! A candidate that does not fail the same way is forgotten, so the search may be stopped at any moment with what it has.
//!
//! Deleting a step leaves all other draws alone, because the plan, the network, the disks and the timers draw
//! from separate streams.

mod fates;
mod small;

use std::collections::BTreeSet;

use coalmine_core::node::{Node, NodeId};

use crate::chunks::in_chunks;
use crate::spec::faults::{Fault, FrameFate, Passed};
use crate::spec::plan::{Links, Plan, PlanStep, What, When};
use crate::spec::variants;
use crate::spec::verdict::Expected;

/// How many plans are run to make the first failure of a sweep small.
pub const RUNS: u64 = 2_000;

/// So many steps can be taken in at a glance.
const GLANCE: usize = 6;

/// How many other seeds are tried, and how many of those that fail the same way.
const REDRAWS: (u64, usize) = (200, 10);

/// Of more steps than this it is not worth while to make each simpler.
const SOME: usize = 4 * GLANCE;

/// How many sets of steps are tried where none can go alone.
const SOME_OF: usize = 200;

/// How many other seeds are tried where what became of frames, said as steps, is not enough.
const RESEEDS: u64 = 20;

/// How many of those that fail the same way are made small.
const TRIES: usize = 2;

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
    /// What becomes of each frame if a plan is run under a seed.
    pub passed: &'a dyn Fn(&Plan<N>, u64) -> Vec<Passed>,
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
            search.at.steps = candidate.steps.len().min(search.at.steps);
        }
        search.stopped |= !go_on(search.at);
        same
    };
    let fails = &mut fails;
    leave_out(&mut search, 0, fails);
    leave_members_out(&mut search, ways, fails);
    quieten(&mut search, fails);
    say_fates(&mut search, ways, fails);
    reduce(&mut search, ways, fails);
    say_fates(&mut search, ways, fails);
    search.at.steps = search.best.steps.len();
    ((search.best, search.seed), search.at)
}

struct Search<N: Node> {
    best: Plan<N>,
    /// What all is drawn from that the plan leaves open.
    seed: u64,
    at: Shrinking,
    stopped: bool,
}

/// Leaves out chunks of steps from this one on, large ones first.
fn leave_out<N: Node>(
    search: &mut Search<N>,
    first: usize,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    in_chunks(search.best.steps.len() - first, |range| {
        let mut candidate = search.best.clone();
        candidate.steps.drain(first + range.start..first + range.end);
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

/// Makes links quiet.
fn quieten<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
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
}

/// One way to make a plan smaller.
type Reduce<'a, N, F> = fn(&mut Search<N>, &Ways<'a, N>, &mut F);

/// Makes a plan smaller in all ways, until none helps any more.
fn reduce<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    loop {
        let before = search.best.clone();
        leave_out(search, 0, fails);
        leave_members_out(search, ways, fails);
        quieten(search, fails);
        simplify(search, ways, fails);
        pull_together(search, fails);
        let harder: [Reduce<'_, N, _>; 4] = [
            replace_faults,
            |search, _, fails| leave_out_some(search, fails),
            |search, _, fails| redraw(search, fails),
            |search, _, fails| aim(search, fails),
        ];
        for way in harder {
            if !search.stopped && search.best.steps.len() > GLANCE {
                way(search, ways, fails);
            }
        }
        if search.stopped || search.best == before {
            return;
        }
    }
}

/// Says as steps what links drew, if they draw anything, and leaves out what it can of that. It is a search of its own,
/// which begins with many steps: what it ends with counts if it is not more than there was, or can be taken in at a glance.
fn say_fates<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    if search.best.links.are_fault_free() || search.stopped {
        return;
    }
    search.at.runs += 1;
    let mut tries = 0;
    let passed = (ways.passed)(&search.best, search.seed);
    let own = fates::WAYS.map(|since| (search.seed, since));
    let others = (0..RESEEDS).map(|seed| (seed, fates::WAYS[0]));
    for (seed, since) in own.into_iter().chain(others) {
        let candidate = fates::say(&search.best, &passed, since);
        let mut inner = Search { best: candidate.clone(), seed, ..*search };
        let comes_again = fails(&mut inner, &candidate);
        if comes_again {
            tries += 1;
            leave_out(&mut inner, search.best.steps.len(), fails);
            reduce(&mut inner, ways, fails);
        }
        (search.at, search.stopped) = (inner.at, inner.stopped);
        if comes_again && inner.best.steps.len() <= search.best.steps.len().max(GLANCE) {
            *search = inner;
        }
        if search.stopped || search.best.links.are_fault_free() || tries == TRIES {
            return;
        }
    }
}

/// Leaves out any two steps, then any three: where each of them is needed, they may be so for each other.
fn leave_out_some<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
    let count = search.best.steps.len();
    let pairs = (0..count).flat_map(|a| (0..a).map(move |b| vec![a, b]));
    let triples = (0..count).flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| vec![a, b, c])));
    for places in pairs.chain(triples).take(SOME_OF) {
        let mut candidate = search.best.clone();
        for place in places {
            candidate.steps.remove(place); // the last first
        }
        if search.stopped || fails(search, &candidate) {
            return;
        }
    }
}

/// Tries a [small fault](small::faults) in the place of all others.
fn replace_faults<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    search.at.runs += 1;
    let sent = (ways.passed)(&search.best, search.seed);
    let directions = sent.iter().map(|frame| (frame.from, frame.to)).collect();
    for candidate in small::faults(&search.best, &directions) {
        if search.stopped || fails(search, &candidate) {
            return;
        }
    }
}

/// Shortens the times between steps: whatever comes later moves along.
fn pull_together<N: Node>(search: &mut Search<N>, fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool) {
    if search.best.steps.len() > SOME {
        return;
    }
    let times = |plan: &Plan<N>| BTreeSet::from_iter(plan.steps.iter().filter_map(PlanStep::time));
    let mut before = 0;
    while let Some(&at) = times(&search.best).range(before + 1..).next() {
        let gap = at - before;
        let mut now = at;
        for shorter in [0, 1, 10, 100, 1_000, round(gap / 2)].into_iter().filter(|shorter| *shorter < gap) {
            let mut candidate = search.best.clone();
            for step in &mut candidate.steps {
                if let When::AtMs(later) = &mut step.when
                    && *later >= at
                {
                    *later -= gap - shorter;
                }
            }
            if search.stopped {
                return;
            }
            if fails(search, &candidate) {
                now = before + shorter;
                break;
            }
        }
        before = now;
    }
}

/// Makes each step simpler.
fn simplify<N: Node>(
    search: &mut Search<N>,
    ways: &Ways<'_, N>,
    fails: &mut impl FnMut(&mut Search<N>, &Plan<N>) -> bool,
) {
    if search.best.steps.len() > SOME {
        return;
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
            leave_out(search, 0, fails);
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
            let simpler_faults = simpler_faults(fault).into_iter();
            simpler.extend(simpler_faults.map(|fault| PlanStep { what: What::Fault(fault), ..step.clone() }));
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

/// The same fault for half the time, or a round one; of the frames an earlier one, and lost rather than late.
fn simpler_faults(fault: &Fault) -> Vec<Fault> {
    let halve = |ms: u64| round(ms / 2);
    let mut simpler = Vec::new();
    if let Fault::Frame { from, to, nth, fate } = *fault {
        if matches!(fate, FrameFate::Late { .. }) {
            simpler.push(Fault::Frame { from, to, nth, fate: FrameFate::Lost });
        }
        simpler.extend(
            [1, nth / 2, nth - 1]
                .into_iter()
                .filter(|earlier| (1..nth).contains(earlier))
                .map(|nth| Fault::Frame { from, to, nth, fate }),
        );
    }
    simpler.extend([with_time(fault, halve), with_time(fault, round)]);
    simpler.retain(|it| it != fault);
    simpler
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
        Fault::Frame { fate: FrameFate::Late { by_ms } | FrameFate::Twice { by_ms }, .. } => {
            *by_ms = by(*by_ms)
        }
        Fault::Frame { fate: FrameFate::Lost, .. } => {}
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

    const NO_WAYS: Ways<'_, TwoPhase> =
        Ways { without_last: &|_| None, simpler_requests: &|_| Vec::new(), passed: &|_, _| Vec::new() };

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
        assert!(at.runs < 500, "{} runs", at.runs);
    }

    #[test]
    fn steps_that_are_needed_for_each_other_go_together() {
        // Of 1 and 5 both must be there, or neither.
        let run = |plan: &Plan<TwoPhase>| {
            let is_left = |id| plan.steps.iter().any(|step| names(step, id));
            let violated = is_left(1) == is_left(5) && [0, 2, 3, 4, 6, 7].into_iter().all(is_left);
            Expected { verdict: if violated { "violated" } else { "passed" }.into(), ..Expected::default() }
        };
        let mut plan = Plan::quiet([]);
        plan.steps = (0..8).map(|id| crash(id, 0)).collect();
        let expected = run(&plan);
        let ((least, _), at) = shrink((plan, 1), &expected, &NO_WAYS, |plan, _| run(plan), |_| true);
        assert_eq!(least.steps.len(), 6, "{} runs", at.runs);
    }

    #[test]
    fn steps_that_must_lie_close_together_move_together() {
        let run = |plan: &Plan<TwoPhase>| {
            let at = |id| plan.steps.iter().find(|step| names(step, id)).and_then(PlanStep::time);
            let violated = at(3).zip(at(7)).is_some_and(|(a, b)| b >= a + 10 && b < a + 50);
            Expected { verdict: if violated { "violated" } else { "passed" }.into(), ..Expected::default() }
        };
        let mut plan = Plan::quiet([]);
        plan.steps = [crash(3, 10_000), crash(7, 10_020)].into();
        let expected = run(&plan);
        let ((least, _), _) = shrink((plan, 1), &expected, &NO_WAYS, |plan, _| run(plan), |_| true);
        assert_eq!(least.steps.iter().map(PlanStep::time).collect::<Vec<_>>(), [Some(0), Some(10)]);
    }

    /// What links drew is said, and then left out; the plan that needs the noise fails under no other seed.
    #[test]
    fn what_links_drew_becomes_steps() {
        let lost = |at: u64, from: u32| Passed {
            at: std::time::Duration::from_millis(at),
            from: NodeId(from),
            to: NodeId(9),
            fates: [Some(FrameFate::Lost), None],
        };
        let all: Vec<_> = (0..60).map(|place| lost(1_000 + place * 100, 1 + (place % 7) as u32)).collect();
        let passed = move |_: &Plan<TwoPhase>, _| all.clone();
        let ways = Ways { passed: &passed, ..NO_WAYS };
        let loses = |plan: &Plan<TwoPhase>, sender: u32| {
            plan.steps.iter().any(|step| {
                matches!(&step.what, What::Fault(Fault::Frame { from, nth: 1, .. }) if from.0 == sender)
            })
        };
        let run = |plan: &Plan<TwoPhase>, seed: u64| {
            let by_chance = seed == 1 && plan.links.loss_permille == 10 && plan.steps.len() == 2;
            let violated = by_chance || loses(plan, 2) && loses(plan, 5);
            Expected { verdict: if violated { "violated" } else { "passed" }.into(), ..Expected::default() }
        };
        let mut plan = Plan::quiet([]);
        plan.links.loss_permille = 10;
        plan.steps = [crash(3, 1_000), crash(7, 1_000)].into();
        let expected = run(&plan, 1);
        let ((least, _), at) = shrink((plan, 1), &expected, &ways, run, |_| true);
        assert!(least.links.are_fault_free() && least.steps.len() == 2, "{least:?}");
        assert!(loses(&least, 2) && loses(&least, 5) && at.runs < 200, "{} runs: {least:?}", at.runs);
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

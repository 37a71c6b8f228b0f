//! What was planned for a run, beside what came of it.

use std::time::Duration;

use coalmine_core::node::{Node, Word};

use super::page::{PlanItem, Planned};
use crate::panics::describe;
use crate::spec::plan::{Links, Plan, PlanStep, What, When};
use crate::trace::text::HEALED;
use crate::trace::{Call, Entry, TraceEvent};

/// What has its time happens at most so much later.
const GRAIN: Duration = Duration::from_millis(2);

/// A plan, each step with the entry at which it happened.
pub fn planned<N: Node>(plan: &Plan<N>, entries: &[Entry<N>]) -> Planned {
    let mut taken = vec![false; entries.len()];
    let mut find = |since: Duration, until: Duration, is_it: &dyn Fn(&TraceEvent<N>) -> bool| {
        let mut places = 0..entries.len();
        let fits = |place: usize| (since..=until).contains(&entries[place].at) && is_it(&entries[place].what);
        let place = places.find(|&place| !taken[place] && fits(place))?;
        taken[place] = true;
        Some(place)
    };
    // The same may be planned twice. What has its time is found by it, and the rest is what was waited for.
    let (timed, waiting): (Vec<_>, Vec<_>) =
        plan.steps.iter().partition(|step| matches!(step.when, When::AtMs(_)));
    let mut items: Vec<_> = timed.into_iter().chain(waiting).map(|step| item(step, &mut find)).collect();
    items.push(PlanItem {
        when: None,
        at_ns: Some(plan.heal_at_ms * 1_000_000),
        what: HEALED.into(),
        fault: false,
        step: find(Duration::ZERO, Duration::MAX, &|what| matches!(what, TraceEvent::Healed)),
    });
    for item in &mut items {
        let happened = item.step.map(|step| entries[step].at.as_nanos() as u64);
        item.at_ns = if item.when.is_some() { happened } else { item.at_ns };
    }
    items.sort_by_key(|item| (item.at_ns.unwrap_or(u64::MAX), item.step));
    Planned { links: describe_links(plan.links), items }
}

fn item<N: Node>(
    step: &PlanStep<N>,
    find: &mut impl FnMut(Duration, Duration, &dyn Fn(&TraceEvent<N>) -> bool) -> Option<usize>,
) -> PlanItem {
    let (since, until) = match step.when {
        When::AtMs(at) => (Duration::from_millis(at), Duration::from_millis(at) + GRAIN),
        When::Received { .. } | When::Durable { .. } => (Duration::ZERO, Duration::MAX),
    };
    let (fault, happened) = match &step.what {
        What::Fault(fault) => {
            (true, find(since, until, &|what| matches!(what, TraceEvent::Fault(it) if it == fault)))
        }
        What::Ask { to, id, request } => {
            let asked = Call { id: *id, what: describe::<N>(Word::Request(request)) };
            let is_it = |what: &TraceEvent<N>| matches!(what, TraceEvent::Asked { to: whom, call } if whom == to && *call == asked);
            (false, find(since, until, &is_it))
        }
    };
    let at_ns = match step.when {
        When::AtMs(at) => Some(at * 1_000_000),
        When::Received { .. } | When::Durable { .. } => None,
    };
    let when = at_ns.is_none().then(|| step.when.describe());
    PlanItem { when, at_ns, what: step.what.describe(), fault, step: happened }
}

fn describe_links(links: Links) -> Option<String> {
    let percent = |permille: u32| format!("{} %", f64::from(permille) / 10.0);
    let Links { loss_permille, duplicate_permille, delay_permille, delay_ms } = links;
    let parts = [
        (loss_permille > 0).then(|| format!("loses {}", percent(loss_permille))),
        (duplicate_permille > 0).then(|| format!("doubles {}", percent(duplicate_permille))),
        (delay_permille > 0).then(|| {
            format!("holds back {} for up to {} s", percent(delay_permille), f64::from(delay_ms) / 1000.0)
        }),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("Of all messages, the network {}.", parts.join(", ")))
}

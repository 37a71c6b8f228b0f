//! What was planned for a run, beside what came of it.

use std::time::Duration;

use coalmine_core::node::{Node, Word};

use super::page::{PlanItem, Planned};
use crate::plan::{Links, Plan, PlanStep, What, When};
use crate::trace::text::HEALED;
use crate::trace::{Entry, Happening};

/// What has its time happens at most so much later.
const GRAIN: Duration = Duration::from_millis(2);

/// A plan, each step with the entry at which it happened.
pub fn planned<N: Node>(plan: &Plan<N>, entries: &[Entry<N>]) -> Planned {
    let mut taken = vec![false; entries.len()];
    let mut find = |since: Duration, until: Duration, is_it: &dyn Fn(&Happening<N>) -> bool| {
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
        step: find(Duration::ZERO, Duration::MAX, &|what| matches!(what, Happening::Healed)),
    });
    for item in &mut items {
        let happened = item.step.map(|step| entries[step].at.as_nanos() as u64);
        item.at_ns = if item.when.is_some() { happened } else { item.at_ns };
    }
    items.sort_by_key(|item| (item.at_ns.unwrap_or(u64::MAX), item.step));
    Planned { links: tell_links(plan.links), items }
}

fn item<N: Node>(
    step: &PlanStep<N>,
    find: &mut impl FnMut(Duration, Duration, &dyn Fn(&Happening<N>) -> bool) -> Option<usize>,
) -> PlanItem {
    let (since, until) = match step.when {
        When::AtMs(at) => (Duration::from_millis(at), Duration::from_millis(at) + GRAIN),
        When::Received { .. } | When::Durable { .. } => (Duration::ZERO, Duration::MAX),
    };
    let (what, fault, step_of) = match &step.what {
        What::Fault(fault) => {
            let happened = find(since, until, &|what| matches!(what, Happening::Fault(it) if it == fault));
            (fault.tell(), true, happened)
        }
        What::Ask { to, id, request } => {
            let asked = format!("{id} {}", N::tell(Word::Request(request)));
            let is_it = |what: &Happening<N>| matches!(what, Happening::Asked { to: whom, what } if whom == to && *what == asked);
            (format!("a client asks {to}: {asked}"), false, find(since, until, &is_it))
        }
    };
    let (when, at_ns) = match &step.when {
        When::AtMs(at) => (None, Some(at * 1_000_000)),
        When::Received { node, message, nth } => {
            (Some(format!("when {node} gets {message}{}", tell_nth(*nth))), None)
        }
        When::Durable { node, record, nth } => {
            (Some(format!("when {record} is on the disk of {node}{}", tell_nth(*nth))), None)
        }
    };
    PlanItem { when, at_ns, what, fault, step: step_of }
}

fn tell_nth(nth: u32) -> String {
    if nth <= 1 { String::new() } else { format!(", {nth} times") }
}

fn tell_links(links: Links) -> Option<String> {
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

//! A page that a browser can open. A long run has far more steps than anybody reads, and a hundred megabytes of them are
//! no page. So what is least likely to be asked for is left out until the page is small enough, and the page says so,
//! where it was and how much.
//!
//! What went wrong and what led to it is never left out: the step itself, all that it follows from, the stretch before
//! it. Then, as far as there is room, come in this order:
//!
//! 1. what the plan did, crashes and boots;
//! 2. steps of which something came that lasts or that others learn: records, facts, answers;
//! 3. other steps;
//! 4. quiet steps: what every run is full of.
//!
//! Of one kind, those that are close to what broke come first.

use super::page::{ActKind, Kind, LeftOut, Page, Step};
use super::render;

/// The size of a page, in bytes, if nobody says.
pub const PAGE_BYTES: usize = 8 << 20;

/// So many steps before the one at which it went wrong are shown whatever they are.
const STRETCH: usize = 300;
/// So many steps back is told what led to it: in a run where each message answers another that would be everything.
const REASONS: usize = 1_000;
/// A step is as close to what went wrong as another that is so many times closer to a fault.
const NEARER: usize = 16;

/// How much a step is asked for: the lower, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Reason,
    Fault,
    Consequence,
    Loud,
    Quiet,
}

/// The page as text of at most so many bytes, and what was left out for it; of what must be shown there may be more.
pub fn render_within(page: &Page, bytes: usize) -> (String, Option<LeftOut>) {
    let whole = render(page);
    if whole.len() <= bytes || page.steps.is_empty() {
        return (whole, None);
    }
    let whole_bytes = whole.len();
    drop(whole);
    let order = in_order(page);
    let must = order.iter().take_while(|(class, ..)| *class == Class::Reason).count();
    let mut size = whole_bytes;
    let mut count = order.len();
    loop {
        // A little less than would do if all steps were alike: each round costs as much as a page.
        count = (count as u128 * bytes as u128 * 19 / (size as u128 * 20)) as usize;
        count = count.max(must);
        let mut kept: Vec<usize> = order[..count].iter().map(|(_, _, step)| *step).collect();
        kept.sort_unstable();
        let thinned = with_only(page, &kept, whole_bytes);
        let text = render(&thinned);
        size = text.len();
        if size <= bytes || count == must {
            return (text, thinned.left_out);
        }
    }
}

/// All steps, what is asked for most first.
fn in_order(page: &Page) -> Vec<(Class, usize, usize)> {
    let classes = classes(page);
    let wrong = page.ending.step;
    let mut near = vec![usize::MAX; classes.len()];
    let mut look = |places: &mut dyn Iterator<Item = usize>| {
        let mut last: Option<usize> = None;
        for place in places {
            if classes[place] <= Class::Fault {
                last = Some(place);
            }
            near[place] = near[place].min(last.map_or(usize::MAX, |last| last.abs_diff(place)));
        }
    };
    look(&mut (0..classes.len()));
    look(&mut (0..classes.len()).rev());
    let far = |place: usize| wrong.map_or(usize::MAX, |wrong| wrong.abs_diff(place) / NEARER);
    let mut order: Vec<_> =
        (0..classes.len()).map(|place| (classes[place], near[place].min(far(place)), place)).collect();
    order.sort_unstable();
    order
}

fn classes(page: &Page) -> Vec<Class> {
    let mut classes: Vec<_> = page.steps.iter().map(class).collect();
    let mut must = |place: usize| classes[place] = Class::Reason;
    must(page.steps.len() - 1);
    if let Some(wrong) = page.ending.step {
        (wrong.saturating_sub(STRETCH)..=wrong).for_each(&mut must);
        reasons(page, wrong).into_iter().for_each(&mut must);
        (0..page.steps.len()).filter(|&step| page.steps[step].led).for_each(must);
    }
    classes
}

/// The steps that led to this one.
fn reasons(page: &Page, step: usize) -> Vec<usize> {
    let mut reasons = Vec::new();
    let mut at = step;
    while let Some(cause) = page.steps[at].cause.filter(|cause| *cause < at && reasons.len() < REASONS) {
        let (now, before) = (&page.steps[at], &page.steps[cause]);
        // A timer that arms itself for ever explains nothing.
        let again = before.quiet || (before.kind == Kind::Timer && before.name == now.name);
        if now.kind == Kind::Timer && again {
            break;
        }
        reasons.push(cause);
        at = cause;
    }
    reasons
}

fn class(step: &Step) -> Class {
    let lasts = |kind: ActKind| match kind {
        ActKind::Append | ActKind::Reply | ActKind::Fact => true,
        ActKind::Send | ActKind::Arm | ActKind::Disarm | ActKind::Publish => false,
    };
    match step.kind {
        Kind::Boot | Kind::Crash | Kind::Stop | Kind::Plan => Class::Fault,
        Kind::Asked | Kind::Answered | Kind::Request => Class::Consequence,
        Kind::Message | Kind::Timer | Kind::Durable | Kind::Synced | Kind::Network => match step.quiet {
            true => Class::Quiet,
            false if step.acts.iter().any(|act| lasts(act.kind)) => Class::Consequence,
            false => Class::Loud,
        },
    }
}

/// The page with these steps only, in order.
fn with_only(page: &Page, kept: &[usize], bytes: usize) -> Page {
    let mut number = vec![None; page.steps.len()];
    for (new, &old) in kept.iter().enumerate() {
        number[old] = Some(new);
    }
    let new = |old: Option<usize>| old.and_then(|old| number[old]);
    // What lasts begins and ends with the next step that is there.
    let next = |old: usize| kept.partition_point(|&step| step < old);
    let next_if_any = |old: Option<usize>| old.map(next).filter(|&new| new < kept.len());

    let mut flights = Vec::new();
    let mut flight_number = vec![None; page.flights.len()];
    for (old, flight) in page.flights.iter().enumerate() {
        let mut flight = flight.clone();
        flight.sent = new(flight.sent);
        flight.received = flight.received.iter().filter_map(|&step| number[step]).collect();
        flight.touches.retain_mut(|touch| match number[touch.step] {
            Some(step) => {
                touch.step = step;
                true
            }
            None => false,
        });
        if flight.sent.is_some() || !flight.received.is_empty() || !flight.touches.is_empty() {
            flight_number[old] = Some(flights.len());
            flights.push(flight);
        }
    }
    let new_flight = |old: Option<usize>| old.and_then(|old| flight_number[old]);

    let (mut states, mut lines) = (Vec::new(), Vec::new());
    let mut state_number = vec![None; page.states.len()];
    let mut line_number = vec![None; page.lines.len()];
    let mut new_state = |old: usize| {
        *state_number[old].get_or_insert_with(|| {
            let state = page.states[old].iter().map(|&line| {
                *line_number[line].get_or_insert_with(|| {
                    lines.push(page.lines[line].clone());
                    lines.len() - 1
                })
            });
            states.push(state.collect());
            states.len() - 1
        })
    };

    let (mut steps, mut gaps, mut before) = (Vec::new(), Vec::new(), 0);
    for (place, &old) in kept.iter().enumerate() {
        if old > before {
            gaps.push((place, old - before));
        }
        before = old + 1;
        let mut step = page.steps[old].clone();
        (step.cause, step.flight) = (new(step.cause), new_flight(step.flight));
        step.state = step.state.map(&mut new_state);
        step.acts.iter_mut().for_each(|act| act.flight = new_flight(act.flight));
        steps.push(step);
    }
    let quiet = (0..page.steps.len()).filter(|&old| number[old].is_none() && page.steps[old].quiet).count();
    let left_out = LeftOut { steps: page.steps.len() - kept.len(), quiet, of: page.steps.len(), bytes, gaps };

    let mut thinned = Page { steps, flights, states, lines, ..page.clone_frame() };
    thinned.left_out = Some(left_out);
    thinned.ending.step = new(thinned.ending.step);
    for outage in &mut thinned.outages {
        (outage.from, outage.to) = (next(outage.from), next_if_any(outage.to));
    }
    for band in &mut thinned.bands {
        (band.from, band.to) = (next(band.from), next_if_any(band.to));
    }
    for item in thinned.plan.iter_mut().flat_map(|plan| &mut plan.items) {
        item.step = next_if_any(item.step);
    }
    thinned
}

impl Page {
    /// All of it but its many parts.
    fn clone_frame(&self) -> Self {
        Self {
            title: self.title.clone(),
            subtitle: self.subtitle.clone(),
            ending: self.ending.clone(),
            replay: self.replay.clone(),
            details: self.details.clone(),
            lanes: self.lanes.clone(),
            outages: self.outages.clone(),
            bands: self.bands.clone(),
            plan: self.plan.clone(),
            steps: Vec::new(),
            flights: Vec::new(),
            lines: Vec::new(),
            states: Vec::new(),
            left_out: None,
        }
    }
}

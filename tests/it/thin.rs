//! A page of a long run: small enough for a browser, it says what it leaves out, and never leaves out what went wrong and
//! what led to it.

use std::collections::BTreeSet;

use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::verdict::Engine;
use coalmine_sim::trace::html::{Kind, Page, render, render_within};
use serde_json::json;

use super::browser::{open, open_text};
use super::html::{data, synthetic};

/// Every number names something that is there, and the right thing.
fn is_sound(page: &Page) {
    let step = |at: usize| assert!(at < page.steps.len(), "{at} of {}", page.steps.len());
    for (at, it) in page.steps.iter().enumerate() {
        it.cause.iter().for_each(|cause| assert!(*cause < at));
        it.state.iter().for_each(|state| assert!(*state < page.states.len()));
        for act in &it.acts {
            act.flight.iter().for_each(|flight| assert_eq!(page.flights[*flight].sent, Some(at)));
        }
        if let Some(flight) = it.flight.map(|flight| &page.flights[flight]) {
            let is_of_it = flight.received.contains(&at)
                || flight.sent == Some(at)
                || flight.touches.iter().any(|touch| touch.step == at);
            assert!(is_of_it, "step {at}: {flight:?}");
        }
    }
    page.states.iter().flatten().for_each(|line| assert!(*line < page.lines.len()));
    page.flights.iter().flat_map(|it| &it.received).for_each(|at| step(*at));
    page.outages.iter().flat_map(|it| [Some(it.from), it.to]).flatten().for_each(step);
    page.bands.iter().flat_map(|it| [Some(it.from), it.to]).flatten().for_each(step);
    page.plan.iter().flat_map(|it| &it.items).filter_map(|it| it.step).for_each(step);
    page.ending.step.into_iter().for_each(step);
}

/// What a step says, whatever its number is.
fn words(page: &Page, at: usize) -> String {
    let step = &page.steps[at];
    let acts: Vec<_> = step.acts.iter().map(|act| &act.text).collect();
    format!("{:?} {:?} {} {acts:?}", step.at_ns, step.kind, step.text)
}

fn thinned(page: &Page, bytes: usize) -> (String, Page) {
    let (text, left_out) = render_within(page, bytes);
    assert!(text.len() <= bytes, "{} bytes of {bytes}", text.len());
    let thin = data(&text);
    is_sound(&thin);
    assert_eq!(thin.left_out, left_out);
    let out = left_out.expect("it is too large");
    assert_eq!((out.of, out.of - out.steps), (page.steps.len(), thin.steps.len()));
    assert_eq!(out.bytes, render(page).len());
    // What is left out is told where it was, but for the end, which is always there.
    assert_eq!(out.gaps.iter().map(|(_, count)| count).sum::<usize>(), out.steps);
    (text, thin)
}

#[test]
fn a_page_that_is_small_enough_shows_everything() {
    let page = synthetic(300);
    is_sound(&page);
    assert_eq!(render_within(&page, 1 << 20), (render(&page), None));
}

#[test]
fn what_went_wrong_and_what_led_to_it_is_never_left_out() {
    let mut page = synthetic(20_000);
    // It went wrong in the middle, after one message that is a third of the run older.
    let (wrong, reason) = (13_000, 6_001);
    page.ending.step = Some(wrong);
    for step in &mut page.steps[reason + 1..wrong] {
        step.cause = None;
    }
    page.steps[wrong].cause = Some(reason);
    let (_, thin) = thinned(&page, 1 << 20);
    let end = thin.ending.step.expect("it is there");
    assert_eq!(words(&thin, end), words(&page, wrong));
    let cause = thin.steps[end].cause.expect("what led to it is there");
    assert_eq!(words(&thin, cause), words(&page, reason));
    for back in 1..=200 {
        assert_eq!(words(&thin, end - back), words(&page, wrong - back), "the stretch before it");
    }
    let crashes = |page: &Page| page.steps.iter().filter(|step| step.kind == Kind::Crash).count();
    assert_eq!(crashes(&thin), crashes(&page), "faults come before what is like everything else");
    // However little room there is.
    let (tiny, _) = render_within(&page, 1);
    let tiny = data(&tiny);
    is_sound(&tiny);
    let end = tiny.ending.step.expect("it is there");
    assert_eq!(words(&tiny, end), words(&page, wrong));
    assert!(tiny.steps.len() < 2_000, "{} steps", tiny.steps.len());
}

/// An hour of heartbeats, with one rollout and one crash.
fn long() -> Page {
    let plan = include_str!("../../scenarios/plans/bridge.toml");
    let long = with_line(plan, "heal_at_ms", "heal_at_ms = 3600000");
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), long).expect("it can be written");
    let file = File::read(file.path()).unwrap_or_else(|why| panic!("{why}"));
    let run = coalmine::suite().run_file(file, Some(Engine::Direct), true);
    run.unwrap_or_else(|why| panic!("{why}")).outcome.page.expect("a page was asked for")
}

/// A text with the line that begins so replaced.
fn with_line(text: &str, begins: &str, with: &str) -> String {
    let line = |line: &str| if line.starts_with(begins) { with.to_owned() } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn quiet_repetitions_go_first() {
    let page = long();
    let loud: BTreeSet<_> =
        (0..page.steps.len()).filter(|at| !page.steps[*at].quiet).map(|at| words(&page, at)).collect();
    let limit = render(&page).len() / 5;
    let (_, thin) = thinned(&page, limit);
    let kept: BTreeSet<_> = (0..thin.steps.len()).map(|at| words(&thin, at)).collect();
    assert!(loud.is_subset(&kept), "{} of {} loud steps", kept.intersection(&loud).count(), loud.len());
    let out = thin.left_out.expect("it is too large");
    assert_eq!(out.quiet, out.steps);
    // There is no more room than was asked for, but that is used.
    let (text, _) = render_within(&page, limit);
    assert!(text.len() > limit / 2, "{} bytes of {limit}", text.len());
}

#[test]
fn a_thinned_page_says_so_in_a_browser() {
    let asked = json!({ "lane": 1, "name": "Hello", "word": "yours faithfully", "large": true });
    let page = synthetic(20_000);
    let (text, thin) = thinned(&page, 2 << 20);
    let Some(seen) = open_text(&text, &asked) else { return };
    let shown = format!("This page shows {}", thousands(thin.steps.len()));
    assert!(
        seen.left_out.starts_with(&shown) && seen.left_out.contains("of 20,000 steps"),
        "{}",
        seen.left_out
    );
    assert!(seen.left_out.contains("--html-all"), "{}", seen.left_out);
    assert_eq!(seen.gaps, thin.left_out.map_or(0, |out| out.gaps.len()));
    assert_eq!(seen.violation.map(|(step, _)| step), thin.ending.step);
    let all = open(&synthetic(1_000), &asked).expect("there is a browser");
    assert_eq!((&*all.left_out, all.gaps), ("", 0));
}

fn thousands(number: usize) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

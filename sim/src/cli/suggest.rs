//! `check NAME --suggest`: which limits, one larger than those that were asked for, still end soon. A proof is of no more
//! than its limits, and whoever reads "exhausted" wants to know what to try next.
//!
//! Each is tried, and given up when it has taken too long: that a space grows by this or that factor is known of no model
//! before it was searched.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::args::{CheckArgs, Format};
use super::signals::Signals;
use super::{find_model, output};
use crate::check::{CheckOptions, CheckReport, End};
use crate::spec::budget::Budget;
use crate::spec::limits::{Disk, ModelArgs};
use crate::suite::Suite;
use crate::sweep::mutants::Deadline;
use crate::trace::text::thousands;

/// How long each is tried.
const EACH: Duration = Duration::from_secs(15);

/// One that was tried.
#[derive(Serialize)]
struct Tried {
    /// What the command line would say.
    check: String,
    /// Whether all of it was visited in time, and nothing found.
    fits: bool,
    /// Whether there was more to visit, or to ask, than without it.
    adds: bool,
    /// How it came out.
    verdict: String,
    states: usize,
    seconds: f64,
}

/// Tries each limit one larger, and tells how it came out.
pub fn suggest(suite: &Suite, args: &CheckArgs, format: Format) -> Result<u8, String> {
    let model = find_model(suite, &args.name)?;
    let space = ModelArgs { without: args.without, ..args.space.model_args() };
    args.are_for_the_engine()?;
    model.check_args(space)?;
    let signals = Signals::catch()?;
    let check = |space: ModelArgs| {
        let deadline = Deadline::begin(EACH, &signals.stop);
        let options = CheckOptions { stop: Arc::clone(&deadline.over), ..args.options() };
        let (report, _) = model.check(space, options, &mut |_| {
            deadline.look();
        });
        report
    };
    let asked = check(space);
    if let Some(why) = asked.error.as_ref().filter(|_| asked.steps == 0) {
        return Err(why.clone());
    }
    if format == Format::Text {
        output::text(&format!("{}{space}: {}", model.name(), told(&asked)));
        output::text(&format!("one larger, each for at most {} s:", EACH.as_secs()));
    }
    let mut tried = Vec::new();
    for next in larger(space, &asked) {
        if signals.stopped() || !output::is_heard() {
            break;
        }
        let report = check(next);
        let one = Tried {
            check: format!("{}{next}", model.name()),
            fits: report.is_proof(),
            adds: adds(&asked, &report),
            verdict: told(&report),
            states: report.unique_states,
            seconds: report.wall_s,
        };
        if format == Format::Text {
            let (mark, verdict) = match one.adds {
                true => (output::mark(one.fits), one.verdict.as_str()),
                false => ("–".into(), "adds nothing here: the same states are asked the same"),
            };
            output::text(&format!("  {mark} {}: {verdict}", one.check));
        }
        tried.push(one);
    }
    if format == Format::Json {
        output::json(&json!({ "model": model.name(), "asked": told(&asked), "tried": tried }));
    }
    Ok(if signals.stopped() { signals.exit_code() } else { 0 })
}

/// Whether there was more to visit, or to ask of what was visited, in the second search than in the first.
fn adds(first: &CheckReport, second: &CheckReport) -> bool {
    first.unique_states != second.unique_states
        || first.settling_losses != second.settling_losses
        || !second.is_proof()
}

/// These limits, each with one thing more.
fn larger(space: ModelArgs, asked: &CheckReport) -> Vec<ModelArgs> {
    let more = |budget: Budget| {
        let limit = asked.limits.of(budget)?.checked_add(1)?;
        let mut next = space;
        next.set(budget, Some(limit));
        Some(next)
    };
    let mut all: Vec<_> = Budget::spent().filter_map(more).collect();
    if asked.limits.disk == Disk::Sync {
        all.push(ModelArgs { disk: Some(Disk::Async), ..space });
    }
    all
}

/// How a check came out, in words.
fn told(report: &CheckReport) -> String {
    let states = thousands(report.unique_states as u64);
    let how = match (report.end, &report.stopped_by) {
        (End::Exhausted, _) if report.is_proof() => "exhausted, all hold".to_owned(),
        (End::Exhausted, _) => "exhausted, and not all hold".into(),
        (End::Interrupted, _) => "not exhausted in this time".into(),
        (End::Broken | End::Capped | End::Walked | End::NotDeterministic, Some(why)) => why.clone(),
        (End::Broken | End::Capped | End::Walked | End::NotDeterministic, None) => "not exhausted".into(),
    };
    format!("{how}, {states} distinct states, {:.1} s", report.wall_s)
}

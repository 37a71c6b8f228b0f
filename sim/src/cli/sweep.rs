//! `sim` and `merge`: sweeps, in parts and as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coalmine_real::files;
use serde::Serialize;

use super::args::{Format, MergeArgs, SimArgs};
use super::signals::Signals;
use super::{
    UNHEARD, USAGE, VIOLATED, beside, can_be_written, find_scenario, output, plans, warn_of_capsules,
};
use crate::files::capsule::usual_path;
use crate::shrink::RUNS as SHRINK_RUNS;
use crate::spec::faults::Effect;
use crate::suite::{AnyScenario, Suite};
use crate::sweep::confirm::confirm;
use crate::sweep::merge::{self, ALL, MergeError};
use crate::sweep::second_process::Launch;
use crate::sweep::{SweepOptions, SweepPart, SweepReport, sweep_part};
use crate::trace::text::thousands;

/// How much captured output a file may hold.
const REPORTS_BYTES: u64 = 1 << 30;

/// Runs scenarios under many seeds.
pub fn sim(suite: &Suite, args: &SimArgs, format: Format) -> Result<u8, String> {
    let all = args.name == ALL;
    if all && args.checkpoint.is_some() {
        return Err("--checkpoint FILE is for one scenario, and this is a sweep of all: name one".into());
    }
    let scenarios: Vec<&dyn AnyScenario> = if all {
        suite.scenarios.iter().map(AsRef::as_ref).collect()
    } else {
        vec![find_scenario(suite, &args.name)?]
    };
    if scenarios.is_empty() {
        return Err("there are no scenarios: a sweep of all of them would say nothing".into());
    }
    let options = SweepOptions {
        engines: args.engine.into(),
        seeds: args.seeds.clone(),
        jobs: args.jobs.jobs(),
        check_determinism: args.check_determinism,
        max_failures: args.max_failures.get(),
    };
    can_be_written("--checkpoint", args.checkpoint.as_deref())?;
    if !args.no_shrink {
        warn_of_capsules("say --no-shrink");
    }
    let signals = Signals::catch()?;
    let stop = Arc::clone(&signals.stop);
    let launch = Some(Launch::of_command_line());
    let part = SweepPart { shard: args.shard, checkpoint: args.checkpoint.clone(), stop, launch };
    let mut reports = Vec::new();
    for scenario in scenarios {
        let mut report = show(scenario, &options, &part)?;
        if format == Format::Text {
            print(suite, &report, format);
        }
        if !args.no_shrink && !signals.stopped() {
            report.capsule = shrink_first(suite, scenario, &report, &signals, format);
        }
        if format == Format::Json {
            print(suite, &report, format);
        }
        reports.push(report);
        if signals.stopped() || !output::is_heard() {
            break;
        }
    }
    let mut whole = reports.first().cloned();
    let mut interrupted = reports.iter().any(|report| report.interrupted);
    if all && let Some(mut total) = merge::total(&reports) {
        interrupted |= reports.len() < suite.scenarios.len();
        total.interrupted = interrupted;
        print(suite, &total, format);
        whole = Some(total);
    }
    // Of the whole only: a scenario with a fixed plan has the faults of its plan.
    if let (Some(whole), Format::Text) = (&whole, format) {
        output::never_exercised(whole);
        if args.check_determinism && whole.failed.is_empty() && whole.ran() > 0 {
            output::compared();
        }
    }
    let code = match exit_code(&reports) {
        0 if signals.stopped() && interrupted => signals.exit_code(),
        0 if interrupted => UNHEARD,
        found => found,
    };
    let unsaved = reports.iter_mut().find_map(|report| report.unsaved.take());
    Ok(beside(code, unsaved.map_or(Ok(()), Err)))
}

/// Makes the plan of the first failure small that came again in a fresh process, and keeps it as a capsule.
fn shrink_first(
    suite: &Suite,
    scenario: &dyn AnyScenario,
    report: &SweepReport,
    signals: &Signals,
    format: Format,
) -> Option<String> {
    let failure = report.failures.iter().find(|failure| report.confirmed.contains(&failure.seed))?;
    let engine = report.engine_of(failure);
    let path = usual_path(scenario.name(), suite.mistake, &failure.seed.to_string());
    let shrunk = plans::shrink_seed(scenario, engine, failure.seed, SHRINK_RUNS, signals)?;
    // What was found counts for more than where it is kept.
    let written = plans::write(&path, &shrunk.capsule).inspect_err(|why| output::error(why)).is_ok();
    if written && let Err(why) = plans::replays(&path) {
        output::error(&format!("{}: {why}", path.display()));
        return None;
    }
    if format == Format::Text {
        output::shrunk(&suite.program(), &shrunk, written.then_some(&path));
    }
    written.then(|| path.display().to_string())
}

/// A report for machines.
#[derive(Serialize)]
struct SweepJson<'a> {
    #[serde(flatten)]
    report: &'a SweepReport,
    never_exercised: Vec<Effect>,
}

fn print(suite: &Suite, report: &SweepReport, format: Format) {
    match format {
        Format::Text => output::sweep(&suite.program(), report),
        Format::Json => {
            output::json(&SweepJson { report, never_exercised: report.effects.never() });
        }
    }
}

/// That of the first failure; else, that something was tested.
pub fn exit_code(reports: &[SweepReport]) -> u8 {
    let first = reports.iter().flat_map(|report| &report.failures).next();
    let is_untested = reports.iter().any(|report| report.untested().is_some());
    first.map_or(if is_untested { VIOLATED } else { 0 }, |failure| failure.verdict.exit_code())
}

/// Sweeps with a progress bar, and asks fresh processes about what fails.
pub fn show(
    scenario: &dyn AnyScenario,
    options: &SweepOptions,
    part: &SweepPart,
) -> Result<SweepReport, String> {
    if options.seeds.is_empty() {
        return Err(format!("{}: {:?} holds no seed", scenario.name(), options.seeds));
    }
    let seeds = part.shard.map_or_else(|| options.seeds.clone(), |shard| shard.of(&options.seeds));
    let bar = output::bar(scenario.name(), seeds.end - seeds.start);
    let started = AtomicBool::new(false);
    let report = sweep_part(scenario, options, part, &|done, failed| {
        bar.set_position(done);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
        if !started.swap(true, Ordering::Relaxed) {
            bar.reset_eta(); // what earlier sittings did says nothing about this one's speed
        }
    });
    bar.finish_and_clear();
    let mut report = report.map_err(|why| why.to_string())?;
    let launch = Launch::of_command_line();
    if let Err(why) = confirm(scenario, options.engines, &mut report, &launch, output::TOLD, &part.stop) {
        output::error(&format!("whether failures come again alone in a fresh process is not known: {why}"));
    }
    if let Some(file) = part.checkpoint.as_ref().filter(|_| report.resumed > 0) {
        let (resumed, size) = (thousands(report.resumed), thousands(report.size()));
        output::note(&format!("{resumed} of {size} seeds were known from {}", file.display()));
    }
    Ok(report)
}

pub fn merge(suite: &Suite, args: &MergeArgs, format: Format) -> Result<u8, String> {
    let mut pieces = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let text = files::read_text(path, REPORTS_BYTES);
        let text = text.map_err(|why| MergeError::Read(name.clone(), why).to_string())?;
        pieces.extend(merge::read(&name, text.as_bytes()).map_err(|why| why.to_string())?);
    }
    let merged = merge::merge(pieces).map_err(|why| why.to_string())?;
    for report in &merged.reports {
        print(suite, report, format);
    }
    for why in &merged.unfinished {
        output::error(why);
    }
    let found = exit_code(&merged.reports);
    Ok(if found == 0 && !merged.unfinished.is_empty() { USAGE } else { found })
}

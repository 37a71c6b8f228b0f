//! The command line over a [`Suite`]. `coalmine` is one call of [`main`]; a user's own crate has the same face
//! for its own nodes with a suite of its own.
//!
//! Results go to standard output, progress to standard error. With `--format json` the last line of standard
//! output is one JSON object.

mod args;
mod output;
mod plans;

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use self::args::{CheckArgs, Cli, Command, Format, SimArgs};
use crate::check::{CheckOptions, CheckReport, Verdict as Property};
use crate::suite::{AnyModel, AnyScenario, Job, Suite};
use crate::sweep::{Failure, SweepOptions, SweepReport, sweep};

/// Exit code: an invariant is violated, or what should have been seen was not.
const VIOLATED: u8 = 1;
/// Exit code: the command line makes no sense.
const USAGE: u8 = 2;

/// Does what the command line says.
pub fn main(suite: &Suite) -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::List => list(suite, cli.format),
        Command::Sim(args) => sim(suite, args, cli.format),
        Command::Replay(args) => plans::replay(suite, args, cli.format),
        Command::Plan(args) => plans::plan(suite, args, cli.format),
        Command::Shrink(args) => plans::shrink(suite, args, cli.format),
        Command::Check(args) => check(suite, args, cli.format),
        Command::Run(args) => run(suite, args.jobs(), cli.format),
    };
    done.unwrap_or_else(|why| {
        output::error(&why);
        USAGE
    })
    .into()
}

fn list(suite: &Suite, format: Format) -> Result<u8, String> {
    let scenarios: Vec<_> = suite.scenarios.iter().map(|it| (it.name(), it.about())).collect();
    let models: Vec<_> = suite.models.iter().map(|it| (it.name(), it.about())).collect();
    match format {
        Format::Text => {
            output::list("Scenarios (sim, replay)", &scenarios);
            output::list("Models (check)", &models);
        }
        Format::Json => {
            let named = |all: &[(&str, &str)]| -> Vec<_> {
                all.iter().map(|(name, about)| json!({ "name": name, "about": about })).collect()
            };
            output::json(&json!({ "scenarios": named(&scenarios), "models": named(&models) }));
        }
    }
    Ok(0)
}

fn sim(suite: &Suite, args: &SimArgs, format: Format) -> Result<u8, String> {
    let scenarios: Vec<&dyn AnyScenario> = if args.name == "all" {
        suite.scenarios.iter().map(AsRef::as_ref).collect()
    } else {
        vec![find_scenario(suite, &args.name)?]
    };
    let several = scenarios.len() > 1;
    let mut reports = Vec::new();
    for scenario in scenarios {
        let report = run_sweep(scenario, args.seeds.clone(), args.jobs.jobs(), args);
        match format {
            Format::Text => output::sweep(&report),
            Format::Json => output::json(&report),
        }
        reports.push(report);
    }
    let code = reports.iter().flat_map(|report| &report.failures).next().map_or(0, exit_code);
    if several {
        let total = total(&reports, &args.seeds);
        match format {
            Format::Text => output::sweep(&total),
            Format::Json => output::json(&total),
        }
    }
    Ok(code)
}

fn exit_code(failure: &Failure) -> u8 {
    failure.verdict.exit_code()
}

fn run_sweep(scenario: &dyn AnyScenario, seeds: Range<u64>, jobs: usize, args: &SimArgs) -> SweepReport {
    let bar = output::bar(scenario.name(), seeds.end - seeds.start);
    let options = SweepOptions {
        seeds,
        jobs,
        check_determinism: args.check_determinism,
        max_failures: args.max_failures,
    };
    let report = sweep(scenario, &options, &|done, failed| {
        bar.set_position(done);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
    });
    bar.finish_and_clear();
    report
}

/// All sweeps as one.
fn total(reports: &[SweepReport], seeds: &Range<u64>) -> SweepReport {
    SweepReport {
        scenario: "all".into(),
        engine: "madsim",
        seeds: format!("{}..{}", seeds.start, seeds.end),
        passed: reports.iter().map(|report| report.passed).sum(),
        failed: reports.iter().flat_map(|report| report.failed.iter().copied()).collect(),
        failures: reports.iter().flat_map(|report| report.failures.iter().cloned()).collect(),
        events: reports.iter().map(|report| report.events).sum(),
        simulated_s: reports.iter().map(|report| report.simulated_s).sum(),
        wall_s: reports.iter().map(|report| report.wall_s).sum(),
    }
}

fn check(suite: &Suite, args: &CheckArgs, format: Format) -> Result<u8, String> {
    let model = find_model(suite, &args.name)?;
    let options = CheckOptions { threads: args.threads.unwrap_or_else(cores), max_states: args.max_states };
    let (report, story) = run_check(model, args.model_args(), options);
    match format {
        Format::Text => output::check(&report, story.as_deref()),
        Format::Json => {
            if let Some(story) = &story {
                output::text(story);
            }
            output::json(&report);
        }
    }
    Ok(check_exit_code(&report))
}

fn check_exit_code(report: &CheckReport) -> u8 {
    let bad = |property: &Property| matches!(property, Property::Violated | Property::Missing);
    // What was not reached before a cap is not missing; but a cap is no proof either, and says so.
    let capped = report.stopped_by.is_some() && report.violated().next().is_none();
    if !capped && report.properties.values().any(bad) { VIOLATED } else { 0 }
}

fn run_check(
    model: &dyn AnyModel,
    args: crate::suite::ModelArgs,
    options: CheckOptions,
) -> (CheckReport, Option<String>) {
    let spinner = output::spinner(model.name());
    let started = Instant::now();
    let done = model.check(args, options, &mut |progress| {
        let rate = progress.unique_states as f64 / started.elapsed().as_secs_f64().max(0.001);
        let (states, depth) = (output::thousands(progress.unique_states as u64), progress.depth);
        spinner.set_message(format!(
            "{states} states, depth {depth}, {} states a second",
            output::thousands(rate as u64)
        ));
        spinner.tick();
    });
    spinner.finish_and_clear();
    done
}

/// The main job: every part, and one table of verdicts.
fn run(suite: &Suite, jobs: usize, format: Format) -> Result<u8, String> {
    let started = Instant::now();
    let mut rows = Vec::new();
    let mut code = 0;
    for job in &suite.main_job {
        let row = match job {
            Job::Sweep(name, seeds) => {
                let args = SimArgs::of(name, 0..*seeds, jobs);
                let report = run_sweep(find_scenario(suite, name)?, 0..*seeds, jobs, &args);
                code = report.failures.first().map_or(code, exit_code);
                output::Row::of_sweep(&report)
            }
            Job::Check(name, args) => {
                let options = CheckOptions { threads: jobs, max_states: None };
                let (report, story) = run_check(find_model(suite, name)?, *args, options);
                if check_exit_code(&report) != 0 {
                    code = VIOLATED;
                }
                output::Row::of_check(&report, story)
            }
        };
        rows.push(row);
    }
    match format {
        Format::Text => output::table(&rows, started.elapsed()),
        Format::Json => {
            let passed = code == 0;
            output::json(
                &json!({ "passed": passed, "jobs": rows, "wall_s": started.elapsed().as_secs_f64() }),
            );
        }
    }
    Ok(code)
}

fn find_scenario<'a>(suite: &'a Suite, name: &str) -> Result<&'a dyn AnyScenario, String> {
    let known = suite.scenarios.iter().map(|scenario| scenario.name()).collect();
    suite.find_scenario(name).ok_or_else(|| unknown("scenario", name, known))
}

fn find_model<'a>(suite: &'a Suite, name: &str) -> Result<&'a dyn AnyModel, String> {
    let known = suite.models.iter().map(|model| model.name()).collect();
    suite.find_model(name).ok_or_else(|| unknown("model", name, known))
}

fn unknown(kind: &str, name: &str, known: Vec<&str>) -> String {
    format!("there is no {kind} {name:?}; there are: {}", known.join(", "))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

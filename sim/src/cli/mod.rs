//! The command line over a [`Suite`]. `coalmine` is one call of [`main`]; a user's own crate has the same face
//! for its own nodes with a suite of its own.
//!
//! Results go to standard output, progress to standard error. With `--format json` the last line of standard
//! output is one JSON object.

mod args;
mod budgets;
mod ladder;
mod linearize;
mod mutants;
pub(crate) mod output;
mod plans;
mod signals;
mod sizes;
mod suggest;
mod sweep;
mod verify;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::FromArgMatches;
use coalmine_real::files;
use serde::Serialize;
use serde_json::json;

use self::args::{CheckArgs, Cli, Command, ExploreArgs, Format};
use self::signals::Signals;
use crate::check::{CheckOptions, CheckReport, End, Explorer, INTERRUPTED, Parted, Verdict as Property};
use crate::files::capsule::{FOLDER, File, usual_path};
use crate::spec::limits::ModelArgs;
use crate::spec::mistake::MistakeName;
use crate::spec::verdict::{NEVER_PANICS, SETTLES};
use crate::suite::{AnyModel, AnyScenario, Explanation, Job, Suite, unknown};
use crate::sweep::{SweepOptions, SweepPart, second_process};
use crate::trace::text::thousands;

/// Exit code: an invariant is violated, or what should have been seen was not.
const VIOLATED: u8 = 1;
const NO_CONVERGENCE: u8 = 3;
const PANICKED: u8 = 4;
/// Exit code: what a run comes to depends on what ran before it.
const NOT_DETERMINISTIC: u8 = 5;
/// Exit code: nothing is wrong so far, but a cap ended a check before it was a proof.
const NO_PROOF: u8 = 6;
/// Exit code: a space is not the one that was pinned, and nothing else is wrong.
const CHANGED: u8 = 8;
/// Exit code: the command line makes no sense, or names a file that cannot be read or written. Nothing was done.
const USAGE: u8 = 2;
/// Exit code: nothing is wrong with what was found, but not all of it could be written.
const UNWRITTEN: u8 = 7;
/// Exit code: whoever read standard output has gone before the end, as a shell has it: 128 and SIGPIPE.
const UNHEARD: u8 = 128 + 13;

/// Does what the command line says.
pub fn main(suite: &Suite) -> ExitCode {
    second_process::obeys_its_own();
    if let (Some(program), Some(first)) = (suite.service, std::env::args_os().nth(1)) {
        let program = program();
        if program.has(&first) {
            return program.main();
        }
    }
    if let Err(why) = signals::outlive_file_limits() {
        output::note(&why);
    }
    main_from(suite, std::env::args_os()).into()
}

/// Does what these arguments say, the program's name first. What comes back is the exit code.
pub fn main_from(suite: &Suite, args: impl IntoIterator<Item: Into<OsString> + Clone>) -> u8 {
    output::begin();
    let matches = args::command(suite).try_get_matches_from(args);
    let code =
        match matches.and_then(|matches| sizes::named(suite, Cli::from_arg_matches(&matches)?, &matches)) {
            Ok(cli) => obey(suite, &cli),
            Err(why) => output::clap(&why),
        };
    match output::finish() {
        Ok(()) => code,
        // What `head` does not want to read is its own business; the verdict stays.
        Err(why) if why.kind() == ErrorKind::BrokenPipe => code,
        Err(why) => beside(if code == UNHEARD { 0 } else { code }, Err(format!("standard output: {why}"))),
    }
}

/// The verdict's exit code, after something was to be written beside it: what was found counts for more than where
/// it is kept.
fn beside(verdict: u8, written: Result<(), String>) -> u8 {
    match written {
        Ok(()) => verdict,
        Err(why) => {
            output::error(&why);
            if verdict == 0 { UNWRITTEN } else { verdict }
        }
    }
}

/// Whether this can be written, before the work whose result it is.
fn can_be_written(option: &str, file: Option<&Path>) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    files::try_to_write(file).map_err(|why| format!("{option}: cannot write {}: {why}", file.display()))
}

/// Says so if the place where capsules are kept if nobody says cannot be written to. That is no reason not to begin.
fn warn_of_capsules(option: &str) {
    if let Err(why) = files::try_to_write_into(Path::new(FOLDER)) {
        output::note(&format!("what is found cannot be kept in {FOLDER}: {why}; {option}"));
    }
}

fn obey(suite: &Suite, cli: &Cli) -> u8 {
    let planted;
    let suite = match &cli.mistake {
        None => suite,
        Some(name) => match can_be_planted(&cli.command).and_then(|()| suite.with_mistake(name)) {
            Ok(suite) => {
                planted = suite;
                &planted
            }
            Err(why) => {
                output::error(&why);
                return USAGE;
            }
        },
    };
    if second_process::is_of(second_process::COMMAND_LINE) {
        return second_process::serve(suite).map_or(USAGE, |()| 0);
    }
    let done = match &cli.command {
        Command::List => list(suite, cli.format),
        Command::Sim(args) => sweep::sim(suite, args, cli.format),
        Command::Merge(args) => sweep::merge(suite, args, cli.format),
        Command::Replay(args) => plans::replay(suite, args, cli.format),
        Command::Plan(args) => plans::plan(suite, args, cli.format),
        Command::Shrink(args) => plans::shrink(suite, args, cli.format),
        Command::Verify(args) => verify::verify(suite, args, cli.format),
        Command::Linearize(args) => linearize::linearize(args, cli.format),
        Command::Check(args) => check(suite, args, cli.format),
        Command::Explore(args) => explore(suite, args, cli.format),
        Command::Mutants(args) => mutants::mutants(suite, args, cli.format),
        Command::Run(args) => run(suite, args.jobs(), cli.format),
    };
    done.unwrap_or_else(|why| {
        output::error(&why);
        USAGE
    })
}

/// Whether a mistake can be made under this command: what is kept of a search, or made one of many, does not say which
/// mistake was made.
fn can_be_planted(command: &Command) -> Result<(), String> {
    let kept = match command {
        Command::Sim(args) if args.checkpoint.is_some() => Some("--checkpoint"),
        Command::Sim(args) if args.shard.is_some() => Some("--shard"),
        Command::Check(args) if args.checkpoint.is_some() => Some("--checkpoint"),
        Command::Merge(_) => Some("merge"),
        Command::Mutants(_) => Some("mutants"),
        Command::Linearize(_) => Some("linearize"),
        Command::List
        | Command::Sim(_)
        | Command::Check(_)
        | Command::Replay(_)
        | Command::Plan(_)
        | Command::Shrink(_)
        | Command::Verify(_)
        | Command::Explore(_)
        | Command::Run(_) => None,
    };
    kept.map_or(Ok(()), |kept| Err(format!("--mistake does not go with {kept}")))
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

fn check(suite: &Suite, args: &CheckArgs, format: Format) -> Result<u8, String> {
    if args.suggest && args.name == "all" {
        return Err("--suggest is about one model: name it".into());
    }
    if args.deep || args.name == "all" {
        return ladder::climb(suite, args, format);
    }
    if args.suggest {
        return suggest::suggest(suite, args, format);
    }
    let model = find_model(suite, &args.name)?;
    let options = args.options();
    args.are_for_the_engine()?;
    can_be_written("--checkpoint", args.checkpoint.as_deref())?;
    can_be_written("--capsule", args.capsule.as_deref())?;
    if args.capsule.is_none() && !args.no_capsule {
        warn_of_capsules("say --capsule FILE or --no-capsule");
    }
    let signals = if options.explorer == Explorer::Own { Some(Signals::catch()?) } else { None };
    let space = ModelArgs { without: args.without, ..args.space.model_args() };
    model.check_args(space)?;
    if args.symmetry && !model.has_symmetry(space) {
        return Err(no_symmetry(model.name()));
    }
    let (mut report, mut found) = run_check(suite, model, space, options, signals.as_ref());
    if let Some(why) = report.error.as_ref().filter(|_| report.steps == 0) {
        return Err(why.clone());
    }
    let capsule = match args.no_capsule {
        true => Keep::Nowhere,
        false => args.capsule.clone().map_or(Keep::Usual, Keep::In),
    };
    let capsule = save(model, suite.mistake, &mut report, &mut found, capsule);
    let story = found.as_ref().map(|found| &found.story);
    let code = exit_code(&report, signals.as_ref());
    match format {
        Format::Text => {
            output::check(&report, story);
            let is_kept = !report.exhausted && found.is_none() && report.error.is_none();
            if let Some(file) = args.checkpoint.as_ref().filter(|_| is_kept) {
                output::text(&format!("kept in {}: the same line goes on from there", file.display()));
            }
            if let Some(path) = &capsule {
                output::text(output::lines_to_paste(&suite.program(), model.name(), path).trim_end());
            }
        }
        Format::Json => {
            if let Some(story) = story {
                output::text(story);
            }
            let capsule = capsule.as_ref().map(|path| path.display().to_string());
            output::json(&Checked { report: &report, capsule });
        }
    }
    Ok(beside(code, report.error.map_or(Ok(()), Err)))
}

/// Serves the Explorer until a signal.
fn explore(suite: &Suite, args: &ExploreArgs, format: Format) -> Result<u8, String> {
    let model = find_model(suite, &args.name)?;
    let space = args.space.model_args();
    if args.at.is_some() && space != ModelArgs::default() {
        return Err(
            "--at FILE says how large the model is, and what may happen in it: leave the rest out".into()
        );
    }
    let file = args.at.as_deref().map(File::read).transpose()?;
    let signals = Signals::catch()?;
    let serving = model.explore(space, file, args.address)?;
    match format {
        Format::Text => output::text(&format!("{}\nCtrl-C ends it.", serving.url)),
        Format::Json => output::json(&json!({ "model": args.name, "url": serving.url })),
    }
    while !signals.stopped() {
        if serving.is_over() {
            return Err("the Explorer has stopped".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(0)
}

/// A report, and where its counterexample was saved.
#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    report: &'a CheckReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    capsule: Option<String>,
}

/// Where a counterexample is to be kept.
enum Keep {
    Usual,
    In(PathBuf),
    Nowhere,
}

/// Saves a counterexample, and lets a fresh process read it back: if it does not come to the same there, a node depends
/// on what its process did before, and nothing that was found is to be believed. What was found counts for more than
/// where it is kept, so no error ends anything.
fn save(
    model: &dyn AnyModel,
    mistake: Option<MistakeName>,
    report: &mut CheckReport,
    found: &mut Option<Explanation>,
    keep: Keep,
) -> Option<PathBuf> {
    let explained = found.as_ref()?;
    let (name, invariant) = (model.name(), &explained.invariant);
    let is_kept = !matches!(keep, Keep::Nowhere);
    let path = match keep {
        Keep::In(path) => path,
        Keep::Usual => usual_path(name, mistake, invariant),
        Keep::Nowhere => std::env::temp_dir().join(format!("coalmine-{}-{name}.toml", std::process::id())),
    };
    if let Err(why) = plans::write(&path, &explained.capsule) {
        if is_kept {
            output::error(&why);
        }
        return None;
    }
    let again = plans::replays(&path);
    if !is_kept {
        let _ = std::fs::remove_file(&path);
    }
    match again {
        Ok(()) => Some(path).filter(|_| is_kept),
        Err(why) => {
            report.is_not_deterministic(Parted {
                what: "the path to what was found".into(),
                once: format!("{invariant}, in the process that has found it"),
                again: why,
                after: explained.story.lines().map(str::to_owned).collect(),
            });
            *found = None;
            None
        }
    }
}

/// What is wrong comes first; then 0 is for a proof, and for walks, which claim none and were all walked.
fn exit_code(report: &CheckReport, signals: Option<&Signals>) -> u8 {
    let bad = |property: &Property| matches!(property, Property::Violated | Property::Missing);
    if report.not_deterministic.is_some() {
        return NOT_DETERMINISTIC;
    }
    match report.counterexample {
        Some(SETTLES) => return NO_CONVERGENCE,
        Some(NEVER_PANICS) => return PANICKED,
        Some(_) => return VIOLATED,
        None => {}
    }
    if report.asks_nothing() {
        return VIOLATED;
    }
    match report.end {
        End::Exhausted if report.is_empty() || report.properties.values().any(bad) => VIOLATED,
        End::Exhausted if report.changed().is_some() => CHANGED,
        End::Exhausted | End::Walked if report.has_unknown() => NO_PROOF,
        End::Exhausted | End::Walked => 0, // what no walk came across is not missing
        End::Broken => VIOLATED,
        End::Capped => NO_PROOF,
        End::NotDeterministic => NOT_DETERMINISTIC,
        End::Interrupted => signals.map_or(NO_PROOF, Signals::exit_code),
    }
}

fn run_check(
    suite: &Suite,
    model: &dyn AnyModel,
    args: ModelArgs,
    mut options: CheckOptions,
    signals: Option<&Signals>,
) -> (CheckReport, Option<Explanation>) {
    if let Some(signals) = signals {
        options.stop = Arc::clone(&signals.stop);
    }
    let spinner = output::spinner(model.name());
    let started = Instant::now();
    let pinned = options.counts_are_known().then(|| suite.pinned(model, args)).flatten();
    let (mut report, found) = model.check(args, options, &mut |progress| {
        let rate = progress.unique_states as f64 / started.elapsed().as_secs_f64().max(0.001);
        let (states, depth) = (thousands(progress.unique_states as u64), progress.depth);
        let frontier = progress
            .frontier
            .map_or_else(String::new, |frontier| format!(", {} wait", thousands(frontier as u64)));
        let rate = thousands(rate as u64);
        spinner.set_message(format!("{states} states, depth {depth}{frontier}, {rate} states a second"));
        spinner.tick();
    });
    spinner.finish_and_clear();
    report.expected_states = pinned;
    if let (End::Interrupted, Some(signals), Some(why)) = (report.end, signals, &mut report.stopped_by) {
        *why = why.replacen(INTERRUPTED, &interrupted_by(signals), 1);
    }
    (report, found)
}

fn interrupted_by(signals: &Signals) -> String {
    format!("{INTERRUPTED} by {}", signals.name())
}

/// The main job: every part, and one table of verdicts. A signal ends it: what is left is not done. The first part that
/// found something wrong decides the exit code; if none did, the first that is no proof.
fn run(suite: &Suite, jobs: usize, format: Format) -> Result<u8, String> {
    if suite.main_job.is_empty() {
        return Err("there is no main job: nothing would be run".into());
    }
    let started = Instant::now();
    let signals = Signals::catch()?;
    let mut rows = Vec::new();
    let (mut wrong, mut no_proof) = (None, None);
    warn_of_capsules("the stories are told all the same");
    for job in &suite.main_job {
        let (row, code) = if signals.stopped() {
            (output::Row::not_done(job, &interrupted_by(&signals)), signals.exit_code())
        } else {
            run_job(suite, job, jobs, &signals)?
        };
        rows.push(row);
        match code {
            0 => {}
            NO_PROOF.. => no_proof = no_proof.or(Some(code)),
            code => wrong = wrong.or(Some(code)),
        }
    }
    let code = wrong.or(no_proof).unwrap_or(0);
    match format {
        Format::Text => output::table(&rows, started.elapsed()),
        Format::Json => {
            let (passed, wall_s) = (code == 0, started.elapsed().as_secs_f64());
            output::json(&json!({ "passed": passed, "jobs": rows, "wall_s": wall_s }));
        }
    }
    Ok(code)
}

/// A part of the main job: its row of the table, and its exit code.
fn run_job(suite: &Suite, job: &Job, jobs: usize, signals: &Signals) -> Result<(output::Row, u8), String> {
    match job {
        Job::Sweep(name, seeds) => {
            let options = SweepOptions { jobs, max_failures: 10, ..SweepOptions::of(0..*seeds) };
            let part = SweepPart { stop: Arc::clone(&signals.stop), ..SweepPart::default() };
            let report = sweep::show(find_scenario(suite, name)?, &options, &part)?;
            let unfinished = if report.interrupted { signals.exit_code() } else { 0 };
            let found = sweep::exit_code(std::slice::from_ref(&report));
            let code = if found == 0 { unfinished } else { found };
            Ok((output::Row::of_sweep(&suite.program(), &report), code))
        }
        Job::Check(name, args) => {
            let options = CheckOptions { threads: jobs, ..CheckOptions::default() };
            let model = find_model(suite, name)?;
            model.check_args(*args)?;
            let (mut report, mut found) = run_check(suite, model, *args, options, Some(signals));
            let capsule = save(model, suite.mistake, &mut report, &mut found, Keep::Usual);
            let story = found.map(|found| match capsule {
                Some(path) => {
                    format!("{}{}", found.story, output::lines_to_paste(&suite.program(), name, &path))
                }
                None => found.story.to_string(),
            });
            let code = exit_code(&report, Some(signals));
            Ok((output::Row::of_check(format!("{name}{args}"), &report, story), code))
        }
    }
}

fn find_scenario<'a>(suite: &'a Suite, name: &str) -> Result<&'a dyn AnyScenario, String> {
    let known = suite.scenarios.iter().map(|scenario| scenario.name()).collect();
    suite.find_scenario(name).ok_or_else(|| missing(suite, "scenario", name, known))
}

fn find_model<'a>(suite: &'a Suite, name: &str) -> Result<&'a dyn AnyModel, String> {
    let known = suite.models.iter().map(|model| model.name()).collect();
    suite.find_model(name).ok_or_else(|| missing(suite, "model", name, known))
}

/// Says that nothing of a kind has this name; of nodes that make a mistake, that they may be unable to make it.
fn missing(suite: &Suite, kind: &str, name: &str, known: Vec<&str>) -> String {
    let Some(mistake) = suite.mistake else { return unknown(kind, name, known) };
    match known.is_empty() {
        true => format!("--mistake {mistake}: no {kind} has nodes that make it"),
        false => format!(
            "--mistake {mistake}: there is no {kind} {name:?} whose nodes make it; there are: {}",
            known.join(", ")
        ),
    }
}

fn no_symmetry(model: &str) -> String {
    format!("--symmetry: no members of {model} are interchangeable")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

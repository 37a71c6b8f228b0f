//! Commands about single runs: replay one, print its plan, make it small.

use std::io::Write;
use std::path::Path;

use coalmine_real::{files, paste};
use serde_json::json;

use super::args::{Format, PlanArgs, ReplayArgs, ShrinkArgs};
use super::signals::Signals;
use super::{NOT_DETERMINISTIC, VIOLATED, beside, can_be_written, find_scenario, output};
use crate::files::capsule::{File, usual_path};
use crate::spec::data::Piece;
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Engine, Verdict};
use crate::suite::{AnyScenario, FileOutcome, Outcome, Shrunk, Suite};
use crate::sweep::confirm::{self, Unreplayed};
use crate::sweep::second_process::Launch;
use crate::trace::html::{self, LeftOut, Page};
use crate::trace::text::thousands;

/// Runs a seed or a file again, and tells the story.
pub fn replay(suite: &Suite, args: &ReplayArgs, format: Format) -> Result<u8, String> {
    let wanted = args.engine.map(Engine::from);
    can_be_written("--html", args.html.as_deref())?;
    if let Some(folder) = &args.record {
        let tried = files::try_to_write_into(folder);
        tried.map_err(|why| format!("--record: cannot write into {}: {why}", folder.display()))?;
    }
    let is_file = is_file(suite, args);
    let named = args.name.to_string_lossy();
    let (name, mut outcome, engine, seed, expected) = match (is_file, args.seed) {
        (true, Some(_)) => return Err("a file has its own seed: --seed is for a scenario".into()),
        (true, None) => {
            let file = File::read(Path::new(&args.name))?;
            let name = file.model().map_or_else(|| file.scenario(), Ok)?.to_owned();
            let FileOutcome { outcome, engine, seed, expected } = suite.run_file(file, wanted, true)?;
            (name, outcome, engine, seed, Some(expected))
        }
        (false, Some(seed)) => {
            let scenario = find_scenario(suite, &named)?;
            let engine = wanted.unwrap_or_default();
            let outcome = scenario.run(engine, seed, true);
            (named.to_string(), outcome, engine, Some(seed), None)
        }
        (false, None) => {
            find_scenario(suite, &named)?;
            return Err(format!("which seed of {named}? Say --seed N"));
        }
    };
    if args.record.is_some() && outcome.turns.is_some() {
        return Err(
            "--record: a path through a model is walked without a clock, so it cannot be recorded".into()
        );
    }
    let is_said = expected.as_ref().map(Expected::is_said);
    let surprise = expected.filter(|expected| !expected.admits(&Expected::of(&outcome.verdict)));
    match format {
        Format::Text => {
            let story = if args.everything { &outcome.whole_story } else { &outcome.story };
            output::story(story.as_ref(), &outcome);
            match is_said {
                Some(true) if surprise.is_none() && outcome.verdict != Verdict::Passed => {
                    output::text("as the file says");
                }
                Some(false) => output::text("the file names no verdict that it should come to"),
                Some(true) | None => {}
            }
            output::not_carried_out(&outcome.unused);
        }
        Format::Json => {
            let as_expected = (is_said != Some(false)).then_some(surprise.is_none());
            output::json(&replayed(&name, engine, seed, &outcome, as_expected));
        }
    }
    let mut code = outcome.verdict.exit_code();
    if let Some(expected) = surprise {
        let came = Expected::of(&outcome.verdict);
        output::error(&format!("{named}: the verdict should be {expected}, but is {came}"));
        code = if code == 0 { VIOLATED } else { code };
    }
    if let (Some(file), Some(page)) = (&args.html, &mut outcome.page) {
        let program = suite.program();
        page.replay = Some(match args.seed {
            Some(seed) => output::replay_line(&program, &named, seed, engine),
            None => format!("{program} replay {}", paste::path(Path::new(&args.name))),
        });
        code = beside(code, write_page(file, page, args.page.limit()));
    }
    if let Some(folder) = &args.record {
        code = beside(code, write_recordings(folder, &outcome));
    }
    Ok(code)
}

/// Whether a file is meant, and not a scenario. Whatever is there is a file, whatever its name ends in; what looks like
/// one is said not to be there.
fn is_file(suite: &Suite, args: &ReplayArgs) -> bool {
    let path = Path::new(&args.name);
    let is_scenario = args.name.to_str().is_some_and(|name| suite.find_scenario(name).is_some());
    let looks_like_one = path.components().count() > 1
        || path.extension().is_some_and(|ending| ending == "toml" || ending == "json");
    match (is_scenario, args.seed) {
        (true, Some(_)) => false,
        (true, None) => path.is_file(),
        (false, _) => path.exists() || looks_like_one,
    }
}

/// Writes a page of at most so many bytes, and says where, and what it does not show.
pub fn write_page(file: &Path, page: &Page, limit: usize) -> Result<(), String> {
    let (text, left_out) = html::render_within(page, limit);
    write(file, text)?;
    output::note(&format!("the page is in {}", file.display()));
    if let Some(LeftOut { steps, quiet, of, bytes, .. }) = left_out {
        let [shown, of, quiet, other] =
            [of - steps, of, quiet, steps - quiet].map(|count| thousands(count as u64));
        output::note(&format!(
            "it shows {shown} of {of} steps; {quiet} quiet ones and {other} others, far from what broke, are left \
             out: --html-all shows all, in {} MB",
            bytes.div_ceil(1_000_000)
        ));
    }
    Ok(())
}

fn write_recordings(folder: &Path, outcome: &Outcome) -> Result<(), String> {
    for (node, recording) in &outcome.recordings {
        write(&folder.join(format!("{node}.rec")), recording)?;
    }
    output::note(&format!("the recordings are in {}", folder.display()));
    Ok(())
}

/// A run for machines.
fn replayed(
    name: &str,
    engine: Engine,
    seed: Option<u64>,
    outcome: &Outcome,
    as_expected: Option<bool>,
) -> serde_json::Value {
    let mut told = json!({
        (if outcome.turns.is_some() { "model" } else { "scenario" }): name,
        "engine": engine,
        "digest": format!("{:016x}", outcome.digest),
        "verdict": outcome.verdict.name(),
        "why": outcome.verdict.why(),
        "as_expected": as_expected,
        "events": outcome.events,
        "effects": outcome.effects,
        "simulated_s": outcome.turns.is_none().then_some(outcome.simulated.as_secs_f64()),
        "steps": outcome.turns,
        "wall_s": outcome.wall.as_secs_f64(),
    });
    if let Some(seed) = seed {
        told["seed"] = json!(Piece(seed));
    }
    if let Some(steps) = &outcome.unused_steps {
        told["unused_steps"] = json!(steps);
    }
    if outcome.turns.is_none() {
        told["converged_after_s"] = json!(outcome.converged_after.map(|after| after.as_secs_f64()));
        told["unanswered"] = json!(outcome.unanswered);
    }
    told
}

/// Prints the plan of a seed.
pub fn plan(suite: &Suite, args: &PlanArgs, format: Format) -> Result<u8, String> {
    let text = find_scenario(suite, &args.name)?.plan(Engine::default(), args.seed)?;
    match format {
        Format::Text => output::text(text.trim_end()),
        Format::Json => {
            let value: toml::Value = toml::from_str(&text).map_err(|why| why.to_string())?;
            output::json(&value);
        }
    }
    Ok(0)
}

/// Makes the plan of a failing seed small, and writes a capsule.
pub fn shrink(suite: &Suite, args: &ShrinkArgs, format: Format) -> Result<u8, String> {
    let scenario = find_scenario(suite, &args.name)?;
    let path =
        args.out.clone().unwrap_or_else(|| usual_path(&args.name, suite.mistake, &args.seed.to_string()));
    can_be_written("--out", Some(&path))?;
    let signals = Signals::catch()?;
    let shrunk = shrink_seed(scenario, args.engine.into(), args.seed, args.runs, &signals);
    let Some(shrunk) = shrunk else {
        let outcome = scenario.run(args.engine.into(), args.seed, false);
        if let Verdict::Refused { .. } = outcome.verdict {
            return Err(format!("seed {} of {} {}", args.seed, args.name, outcome.verdict.describe()));
        }
        return Err(format!("seed {} of {} passes: there is nothing to shrink", args.seed, args.name));
    };
    let written = write(&path, &shrunk.capsule);
    if written.is_ok()
        && let Err(why) = replays(&path)
    {
        output::error(&format!("{}: {why}", path.display()));
        return Ok(NOT_DETERMINISTIC);
    }
    match format {
        Format::Text => {
            output::text(&shrunk.capsule);
            output::shrunk(&suite.program(), &shrunk, written.is_ok().then_some(&path));
        }
        Format::Json => output::json(&json!({
            "scenario": args.name,
            "seed": Piece(args.seed),
            "capsule": written.is_ok().then(|| path.display().to_string()),
            "verdict": shrunk.expected.verdict,
            "invariant": shrunk.expected.invariant,
            "message": shrunk.expected.message,
            "place": shrunk.expected.place,
            "steps_before": shrunk.steps_before,
            "steps": shrunk.at.steps,
            "runs": shrunk.at.runs,
        })),
    }
    Ok(beside(0, written))
}

/// Makes the plan of a seed small, with progress, until there were so many runs or a signal. `None` if the seed
/// passes.
pub fn shrink_seed(
    scenario: &dyn AnyScenario,
    engine: Engine,
    seed: u64,
    runs: u64,
    signals: &Signals,
) -> Option<Shrunk> {
    let spinner = output::spinner(scenario.name());
    let shrunk = scenario.shrink(engine, seed, &mut |at| {
        spinner.set_message(format!("{} steps are left after {} runs", at.steps, at.runs));
        spinner.tick();
        at.runs < runs && !signals.stopped()
    });
    spinner.finish_and_clear();
    shrunk
}

/// Whether a file that was written comes to the verdict that it names, read back by a process that has run nothing
/// else. If it does not, `Err` says so, and the file is removed; if nobody can be asked, that is said.
pub fn replays(path: &Path) -> Result<(), String> {
    match confirm::replays(&Launch::of_command_line(), path) {
        Ok(()) => Ok(()),
        Err(Unreplayed::NobodyAnswers(why)) => {
            output::error(&format!("{}: not run again in a fresh process: {why}", path.display()));
            Ok(())
        }
        Err(Unreplayed::Differs(why)) => {
            let _ = std::fs::remove_file(path);
            Err(why)
        }
    }
}

/// Writes a file, and the folders it is in.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), String> {
    let written = files::replace(path, |file| file.write_all(text.as_ref()));
    written.map_err(|why| format!("cannot write {}: {why}", path.display()))
}

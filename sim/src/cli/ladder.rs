//! Several checks, one after the other, in one table: a ladder of ever larger spaces (`--deep`), or every model once
//! (`all`).

use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::args::{CheckArgs, Format};
use super::signals::Signals;
use super::{
    Keep, NO_PROOF, UNHEARD, exit_code, find_model, interrupted_by, no_symmetry, output, run_check, save,
    warn_of_capsules,
};
use crate::check::{CheckReport, Explorer};
use crate::spec::limits::ModelArgs;
use crate::suite::Suite;

/// One check of the table.
#[derive(Serialize)]
struct Rung {
    /// What the command line would say.
    check: String,
    #[serde(flatten)]
    report: CheckReport,
}

/// Climbs. What one check finds does not keep the next from being done. The first that found something wrong decides
/// the exit code; if none did, the first that is no proof.
pub fn climb(suite: &Suite, args: &CheckArgs, format: Format) -> Result<u8, String> {
    if args.space.model_args() != ModelArgs::default() || args.without.is_some() {
        return Err(
            "`all` and --deep say themselves how large each model is: leave nodes and budgets out".into()
        );
    }
    if args.checkpoint.is_some() {
        return Err("--checkpoint FILE is for one check".into());
    }
    if args.capsule.is_some() {
        return Err(
            "--capsule FILE is for one check: with `all` and --deep each counterexample has its own".into()
        );
    }
    args.are_for_the_engine()?;
    let rungs = rungs(suite, args)?;
    for (name, space) in &rungs {
        find_model(suite, name)?.check_args(*space).map_err(|why| format!("{name}{space}: {why}"))?;
        if args.symmetry && !find_model(suite, name)?.has_symmetry(*space) {
            return Err(no_symmetry(name));
        }
    }
    let lines: Vec<_> = rungs.iter().map(|(name, space)| format!("{name}{space}")).collect();
    let width = lines.iter().map(String::len).max().unwrap_or(0);
    let options = args.options();
    let signals = if options.explorer == Explorer::Own { Some(Signals::catch()?) } else { None };
    let started = Instant::now();
    let (mut done, mut skipped) = (Vec::new(), Vec::new());
    let (mut wrong, mut no_proof) = (None, None);
    if format == Format::Text {
        output::rungs_begin(width);
    }
    if !args.no_capsule {
        warn_of_capsules("say --no-capsule");
    }
    for ((name, space), check) in rungs.into_iter().zip(lines) {
        if !output::is_heard() {
            no_proof = no_proof.or(Some(UNHEARD));
            break;
        }
        if let Some(signals) = signals.as_ref().filter(|signals| signals.stopped()) {
            no_proof = no_proof.or(Some(signals.exit_code()));
            if format == Format::Text {
                output::skipped(&check, width, &interrupted_by(signals));
            }
            skipped.push(check);
            continue;
        }
        let model = find_model(suite, name)?;
        let (mut report, mut found) = run_check(suite, model, space, options.clone(), signals.as_ref());
        let keep = if args.no_capsule { Keep::Nowhere } else { Keep::Usual };
        let capsule = save(model, suite.mistake, &mut report, &mut found, keep);
        match exit_code(&report, signals.as_ref()) {
            0 => {}
            code @ NO_PROOF.. => {
                no_proof = no_proof.or(Some(code));
            }
            code => wrong = wrong.or(Some(code)),
        }
        if format == Format::Text {
            output::rung(&check, width, &report);
        }
        if let (Some(parted), Format::Text) = (&report.not_deterministic, format) {
            output::text(&parted.to_string());
        }
        if let Some(found) = found {
            output::text(&found.story);
            if let Some(path) = capsule {
                output::text(output::lines_to_paste(&suite.program(), name, &path).trim_end());
            }
        }
        done.push(Rung { check, report });
    }
    let code = wrong.or(no_proof).unwrap_or(0);
    if format == Format::Json {
        let (passed, wall_s) = (code == 0, started.elapsed().as_secs_f64());
        let mut said = json!({ "passed": passed, "checks": done, "wall_s": wall_s });
        if let Some(signals) = signals.as_ref().filter(|_| !skipped.is_empty()) {
            said["stopped_by"] = interrupted_by(signals).into();
            said["skipped"] = skipped.into();
        }
        output::json(&said);
    }
    Ok(code)
}

fn rungs<'s>(suite: &'s Suite, args: &'s CheckArgs) -> Result<Vec<(&'s str, ModelArgs)>, String> {
    let is_asked = |name: &str| args.name == "all" || args.name == name;
    if args.name != "all" {
        find_model(suite, &args.name)?;
    }
    if !args.deep && suite.models.is_empty() {
        return Err("there are no models: a check of all of them would say nothing".into());
    }
    if !args.deep {
        return Ok(suite.models.iter().map(|model| (model.name(), ModelArgs::default())).collect());
    }
    let rungs: Vec<_> = suite.ladder.iter().filter(|(name, _)| is_asked(name)).copied().collect();
    if rungs.is_empty() {
        return Err(format!("there is no ladder for {:?}", args.name));
    }
    Ok(rungs)
}

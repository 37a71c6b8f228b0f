//! `mutants`: which mistakes are found, and by whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Format, MutantsArgs};
use super::signals::Signals;
use super::{VIOLATED, output};
use crate::suite::{Suite, no_mistake};
use crate::sweep::mutants::{Detection, MutantOptions, Named, mistakes, row};

/// Makes each mistake in turn.
pub fn mutants(suite: &Suite, args: &MutantsArgs, format: Format) -> Result<u8, String> {
    let mut all = mistakes(suite);
    for name in &args.names {
        if !all.iter().any(|(_, listed)| listed.mistake.name == name) {
            return Err(no_mistake(name, all.iter().map(|(_, listed)| listed.mistake.name)));
        }
    }
    all.retain(|(_, listed)| {
        args.names.is_empty() || args.names.iter().any(|name| listed.mistake.name == name)
    });
    if all.is_empty() {
        return Err("no system here makes a mistake: nothing would be found".into());
    }
    if args.list {
        let rows = all.iter().map(|(model, listed)| Named::of(model.name(), listed)).collect::<Vec<_>>();
        match format {
            Format::Text => rows.iter().for_each(output::mistake),
            Format::Json => output::json(&json!({ "mistakes": rows })),
        }
        return Ok(0);
    }
    let cell = Duration::from_secs(args.cell_seconds);
    let options = MutantOptions { cell, seeds: args.cell_seeds, threads: args.jobs.jobs() };
    let signals = Signals::catch()?;
    let started = Instant::now();
    let mut rows = Vec::new();
    for (model, listed) in all {
        if signals.stopped() || !output::is_heard() {
            break;
        }
        let row = row(suite, model, &listed, &options, &Arc::clone(&signals.stop))?;
        if format == Format::Text {
            output::mutant(&row);
        }
        rows.push(row);
    }
    let none_missed = rows.iter().all(|row| row.detection != Detection::Missed);
    if format == Format::Json {
        let (passed, wall_s) = (none_missed && !signals.stopped(), started.elapsed().as_secs_f64());
        output::json(&json!({ "passed": passed, "mistakes": rows, "wall_s": wall_s }));
    }
    // What was not looked for to the end is not missed.
    Ok(if signals.stopped() {
        signals.exit_code()
    } else if none_missed {
        0
    } else {
        VIOLATED
    })
}

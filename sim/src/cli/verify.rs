//! `verify`: executes recordings again.

use serde_json::json;

use super::args::{Format, VerifyArgs};
use super::plans::write_page;
use super::{beside, can_be_written, output, unknown};
use crate::suite::Suite;
use crate::verify::{Beyond, Judged, protocol_of};

/// Executes the recordings of a cluster again, and tells the story.
pub fn verify(suite: &Suite, args: &VerifyArgs, format: Format) -> Result<u8, String> {
    can_be_written("--html", args.html.as_deref())?;
    let name = match &args.protocol {
        Some(name) => name.clone(),
        None => protocol_of(&args.files)?,
    };
    let with_page = args.html.is_some();
    let verified = if let Some(scenario) = suite.find_scenario(&name) {
        scenario.verify(&args.files, with_page)?
    } else if let Some(model) = suite.find_model(&name) {
        model.verify(&args.files, with_page)?
    } else {
        let scenarios = suite.scenarios.iter().map(|it| it.name());
        let known = scenarios.chain(suite.models.iter().map(|it| it.name())).collect();
        return Err(unknown("scenario or model", &name, known) + "; say --as NAME");
    };
    match format {
        Format::Text => output::verified(&verified),
        Format::Json => {
            let difference = verified.difference.as_ref().map(|it| {
                json!({
                    "file": it.file,
                    "line": it.line,
                    "node": it.node,
                    "program": it.program,
                    "event": it.event,
                    "recorded": it.recorded,
                    "here": it.here,
                })
            });
            let violated = verified.violated.as_ref().map(|it| {
                json!({
                    "invariant": it.invariant,
                    "why": it.why,
                    "file": it.file,
                    "line": it.line,
                })
            });
            let missing: Vec<_> = verified
                .missing
                .iter()
                .map(|it| json!({ "node": it.node, "file": it.file, "line": it.line, "why": it.why }))
                .collect();
            let beyond = verified.beyond.iter().map(|it| {
                let Beyond { node, file, line, why, steps } = it;
                json!({ "node": node, "file": file, "line": line, "why": why, "steps": steps })
            });
            let invariants = verified.judged.iter().map(|it| {
                let is_it = verified.violated.as_ref().is_some_and(|broken| broken.invariant == it.invariant);
                json!({
                    "name": it.invariant,
                    "verdict": verdict(it, is_it),
                    "judged_steps": it.steps,
                    "not_judged_steps": it.not_judged,
                })
            });
            output::json(&json!({
                "protocol": name,
                "nodes": verified.nodes,
                "boots": verified.boots,
                "steps": verified.steps,
                "span_s": verified.span.as_secs_f64(),
                "notes": verified.notes,
                "complete": verified.is_complete(),
                "missing": missing,
                "members": verified.strangers,
                "not_judged": beyond.collect::<Vec<_>>(),
                "invariants": invariants.collect::<Vec<_>>(),
                "difference": difference,
                "violated": violated,
            }));
        }
    }
    let mut code = verified.exit_code();
    if let (Some(file), Some(page)) = (&args.html, &verified.page) {
        code = beside(code, write_page(file, page, args.page.limit()));
    }
    Ok(code)
}

/// What came of asking an invariant, in a word or two.
fn verdict(judged: &Judged, is_violated: bool) -> &'static str {
    match judged {
        _ if is_violated => "violated",
        Judged { steps: 0, not_judged: 1.., .. } => "not judged",
        Judged { not_judged: 1.., .. } => "holds in what was judged",
        Judged { .. } => "holds",
    }
}

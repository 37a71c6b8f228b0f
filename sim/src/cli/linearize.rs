//! `linearize`: judges a history that somebody else has written down.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use coalmine_real::files;
use serde_json::{Value, json};

use super::args::{Format, LinearizeArgs};
use super::signals::Signals;
use super::{NO_PROOF, VIOLATED, beside, can_be_written, output, plans};
use crate::histories::read::{Operation, goes_on, read};
use crate::histories::{Judged, Verdict, Violation, judge};
use crate::trace::text::thousands;

/// So many operations are shown; of more only the last to return.
const MOST_SHOWN: usize = 16;
/// A history may have so many bytes.
const MOST_BYTES: u64 = 1 << 30;
/// How many characters wide the picture of a time is.
const WIDTH: usize = 48;

/// Judges a file, and shows what cannot be explained.
pub fn linearize(args: &LinearizeArgs, format: Format) -> Result<u8, String> {
    let is_same = |svg: &Path| {
        svg.canonicalize().is_ok_and(|svg| args.file.canonicalize().is_ok_and(|file| svg == file))
    };
    if args.svg.as_deref().is_some_and(is_same) {
        return Err("--svg names the history itself, which would be lost".into());
    }
    can_be_written("--svg", args.svg.as_deref())?;
    let named = |why: String| format!("{}: {why}", args.file.display());
    let text = files::read_text(&args.file, MOST_BYTES).map_err(|why| named(why.to_string()))?;
    let operations = read(&text).map_err(named)?;
    if let Some(operation) = goes_on(&text, &operations) {
        let Operation { client, line, .. } = operation;
        output::note(&format!(
            "line {line}: process {client} goes on, though nobody knows how its call before has ended; Jepsen gives such a \
             process a new number"
        ));
    }
    let signals = Signals::catch()?;
    let (started, mut steps) = (Instant::now(), 0_u64);
    let spinner = output::spinner(&args.model);
    let mut is_full = false;
    let mut go_on = |states: usize| {
        steps += 1_024;
        is_full |= states > args.max_states;
        spinner.set_message(format!("{} steps", thousands(steps)));
        spinner.tick();
        !signals.stop.load(Ordering::Relaxed) && !is_full && args.max_steps.is_none_or(|most| steps < most)
    };
    let judged = judge(&args.model, &args.consistency, &operations, &mut go_on);
    spinner.finish_and_clear();
    let judged = judged.map_err(named)?;
    let seconds = started.elapsed().as_secs_f64();
    let code = match &judged.verdict {
        Verdict::Holds => 0,
        Verdict::Violated(_) => VIOLATED,
        Verdict::NotKnown if signals.stopped() => signals.exit_code(),
        Verdict::NotKnown => NO_PROOF,
    };
    match format {
        Format::Text => print(args, &judged, is_full, seconds),
        Format::Json => output::json(&as_json(args, &judged, seconds)),
    }
    let (Some(file), Verdict::Violated(violation)) = (&args.svg, &judged.verdict) else { return Ok(code) };
    Ok(beside(code, plans::write(file, picture(violation))))
}

fn print(args: &LinearizeArgs, judged: &Judged, is_full: bool, seconds: f64) {
    let Judged { operations, clients, objects, verdict } = judged;
    let about = if *objects > 1 { format!(" on {objects} keys") } else { String::new() };
    let operations = thousands(*operations as u64);
    let what = format!("{}: {operations} operations of {clients} clients{about}", args.model);
    let (are, are_not) = match &*args.consistency {
        "linearizable" => ("are linearizable".to_owned(), "are not linearizable".to_owned()),
        promise => (format!("keep the promise {promise}"), format!("break the promise {promise}")),
    };
    match verdict {
        Verdict::Holds => output::judged(true, &format!("{what} {are}, {seconds:.1} s")),
        Verdict::NotKnown => {
            let full = if is_full {
                format!(
                    "; more than {} states were to be remembered (--max-states)",
                    thousands(args.max_states as u64)
                )
            } else {
                String::new()
            };
            output::text(&format!(
                "? {what}: not known after {seconds:.1} s; no order was found, nor that there is none{full}"
            ));
        }
        Verdict::Violated(violation) => {
            output::judged(false, &format!("{what} {are_not}, {seconds:.1} s"));
            output::text(explain(violation).trim_end());
        }
    }
}

/// The operations that are shown, the last to return at the end; how many are not.
fn shown(violation: &Violation) -> (Vec<&Operation>, usize) {
    let mut all: Vec<_> = violation.shown.iter().collect();
    // What never returned belongs to the end.
    all.sort_by_key(|operation| operation.returned.unwrap_or(u64::MAX));
    let last_answer = all.iter().filter_map(|operation| operation.returned).max();
    let left_out = all.len().saturating_sub(MOST_SHOWN);
    let mut some = all.split_off(left_out);
    some.sort_by_key(|operation| (operation.returned == last_answer, operation.called));
    (some, left_out)
}

fn explain(violation: &Violation) -> String {
    let (some, left_out) = shown(violation);
    let about = if violation.object.is_empty() { String::new() } else { format!(" on {}", violation.object) };
    let what = violation.explained.map_or_else(
        || violation.what.clone(),
        |explained| {
            let first = thousands(explained as u64);
            format!("The first {first} answers{about} can be put in an order, with the next one they cannot")
        },
    );
    let mut out = format!("{what}:\n\n");
    if left_out > 0 {
        let _ = writeln!(out, "  … {} operations before these", thousands(left_out as u64));
    }
    let plain = |text: String| text.replace(char::is_control, " ");
    let words: Vec<_> =
        some.iter().map(|it| (plain(format!("{} {}", it.client, it.function)), plain(said(it)))).collect();
    let widths = words
        .iter()
        .fold((0, 0), |(a, b), (who, what)| (a.max(who.chars().count()), b.max(what.chars().count())));
    let at = scale(&some, WIDTH as u64 - 1);
    for (operation, (who, what)) in some.iter().zip(&words) {
        let at = |time: u64| at(time) as usize;
        let begins = at(operation.called);
        let (ends, cap) = match operation.returned {
            Some(returned) => (at(returned).max(begins), "┤"),
            None => (WIDTH - 1, "…"),
        };
        let bar = format!("{}├{}{cap}", " ".repeat(begins), "─".repeat(ends - begins));
        let _ = writeln!(
            out,
            "  {who:<a$}  {what:<b$}  {bar:<c$}  line {}",
            operation.line,
            a = widths.0,
            b = widths.1,
            c = WIDTH + 2
        );
    }
    out
}

/// What an operation was given and has given.
fn said(operation: &Operation) -> String {
    let Operation { input, output, returned, .. } = operation;
    let input = if input.is_null() { String::new() } else { input.to_string() };
    let key = operation.key.as_ref().map_or(String::new(), |key| format!("{key} "));
    match (returned, output) {
        (None, _) => format!("{key}{input} …"),
        // What says no more than that it was done.
        (Some(_), None | Some(Value::Null | Value::Bool(true))) if !operation.input.is_null() => key + &input,
        (Some(_), Some(output)) if *output == operation.input && !output.is_null() => key + &input,
        (Some(_), output) => {
            let output = output.as_ref().map_or("done".into(), Value::to_string);
            format!("{key}{input} → {output}").trim_start().to_owned()
        }
    }
}

/// Where a time stands on a line of this width that holds all of these operations.
fn scale(operations: &[&Operation], width: u64) -> impl Fn(u64) -> u64 {
    let from = operations.iter().map(|it| it.called).min().unwrap_or(0);
    let until = operations.iter().map(|it| it.returned.unwrap_or(it.called)).max().unwrap_or(0);
    let length = u128::from(until - from).max(1);
    move |time| (u128::from(time - from) * u128::from(width) / length) as u64
}

fn as_json(args: &LinearizeArgs, judged: &Judged, seconds: f64) -> Value {
    let (word, violation) = match &judged.verdict {
        Verdict::Holds => (&*args.consistency, None),
        Verdict::NotKnown => ("not_known", None),
        Verdict::Violated(violation) => ("violated", Some(violation)),
    };
    let operation = |it: &Operation| {
        json!({
            "client": it.client,
            "op": it.function,
            "key": it.key,
            "input": it.input,
            "output": it.output,
            "call": it.called,
            "return": it.returned,
            "line": it.line,
        })
    };
    json!({
        "file": args.file.display().to_string(),
        "model": args.model,
        "consistency": args.consistency,
        "operations": judged.operations,
        "clients": judged.clients,
        "objects": judged.objects,
        "verdict": word,
        "violation": violation.map(|it| json!({
            "object": it.object,
            "what": it.what,
            "explained_answers": it.explained,
            "operations": it.shown.iter().map(operation).collect::<Vec<_>>(),
        })),
        "wall_s": seconds,
    })
}

/// Overlapping bars, a line for each operation.
fn picture(violation: &Violation) -> String {
    const ROW: u64 = 26;
    const LEFT: u64 = 240;
    const BARS: u64 = 560;
    let (some, _) = shown(violation);
    let at = scale(&some, BARS);
    let at = |time: u64| LEFT + at(time);
    let (width, height) = (LEFT + BARS + 20, ROW * (some.len() as u64 + 1));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Operations that no order explains</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (row, operation) in (0..).zip(&some) {
        let y = ROW * row + ROW / 2;
        let begins = at(operation.called);
        let ends = operation.returned.map_or(LEFT + BARS + 10, at).max(begins + 4);
        let is_last = row + 1 == some.len() as u64;
        let colour = if is_last { "#b3261e" } else { "#3a6ea5" };
        let dashed = if operation.returned.is_none() { " stroke-dasharray=\"4 3\"" } else { "" };
        let words = escape(&format!("{} {} {}", operation.client, operation.function, said(operation)));
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{}\" fill=\"#1a1a1a\">{words}</text>\
             <line x1=\"{begins}\" x2=\"{ends}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"8\"{dashed}/>",
            y + 4
        );
    }
    out + "</svg>\n"
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(34) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

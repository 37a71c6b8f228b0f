//! What the command line prints: text for people, with colours only on a terminal; progress on standard error.
//!
//! Whoever prints here cannot fail: after the first error nothing more is written, and when the command is over
//! [`finish`] says what became of all that was printed. So no verdict is lost on the way to a full disk, and no panic
//! stands in for it. What goes to standard error is for nobody else to hear of if that is gone.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use coalmine_real::paste;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, Table, TableComponent};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::check::{CheckReport, NotKnown, Verdict as Property};
use crate::spec::faults::Effect;
use crate::spec::verdict::{Engine, Verdict};
use crate::spec::verdict::{NEVER_PANICS, SETTLES};
use crate::suite::{Job, Outcome, Shrunk};
use crate::sweep::merge::ALL;
use crate::sweep::mutants::{CHECKER, Detection, Named, Row as Mutant};
use crate::sweep::{Failure, SweepReport};
use crate::trace::story::{Story, Tone};
use crate::trace::text::thousands;
use crate::verify::{Verified, Violated};

thread_local! {
    /// Why standard output takes no more. A command prints on one thread only.
    static BROKEN: RefCell<Option<io::Error>> = const { RefCell::new(None) };
}

fn put(line: Arguments<'_>) {
    BROKEN.with_borrow_mut(|broken| {
        if broken.is_none() {
            *broken = writeln!(anstream::stdout().lock(), "{line}").err();
        }
    });
}

/// As those of the language, but these never panic.
macro_rules! println {
    () => { put(format_args!("")) };
    ($($what:tt)*) => { put(format_args!($($what)*)) };
}
macro_rules! eprintln {
    ($($what:tt)*) => {{ let _ = writeln!(anstream::stderr().lock(), $($what)*); }};
}

/// Begins with nothing printed.
pub fn begin() {
    BROKEN.with_borrow_mut(|broken| *broken = None);
}

/// Whether what is printed still gets anywhere: work whose result nobody can hear of need not go on.
pub fn is_heard() -> bool {
    BROKEN.with_borrow(Option::is_none)
}

/// What became of all that was printed.
pub fn finish() -> io::Result<()> {
    let flushed = io::stdout().lock().flush();
    BROKEN.with_borrow_mut(Option::take).map_or(flushed, Err)
}

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How many failures a sweep tells of.
pub const TOLD: usize = 5;

/// The line that runs a seed again.
pub fn replay_line(program: &str, scenario: &str, seed: u64, engine: Engine) -> String {
    let engine = if engine == Engine::default() { String::new() } else { format!(" --engine {engine}") };
    format!("{program} replay {} --seed {seed}{engine}", paste::word(scenario))
}

/// The line that runs a failure of a sweep again; none, if it depends on what ran before it.
fn replay_failure(program: &str, report: &SweepReport, failure: &Failure) -> Option<String> {
    let is_alone = !matches!(failure.verdict, Verdict::NotDeterministic { .. });
    is_alone.then(|| replay_line(program, &report.scenario, failure.seed, report.engine_of(failure)))
}

/// How far a failing plan was made small.
pub fn shrunk(program: &str, shrunk: &Shrunk, path: Option<&PathBuf>) {
    let Shrunk { expected, steps_before, at, .. } = shrunk;
    let (steps, runs) = (at.steps, at.runs);
    println!("    of its {steps_before} steps {steps} are left after {runs} runs, still {expected}:");
    if let Some(path) = path {
        println!("      {program} replay {}", paste::path(path));
    }
}

pub fn error(why: &str) {
    eprintln!("{BAD}error:{BAD:#} {why}");
}

/// Something besides the results, on standard error.
pub fn note(note: &str) {
    eprintln!("{DIM}{note}{DIM:#}");
}

/// What clap has to say: of what makes no sense, or the help that was asked for. Returns the exit code.
pub fn clap(said: &clap::Error) -> u8 {
    let printed = said.print();
    if said.use_stderr() {
        return super::USAGE;
    }
    BROKEN.with_borrow_mut(|broken| *broken = printed.err());
    0
}

pub fn text(text: &str) {
    println!("{text}");
}

pub fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("reports are plain data and always serialise"));
}

/// A heading, and names with a sentence each.
pub fn list(heading: &str, entries: &[(&str, &str)]) {
    println!("{BOLD}{heading}{BOLD:#}");
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, about) in entries {
        println!("  {name:width$}  {about}");
    }
    println!();
}

pub fn mark(good: bool) -> String {
    if good { format!("{GOOD}✓{GOOD:#}") } else { format!("{BAD}✗{BAD:#}") }
}

/// What `--check-determinism` has found, if it is nothing.
pub fn compared() {
    println!("    {DIM}every seed did the same again, in another process and after other seeds{DIM:#}");
}

/// A verdict in one line.
pub fn judged(good: bool, verdict: &str) {
    println!("{} {verdict}", mark(good));
}

/// One line, and the first failures with the lines to paste.
pub fn sweep(program: &str, report: &SweepReport) {
    let rate = report.ran() as f64 / report.wall_s.max(1e-9);
    let shard = report.shard.map_or_else(String::new, |shard| {
        let part = report.part();
        format!(", shard {shard} ({}..{})", part.start, part.end)
    });
    println!(
        "{} {BOLD}{}{BOLD:#}  seeds {}{shard}: {} passed, {} failed  {DIM}{} events, {:.0} s simulated in {:.1} s, {rate:.0} seeds a second{DIM:#}",
        mark(report.failed.is_empty() && report.untested().is_none()),
        report.scenario,
        report.seeds,
        thousands(report.passed),
        report.failed.len(),
        thousands(report.events),
        report.simulated_s,
        report.wall_s,
    );
    if report.scenario == ALL {
        if report.interrupted {
            println!("    {BAD}interrupted{BAD:#}: not all seeds of all scenarios were run");
        }
        return; // each was told of already
    }
    converged_after(report);
    for failure in report.failures.iter().take(TOLD) {
        println!("    seed {}: {}", failure.seed, failure.verdict.describe());
        if let Some(line) = replay_failure(program, report, failure) {
            println!("      {line}");
        }
    }
    if report.failures.len() > TOLD {
        println!("    and {} more", report.failures.len() - TOLD);
    }
    if let Some(why) = report.untested() {
        println!("    {BAD}{why}{BAD:#}");
    }
    if report.size() == 0 {
        println!(
            "    {BAD}nothing was run{BAD:#}: there are fewer seeds than shards, and none is in this one"
        );
    } else if report.steps.is_empty() && report.failed.is_empty() && report.ran() > 0 {
        println!("    {DIM}no plan has a step: nobody asks anything, and nothing breaks{DIM:#}");
    }
    let (ran, size) = (thousands(report.ran()), thousands(report.size()));
    if report.interrupted {
        println!("    {BAD}interrupted{BAD:#} after {ran} of {size} seeds");
    } else if report.ran() < report.size() {
        println!(
            "    {BAD}stopped{BAD:#} after {ran} of {size} seeds: that is enough failures (--max-failures)"
        );
    }
}

/// How long the runs of a sweep took to converge.
pub fn converged_after(report: &SweepReport) {
    if let Some(times) = report.converged_after.describe() {
        println!("    {DIM}{times}{DIM:#}");
    }
}

/// The kinds of faults that a sweep should have had and had not.
pub fn never_exercised(report: &SweepReport) {
    let never = report.never_exercised();
    if !never.is_empty() {
        let names: Vec<_> = never.iter().map(Effect::name).collect();
        println!("    {DIM}never exercised: {}{DIM:#}", names.join(", "));
    }
    not_carried_out(&report.steps.never());
}

/// What plans say and runs did not come to: kinds of steps in a sweep, single steps in a run.
pub fn not_carried_out(steps: &[impl AsRef<str>]) {
    if !steps.is_empty() {
        let steps: Vec<_> = steps.iter().map(AsRef::as_ref).collect();
        println!("    {DIM}planned, but not carried out: {}{DIM:#}", steps.join("; "));
    }
}

/// A story and how it ended.
pub fn story(story: Option<&Story>, outcome: &Outcome) {
    story.into_iter().for_each(print_story);
    let good = outcome.verdict == Verdict::Passed;
    println!("{} {}", mark(good), outcome.verdict.describe());
    let (events, wall_ms) = (thousands(outcome.events), outcome.wall.as_secs_f64() * 1000.0);
    let took = match outcome.turns {
        None => format!("{events} events, {:.3} s simulated", outcome.simulated.as_secs_f64()),
        Some(1) => "a path of 1 step, walked".into(),
        Some(turns) => format!("a path of {turns} steps, walked"),
    };
    println!("{DIM}digest {:016x}, {took} in {wall_ms:.1} ms{DIM:#}", outcome.digest);
}

/// The story of recordings, and what came of executing them again.
pub fn verified(verified: &Verified) {
    print_story(&verified.story);
    for note in &verified.notes {
        println!("{DIM}note: {note}{DIM:#}");
    }
    if let Some(Violated { invariant, why, file, line }) = &verified.violated {
        println!("{} invariant {invariant} is violated: {why}", mark(false));
        println!("    after {file}: line {line}");
    }
    if let Some(difference) = &verified.difference {
        println!("{} this node differs from its recording, or is not deterministic:", mark(false));
        println!("    {}", difference.describe());
    }
    let nodes: Vec<_> = verified.nodes.iter().map(ToString::to_string).collect();
    if verified.exit_code() == 0 && verified.is_complete() {
        println!("{} every step does again what it did, and the invariants hold", mark(true));
    } else if verified.exit_code() == 0 {
        for line in verified.describe_incomplete() {
            println!("    {line}");
        }
        println!(
            "– incomplete: all that is recorded does again what it did, and nothing wrong was found in it"
        );
    }
    println!(
        "{DIM}{}: {} steps, {} boots, {:.3} s{DIM:#}",
        nodes.join(", "),
        thousands(verified.steps),
        thousands(verified.boots),
        verified.span.as_secs_f64(),
    );
}

/// What broke and what the plan does stand out, what is left out stands back.
fn print_story(story: &Story) {
    for (tone, line) in story.toned_lines() {
        match tone {
            Tone::Broken => println!("{BAD}{line}{BAD:#}"),
            Tone::Staged => println!("{BOLD}{line}{BOLD:#}"),
            Tone::LeftOut => println!("{DIM}{line}{DIM:#}"),
            Tone::Plain => println!("{line}"),
        }
    }
}

/// A mistake, and what is wrong with it.
pub fn mistake(named: &Named) {
    let Named { name, model, about, .. } = named;
    println!("{BOLD}{name:<28}{BOLD:#}  {DIM}{model:<10}{DIM:#}  {about}");
}

/// The verdict of a check, and the story of a counterexample.
pub fn check(report: &CheckReport, story: Option<&Story>) {
    if let Some(story) = story {
        print_story(story);
        println!();
    }
    let (model, operations, limits) = (&report.model, report.operations, report.limits.describe());
    let nodes = if report.nodes == 1 { "1 node".into() } else { format!("{} nodes", report.nodes) };
    let requests = if operations == 1 { "request" } else { "requests" };
    println!("{BOLD}{model}{BOLD:#}  {DIM}{nodes}, {operations} {requests}, {limits}{DIM:#}");
    for (name, property) in &report.properties {
        let mark = match property {
            Property::NotSeenSoFar | Property::OutOfReach => "–".into(), // it may be seen yet, or elsewhere
            Property::Unknown => "?".into(),
            Property::Holds | Property::HoldsSoFar | Property::Witnessed => mark(true),
            Property::Violated | Property::Missing => mark(false),
        };
        let lacks = report.lacks.get(name).map_or(String::new(), |lacks| format!(" (needs {lacks})"));
        println!("  {mark} {name}: {}{lacks}", describe_property(*property));
    }
    if report.properties.keys().all(|name| [NEVER_PANICS, SETTLES].contains(name)) && !report.asks_nothing() {
        println!("  {DIM}there are no invariants: nothing was asked but whether states settle{DIM:#}");
    }
    if let Some(parted) = &report.not_deterministic {
        println!("  {} {}", mark(false), parted);
    }
    if let Some(NotKnown { why, path }) = &report.settling_unknown {
        println!("    {why}");
        println!("    from {}", if path.is_empty() { "the beginning" } else { "the state after:" });
        path.iter().for_each(|step| println!("      {step}"));
    }
    if let Some(option) = report.settling_unasked {
        println!("  – {SETTLES}: not asked ({option})");
    }
    let end = match &report.stopped_by {
        None => format!("{GOOD}exhausted{GOOD:#}"),
        Some(why) => format!("{BAD}not exhausted{BAD:#}: {why}"),
    };
    if let Some(why) = empty(report) {
        println!("  {} {why}", mark(false));
    }
    if let Some(changed) = report.changed() {
        println!("  {} {changed}. {RE_PIN}", mark(false));
    }
    println!(
        "{end}, {} distinct states, {} steps, depth {}, {:.1} s, {} MiB at most",
        thousands(report.unique_states as u64),
        thousands(report.steps as u64),
        report.depth,
        report.wall_s,
        report.peak_memory_bytes >> 20,
    );
    if !report.not_tried.is_empty() {
        println!("{DIM}not tried: {}{DIM:#}", report.not_tried.join(", "));
    }
    if !report.reductions.is_empty() {
        println!("{DIM}left out, as no invariant depends on it: {}{DIM:#}", report.reductions.join(", "));
    }
    if !report.settling_losses.is_empty() {
        let losses = report.settling_losses.join("; ");
        println!("{DIM}of every state it was asked whether it {SETTLES} where {losses}{DIM:#}");
    }
    println!("{DIM}the odds that two states shared a fingerprint: {:.0e}{DIM:#}", report.collision_odds);
}

/// What is wrong with a check that proves nothing, whatever it says.
fn empty(report: &CheckReport) -> Option<&'static str> {
    if report.is_empty() {
        return Some("nothing ever happens: a space of one state proves nothing");
    }
    let why = "nothing was asked: there is no invariant, no witness, and nobody asks whether states settle";
    report.asks_nothing().then_some(why)
}

/// What to do about a space that has changed.
const RE_PIN: &str = "Either the node or the rules of the world have: if that was meant, pin the new count \
                      (`Suite::pin`); if not, the check may have lost what it was to find";

/// The head of a table of checks, the first column as wide as this.
pub fn rungs_begin(width: usize) {
    let head =
        ["distinct states", "steps", "depth", "time, s", "memory, MiB"].map(|name| format!("{name:>15}"));
    println!("| {:<width$} | {} | verdict |", "check", head.join(" | "));
    println!("| {:-<width$} | {}: | --- |", "", vec![format!("{:->14}", ""); 5].join(": | "));
}

/// One line of it.
pub fn rung(check: &str, width: usize, report: &CheckReport) {
    let numbers = [
        thousands(report.unique_states as u64),
        thousands(report.steps as u64),
        report.depth.to_string(),
        format!("{:.1}", report.wall_s),
        (report.peak_memory_bytes >> 20).to_string(),
    ];
    let bad =
        |property: &Property| matches!(property, Property::Violated | Property::Unknown | Property::Missing);
    let bad = report.properties.iter().filter(|(_, property)| bad(property));
    let bad: Vec<_> =
        bad.map(|(name, property)| format!("{name}: {}", describe_property(*property))).collect();
    let verdict = match &report.stopped_by {
        _ if report.is_proof() => format!("{GOOD}proof{GOOD:#}"),
        None if empty(report).is_some() => format!("{BAD}{}{BAD:#}", empty(report).unwrap_or_default()),
        None if bad.is_empty() => format!("{BAD}{}{BAD:#}. {RE_PIN}", report.changed().unwrap_or_default()),
        None => format!("{BAD}{}{BAD:#}", bad.join(", ")),
        Some(why) => format!("{BAD}not exhausted{BAD:#}: {why}"),
    };
    println!(
        "| {check:<width$} | {} | {verdict} |",
        numbers.map(|number| format!("{number:>15}")).join(" | ")
    );
}

/// The line of a check that was not done.
pub fn skipped(check: &str, width: usize, why: &str) {
    let numbers = vec![format!("{:>15}", "–"); 5].join(" | ");
    println!("| {check:<width$} | {numbers} | {BAD}not done{BAD:#}: {why} |");
}

/// The lines that show a counterexample again, from the file that it was saved to.
pub fn lines_to_paste(program: &str, model: &str, path: &Path) -> String {
    let (file, page) = (paste::path(path), paste::path(&path.with_extension("html")));
    let model = paste::word(model);
    format!("    {program} replay {file} --html {page}\n    {program} explore {model} --at {file}\n")
}

fn describe_property(property: Property) -> &'static str {
    match property {
        Property::Holds => "holds",
        Property::HoldsSoFar => "holds so far",
        Property::Violated => "VIOLATED",
        Property::Unknown => "NOT KNOWN",
        Property::Witnessed => "witnessed",
        Property::Missing => "NEVER SEEN",
        Property::OutOfReach => "not seen in this space",
        Property::NotSeenSoFar => "not seen so far",
    }
}

/// A row of the main job's table.
#[derive(Debug, Serialize)]
pub struct Row {
    what: String,
    name: String,
    passed: bool,
    covered: String,
    verdict: String,
    wall_s: f64,
    /// What is printed below the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    story: Option<String>,
}

impl Row {
    pub fn of_sweep(program: &str, report: &SweepReport) -> Self {
        let untested = report.untested();
        let passed = report.failed.is_empty() && !report.interrupted && untested.is_none();
        let verdict = match report.failed.len() {
            0 if report.interrupted => {
                format!("interrupted, {} seeds are left", report.size() - report.ran())
            }
            0 => untested.unwrap_or("all pass").into(),
            failed => format!("{failed} seeds fail"),
        };
        let story = report.failures.first().map(|failure| {
            let line = replay_failure(program, report, failure);
            failure.verdict.describe() + &line.map_or_else(String::new, |line| format!("\n  {line}"))
        });
        Self {
            what: "sim".into(),
            name: report.scenario.clone(),
            passed,
            covered: format!("{} seeds, {:.0} s simulated", thousands(report.passed), report.simulated_s),
            verdict,
            wall_s: report.wall_s,
            story,
        }
    }

    pub fn not_done(job: &Job, why: &str) -> Self {
        let (what, name) = match job {
            Job::Sweep(name, _) => ("sim", (*name).to_owned()),
            Job::Check(name, args) => ("check", format!("{name}{args}")),
        };
        Self {
            what: what.into(),
            name,
            passed: false,
            covered: "nothing".into(),
            verdict: format!("not done: {why}"),
            wall_s: 0.0,
            story: None,
        }
    }

    pub fn of_check(check: String, report: &CheckReport, story: Option<String>) -> Self {
        let verdict = match &report.stopped_by {
            None if report.is_proof() => "exhausted, all hold".into(),
            None if report.violated().eq([SETTLES]) => format!("exhausted, {SETTLES} is violated"),
            None if report.has_unknown() => format!("exhausted, but whether it {SETTLES} is not known"),
            None if empty(report).is_some() => empty(report).unwrap_or_default().into(),
            None if !report.properties.values().any(|it| *it == Property::Missing) => {
                report.changed().unwrap_or_default()
            }
            None => "exhausted, a witness is missing".into(),
            Some(why) => why.clone(),
        };
        Self {
            what: "check".into(),
            name: check,
            passed: report.is_proof(),
            covered: format!("{} distinct states", thousands(report.unique_states as u64)),
            verdict,
            wall_s: report.wall_s,
            story: story
                .or_else(|| report.not_deterministic.as_ref().map(ToString::to_string))
                .or_else(|| report.changed().map(|changed| format!("{changed}. {RE_PIN}"))),
        }
    }
}

/// The main job's table of verdicts, and below it what failed.
pub fn table(rows: &[Row], took: Duration) {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).remove_style(TableComponent::HorizontalLines);
    table.remove_style(TableComponent::MiddleIntersections);
    table.set_header(["", "", "name", "covered", "verdict", "time"]);
    for row in rows {
        table.add_row([
            Cell::new(if row.passed { "✓" } else { "✗" }),
            Cell::new(&row.what),
            Cell::new(&row.name),
            Cell::new(&row.covered),
            Cell::new(&row.verdict),
            Cell::new(format!("{:.1} s", row.wall_s)).set_alignment(CellAlignment::Right),
        ]);
    }
    println!("{table}");
    for row in rows.iter().filter(|row| !row.passed) {
        println!("{BAD}✗ {}{BAD:#} {}", row.name, row.story.as_deref().unwrap_or(&row.verdict));
    }
    let passed = rows.iter().all(|row| row.passed);
    let verdict = if passed { format!("{GOOD}all is well{GOOD:#}") } else { format!("{BAD}failed{BAD:#}") };
    println!("{verdict} after {:.1} s", took.as_secs_f64());
}

/// Who has found a mistake.
pub fn mutant(row: &Mutant) {
    let mark = match row.detection {
        Detection::Found => mark(true),
        Detection::NotSeen | Detection::NeverMade => format!("{DIM}–{DIM:#}"),
        Detection::Missed => mark(false),
    };
    println!("{mark} {BOLD}{}{BOLD:#}  {DIM}{}{}{DIM:#}", row.name, row.model, row.space);
    for cell in &row.cells {
        let found = match (&cell.verdict, cell.found) {
            (Some(verdict), true) => format!("found: {verdict}"),
            (Some(verdict), false) => verdict.clone(),
            (None, _) => match (row.detection, cell.holds) {
                (Detection::NeverMade, true) => "never made: no node gives occasion to it in the whole space",
                (Detection::NotSeen, true) => "not seen: all that is asked holds in the whole space",
                (Detection::NotSeen | Detection::NeverMade, false) => "not seen",
                (Detection::Found | Detection::Missed, _) => "missed",
            }
            .into(),
        };
        let steps = cell.steps.map_or(String::new(), |steps| format!(", in {steps} steps"));
        let what = if cell.detector == CHECKER { "states" } else { "seeds" };
        let covered = thousands(cell.covered);
        println!(
            "    {:<12}  {found}{steps}  {DIM}{covered} {what}, {:.1} s{DIM:#}",
            cell.detector, cell.wall_s
        );
    }
}

/// A progress bar on standard error, if that is a terminal.
pub fn bar(name: &str, length: u64) -> ProgressBar {
    let style = "{prefix}  {wide_bar}  {pos}/{len} seeds, {per_sec:.0}, {eta} left {msg}";
    let bar = ProgressBar::new(length).with_prefix(name.to_owned());
    bar.with_style(ProgressStyle::with_template(style).expect("a valid template"))
}

/// A spinner on standard error, if that is a terminal.
pub fn spinner(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}");
    ProgressBar::new_spinner().with_prefix(name.to_owned()).with_style(style.expect("a valid template"))
}

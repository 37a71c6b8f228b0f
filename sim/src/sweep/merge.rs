//! The reports of many machines, or of many sweeps of neighbouring seeds, as one. What is missing, said twice
//! or about something else is an error that names the file and the line: a sum that silently leaves out a
//! shard would pass for a sweep of the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::times::Times;
use super::{Failure, Seeds, SweepReport};
use crate::spec::faults::Effects;
use crate::suite::steps::StepCounts;

/// The scenario of a sum over all scenarios.
pub const ALL: &str = "all";

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: Arc<str>,
    /// Which line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A report and where it was read.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where.
    pub place: Place,
    /// The report.
    pub report: SweepReport,
}

impl Piece {
    /// In words: the seeds, and which part of them.
    fn part(&self) -> String {
        let SweepReport { seeds, shard, .. } = &self.report;
        shard.map_or_else(|| format!("seeds {seeds}"), |shard| format!("shard {shard} of seeds {seeds}"))
    }
}

/// Why reports do not make one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, io::Error),
    /// A line begins like a JSON object and is none, or is no report.
    #[error("{0}: not a report of `sim --format json`: {1}")]
    Malformed(Place, String),
    /// There is nothing in a file.
    #[error("{0} holds no report: the last line of `sim --format json` is one")]
    NoReport(String),
    /// Reports of different scenarios, engines or builds.
    #[error("{1} has {0} {3}, but {2} has {4}: they are of different sweeps")]
    Mixed(&'static str, Place, Place, String, String),
    /// The same part twice.
    #[error("{0} and {1} both report {2}")]
    Duplicate(Place, Place, String),
    /// Seeds are in two reports.
    #[error("{0} reports {1} and {2} reports {3}: seeds {4} are in both")]
    Overlap(Place, String, Place, String, Seeds),
    /// Nobody reports some shards.
    #[error("no file reports shard {0} of seeds {1} of {2}")]
    MissingShards(String, Seeds, String),
    /// Nobody reports some seeds.
    #[error("no file reports seeds {0} of {1}, between {2} and {3}")]
    MissingSeeds(Seeds, String, Place, Place),
}

/// Reports as one.
#[derive(Debug)]
pub struct Merged {
    /// For each scenario one; then, if there are several, their sum.
    pub reports: Vec<SweepReport>,
    /// The parts that were not run to their ends, in words.
    pub unfinished: Vec<String>,
}

/// The reports in captured output. Lines that are no JSON objects are passed over, and so are objects of other
/// kinds.
pub fn read(file: &str, text: impl BufRead) -> Result<Vec<Piece>, MergeError> {
    let name: Arc<str> = file.into();
    let mut pieces = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.map_err(|why| MergeError::Read(file.into(), why))?;
        if !line.trim_start().starts_with('{') {
            continue;
        }
        let place = Place { file: Arc::clone(&name), line: number + 1 };
        let malformed = |why: String| MergeError::Malformed(place.clone(), why);
        let value: Value = serde_json::from_str(&line).map_err(|why| malformed(why.to_string()))?;
        if value.get("scenario").is_none() || value.get("seeds").is_none() {
            continue;
        }
        let report: SweepReport = serde_json::from_value(value).map_err(|why| malformed(why.to_string()))?;
        consistent(&report).map_err(malformed)?;
        pieces.push(Piece { place, report });
    }
    if pieces.is_empty() { Err(MergeError::NoReport(file.into())) } else { Ok(pieces) }
}

fn consistent(report: &SweepReport) -> Result<(), String> {
    let told: Vec<_> = report.failures.iter().map(|failure| failure.seed).collect();
    if told != report.failed {
        return Err("`failed` and `failures` differ".into());
    }
    if Duration::try_from_secs_f64(report.simulated_s).is_err() {
        return Err(format!("`simulated_s` is {}", report.simulated_s));
    }
    if report.scenario == ALL {
        return Ok(()); // its seeds are counted once for every scenario
    }
    let (ran, size, part) = (report.passed.saturating_add(told.len() as u64), report.size(), report.part());
    if ran > size {
        return Err(format!("{ran} seeds were run, but there are {size}"));
    }
    if let Some(stray) = told.iter().find(|seed| !part.contains(seed)) {
        return Err(format!("seed {stray} failed, but is not among seeds {}..{}", part.start, part.end));
    }
    Ok(())
}

/// All of them as one, if they are parts of one whole.
pub fn merge(mut pieces: Vec<Piece>) -> Result<Merged, MergeError> {
    let unfinished = unfinished(&pieces);
    let several = are_of_all(&pieces);
    if several {
        pieces.retain(|piece| piece.report.scenario != ALL);
    }
    let mut by_scenario: Vec<(String, Vec<Piece>)> = Vec::new();
    for piece in pieces {
        let name = &piece.report.scenario;
        match by_scenario.iter_mut().find(|(known, _)| known == name) {
            Some((_, pieces)) => pieces.push(piece),
            None => by_scenario.push((name.clone(), vec![piece])),
        }
    }
    if !several && let [(ours, first), (theirs, other), ..] = &by_scenario[..] {
        let places = (first[0].place.clone(), other[0].place.clone());
        return Err(MergeError::Mixed("scenario", places.0, places.1, ours.clone(), theirs.clone()));
    }
    let merged = by_scenario.into_iter().map(|(_, pieces)| merge_scenario(pieces));
    let mut reports = merged.collect::<Result<Vec<_>, _>>()?;
    if several && let Some(total) = total(&reports) {
        reports.push(total);
    }
    Ok(Merged { reports, unfinished })
}

/// Whether every file is the whole output of `sim all`: the scenarios, and their sum.
fn are_of_all(pieces: &[Piece]) -> bool {
    let files = |all: bool| -> BTreeSet<_> {
        let of = pieces.iter().filter(|piece| (piece.report.scenario == ALL) == all);
        of.map(|piece| &piece.place.file).collect()
    };
    let (sums, parts) = (files(true), files(false));
    !parts.is_empty() && sums == parts
}

fn unfinished(pieces: &[Piece]) -> Vec<String> {
    let mut told = Vec::new();
    for piece in pieces {
        let SweepReport { scenario, interrupted, .. } = &piece.report;
        let (ran, size) = (piece.report.ran(), piece.report.size());
        let how = if *interrupted { "was interrupted" } else { "stopped" };
        if scenario == ALL && *interrupted {
            told.push(format!("{}: the sweep of all scenarios {how}", piece.place));
        } else if scenario != ALL && ran < size {
            let part = piece.part();
            told.push(format!("{}: {scenario}, {part}, {how} after {ran} of {size} seeds", piece.place));
        }
    }
    told
}

/// Reports of one scenario.
fn merge_scenario(pieces: Vec<Piece>) -> Result<SweepReport, MergeError> {
    let mut wholes: BTreeMap<Seeds, Vec<Piece>> = BTreeMap::new();
    let first = pieces[0].clone();
    for piece in pieces {
        same("engine", &first, &piece, |report| Some(report.engine.clone()))?;
        wholes.entry(piece.report.seeds).or_default().push(piece);
    }
    let mut seeds: Option<(Seeds, Piece)> = None;
    let mut reports = Vec::new();
    for (range, mut pieces) in wholes {
        shards_are_complete(range, &mut pieces)?;
        seeds = Some(match seeds {
            None => (range, pieces[0].clone()),
            Some((before, last)) => (adjoin(before, &last, &pieces[0])?, pieces[0].clone()),
        });
        reports.extend(pieces.into_iter().map(|piece| piece.report));
    }
    let (seeds, _) = seeds.expect("there is at least one piece");
    let (scenario, engine) = (first.report.scenario, first.report.engine);
    Ok(sum(&reports, scenario, engine, seeds))
}

/// The seeds so far and those of the next piece.
fn adjoin(before: Seeds, last: &Piece, next: &Piece) -> Result<Seeds, MergeError> {
    let range = next.report.seeds;
    let places = || (last.place.clone(), next.place.clone());
    if range.start < before.end {
        let both = Seeds { start: range.start, end: range.end.min(before.end) };
        let (a, b) = places();
        return Err(MergeError::Overlap(a, last.part(), b, next.part(), both));
    }
    if range.start > before.end {
        let gap = Seeds { start: before.end, end: range.start };
        let (a, b) = places();
        return Err(MergeError::MissingSeeds(gap, next.report.scenario.clone(), a, b));
    }
    Ok(Seeds { start: before.start, end: range.end })
}

/// The pieces of one range, put in order: one of all of it, or each of its shards once.
fn shards_are_complete(seeds: Seeds, pieces: &mut [Piece]) -> Result<(), MergeError> {
    pieces.sort_by_key(|piece| piece.report.shard);
    for pair in pieces.windows(2) {
        let [a, b] = pair else { unreachable!("windows of two") };
        let places = (a.place.clone(), b.place.clone());
        match (a.report.shard, b.report.shard) {
            (Some(ours), Some(theirs)) if ours.count() != theirs.count() => {
                let told = |piece: &Piece| format!("{} of seeds {seeds}", piece.part_name());
                return Err(MergeError::Mixed("shard", places.0, places.1, told(a), told(b)));
            }
            (ours, theirs) if ours == theirs => {
                return Err(MergeError::Duplicate(places.0, places.1, a.part()));
            }
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => {
                let both = b.report.part();
                let both = Seeds { start: both.start, end: both.end };
                return Err(MergeError::Overlap(places.0, a.part(), places.1, b.part(), both));
            }
        }
        same("probe", a, b, |report| report.probe.clone())?;
    }
    let Some(count) = pieces[0].report.shard.map(super::Shard::count) else { return Ok(()) };
    let here: BTreeSet<_> =
        pieces.iter().filter_map(|piece| piece.report.shard).map(|it| it.index()).collect();
    let missing: Vec<_> = (0..count).filter(|index| !here.contains(index)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = missing.iter().take(10).map(|index| format!("{index}/{count}")).collect();
    let more = if missing.len() > 10 { format!(" and {} more", missing.len() - 10) } else { String::new() };
    let scenario = pieces[0].report.scenario.clone();
    Err(MergeError::MissingShards(format!("{}{more}", told.join(", ")), seeds, scenario))
}

impl Piece {
    fn part_name(&self) -> String {
        self.report.shard.map_or_else(|| "all".into(), |shard| shard.to_string())
    }
}

/// Both say the same, where both say something.
fn same(
    what: &'static str,
    a: &Piece,
    b: &Piece,
    field: impl Fn(&SweepReport) -> Option<String>,
) -> Result<(), MergeError> {
    match (field(&a.report), field(&b.report)) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Err(MergeError::Mixed(what, a.place.clone(), b.place.clone(), ours, theirs))
        }
        (_, _) => Ok(()),
    }
}

/// Reports of several scenarios over the same seeds, added up.
pub fn total(reports: &[SweepReport]) -> Option<SweepReport> {
    let first = reports.first()?;
    let mut total = sum(reports, ALL.into(), first.engine.clone(), first.seeds);
    total.shard = first.shard;
    Some(total)
}

/// Durations are added as such and not as floating-point numbers, whose sums depend on the order.
fn sum(reports: &[SweepReport], scenario: String, engine: String, seeds: Seeds) -> SweepReport {
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let simulated =
        reports.iter().fold(Duration::ZERO, |sum, report| sum.saturating_add(time(report.simulated_s)));
    let failures: Vec<Failure> = reports.iter().flat_map(|report| report.failures.iter().cloned()).collect();
    SweepReport {
        scenario,
        engine,
        seeds,
        shard: None,
        probe: None,
        interrupted: reports.iter().any(|report| report.interrupted),
        passed: reports.iter().fold(0, |sum, report| sum.saturating_add(report.passed)),
        failed: failures.iter().map(|failure| failure.seed).collect(),
        failures,
        effects: reports.iter().fold(Effects::default(), |mut all, report| {
            all.merge(&report.effects);
            all
        }),
        steps: reports.iter().fold(StepCounts::default(), |mut all, report| {
            all.merge(&report.steps);
            all
        }),
        converged_after: reports.iter().fold(Times::default(), |mut all, report| {
            all.merge(&report.converged_after);
            all
        }),
        events: reports.iter().fold(0, |sum, report| sum.saturating_add(report.events)),
        capsule: reports.iter().find_map(|report| report.capsule.clone()),
        simulated_s: simulated.as_secs_f64(),
        wall_s: reports.iter().map(|report| report.wall_s).sum(),
        resumed: reports.iter().map(|report| report.resumed).sum(),
        confirmed: Vec::new(),
        unsaved: None,
    }
}

//! The recordings as they are read: one tape for each node, in pieces that know their file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coalmine_core::codec::journal::Torn;
use coalmine_core::codec::recording::{self, Header, Line, Step, Took};
use coalmine_core::node::{Node, NodeId};
use coalmine_real::recorder::parts;

/// The recording of one node, all parts of it.
pub struct Tape<N: Node> {
    /// Whose it is.
    pub node: NodeId,
    /// What is on it, in order.
    pub pieces: Vec<Piece<N>>,
}

/// One line of a recording.
pub struct Piece<N: Node> {
    /// In which file.
    pub file: Arc<str>,
    /// In which line.
    pub line: u64,
    /// What it says.
    pub what: What<N>,
}

/// What a line says.
pub enum What<N: Node> {
    /// A part begins.
    Part {
        /// The node's configuration.
        config: N::Config,
        /// Who recorded it.
        program: String,
    },
    /// The node took a step.
    Step(Step<N>),
    /// Something is missing here.
    Gap(String),
}

/// Reads all recordings, each of another node; adds to `notes` what is strange about them.
pub fn load<N: Node>(files: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<Tape<N>>, String> {
    let mut tapes: BTreeMap<NodeId, (String, Tape<N>)> = BTreeMap::new();
    for file in expand(files)? {
        let name = file.display().to_string();
        let tape: Tape<N> = load_tape(&file, notes)?;
        if let Some((other, _)) = tapes.get(&tape.node) {
            return Err(format!("{other} and {name} are both recordings of {}", tape.node));
        }
        tapes.insert(tape.node, (name, tape));
    }
    Ok(tapes.into_values().map(|(_, tape)| tape).collect())
}

/// The protocol that recordings name.
pub fn protocol_of(files: &[PathBuf]) -> Result<String, String> {
    let mut found: Option<(String, String)> = None;
    for file in expand(files)? {
        for part in parts_of(&file)? {
            let name = part.display().to_string();
            let header = recording::decode_header(&read(&part)?).map_err(|why| format!("{name}: {why}"))?;
            let Some(Header { protocol, .. }) = header else { continue };
            match &found {
                Some((other, before)) if *before != protocol => {
                    return Err(format!("{other} is of {before:?}, {name} is of {protocol:?}"));
                }
                Some(_) => {}
                None => found = Some((name, protocol)),
            }
        }
    }
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    found.map(|(_, protocol)| protocol).ok_or_else(|| format!("{}: {EMPTY}", names.join(", ")))
}

const EMPTY: &str = "empty: there is not one whole line of a recording";

/// A folder stands for the recordings in it, and a recording for its older parts.
fn expand(files: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = BTreeSet::new();
    for path in files {
        if !path.is_dir() {
            all.insert(path.clone());
            continue;
        }
        let named = |why| format!("{}: {why}", path.display());
        let before = all.len();
        for entry in fs::read_dir(path).map_err(named)? {
            let inside = entry.map_err(named)?.path();
            if inside.extension().is_some_and(|ending| ending == "rec") {
                all.insert(inside);
            }
        }
        if all.len() == before {
            return Err(format!("{}: there are no recordings (*.rec) in this folder", path.display()));
        }
    }
    // Older parts that were named too are read with the newest.
    let is_part = |path: &PathBuf| {
        let number = path.extension().and_then(|ending| ending.to_str()).map(str::parse::<u64>);
        matches!(number, Some(Ok(_))) && all.contains(&path.with_extension(""))
    };
    Ok(all.iter().filter(|path| !is_part(path)).cloned().collect())
}

fn parts_of(file: &Path) -> Result<Vec<PathBuf>, String> {
    let parts = parts::parts(file).map_err(|why| format!("{}: {why}", file.display()))?;
    if parts.is_empty() { Err(format!("{}: there is no such file", file.display())) } else { Ok(parts) }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|why| format!("{}: {why}", file.display()))
}

fn load_tape<N: Node>(file: &Path, notes: &mut Vec<String>) -> Result<Tape<N>, String> {
    let mut tape: Option<Tape<N>> = None;
    // The number of the part before, if nothing is missing at its end.
    let mut before: Option<u64> = None;
    // Where something is missing, until the next boot.
    let mut gap: Option<Gap> = None;
    for part in parts_of(file)? {
        let name: Arc<str> = part.display().to_string().into();
        let read = recording::decode::<N>(&read(&part)?).map_err(|why| format!("{name}: {why}"))?;
        let Some(recording::Part { header, lines, torn }) = read else {
            notes.push(format!("{name}: {EMPTY}"));
            before = None;
            continue;
        };
        let piece = |line, what| Piece { file: Arc::clone(&name), line, what };
        let tape = tape.get_or_insert(Tape { node: header.node, pieces: Vec::new() });
        if tape.node != header.node {
            let (this, other) = (header.node, tape.node);
            return Err(format!("{name}: line 1: it is of {this}, an older part is of {other}"));
        }
        if gap.is_none() && header.continues && before.is_none_or(|before| before + 1 != header.part) {
            let why = format!("the end of part {} is missing", header.part.saturating_sub(1));
            gap = Some(Gap { place: format!("{name}: line 1"), why: why.clone(), skipped: 0 });
            tape.pieces.push(piece(1, What::Gap(why)));
        }
        let config = serde_json::from_value(header.config)
            .map_err(|why| format!("{name}: line 1: the configuration: {why}"))?;
        tape.pieces.push(piece(1, What::Part { config, program: header.program }));
        for (number, line) in (2..).zip(lines) {
            match line {
                Line::Step(step) => {
                    if matches!(step.took, Took::Boot { .. })
                        && let Some(gap) = gap.take()
                    {
                        notes.push(gap.tell(tape.node, &format!("to its boot in {name}: line {number}")));
                    }
                    match &mut gap {
                        Some(gap) => gap.skipped += 1,
                        None => tape.pieces.push(piece(number, What::Step(step))),
                    }
                }
                Line::Gap { why } => {
                    tape.pieces.push(piece(number, What::Gap(why.clone())));
                    gap.get_or_insert(Gap { place: format!("{name}: line {number}"), why, skipped: 0 });
                }
            }
        }
        if let Some(Torn { line, bytes }) = torn {
            notes.push(format!("{name}: line {line}: a torn tail of {bytes} bytes is left out"));
        }
        before = torn.is_none().then_some(header.part);
    }
    let tape = tape.ok_or_else(|| format!("{}: {EMPTY}", file.display()))?;
    notes.extend(gap.map(|gap| gap.tell(tape.node, "on")));
    Ok(tape)
}

/// Something is missing. Nothing is known of a node from there to its next boot, so the steps between are left
/// out.
struct Gap {
    place: String,
    why: String,
    skipped: u64,
}

impl Gap {
    fn tell(&self, node: NodeId, until: &str) -> String {
        let Self { place, why, skipped } = self;
        format!(
            "{place}: a gap: {why}; from here {until}, {node} could not be checked ({skipped} steps left out)"
        )
    }
}

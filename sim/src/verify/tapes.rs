//! The recordings as they are read: one tape for each node, in pieces that know their file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coalmine_core::codec::journal::Torn;
use coalmine_core::codec::recording::{self, Header, Line, Step, Took};
use coalmine_core::node::{Node, NodeId};
use coalmine_real::files;
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
    /// Something may be missing here.
    Gap {
        /// Why.
        why: String,
        /// Whether it may be whole lives.
        lives: bool,
    },
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

/// The largest file that is read. It is kept in memory, several times as large.
const MOST_BYTES: u64 = 1 << 30;

/// Reads what a file holds by now: it may still grow, and what is no file may never end.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let opened = files::open_regular(file).map_err(|why| named(why.to_string()))?;
    let about = opened.metadata().map_err(|why| named(why.to_string()))?;
    if about.len() > MOST_BYTES {
        return Err(named(format!("it has {} bytes, and at most {MOST_BYTES} are read", about.len())));
    }
    let mut bytes = Vec::new();
    opened.take(about.len()).read_to_end(&mut bytes).map_err(|why| named(why.to_string()))?;
    Ok(bytes)
}

fn load_tape<N: Node>(file: &Path, notes: &mut Vec<String>) -> Result<Tape<N>, String> {
    let mut reader = Reader { tape: None, before: 0, life: Life::Over, notes };
    for part in parts_of(file)? {
        let name: Arc<str> = part.display().to_string().into();
        let read = recording::decode::<N>(&read(&part)?).map_err(|why| format!("{name}: {why}"))?;
        reader.part(&name, read)?;
    }
    reader.end(&file.display().to_string())
}

/// Reads one recording, part by part.
struct Reader<'a, N: Node> {
    tape: Option<Tape<N>>,
    /// The number of the part before.
    before: u64,
    life: Life,
    notes: &'a mut Vec<String>,
}

/// How much is known of a life.
enum Life {
    /// It is over, and all of it is known; or there was none yet.
    Over,
    /// A part was begun for it, in this file.
    Begun(Arc<str>),
    /// It is known up to this line.
    Open(Arc<str>, u64),
    /// Something is missing: the steps up to the next boot are left out.
    Lost(Gap),
}

impl<N: Node> Reader<'_, N> {
    fn part(&mut self, name: &Arc<str>, part: Option<recording::Part<N>>) -> Result<(), String> {
        let Some(recording::Part { header, lines, torn }) = part else {
            self.notes.push(format!("{name}: {EMPTY}"));
            return Ok(()); // the next part misses it
        };
        let tape = self.tape.get_or_insert(Tape { node: header.node, pieces: Vec::new() });
        if tape.node != header.node {
            let (this, other) = (header.node, tape.node);
            return Err(format!("{name}: line 1: it is of {this}, an older part is of {other}"));
        }
        if header.part <= self.before {
            let (this, other) = (header.part, self.before);
            return Err(format!("{name}: line 1: it is part {this}, and comes after part {other}"));
        }
        self.begins(name, &header);
        self.before = header.part;
        let config = serde_json::from_value(header.config)
            .map_err(|why| format!("{name}: line 1: the configuration: {why}"))?;
        self.push(name, 1, What::Part { config, program: header.program });
        let mut last = 1;
        for (number, line) in (2..).zip(lines) {
            self.line(name, number, line)?;
            last = number;
        }
        if let Some(Torn { line, bytes, .. }) = torn {
            self.notes.push(format!("{name}: line {line}: a torn tail of {bytes} bytes is left out"));
            self.lose(name, last, "its end is torn".into(), false);
        }
        Ok(())
    }

    /// Something is missing between this part and the one before?
    fn begins(&mut self, name: &Arc<str>, header: &Header) {
        if header.part - self.before > 1 {
            let (first, last) = (self.before + 1, header.part - 1);
            let why = if header.continues {
                format!("the end of part {last} is missing")
            } else if first == last {
                format!("part {first} is missing")
            } else {
                format!("the parts {first} to {last} are missing")
            };
            self.lose(name, 1, why, true);
        }
        if !header.continues {
            self.life_ends();
            if !matches!(self.life, Life::Lost(_)) {
                self.life = Life::Begun(Arc::clone(name));
            }
        } else if matches!(self.life, Life::Over | Life::Begun(_)) {
            self.lose(name, 1, "the beginning of the life that it continues is missing".into(), true);
        }
    }

    fn line(&mut self, name: &Arc<str>, number: u64, line: Line<N>) -> Result<(), String> {
        match line {
            Line::Gap { why } => self.lose(name, number, why, false),
            Line::End {} => {
                if !matches!(self.life, Life::Lost(_)) {
                    self.life = Life::Over;
                }
            }
            Line::Step(step) => {
                if matches!(step.took, Took::Boot { .. }) {
                    if !matches!(self.life, Life::Begun(_)) {
                        self.life_ends();
                    }
                    if let Life::Lost(gap) = std::mem::replace(&mut self.life, Life::Over) {
                        let node = self.tape.as_ref().map(|tape| tape.node);
                        let until = format!("to its boot in {name}: line {number}");
                        self.notes.extend(node.map(|node| gap.describe(node, &until)));
                    }
                } else if matches!(self.life, Life::Over | Life::Begun(_)) {
                    return Err(format!("{name}: line {number}: a step, and no boot before it"));
                }
                match &mut self.life {
                    Life::Lost(gap) => gap.skipped += 1,
                    life @ (Life::Over | Life::Begun(_) | Life::Open(..)) => {
                        *life = Life::Open(Arc::clone(name), number);
                        self.push(name, number, What::Step(step));
                    }
                }
            }
        }
        Ok(())
    }

    /// Another life begins, or nothing more is recorded: what is known of the one before must say that it is all.
    fn life_ends(&mut self) {
        let why = "it does not say that the node stopped there";
        match &self.life {
            Life::Over | Life::Lost(_) => {}
            Life::Begun(file) => {
                let file = Arc::clone(file);
                self.lose(&file, 1, "a life was begun, and nothing of it is recorded".into(), true);
            }
            Life::Open(file, line) => {
                let (file, line) = (Arc::clone(file), *line);
                self.lose(&file, line, why.into(), false);
            }
        }
    }

    fn lose(&mut self, name: &Arc<str>, line: u64, why: String, lives: bool) {
        self.push(name, line, What::Gap { why: why.clone(), lives });
        if !matches!(self.life, Life::Lost(_)) {
            self.life = Life::Lost(Gap { place: format!("{name}: line {line}"), why, skipped: 0 });
        }
    }

    fn push(&mut self, name: &Arc<str>, line: u64, what: What<N>) {
        if let Some(tape) = &mut self.tape {
            tape.pieces.push(Piece { file: Arc::clone(name), line, what });
        }
    }

    fn end(mut self, file: &str) -> Result<Tape<N>, String> {
        self.life_ends();
        let tape = self.tape.ok_or_else(|| format!("{file}: {EMPTY}"))?;
        if let Life::Lost(gap) = self.life {
            self.notes.push(gap.describe(tape.node, "on"));
        }
        Ok(tape)
    }
}

/// Something is missing. Nothing is known of a node from there to its next boot, so the steps between are left
/// out.
struct Gap {
    place: String,
    why: String,
    skipped: u64,
}

impl Gap {
    fn describe(&self, node: NodeId, until: &str) -> String {
        let Self { place, why, skipped } = self;
        let left_out = if *skipped > 0 { format!(" ({skipped} steps left out)") } else { String::new() };
        format!("{place}: a gap: {why}; from here {until}, what {node} did is not known{left_out}")
    }
}

//! Executes recorded nodes again: is what ran what was checked?
//!
//! A node is deterministic, so a [recording](coalmine_core::codec::recording) that names its boots, its events
//! and its choices determines everything that it did. Here each node of a cluster is hosted again and fed
//! with its recording. The first effect that differs means that the node is not deterministic, or that the
//! recording comes from another version of it. Meanwhile the invariants are checked after each step, and the
//! steps make the same story as a simulated run.
//!
//! `tapes` reads the files, `order` makes one history of them, `player` lets one node live again, and
//! `playback` plays all of them.

mod order;
mod playback;
mod player;
mod sends;
mod tapes;

use std::path::PathBuf;
use std::time::Duration;

use coalmine_core::node::NodeId;

use self::order::in_order;
use self::playback::Playback;
pub use self::tapes::protocol_of;
use crate::system::{NodeOf, System};
use crate::trace::html::Page;

/// What came of executing recordings again.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose recordings there were.
    pub nodes: Vec<NodeId>,
    /// How many boots were executed.
    pub boots: u64,
    /// How many steps, boots among them.
    pub steps: u64,
    /// From the first to the last.
    pub span: Duration,
    /// What is missing from the recordings, or strange in them; each names its file and line.
    pub notes: Vec<String>,
    /// The first step that does not do again what it did.
    pub difference: Option<Difference>,
    /// The first invariant that the history breaks.
    pub violated: Option<Violated>,
    /// What happened, in words: up to a difference or a violation.
    pub story: String,
    /// The same, to be shown, if it was asked for.
    pub page: Option<Page>,
}

/// A step that does not do again what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part of the recording.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// Whose step it is.
    pub node: NodeId,
    /// The program that recorded it.
    pub program: String,
    /// What the node took in.
    pub event: String,
    /// What is recorded.
    pub recorded: String,
    /// What comes of it here.
    pub here: String,
}

impl Difference {
    /// In lines.
    pub fn tell(&self) -> String {
        let Self { file, line, node, program, event, recorded, here } = self;
        format!(
            "{file}: line {line}: {node}  {event}\n      recorded: {recorded} (by {program})\n      here:     {here}"
        )
    }
}

/// A history that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violated {
    /// Which.
    pub invariant: String,
    /// How.
    pub why: String,
    /// The part of the recording that holds the step after which it is broken.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// What is missing from the history before it, or strange in it: that may be all that is wrong.
    pub doubt: Option<String>,
}

impl Verified {
    /// The exit code of a process that reports this.
    pub fn exit_code(&self) -> u8 {
        match (&self.difference, &self.violated) {
            (Some(_), _) => 5,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }
}

/// Executes the recordings of one cluster again. `Err` names a file, and a line where there is one, that
/// cannot be read.
pub fn verify<S: System>(
    system: &S,
    title: &str,
    about: &str,
    files: &[PathBuf],
    with_page: bool,
) -> Result<Verified, String> {
    let mut notes = Vec::new();
    let tapes = tapes::load::<NodeOf<S>>(files, &mut notes)?;
    let order = in_order(&tapes);
    let mut playback = Playback::new(system, &tapes, notes, with_page);
    playback.play_all(&order);
    Ok(playback.finish(title, about))
}

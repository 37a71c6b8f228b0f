//! Executes recorded nodes again: is what ran what was checked?
//!
//! A node is deterministic, so a [recording](coalmine_core::codec::recording) that names its boots, its events
//! and its choices determines everything that it did. Here each node of a cluster is hosted again and fed
//! with its recording. The first effect that differs means that the node is not deterministic, or that the
//! recording comes from another version of it. Meanwhile the invariants are checked after each step, and the
//! steps make the same story as a simulated run.
//!
//! `tapes` reads the files, `lives` asks whether each life follows from the one before, `members` whether all of the
//! cluster is there, `order` makes the longest history of them that is a run, `player` lets one node live again,
//! `playback` plays all of them and `judge` asks the invariants.
//!
//! Recordings may be incomplete: a process that is killed loses the end of its own. What is judged then, and why a
//! violation is certain all the same, is said in `order`.

mod judge;
mod lives;
mod members;
mod order;
mod playback;
mod player;
mod sends;
mod tapes;

use std::path::PathBuf;
use std::time::Duration;

use coalmine_core::node::NodeId;
use coalmine_core::order::Order as HostOrder;

use self::order::in_order;
use self::playback::Playback;
pub use self::tapes::protocol_of;
use crate::spec::system::{NodeOf, System};
use crate::trace::html::Page;
use crate::trace::story::Story;

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
    /// Where something may be missing.
    pub missing: Vec<Missing>,
    /// Why these are not known to be the recordings of all members of one cluster.
    pub strangers: Option<String>,
    /// What was executed again, and does not follow from what is recorded.
    pub beyond: Vec<Beyond>,
    /// How far each invariant was asked.
    pub judged: Vec<Judged>,
    /// The first step that does not do again what it did.
    pub difference: Option<Difference>,
    /// The first invariant that the history breaks.
    pub violated: Option<Violated>,
    /// What happened, in words: up to a difference or a violation.
    pub story: Story,
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
    pub fn describe(&self) -> String {
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
}

/// A place in a recording where something may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose recording.
    pub node: NodeId,
    /// The part of it.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// Why.
    pub why: String,
}

/// The rest of a recording that does not follow from what is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// Whose.
    pub node: NodeId,
    /// The part in which it begins.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// What its first step needs that is not recorded.
    pub why: String,
    /// How many steps.
    pub steps: u64,
}

/// How far an invariant was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Which.
    pub invariant: String,
    /// After how many steps.
    pub steps: u64,
    /// After how many it was not.
    pub not_judged: u64,
}

impl Verified {
    /// Whether nothing is missing: all that these nodes ever did is recorded, and judged.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.strangers.is_none() && self.beyond.is_empty()
    }

    /// What is missing and what is not judged, in lines; none if it is complete.
    pub fn describe_incomplete(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let missing = |Missing { node, file, line, why }: &Missing| {
            format!("missing: what {node} did after {file}: line {line} ({why})")
        };
        lines.extend(self.missing.iter().map(missing));
        lines.extend(self.strangers.iter().map(|why| format!("missing: {why}")));
        let beyond = |Beyond { node, file, line, why, steps }: &Beyond| {
            let s = if *steps == 1 { "" } else { "s" };
            format!("does not follow: {node} from {file}: line {line} on, {steps} step{s}: {why}")
        };
        lines.extend(self.beyond.iter().map(beyond));
        let by_count = |count: fn(&Judged) -> bool| {
            let names: Vec<_> = self.judged.iter().filter(|it| count(it)).map(|it| &*it.invariant).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        if lines.is_empty() {
            return lines;
        }
        if let Some(names) = by_count(|it| it.not_judged > 0) {
            let most = self.judged.iter().map(|it| it.not_judged).max().unwrap_or(0);
            lines.push(format!("not judged after {most} of {} steps: {names}", self.steps));
        }
        if let Some(names) = by_count(|it| it.not_judged == 0) {
            lines.push(format!("judged after every recorded step: {names}"));
        }
        lines
    }

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
    verify_in(HostOrder::Safe, system, title, about, files, with_page)
}

/// The same in hosts that keep this [order](coalmine_core::order): recordings do not say which one was kept.
pub fn verify_in<S: System>(
    order: HostOrder,
    system: &S,
    title: &str,
    about: &str,
    files: &[PathBuf],
    with_page: bool,
) -> Result<Verified, String> {
    let mut notes = Vec::new();
    let tapes = tapes::load::<NodeOf<S>>(files, &mut notes)?;
    let known = system.members().into_iter().map(|(node, _)| node).collect();
    let sequence = in_order(&tapes);
    let mut playback = Playback::new(system, order, &tapes, notes, with_page);
    playback.play_all(&sequence, members::incomplete(&tapes, &known));
    Ok(playback.finish(title, about))
}

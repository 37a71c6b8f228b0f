//! A sweep's progress in a file: what it is of, and what is known so far. The file is replaced as a whole
//! (written beside, synced, renamed), so that a crash leaves the old one or the new one.
//!
//! A checkpoint is only good for the code that wrote it. That cannot be seen from a version alone, so the file
//! also holds the digest of the range's first seed, which is run again on resuming.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coalmine_real::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::seeds::{SeedSet, Seeds};
use super::shard::Shard;
use super::times::Times;
use super::{Failure, Tally};
use crate::spec::faults::Effects;
use crate::suite::steps::StepCounts;

/// The layout of the file. Another layout, another number.
const FORMAT: u64 = 3;
/// More than any sweep keeps: it grows with the failures, not with the seeds.
const BYTES: u64 = 1 << 30;

/// Why there is no going on from a checkpoint, or no writing one.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("cannot read the checkpoint {file}: {why}")]
    Read {
        /// Which.
        file: String,
        /// The system's reason.
        why: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the checkpoint {file}: {why}")]
    Write {
        /// Which.
        file: String,
        /// The system's reason.
        why: io::Error,
    },
    /// The file is not one, or is damaged.
    #[error("{file} is not a sound checkpoint: {why}")]
    Corrupt {
        /// Which.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The file is of another sweep.
    #[error(
        "the checkpoint {file} is of another sweep: its `{field}` is {theirs}, this one's is {ours}; name another \
         file, or delete this one to start over"
    )]
    Mismatch {
        /// Which.
        file: String,
        /// What differs.
        field: String,
        /// In the file.
        theirs: Value,
        /// In the sweep that was asked for.
        ours: Value,
    },
}

/// What must be the same for a sweep to go on from a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub scenario: String,
    pub engine: String,
    pub seeds: Seeds,
    pub shard: Option<Shard>,
    pub check_determinism: bool,
    /// The version of the harness.
    pub version: String,
    /// The digest of the first of `seeds`: whether the code behind the version is the same.
    pub probe: String,
}

/// What is known so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    done: Vec<Seeds>,
    failures: Vec<Failure>,
    events: u64,
    effects: Effects,
    steps: StepCounts,
    converged_after: Times,
    simulated: Duration,
    wall: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u64,
    sweep: Identity,
    known: Known,
    /// Of `sweep` and `known`.
    checksum: String,
}

fn checksum(sweep: &Identity, known: &Known) -> String {
    let bytes = serde_json::to_vec(&(sweep, known)).expect("plain data always serialises");
    format!("{:016x}", xxh3_64(&bytes))
}

/// The file of a sweep.
pub(super) struct Checkpoint {
    path: PathBuf,
    identity: Identity,
}

impl Checkpoint {
    pub fn new(path: &Path, identity: Identity) -> Self {
        Self { path: path.to_owned(), identity }
    }

    fn file(&self) -> String {
        self.path.display().to_string()
    }

    /// What the file knows of the seeds in `part`; nothing yet, if there is no file.
    pub fn load(&self, part: &Range<u64>) -> Result<Tally, CheckpointError> {
        let text = match files::read_text(&self.path, BYTES) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Tally::default()),
            Err(why) => return Err(CheckpointError::Read { file: self.file(), why }),
        };
        let corrupt = |why: String| CheckpointError::Corrupt { file: self.file(), why };
        let value: Value = serde_json::from_str(&text).map_err(|why| corrupt(why.to_string()))?;
        self.same("format", value.get("format").unwrap_or(&Value::Null), &FORMAT.into())?;
        let saved: Saved = serde_json::from_value(value).map_err(|why| corrupt(why.to_string()))?;
        if checksum(&saved.sweep, &saved.known) != saved.checksum {
            return Err(corrupt("its `checksum` does not fit what it says".into()));
        }
        self.is_of(&saved.sweep)?;
        let Known { done, failures, events, effects, steps, converged_after, simulated, wall } = saved.known;
        let done = SeedSet::of(&done, part).ok_or_else(|| corrupt("`done` is no set of its seeds".into()))?;
        if failures.iter().any(|failure| !done.contains(failure.seed)) {
            return Err(corrupt("`failures` has seeds that are not in `done`".into()));
        }
        Ok(Tally { done, failures, events, effects, steps, converged_after, simulated, wall })
    }

    fn is_of(&self, theirs: &Identity) -> Result<(), CheckpointError> {
        let fields = |identity: &Identity| match serde_json::to_value(identity) {
            Ok(Value::Object(fields)) => fields,
            other => unreachable!("a struct is an object, not {other:?}"),
        };
        let (theirs, ours) = (fields(theirs), fields(&self.identity));
        // In the order in which they are declared: the plain ones first, the consequences last.
        let order = ["scenario", "engine", "seeds", "shard", "check_determinism", "version", "probe"];
        debug_assert_eq!(order.len(), ours.len());
        order.into_iter().try_for_each(|field| self.same(field, &theirs[field], &ours[field]))
    }

    fn same(&self, field: &str, theirs: &Value, ours: &Value) -> Result<(), CheckpointError> {
        if theirs == ours {
            return Ok(());
        }
        let (field, theirs, ours) = (field.to_owned(), theirs.clone(), ours.clone());
        Err(CheckpointError::Mismatch { file: self.file(), field, theirs, ours })
    }

    /// Replaces the file. `wall` is the time that the sweep has taken, this session and earlier ones.
    pub fn save(&self, tally: &Tally, wall: Duration) -> Result<(), CheckpointError> {
        let known = Known {
            done: tally.done.ranges(),
            failures: tally.failures.clone(),
            events: tally.events,
            effects: tally.effects.clone(),
            steps: tally.steps.clone(),
            converged_after: tally.converged_after.clone(),
            simulated: tally.simulated,
            wall,
        };
        let checksum = checksum(&self.identity, &known);
        let saved = Saved { format: FORMAT, sweep: self.identity.clone(), known, checksum };
        let text = serde_json::to_string_pretty(&saved).expect("plain data always serialises");
        let written = files::replace(&self.path, |file| file.write_all(text.as_bytes()));
        written.map_err(|why| CheckpointError::Write { file: self.file(), why })
    }
}

//! `canary backup` and `canary restore`: for the day on which all disks are lost.
//!
//! A backup is a journal of one record, the snapshot of all that a node knows. What is made of it is another cluster: the old
//! one may have gone on, and may be there still.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use coalmine_core::codec::journal;
use coalmine_core::node::Node;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::durable::{Durable, Record};
use coalmine_real::files::read_regular;
use coalmine_real::serve::Failure;
use coalmine_real::serve::config::NodeFile;
use coalmine_real::serve::output::{self, Format};
use coalmine_real::tokio_runtime::{lock_journal, read_journal};
use serde_json::json;

/// Write all that a node knows into a file, also while it runs.
///
/// One node's is enough, and the coordinator's is the best: it knows the rollouts, and the names of requests. A single lost disk
/// needs no backup: the node starts without a journal, and is told everything by the others. This is for the day on which all
/// are lost. See docs/operation.md.
///
/// Examples:
///
///   canary backup canary.backup --config coalmine-out/canary/node-1.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Backup {
    /// The file to write. It must not be there yet.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The config file of the node whose journal is read.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn backup(args: Backup) -> Result<(), Failure> {
    let Backup { file, config, format } = args;
    let node = load(&config)?;
    let of = |why: &dyn std::fmt::Display| Failure::failed(format!("{}: {why}", node.journal.display()));
    let segments = read_journal(&node.journal).map_err(|why| of(&why))?;
    let read = journal::recover_segments::<Record>(RolloutNode::FORM, &segments).map_err(|why| of(&why))?;
    if read.records.is_empty() {
        return Err(of(&"it is empty: there is nothing to keep"));
    }
    if let Some(why) = RolloutNode::refuses(&node.config, &read.records) {
        return Err(of(&why));
    }
    let all = Durable::recover(&node.config, &read.records);
    write(&file, &all)?;
    say(format, &all, &format!("{} holds {}", file.display(), what(&all)));
    Ok(())
}

/// Form a cluster anew from a backup: write a node's journal, from which it is to start.
///
/// For the day on which all nodes have lost their disks. Every node that was a member gets its journal from the same file, by its own
/// config file. They are another cluster then, with a name of its own: a node of the old one that is still there is not heard, and
/// does not hear them. A rollout that was under way is paused, and what was being voted on is not done.
///
/// Examples:
///
///   canary restore canary.backup --config coalmine-out/canary/node-1.toml
///   canary restore canary.backup --config coalmine-out/canary/node-2.toml
///
/// Exits with 1 if the node has a journal already: that is newer.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The config file of the node whose journal is written.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn restore(args: Restore) -> Result<(), Failure> {
    let Restore { file, config, format } = args;
    let node = load(&config)?;
    let all = read(&file)?;
    let restored = all.restored(node.config.me);
    let restored = restored.map_err(|why| Failure::failed(format!("{}: {why}", file.display())))?;
    let of = |why: io::Error| Failure::failed(format!("{}: {why}", node.journal.display()));
    let mut journal = lock_journal(&node.journal).map_err(of)?;
    if read_journal(&node.journal).map_err(of)?.iter().any(|segment| !segment.bytes.is_empty()) {
        let why = "there is a journal, and it is newer than any backup: delete it if it is to be replaced";
        return Err(of(io::Error::other(why)));
    }
    journal.write_all(&line(&restored)).and_then(|()| journal.sync_all()).map_err(of)?;
    say(format, &restored, &format!("{} holds {}", node.journal.display(), what(&restored)));
    Ok(())
}

fn load(config: &Path) -> Result<NodeFile<RolloutNode>, Failure> {
    NodeFile::load(config).map_err(|why| Failure::usage(why.to_string()))
}

fn line(all: &Durable) -> Vec<u8> {
    let mut line = Vec::new();
    journal::encode(RolloutNode::FORM, 1, &Record::Snapshot(Box::new(all.clone())), &mut line);
    line
}

/// Writes a file that is not there yet: completely, or not at all.
fn write(file: &Path, all: &Durable) -> Result<(), Failure> {
    let of = |why: io::Error| Failure::failed(format!("{}: {why}", file.display()));
    let mut written = OpenOptions::new().write(true).create_new(true).open(file).map_err(of)?;
    let done = written.write_all(&line(all)).and_then(|()| written.sync_all());
    if done.is_err() {
        let _ = fs::remove_file(file); // half of it is worse than nothing
    }
    done.map_err(of)
}

fn read(file: &Path) -> Result<Durable, Failure> {
    let of = |why: &dyn std::fmt::Display| Failure::failed(format!("{}: {why}", file.display()));
    let bytes = read_regular(file, u64::MAX).map_err(|why| of(&why))?;
    let read = journal::recover::<Record>(RolloutNode::FORM, &bytes).map_err(|why| of(&why))?;
    match &read.records[..] {
        [Record::Snapshot(all)] if read.torn.is_none() => Ok((**all).clone()),
        _ => Err(of(&"it is no backup: that is one record, and whole")),
    }
}

fn what(all: &Durable) -> String {
    let members: Vec<_> = all.committed.ids().map(|id| id.to_string()).collect();
    format!("{}, of {}, as {} knows it", all.committed, members.join(", "), all.me())
}

fn say(format: Format, all: &Durable, text: &str) {
    match format {
        Format::Text => output::line(format_args!("{text}")),
        Format::Json => output::json(&json!({
            "node": all.me(),
            "cluster": all.cluster,
            "routing": all.committed,
            "coordinator": all.coordinator,
        })),
    }
}

//! The journal of a running node: recovery at the start, then one task that writes and syncs.
//!
//! The task takes all lines that have come in since its last sync and makes them durable together (group
//! commit): the node goes on working meanwhile, and the host holds back what must wait. When it is durable that something
//! is forgotten the task deletes the files of which nothing is left, and begins another one if the last has grown large.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use coalmine_core::codec::journal::{self, Damage, Recovered, Segment};
use coalmine_core::form::Form;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::runtime::{JournalFile, Runtime};
use crate::vitals::Vitals;

/// How many lines may wait for the disk before the node itself waits.
const QUEUED_LINES: usize = 1024;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file cannot be opened, written or synced. The node must stop.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file holds something that no crash can explain. The node must not start.
    #[error("{0}; a node that forgets what it acknowledged is dangerous, so this one does not start")]
    Damaged(#[from] Damage),
}

/// Reads a node's journal and mends its torn tail.
pub(crate) async fn open<R: Runtime, T: DeserializeOwned>(
    runtime: &R,
    form: Form,
) -> Result<(Recovered<T>, Opened<R::Journal>), JournalError> {
    let (segments, mut file) = runtime.open_journal().await?;
    let recovered = journal::recover_segments(form, &segments)?;
    if recovered.torn.is_some() {
        file.truncate(recovered.valid_bytes).await?;
    }
    if recovered.unterminated {
        file.write(b"\n").await?;
    }
    // What was read may only be in the operating system's cache, written by a life that died before its
    // sync. The node is about to rely on it.
    file.sync().await?;
    let file_of = |segment: &Segment| File { first: segment.first, bytes: segment.bytes.len() as u64 };
    let mut segments: VecDeque<_> = segments.iter().map(file_of).collect();
    if let Some(last) = segments.back_mut() {
        last.bytes = recovered.valid_bytes + u64::from(recovered.unterminated);
    }
    let (durable, most_bytes) = (recovered.journal().last(), runtime.segment_bytes());
    let mut opened = Opened { file, segments, durable, most_bytes };
    opened.tidy((recovered.forgotten + 1).min(recovered.told_in)).await?;
    Ok((recovered, opened))
}

/// A file of the journal.
#[derive(Clone, Copy)]
struct File {
    /// The number of its first record.
    first: u64,
    bytes: u64,
}

/// A journal that is being written.
pub(crate) struct Opened<F> {
    file: F,
    /// Its files, in order.
    segments: VecDeque<File>,
    /// How many records are durable.
    durable: u64,
    most_bytes: u64,
}

impl<F: JournalFile> Opened<F> {
    /// Deletes the files in which nothing is left, once the records before this number are forgotten.
    async fn tidy(&mut self, before: u64) -> io::Result<()> {
        let left = self.segments.iter().rposition(|file| file.first <= before).unwrap_or(0);
        if left == 0 {
            return Ok(());
        }
        self.segments.drain(..left);
        self.file.remove_before(self.segments[0].first).await
    }

    /// How many bytes all files have.
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|file| file.bytes).sum()
    }

    /// Writes a batch, and makes it durable.
    async fn write(&mut self, batch: &[Entry]) -> io::Result<()> {
        for Entry { line, .. } in batch {
            if let Some(last) = self.segments.back_mut() {
                last.bytes += line.len() as u64;
            }
            self.file.write(line).await?;
        }
        self.file.sync().await?;
        self.durable += batch.iter().filter(|entry| entry.forgets.is_none()).count() as u64;
        Ok(())
    }

    /// Something is forgotten for good, and the last file says so. It is not deleted before a later one says as much.
    async fn forget(&mut self, before: u64) -> io::Result<()> {
        self.tidy(before).await?;
        let next = self.durable + 1;
        if self.segments.back().is_some_and(|last| last.bytes >= self.most_bytes && last.first != next) {
            self.file.begin_segment(next).await?;
            self.segments.push_back(File { first: next, bytes: 0 });
        }
        Ok(())
    }
}

/// A line of the journal.
pub(crate) struct Entry {
    line: Vec<u8>,
    /// Before which number all records are forgotten, if it is not a record itself.
    forgets: Option<u64>,
}

impl Entry {
    /// The record of this number.
    pub(crate) fn record(form: Form, number: u64, record: &impl Serialize) -> Self {
        let mut line = Vec::new();
        journal::encode(form, number, record, &mut line);
        Self { line, forgets: None }
    }

    /// The records before this number are forgotten; the next has the number `next`.
    pub(crate) fn forget(before: u64, next: u64) -> Self {
        let mut line = Vec::new();
        journal::encode_forget(before, next, &mut line);
        Self { line, forgets: Some(before) }
    }
}

/// The writing end of a journal.
pub(crate) struct Writer {
    /// Lines to be written, in order.
    pub(crate) lines: mpsc::Sender<Entry>,
    /// How many records are durable; or why no more will be.
    pub(crate) durable: mpsc::Receiver<io::Result<u64>>,
}

/// Starts the task that writes.
pub(crate) fn start_writer<R: Runtime>(
    runtime: &R,
    opened: Opened<R::Journal>,
    vitals: Arc<Vitals>,
) -> Writer {
    let (lines, lines_in) = mpsc::channel(QUEUED_LINES);
    let (durable_out, durable_in) = mpsc::channel(QUEUED_LINES);
    vitals.journal_bytes.set(opened.bytes());
    runtime.spawn(write(opened, lines_in, durable_out, vitals));
    Writer { lines, durable: durable_in }
}

async fn write(
    mut journal: Opened<impl JournalFile>,
    mut lines: mpsc::Receiver<Entry>,
    out: mpsc::Sender<io::Result<u64>>,
    vitals: Arc<Vitals>,
) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, QUEUED_LINES).await > 0 {
        let before = journal.durable;
        let mut result = journal.write(&batch).await;
        // Nobody waits for a line that only says what is forgotten.
        if result.is_ok() && journal.durable > before && out.send(Ok(journal.durable)).await.is_err() {
            return;
        }
        if let Some(before) = batch.drain(..).filter_map(|entry| entry.forgets).max()
            && result.is_ok()
        {
            result = journal.forget(before).await;
        }
        vitals.journal_bytes.set(journal.bytes());
        if let Err(why) = result {
            let _ = out.send(Err(why)).await;
            return; // never retried: after a failed sync nobody knows what is on disk
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::tokio_runtime::TokioRuntime;

    const FORM: Form = Form::Json;
    const LOCKED: &str = "has it open";

    async fn opened(path: &Path) -> (Recovered<u64>, Opened<<TokioRuntime as Runtime>::Journal>) {
        // A process that another test is about to start has, for an instant, all files open that this one has.
        for _ in 0..1_000 {
            match open(&TokioRuntime::new(path), FORM).await {
                Ok((recovered, opened)) => return (recovered, Opened { most_bytes: 200, ..opened }),
                Err(why) if why.to_string().contains(LOCKED) => {
                    TokioRuntime::new(path).sleep(Duration::from_millis(5)).await;
                }
                Err(why) => panic!("it should be a sound journal: {why}"),
            }
        }
        panic!("{LOCKED}, for seconds");
    }

    fn files(folder: &Path) -> Vec<(String, u64)> {
        let entry = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("a folder");
            let length = entry.metadata().expect("a file").len();
            (entry.file_name().into_string().expect("a name"), length)
        };
        let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(entry).collect();
        files.sort();
        files
    }

    async fn append(journal: &mut Opened<<TokioRuntime as Runtime>::Journal>, records: u64) {
        let first = journal.durable + 1;
        let batch: Vec<_> = (first..first + records).map(|n| Entry::record(FORM, n, &n)).collect();
        journal.write(&batch).await.expect("there is room");
    }

    async fn forget(journal: &mut Opened<<TokioRuntime as Runtime>::Journal>, before: u64) {
        journal.write(&[Entry::forget(before, journal.durable + 1)]).await.expect("there is room");
        journal.forget(before).await.expect("they can be deleted");
    }

    /// Whatever is written, the files stay few and short, and what is not forgotten comes back with its number.
    #[tokio::test]
    async fn a_journal_that_forgets_stays_small() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        for round in 0..20 {
            let (recovered, mut journal) = opened(&path).await;
            let last = 50 * round;
            assert_eq!(recovered.journal().last(), last);
            assert_eq!(recovered.forgotten, last.saturating_sub(3));
            assert_eq!(recovered.records, (recovered.forgotten + 1..=last).collect::<Vec<_>>());
            for _ in 0..10 {
                append(&mut journal, 5).await;
                let last = journal.durable;
                forget(&mut journal, last - 2).await;
            }
            let bytes: u64 = files(folder.path()).iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes < 800 && files(folder.path()).len() <= 4, "{:?}", files(folder.path()));
        }
    }

    /// A process may die between any two deletions: what is left is finished by its next life.
    #[tokio::test]
    async fn files_that_should_be_gone_are_deleted_later() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        let (_, mut journal) = opened(&path).await;
        for _ in 0..3 {
            append(&mut journal, 20).await;
            forget(&mut journal, 1).await; // which only begins another file
        }
        append(&mut journal, 1).await;
        let names = |folder: &Path| files(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(folder.path()), ["journal", "journal.21", "journal.41", "journal.61"]);
        journal.write(&[Entry::forget(50, 62)]).await.expect("there is room");
        drop(journal);
        let (recovered, journal) = opened(&path).await;
        assert_eq!((recovered.forgotten, recovered.records), (49, (50..=61).collect()));
        assert_eq!(names(folder.path()), ["journal", "journal.41", "journal.61"]);
        assert_eq!(files(folder.path())[0].1, 0, "the first holds the lock, and nothing else");
        drop(journal);
        // One that is missing was not forgotten.
        std::fs::remove_file(folder.path().join("journal.41")).expect("it is there");
        let refused = open::<_, u64>(&TokioRuntime::new(&path), FORM).await;
        let why = refused.err().map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains("the records 50 to 60 are missing, and were not forgotten"), "{why}");
    }

    /// A node may forget all that there is, and another file begins with what comes then: the one that says so stays.
    #[tokio::test]
    async fn what_says_that_all_is_forgotten_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        let (_, mut journal) = opened(&path).await;
        append(&mut journal, 20).await;
        forget(&mut journal, 21).await;
        drop(journal);
        for _ in 0..2 {
            let (recovered, _) = opened(&path).await;
            assert_eq!((recovered.forgotten, recovered.records), (20, vec![]));
        }
        let (_, mut journal) = opened(&path).await;
        append(&mut journal, 1).await;
        forget(&mut journal, 1).await; // which says less than was said
        drop(journal);
        for _ in 0..2 {
            let (recovered, _) = opened(&path).await;
            assert_eq!((recovered.forgotten, recovered.records), (20, vec![21]));
        }
    }

    /// The lock is on a file that stays.
    #[tokio::test]
    async fn a_journal_that_has_forgotten_is_locked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal");
        let (_, mut journal) = opened(&path).await;
        append(&mut journal, 40).await;
        forget(&mut journal, 2).await;
        append(&mut journal, 1).await;
        forget(&mut journal, 41).await;
        assert_eq!(files(folder.path())[0], ("journal".into(), 0));
        let refused = open::<_, u64>(&TokioRuntime::new(&path), FORM).await;
        let why = refused.err().map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains(LOCKED), "{why}");
    }
}

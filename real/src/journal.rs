//! The journal of a running node: recovery at the start, then one task that writes and syncs.
//!
//! The task takes all lines that have come in since its last sync and makes them durable together (group
//! commit): the node goes on working meanwhile, and the host holds back what must wait.

use std::io;

use coalmine_core::codec::journal::{self, Damage, Recovered};
use coalmine_core::form::Form;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::runtime::{JournalFile, Runtime};

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
) -> Result<(Recovered<T>, R::Journal), JournalError> {
    let (bytes, mut file) = runtime.open_journal().await?;
    let recovered = journal::recover(form, &bytes)?;
    if recovered.torn.is_some() {
        file.truncate(recovered.valid_bytes).await?;
    }
    if recovered.unterminated {
        file.write(b"\n").await?;
    }
    // What was read may only be in the operating system's cache, written by a life that died before its
    // sync. The node is about to rely on it.
    file.sync().await?;
    Ok((recovered, file))
}

/// The writing end of a journal.
pub(crate) struct Writer {
    /// Lines to be written, in order.
    pub(crate) lines: mpsc::Sender<Vec<u8>>,
    /// How many records are durable; or why no more will be.
    pub(crate) durable: mpsc::Receiver<io::Result<u64>>,
}

/// Starts the task that writes. `durable` records are on disk already.
pub(crate) fn start_writer<R: Runtime>(runtime: &R, file: R::Journal, durable: u64) -> Writer {
    let (lines, lines_in) = mpsc::channel(QUEUED_LINES);
    let (durable_out, durable_in) = mpsc::channel(QUEUED_LINES);
    runtime.spawn(write(file, durable, lines_in, durable_out));
    Writer { lines, durable: durable_in }
}

async fn write(
    mut file: impl JournalFile,
    mut durable: u64,
    mut lines: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<io::Result<u64>>,
) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, QUEUED_LINES).await > 0 {
        let result = write_batch(&mut file, &batch).await;
        durable += batch.len() as u64;
        batch.clear();
        let failed = result.is_err();
        if out.send(result.map(|()| durable)).await.is_err() || failed {
            return; // never retried: after a failed sync nobody knows what is on disk
        }
    }
}

async fn write_batch(file: &mut impl JournalFile, batch: &[Vec<u8>]) -> io::Result<()> {
    for line in batch {
        file.write(line).await?;
    }
    file.sync().await
}

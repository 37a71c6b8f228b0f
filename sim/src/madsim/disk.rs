//! Disks, as a madsim plugin: one journal file a node, kept in a [`LossyDisk`]. madsim's own file system
//! forgets nothing in a crash.
//!
//! Each write of a line is one append. Killing a node crashes its disk: a drawn prefix of the unsynced lines
//! survives, and a drawn piece of the first lost one may be left behind, torn.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coalmine_core::disk::LossyDisk;
use coalmine_real::runtime::JournalFile;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;

use crate::plan::{Draw, Stream};

/// The shortest and the longest time a sync takes.
const SYNC: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(3));

/// All disks of a simulation.
pub struct Disks(Mutex<State>);

struct State {
    rng: ChaCha8Rng,
    disks: BTreeMap<NodeId, File>,
}

#[derive(Default)]
struct File {
    content: LossyDisk<Vec<u8>>,
    /// Counts crashes, so that what a former life still has open can do no harm.
    crashes: u64,
    last_crash: Crash,
}

/// What a crash did to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crash {
    /// How many unsynced lines survived.
    pub kept: usize,
    /// How many did not.
    pub lost: usize,
    /// How many bytes of the first lost line were left behind.
    pub torn_bytes: usize,
}

impl Simulator for Disks {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Self {
        Self(Mutex::new(State { rng: Stream::Disk.of(0), disks: BTreeMap::new() }))
    }

    fn create_node(&self, id: NodeId) {
        self.with(|state| state.disks.insert(id, File::default()));
    }

    fn reset_node(&self, id: NodeId) {
        self.with(|State { rng, disks }| {
            let Some(file) = disks.get_mut(&id) else { return };
            let kept = rng.below(file.content.unsynced() as u64 + 1) as usize;
            let lost = file.content.crash(kept);
            let torn = lost.first().map_or(&[][..], |line| &line[..rng.below(line.len() as u64) as usize]);
            if !torn.is_empty() {
                file.content.append(torn.to_vec());
                file.content.sync(file.content.written().len());
            }
            file.crashes += 1;
            file.last_crash = Crash { kept, lost: lost.len(), torn_bytes: torn.len() };
        });
    }
}

impl Disks {
    /// The disks of the simulation that is running.
    pub fn current() -> Arc<Self> {
        madsim::plugin::simulator()
    }

    /// Draws everything from this seed from now on.
    pub fn seed(&self, seed: u64) {
        self.with(|state| state.rng = Stream::Disk.of(seed));
    }

    /// What the last crash did to a node's disk.
    pub fn last_crash(&self, id: NodeId) -> Crash {
        self.with(|state| state.disks.get(&id).map(|file| file.last_crash).unwrap_or_default())
    }

    /// Opens the journal of the node whose task this is.
    pub fn open(self: &Arc<Self>) -> (Vec<u8>, SimJournal) {
        let node = madsim::plugin::node();
        let (bytes, crashes) = self.with(|state| {
            let file = state.disks.entry(node).or_default();
            (file.content.written().concat(), file.crashes)
        });
        (bytes, SimJournal { disks: Arc::clone(self), node, crashes })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A journal that one life of a node has open.
pub struct SimJournal {
    disks: Arc<Disks>,
    node: NodeId,
    crashes: u64,
}

impl SimJournal {
    /// Works on the file, unless this life of the node is over: then nothing ever comes back.
    async fn with<T>(&self, work: impl FnOnce(&mut LossyDisk<Vec<u8>>, &mut ChaCha8Rng) -> T) -> T {
        let worked = self.disks.with(|State { rng, disks }| {
            let file = disks.get_mut(&self.node)?;
            (file.crashes == self.crashes).then(|| work(&mut file.content, rng))
        });
        match worked {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

impl JournalFile for SimJournal {
    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(|content, _| {
            let mut bytes = content.written().concat();
            bytes.truncate(length as usize);
            content.wipe();
            content.append(bytes);
            content.sync(1);
        })
        .await;
        Ok(())
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.with(|content, _| content.append(line.to_vec())).await;
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        let (upto, takes) = self
            .with(|content, rng| {
                let spread = (SYNC.1 - SYNC.0).as_nanos() as u64;
                (content.written().len(), SYNC.0 + Duration::from_nanos(rng.below(spread)))
            })
            .await;
        madsim::time::sleep(takes).await;
        self.with(|content, _| content.sync(upto)).await;
        Ok(())
    }
}

//! Disks, as a madsim plugin: one journal a node, kept in a [`LossyDisk`]. madsim's own file system
//! forgets nothing in a crash.
//!
//! Each write of a line is one append, and so is the beginning of another file. The files before one are deleted when the
//! folder is synced; a crash before that may bring back the youngest of them. When a node is killed, or stops, a drawn prefix of the unsynced lines had left the
//! process, and is there for its next life. When its machine crashes, that prefix is durable, and a drawn piece of the
//! first lost line may be left behind, torn.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use coalmine_core::codec::journal::Segment;
use coalmine_core::disk::LossyDisk;
use coalmine_real::runtime::JournalFile;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use rand_chacha::ChaCha8Rng;

use crate::engine::shared::disk::{Crash, DiskFault, SYNC_FAILED, crash, kill};
use crate::spec::faults::{CrashKind, Effect, Effects};
use crate::spec::plan::{Draw, Stream};

/// All disks of a simulation.
pub struct Disks(Mutex<State>);

struct State {
    rng: ChaCha8Rng,
    disks: BTreeMap<NodeId, File>,
    effects: Effects,
}

/// What is written.
enum Item {
    /// A line, or a piece of one.
    Line {
        bytes: Vec<u8>,
        /// The record that is whole with it, if it is the end of one.
        ends: Option<u64>,
    },
    /// What follows is in another file, whose first record has this number.
    Begin(u64),
}

/// From which size on a file is followed by another, in bytes: small, so that it happens.
pub const SEGMENT_BYTES: u64 = 64;

#[derive(Default)]
struct File {
    content: LossyDisk<Item>,
    /// How many writes there were when it was opened, or when nobody had it open any more: others made them.
    opened: usize,
    /// What the next end of a life is, if it is not one of the process alone.
    next: Option<CrashKind>,
    /// Counts the ends of lives, so that what a former life still has open can do no harm.
    crashes: u64,
    last_crash: Crash,
    disk_fault: DiskFault,
}

/// How far the records on a disk go: the number of the last whole one, 0 if there never was one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content {
    /// Of those that no crash can take.
    pub durable: u64,
    /// Of those that the running process would read.
    pub written: u64,
}

impl Simulator for Disks {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Self {
        let (disks, effects) = (BTreeMap::new(), Effects::default());
        Self(Mutex::new(State { rng: Stream::Disk.of(0), disks, effects }))
    }

    fn create_node(&self, id: NodeId) {
        self.with(|state| state.disks.insert(id, File::default()));
    }

    fn reset_node(&self, id: NodeId) {
        self.with(|State { rng, disks, effects }| {
            let Some(file) = disks.get_mut(&id) else { return };
            let (crash, torn) = match file.next.take().unwrap_or(CrashKind::Kill) {
                CrashKind::Kill => {
                    let at_hand = file.content.unsynced().min(file.content.written().len() - file.opened);
                    file.content.vanish(file.content.forgettable());
                    (kill(&mut file.content, at_hand, rng, effects), Vec::new())
                }
                CrashKind::Power | CrashKind::Wipe => {
                    file.lose_deleted(rng);
                    crash(&mut file.content, rng, effects, |item| match item {
                        Item::Line { bytes, .. } => bytes,
                        Item::Begin(_) => Vec::new(),
                    })
                }
            };
            if !torn.is_empty() {
                file.content.append(Item::Line { bytes: torn, ends: None });
                file.content.sync(file.content.written().len());
            }
            file.opened = file.content.written().len();
            file.crashes += 1;
            file.last_crash = crash;
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

    /// Changes what is wrong with a node's disk.
    pub fn change_fault(&self, id: NodeId, change: impl FnOnce(&mut DiskFault)) {
        self.with(|state| change(&mut state.disks.entry(id).or_default().disk_fault));
    }

    /// The next end of this node's life is one of this kind.
    pub fn ends_by(&self, id: NodeId, kind: CrashKind) {
        self.with(|state| state.disks.entry(id).or_default().next = Some(kind));
    }

    /// Whether a crash of the machine could take something.
    pub fn is_at_risk(&self, id: NodeId) -> bool {
        self.with(|state| state.disks.get(&id).is_some_and(|file| file.content.unsynced() > 0))
    }

    /// No faults from now on. What has rotted or is lost stays so.
    pub fn heal(&self) {
        self.with(|state| state.disks.values_mut().for_each(|file| file.disk_fault = DiskFault::default()));
    }

    /// Empties the disk of a node that is down.
    pub fn wipe(&self, id: NodeId) {
        self.with(|state| {
            state.effects.count(Effect::DiskWiped);
            let file = state.disks.entry(id).or_default();
            file.content.wipe();
            file.opened = 0;
        });
    }

    /// Changes one bit of what is durable, so many thousandths into it. `false` if there is nothing.
    pub fn rot(&self, id: NodeId, permille: u32) -> bool {
        self.with(|State { rng, disks, effects }| {
            let Some(file) = disks.get_mut(&id) else { return false };
            let records = file.content.durable_mut();
            let at = records.len() * permille.min(999) as usize / 1000;
            let Some(Item::Line { bytes: record, .. }) = records.get_mut(at) else { return false };
            if record.is_empty() {
                return false;
            }
            let byte = rng.below(record.len() as u64) as usize;
            record[byte] ^= 1 << rng.below(7);
            effects.count(Effect::BitRot);
            true
        })
    }

    /// What took effect so far.
    pub fn effects(&self) -> Effects {
        self.with(|state| state.effects.clone())
    }

    /// What the last end of its life did to a node's disk.
    pub fn last_crash(&self, id: NodeId) -> Crash {
        self.with(|state| state.disks.get(&id).map(|file| file.last_crash).unwrap_or_default())
    }

    /// What a node's disk holds.
    pub fn content(&self, id: NodeId) -> Content {
        self.with(|state| {
            let Some(File { content, .. }) = state.disks.get(&id) else { return Content::default() };
            Content { durable: last_record(content.durable()), written: last_record(content.written()) }
        })
    }

    /// Opens the journal of the node whose task this is.
    pub fn open(self: &Arc<Self>) -> (Vec<Segment>, SimJournal) {
        let node = madsim::plugin::node();
        let (segments, crashes) = self.with(|state| {
            let file = state.disks.entry(node).or_default();
            file.opened = file.content.written().len();
            (file.segments(), file.crashes)
        });
        (segments, SimJournal { disks: Arc::clone(self), node, crashes })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The number of the last record that is whole.
fn last_record(items: &[Item]) -> u64 {
    let last = items.iter().rev().find_map(|item| match item {
        Item::Line { ends, .. } => *ends,
        Item::Begin(first) => Some(first - 1),
    });
    last.unwrap_or(0)
}

impl File {
    /// The files, one after the other.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut last = Segment { first: 1, bytes: Vec::new() };
        for (place, item) in self.content.written().iter().enumerate() {
            match item {
                Item::Begin(first) => {
                    let before = std::mem::replace(&mut last, Segment { first: *first, bytes: Vec::new() });
                    // Where the first of all is deleted another comes first.
                    segments.extend((place > 0).then_some(before));
                }
                Item::Line { bytes, .. } => last.bytes.extend(bytes),
            }
        }
        segments.push(last);
        segments
    }

    /// Writes a line, which may also be the end of one that a crash has left torn.
    fn write(&mut self, line: &[u8]) {
        let torn = match self.content.written().last() {
            Some(Item::Line { bytes, .. }) if !bytes.ends_with(b"\n") => bytes.as_slice(),
            Some(Item::Line { .. } | Item::Begin(_)) | None => &[],
        };
        let whole = [torn, line].concat();
        let number = whole.split(|byte| *byte == b' ').next().and_then(|it| std::str::from_utf8(it).ok());
        let ends = number.filter(|_| whole.ends_with(b"\n")).and_then(|number| number.parse().ok());
        self.content.append(Item::Line { bytes: line.to_vec(), ends });
    }

    /// Where the last file begins among what is written.
    fn last_segment(&self) -> usize {
        let items = self.content.written();
        items.iter().rposition(|item| matches!(item, Item::Begin(_))).map_or(0, |place| place + 1)
    }

    /// Of what is deleted and may come back, so much is gone: whole files.
    fn lose_deleted(&mut self, rng: &mut ChaCha8Rng) {
        let deleted = &self.content.written()[..self.content.forgettable()];
        if deleted.is_empty() {
            return;
        }
        let begins = |(place, item): (usize, &Item)| matches!(item, Item::Begin(_)).then_some(place);
        let ends: Vec<_> = deleted.iter().enumerate().filter_map(begins).chain([deleted.len()]).collect();
        self.content.vanish(ends[rng.below(ends.len() as u64) as usize]);
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
    async fn with<T>(&self, work: impl FnOnce(&mut File, &mut ChaCha8Rng, &mut Effects) -> T) -> T {
        let worked = self.disks.with(|State { rng, disks, effects }| {
            let file = disks.get_mut(&self.node)?;
            (file.crashes == self.crashes).then(|| work(file, rng, effects))
        });
        match worked {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

impl JournalFile for SimJournal {
    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(|file, _, _| {
            // Line by line, as it was written.
            let bytes = file.segments().pop().map(|last| last.bytes).unwrap_or_default();
            file.content.truncate(file.last_segment());
            for line in bytes[..length as usize].split_inclusive(|&byte| byte == b'\n') {
                file.write(line);
            }
            file.content.sync(file.content.written().len());
            file.opened = file.content.written().len();
        })
        .await;
        Ok(())
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.with(|file, _, effects| {
            if file.disk_fault.full {
                effects.count(Effect::DiskFull);
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write(line);
            Ok(())
        })
        .await
    }

    async fn sync(&mut self) -> io::Result<()> {
        let (upto, takes) = self
            .with(|file, rng, effects| {
                let takes = file.disk_fault.sync(rng, effects);
                let takes = takes.ok_or_else(|| io::Error::other(SYNC_FAILED))?;
                io::Result::Ok((file.content.written().len(), takes))
            })
            .await?;
        madsim::time::sleep(takes).await;
        self.with(|file, _, _| file.content.sync(upto)).await;
        Ok(())
    }
    async fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        self.with(|file, _, _| file.content.append(Item::Begin(first))).await;
        self.sync().await
    }

    async fn remove_before(&mut self, first: u64) -> io::Result<()> {
        self.with(|file, _, _| {
            let items = file.content.written();
            let begins = items.iter().position(|item| matches!(item, Item::Begin(it) if *it == first));
            let before = file.content.forgotten() + begins.unwrap_or(0) as u64 + 1;
            file.content.forget(before);
        })
        .await;
        self.sync().await?;
        self.with(|file, _, _| {
            file.opened = file.opened.saturating_sub(file.content.forgettable());
            file.content.vanish(file.content.forgettable());
        })
        .await;
        Ok(())
    }
}

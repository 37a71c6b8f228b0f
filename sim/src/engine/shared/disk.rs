//! Disks, as far as both engines share them: what the plan did to one, and what a crash does.

use std::time::Duration;

use coalmine_core::disk::LossyDisk;
use rand_chacha::ChaCha8Rng;

use crate::spec::faults::{Effect, Effects};
use crate::spec::plan::Draw;

/// The shortest and the longest time a sync takes.
const SYNC: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(3));

/// What a node is told of a sync that failed.
pub const SYNC_FAILED: &str = "the disk could not sync";

/// What the plan did to a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFault {
    /// Every sync takes so much longer.
    pub slower: Duration,
    /// The next sync fails.
    pub fail_sync: bool,
    /// Writes fail.
    pub full: bool,
}

impl DiskFault {
    /// How long a sync takes; `None` if it fails.
    pub fn sync(&mut self, rng: &mut ChaCha8Rng, effects: &mut Effects) -> Option<Duration> {
        if std::mem::take(&mut self.fail_sync) {
            effects.count(Effect::SyncFailed);
            return None;
        }
        effects.add(Effect::SyncSlowed, u64::from(!self.slower.is_zero()));
        let spread = (SYNC.1 - SYNC.0).as_nanos() as u64;
        Some(SYNC.0 + Duration::from_nanos(rng.below(spread)) + self.slower)
    }
}

/// What the end of a node's life did to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crash {
    /// How many unsynced writes survived.
    pub kept: usize,
    /// How many did not.
    pub lost: usize,
    /// How many bytes of the first lost write were left behind.
    pub torn_bytes: usize,
}

/// Ends a process on a disk: of the last unsynced writes, which it may still have had `at_hand`, a drawn prefix had left
/// it. What has is at risk.
pub fn kill<T>(
    disk: &mut LossyDisk<T>,
    at_hand: usize,
    rng: &mut ChaCha8Rng,
    effects: &mut Effects,
) -> Crash {
    let lost = rng.below(at_hand as u64 + 1) as usize;
    let kept = disk.unsynced() - lost;
    disk.kill(kept);
    effects.add(Effect::UnsyncedWriteKept, kept as u64);
    effects.add(Effect::UnsyncedWriteLost, lost as u64);
    Crash { kept, lost, torn_bytes: 0 }
}

/// Crashes a disk with its machine: a drawn prefix of the unsynced writes survives, and of the first lost one, whose
/// bytes `encode` gives, a drawn piece, which is returned.
pub fn crash<T>(
    disk: &mut LossyDisk<T>,
    rng: &mut ChaCha8Rng,
    effects: &mut Effects,
    encode: impl FnOnce(T) -> Vec<u8>,
) -> (Crash, Vec<u8>) {
    let kept = rng.below(disk.unsynced() as u64 + 1) as usize;
    let lost = disk.crash(kept);
    let lost_count = lost.len();
    let mut torn = lost.into_iter().next().map(encode).unwrap_or_default();
    if !torn.is_empty() {
        torn.truncate(rng.below(torn.len() as u64) as usize);
    }
    effects.add(Effect::UnsyncedWriteKept, kept as u64);
    effects.add(Effect::UnsyncedWriteLost, lost_count as u64);
    effects.add(Effect::TornWrite, u64::from(!torn.is_empty()));
    (Crash { kept, lost: lost_count, torn_bytes: torn.len() }, torn)
}

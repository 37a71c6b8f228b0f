//! The disk, as the simulators and the checker model it.
//!
//! A disk is a sequence of appends. The first of them are **durable**; the rest are **unsynced**: written,
//! visible to the running process, and at risk. What may happen:
//!
//! * a **sync** makes appends durable, in order;
//! * a **crash** is a power failure: it keeps any prefix of the unsynced appends and forgets the rest. The kept ones
//!   are durable from then on. What is lost is handed back, so that a driver that stores bytes can leave a torn piece
//!   of the first lost append behind, as real disks do;
//! * a **kill** ends the process and not its machine: any prefix of the unsynced appends had left the process, and its
//!   next life finds them; the rest is lost with the process's memory. Nothing becomes durable by it: until somebody
//!   syncs, the next crash may still take what was kept;
//! * a **wipe** loses everything: a new disk in an old machine.
//!
//! # Where the two ends of a process are one
//!
//! A node's shell syncs its journal before it relies on it, so no node ever acts on what is unsynced at its boot. Then
//! a kill cannot be told from a crash. Whoever boots after kills and crashes, in any number and order, finds all that
//! was durable and some prefix of what was not, and after its sync all of that is durable: one crash that keeps
//! this prefix leaves the same disk. In between the node is down, and nobody sees its disk but the invariants, which
//! see what is durable: after a kill that is what a crash which keeps nothing leaves. So the checker, whose nodes sync
//! as they boot, needs one kind of crash, and a test holds it to that (`crashes` in the test crate). What it does need
//! is a shell that keeps its side: the simulators have both kinds, and find one that does not.
//!
//! Order is never lost: a journal is written sequentially, and a record after a gap is not found by
//! recovery. The simulator stores journal bytes in it, one append a write; the checker stores records.

/// A disk that keeps its promises and not a word more. See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LossyDisk<T> {
    appends: Vec<T>,
    durable: usize,
}

impl<T> Default for LossyDisk<T> {
    fn default() -> Self {
        Self { appends: Vec::new(), durable: 0 }
    }
}

impl<T> LossyDisk<T> {
    /// Writes at the end, unsynced.
    pub fn append(&mut self, item: T) {
        self.appends.push(item);
    }

    /// Makes the first `upto` appends durable; fewer than already are changes nothing.
    pub fn sync(&mut self, upto: usize) {
        assert!(upto <= self.appends.len(), "sync to {upto}, only {} written", self.appends.len());
        self.durable = self.durable.max(upto);
    }

    /// The process is killed: the first `keep` unsynced appends had left it, the others are returned. Nothing becomes
    /// durable.
    pub fn kill(&mut self, keep: usize) -> Vec<T> {
        assert!(keep <= self.unsynced(), "a kill cannot keep {keep} of {} appends", self.unsynced());
        self.appends.split_off(self.durable + keep)
    }

    /// Crashes: the first `keep` unsynced appends happen to have reached the disk, the others are returned.
    pub fn crash(&mut self, keep: usize) -> Vec<T> {
        assert!(keep <= self.unsynced(), "a crash cannot keep {keep} of {} appends", self.unsynced());
        let lost = self.appends.split_off(self.durable + keep);
        self.durable = self.appends.len();
        lost
    }

    /// Loses everything.
    pub fn wipe(&mut self) {
        self.appends.clear();
        self.durable = 0;
    }

    /// What is durable, to be damaged: disks also lie about what they once kept.
    pub fn durable_mut(&mut self) -> &mut [T] {
        &mut self.appends[..self.durable]
    }

    /// All that was written, in order: what the running process would read.
    pub fn written(&self) -> &[T] {
        &self.appends
    }

    /// What is durable.
    pub fn durable(&self) -> &[T] {
        &self.appends[..self.durable]
    }

    /// How many appends a crash may lose.
    pub fn unsynced(&self) -> usize {
        self.appends.len() - self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_a_prefix_and_hands_back_the_rest() {
        let mut disk = LossyDisk::default();
        for record in 1..=4 {
            disk.append(record);
        }
        disk.sync(1);
        assert_eq!(disk.crash(2), [4]);
        assert_eq!(disk.durable(), [1, 2, 3]);
        assert_eq!(disk.unsynced(), 0);
        disk.append(5);
        assert_eq!((disk.written().len(), disk.crash(0)), (4, vec![5]));
    }

    #[test]
    fn what_a_kill_keeps_is_still_at_risk() {
        let mut disk = LossyDisk::default();
        for record in 1..=4 {
            disk.append(record);
        }
        disk.sync(1);
        assert_eq!(disk.kill(2), [4]);
        assert_eq!((disk.durable(), disk.written()), (&[1][..], &[1, 2, 3][..]));
        assert_eq!(disk.clone().crash(0), [2, 3]);
        disk.sync(3);
        assert_eq!(disk.crash(0), Vec::<i32>::new());
    }

    #[test]
    #[should_panic(expected = "sync to 1, only 0 written")]
    fn nothing_unwritten_becomes_durable() {
        LossyDisk::<u8>::default().sync(1);
    }
}

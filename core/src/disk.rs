//! The disk, as the simulators and the checker model it.
//!
//! A disk is a sequence of appends. The first of them are **durable**; the rest are **unsynced**: written,
//! visible to the running process, and at risk. What may happen:
//!
//! * a **sync** makes appends durable, in order;
//! * a **crash** keeps any prefix of the unsynced appends and forgets the rest. The kept ones are durable
//!   from then on. What is lost is handed back, so that a driver that stores bytes can leave a torn piece of
//!   the first lost append behind, as real disks do;
//! * a **wipe** loses everything: a new disk in an old machine.
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
    #[should_panic(expected = "sync to 1, only 0 written")]
    fn nothing_unwritten_becomes_durable() {
        LossyDisk::<u8>::default().sync(1);
    }
}

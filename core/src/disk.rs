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
//! * a **wipe** loses everything: a new disk in an old machine;
//! * what was **forgotten** may vanish: the oldest appends first, as many as whoever boots the node finds gone. Nothing
//!   says that it ever does. The others keep their numbers.
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

/// What is left of a journal. Its records are numbered from 1; the first of these has the number `forgotten + 1`.
#[derive(Debug, PartialEq, Eq)]
pub struct Journal<'a, R> {
    /// How many records before these are gone.
    pub forgotten: u64,
    /// Those that are there, in order.
    pub records: &'a [R],
}

impl<R> Clone for Journal<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Journal<'_, R> {}

impl<R> Journal<'_, R> {
    /// The number of the last record; 0 if there never was one.
    pub fn last(&self) -> u64 {
        self.forgotten + self.records.len() as u64
    }
}

/// A journal of which nothing was forgotten.
impl<'a, R, A: AsRef<[R]> + ?Sized> From<&'a A> for Journal<'a, R> {
    fn from(records: &'a A) -> Self {
        Self { forgotten: 0, records: records.as_ref() }
    }
}

/// A disk that keeps its promises and not a word more. See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LossyDisk<T> {
    /// How many appends before these are gone.
    forgotten: u64,
    appends: Vec<T>,
    durable: usize,
    /// How many of the durable ones, from the oldest on, may vanish.
    forgettable: usize,
}

impl<T> Default for LossyDisk<T> {
    fn default() -> Self {
        Self { forgotten: 0, appends: Vec::new(), durable: 0, forgettable: 0 }
    }
}

impl<T> LossyDisk<T> {
    /// Writes at the end, unsynced.
    pub fn append(&mut self, item: T) {
        self.appends.push(item);
    }

    /// Makes the first `upto` appends that are there durable; fewer than already are changes nothing.
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

    /// Whoever has it open drops all but the first `length` appends that are there.
    pub fn truncate(&mut self, length: usize) {
        self.appends.truncate(length);
        (self.durable, self.forgettable) = (self.durable.min(length), self.forgettable.min(length));
    }

    /// Loses everything.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// The appends before this number, counted from 1, may vanish from now on, as far as they are durable.
    pub fn forget(&mut self, before: u64) {
        let older = before.saturating_sub(1).saturating_sub(self.forgotten);
        let older = usize::try_from(older).unwrap_or(usize::MAX).min(self.durable);
        self.forgettable = self.forgettable.max(older);
    }

    /// How many may vanish.
    pub fn forgettable(&self) -> usize {
        self.forgettable
    }

    /// So many vanish, the oldest.
    pub fn vanish(&mut self, count: usize) {
        assert!(count <= self.forgettable, "{count} appends vanish, only {} may", self.forgettable);
        self.appends.drain(..count);
        self.forgotten += count as u64;
        self.durable -= count;
        self.forgettable -= count;
    }

    /// The same disk with other things in the places of these.
    pub fn map<U>(&self, other: impl FnMut(&T) -> U) -> LossyDisk<U> {
        let Self { forgotten, durable, forgettable, .. } = *self;
        LossyDisk { forgotten, appends: self.appends.iter().map(other).collect(), durable, forgettable }
    }

    /// How many appends have vanished.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What the running process would read.
    pub fn journal(&self) -> Journal<'_, T> {
        Journal { forgotten: self.forgotten, records: &self.appends }
    }

    /// The number of the last append that is durable; 0 if none ever was.
    pub fn durable_upto(&self) -> u64 {
        self.forgotten + self.durable as u64
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
    fn what_was_forgotten_vanishes_oldest_first_and_the_rest_keep_their_numbers() {
        let mut disk = LossyDisk::default();
        (1..=5).for_each(|record| disk.append(record));
        disk.sync(3);
        disk.forget(3);
        assert_eq!((disk.forgettable(), disk.journal().last()), (2, 5));
        disk.vanish(1);
        assert_eq!(disk.journal(), Journal { forgotten: 1, records: &[2, 3, 4, 5] });
        assert_eq!((disk.durable(), disk.durable_upto(), disk.forgettable()), (&[2, 3][..], 3, 1));
        // Only what is durable, and never more than was said before.
        disk.forget(9);
        assert_eq!(disk.forgettable(), 2);
        disk.forget(1);
        assert_eq!((disk.forgettable(), disk.crash(0)), (2, vec![4, 5]));
        disk.vanish(2);
        assert_eq!(disk.journal(), Journal { forgotten: 3, records: &[] });
        disk.wipe();
        assert_eq!(disk, LossyDisk::default());
    }

    #[test]
    #[should_panic(expected = "sync to 1, only 0 written")]
    fn nothing_unwritten_becomes_durable() {
        LossyDisk::<u8>::default().sync(1);
    }
}

//! The states that were seen: for each a fingerprint, the number of the state before, and who is asleep.
//!
//! The table is cut into shards by fingerprint. One thread at a time works on a shard, so that no word of it
//! is ever written by two, and the order in which states enter a shard is the order of the search.

use std::io::{self, Read, Write};

use super::bytes::{read_number, unsound, write_number};
use super::sleep::Asleep;

/// How many shards there are: two to the power of this.
const SHARD_BITS: u32 = 6;
/// How many shards there are.
pub const SHARDS: usize = 1 << SHARD_BITS;
/// Bits of a state's number that count within its shard. The others of a word in the index hold a part of
/// the fingerprint, so that most other states are told apart without a look at them.
const LOCAL_BITS: u32 = 32 - SHARD_BITS;
/// How many states a shard may hold.
const SHARD_CAPACITY: usize = (1 << LOCAL_BITS) - 2;
/// States are stored by so many.
const PAGE: usize = 2_048;

/// The shard of a fingerprint.
pub fn shard_of(fingerprint: u64) -> usize {
    (fingerprint >> (64 - SHARD_BITS)) as usize
}

/// The number of a state: its shard below, its place in the shard above.
pub type StateId = u32;

/// The states whose fingerprints begin alike.
pub struct Shard {
    number: u32,
    /// Open addressing, linear probing. A word is 0, or a part of the fingerprint above, the place in the
    /// pages plus 1 below.
    index: Vec<u32>,
    pages: Vec<Box<Page>>,
    len: usize,
    /// Where the level that is being found begins.
    level: usize,
}

struct Page {
    fingerprints: [u64; PAGE],
    parents: [StateId; PAGE],
    asleep: [Asleep; PAGE],
}

/// A state that is found.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub fingerprint: u64,
    /// Two words for the caller.
    pub of: (u32, u16),
    /// Who need not take a step from here, as far as this way here goes.
    pub asleep: Asleep,
}

/// A state's place in its shard.
enum Entry {
    Known(usize),
    New(usize),
}

/// The table is full.
#[derive(Debug)]
pub struct Full;

impl Shard {
    /// The empty shard with this number.
    pub fn new(number: usize) -> Self {
        Self { number: number as u32, index: vec![0; 64], pages: Vec::new(), len: 0, level: 0 }
    }

    /// What is new from now on is of the next level.
    pub fn begin_level(&mut self) {
        self.level = self.len;
    }

    /// Adds states in this order; tells `new` of those that were not there, which answers with the number of the
    /// state before. In a state of this level sleeps whoever sleeps along any of the ways to it.
    pub fn insert_all(
        &mut self,
        states: &[Arrival],
        mut new: impl FnMut((u32, u16), StateId) -> StateId,
    ) -> Result<(), Full> {
        // Memory is slow to answer but answers many questions at once: first ask for all of a group.
        for group in states.chunks(16) {
            let mut known = [None; 16];
            let mut words = [0; 16];
            for (word, state) in words.iter_mut().zip(group) {
                *word = self.index[self.start(state.fingerprint)];
            }
            for ((known, word), state) in known.iter_mut().zip(words).zip(group) {
                *known = self.named(word, state.fingerprint);
            }
            for (known, state) in known.into_iter().zip(group) {
                let entry = match known {
                    Some(local) => Entry::Known(local),
                    None => self.insert(state.fingerprint)?,
                };
                match entry {
                    Entry::Known(local) if local >= self.level => {
                        self.pages[local / PAGE].asleep[local % PAGE] |= state.asleep;
                    }
                    Entry::Known(_) => {}
                    Entry::New(local) => {
                        let parent = new(state.of, (local as u32) << SHARD_BITS | self.number);
                        let page = &mut self.pages[local / PAGE];
                        page.parents[local % PAGE] = parent;
                        page.asleep[local % PAGE] = state.asleep;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes all but the index.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_number(out, self.len as u64)?;
        write_number(out, self.level as u64)?;
        for local in 0..self.len {
            let (page, at) = (&self.pages[local / PAGE], local % PAGE);
            out.write_all(&page.fingerprints[at].to_le_bytes())?;
            out.write_all(&page.parents[at].to_le_bytes())?;
            out.write_all(&page.asleep[at].to_le_bytes())?;
        }
        Ok(())
    }

    /// Reads what was written.
    pub fn read(number: usize, input: &mut impl Read) -> io::Result<Self> {
        let mut shard = Self::new(number);
        let (len, level) = (read_number(input)?, read_number(input)?);
        for _ in 0..len {
            let mut bytes = [0; 14];
            input.read_exact(&mut bytes)?;
            let [f @ .., p0, p1, p2, p3, a0, a1] = bytes;
            let entry = shard.insert(u64::from_le_bytes(f)).map_err(|Full| unsound("a table is too full"))?;
            let Entry::New(local) = entry else { return Err(unsound("a state is there twice")) };
            let page = &mut shard.pages[local / PAGE];
            page.parents[local % PAGE] = u32::from_le_bytes([p0, p1, p2, p3]);
            page.asleep[local % PAGE] = u16::from_le_bytes([a0, a1]);
        }
        shard.level = usize::try_from(level).map_err(|_| unsound("a level begins nowhere"))?;
        Ok(shard)
    }

    /// Who need not take a step from a state.
    pub fn asleep(&self, id: StateId) -> Asleep {
        let local = (id >> SHARD_BITS) as usize;
        self.pages[local / PAGE].asleep[local % PAGE]
    }

    /// The fingerprint and the parent of a state.
    pub fn get(&self, id: StateId) -> (u64, StateId) {
        let local = (id >> SHARD_BITS) as usize;
        let page = &self.pages[local / PAGE];
        (page.fingerprints[local % PAGE], page.parents[local % PAGE])
    }

    fn start(&self, fingerprint: u64) -> usize {
        fingerprint as usize & (self.index.len() - 1)
    }

    /// The place of the state that a word of the index names, if it is this one.
    fn named(&self, word: u32, fingerprint: u64) -> Option<usize> {
        if word >> LOCAL_BITS != tag(fingerprint) || word & LOCAL_MASK == 0 {
            return None;
        }
        let local = (word & LOCAL_MASK) as usize - 1;
        (self.pages[local / PAGE].fingerprints[local % PAGE] == fingerprint).then_some(local)
    }

    fn insert(&mut self, fingerprint: u64) -> Result<Entry, Full> {
        if self.len >= self.limit() {
            self.grow();
        }
        let mut at = self.start(fingerprint);
        while self.index[at] != 0 {
            if let Some(local) = self.named(self.index[at], fingerprint) {
                return Ok(Entry::Known(local));
            }
            at = (at + 1) & (self.index.len() - 1);
        }
        if self.len == SHARD_CAPACITY {
            return Err(Full);
        }
        let local = self.len;
        if local.is_multiple_of(PAGE) {
            let page = Page { fingerprints: [0; PAGE], parents: [0; PAGE], asleep: [0; PAGE] };
            self.pages.push(Box::new(page));
        }
        self.pages[local / PAGE].fingerprints[local % PAGE] = fingerprint;
        self.index[at] = word(fingerprint, local);
        self.len += 1;
        Ok(Entry::New(local))
    }

    /// How many states the index takes before it grows: from six to eight tenths, another share in each
    /// shard, so that they do not all grow at once.
    fn limit(&self) -> usize {
        let share = 0.6 + 0.2 * f64::from(self.number) / SHARDS as f64;
        (self.index.len() as f64 * share) as usize
    }

    fn grow(&mut self) {
        let mut index = vec![0; self.index.len() * 2];
        for local in 0..self.len {
            let fingerprint = self.pages[local / PAGE].fingerprints[local % PAGE];
            let mut at = fingerprint as usize & (index.len() - 1);
            while index[at] != 0 {
                at = (at + 1) & (index.len() - 1);
            }
            index[at] = word(fingerprint, local);
        }
        self.index = index;
    }
}

const LOCAL_MASK: u32 = (1 << LOCAL_BITS) - 1;

fn word(fingerprint: u64, local: usize) -> u32 {
    tag(fingerprint) << LOCAL_BITS | (local as u32 + 1)
}

/// Bits that neither choose the shard nor the place in the index.
fn tag(fingerprint: u64) -> u32 {
    (fingerprint >> (64 - 2 * SHARD_BITS)) as u32 & (SHARDS as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_knows_what_it_was_given() {
        let mut shard = Shard::new(5);
        let fingerprint =
            |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> SHARD_BITS | 5 << (64 - SHARD_BITS);
        let state = |i: u64| Arrival { fingerprint: fingerprint(i), of: (i as u32, 0), asleep: 0 };
        let states: Vec<_> = (0..50_000).map(state).collect();
        let mut ids = Vec::new();
        for _ in 0..2 {
            shard
                .insert_all(&states, |(i, _), id| {
                    ids.push(id);
                    i
                })
                .expect("there is room");
        }
        assert_eq!(ids.len(), 50_000);
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(shard.get(*id), (fingerprint(i as u64), i as u32));
        }
    }

    /// Ways to a state of a former level tell nothing.
    #[test]
    fn who_sleeps_is_who_sleeps_along_a_way_of_the_level() {
        let mut shard = Shard::new(0);
        let arrive = |shard: &mut Shard, asleep| {
            let states = [Arrival { fingerprint: 7, of: (0, 0), asleep }];
            shard.insert_all(&states, |_, _| 0).expect("there is room");
            shard.asleep(0)
        };
        assert_eq!(arrive(&mut shard, 0b001), 0b001);
        assert_eq!(arrive(&mut shard, 0b100), 0b101);
        shard.begin_level();
        assert_eq!(arrive(&mut shard, 0b010), 0b101);
    }
}

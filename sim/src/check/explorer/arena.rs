//! Values that are stored once and named by small numbers, and caches of what was computed from them.
//!
//! Several threads read and add at the same time, and nobody waits in order to read: a value never moves.
//! Which number a value gets depends on who comes first, so nothing that is reported may depend on numbers.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use foldhash::fast::FixedState;

use super::parts::Choice;
use super::sleep::Asleep;

/// The first segment's size; each next one is twice as large.
const FIRST: usize = 64;
/// So many segments hold more than four thousand million values.
const SEGMENTS: usize = 27;

/// A list that only grows.
pub struct Arena<T> {
    segments: [OnceLock<Box<[OnceLock<T>]>>; SEGMENTS],
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }
}

impl<T> Arena<T> {
    /// The value with this number, which was set before.
    pub fn get(&self, id: u32) -> &T {
        let (segment, offset) = at(id);
        let segment = self.segments[segment].get();
        segment.and_then(|values| values[offset].get()).expect("numbers are given to values that are there")
    }

    fn set(&self, id: u32, value: T) {
        let (segment, offset) = at(id);
        let values =
            self.segments[segment].get_or_init(|| (0..FIRST << segment).map(|_| OnceLock::new()).collect());
        assert!(values[offset].set(value).is_ok(), "each number is given once");
    }
}

fn at(id: u32) -> (usize, usize) {
    let place = id as usize + FIRST;
    let segment = (place / FIRST).ilog2() as usize;
    (segment, place - (FIRST << segment))
}

/// Gives equal values the same number.
pub struct Interner<T> {
    values: Arena<T>,
    /// By the hash of the content; where two contents share one, the later is found behind it.
    ids: RwLock<HashMap<u64, u32, FixedState>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: Arena::default(), ids: RwLock::default() }
    }
}

impl<T> Interner<T> {
    /// The number of the value with this hash that `is` recognises; `make` makes it if it is new.
    pub fn intern(&self, hash: u64, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        let find = |ids: &HashMap<u64, u32, FixedState>| {
            let mut key = hash;
            loop {
                match ids.get(&key) {
                    Some(&id) if is(self.values.get(id)) => return Ok(id),
                    Some(_) => key = key.wrapping_add(1),
                    None => return Err(key),
                }
            }
        };
        if let Ok(id) = find(&self.ids.read().unwrap_or_else(PoisonError::into_inner)) {
            return id;
        }
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        match find(&ids) {
            Ok(id) => id,
            Err(key) => {
                let id = u32::try_from(ids.len()).expect("fewer than four thousand million values");
                self.values.set(id, make());
                ids.insert(key, id);
                id
            }
        }
    }

    /// The value with this number.
    pub fn get(&self, id: u32) -> &T {
        self.values.get(id)
    }

    /// All values, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        let len = self.ids.read().unwrap_or_else(PoisonError::into_inner).len();
        (0..len as u32).map(|id| self.values.get(id))
    }
}

/// How many entries a cache begins with; it grows as it is used, since most searches are small.
const SMALLEST: usize = 1 << 8;

/// Entries at the places that their keys say, each of which takes the place of an older one. There are four times as
/// many as soon as every one may have been written, up to a limit.
pub struct Entries<E> {
    entries: Box<[E]>,
    most: usize,
    written: usize,
}

impl<E: Default> Entries<E> {
    /// At most two to the power of `bits` entries.
    pub fn new(bits: u32) -> Self {
        let most = 1 << bits;
        Self { entries: Self::empty(SMALLEST.min(most)), most, written: 0 }
    }

    fn empty(len: usize) -> Box<[E]> {
        (0..len).map(|_| E::default()).collect()
    }

    /// The entry in whose place this hash is.
    #[inline]
    pub fn peek(&self, hash: u64) -> &E {
        &self.entries[hash as usize & (self.entries.len() - 1)]
    }

    /// The same, to write it.
    #[inline]
    pub fn at(&mut self, hash: u64) -> &mut E {
        &mut self.entries[hash as usize & (self.entries.len() - 1)]
    }

    /// An entry has been written; `hash` says where those belong that are in use.
    #[inline]
    pub fn wrote(&mut self, hash: impl Fn(&E) -> Option<u64>) {
        self.written += 1;
        if self.written > self.entries.len() && self.entries.len() < self.most {
            self.grow(hash);
        }
    }

    #[cold]
    fn grow(&mut self, hash: impl Fn(&E) -> Option<u64>) {
        let larger = Self::empty((self.entries.len() * 4).min(self.most));
        for entry in std::mem::replace(&mut self.entries, larger) {
            if let Some(hash) = hash(&entry) {
                *self.at(hash) = entry;
            }
        }
    }
}

/// Remembers results for as long as there is room: what is computed for a key takes the place of an older
/// result. One thread's own.
pub struct Cache<K, V> {
    entries: Entries<Option<(K, V)>>,
}

impl<K: Copy + Eq + Key, V: Copy> Cache<K, V> {
    /// A cache of at most two to the power of `bits` results.
    pub fn new(bits: u32) -> Self {
        Self { entries: Entries::new(bits) }
    }

    /// The result for a key, computed if it is not remembered.
    pub fn get(&mut self, key: K, compute: impl FnOnce() -> V) -> V {
        let hash = |key: &K| key.mixed() >> 32;
        let entry = self.entries.at(hash(&key));
        match entry {
            Some((there, value)) if *there == key => *value,
            Some(_) | None => {
                let value = compute();
                *entry = Some((key, value));
                self.entries.wrote(|entry| entry.as_ref().map(|(key, _)| hash(key)));
                value
            }
        }
    }
}

/// Remembers menus like a [`Cache`], and uses the room of those that it forgets.
pub struct Menus {
    entries: Entries<Menu>,
}

struct Menu {
    key: [u32; 3],
    choices: Vec<Choice>,
}

impl Default for Menu {
    fn default() -> Self {
        Self { key: Menu::NONE, choices: Vec::new() }
    }
}

impl Menu {
    /// The key of none.
    const NONE: [u32; 3] = [u32::MAX; 3];
}

impl Menus {
    /// Room for at most two to the power of `bits` menus.
    pub fn new(bits: u32) -> Self {
        Self { entries: Entries::new(bits) }
    }

    /// The menu for a key, written anew if it is not remembered.
    pub fn get(&mut self, key: [u32; 3], write: impl FnOnce(&mut Vec<Choice>)) -> &[Choice] {
        let hash = |key: &[u32; 3]| key.mixed() >> 32;
        let place = hash(&key);
        let menu = self.entries.at(place);
        if menu.key != key {
            write(&mut menu.choices);
            menu.key = key;
            self.entries.wrote(|menu| (menu.key != Menu::NONE).then(|| hash(&menu.key)));
        }
        &self.entries.peek(place).choices
    }
}

/// Some of the states that a thread came across last, and who was asleep along its ways there. One thread's own.
pub struct Arrived {
    states: Entries<(u64, Asleep)>,
}

impl Arrived {
    /// Room for at most two to the power of `bits` states.
    pub fn new(bits: u32) -> Self {
        Self { states: Entries::new(bits) }
    }

    /// Whether nobody learns anything from one more way to this state; if somebody does, remembers it.
    pub fn knows(&mut self, fingerprint: u64, asleep: Asleep) -> bool {
        let (there, slept) = self.states.at(fingerprint);
        // The lowest stands for none; whoever has it is never taken for known.
        let is_there = *there == fingerprint && fingerprint != 0;
        if is_there && asleep & !*slept == 0 {
            return true;
        }
        *slept = if is_there { *slept | asleep } else { asleep };
        *there = fingerprint;
        self.states.wrote(|(there, _)| (*there != 0).then_some(*there));
        false
    }
}

/// A key of a [`Cache`].
pub trait Key {
    /// The key in one number, its upper half well mixed.
    fn mixed(&self) -> u64;
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Key for u64 {
    fn mixed(&self) -> u64 {
        self.wrapping_mul(ODD)
    }
}

impl Key for [u32; 2] {
    fn mixed(&self) -> u64 {
        (u64::from(self[0]) << 32 | u64::from(self[1])).wrapping_mul(ODD)
    }
}

impl Key for [u32; 3] {
    fn mixed(&self) -> u64 {
        let first = [self[0], self[1]].mixed();
        (first ^ first >> 29 ^ u64::from(self[2])).wrapping_mul(ODD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_stay_where_they_are() {
        let interner = Interner::<u32>::default();
        let intern = |value: u32| interner.intern(u64::from(value % 7), |it| *it == value, || value);
        let ids: Vec<_> = (0..10_000).map(intern).collect();
        assert_eq!(ids, (0..10_000).collect::<Vec<_>>());
        assert_eq!((0..10_000).map(intern).collect::<Vec<_>>(), ids);
        assert!((0..10_000).all(|value| *interner.get(value) == value));
    }

    #[test]
    fn a_cache_forgets_but_never_mistakes() {
        for bits in [4, 12] {
            let mut cache = Cache::<[u32; 3], u32>::new(bits);
            for round in 0..3 {
                for key in 0..1_000 {
                    assert_eq!(cache.get([key, key / 3, key % 5], || key * 2), key * 2, "round {round}");
                }
            }
            assert_eq!(cache.entries.entries.len(), 1 << bits.min(12), "as many as are used");
        }
    }

    #[test]
    fn what_is_kept_is_found_after_growing() {
        let mut arrived = Arrived::new(12);
        assert!((1..=255).all(|state| !arrived.knows(state, 0b1)));
        assert!([0b10, 0b100].iter().all(|asleep| !arrived.knows(1, *asleep)));
        assert_eq!(arrived.states.entries.len(), 1 << 10);
        assert!((1..=255).all(|state| arrived.knows(state, 0b1)));
    }
}

//! The digest of a trace.

use std::hash::Hasher;

/// A 64-bit digest of words: each is mixed in by a folded multiplication, as wyhash and foldhash do, one word at a time.
/// (foldhash gathers two words before it multiplies, which takes three times as many instructions for the small numbers
/// that traces consist of.) It is the same in every process and on every machine.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

/// Digits of pi that no trace depends on.
const START: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x1319_8a2e_0370_7345;

impl Default for Digest {
    fn default() -> Self {
        Self(START)
    }
}

impl Digest {
    #[inline]
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, i: u8) {
        self.word(i.into());
    }

    #[inline]
    fn write_u16(&mut self, i: u16) {
        self.word(i.into());
    }

    #[inline]
    fn write_u32(&mut self, i: u32) {
        self.word(i.into());
    }

    #[inline]
    fn write_u64(&mut self, i: u64) {
        self.word(i);
    }

    #[inline]
    fn write_usize(&mut self, i: usize) {
        self.word(i as u64);
    }

    /// Mixed once more: the last word must reach every bit.
    fn finish(&self) -> u64 {
        let mut end = *self;
        end.word(0);
        end.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::Hash;

    use super::*;

    fn of(value: impl Hash) -> u64 {
        let mut digest = Digest::default();
        value.hash(&mut digest);
        digest.finish()
    }

    #[test]
    fn what_differs_anywhere_differs() {
        let bytes: Vec<_> = (0..40).map(|length| of(&[0_u8; 40][..length])).collect();
        let bits = (0..64).map(|bit| of((7_u32, 1_u64 << bit, "seven")));
        let places = [of((1, 2)), of((2, 1)), of(("ab", "c")), of(("a", "bc")), of(0_u8)];
        let all: Vec<_> = bytes.into_iter().chain(bits).chain(places).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn it_is_the_same_everywhere() {
        assert_eq!(of((1_u64, "a message", Some(2_u8))), 0x0102_eb7e_688c_d282);
    }
}

//! A hash that is the same in every process.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;

/// A strong 64-bit hash, the same in every process: a weak one would silently merge states.
pub fn fingerprint(value: &impl Hash) -> u64 {
    FixedState::with_seed(0x00c0_a111_e000).hash_one(value)
}

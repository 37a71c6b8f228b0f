//! What the fuzz targets do, as plain functions of bytes: [`Unstructured`] turns any bytes into a message, a
//! journal or a sequence of events, so that every input means something. A target panics where a promise is
//! broken. The tests below run each of them over drawn inputs, without a fuzzer.

pub mod frames;
pub mod journal;
pub mod requests;
pub mod rollout_cluster;
pub mod rollout_node;
mod words;

use arbitrary::{Result, Unstructured};

/// An entry of a list, chosen by the input.
fn pick<'a, T>(u: &mut Unstructured<'_>, list: &'a [T]) -> Result<&'a T> {
    u.choose(list)
}

/// A position below `end`, chosen by the input.
fn below(u: &mut Unstructured<'_>, end: usize) -> Result<usize> {
    u.int_in_range(0..=end.max(1) - 1)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use coalmine_core::rollout::mistake::Mistake;

    use super::rollout_cluster::run_as;

    /// Drawn by xorshift: the same inputs at every run. Long and short ones, dense and sparse ones.
    fn over_drawn_inputs(target: fn(&[u8])) {
        drawn_inputs(400).for_each(|input| target(&input));
    }

    fn drawn_inputs(count: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..count).map(move |round| {
            let length = next() % if round % 10 == 0 { 4_000 } else { 400 };
            let mask = if round % 3 == 0 { 0x0f } else { 0xff };
            (0..length).map(|_| (next() >> 24) as u8 & mask).collect()
        })
    }

    #[test]
    fn frames() {
        over_drawn_inputs(super::frames::run);
    }

    #[test]
    fn journal() {
        over_drawn_inputs(super::journal::run);
    }

    #[test]
    fn rollout_node() {
        over_drawn_inputs(super::rollout_node::run);
    }

    #[test]
    fn rollout_cluster() {
        over_drawn_inputs(super::rollout_cluster::run);
    }

    #[test]
    fn requests() {
        over_drawn_inputs(super::requests::run);
    }

    /// A target that never fails proves nothing.
    #[test]
    fn a_planted_mistake_is_found() {
        for mistake in [Mistake::ForgetsVote, Mistake::ResolverGuesses] {
            let found = drawn_inputs(120_000)
                .position(|input| catch_unwind(|| run_as(Some(mistake), &input)).is_err());
            assert!(found.is_some(), "the drawn inputs should find it");
        }
    }
}

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
    /// Drawn by xorshift: the same inputs at every run. Long and short ones, dense and sparse ones.
    fn over_drawn_inputs(target: fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..400 {
            let length = next() % if round % 10 == 0 { 4_000 } else { 400 };
            let mask = if round % 3 == 0 { 0x0f } else { 0xff };
            let input: Vec<u8> = (0..length).map(|_| (next() >> 24) as u8 & mask).collect();
            target(&input);
        }
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
}

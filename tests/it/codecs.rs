//! Bytes from a hostile world: frames cut anywhere, journals cut and damaged anywhere, JSON that is not what
//! it should be.

mod arbitrary;
mod forms;
mod frames;
mod journals;
mod json;
mod segments;
mod survive;

use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};

/// Runs a property with the same cases every time.
fn check<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let verdict = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
}

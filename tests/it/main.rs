//! One binary for all tests that cross crates: linking is the slow part.

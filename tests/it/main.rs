//! One binary for all tests that cross crates: linking is the slow part.
//!
//! * [`transcripts`]: situations of a protocol, written as scripts, told as stories.
//! * [`codecs`]: frames, journals and JSON against hostile bytes.
//! * [`host`]: the promises of the one interpreter of effects.
//! * [`purity`]: what the core may depend on, and what must never reach production.

mod codecs;
mod host;
mod purity;
mod transcripts;

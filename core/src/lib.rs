//! The heart of Coalmine: what a distributed node is, what drives it, and the protocols. Pure and
//! synchronous: no clock, no randomness, no files, no sockets, no hash maps.
//!
//! A node is a plain deterministic value that is hosted in three worlds:
//!
//! ```text
//!                        ┌──────────────── Node (a protocol) ────────────────┐
//!                        │  start, on(event) ──▶ effects through the Context │
//!                        └───────────────────────┬───────────────────────────┘
//!                                              Host        the one interpreter of effects
//!                ┌───────────────────────────────┼─────────────────────────────┐
//!       tokio shell (real)             madsim, World (sim)            stateright (sim)
//!       TCP, HTTP, fsync               every fault from one seed      every interleaving
//! ```
//!
//! Reading order: [`node`] (the contract), [`host`] (who interprets effects), [`disk`] (what a crash may
//! do), [`codec`] (bytes), [`observation`] (what invariants see), [`write_ahead`] (the write-ahead rule), then a protocol:
//! [`twophase`] is the smallest.

pub mod chain;
pub mod codec;
pub mod counter;
pub mod disk;
pub mod form;
mod ghost;
pub mod host;
pub mod lease;
pub mod linearize;
mod mistakes;
pub mod node;
pub mod observation;
pub mod order;
pub mod register;
pub mod rollout;
pub mod roster;
pub mod tally;
pub mod twophase;
pub mod write_ahead;

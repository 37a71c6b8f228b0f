//! What runs a plan: two engines, and what they [share](shared). Both run the same plans, check the same invariants at the same points, write
//! the same traces and end in the same verdicts; they differ in what is between the nodes:
//!
//! * [`madsim`]: the production shell with its frames, journal lines and HTTP, on simulated
//!   TCP. What is tested is what runs.
//! * [`direct`]: the hosts are stepped directly from one heap of events. Many times
//!   faster, for wide sweeps.

pub mod direct;
pub mod madsim;
pub mod report;
mod run;
pub mod shared;

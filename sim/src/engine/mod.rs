//! What runs a plan: two engines, and what they share.

pub mod direct;
pub mod madsim;
pub mod report;
mod run;
pub mod shared;

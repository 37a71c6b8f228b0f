//! The scenarios and models that Coalmine ships.

pub mod rollout;
pub mod twophase;

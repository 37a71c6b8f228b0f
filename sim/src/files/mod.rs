//! What is kept on disk to be run again: [capsules](capsule), and [paths](path) through a model.

pub mod capsule;
pub mod path;
mod words;

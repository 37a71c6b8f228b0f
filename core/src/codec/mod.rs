//! Bytes: [`frame`] between nodes, [`journal`] on disk. Both are JSON inside, so that a person can read a
//! packet dump and a journal, and both treat every byte as possibly hostile.

pub mod frame;
pub mod journal;

//! Bytes: [`frame`] between nodes, [`journal`] on disk, [`recording`] of what a node lived through. All are
//! JSON inside, so that a person can read a packet dump, a journal and a recording, and all treat every byte
//! as possibly hostile.

pub mod frame;
pub mod journal;
pub mod recording;

//! What a user writes, and what files say: a [`System`](system::System), its plans, its limits, its verdicts.

pub mod chaos;
pub mod data;
pub mod faults;
pub mod limits;
pub mod plan;
pub mod scenario;
pub mod sound;
pub mod symmetry;
pub mod system;
pub mod variants;
pub mod verdict;

//! The mechanisms by which the rollout heals, as values that tests can switch off, like
//! [mistakes](super::mistake).
//!
//! They overlap: a decision that was lost is sent again, and asked for, and learned from the next proposal. That is
//! good for the cluster and bad for whoever tests it, because a mechanism that is dead is healed by the others. So
//! each is switched off in turn, and what is left must still bring everybody to rest. None is about safety.

use serde::{Deserialize, Serialize};

/// A way in which the rollout heals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Healing {
    /// The coordinator sends again what was not answered (rule 3). Without it a proposal that was lost is aborted when
    /// its time is up, and nobody waits for acknowledgements.
    Resends,
    /// Heartbeats say what is committed, so that who is behind catches up (rule 8).
    Heartbeats,
    /// A participant in doubt asks (rule 5), and resolves (rule 6).
    Questions,
    /// A proposal tells how the transaction before it ended (rule 9).
    Proposals,
    /// A coordinator that restarts announces the last commit again (rule 4).
    Announcements,
}

impl Healing {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Resends, Self::Heartbeats, Self::Questions, Self::Proposals, Self::Announcements];
}

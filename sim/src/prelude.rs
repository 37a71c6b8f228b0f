//! All that a node, its system and its suite are written with.

pub use coalmine_core::node::{Context, Event, Node, NodeId, RequestId, Word};
pub use coalmine_core::observation::{Facts, History, Invariant, Observation, Witness};
pub use coalmine_core::told::{RestsOn, Told};
pub use coalmine_real::face::Face;
pub use coalmine_real::serve::Service;
pub use coalmine_real::shell::Placement;

pub use crate::chaos::{Chaos, chaos};
pub use crate::faults::Fault;
pub use crate::plan::{Draw, Plan, PlanStep, What, When};
pub use crate::scenario::{Scenario, nothing_more};
pub use crate::suite::{Job, ModelArgs, ModelDef, Suite};
pub use crate::system::{Operation, System};
pub use crate::world::{Disk, Limits, Network};

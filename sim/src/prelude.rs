//! All that a node, its system and its suite are written with.

pub use coalmine_core::form::Form;
pub use coalmine_core::linearize::{self, Calls, Object, Specification, linearizable};
pub use coalmine_core::node::{Address, Context, Event, Node, NodeId, RequestId, Word};
pub use coalmine_core::node::{Output, RestsOn};
pub use coalmine_core::observation::{Facts, History, Invariant, Observation, Witness};
pub use coalmine_real::http_api::HttpApi;
pub use coalmine_real::serve::Service;
pub use coalmine_real::shell::Placement;

pub use crate::spec::chaos::{Chaos, chaos};
pub use crate::spec::faults::Fault;
pub use crate::spec::limits::ModelArgs;
pub use crate::spec::limits::{Disk, Limits, Network};
pub use crate::spec::plan::{Draw, Plan, PlanStep, What, When};
pub use crate::spec::scenario::{Scenario, nothing_more};
pub use crate::spec::system::{Operation, System, address_of};
pub use crate::suite::{Job, ModelDef, Suite};

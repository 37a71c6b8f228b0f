//! What the tutorial begins with: `tickets` with a natural mistake in its `node.rs`.

mod node;
#[path = "../tickets/system.rs"]
pub(crate) mod system;

use std::process::ExitCode;

use coalmine_sim::prelude::*;

/// Its scenario and its model.
pub fn suite() -> Suite {
    Suite::default().scenario(system::scenario()).model(system::model())
}

/// The whole command line.
pub fn main() -> ExitCode {
    coalmine_sim::cli::main(&suite())
}

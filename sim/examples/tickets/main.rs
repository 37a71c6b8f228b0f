//! A small node with the whole command line, and sweeps, checks and capsules as tests. `docs/tutorial.md` tells
//! how it came about.

mod node;
mod service;
mod system;
#[cfg(test)]
mod tests;
mod told;

use std::process::ExitCode;

use coalmine_sim::prelude::*;

fn suite() -> Suite {
    Suite::default()
        .scenario(system::scenario())
        .model(system::model())
        .model(told::model())
        .service::<node::Office>()
        .job(Job::Sweep("tickets", 200))
        .job(Job::Check("tickets", ModelArgs::default()))
}

fn main() -> ExitCode {
    coalmine_sim::cli::main(&suite())
}

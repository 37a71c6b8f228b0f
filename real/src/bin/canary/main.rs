//! `canary`: runs the rollout's nodes, and talks to them. What is not about rollouts is in [`coalmine_real::serve`].

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod predict;
mod rollout;
mod status;

use std::process::ExitCode;

use coalmine_core::rollout::RolloutNode;
use coalmine_real::serve::Program;

const ABOUT: &str = "\
A cluster that serves model versions by weight and changes the weights on all nodes or on none.

Start one, then roll a model out from another terminal:

  canary up
  canary rollout v2
  canary status
  canary predict --count 100

Exit codes: 0 done; 1 it failed, the answer is bad news, or it could not be printed; 2 usage or configuration.";

const CONFIG: &str = "\
id = 1
role = \"coordinator\"            # exactly one node; the others are \"participant\"
control = \"127.0.0.1:60001\"     # frames from the other nodes
data = \"127.0.0.1:50051\"        # HTTP
journal_dir = \"journal\"         # relative to the file
on_no_evidence = \"commit\"       # how to vote without traffic; default \"abort\"

[[peers]]                       # each other node
id = 2
role = \"participant\"
control = \"127.0.0.1:60002\"
data = \"127.0.0.1:50052\"";

fn main() -> ExitCode {
    Program::empty::<RolloutNode>(ABOUT)
        .up::<RolloutNode>("Node 1 is the coordinator. ")
        .node::<RolloutNode>(CONFIG, "coalmine verify")
        .command("rollout", rollout::run)
        .command("status", status::run)
        .command("predict", predict::run)
        .main()
}

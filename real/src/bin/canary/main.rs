//! `canary`: runs the rollout's nodes, and talks to them. What is not about rollouts is in [`coalmine_real::serve`].

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod ask;
mod backup;
mod fleet;
mod members;
mod predict;
mod rollout;
mod status;
mod steer;
mod watch;

use std::process::ExitCode;

use coalmine_core::rollout::RolloutNode;
use coalmine_real::serve::Program;

const ABOUT: &str = "\
A cluster that serves model versions by weight and changes the weights on all nodes or on none.

Start one, send it requests from another terminal, and roll a model out from a third:

  canary up
  canary predict --seconds 60
  canary rollout v2
  canary status

A canary gets more only by its own requests' evidence on every node. `canary pause`, `resume`, `promote` and `abort`
steer the rollout under way. `canary node --join` and `canary remove` change the cluster itself.

Exit codes: 0 done; 1 it failed, the answer is bad news, or it could not be printed; 2 usage or configuration.";

const CONFIG: &str = "\
id = 1
role = \"coordinator\"            # exactly one node; the others are \"participant\"
control = \"127.0.0.1:7711\"      # frames from the other nodes
data = \"127.0.0.1:8711\"         # HTTP
journal_dir = \"journal\"         # relative to the file

[gates]                         # what a canary must keep; these are the defaults
max_p95_ms = 200
max_error_rate = 0.05
max_p95_rise_ms = 100           # above the stable model
max_error_rate_rise = 0.02      # above the stable model
min_samples = 100               # fewer requests are no evidence

# [access]                      # who may ask over HTTP; without it everybody may, and only on loopback
# tokens = \"tokens.txt\"         # an operator a line, NAME TOKEN: whoever changes something shows one

# [tls]                         # peers prove who they are: see `canary certs`
# ca = \"certs/ca.pem\"
# cert = \"certs/node-1.pem\"
# key = \"certs/node-1.key\"      # only its owner may read it

[[peers]]                       # each other node
id = 2
role = \"participant\"
control = \"127.0.0.1:7712\"
data = \"127.0.0.1:8712\"";

fn main() -> ExitCode {
    Program::empty::<RolloutNode>(ABOUT)
        .up::<RolloutNode>("Node 1 is the coordinator. ")
        .node::<RolloutNode>(CONFIG, "coalmine verify")
        .command("rollout", rollout::run)
        .command("pause", steer::pause)
        .command("resume", steer::resume)
        .command("promote", steer::promote)
        .command("abort", steer::abort)
        .command("remove", members::remove)
        .command("forget-coordinator", members::forget_coordinator)
        .command("resolve", members::resolve)
        .command("backup", backup::backup)
        .command("restore", backup::restore)
        .command("status", status::run)
        .command("predict", predict::run)
        .certs::<RolloutNode>()
        .main()
}

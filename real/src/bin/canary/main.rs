//! `canary`: runs the rollout's nodes, and talks to them.

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod predict;
mod rollout;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coalmine_real::serve::{Failure, node, output, up};

/// A cluster that serves model versions by weight and changes the weights on all nodes or on none.
///
/// Start one, then roll a model out from another terminal:
///
///   canary up
///   canary rollout v2
///   canary status
///   canary predict --count 100
///
/// Exit codes: 0 done; 1 it failed, the answer is bad news, or it could not be printed; 2 usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "canary", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Node(node::Args),
    Rollout(rollout::Args),
    Status(status::Args),
    Predict(predict::Args),
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => obey(cli),
        // The help that was asked for; or what makes no sense, which clap has words for.
        Err(said) => match said.print() {
            _ if said.use_stderr() => return ExitCode::from(2),
            printed => {
                output::broken_by(printed);
                Ok(())
            }
        },
    };
    let mut code = 0;
    if let Err(why) = output::finish() {
        output::error(&format!("standard output: {why}"));
        code = 1;
    }
    if let Err(failure) = result {
        if let Some(message) = &failure.message {
            output::error(message);
        }
        code = failure.code;
    }
    ExitCode::from(code)
}

fn obey(cli: Cli) -> Result<(), Failure> {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let tokio = tokio.map_err(|why| Failure::failed(format!("cannot start threads: {why}")))?;
    let result = tokio.block_on(async {
        match cli.command {
            Command::Up(args) => up::run(args).await,
            Command::Node(args) => node::run(args).await,
            Command::Rollout(args) => rollout::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Predict(args) => predict::run(args).await,
        }
    });
    // A thread may still sit in an fsync or wait for a line of input; nothing that was promised hangs on it.
    tokio.shutdown_background();
    result
}

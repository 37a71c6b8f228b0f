//! The command line of a service: the commands that every service has, and its own.

use std::ffi::OsStr;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command};

use super::command::{Failure, described};
use super::service::Service;
use super::{ask, certs, node, output, status, up};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 it failed, the answer is bad news, or it could not be printed; 2 usage or \
                          configuration.";

type Done = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;
type Run = Box<dyn FnOnce(&ArgMatches) -> Result<Done, clap::Error>>;

/// A program: its commands, and what they do.
pub struct Program {
    name: &'static str,
    command: Command,
    runs: Vec<(&'static str, Run)>,
}

impl Program {
    /// A service's program with the commands that every service has.
    pub fn of<S: Service>() -> Self {
        let about = format!("Runs and asks the nodes of {}.\n\n{EXIT_CODES}", S::NAME);
        Self::empty::<S>(&about).up::<S>("").node::<S>("", "verify").status::<S>().ask::<S>().certs::<S>()
    }

    /// A service's program without any commands.
    pub fn empty<S: Service>(about: &str) -> Self {
        let version = if S::VERSION.is_empty() { "(no version)" } else { S::VERSION };
        let command = described(Command::new(S::NAME).version(version), about);
        let command = command.subcommand_required(true).arg_required_else_help(true);
        Self { name: S::NAME, command, runs: Vec::new() }
    }

    /// With one more command. Its help is that of its arguments.
    pub fn command<A: Args + 'static, F>(self, name: &'static str, run: fn(A) -> F) -> Self
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        self.with(A::augment_args(Command::new(name)), name, run)
    }

    /// With `up`; `more` is said of it besides.
    pub fn up<S: Service>(self, more: &str) -> Self {
        self.with(up::command::<S>(more), "up", up::run::<S>)
    }

    /// With `node`; `example` is a config file, and `verifier` executes recordings again.
    pub fn node<S: Service>(self, example: &str, verifier: &str) -> Self {
        self.with(node::command::<S>(example, verifier), "node", node::run::<S>)
    }

    /// With `status`.
    pub fn status<S: Service>(self) -> Self {
        self.with(status::command::<S>(), "status", status::run::<S>)
    }

    /// With `ask`.
    pub fn ask<S: Service>(self) -> Self {
        self.with(ask::command::<S>(), "ask", ask::run::<S>)
    }

    /// With `certs`.
    pub fn certs<S: Service>(self) -> Self {
        self.with(certs::command::<S>(), "certs", certs::run)
    }

    fn with<A: Args + 'static, F>(mut self, command: Command, name: &'static str, run: fn(A) -> F) -> Self
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        self.command = self.command.subcommand(command);
        self.runs.push((
            name,
            Box::new(move |matches| {
                let future = run(A::from_arg_matches(matches)?);
                Ok(Box::pin(future) as Done)
            }),
        ));
        self
    }

    /// Its commands, for another program's help.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.command.get_subcommands()
    }

    /// Whether this is the name of one of its commands.
    pub fn has(&self, name: &OsStr) -> bool {
        self.runs.iter().any(|(own, _)| name == *own)
    }

    /// Does what the command line of this process says.
    pub fn main(self) -> ExitCode {
        let Self { name, command, runs } = self;
        let result = match command.try_get_matches() {
            Ok(matches) => obey(runs, &matches),
            Err(said) => Err(said),
        };
        let result = match result {
            Ok(done) => done,
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
            output::error(name, &format!("standard output: {why}"));
            code = 1;
        }
        if let Err(failure) = result {
            if let Some(message) = &failure.message {
                output::error(name, message);
            }
            code = failure.code;
        }
        ExitCode::from(code)
    }
}

fn obey(runs: Vec<(&'static str, Run)>, matches: &ArgMatches) -> Result<Result<(), Failure>, clap::Error> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(Ok(())) };
    let Some((_, run)) = runs.into_iter().find(|(own, _)| *own == name) else { return Ok(Ok(())) };
    let done = run(matches)?;
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let tokio = match tokio {
        Ok(tokio) => tokio,
        Err(why) => return Ok(Err(Failure::failed(format!("cannot start threads: {why}")))),
    };
    let result = tokio.block_on(done);
    // A thread may still sit in an fsync or wait for a line of input; nothing that was promised hangs on it.
    tokio.shutdown_background();
    Ok(result)
}

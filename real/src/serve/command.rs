//! What all commands share: how they fail, how they are described, and how the program is called.

use clap::Command;

use super::service::Service;
use crate::program;

/// Why the program ends early: what it says, and its exit code.
#[derive(Debug)]
pub struct Failure {
    pub(super) code: u8,
    pub(super) message: Option<String>,
}

impl Failure {
    /// Something went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: Some(message.into()) }
    }

    /// The answer is bad news, and has been printed.
    pub fn reported() -> Self {
        Self { code: 1, message: None }
    }

    /// The command line or a configuration makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: Some(message.into()) }
    }
}

/// A command with this help, of which the first paragraph is the short one.
pub(super) fn described(command: Command, text: &str) -> Command {
    let short = text.split("\n\n").next().unwrap_or_default().to_owned();
    command.about(short).long_about(text.to_owned())
}

/// How a service's program is called: what a line to paste begins with.
pub(super) fn called<S: Service>() -> String {
    match S::ALIAS.filter(|_| std::env::var_os("CARGO").is_some()) {
        Some(alias) => alias.into(),
        None => program::of_this_process(),
    }
}

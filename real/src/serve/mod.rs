//! A node as a service: the programs that start, watch and ask it.

pub mod client;
pub mod node;
pub mod output;
pub mod up;

/// Why the program ends early: what it says, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is said, if it has not been said already.
    pub message: Option<String>,
}

impl Failure {
    /// Something went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: Some(message.into()) }
    }

    /// The answer is bad news, and has been printed.
    pub fn told() -> Self {
        Self { code: 1, message: None }
    }

    /// The command line or a configuration makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: Some(message.into()) }
    }
}

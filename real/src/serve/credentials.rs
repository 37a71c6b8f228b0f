//! Whose token a command shows. A token is never part of a command line, which everybody on the machine can read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::client::Client;
use super::command::Failure;
use super::local;
use super::service::Service;
use super::tokens::client_header;

/// The variable of the environment that names the file with the token.
pub const TOKEN_FILE: &str = "COALMINE_TOKEN_FILE";

/// With which token to ask.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Credentials {
    /// A file with the token to show, `NAME TOKEN` or the token alone. Default the one that the environment variable
    /// COALMINE_TOKEN_FILE names, or else, for a cluster of `up`, the one that its nodes go by.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Credentials {
    /// These nodes, or those of the cluster in `dir` if none is named, and a client that asks them.
    pub fn targets<S: Service>(
        &self,
        nodes: Vec<SocketAddr>,
        dir: &Path,
    ) -> Result<(Vec<SocketAddr>, Client), Failure> {
        let client = self.client::<S>(nodes.is_empty().then_some(dir))?;
        Ok((if nodes.is_empty() { local::addresses::<S>(dir)? } else { nodes }, client))
    }

    /// A client that shows the token of the file that was named. If none was, and the nodes of the cluster in `dir` are
    /// asked, theirs; nobody else is shown that.
    pub fn client<S: Service>(&self, dir: Option<&Path>) -> Result<Client, Failure> {
        let of_environment =
            || std::env::var_os(TOKEN_FILE).filter(|file| !file.is_empty()).map(PathBuf::from);
        let token = match (&self.token_file, of_environment()) {
            (Some(file), _) => Some(client_header(file).map_err(|why| format!("--token-file {why}"))),
            (None, Some(file)) => Some(client_header(&file).map_err(|why| format!("{TOKEN_FILE}={why}"))),
            (None, None) => dir.and_then(local::tokens::<S>).map(|file| client_header(&file)),
        };
        Ok(Client::default().with_token(token.transpose().map_err(Failure::usage)?))
    }
}

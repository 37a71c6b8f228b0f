//! `ask`: one request to a cluster, and the answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use coalmine_core::node::RequestId;
use serde::Deserialize;
use serde_json::Value;

use super::client::{advice, explain, new_name};
use super::command::{Failure, called, described};
use super::credentials::Credentials;
use super::local;
use super::output;
use super::service::Service;
use crate::http_api::parse_request_name;

pub(super) fn command<S: Service>() -> clap::Command {
    let name = S::NAME;
    let text = format!(
        "Ask the cluster something, and print the answer.\n\n\
         The first node that is there is asked, and whom it sends us to. What gets no answer is asked again under the\n\
         same name, so that it is the same request.\n\n\
         Examples:\n\n  {name} ask REQUEST\n  {name} ask REQUEST --nodes 127.0.0.1:8712 --id 7/1\n\n\
         Exits with 1 if there is no answer."
    );
    let command = <Args as clap::Args>::augment_args(clap::Command::new("ask"));
    described(local::with_default_dir(command, name), &text)
}

/// What `ask` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request as JSON; a single word needs no quotes.
    request: String,
    /// The data addresses of nodes to ask, the first that is there. Default: those of the cluster in DIR.
    #[arg(long, value_delimiter = ',', value_name = "ADDR,...")]
    nodes: Vec<SocketAddr>,
    /// The folder of a cluster that `up` has started.
    #[arg(long)]
    dir: PathBuf,
    /// The request's name, `CLIENT/SEQUENCE`: what is asked again under the same name is the same request.
    /// Default a new one.
    #[arg(long, value_name = "NAME", value_parser = request_id)]
    id: Option<RequestId>,
    #[command(flatten)]
    credentials: Credentials,
    /// How long to go on asking where nobody is there, or ready, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "10000")]
    patience_ms: u64,
}

fn request_id(text: &str) -> Result<RequestId, String> {
    parse_request_name(text).ok_or_else(|| "it must be two numbers, CLIENT/SEQUENCE".into())
}

/// Reads a request: JSON, or one word that stands for itself.
pub(in crate::serve) fn read_request<S: Service>(text: &str) -> Result<S::Request, String> {
    let json = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()));
    S::Request::deserialize(json).map_err(|error| error.to_string())
}

/// Asks, and prints the answer.
pub async fn run<S: Service>(args: Args) -> Result<(), Failure> {
    let request = read_request::<S>(&args.request)
        .map_err(|why| Failure::usage(format!("request {}: {why}", args.request)))?;
    let (nodes, client) = args.credentials.targets::<S>(args.nodes, &args.dir)?;
    let client = client.patient(Duration::from_millis(args.patience_ms));
    let asked = client.ask::<S>(&nodes, args.id.unwrap_or_else(new_name), &request).await;
    let (by, answer) = asked.map_err(|error| Failure::failed(explain(&called::<S>(), &error)))?;
    let reply =
        S::from_http(&answer).map_err(|why| Failure::failed(format!("{by}: {why}{}", advice(&answer))))?;
    output::line(serde_json::to_string(&reply).expect("replies are plain data"));
    if S::is_not_yet(&reply) { Err(Failure::reported()) } else { Ok(()) }
}

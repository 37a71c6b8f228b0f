//! `canary remove`, `forget-coordinator` and `resolve`: the cluster itself, and the ways out when part of it is gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use coalmine_core::node::NodeId;
use coalmine_core::rollout::message::{Outcome, Reply, Request};
use coalmine_core::rollout::state::{Change, Txid};
use coalmine_real::http_api::request_name;
use coalmine_real::rollout::wire::{ChangeView, StatusView, StepOutcome};
use coalmine_real::serve::client::{Client, new_name};
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::{Credentials, Failure};
use serde_json::json;

use crate::ask::{ask, client, default_coordinator, is_of_up};

/// How often the cluster is asked how far it is.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a command waits for the outcome.
const PATIENCE: Duration = Duration::from_secs(30);

/// Dismiss a member: from then on it serves nothing, and the others need no vote of it.
///
/// It is a transaction like a step of a rollout. The member itself votes on it, too, unless it is gone for good.
///
/// Examples:
///
///   canary remove 3
///   canary remove 3 --gone   # its machine is lost: it is not asked
///
/// A member that is dismissed as gone and comes back hears that it is none. To take it in again, start it with
/// `canary node --join`. Exits with 1 if it is not dismissed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Remove {
    /// The member's number.
    #[arg(value_name = "ID")]
    id: u32,
    /// It is gone for good, and is not asked.
    #[arg(long)]
    gone: bool,
    /// The coordinator's data address.
    #[arg(long, value_name = "ADDR", default_value_t = default_coordinator())]
    coordinator: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn remove(args: Remove) -> Result<(), Failure> {
    let Remove { id, gone, coordinator, credentials, format } = args;
    let client = client(&credentials, coordinator == default_coordinator())?;
    let request = Request::Change(Change::Dismiss { member: NodeId(id), is_gone: gone });
    let answered = ask(&client, coordinator, new_name(), &request).await?;
    let Reply::Changing { id } = answered.reply else { return Err(answered.refusal()) };
    let name = request_name(id);
    let change = until(&client, answered.by, |status| {
        status.change.filter(|change| change.id == name && change.outcome != StepOutcome::Pending)
    });
    let ChangeView { change, outcome, reason, .. } = change.await?;
    if let Some(why) = reason {
        return Err(Failure::failed(format!("{change}: aborted: {why}")));
    }
    match format {
        Format::Json => output::json(&json!({ "change": change, "outcome": outcome })),
        Format::Text => output::line(format_args!("{change}: done")),
    }
    Ok(())
}

/// Let a node coordinate, since the coordinator is gone for good, and dismiss that.
///
/// The node must not have heard of the coordinator for two heartbeats (4 s, unless its file says otherwise), and every
/// other member must be there to promise that it obeys the old one no more. Where somebody is in doubt about a
/// transaction that the old coordinator may have decided, the node waits: only `canary resolve` ends that.
///
/// Examples:
///
///   canary forget-coordinator 1 --node 127.0.0.1:8712   # n1 is gone; the node there takes over
///
/// Afterwards name the new coordinator in the files of all nodes. Exits with 1 if the node refuses, or waits for somebody.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ForgetCoordinator {
    /// The number of the coordinator that is gone.
    #[arg(value_name = "ID")]
    id: u32,
    /// The data address of the node that is to coordinate.
    #[arg(long, value_name = "ADDR")]
    node: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn forget_coordinator(args: ForgetCoordinator) -> Result<(), Failure> {
    let ForgetCoordinator { id, node, credentials, format } = args;
    let client = client(&credentials, is_of_up(node))?;
    let from = NodeId(id);
    let answered = ask(&client, node, new_name(), &Request::TakeOver { from }).await?;
    let Reply::TakingOver = answered.reply else { return Err(answered.refusal()) };
    let done = until(&client, answered.by, |status| {
        let is_done = status.coordinator == status.node && !status.routing.has(from);
        is_done.then_some(status)
    });
    let status = done.await?;
    match format {
        Format::Json => output::json(&status),
        Format::Text => output::line(format_args!("{} coordinates, and {from} is dismissed", status.node)),
    }
    Ok(())
}

/// Tell a node in doubt how a transaction ended, which only a lost disk knew.
///
/// A node that voted and hears nothing more of the coordinator asks all others. If none of them knows, the coordinator may
/// have decided either way, and no node guesses. Whoever knows how it ended can tell: from the journal of the lost
/// coordinator, from an answer that it gave, from a node that served the version. What is said wrongly shows
/// when the coordinator comes back: nothing is committed any more until those who were told so start without their journals.
///
/// Examples:
///
///   canary resolve 1.7 commit --node 127.0.0.1:8712
///   canary resolve 1.7 abort --node 127.0.0.1:8712
///
/// `canary status` names the transaction that a node is in doubt about. Refused while the protocol can still decide by
/// itself; exits with 1 then.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Resolve {
    /// The transaction.
    #[arg(value_name = "TXID", value_parser = |text: &str| Txid::try_from(text.to_owned()).map_err(|why| why.to_string()))]
    txid: Txid,
    /// How it ended.
    #[arg(value_enum)]
    outcome: Ended,
    /// The data address of the node in doubt. It tells the others.
    #[arg(long, value_name = "ADDR")]
    node: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ended {
    /// Every node serves it.
    Commit,
    /// No node does.
    Abort,
}

pub(crate) async fn resolve(args: Resolve) -> Result<(), Failure> {
    let Resolve { txid, outcome, node, credentials, format } = args;
    let client = client(&credentials, is_of_up(node))?;
    let (outcome, word) = match outcome {
        Ended::Commit => (Outcome::Commit, "committed"),
        Ended::Abort => (Outcome::Abort, "aborted"),
    };
    let answered = ask(&client, node, new_name(), &Request::Resolve { txid, outcome }).await?;
    let Reply::Resolved { txid } = answered.reply else { return Err(answered.refusal()) };
    match format {
        Format::Json => output::json(&json!({ "txid": txid, "outcome": outcome })),
        Format::Text => output::line(format_args!("{txid} is {word}, by an operator's word")),
    }
    Ok(())
}

/// Asks a node for its status until it says what is waited for.
async fn until<T>(
    client: &Client,
    node: SocketAddr,
    says: impl Fn(StatusView) -> Option<T>,
) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        let status = client.get::<StatusView>(node, "/status").await;
        let waits = match status {
            Ok(status) => {
                let waits = status.taking_over.clone();
                if let Some(done) = says(status) {
                    return Ok(done);
                }
                waits
            }
            Err(why) => Some(why),
        };
        if began.elapsed() > PATIENCE {
            let why = waits.unwrap_or_else(|| "a transaction before it is under way".into());
            let waited = PATIENCE.as_secs();
            return Err(Failure::failed(format!(
                "{node}: not done after {waited} s, and goes on by itself: {why}"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

//! `canary pause`, `resume`, `promote` and `abort`: an operator's word about the rollout under way.

use std::net::SocketAddr;

use coalmine_core::node::RequestId;
use coalmine_core::rollout::message::{Order, Reply, Request};
use coalmine_real::http_api::{parse_request_name, request_name};
use coalmine_real::rollout::wire::Steered;
use coalmine_real::serve::client::new_name;
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::{Credentials, Failure};

use crate::ask::{ask, client, default_coordinator};

/// Hold the rollout under way where it is, until somebody gives another order.
///
/// Examples:
///
///   canary pause
///   canary pause 12/1        # only if this rollout is the one under way
///
/// Exits with 1 if there is nothing to pause.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,
}

/// Let a paused rollout go on: the hold of its step begins anew, and the gates judge it.
///
/// A step that was aborted is tried again.
///
/// Examples:
///
///   canary resume
///   canary resume 12/1       # only if this rollout is the one under way
///
/// Exits with 1 if there is nothing to resume.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

/// End the hold, and take the next step at once, whatever the gates say.
///
/// Nothing but an operator's word promotes a canary without evidence. It is for one step; the next is judged again.
///
/// Examples:
///
///   canary promote
///   canary promote 12/1      # only if this rollout is the one under way
///
/// Exits with 1 if there is nothing to promote, or if it is being voted on.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Promote {
    #[command(flatten)]
    target: Target,
}

/// Take the rollout under way back: every node returns to the stable model.
///
/// It ends a vote that is under way, asks no gate, and is tried until it is done.
///
/// Examples:
///
///   canary abort
///   canary abort 12/1        # only if this rollout is the one under way
///   canary abort --all-regions
///
/// Exits with 1 if there is nothing to abort.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Abort {
    /// Take the rollout over all regions back: each that has begun returns to what it served before. To be said to the first
    /// region's coordinator. Said again, it is given up, and the regions stay where they are.
    #[arg(long, conflicts_with = "rollout")]
    all_regions: bool,
    #[command(flatten)]
    target: Target,
}

/// Which rollout is meant.
#[derive(Debug, clap::Args)]
struct Target {
    /// The rollout that is meant, CLIENT/SEQUENCE. Default whichever is under way.
    #[arg(value_parser = rollout_name)]
    rollout: Option<RequestId>,
    /// The coordinator's data address.
    #[arg(long, value_name = "ADDR", default_value_t = default_coordinator())]
    coordinator: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn rollout_name(text: &str) -> Result<RequestId, String> {
    parse_request_name(text).ok_or_else(|| "it must be two numbers, CLIENT/SEQUENCE".into())
}

pub(crate) async fn pause(args: Pause) -> Result<(), Failure> {
    give(Order::Pause, args.target).await
}

pub(crate) async fn resume(args: Resume) -> Result<(), Failure> {
    give(Order::Resume, args.target).await
}

pub(crate) async fn promote(args: Promote) -> Result<(), Failure> {
    give(Order::Promote, args.target).await
}

pub(crate) async fn abort(args: Abort) -> Result<(), Failure> {
    if args.all_regions {
        return tell(Request::AbortFleet, args.target, "returns, in every region that has begun").await;
    }
    give(Order::Abort, args.target).await
}

async fn give(order: Order, target: Target) -> Result<(), Failure> {
    let request = Request::Steer { order, rollout: target.rollout };
    tell(request, target, what_it_does(order)).await
}

async fn tell(request: Request, target: Target, does: &str) -> Result<(), Failure> {
    let Target { coordinator, credentials, format, .. } = target;
    let client = client(&credentials, coordinator == default_coordinator())?;
    let answered = ask(&client, coordinator, new_name(), &request).await?;
    let Reply::Ordered { rollout } = answered.reply else { return Err(answered.refusal()) };
    let name = request_name(rollout);
    match format {
        Format::Json => output::json(&Steered { rollout: name }),
        Format::Text => output::line(format_args!("rollout {name} {does}")),
    }
    Ok(())
}

fn what_it_does(order: Order) -> &'static str {
    match order {
        Order::Pause => "is paused",
        Order::Resume => "goes on",
        Order::Promote => "takes its next step",
        Order::Abort => "returns to the stable model",
    }
}

//! `canary status`: what each node serves, and whether they agree.

use std::net::SocketAddr;

use coalmine_core::rollout::state::ModelId;
use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{
    EvidenceView, ModelWindow, RolloutView, StatusView, StepOutcome, VerdictView,
};
use coalmine_real::serve::local::{FIRST, local_address};
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::status::{Answer, ask_all, unreachable, warned, watch};
use coalmine_real::serve::{Credentials, Failure};
use comfy_table::Cell;

use crate::ask::client;

/// Show what each node serves, how each model does there, and where the last rollout stands.
///
/// Examples:
///
///   canary status
///   canary status --nodes 127.0.0.1:8711,127.0.0.1:8712 --format json
///   canary status --watch
///
/// Exits with 1 if a node cannot be reached, or if nodes serve different states. While a step is being
/// announced nodes differ for an instant.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The nodes' data addresses. Default: the three of `canary up`.
    #[arg(long, value_delimiter = ',', value_name = "ADDR,...")]
    nodes: Vec<SocketAddr>,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Go on showing it: drawn anew every second on a terminal, printed whenever it changes elsewhere. Ends when it is
    /// interrupted.
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let default = || (1..=3).map(|id| local_address(FIRST.data, id)).collect();
    let client = client(&args.credentials, args.nodes.is_empty())?;
    let addresses = if args.nodes.is_empty() { default() } else { args.nodes };
    let look = async || ask_all(&client, &addresses, "/status", read_json).await;
    if args.watch {
        watch(args.format, look, |answers| words(answers, &warnings(answers))).await;
        return Ok(());
    }
    let answers = look().await;
    let warnings = warnings(&answers);
    match args.format {
        Format::Json => output::json(&answers),
        Format::Text => output::line(words(&answers, &warnings)),
    }
    if warnings.is_empty() { Ok(()) } else { Err(Failure::reported()) }
}

/// All of it, as text.
pub(crate) fn words(answers: &[Answer<StatusView>], warnings: &[String]) -> String {
    let mut table = output::table(&["node", "role", "data", "version", "serves", "digest", "data plane"]);
    for Answer { address, status, .. } in answers {
        let Some(status) = status else {
            table.add_row([Cell::new("?"), Cell::new(""), Cell::new(address), Cell::new(""), unreachable()]);
            continue;
        };
        table.add_row([
            status.node.to_string(),
            status.role.name().into(),
            address.to_string(),
            status.routing.version.to_string(),
            if status.joining.is_some() { "joining".into() } else { status.routing.weights.to_string() },
            status.digest.clone(),
            describe_data_plane(status),
        ]);
    }
    let mut text = output::text(&table);
    let coordinator = answers.iter().filter_map(|answer| answer.status.as_ref());
    if let Some((rollout, verdicts)) =
        coordinator.filter_map(|status| Some((status.rollout.as_ref()?, &status.verdicts))).next()
    {
        text += &format!("\n\nlast rollout: {}", describe_rollout(rollout));
        for verdict in verdicts {
            text += &format!("\n{}", describe_verdict(verdict));
        }
    }
    text + &warned(warnings)
}

/// What a node's own data plane did: a line for each model.
fn describe_data_plane(status: &StatusView) -> String {
    let Some(EvidenceView { version, is_stale, models, .. }) = status.evidence.get(&status.node) else {
        return "no requests yet".into();
    };
    let age = if *is_stale { ", stale" } else { "" };
    if models.is_empty() {
        return format!("no requests (version {version}{age})");
    }
    let describe = |(model, window): (&ModelId, &ModelWindow)| {
        let ModelWindow { samples, p95_ms, error_rate } = window;
        let percent = (error_rate * 10_000.0).round() / 100.0;
        format!("{model}: p95 {p95_ms} ms, {percent}% errors, {samples} samples (version {version}{age})")
    };
    models.iter().map(describe).collect::<Vec<_>>().join("\n")
}

fn describe_rollout(rollout: &RolloutView) -> String {
    let committed = rollout.steps.iter().filter(|step| step.outcome == StepOutcome::Committed).count();
    let why = rollout.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let RolloutView { id, model, course, steps, .. } = rollout;
    let (course, steps) = (course.name(), steps.len());
    format!("{model} {course}, {committed} of {steps} steps committed{why}, named {id}")
}

fn describe_verdict(verdict: &VerdictView) -> String {
    let VerdictView { node, verdict, why, samples } = verdict;
    match why {
        Some(why) => format!("  {node}  {why}"),
        None => format!("  {node}  {}: {samples} samples of the canary", verdict.name()),
    }
}

/// What is not as it should be, in words.
pub(crate) fn warnings(answers: &[Answer<StatusView>]) -> Vec<String> {
    let mut warnings: Vec<_> = answers.iter().filter_map(|answer| answer.error.clone()).collect();
    let all: Vec<_> = answers.iter().filter_map(|answer| answer.status.as_ref()).collect();
    let newest = all.iter().map(|status| status.routing.version).max().unwrap_or(0);
    for (i, status) in all.iter().enumerate() {
        let (me, version) = (status.node, status.routing.version);
        if let Some(why) = &status.joining {
            warnings.push(format!("{me} is not a member of the cluster, and serves nothing: {why}"));
            continue;
        }
        if let Some(why) = &status.stale {
            warnings.push(format!(
                "{me} takes in nothing any more, and serves version {version}, the last that it knows of: {why}"
            ));
        }
        if version < newest {
            warnings.push(format!("{me} serves version {version}, the newest is {newest}: it will catch up"));
        }
        if let Some(txid) = status.in_doubt {
            warnings.push(format!("{me} is in doubt about {txid}: it serves the old weights until it knows"));
        }
        if status.split_brain {
            warnings
                .push(format!("{me} has seen a SPLIT BRAIN: it refuses every change until it is restarted"));
        }
        let differs =
            |other: &&&StatusView| other.routing.version == version && other.digest != status.digest;
        if let Some(other) = all[..i].iter().find(differs) {
            warnings.push(format!(
                "SPLIT BRAIN: {} and {me} serve different states as version {version}",
                other.node
            ));
        }
    }
    warnings
}

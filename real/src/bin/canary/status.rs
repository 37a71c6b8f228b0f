//! `canary status`: what each node serves, and whether they agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::state::{Member, ModelId};
use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{
    ChangeView, EvidenceView, ModelWindow, QueuedView, RolloutView, StatusView, StepOutcome, VerdictView,
};
use coalmine_real::serve::local::{addresses, default_dir};
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::status::{Answer, ask_all, unreachable, warned, watch};
use coalmine_real::serve::{Credentials, Failure, Service};
use comfy_table::Cell;

use crate::ask::client;
use crate::fleet;

/// Show what each node serves, how each model does there, and where the last rollout stands.
///
/// Examples:
///
///   canary status
///   canary status --nodes 127.0.0.1:8711,127.0.0.1:8712 --format json
///   canary status --watch
///
/// Below the nodes: which cluster it is and who its members are, and how the last change of the members went.
///
/// Exits with 1 if a node cannot be reached or is no member, or if nodes serve different states. While a step is being
/// announced nodes differ for an instant.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The nodes' data addresses. Default: those of the cluster that `canary up` has started, and of all other members.
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
    let is_up = args.nodes.is_empty();
    let client = client(&args.credentials, is_up)?;
    let dir = default_dir(RolloutNode::NAME);
    let addresses = if is_up { addresses::<RolloutNode>(Path::new(&dir))? } else { args.nodes };
    let look = async || {
        let mut answers = ask_all(&client, &addresses, "/status", read_json).await;
        let others: Vec<_> =
            others(&answers).into_iter().filter_map(|other| Some(other.address?.data)).collect();
        if is_up && !others.is_empty() {
            answers.extend(ask_all(&client, &others, "/status", read_json).await);
        }
        answers
    };
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

/// What the members of each region serve, by the one that knows most; there is one region where files name none.
fn newest(answers: &[Answer<StatusView>]) -> Vec<&StatusView> {
    let mut newest: BTreeMap<_, &StatusView> = BTreeMap::new();
    let members = answers.iter().filter_map(|answer| answer.status.as_ref());
    for status in members.filter(|status| status.joining.is_none()) {
        let known = newest.entry(&status.region).or_insert(status);
        if status.routing.version > known.routing.version {
            *known = status;
        }
    }
    newest.into_values().collect()
}

/// The members that were not asked, as far as that can be told.
fn others(answers: &[Answer<StatusView>]) -> Vec<Member> {
    let is_asked = |member: &Member| {
        let same = |answer: &Answer<StatusView>| match &answer.status {
            Some(status) => status.node == member.id,
            None => member.address.is_none_or(|lives| lives.data == answer.address),
        };
        answers.iter().any(same)
    };
    let members = newest(answers).into_iter().flat_map(|status| status.routing.members.clone());
    members.filter(|member| !is_asked(member)).collect()
}

/// Which clusters these are, who their members are, and the last change of them.
fn describe_clusters(answers: &[Answer<StatusView>]) -> String {
    newest(answers).into_iter().map(|newest| describe_cluster(newest, answers)).collect()
}

fn describe_cluster(newest: &StatusView, answers: &[Answer<StatusView>]) -> String {
    let StatusView { cluster: Some(cluster), routing, coordinator, region, .. } = newest else {
        return String::new();
    };
    let near =
        || answers.iter().filter_map(|answer| answer.status.as_ref()).filter(|it| it.region == *region);
    let others: Vec<_> = others(answers).into_iter().map(|other| other.id).collect();
    let describe = |Member { id, address, .. }: &Member| {
        let mut what = Vec::new();
        if id == coordinator {
            what.push("coordinates".to_owned());
        }
        if others.contains(id) {
            let at = address.map_or(String::new(), |lives| format!(", at {}", lives.data));
            what.push(format!("not asked{at}"));
        }
        if what.is_empty() { id.to_string() } else { format!("{id} ({})", what.join(", ")) }
    };
    let members: Vec<_> = routing.members.iter().map(describe).collect();
    let change = near().find_map(|status| status.change.as_ref());
    let change = change.map_or(String::new(), |change| format!("\nlast change: {}", describe_change(change)));
    let queued = near().find(|status| !status.queued.is_empty());
    let queued = queued.map_or(String::new(), |status| {
        let said = |it: &QueuedView| format!("{} (rollout {})", it.model, it.id);
        format!("\nqueued: {}", status.queued.iter().map(said).collect::<Vec<_>>().join(", then "))
    });
    let region = region.as_ref().map_or(String::new(), |region| format!("region {region}, "));
    let rollout = near().filter(|_| !region.is_empty()).find_map(|status| status.rollout.as_ref());
    let rollout = rollout.map_or(String::new(), |it| format!("\nlast rollout: {}", describe_rollout(it)));
    format!("\n\n{region}cluster {cluster}: {}{change}{queued}{rollout}", members.join(", "))
}

fn describe_change(change: &ChangeView) -> String {
    let ChangeView { change, outcome, reason, .. } = change;
    match (outcome, reason) {
        (StepOutcome::Pending, _) => format!("{change}: under way"),
        (StepOutcome::Committed, _) => format!("{change}: done"),
        (StepOutcome::Aborted, None) => format!("{change}: aborted"),
        (StepOutcome::Aborted, Some(why)) => format!("{change}: aborted: {why}"),
    }
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
            if is_dismissed(status) { String::new() } else { status.role.name().into() },
            address.to_string(),
            status.routing.version.to_string(),
            if status.joining.is_some() {
                what_instead(status).into()
            } else {
                status.routing.weights.to_string()
            },
            status.digest.clone(),
            describe_data_plane(status),
        ]);
    }
    let mut text = output::text(&table) + &describe_clusters(answers);
    let mut coordinators =
        answers.iter().filter_map(|answer| answer.status.as_ref()).filter(|it| it.node == it.coordinator);
    let fleet = coordinators.find_map(|status| status.fleet.as_ref());
    if let Some(fleet) = fleet {
        text += &format!("\n\nlast rollout over all regions: {}", fleet::words(fleet));
    }
    // Where there are regions each cluster has told of its own.
    let coordinator =
        answers.iter().filter_map(|answer| answer.status.as_ref()).filter(|it| it.region.is_none());
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

/// Whether a node was a member once, and is none now.
fn is_dismissed(status: &StatusView) -> bool {
    status.joining.is_some() && status.cluster.is_some() && !status.routing.has(status.node)
}

/// What a node does that is no member.
fn what_instead(status: &StatusView) -> &'static str {
    match status {
        _ if is_dismissed(status) => "dismissed",
        _ if status.foreign.is_empty() => "joining",
        _ => "nothing",
    }
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
    let newest: BTreeMap<_, _> =
        newest(answers).into_iter().map(|it| (&it.region, it.routing.version)).collect();
    for (i, status) in all.iter().enumerate() {
        let newest = newest.get(&status.region).copied().unwrap_or(0);
        warnings.extend(about_the_cluster(status, &all[..i]));
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
        let differs = |other: &&&StatusView| {
            let is_alike = other.joining.is_none() && other.cluster == status.cluster;
            is_alike && other.routing.version == version && other.digest != status.digest
        };
        if let Some(other) = all[..i].iter().find(differs) {
            warnings.push(format!(
                "SPLIT BRAIN: {} and {me} serve different states as version {version}",
                other.node
            ));
        }
    }
    warnings
}

/// What one node's journal or file says otherwise than another's, and what is to come of that.
fn about_the_cluster(status: &StatusView, before: &[&StatusView]) -> Vec<String> {
    let me = status.node;
    let mut warnings = Vec::new();
    let of_another = |other: &&&StatusView| {
        let is_near = other.region == status.region;
        is_near && other.joining.is_none() && other.cluster.is_some() && other.cluster != status.cluster
    };
    if let Some(cluster) = status.cluster.filter(|_| status.joining.is_none())
        && let Some(other) = before.iter().find(of_another)
    {
        let theirs = other.cluster.map(|theirs| theirs.to_string()).unwrap_or_default();
        warnings.push(format!(
            "{me} is of cluster {cluster}, {} of cluster {theirs}: one of them has a foreign journal",
            other.node
        ));
    }
    // Who is no member says below why not.
    for (from, theirs) in status.foreign.iter().filter(|_| status.joining.is_none()) {
        warnings.push(format!("{me} does not hear {from}, which speaks for another cluster, {theirs}"));
    }
    for (with, what) in status.unlike.iter().filter(|_| status.joining.is_none()) {
        warnings.push(format!("{me} says that {with} was told something else of the cluster: {what}"));
    }
    if let Some(waits) = &status.taking_over {
        warnings.push(format!("{me} is to coordinate: {waits}"));
    }
    warnings
}

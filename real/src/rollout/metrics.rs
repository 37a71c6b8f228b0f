//! What a rollout's node adds to `GET /metrics`: its data plane, what it serves, and where the last rollout stands.

use coalmine_core::rollout::message::View;

use super::data_plane::{BUCKETS_S, Meter};
use super::wire::{RolloutView, StatusView, StepOutcome, decimal_of_bp};
use crate::metrics::{Exposition, Kind};

/// Adds what was measured of each model under each of the last versions, since the process began.
pub(super) fn of_data_plane(meter: &Meter, out: &mut Exposition) {
    let served = meter.served();
    let versions: Vec<_> = served.keys().map(|(version, _)| version.to_string()).collect();
    let labelled = || {
        served.iter().zip(&versions).map(|(((_, model), series), version)| {
            ([("model", model.as_str()), ("version", version.as_str())], series)
        })
    };
    let name = "canary_requests_total";
    out.family(name, Kind::Counter, "Requests that a model has answered or failed to, by routing version.");
    for (labels, series) in labelled() {
        out.sample(&labels, series.requests);
    }
    let name = "canary_request_errors_total";
    out.family(name, Kind::Counter, "Those that count as the model's failure.");
    for (labels, series) in labelled() {
        out.sample(&labels, series.errors);
    }
    let name = "canary_request_duration_seconds";
    out.family(name, Kind::Histogram, "How long a model took to answer, as this node saw it.");
    for (labels, series) in labelled() {
        let mut count = 0;
        let buckets: Vec<_> = BUCKETS_S
            .iter()
            .zip(&series.buckets)
            .map(|(bound, own)| {
                count += own;
                (*bound, count)
            })
            .collect();
        out.histogram(&labels, &buckets, series.requests, series.sum_s);
    }
}

/// Adds what a node has published.
pub(super) fn of_view(view: &View, out: &mut Exposition) {
    let gauge = Kind::Gauge;
    out.single("canary_routing_version", gauge, "The version that is served.", view.routing.version);
    out.family("canary_weight_ratio", gauge, "The share of requests that a model serves.");
    for (model, bp) in view.routing.weights.iter() {
        out.sample(&[("model", model.as_str())], decimal_of_bp(bp));
    }
    let flags = [
        (
            "canary_in_doubt",
            "1 if the node has voted and does not know the outcome.",
            view.in_doubt.is_some(),
        ),
        ("canary_joining", "1 if the node is not a member (yet) and serves nothing.", view.joining.is_some()),
        (
            "canary_split_brain",
            "1 if two nodes were seen to hold different states of one version.",
            view.split_brain,
        ),
    ];
    for (name, help, is_so) in flags {
        out.single(name, gauge, help, u8::from(is_so));
    }
    let status = StatusView::new(view);
    of_evidence(&status, out);
    if let Some(rollout) = &status.rollout {
        of_rollout(rollout, out);
    }
    out.family("canary_verdict", gauge, "What a member's evidence says of the canary on trial.");
    for verdict in &status.verdicts {
        let node = verdict.node.0.to_string();
        out.sample(&[("member", &node), ("verdict", verdict.verdict.name())], 1);
    }
}

fn of_evidence(status: &StatusView, out: &mut Exposition) {
    let each = || {
        let all = status.evidence.iter();
        all.flat_map(|(node, it)| {
            it.models.iter().map(move |(model, window)| (node.0.to_string(), model, window))
        })
    };
    out.family("canary_evidence_samples", Kind::Gauge, "Requests in the last windows of a member, by model.");
    for (node, model, window) in each() {
        out.sample(&[("member", &node), ("model", model.as_str())], window.samples);
    }
    out.family("canary_evidence_p95_seconds", Kind::Gauge, "The 95th percentile of their latency.");
    for (node, model, window) in each() {
        out.sample(&[("member", &node), ("model", model.as_str())], f64::from(window.p95_ms) / 1_000.0);
    }
    out.family("canary_evidence_error_ratio", Kind::Gauge, "The share of them that failed.");
    for (node, model, window) in each() {
        out.sample(&[("member", &node), ("model", model.as_str())], window.error_rate);
    }
    out.family("canary_evidence_stale", Kind::Gauge, "1 if a member's last report is too old to judge by.");
    for (node, evidence) in &status.evidence {
        out.sample(&[("member", &node.0.to_string())], u8::from(evidence.is_stale));
    }
}

fn of_rollout(rollout: &RolloutView, out: &mut Exposition) {
    out.family("canary_rollout_info", Kind::Gauge, "The last rollout, and its course.");
    let labels = [("rollout", rollout.id.as_str()), ("model", rollout.model.as_str())];
    out.sample(&[labels[0], labels[1], ("course", rollout.course.name())], 1);
    let committed = rollout.steps.iter().filter(|step| step.outcome == StepOutcome::Committed).count();
    let steps = [
        ("canary_rollout_steps", "Its steps.", rollout.steps.len()),
        ("canary_rollout_steps_committed", "Those that are committed.", committed),
    ];
    for (name, help, count) in steps {
        out.single(name, Kind::Gauge, help, count);
    }
}

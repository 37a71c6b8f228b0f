//! `canary predict`: asks for predictions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use coalmine_real::http_api::{post_json, read_json};
use coalmine_real::rollout::wire::{PredictBody, Prediction};
use coalmine_real::serve::client::{Client, advice, explain};
use coalmine_real::serve::local::{FIRST, local_address};
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::{Credentials, Failure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::ask::client;

/// How many requests to a node may be under way at a time, while they are sent for some time.
const SENDERS: u32 = 8;
/// How often each of them sends one: 200 a second to each node. A share of 5 % is judged after some ten seconds.
const PACE: Duration = Duration::from_millis(40);

/// Ask for predictions, to see which model serves, or to give a rollout something to be judged by.
///
/// Examples:
///
///   canary predict                       # which model serves this request
///   canary predict --count 1000          # and how often each of them
///   canary predict --seconds 60          # 200 requests a second to each of the three nodes of `canary up`
///   canary predict --key alice           # always the same model, for as long as the weights stay
///
/// A model's server gets the JSON object {} from here, or {"key": ...}; what it answers is not shown, but who did.
///
/// Exits with 1 if a request was not served.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How many requests to send, one after another.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Send 200 requests a second to each node for so long.
    #[arg(long, conflicts_with = "count", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Who asks: requests with the same key are served by the same model.
    #[arg(long)]
    key: Option<String>,
    /// The data addresses of nodes, which are asked by turns. Default the first node of `canary up`; with --seconds
    /// all three.
    #[arg(long, visible_alias = "node", value_delimiter = ',', value_name = "ADDR,...")]
    nodes: Vec<SocketAddr>,
    #[command(flatten)]
    credentials: Credentials,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What became of the requests.
#[derive(Default)]
struct Tallies {
    /// By model and version.
    answered: BTreeMap<(String, u64), Tally>,
    /// What went wrong with the last that a model failed.
    why_failed: Option<String>,
    /// How many got no answer, and why the last of them did not.
    unanswered: u64,
    why: String,
}

#[derive(Default)]
struct Tally {
    served: u64,
    /// By the model's server, as the client's mistake (status 4xx): that is no failure of the model.
    refused: u64,
    failed: u64,
}

impl Tally {
    fn all(&self) -> u64 {
        self.served + self.refused + self.failed
    }
}

/// What became of one request that was routed to a model.
struct Outcome {
    prediction: Prediction,
    status: StatusCode,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Args { count, seconds, key, nodes, credentials, format } = args;
    let client = client(&credentials, nodes.is_empty())?;
    let body = PredictBody { key };
    let default = |nodes| (1..=nodes).map(|id| local_address(FIRST.data, id)).collect();
    let or_default = |of: u16| if nodes.is_empty() { default(of) } else { nodes };
    let tallies = match seconds {
        None => send_count(&client, count, &or_default(1), &body, format).await?,
        Some(seconds) => send_for(&client, Duration::from_secs(seconds), &or_default(3), &body).await?,
    };
    if count > 1 || seconds.is_some() {
        tallies.print(format);
    }
    tallies.conclude()
}

/// Sends so many requests, one after another, to each node by turns.
async fn send_count(
    client: &Client,
    count: u64,
    nodes: &[SocketAddr],
    body: &PredictBody,
    format: Format,
) -> Result<Tallies, Failure> {
    let mut tallies = Tallies::default();
    let mut turns = nodes.iter().cycle();
    for _ in 0..count {
        let node = *turns.next().expect("there is a node");
        let outcome = predict(client, node, body).await.map_err(Failure::failed)?;
        if count == 1 {
            outcome.print(format);
        }
        tallies.count(&outcome);
    }
    Ok(tallies)
}

/// Sends requests to all nodes for so long. A node that never answers ends it; one that falls silent may come back.
async fn send_for(
    client: &Client,
    lasts: Duration,
    nodes: &[SocketAddr],
    body: &PredictBody,
) -> Result<Tallies, Failure> {
    let until = Instant::now() + lasts;
    let mut senders = JoinSet::new();
    for &node in nodes {
        for nth in 0..SENDERS {
            let (client, body, delay) = (client.clone(), body.clone(), PACE / SENDERS * nth);
            senders.spawn(async move {
                tokio::time::sleep(delay).await;
                keep_sending(&client, node, &body, until).await
            });
        }
    }
    let mut all = Tallies::default();
    while let Some(sent) = senders.join_next().await {
        let sent = sent.map_err(|error| Failure::failed(error.to_string()))?;
        all.add(sent.map_err(Failure::failed)?);
    }
    Ok(all)
}

async fn keep_sending(
    client: &Client,
    node: SocketAddr,
    body: &PredictBody,
    until: Instant,
) -> Result<Tallies, String> {
    let mut tallies = Tallies::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        pace.tick().await;
        match predict(client, node, body).await {
            Ok(outcome) => tallies.count(&outcome),
            Err(why) if tallies.answered.is_empty() => return Err(why),
            Err(why) => tallies.miss(1, why),
        }
    }
    Ok(tallies)
}

async fn predict(client: &Client, node: SocketAddr, body: &PredictBody) -> Result<Outcome, String> {
    let answer = client.send(node, post_json("/predict", None, body)).await;
    let answer = answer.map_err(|error| explain("canary", &error))?;
    // A model that failed is named in the answer too.
    let prediction = Prediction::of(&answer).ok_or_else(|| {
        let why = read_json::<Value>(&answer).map_or_else(|why| why, |_| "the answer names no model".into());
        format!("{node}/predict: {why}{}", advice(&answer))
    })?;
    Ok(Outcome { prediction, status: answer.status() })
}

impl Tallies {
    fn count(&mut self, outcome: &Outcome) {
        let Outcome { prediction, status } = outcome;
        let key = (prediction.model.to_string(), prediction.routing_version);
        let tally = self.answered.entry(key).or_default();
        if status.is_server_error() {
            tally.failed += 1;
            self.why_failed.clone_from(&prediction.error);
        } else if status.is_client_error() {
            tally.refused += 1;
        } else {
            tally.served += 1;
        }
    }

    fn miss(&mut self, count: u64, why: String) {
        self.unanswered += count;
        self.why = why;
    }

    fn add(&mut self, more: Self) {
        for (key, Tally { served, refused, failed }) in more.answered {
            let tally = self.answered.entry(key).or_default();
            tally.served += served;
            tally.refused += refused;
            tally.failed += failed;
        }
        self.why_failed = more.why_failed.or(self.why_failed.take());
        if more.unanswered > 0 {
            self.miss(more.unanswered, more.why);
        }
    }

    fn answers(&self) -> u64 {
        self.answered.values().map(Tally::all).sum()
    }

    fn print(&self, format: Format) {
        if format == Format::Json {
            let entry = |((model, version), tally): (&(String, u64), &Tally)| {
                let Tally { served, refused, failed } = tally;
                json!({
                    "model": model, "routing_version": version,
                    "served": served, "refused": refused, "failed": failed,
                })
            };
            return output::json(&self.answered.iter().map(entry).collect::<Vec<_>>());
        }
        let all = self.answers().max(1) as f64;
        let mut table = output::table(&["model", "routing version", "served", "refused", "failed", "share"]);
        for ((model, version), tally) in &self.answered {
            let share = tally.all() as f64 * 100.0 / all;
            table.add_row([
                model.clone(),
                version.to_string(),
                tally.served.to_string(),
                tally.refused.to_string(),
                tally.failed.to_string(),
                format!("{share:.1}%"),
            ]);
        }
        output::print(&table);
    }

    fn conclude(&self) -> Result<(), Failure> {
        let sum = |of: fn(&Tally) -> u64| self.answered.values().map(of).sum::<u64>();
        let (failed, refused) = (sum(|tally| tally.failed), sum(|tally| tally.refused));
        let sent = self.answers() + self.unanswered;
        let mut news = Vec::new();
        if failed > 0 {
            let why = self.why_failed.as_deref().unwrap_or("it did not say why");
            news.push(format!("{failed} of {sent} requests failed, the last because: {why}"));
        }
        if refused > 0 {
            news.push(format!("{refused} of {sent} requests were refused (status 4xx)"));
        }
        if self.unanswered > 0 {
            news.push(format!("{} of {sent} got no answer, the last because: {}", self.unanswered, self.why));
        }
        if news.is_empty() { Ok(()) } else { Err(Failure::failed(news.join("; "))) }
    }
}

impl Outcome {
    fn print(&self, format: Format) {
        let Self { prediction, status } = self;
        let Prediction { model, routing_version, node, .. } = prediction;
        let outcome = if status.is_server_error() {
            "failed at"
        } else if status.is_client_error() {
            "refused by"
        } else {
            "served by"
        };
        match format {
            Format::Json => output::json(prediction),
            Format::Text => {
                output::line(format_args!(
                    "{outcome} {model}  (routing version {routing_version}, node {node})"
                ));
            }
        }
    }
}

//! `canary predict`: asks for predictions.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use coalmine_real::http_api::{post_json, read_json};
use coalmine_real::rollout::wire::{PredictBody, Prediction};
use coalmine_real::serve::Failure;
use coalmine_real::serve::client::{Client, explain};
use coalmine_real::serve::local::{FIRST, local_address};
use coalmine_real::serve::output::{self, Format};

/// Ask for predictions, to see which model serves.
///
/// Examples:
///
///   canary predict                       # which model serves this request
///   canary predict --count 1000          # and how often each of them
///   canary predict --key alice           # always the same one, for as long as the weights stay
///
/// Exits with 1 if a request was not served.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How many requests to send, one after another.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Who asks: requests with the same key are served by the same model.
    #[arg(long)]
    key: Option<String>,
    /// The data address of a node.
    #[arg(long, value_name = "ADDR", default_value_t = local_address(FIRST.data, 1))]
    node: SocketAddr,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Default)]
struct Tally {
    served: u64,
    failed: u64,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = Client::default();
    let body = PredictBody { key: args.key };
    let mut tallies: BTreeMap<(String, u64), Tally> = BTreeMap::new();
    for _ in 0..args.count {
        let answer = client.send(args.node, post_json("/predict", None, &body)).await;
        let answer = answer.map_err(|error| Failure::failed(explain("canary", &error)))?;
        // A model that failed is named in the answer too.
        let Ok(prediction) = serde_json::from_slice::<Prediction>(answer.body()) else {
            let why =
                read_json::<Prediction>(&answer).map_or_else(|why| why, |_| answer.status().to_string());
            return Err(Failure::failed(format!("{}/predict: {why}", args.node)));
        };
        if args.count == 1 {
            print_one(&prediction, args.format);
        }
        let tally = tallies.entry((prediction.model.to_string(), prediction.routing_version)).or_default();
        if prediction.error.is_none() { tally.served += 1 } else { tally.failed += 1 }
    }
    if args.count > 1 {
        print_tallies(&tallies, args.count, args.format);
    }
    let failed: u64 = tallies.values().map(|tally| tally.failed).sum();
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::failed(format!("{failed} of {} requests failed", args.count)))
    }
}

fn print_one(prediction: &Prediction, format: Format) {
    match format {
        Format::Json => output::json(prediction),
        Format::Text => {
            let Prediction { model, routing_version, node, error } = prediction;
            let outcome = if error.is_none() { "served by" } else { "failed at" };
            output::line(format_args!("{outcome} {model}  (routing version {routing_version}, node {node})"));
        }
    }
}

fn print_tallies(tallies: &BTreeMap<(String, u64), Tally>, count: u64, format: Format) {
    if format == Format::Json {
        let entry = |((model, version), tally): (&(String, u64), &Tally)| {
            let Tally { served, failed } = tally;
            serde_json::json!({ "model": model, "routing_version": version, "served": served, "failed": failed })
        };
        return output::json(&tallies.iter().map(entry).collect::<Vec<_>>());
    }
    let mut table = output::table(&["model", "routing version", "served", "failed", "share"]);
    for ((model, version), Tally { served, failed }) in tallies {
        let share = (served + failed) as f64 * 100.0 / count as f64;
        table.add_row([
            model.clone(),
            version.to_string(),
            served.to_string(),
            failed.to_string(),
            format!("{share:.1}%"),
        ]);
    }
    output::print(&table);
}

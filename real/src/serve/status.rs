//! `status`: how each node does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Response;
use comfy_table::{Cell, Color};
use serde::Serialize;

use super::client::{Client, advice, get};
use super::command::{Failure, described};
use super::credentials::Credentials;
use super::health::{LIVE, NodeStatus};
use super::local;
use super::output::{self, Format};
use super::service::Service;

/// How much of a view a table shows.
const SHOWN: usize = 60;

pub(super) fn command<S: Service>() -> clap::Command {
    let name = S::NAME;
    let text = format!(
        "Show how each node does.\n\nExamples:\n\n  {name} status\n  {name} status --nodes 127.0.0.1:8711 --format json\n\n\
         Exits with 1 if a node cannot be reached, or is not ready."
    );
    let command = <Args as clap::Args>::augment_args(clap::Command::new("status"));
    described(local::with_default_dir(command, name), &text)
}

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The nodes' data addresses. Default: those of the cluster in DIR.
    #[arg(long, value_delimiter = ',', value_name = "ADDR,...")]
    nodes: Vec<SocketAddr>,
    /// The folder of a cluster that `up` has started.
    #[arg(long)]
    dir: PathBuf,
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

/// How often it is looked again.
const PACE: Duration = Duration::from_secs(1);

/// Shows what is seen, again and again, until nobody takes it any more. As JSON it is one value a line.
pub async fn watch<T: Serialize>(
    format: Format,
    mut look: impl AsyncFnMut() -> T,
    words: impl Fn(&T) -> String,
) {
    let mut screen = output::Screen::default();
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        let seen = look().await;
        let goes_on = match format {
            Format::Text => screen.show(&words(&seen)),
            Format::Json => {
                output::line(serde_json::to_string(&seen).unwrap_or_default());
                !output::is_broken()
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// One node's answer, or why there is none.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    /// Where it was asked.
    pub address: SocketAddr,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<T>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Asks all nodes at once for what is at `path`.
pub async fn ask_all<T: Send + 'static>(
    client: &Client,
    addresses: &[SocketAddr],
    path: &'static str,
    read: fn(&Response<Bytes>) -> Result<T, String>,
) -> Vec<Answer<T>> {
    let client = client.clone().within(Duration::from_secs(2));
    let ask = |&address: &SocketAddr| {
        let client = client.clone();
        tokio::spawn(async move {
            let answer = client.send(address, get(path)).await.map_err(|error| error.to_string())?;
            read(&answer).map_err(|error| format!("{address}{path}: {error}{}", advice(&answer)))
        })
    };
    let asked: Vec<_> = addresses.iter().map(ask).collect();
    let mut answers = Vec::new();
    for (&address, asked) in addresses.iter().zip(asked) {
        let answer = asked.await.unwrap_or_else(|error| Err(error.to_string()));
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        answers.push(Answer { address, status, error });
    }
    answers
}

/// Asks all nodes, and prints what they say.
pub async fn run<S: Service>(args: Args) -> Result<(), Failure> {
    let (addresses, client) = args.credentials.targets::<S>(args.nodes, &args.dir)?;
    let look = async || ask_all::<NodeStatus>(&client, &addresses, LIVE, crate::http_api::read_json).await;
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

fn warnings(answers: &[Answer<NodeStatus>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for Answer { status, error, .. } in answers {
        warnings.extend(error.clone());
        let Some(NodeStatus { node, error, stale_why, .. }) = status else { continue };
        warnings.extend(error.as_ref().map(|why| format!("{node} is not ready: {why}")));
        warnings.extend(stale_why.as_ref().map(|why| format!("{node} takes in nothing any more: {why}")));
    }
    warnings
}

fn words(answers: &[Answer<NodeStatus>], warnings: &[String]) -> String {
    let mut table = output::table(&["node", "data", "ready", "up", "records", "view"]);
    for Answer { address, status, .. } in answers {
        let Some(NodeStatus { node, ready, up_ms, journal_records, view, .. }) = status else {
            table.add_row([Cell::new("?"), Cell::new(address), unreachable()]);
            continue;
        };
        let view = view.as_ref().filter(|view| !view.is_null()).map_or(String::new(), ToString::to_string);
        let shown: String = view.chars().take(SHOWN).collect();
        table.add_row([
            Cell::new(node),
            Cell::new(address),
            if *ready { Cell::new("yes") } else { Cell::new("no").fg(Color::Red) },
            Cell::new(format_args!("{:.0} s", Duration::from_millis(*up_ms).as_secs_f64())),
            Cell::new(journal_records.map_or("?".into(), |records| records.to_string())),
            Cell::new(if shown.len() < view.len() { shown + "…" } else { shown }),
        ]);
    }
    output::text(&table) + &warned(warnings)
}

/// In the place of what a node does not say.
pub fn unreachable() -> Cell {
    Cell::new("unreachable").fg(Color::Red)
}

/// What is not as it should be, below a table.
pub fn warned(warnings: &[String]) -> String {
    let lines = warnings.iter().map(|warning| format!("\nwarning: {warning}"));
    let blank = if warnings.is_empty() { "" } else { "\n" };
    lines.fold(blank.to_owned(), |all, line| all + &line)
}

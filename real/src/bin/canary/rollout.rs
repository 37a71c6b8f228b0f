//! `canary rollout`: starts a rollout and watches it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::{Reply, Request};
use coalmine_core::rollout::state::ModelId;
use coalmine_real::http_api::{HttpApi, request_name};
use coalmine_real::rollout::wire::{Progress, RolloutView, StepOutcome, StepView, bp_of_percent};
use coalmine_real::serve::Failure;
use coalmine_real::serve::client::{Client, explain, new_name};
use coalmine_real::serve::local::{FIRST, local_address};
use coalmine_real::serve::output::{self, Format};

/// How often to look how far it is. In the first second more often: a rollout without pauses takes less than
/// one look.
const POLL: Duration = Duration::from_millis(50);
const EARLY_POLL: Duration = Duration::from_millis(5);
/// How long a coordinator may be silent (it may be starting again) before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

type Node = RolloutNode;

/// Roll a model out, step by step, and wait for the end.
///
/// Each step is one transaction: all nodes serve it, or none does. The first step that is aborted, by a
/// gate or by a node that does not answer, stops the rollout; the weights stay where they are.
///
/// Examples:
///
///   canary rollout v2
///   canary rollout v2 --steps 1,10,50,100 --pause-ms 30000   # watch each step for half a minute
///   canary rollout v1 --steps 100                            # roll back: v1 serves everything
///
/// Exits with 1 if it was stopped.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The model to roll out.
    model: String,
    /// Its shares in percent, rising, in steps of 0.01.
    #[arg(long, value_delimiter = ',', default_value = "5,20,50,100", value_name = "PERCENT,...")]
    steps: Vec<f64>,
    /// How long to watch each step before the next, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pause_ms: u64,
    /// The coordinator's data address.
    #[arg(long, value_name = "ADDR", default_value_t = local_address(FIRST.data, 1))]
    coordinator: SocketAddr,
    /// Print the rollout's name and do not wait for it.
    #[arg(long)]
    no_wait: bool,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = Client::default();
    let request = request(&args)?;
    let id = new_name();
    let began = Instant::now();
    let (coordinator, name) = start(&client, args.coordinator, id, &request).await?;
    let args = Args { coordinator, ..args };
    if args.no_wait {
        match args.format {
            Format::Text => output::line(format_args!("accepted as {name}")),
            Format::Json => output::json(&serde_json::json!({ "id": name })),
        }
        return Ok(());
    }
    if args.format == Format::Text {
        let steps: Vec<_> = args.steps.iter().map(|percent| format!("{percent}%")).collect();
        output::line(format_args!("rolling out {}: {}", args.model, steps.join(", ")));
    }
    let rollout = watch(&client, &args, &name, began).await?;
    if args.format == Format::Json {
        output::json(&rollout);
    }
    conclude(&rollout, began.elapsed(), args.format)
}

fn request(args: &Args) -> Result<Request, Failure> {
    let model = ModelId::new(&args.model).map_err(|error| Failure::usage(error.to_string()))?;
    let to_bp =
        |&percent: &f64| bp_of_percent(percent).map_err(|why| Failure::usage(format!("--steps {why}")));
    let steps_bp = args.steps.iter().map(to_bp).collect::<Result<_, _>>()?;
    Ok(Request::StartRollout { model, steps_bp, pause_ms: args.pause_ms })
}

/// The coordinator that has accepted it, and its name.
async fn start(
    client: &Client,
    node: SocketAddr,
    id: RequestId,
    request: &Request,
) -> Result<(SocketAddr, String), Failure> {
    let asked = client.ask::<Node>(&[node], id, request).await;
    let (coordinator, answer) = asked.map_err(|error| Failure::failed(explain("canary", &error)))?;
    let complaint = || {
        let json: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
        let why = json.as_ref().and_then(|json| json["error"].as_str()).unwrap_or("it gives no reason");
        format!("{coordinator} refuses: {why}")
    };
    match Node::from_http(&answer) {
        Ok(Reply::Accepted { id }) => Ok((coordinator, request_name(id))),
        Ok(Reply::Invalid { .. }) => Err(Failure::usage(complaint())),
        Ok(
            Reply::Busy { .. }
            | Reply::SplitBrain
            | Reply::Joining(_)
            | Reply::NotCoordinator { .. }
            | Reply::Done,
        ) => Err(Failure::failed(complaint())),
        Err(why) => Err(Failure::failed(format!("{coordinator}: {why}"))),
    }
}

/// Looks until the rollout is over, and prints each step that is.
async fn watch(client: &Client, args: &Args, name: &str, began: Instant) -> Result<RolloutView, Failure> {
    let client = client.clone().within(Duration::from_secs(2));
    let mut printed = 0;
    let mut silent_since = None;
    loop {
        match client.get::<Vec<RolloutView>>(args.coordinator, "/rollouts").await {
            Ok(rollouts) => {
                silent_since = None;
                let rollout = rollouts.into_iter().find(|rollout| rollout.id == name);
                let rollout = rollout.ok_or_else(|| {
                    Failure::failed(format!("{} no longer knows of rollout {name}", args.coordinator))
                })?;
                let done = rollout.steps.iter().filter(|step| step.outcome != StepOutcome::Pending);
                for step in done.skip(printed) {
                    printed += 1;
                    if args.format == Format::Text {
                        print_step(step, began.elapsed());
                    }
                }
                if rollout.state != Progress::Running {
                    return Ok(rollout);
                }
            }
            Err(why) => {
                let since = *silent_since.get_or_insert_with(|| {
                    output::note(format_args!("waiting for the coordinator: {why}"));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    let why = format!("the coordinator does not come back: {why}; rollout {name} may go on");
                    return Err(Failure::failed(why));
                }
            }
        }
        let early = began.elapsed() < Duration::from_secs(1);
        tokio::time::sleep(if early { EARLY_POLL } else { POLL }).await;
    }
}

fn print_step(step: &StepView, elapsed: Duration) {
    let percent = format!("{}%", step.percent);
    let outcome = match (step.outcome, step.version) {
        (StepOutcome::Committed, Some(version)) => format!("committed as version {version}"),
        (StepOutcome::Committed | StepOutcome::Pending, _) => "committed".into(),
        (StepOutcome::Aborted, _) => "aborted".into(),
    };
    output::line(format_args!("{percent:>8}  {outcome:<24}after {:>9}", milliseconds(elapsed)));
}

fn conclude(rollout: &RolloutView, elapsed: Duration, format: Format) -> Result<(), Failure> {
    let model = &rollout.model;
    let committed = rollout.steps.iter().rfind(|step| step.outcome == StepOutcome::Committed);
    let now_serves = |step: &StepView| format!("{model} serves {}%", step.percent);
    let Some(aborted) = rollout.steps.iter().find(|step| step.outcome == StepOutcome::Aborted) else {
        if format == Format::Text {
            let serves = committed.map_or(String::new(), |step| format!(": {}", now_serves(step)));
            output::line(format_args!("completed in {}{serves}", milliseconds(elapsed)));
        }
        return Ok(());
    };
    let stays = committed.map_or("nothing has changed".into(), |step| format!("{} still", now_serves(step)));
    let why = aborted.reason.as_deref().unwrap_or("no reason is known");
    Err(Failure::failed(format!("stopped at {}%: {why}; {stays}", aborted.percent)))
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

//! `canary rollout`: starts a rollout.

use std::net::SocketAddr;
use std::time::Instant;

use clap::ValueEnum;
use coalmine_core::node::RequestId;
use coalmine_core::rollout::message::{Guard, OnFailure, Reply, Request, RolloutPlan};
use coalmine_core::rollout::state::ModelId;
use coalmine_real::http_api::{read_json, request_name};
use coalmine_real::rollout::wire::{Started, bp_of_percent};
use coalmine_real::serve::client::{Client, new_name};
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::{Credentials, Failure};

use crate::ask::{ask, client, default_coordinator};
use crate::fleet;
use crate::watch::{Live, Watch};

/// Roll a model out, step by step, and wait for the end.
///
/// Each step is one transaction: all nodes serve it, or none does. A step is held, and the next one follows when the
/// canary's own requests have passed the gates on every node; at 100% the model is on trial for one more hold
/// before it becomes the stable one. So there must be traffic meanwhile: `canary predict --seconds 60`. A canary
/// that fails is taken back. One that too few ask is paused, and `canary promote` goes on whatever the gates say.
///
/// Examples:
///
///   canary rollout v2
///   canary rollout v2 --steps 1,10,50,100 --pause-ms 30000   # hold each step for half a minute
///   canary rollout v2 --no-gates                             # no evidence is asked for
///   canary rollout v2 --watch                                # with all nodes in sight
///   canary rollout v3 --supersede                            # instead of what is under way
///   canary rollout v4 --queue                                # when all before it have come to their ends
///   canary rollout v2 --all-regions                          # in one region after the other
///   canary rollout v1 --steps 100                            # roll back: v1 serves everything
///
/// Exits with 1 if it was paused, taken back, stopped or superseded.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The model to roll out.
    model: String,
    /// Its shares in percent, rising, in steps of 0.01.
    #[arg(long, value_delimiter = ',', default_value = "5,20,50,100", value_name = "PERCENT,...")]
    steps: Vec<f64>,
    /// How long to hold each step before the next, in milliseconds. Where gates judge, at least one window of the
    /// nodes' measurements, which is 5 s unless their files say otherwise.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pause_ms: u64,
    /// The hold of each step, where they differ.
    #[arg(long, value_delimiter = ',', value_name = "MS,...", conflicts_with = "pause_ms")]
    holds_ms: Vec<u64>,
    /// Take each step when the hold of the one before is over, whatever the canary does.
    #[arg(long)]
    no_gates: bool,
    /// What comes of a canary that fails, or of a step that is aborted.
    #[arg(long, value_enum, default_value = "return")]
    on_failure: Failing,
    /// How long after its hold a step waits for evidence before it pauses, in milliseconds.
    #[arg(long, default_value_t = RolloutPlan::DEADLINE_MS, value_name = "MS")]
    deadline_ms: u64,
    /// Take the place of a rollout that is under way.
    #[arg(long)]
    supersede: bool,
    /// Wait for its turn: it begins when all rollouts before it have come to their ends, and never if one of them fails. This
    /// command does not wait for it.
    #[arg(long, conflicts_with_all = ["supersede", "watch"])]
    queue: bool,
    /// Roll it out in one region after the other, as the nodes' files name them. A region that fails ends it, and all that have
    /// begun return to what they served before. A part that is paused there is waited for.
    #[arg(long, conflicts_with_all = ["queue", "watch"])]
    all_regions: bool,
    /// The coordinator's data address; for all regions, the first one's.
    #[arg(long, value_name = "ADDR", default_value_t = default_coordinator())]
    coordinator: SocketAddr,
    #[command(flatten)]
    credentials: Credentials,
    /// Print the rollout's name and do not wait for it.
    #[arg(long)]
    no_wait: bool,
    /// Draw all nodes and the rollout anew whenever something changes, on a terminal. Elsewhere a line is printed for each
    /// step in any case.
    #[arg(long, conflicts_with = "no_wait")]
    watch: bool,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Failing {
    /// Every node returns to the stable model.
    Return,
    /// It is over, and the weights stay where they are.
    Stop,
    /// It stays where it is until somebody gives an order.
    Pause,
}

impl From<Failing> for OnFailure {
    fn from(failing: Failing) -> Self {
        match failing {
            Failing::Return => Self::Return,
            Failing::Stop => Self::Stop,
            Failing::Pause => Self::Pause,
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = client(&args.credentials, args.coordinator == default_coordinator())?;
    let ask = match &args {
        Args { queue: true, .. } => Request::QueueRollout,
        Args { all_regions: true, .. } => Request::StartFleet,
        Args { .. } => Request::StartRollout,
    };
    let request = ask(plan(&args)?);
    let began = Instant::now();
    let (coordinator, started) = start(&client, args.coordinator, new_name(), &request).await?;
    if args.format == Format::Text {
        introduce(&args, &started);
    }
    if args.no_wait || args.queue {
        if args.format == Format::Json {
            output::json(&started);
        }
        return Ok(());
    }
    if args.all_regions {
        return fleet::watch(&client, coordinator, &started.id, args.format).await;
    }
    let live = (args.watch && args.format == Format::Text).then(Live::default);
    let watch = Watch { client, coordinator, name: started.id, began, format: args.format, live };
    let rollout = watch.to_its_end().await?;
    if args.format == Format::Json {
        output::json(&rollout);
    }
    watch.conclude(&rollout).await
}

fn plan(args: &Args) -> Result<RolloutPlan, Failure> {
    let to_bp =
        |&percent: &f64| bp_of_percent(percent).map_err(|why| Failure::usage(format!("--steps {why}")));
    Ok(RolloutPlan {
        model: ModelId::new(&args.model).map_err(|error| Failure::usage(error.to_string()))?,
        steps_bp: args.steps.iter().map(to_bp).collect::<Result<_, _>>()?,
        pause_ms: args.pause_ms,
        holds_ms: args.holds_ms.clone(),
        gates: if args.no_gates { Guard::Off } else { Guard::Configured },
        on_failure: args.on_failure.into(),
        deadline_ms: args.deadline_ms,
        supersede: args.supersede,
    })
}

/// The coordinator that has accepted it, and what it says of it.
async fn start(
    client: &Client,
    node: SocketAddr,
    id: RequestId,
    request: &Request,
) -> Result<(SocketAddr, Started), Failure> {
    let answered = ask(client, node, id, request).await?;
    let Reply::Accepted { id } = answered.reply else { return Err(answered.refusal()) };
    let unsaid = |_| Started { id: request_name(id), holds_ms: Vec::new() };
    Ok((answered.by, read_json(&answered.http).unwrap_or_else(unsaid)))
}

fn introduce(args: &Args, started: &Started) {
    let steps: Vec<_> = args.steps.iter().map(|percent| format!("{percent}%")).collect();
    let steps = steps.join(", ");
    if args.queue {
        output::line(format_args!("queued as {}: `canary status` shows what is before it", started.id));
    } else if args.no_wait {
        output::line(format_args!("accepted as {}", started.id));
    } else {
        output::line(format_args!("rolling out {}: {steps}  (rollout {})", args.model, started.id));
    }
    if let Some(longer) = longer_holds(args, started) {
        output::line(longer);
    }
}

/// What to say of holds that are longer than was asked for.
fn longer_holds(args: &Args, started: &Started) -> Option<String> {
    let asked = |i: usize| args.holds_ms.get(i).copied().unwrap_or(args.pause_ms);
    let is_longer = started.holds_ms.iter().enumerate().any(|(i, &ms)| ms > asked(i));
    let holds: Vec<_> = started.holds_ms.iter().map(|ms| format!("{ms} ms")).collect();
    let why = "gates need a whole window";
    is_longer.then(|| match &started.holds_ms[..] {
        [first, rest @ ..] if rest.iter().all(|ms| ms == first) => {
            format!("each step is held for {first} ms: {why}")
        }
        _ => format!("the steps are held for {}: {why}", holds.join(", ")),
    })
}

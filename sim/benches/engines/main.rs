//! What the engines cost, beside what a Rust user has otherwise: one table in one run.
//!
//! ```sh
//! cargo bench --package coalmine-sim --bench engines [-- --quick] [--rounds N] [--format json]
//! cargo bench --package coalmine-sim --bench engines -- --only engine_world --rounds 500   # for a profiler
//! ```
//!
//! On the left `rollout-chaos`. In the middle and on the right the same traffic for everybody (see
//! [`traffic`]): on turmoil, on madsim alone, and as a tiny node in both engines. The contenders take turns,
//! several rounds; each number is a median. Times are processor time, which a busy machine stretches less than
//! the clock on the wall; every contender uses one core.

mod bare;
mod chatter;
#[path = "../shared/clock.rs"]
mod clock;
mod on_turmoil;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use coalmine::rollout::chaos;
use coalmine_core::node::Event;
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::trace::TraceEvent;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::clock::{median, timed};
use crate::traffic::Traffic;

/// The same as in the `coalmine` program; every contender has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Who carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Contender {
    Turmoil,
    BareMadsim,
    MadsimEngine,
    WorldEngine,
}

const CONTENDERS: [Contender; 4] =
    [Contender::Turmoil, Contender::BareMadsim, Contender::MadsimEngine, Contender::WorldEngine];

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Turmoil => "turmoil 0.7.2",
            Self::BareMadsim => "madsim 0.2.34, bare",
            Self::MadsimEngine => "engine madsim",
            Self::WorldEngine => "engine direct",
        }
    }

    /// Its name on the command line.
    fn id(self) -> &'static str {
        match self {
            Self::Turmoil => "turmoil",
            Self::BareMadsim => "bare_madsim",
            Self::MadsimEngine => "engine_madsim",
            Self::WorldEngine => "engine_world",
        }
    }

    fn engine(self) -> Option<Engine> {
        match self {
            Self::Turmoil | Self::BareMadsim => None,
            Self::MadsimEngine => Some(Engine::Madsim),
            Self::WorldEngine => Some(Engine::Direct),
        }
    }

    /// Carries the traffic, and says how long it took.
    fn carry(self, traffic: Traffic) -> Duration {
        let (heard, took) = timed(|| match self {
            Self::Turmoil => on_turmoil::heard(traffic),
            Self::BareMadsim => bare::heard(traffic),
            Self::MadsimEngine => chatter::heard(Engine::Madsim, traffic),
            Self::WorldEngine => chatter::heard(Engine::Direct, traffic),
        });
        // The last round may still be under way at the end.
        let frames = traffic.frames() - traffic.frames() / traffic.rounds()..=traffic.frames();
        assert!(frames.contains(&heard), "{}: {heard} frames arrived, not {frames:?}", self.name());
        took
    }

    /// The same, again and again for a turn: how long it takes on the average. (What is over in a millisecond would
    /// else be measured on caches that hold what the others left in them.)
    fn carry_for_a_turn(self, traffic: Traffic) -> Duration {
        let (mut took, mut times) = (Duration::ZERO, 0);
        while took < TURN {
            took += self.carry(traffic);
            times += 1;
        }
        took / times
    }
}

/// How long a turn is at least, in processor time.
const TURN: Duration = Duration::from_millis(50);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    rounds: usize,
    seeds: u64,
    /// The traffic that everybody is compared by.
    traffic: Traffic,
    /// How cost grows: nodes, and for how many simulated seconds.
    growth: &'static [(u32, u64)],
    /// turmoil takes too long with more.
    turmoil_nodes: u32,
}

const FULL: Size = Size {
    rounds: 5,
    seeds: 200,
    traffic: Traffic { nodes: 5, seconds: 60 },
    growth: &[(3, 120), (5, 60), (9, 20), (25, 5), (101, 2)],
    turmoil_nodes: 25,
};

const QUICK: Size = Size {
    rounds: 1,
    seeds: 5,
    traffic: Traffic { nodes: 5, seconds: 5 },
    growth: &[(3, 2), (5, 2)],
    turmoil_nodes: 3,
};

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    contender: Contender,
    chaos: Option<Chaos>,
    /// How long the traffic took.
    traffic_ms: f64,
    simulated_per_second: f64,
    us_per_frame: f64,
    /// Nodes, and what one more frame costs among so many.
    growth: Vec<(u32, Option<f64>)>,
}

/// What `rollout-chaos` costs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Chaos {
    seeds_per_second: f64,
    simulated_per_second: f64,
    messages_per_second: f64,
}

fn main() -> ExitCode {
    let (mut size, mut json, mut only) = (FULL, false, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {} // what cargo says
            "--quick" => size = QUICK,
            "--rounds" => match args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0) {
                Some(rounds) => size.rounds = rounds,
                None => return usage("--rounds takes a number from 1"),
            },
            "--format" => match args.next().as_deref() {
                Some("json") => json = true,
                Some("text") => json = false,
                _ => return usage("--format takes text or json"),
            },
            "--only" => {
                match args.next().and_then(|name| CONTENDERS.into_iter().find(|it| it.id() == name)) {
                    Some(contender) => only = Some(contender),
                    None => return usage("--only takes turmoil, bare_madsim, engine_madsim or engine_world"),
                }
            }
            other => return usage(&format!("{other} is unknown")),
        }
    }
    if let Some(contender) = only {
        let times: Vec<_> =
            (0..size.rounds).map(|_| contender.carry(size.traffic).as_secs_f64() * 1e3).collect();
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let (name, rounds) = (contender.name(), size.rounds);
        let median = median(times).unwrap_or(f64::NAN);
        println!("{name}: {median:.2} ms, median of {rounds} rounds; {least:.2} at the least");
        return ExitCode::SUCCESS;
    }
    let rows = measure(size);
    if json {
        println!("{}", serde_json::to_string(&rows).expect("rows are plain data"));
    } else {
        print(size, &rows);
    }
    ExitCode::SUCCESS
}

fn usage(why: &str) -> ExitCode {
    eprintln!("error: {why}\nusage: engines [--quick] [--rounds N] [--only CONTENDER] [--format text|json]");
    ExitCode::from(2)
}

fn measure(size: Size) -> Vec<Row> {
    let chaos = in_turns(size.rounds, |contender| contender.engine().map(|engine| chaos(engine, size.seeds)));
    let traffic = in_turns(size.rounds, |contender| Some(contender.carry_for_a_turn(size.traffic)));
    let growth: Vec<_> = size
        .growth
        .iter()
        .map(|&(nodes, seconds)| {
            let more = in_turns(size.rounds, |contender| {
                let possible = contender != Contender::Turmoil || nodes <= size.turmoil_nodes;
                possible.then(|| one_more_frame(contender, nodes, seconds))
            });
            (nodes, more.map(median))
        })
        .collect();
    let row = |(index, contender): (usize, &Contender)| {
        let seconds = median(traffic[index].iter().map(Duration::as_secs_f64).collect());
        let seconds = seconds.expect("everybody carries the traffic");
        let of = |what: fn(&Chaos) -> f64| median(chaos[index].iter().map(what).collect());
        Row {
            contender: *contender,
            chaos: of(|it| it.seeds_per_second).map(|seeds_per_second| Chaos {
                seeds_per_second,
                simulated_per_second: of(|it| it.simulated_per_second).unwrap_or_default(),
                messages_per_second: of(|it| it.messages_per_second).unwrap_or_default(),
            }),
            traffic_ms: seconds * 1e3,
            simulated_per_second: size.traffic.seconds as f64 / seconds,
            us_per_frame: seconds * 1e6 / size.traffic.frames() as f64,
            growth: growth.iter().map(|(nodes, costs)| (*nodes, costs[index])).collect(),
        }
    };
    CONTENDERS.iter().enumerate().map(row).collect()
}

/// Measures each contender once a round, one after the other, so that a busy minute hits them all.
fn in_turns<T>(rounds: usize, measure: impl Fn(Contender) -> Option<T>) -> [Vec<T>; 4] {
    let mut measured = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        for (contender, measured) in CONTENDERS.into_iter().zip(&mut measured) {
            measured.extend(measure(contender));
        }
    }
    measured
}

/// What a frame costs in microseconds once everybody is connected: a long run less a short one.
fn one_more_frame(contender: Contender, nodes: u32, seconds: u64) -> f64 {
    let (short, long) = (Traffic { nodes, seconds: 1 }, Traffic { nodes, seconds: 1 + seconds });
    let took = |traffic| contender.carry_for_a_turn(traffic).as_secs_f64();
    let more = took(long) - took(short);
    more * 1e6 / (long.frames() - short.frames()) as f64
}

/// `rollout-chaos` on one engine.
fn chaos(engine: Engine, seeds: u64) -> Chaos {
    let scenario = chaos::scenario();
    let system = (scenario.system)();
    let run = |seed, keep_trace| {
        let options = RunOptions { keep_trace, ..RunOptions::of(seed) };
        let report = scenario.run_plan(engine, &scenario.plan_of(&system, seed), options);
        assert_eq!(report.verdict, Verdict::Passed, "seed {seed}");
        report
    };
    let (simulated, took) = timed(|| (0..seeds).map(|seed| run(seed, false).simulated).sum::<Duration>());
    let is_message =
        |what: &TraceEvent<_>| matches!(what, TraceEvent::Stepped { event: Event::Message { .. }, .. });
    let messages = |seed| {
        let trace = run(seed, true).trace.unwrap_or_default();
        trace.iter().filter(|entry| is_message(&entry.what)).count()
    };
    let messages: usize = (0..seeds).map(messages).sum();
    let took = took.as_secs_f64();
    Chaos {
        seeds_per_second: seeds as f64 / took,
        simulated_per_second: simulated.as_secs_f64() / took,
        messages_per_second: messages as f64 / took,
    }
}

fn print(size: Size, rows: &[Row]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header: Vec<String> =
        ["", "chaos seeds/s", "simulated s/s", "messages/s", "traffic ms", "simulated s/s", "us/frame"]
            .map(String::from)
            .into();
    header.extend(size.growth.iter().map(|(nodes, _)| format!("{nodes} nodes")));
    table.set_header(header);
    for row in rows {
        let chaos = |what: fn(Chaos) -> f64| row.chaos.map_or(String::new(), |it| round(what(it)));
        let mut cells = vec![
            row.contender.name().to_owned(),
            chaos(|it| it.seeds_per_second),
            chaos(|it| it.simulated_per_second),
            chaos(|it| it.messages_per_second),
            round(row.traffic_ms),
            round(row.simulated_per_second),
            round(row.us_per_frame),
        ];
        cells.extend(row.growth.iter().map(|(_, cost)| cost.map_or(String::new(), round)));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
    let Size { rounds, seeds, traffic, .. } = size;
    println!(
        "Medians of {rounds} rounds, processor time on one core. chaos: rollout-chaos, {seeds} seeds. traffic: {} \
         nodes, each sends {} bytes to each other every {:?}, for {} simulated seconds: {} frames. The last \
         columns: microseconds for one more frame.",
        traffic.nodes,
        traffic::FRAME_BYTES,
        traffic::PERIOD,
        traffic.seconds,
        traffic.frames(),
    );
    let took = |whose| rows.iter().find(|row| row.contender == whose).map_or(f64::NAN, |row| row.traffic_ms);
    let (turmoil, bare) = (took(Contender::Turmoil), took(Contender::BareMadsim));
    let (madsim, world) = (took(Contender::MadsimEngine), took(Contender::WorldEngine));
    for (what, ratio, goal, met) in [
        ("engine madsim / bare madsim", madsim / bare, "at most 1.5", madsim / bare <= 1.5),
        ("turmoil / engine madsim", turmoil / madsim, "at least 20", turmoil / madsim >= 20.0),
        ("bare madsim / engine direct", bare / world, "at least 10", bare / world >= 10.0),
    ] {
        println!("{what}: {ratio:.1} (goal: {goal}): {}", if met { "met" } else { "missed" });
    }
}

/// Three figures or so.
fn round(value: f64) -> String {
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

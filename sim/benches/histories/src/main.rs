//! How fast histories are judged, by our checker of linearizability and by others: `porcupine-rs`, and stateright's
//! `LinearizabilityTester`. All judge the same drawn histories of twenty clients, in turns, each in a process of its own
//! that is ended when nobody waits any longer. See `docs/benchmarks.md`.
//!
//! `cargo run --release --manifest-path sim/benches/histories/Cargo.toml -- [--patience SECONDS] [--sizes 1000,10000]`

mod contenders;
mod history;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use history::{Bank, Kv, Load, Register, Service};

const SERVICES: [&str; 4] = ["register of 5 values", "register of 1,000 values", "kv of 10 keys", "bank"];
const LOADS: [&str; 2] = ["calm", "busy"];
const CONTENDERS: [&str; 3] = ["coalmine", "porcupine-rs", "stateright"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    if let Some(case) = after("--case") {
        let case: Vec<usize> = case.split(',').filter_map(|part| part.parse().ok()).collect();
        let [service, load, number, broken, contender] = case[..] else { return ExitCode::FAILURE };
        // Who judges recursively needs a large stack.
        let judge = move || judge(service, load, number, broken == 1, contender);
        let thread = std::thread::Builder::new().stack_size(4 << 30).spawn(judge).expect("a thread");
        let (verdict, took) = thread.join().expect("it judges");
        println!("{verdict} {}", took.as_secs_f64());
        return ExitCode::SUCCESS;
    }
    let patience = after("--patience").map_or(10.0, |it| it.parse().expect("a number of seconds"));
    let sizes = after("--sizes").map_or("1000,10000", String::as_str);
    println!(
        "| history | load | operations | linearizable | {} | others / ours |",
        CONTENDERS.join(" s | ") + " s"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (service, name) in SERVICES.iter().enumerate() {
        for size in sizes.split(',') {
            for (load, load_name) in LOADS.iter().enumerate() {
                for broken in [0, 1] {
                    let case = format!("{service},{load},{size},{broken}");
                    row(name, load_name, size, &case, Duration::from_secs_f64(patience));
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn row(name: &str, load: &str, size: &str, case: &str, patience: Duration) {
    let results: Vec<_> =
        (0..CONTENDERS.len()).map(|who| measure(&format!("{case},{who}"), patience)).collect();
    let verdicts: Vec<bool> = results.iter().flatten().map(|(verdict, _)| *verdict).collect();
    assert!(
        verdicts.windows(2).all(|pair| pair[0] == pair[1]),
        "{name}, {case}: they do not agree: {results:?}"
    );
    let verdict = match verdicts.first() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let cell = |result: &Option<(bool, f64)>| match result {
        Some((_, seconds)) => format!("{seconds:.3}"),
        None => format!("> {}", patience.as_secs_f64()),
    };
    let ratio = |result: &Option<(bool, f64)>| match (result, &results[0]) {
        (Some((_, theirs)), Some((_, ours))) => format!("{:.1} ×", theirs / ours),
        (None, Some((_, ours))) => format!("> {:.0} ×", patience.as_secs_f64() / ours),
        (_, None) => "?".into(),
    };
    let cells: Vec<_> = results.iter().map(cell).collect();
    let ratios: Vec<_> = results[1..].iter().map(ratio).collect();
    println!("| {name} | {load} | {size} | {verdict} | {} | {} |", cells.join(" | "), ratios.join(", "));
}

/// What a process of its own says and how many seconds it took, unless it takes too long.
fn measure(case: &str, patience: Duration) -> Option<(bool, f64)> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program);
    child.args(["--case", case]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().expect("it starts");
    let started = Instant::now();
    while started.elapsed() < patience + Duration::from_millis(200) {
        if child.try_wait().expect("it is ours").is_some() {
            let output = child.wait_with_output().expect("it has ended");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let (verdict, seconds) = said.trim().split_once(' ')?;
            return Some((verdict == "true", seconds.parse().ok()?));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it has ended");
    None
}

fn judge(service: usize, load: usize, number: usize, broken: bool, contender: usize) -> (bool, Duration) {
    let load = if load == 0 { Load::Calm } else { Load::Busy };
    match service {
        0 => by::<Register<5>>(load, number, broken, contender),
        1 => by::<Register<1_000>>(load, number, broken, contender),
        2 => by::<Kv>(load, number, broken, contender),
        _ => by::<Bank>(load, number, broken, contender),
    }
}

fn by<S: Service>(load: Load, number: usize, broken: bool, contender: usize) -> (bool, Duration) {
    let judges: [contenders::Judge<S>; 3] = [contenders::ours, contenders::porcupine, contenders::stateright];
    judges[contender](&history::draw(load, number, broken))
}

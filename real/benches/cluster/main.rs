//! The `canary` cluster beside what it is measured by, in one run on one disk: a step of a rollout beside the disk's own
//! `fdatasync`, a round trip over loopback and a put to an etcd of three nodes; `/predict` beside nginx; and what a node
//! weighs and takes to start, new and after ten thousand rollouts.
//!
//! ```sh
//! cargo bench --package coalmine-real --bench cluster [-- --quick] [--dir DIR]
//! ```
//!
//! What is not installed (Debian: `etcd-server`, `nginx-light`, `wrk`) is left out, and said to be. Everything listens on
//! loopback alone and is stopped at the end. Requests are sent in turns, so that whatever else the machine does falls on all.

mod client;
mod disk;
mod etcd;
mod nodes;
mod predict;
mod step;
mod weight;

use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};

/// How much is done.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Rounds of steps, in each of which everybody has a turn.
    pub rounds: usize,
    /// Requests of each turn.
    pub turn: usize,
    /// For how long predictions are asked for, in seconds.
    pub seconds: u32,
    /// Predictions after which a node is weighed.
    pub predictions: u64,
    /// Rollouts after which it is.
    pub rollouts: usize,
}

const FULL: Scale = Scale { rounds: 20, turn: 25, seconds: 5, predictions: 1_000_000, rollouts: 10_000 };
const QUICK: Scale = Scale { rounds: 2, turn: 10, seconds: 1, predictions: 20_000, rollouts: 100 };

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let scale = if args.iter().any(|arg| arg == "--quick") { QUICK } else { FULL };
    let place = args.iter().position(|arg| arg == "--dir").and_then(|at| args.get(at + 1));
    let place = place.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    println!("on the disk of {}\n", place.display());
    let measured = step::measure(&scale, &place)
        .and_then(|()| predict::measure(&scale, &place))
        .and_then(|()| weight::measure(&scale, &place));
    if let Err(why) = measured {
        eprintln!("error: {why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints a table: its first column is words, all others numbers.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.add_rows(rows);
    println!("{table}\n");
}

/// The value at this share of all, in milliseconds.
pub fn quantile(sorted_us: &[f64], share: f64) -> f64 {
    let last = sorted_us.len().saturating_sub(1) as f64;
    sorted_us.get((last * share).round() as usize).copied().unwrap_or(f64::NAN) / 1_000.0
}

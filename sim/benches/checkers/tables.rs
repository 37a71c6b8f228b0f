//! What was measured, as three tables, and which goals are met.

use comfy_table::{CellAlignment, Table, presets};

use crate::job::{Job, Measured, Search};
use crate::own::LeftOut;
use crate::{Row, Size, Tables};

/// Prints everything.
pub fn print(size: Size, tables: &Tables) {
    let Size { rounds, resource_managers, .. } = size;
    println!("1. TwoPhase with {resource_managers} resource managers\n");
    two_phase(tables, resource_managers);
    println!("\n2. The rollout's own node: three members, one crash, one loss, one time-out\n");
    rollout(tables, resource_managers);
    println!("\n3. The rollout's own node with a rule off, two threads\n");
    planted(tables);
    println!(
        "\nThe fastest of {rounds} rounds by the clock on the wall. Each is a process of its own; bytes are the most \
         that it used, its program included, for each distinct state. Others: what part of the machine they used \
         meanwhile. Nothing is asked about settling.\n"
    );
    goals(size, tables);
}

fn two_phase(tables: &Tables, resource_managers: u32) {
    let mut table = table([
        "",
        "threads",
        "distinct states",
        "steps",
        "wall s",
        "states/s",
        "processor s",
        "bytes/state",
        "others",
        "ours on 2 / this",
        "by processor time",
    ]);
    let ours = tables.of_own(resource_managers, LeftOut::Usual, 2);
    for row in &tables.two_phase {
        let Some(it) = &row.measured else {
            table.add_row([row.job.name(), "not installed".into()]);
            continue;
        };
        let mut cells = costs(row.job, it);
        // The orbits are not the states that others count.
        if !matches!(row.job, Job::Own { left_out: LeftOut::Names, .. }) {
            cells.push(times(ours.rate() / it.rate()));
            cells.push(times(ours.rate_of_processors() / it.rate_of_processors()));
        }
        table.add_row(cells);
    }
    finish(table, 1);
}

fn rollout(tables: &Tables, resource_managers: u32) {
    let mut table = table([
        "",
        "threads",
        "distinct states",
        "steps",
        "wall s",
        "states/s",
        "processor s",
        "bytes/state",
        "others",
        "handler runs",
        "steps for each",
    ]);
    for row in &tables.rollout {
        let Some(it) = &row.measured else { continue };
        let mut cells = costs(row.job, it);
        if let Some(runs) = it.counts.handler_runs {
            cells.push(grouped(runs as usize));
            cells.push(grouped(it.counts.steps / runs.max(1) as usize));
        }
        table.add_row(cells);
    }
    finish(table, 1);
    let everything = tables.of_rollout(LeftOut::Nothing, 1);
    for left_out in LeftOut::ALONE {
        fewer(left_out.describe(), everything, tables.of_rollout(left_out, 1));
    }
    fewer("all of these", everything, tables.of_rollout(LeftOut::Usual, 1));
    let [usual, everything, orbits] = [LeftOut::Usual, LeftOut::Nothing, LeftOut::Names]
        .map(|left_out| tables.of_own(resource_managers, left_out, 1));
    fewer("orders in TwoPhase", everything, usual);
    fewer("who is who in TwoPhase", everything, orbits);
}

fn fewer(what: &str, before: &Measured, after: &Measured) {
    println!(
        "Leaving out {what}: {} times fewer states, {} times fewer steps.",
        round(before.counts.distinct as f64 / after.counts.distinct as f64),
        round(before.counts.steps as f64 / after.counts.steps as f64),
    );
}

fn planted(tables: &Tables) {
    let mut table = table([
        "mistake",
        "budgets",
        "invariant",
        "steps to it",
        "distinct states until then",
        "steps",
        "ms",
    ]);
    for row in &tables.planted {
        let (Job::Planted { planted, .. }, Some(it)) = (row.job, &row.measured) else { continue };
        let Some(found) = &it.counts.counterexample else { continue };
        table.add_row([
            format!("{:?}", planted.mistake),
            planted.budgets(),
            found.invariant.clone(),
            found.steps.to_string(),
            grouped(it.counts.distinct),
            grouped(it.counts.steps),
            round(it.wall_s * 1e3),
        ]);
    }
    finish(table, 3);
}

fn goals(size: Size, tables: &Tables) {
    let Size { resource_managers, actors, .. } = size;
    let ours = tables.of_own(resource_managers, LeftOut::Usual, 2);
    let goal = |what: &str, value: String, goal: &str, is_met: bool| {
        println!("{what}: {value} (goal: {goal}): {}", if is_met { "met" } else { "missed" });
    };
    let rate = ours.rate();
    goal("states a second", grouped(rate as usize), "at least 2,000,000", rate >= 2e6);
    goal("bytes a state", round(ours.bytes_a_state()), "at most 32", ours.bytes_a_state() <= 32.0);
    let fastest = |is_in: fn(&Job) -> bool| {
        let rows = tables.two_phase.iter().filter(|row| is_in(&row.job));
        rows.filter_map(|row| row.measured.as_ref()).max_by(|a, b| a.rate().total_cmp(&b.rate()))
    };
    if let Some(theirs) = fastest(|job| matches!(job, Job::ByHand { .. })) {
        let ratio = rate / theirs.rate();
        goal("times as fast as stateright by hand at its best", times(ratio), "more than 1", ratio > 1.0);
    }
    if let Some(theirs) = fastest(|job| matches!(job, Job::Spin { .. })) {
        let ratio = rate / theirs.rate();
        goal("times as fast as SPIN", times(ratio), "more than 1", ratio > 1.0);
        let one = tables.of_own(resource_managers, LeftOut::Usual, 1).rate() / theirs.rate();
        println!("the same with one thread: {}", times(one));
    }
    if let Some(theirs) = fastest(|job| matches!(job, Job::Actors { .. })) {
        let small = tables.of_own(actors, LeftOut::Usual, 2);
        let ratio = theirs.wall_s / small.wall_s;
        let what =
            format!("times as fast through the protocol with {actors} as stateright's actors at their best");
        goal(&what, times(ratio), "at least 20", ratio >= 20.0);
        println!("the same for each distinct state: {}", times(small.rate() / theirs.rate()));
    }
    for (left_out, what) in [(LeftOut::Usual, "the usual left out"), (LeftOut::Nothing, "nothing left out")] {
        let toy = tables.of_own(resource_managers, left_out, 2);
        let ratio = tables.of_rollout(left_out, 2).rate() / toy.rate();
        goal(
            &format!("rollout / TwoPhase in states a second, {what}"),
            round(ratio),
            "at least 0.5",
            ratio >= 0.5,
        );
    }
}

impl Tables {
    fn of_own(&self, resource_managers: u32, left_out: LeftOut, threads: usize) -> &Measured {
        let is_it = |job: &Job| {
            matches!(job, Job::Own { resource_managers: of, left_out: it, threads: by }
                if (*of, *it, *by) == (resource_managers, left_out, threads))
        };
        of(&self.two_phase, is_it)
    }

    fn of_rollout(&self, left_out: LeftOut, threads: usize) -> &Measured {
        let is_it = |job: &Job| matches!(job, Job::Rollout { left_out: it, threads: by } if (*it, *by) == (left_out, threads));
        of(&self.rollout, is_it)
    }
}

fn of(rows: &[Row], is_it: impl Fn(&Job) -> bool) -> &Measured {
    let row = rows.iter().find(|row| is_it(&row.job));
    row.and_then(|row| row.measured.as_ref()).expect("it was measured")
}

impl Job {
    /// What it is called in a table.
    pub fn name(self) -> String {
        let of = |left_out: LeftOut| match left_out {
            LeftOut::Usual => String::new(),
            LeftOut::Nothing => ", --full".into(),
            LeftOut::Names => ", --symmetry".into(),
            LeftOut::Idle | LeftOut::Losses | LeftOut::CrashPoints | LeftOut::Orders => {
                format!(", only {} left out", left_out.describe())
            }
        };
        let by = |search| match search {
            Search::BreadthFirst => "breadth first",
            Search::DepthFirst => "depth first",
        };
        match self {
            Self::Own { resource_managers, left_out, .. } => {
                format!("coalmine, {resource_managers}{}", of(left_out))
            }
            Self::ByHand { resource_managers, search, .. } => {
                format!("stateright by hand, {resource_managers}, {}", by(search))
            }
            Self::Actors { resource_managers, search, .. } => {
                format!("stateright's actors, {resource_managers}, {}", by(search))
            }
            Self::Spin { resource_managers } => format!("SPIN, {resource_managers}"),
            Self::Rollout { left_out, .. } => format!("rollout{}", of(left_out)),
            Self::Planted { planted, .. } => format!("{:?}", planted.mistake),
        }
    }

    /// How many threads it has.
    pub fn threads(self) -> usize {
        match self {
            Self::Own { threads, .. }
            | Self::ByHand { threads, .. }
            | Self::Actors { threads, .. }
            | Self::Rollout { threads, .. }
            | Self::Planted { threads, .. } => threads,
            Self::Spin { .. } => 1,
        }
    }
}

/// What every line begins with.
fn costs(job: Job, it: &Measured) -> Vec<String> {
    vec![
        job.name(),
        job.threads().to_string(),
        grouped(it.counts.distinct),
        grouped(it.counts.steps),
        round(it.wall_s),
        grouped(it.rate() as usize),
        round(it.processor_s),
        round(it.bytes_a_state()),
        format!("{:.0} %", it.others * 100.0),
    ]
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// Prints a table whose numbers begin with this column.
fn finish(mut table: Table, numbers: usize) {
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
}

fn times(ratio: f64) -> String {
    format!("{} ×", round(ratio))
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

/// In groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

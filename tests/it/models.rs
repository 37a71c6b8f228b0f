//! The checker against counts that are not its own: `docs/models.md` says where each comes from, and is read
//! here row by row, so that neither its tables nor the checker can drift.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;

use coalmine::counter::CounterSystem;
use coalmine::register::RegisterSystem;
use coalmine::{counter, register, twophase};
use coalmine_core::register::Server;
use coalmine_sim::check::{CheckOptions, CheckReport, Explorer, Reductions};
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::system::System;
use coalmine_sim::suite::{AnyModel, ModelDef};
use coalmine_sim::world::{Action, Rules, Step, World};

/// Rows with more states are left to a release build and a command line.
const FEW_STATES: usize = 60_000;

/// Compiled without optimisation, which takes longer than to count these.
const FEW_STATES_FOR_SPIN: usize = 8_000;

/// The tables of one section of the document: a list of cells for each row that is not a head.
fn table(section: &str) -> Vec<Vec<String>> {
    let path = folder("../docs/models.md");
    let text = std::fs::read_to_string(&path).expect("docs/models.md is there");
    let heading = format!("## {section}");
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| "));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').replace(',', "")).collect::<Vec<_>>()
    };
    let is_row = |cells: &Vec<String>| cells.iter().any(|cell| cell.parse::<usize>().is_ok());
    lines.map(cells).filter(is_row).collect()
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn number(cell: &str) -> usize {
    cell.parse().unwrap_or_else(|_| panic!("docs/models.md: {cell:?} is not a number"))
}

fn small(cell: &str) -> u8 {
    number(cell).try_into().expect("budgets are small")
}

/// Explores with both explorers, which must agree.
fn check(model: &dyn AnyModel, args: ModelArgs) -> CheckReport {
    let [ours, reference] = [Explorer::Own, Explorer::Stateright].map(|explorer| {
        let options = CheckOptions { explorer, reductions: Reductions::NONE, ..CheckOptions::default() };
        let (report, found) = model.check(args, options, &mut |_| {});
        assert!(report.exhausted, "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
        report
    });
    let counts = |report: &CheckReport| (report.steps, report.unique_states, report.depth);
    assert_eq!(counts(&ours), counts(&reference), "{} with {args:?}", model.name());
    ours
}

/// How many worlds are reached without any explorer: the worlds themselves are kept, not their fingerprints,
/// and invariants are not asked. Only actions that `may` happen do. Worlds in which members have still to boot before
/// anything else happens do not count.
fn reachable<S: System>(
    rules: &Rules<S>,
    may: impl Fn(&Rules<S>, &World<S>, &Action<S::Node>) -> bool,
) -> usize {
    let first = rules.before_boot();
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    let mut next = Vec::new();
    while let Some(world) = open.pop() {
        rules.successors(&world, &mut next);
        for transition in next.drain(..) {
            if may(rules, &world, &transition.action) && seen.insert(transition.next.clone()) {
                open.push(transition.next);
            }
        }
    }
    seen.iter().filter(|world| !rules.is_starting(world)).count()
}

/// *TwoPhase*: resource managers, ours, theirs, depth, orbits, orbits as they are known.
#[test]
fn two_phase_is_counted_as_the_document_says() {
    let mut counted = 0;
    for row in table("twophase") {
        let [nodes, ours, theirs, depth, orbits, known] = &row[..] else {
            panic!("a row of six cells: {row:?}")
        };
        assert_eq!((ours, orbits), (theirs, known), "{row:?}");
        if number(nodes) <= 8 {
            let args = ModelArgs { nodes: Some(number(nodes) as u32), ..ModelArgs::default() };
            let reductions = Reductions { symmetry: true, ..Reductions::USUAL };
            let options = CheckOptions { reductions, threads: 2, ..CheckOptions::default() };
            let (report, _) = twophase::model().check(args, options, &mut |_| {});
            assert!(report.is_proof() && report.reductions.contains(&"symmetry"), "{report:#?}");
            assert_eq!((report.unique_states, report.depth), (number(orbits), number(depth)), "{row:?}");
        }
        if number(ours) > FEW_STATES {
            continue;
        }
        let args = ModelArgs { nodes: Some(number(nodes) as u32), ..ModelArgs::default() };
        let report = check(&twophase::model(), args);
        assert_eq!((report.unique_states, report.depth), (number(ours), number(depth)), "{row:?}");
        counted += 1;
    }
    assert!(counted >= 4, "only {counted} rows are counted");
}

/// A row of the counter's table.
struct CounterRow {
    clients: u32,
    limits: Limits,
    ours: usize,
    spin: usize,
}

fn counter_rows() -> Vec<CounterRow> {
    let row = |row: Vec<String>| {
        let [clients, disk, crashes, wipes, cuts, drops, duplicates, timeouts, retries, ours, spin] =
            &row[..]
        else {
            panic!("a row of eleven cells: {row:?}")
        };
        let limits = Limits {
            crashes: small(crashes),
            wipes: small(wipes),
            cuts: small(cuts),
            drops: small(drops),
            duplicates: small(duplicates),
            timeouts: Some(small(timeouts)),
            retries: small(retries),
            disk: match disk.as_str() {
                "sync" => Disk::Sync,
                "async" => Disk::Async,
                other => panic!("docs/models.md: a disk is sync or async, not {other}"),
            },
            ..counter::LIMITS
        };
        CounterRow { clients: number(clients) as u32, limits, ours: number(ours), spin: number(spin) }
    };
    let rows: Vec<_> = table("counter").into_iter().map(row).collect();
    assert!(rows.len() >= 20, "only {} rows", rows.len());
    rows
}

/// Delivery, crashes, disks, wipes, cuts, timers and requests: as many states as SPIN finds.
#[test]
fn the_counter_is_counted_as_the_document_says() {
    for CounterRow { clients, limits, ours, spin } in counter_rows() {
        assert_eq!(ours, spin, "{clients} clients, {limits:?}");
        let rules = || Rules::new(CounterSystem { clients }, limits);
        assert_eq!(reachable(&rules(), |_, _, _| true), ours, "{clients} clients, {limits:?}");
        // A wipe breaks the counter's promise, which ends a check early.
        if limits.wipes == 0 {
            let model = ModelDef { limits, ..counter::model() };
            let report = check(&model, ModelArgs { nodes: Some(clients), ..ModelArgs::default() });
            assert_eq!(report.unique_states, ours, "{clients} clients, {limits:?}");
        }
    }
}

/// Where SPIN is installed it counts again; elsewhere its counts in the document stand.
#[test]
fn spin_counts_the_counter_as_the_document_says() {
    let installed = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !installed("spin") || !installed("gcc") {
        eprintln!("SPIN or gcc is not installed: what SPIN counts is taken from docs/models.md");
        return;
    }
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("spin-{}", std::process::id()));
    std::fs::create_dir_all(&work).expect("a folder for SPIN");
    let run = |command: &mut Command| {
        let output = command.current_dir(&work).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    run(Command::new("spin").arg("-a").arg(folder("spin/counter.pml")));
    run(Command::new("gcc").args(["-O0", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"]));
    for CounterRow { clients, limits, spin, .. } in counter_rows() {
        if spin > FEW_STATES_FOR_SPIN {
            continue;
        }
        let mut pan = Command::new("./pan");
        pan.args(["-E", "-w18", "-m200000"]).env("CLIENTS", clients.to_string());
        let numbers = [
            ("SYNC", u8::from(limits.disk == Disk::Sync)),
            ("CRASHES", limits.crashes),
            ("WIPES", limits.wipes),
            ("CUTS", limits.cuts),
            ("DROPS", limits.drops),
            ("DUPLICATES", limits.duplicates),
            ("TIMEOUTS", limits.timeouts.unwrap_or(0)),
            ("RETRIES", limits.retries),
        ];
        let text = run(pan.envs(numbers.map(|(name, number)| (name, number.to_string()))));
        assert!(text.contains("errors: 0") && !text.contains("search depth too small"), "{text}");
        let stored = text.lines().find_map(|line| line.trim().strip_suffix(" states, stored"));
        let stored = stored.and_then(|stored| stored.parse::<usize>().ok());
        // The first one is the state in which the limits are not read yet.
        assert_eq!(stored.map(|stored| stored - 1), Some(spin), "{clients} clients, {limits:?}\n{text}");
    }
    std::fs::remove_dir_all(&work).expect("the folder can go");
}

/// Registers: model, servers, clients, ours, ours without idle deliveries, stateright's.
#[test]
fn registers_are_counted_as_the_document_says() {
    let mut counted = 0;
    for row in table("single-copy, abd, paxos") {
        let [model, servers, clients, ours, without_idle, theirs] = &row[..] else {
            panic!("a row of six cells: {row:?}")
        };
        assert_eq!(without_idle, theirs, "{row:?}");
        let args = ModelArgs {
            nodes: Some(number(servers) as u32),
            operations: Some(number(clients) as u32),
            late_boots: Some(0), // as in stateright
            ..ModelArgs::default()
        };
        let (ours, theirs) = (number(ours), number(theirs));
        match model.as_str() {
            "single-copy" => count_register(&register::single_copy(), args, ours, theirs),
            "abd" => count_register(&register::abd(), args, ours, theirs),
            "paxos" => count_register(&register::paxos(), args, ours, theirs),
            other => panic!("docs/models.md: there is no register {other}"),
        }
        counted += 1;
    }
    assert!(counted >= 8, "only {counted} rows are counted");
}

/// As the checker counts it; and without deliveries that change nothing but take the packet away, which
/// stateright leaves out, and so does the checker if nobody asks for progress. In the register with one copy there are
/// none.
fn count_register<S: Server>(
    model: &ModelDef<RegisterSystem<S>>,
    args: ModelArgs,
    ours: usize,
    theirs: usize,
) {
    if ours <= FEW_STATES {
        let report = check(model, args);
        assert!(report.is_proof(), "{report:#?}");
        assert_eq!(report.unique_states, ours, "{} with {args:?}", model.name);
    }
    let options = CheckOptions { settle: false, ..CheckOptions::default() };
    let (reduced, _) = model.check(args, options, &mut |_| {});
    assert!(reduced.is_proof(), "{reduced:#?}");
    assert_eq!(reduced.unique_states, theirs, "{} with {args:?}, reduced", model.name);
    let changes_something = |rules: &Rules<_>, world: &World<_>, action: &Action<_>| {
        let Action::Step { place, step: Step::Deliver { .. }, .. } = action else { return true };
        let (next, effects) = rules.apply(world, action);
        let state = |world| rules.observe(world).nodes[*place].state.cloned();
        !effects.is_empty() || state(&next) != state(world)
    };
    let found = reachable(&model.rules(args), changes_something);
    assert_eq!(found, theirs, "{} with {args:?}, without idle deliveries", model.name);
}

/// The ladder: check, distinct states, steps, depth, and what depends on the machine.
#[test]
fn the_ladder_is_as_the_document_says() {
    let suite = coalmine::suite();
    let rows = table("The ladder");
    let rungs: Vec<_> = suite.ladder.iter().map(|(model, space)| format!("{model}{space}")).collect();
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), rungs);
    let mut counted = 0;
    for (row, (model, space)) in rows.iter().zip(&suite.ladder) {
        assert_eq!(row[6], "proof", "{row:?}");
        if number(&row[1]) > 5 * FEW_STATES {
            continue;
        }
        let model = suite.find_model(model).expect("a model of the ladder");
        let options = CheckOptions { threads: 2, ..CheckOptions::default() };
        let (report, _) = model.check(*space, options, &mut |_| {});
        assert!(report.is_proof(), "{report:#?}");
        let counts = [report.unique_states, report.steps, report.depth];
        assert_eq!(counts, [number(&row[1]), number(&row[2]), number(&row[3])], "{row:?}");
        counted += 1;
    }
    assert!(counted >= 9, "only {counted} rows are counted");
}

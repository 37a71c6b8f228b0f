//! Draws many systems, on all processors, and tells the first on which somebody disagrees, made small.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Spec;
use crate::compare::{Agreed, compare};
use crate::draw::draw;

/// What many systems are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were drawn.
    pub drawn: u64,
    /// How many were exhausted.
    pub exhausted: u64,
    /// How many states these have.
    pub states: u64,
    /// How many have more than ten.
    pub lively: u64,
    /// In how many something is seen that must never be.
    pub violated: u64,
    /// In how many a node panics.
    pub panicked: u64,
    /// How many settle from every state.
    pub settled: u64,
    /// How many do not.
    pub unsettled: u64,
    /// How many runs of engines were compared.
    pub runs: u64,
    /// How many of them under madsim.
    pub madsim: u64,
}

impl Tally {
    fn add(&mut self, agreed: Option<Agreed>) {
        self.drawn += 1;
        let Some(Agreed { states, violated, panics, settles, runs }) = agreed else { return };
        self.exhausted += 1;
        self.states += states as u64;
        self.lively += u64::from(states > 10);
        self.violated += u64::from(violated);
        self.panicked += u64::from(panics);
        self.settled += u64::from(settles == Some(true));
        self.unsettled += u64::from(settles == Some(false));
        self.runs += runs.compared;
        self.madsim += runs.madsim;
    }

    /// In a line.
    pub fn describe(&self) -> String {
        let Self { drawn, exhausted, states, lively, violated, panicked, settled, unsettled, runs, madsim } =
            self;
        format!(
            "{drawn} systems: {exhausted} exhausted ({states} states, {lively} with more than ten), {violated} violated, {panicked} with a panic, \
             {settled} settle, {unsettled} do not; {runs} runs, {madsim} of them under madsim"
        )
    }
}

/// A system on which somebody disagrees.
#[derive(Debug)]
pub struct Disagreement {
    /// The seed.
    pub seed: u64,
    /// Which of those that follow from the seed.
    pub number: u64,
    /// Who disagrees about what.
    pub why: String,
    /// The system, made small.
    pub spec: Spec,
}

impl Display for Disagreement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { seed, number, why, spec } = self;
        writeln!(f, "system {number} of seed {seed}: {why}\n\n{spec}\n")?;
        writeln!(f, "{}\n", serde_json::to_string(spec).map_err(|_| fmt::Error)?)?;
        let again = "cargo run --package coalmine-random --";
        write!(f, "again: {again} --seed {seed} --first {number} --nodes 1")
    }
}

/// Explores a system; a panic of an explorer is a disagreement as well.
pub fn explore(spec: &Spec, number: u64) -> Result<Option<Agreed>, String> {
    let explored = catch_unwind(AssertUnwindSafe(|| compare(spec, number)));
    explored.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("an explorer panics: {}", text.unwrap_or_default()))
    })
}

/// Explores these systems of a seed on so many threads. `Err` is the first disagreement that was met.
pub fn search(
    seed: u64,
    numbers: std::ops::Range<u64>,
    threads: usize,
    progress: &(dyn Fn(&Tally) + Sync),
) -> Result<Tally, Box<Disagreement>> {
    let next = AtomicU64::new(numbers.start);
    let found = Mutex::new(None);
    let tally = Mutex::new(Tally::default());
    let lock = "no thread panics while it counts";
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end || found.lock().expect(lock).is_some() {
                        return;
                    }
                    match explore(&draw(seed, number).current(), number) {
                        Ok(agreed) => {
                            let mut tally = tally.lock().expect(lock);
                            tally.add(agreed);
                            progress(&tally);
                        }
                        Err(why) => {
                            let mut found = found.lock().expect(lock);
                            if found.as_ref().is_none_or(|(other, _)| number < *other) {
                                *found = Some((number, why));
                            }
                        }
                    }
                }
            });
        }
    });
    match found.into_inner().expect(lock) {
        None => Ok(tally.into_inner().expect(lock)),
        Some((number, why)) => {
            let (spec, why) = shrink(seed, number, why);
            Err(Box::new(Disagreement { seed, number, why, spec }))
        }
    }
}

/// The smallest system on which the same kind of disagreement is found.
fn shrink(seed: u64, number: u64, mut why: String) -> (Spec, String) {
    let kind = |why: &str| why.split(": ").take(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let wanted = kind(&why);
    let mut tree = draw(seed, number);
    let mut smallest = tree.current();
    let mut tries = 20_000;
    let mut goes_on = tree.simplify();
    let until = Instant::now() + Duration::from_secs(120);
    while goes_on && tries > 0 && Instant::now() < until {
        tries -= 1;
        let spec = tree.current();
        match explore(&spec, number) {
            Err(other) if kind(&other) == wanted => {
                (smallest, why) = (spec, other);
                goes_on = tree.simplify();
            }
            Err(_) | Ok(_) => goes_on = tree.complicate(),
        }
    }
    (smallest, why)
}

/// The command line: `--nodes N`, `--seed S`, `--first F`, `--threads T`.
pub fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut options: BTreeMap<&str, u64> =
        [("--nodes", 10_000), ("--seed", 0), ("--first", 0), ("--threads", 0)].into();
    for pair in args.chunks(2) {
        let value = pair.get(1).and_then(|value| value.parse().ok());
        match (options.get_mut(pair[0].as_str()), value) {
            (Some(option), Some(value)) => *option = value,
            (Some(_), None) => return refuse(&format!("{}: a number must follow", pair[0])),
            (None, _) => return refuse(&format!("{:?}: there is no such option", pair[0])),
        }
    }
    let (seed, first) = (options["--seed"], options["--first"]);
    let threads = match options["--threads"] {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        threads => threads as usize,
    };
    let started = Instant::now();
    let told = Mutex::new(Instant::now());
    let progress = |tally: &Tally| {
        let mut told = told.lock().expect("nobody panics while telling");
        if told.elapsed() > Duration::from_secs(10) {
            *told = Instant::now();
            eprintln!("{:5} s  {}", started.elapsed().as_secs(), tally.describe());
        }
    };
    std::panic::set_hook(Box::new(|_| {})); // a panic is told with the system that it comes from
    match search(seed, first..first + options["--nodes"], threads, &progress) {
        Ok(tally) => {
            println!("no disagreement in {} s. {}", started.elapsed().as_secs(), tally.describe());
            ExitCode::SUCCESS
        }
        Err(found) => {
            println!("{found}");
            ExitCode::from(1)
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("error: {why}\nusage: random_nodes [--nodes N] [--seed S] [--first F] [--threads T]");
    ExitCode::from(2)
}

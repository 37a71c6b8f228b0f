//! One thing to measure. Each is done by a process of its own, so that its memory is its own: the benchmark
//! starts itself again with the job as an argument, and reads what that prints.

use std::fmt::Debug;
use std::hash::Hash;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use stateright::{Checker, Model};

use crate::own::{self, LeftOut, Planted};
use crate::{actors, by_hand, spin};

/// What is explored, and by whom.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    Own { resource_managers: u32, left_out: LeftOut, threads: usize },
    ByHand { resource_managers: u32, search: Search, threads: usize },
    Actors { resource_managers: u32, search: Search, threads: usize },
    Spin { resource_managers: u32 },
    Rollout { left_out: LeftOut, threads: usize },
    Planted { planted: Planted, threads: usize },
}

/// How stateright searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    BreadthFirst,
    DepthFirst,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Distinct states.
    pub distinct: usize,
    /// Steps that led to them.
    pub steps: usize,
    /// How often the code of a node was run, where that is counted.
    pub handler_runs: Option<u64>,
    /// What was wrong.
    pub counterexample: Option<Counterexample>,
}

/// What was wrong, and how far from the beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counterexample {
    pub invariant: String,
    pub steps: usize,
}

/// What was found, and what that took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    #[serde(flatten)]
    pub counts: Counts,
    pub wall_s: f64,
    pub processor_s: f64,
    /// The most memory that the process has used, its program included.
    pub peak_bytes: u64,
    /// Which part of the machine others used meanwhile.
    pub others: f64,
}

impl Measured {
    /// Distinct states a second, by the clock on the wall.
    pub fn rate(&self) -> f64 {
        self.counts.distinct as f64 / self.wall_s
    }

    /// Distinct states a second of processor time.
    pub fn rate_of_processors(&self) -> f64 {
        self.counts.distinct as f64 / self.processor_s
    }

    pub fn bytes_a_state(&self) -> f64 {
        self.peak_bytes as f64 / self.counts.distinct as f64
    }
}

impl Job {
    /// Whether it can be done here.
    pub fn is_possible(self) -> bool {
        !matches!(self, Self::Spin { .. }) || spin::is_installed()
    }

    /// Has another process do it.
    pub fn measure(self) -> Measured {
        let job = serde_json::to_string(&self).expect("a job is plain data");
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        let output = command.args(["--job", &job]).stderr(Stdio::inherit()).output();
        let output = output.unwrap_or_else(|why| panic!("{command:?}: {why}"));
        assert!(output.status.success(), "{command:?}: {}", output.status);
        serde_json::from_slice(&output.stdout).expect("it says what it measured")
    }

    /// Does it in this process.
    pub fn run(self) -> Measured {
        match self {
            Self::Own { resource_managers, left_out, threads } => {
                timed(|| own::two_phase(resource_managers, left_out, threads))
            }
            Self::ByHand { resource_managers, search, threads } => {
                let model = by_hand::TwoPhase { resource_managers: resource_managers as usize };
                timed(|| explore(model, search, threads))
            }
            Self::Actors { resource_managers, search, threads } => {
                timed(|| explore(actors::model(resource_managers as usize), search, threads))
            }
            Self::Spin { resource_managers } => spin::measure(resource_managers),
            Self::Rollout { left_out, threads } => timed(|| own::rollout(left_out, threads)),
            Self::Planted { planted, threads } => timed(|| planted.find(threads)),
        }
    }
}

/// stateright exhausts a model.
fn explore<M>(model: M, search: Search, threads: usize) -> Counts
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let builder = model.checker().threads(threads);
    match search {
        Search::BreadthFirst => counts(&builder.spawn_bfs().join()),
        Search::DepthFirst => counts(&builder.spawn_dfs().join()),
    }
}

fn counts<M: Model>(checker: &impl Checker<M>) -> Counts
where
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let found = checker.discoveries();
    assert!(!found.contains_key("consistent") && found.len() == 2, "{:?}", found.keys());
    Counts {
        distinct: checker.unique_state_count(),
        steps: checker.state_count(),
        handler_runs: None,
        counterexample: None,
    }
}

fn timed(work: impl FnOnce() -> Counts) -> Measured {
    let stopwatch = Stopwatch::start(|| {
        clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("the clock is there").into()
    });
    let counts = work();
    stopwatch.stop(counts, peak_bytes())
}

/// What runs while something is measured.
pub struct Stopwatch {
    started: Instant,
    /// How much processor time was used so far by whom this is about.
    processor: fn() -> Duration,
    before: Duration,
    machine: Machine,
}

impl Stopwatch {
    /// Begins.
    pub fn start(processor: fn() -> Duration) -> Self {
        Self { started: Instant::now(), processor, before: processor(), machine: Machine::now() }
    }

    /// Ends.
    pub fn stop(self, counts: Counts, peak_bytes: u64) -> Measured {
        let wall_s = self.started.elapsed().as_secs_f64();
        let processor_s = ((self.processor)() - self.before).as_secs_f64();
        let machine = Machine::now();
        let own = processor_s / (wall_s * machine.processors as f64);
        let others = (self.machine.used_until(&machine) - own).max(0.0);
        Measured { counts, wall_s, processor_s, peak_bytes, others }
    }
}

/// What all processors have done since the machine was started, in ticks.
struct Machine {
    processors: usize,
    busy: u64,
    idle: u64,
}

impl Machine {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").expect("the system tells");
        let processors = text.lines().filter(|line| line.starts_with("cpu")).count() - 1;
        let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = all.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        let [user, nice, system, idle, waiting, interrupts, soft, stolen] = ticks[..] else {
            panic!("/proc/stat is in another form: {text}")
        };
        let busy = user + nice + system + interrupts + soft + stolen;
        Self { processors, busy, idle: idle + waiting }
    }

    /// Which part of it was used between then and now.
    fn used_until(&self, now: &Self) -> f64 {
        let (busy, idle) = (now.busy - self.busy, now.idle - self.idle);
        busy as f64 / (busy + idle).max(1) as f64
    }
}

/// Waits until others do next to nothing for a second, but not for ever.
pub fn wait_for_quiet(patience: Duration) {
    let started = Instant::now();
    while started.elapsed() < patience {
        let before = Machine::now();
        std::thread::sleep(Duration::from_secs(1));
        if before.used_until(&Machine::now()) < 0.05 {
            return;
        }
    }
}

/// The most memory that this process has used so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system tells");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("the system tells") * 1024
}

//! Nodes that break the contract of determinism: whatever a search had found of them, that is the verdict, and no path
//! is told that shows something else.
//!
//! What a node must not have is here a static: each case has one of its own, and is run by one test alone.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::{Facts, Invariant, Observation};
use coalmine_sim::check::{CheckOptions, CheckReport, End, Explorer, Reductions, Verdict as Property};
use coalmine_sim::cli;
use coalmine_sim::files::capsule::File;
use coalmine_sim::panics::catch;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::NEVER_PANICS;
use coalmine_sim::spec::verdict::Verdict;
use coalmine_sim::suite::{AnyModel, Explanation, ModelDef, Suite};
use coalmine_sim::testing;
use serde::{Deserialize, Serialize};

/// What a node does that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Whim {
    /// Its state holds how often any node was run.
    Counts,
    /// The same, but nobody sees it: it only tells how often.
    Tells,
    /// It sends each message to another member than the last.
    Sends,
    /// It chooses among one more each time.
    Chooses,
    /// It chooses among two, and sometimes not.
    Hesitates,
    /// It says something bad at this run and at no other: what it was told is no matter.
    BadOnce(u32),
    /// It says something bad in a process that nobody has asked anything.
    BadAtHome,
    /// It panics at this run and at no other.
    PanicsOnce(u32),
    /// It always panics, and says each time something else.
    Panics,
    /// It arms its timer for longer each time.
    Waits,
    /// None of it.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Moody {
    runs: u32,
    ticks: u32,
}

static RUNS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];

impl Node for Moody {
    type Config = (Whim, usize);
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = u32;

    fn start(_: &Self::Config, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer((), Duration::from_secs(1));
        Self { runs: 0, ticks: 0 }
    }

    fn on(&mut self, (whim, number): &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let run = RUNS[*number].fetch_add(1, Ordering::Relaxed);
        let Event::Timer(()) = event else { return };
        self.ticks = (self.ticks + 1).min(if *number == LONG { 4_000 } else { 5 });
        let mut delay = Duration::from_secs(1);
        match *whim {
            Whim::Counts => self.runs = run,
            Whim::Tells => cx.observe(run),
            Whim::Sends => cx.send(NodeId(1 + run % 2), ()),
            Whim::Chooses => drop(cx.choose(run + 2)),
            Whim::Hesitates => {
                if run.is_multiple_of(2) {
                    cx.choose(2);
                }
            }
            Whim::BadOnce(once) => {
                if run == once {
                    cx.observe(BAD);
                }
            }
            Whim::BadAtHome => {
                if std::env::var_os(coalmine_sim::sweep::second_process::VARIABLE).is_none() {
                    cx.observe(BAD);
                }
            }
            Whim::PanicsOnce(once) => assert!(run != once, "it is run {run}"),
            Whim::Panics => assert!(self.ticks < 3, "it is run {run}"),
            Whim::Waits => delay *= run + 1,
            Whim::Nothing => {}
        }
        cx.set_timer((), delay);
    }
}

const BAD: u32 = u32::MAX;

#[derive(Debug)]
struct Moods((Whim, usize));

impl System for Moods {
    type Node = Moody;
    type History = Facts<Moody>;

    fn members(&self) -> Vec<(NodeId, (Whim, usize))> {
        let members = if self.0.1 == LONG { 1 } else { 2 };
        (1..=members).map(|id| (NodeId(id), self.0)).collect()
    }

    fn operations(&self) -> Vec<Operation<Moody>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Moody, Facts<Moody>>> {
        let check =
            |now: &Observation<'_, Moody, Facts<Moody>>| match now.history.iter().any(|(_, it)| *it == BAD) {
                true => Err("it is bad".into()),
                false => Ok(()),
            };
        vec![Invariant { name: "never-bad", about: "", source: "", check }]
    }
}

fn model(system: fn(u32, u32) -> Moods) -> ModelDef<Moods> {
    let limits = Limits { crashes: 1, timeouts: Some(9), ..Limits::NONE };
    ModelDef { name: "moody", about: "", system, size: (2, 0), limits }
}

fn all_ways() -> Vec<CheckOptions> {
    let of = |threads| CheckOptions { threads, ..CheckOptions::default() };
    let own = (1..=2).flat_map(|threads| {
        let full = CheckOptions { reductions: Reductions::NONE, ..of(threads) };
        let unsettled = CheckOptions { settle: false, ..of(threads) };
        let walks = CheckOptions { walks: Some(0..300), ..of(threads) };
        [of(threads), full, unsettled, walks]
    });
    let stateright = |threads| CheckOptions { explorer: Explorer::Stateright, ..of(threads) };
    own.chain([stateright(1), stateright(2)]).collect()
}

fn check(model: &ModelDef<Moods>, options: &CheckOptions) -> (CheckReport, Option<Explanation>) {
    model.check(ModelArgs::default(), options.clone(), &mut |_| {})
}

/// Nothing is known, and nothing is told that would then not replay.
fn is_not_deterministic(report: &CheckReport, found: Option<&Explanation>, words: &str) {
    let parted = report.not_deterministic.as_ref().unwrap_or_else(|| panic!("{words}: {report:#?}"));
    assert_ne!(parted.once, parted.again, "{words}");
    assert!(found.is_none(), "{words}: {parted:?}");
    assert_eq!(
        (report.end, report.exhausted, report.is_proof()),
        (End::NotDeterministic, false, false),
        "{words}"
    );
    assert!(report.counterexample.is_none(), "{words}");
    assert!(report.properties.values().all(|verdict| *verdict == Property::Unknown), "{words}: {report:#?}");
    let json = serde_json::to_value(report).expect("plain data");
    assert_eq!(
        (&json["end"], &json["not_deterministic"]["what"]),
        (&"not_deterministic".into(), &parted.what.as_str().into())
    );
}

macro_rules! moods {
    ($($test:ident: $whim:expr, $number:literal, $says:literal;)*) => {$(
        #[test]
        fn $test() {
            let model = model(|_, _| Moods(($whim, $number)));
            for options in all_ways() {
                RUNS[$number].store(0, Ordering::Relaxed);
                let (report, found) = check(&model, &options);
                is_not_deterministic(&report, found.as_ref(), &format!("{options:?}"));
                let parted = report.not_deterministic.expect("it was asked for");
                let said = format!("{parted:?}");
                assert!(said.contains($says), "{options:?}: {said}");
            }
            let suite = Suite::default().model(model);
            RUNS[$number].store(0, Ordering::Relaxed);
            let told = catch(|| testing::check(&suite, "moody")).expect_err("it must fail").message;
            assert!(told.contains("not deterministic") && told.contains($says), "{told}");
            for more in [&["--threads", "2"][..], &["--engine", "stateright"], &["--format", "json"]] {
                RUNS[$number].store(0, Ordering::Relaxed);
                let line = ["moody", "check", "moody", "--no-capsule"].iter().chain(more).map(|it| it.to_string());
                assert_eq!(cli::main_from(&suite, line), 5, "{more:?}");
            }
        }
    )*};
}

moods! {
    a_state_that_counts_is_found: Whim::Counts, 0, "runs: ";
    a_fact_that_counts_is_found: Whim::Tells, 1, "* ";
    a_message_that_alternates_is_found: Whim::Sends, 2, "→ n";
    a_choice_that_grows_is_found: Whim::Chooses, 3, "it chose among ";
    a_choice_that_comes_and_goes_is_found: Whim::Hesitates, 4, "it chose nothing";
    what_is_bad_only_once_is_no_violation: Whim::BadOnce(0), 5, "timer: ()";
    a_panic_that_comes_only_once_is_none: Whim::PanicsOnce(1), 6, "it panicked at ";
    a_delay_that_grows_is_found: Whim::Waits, 7, "SetTimer";
}

/// What goes wrong in a run that nobody looks at twice is walked again before it is told, and then the way is lost. (The
/// first 1,000 runs are all done twice; so this is about the 1,500th, of a few thousand in a row.)
#[test]
fn what_passes_the_spot_check_is_walked_again() {
    let bad = model(|_, _| Moods((Whim::BadOnce(2_500), LONG)));
    let panics = model(|_, _| Moods((Whim::PanicsOnce(2_500), LONG)));
    for model in [bad, panics] {
        let limits = Limits { timeouts: None, ..Limits::NONE };
        let model = ModelDef { limits, size: (1, 0), ..model };
        for options in all_ways().into_iter().filter(|options| options.walks.is_none()) {
            RUNS[LONG].store(0, Ordering::Relaxed);
            let (report, found) = check(&model, &options);
            let words = format!("{:?} {options:?}", model.rules(ModelArgs::default()).system);
            is_not_deterministic(&report, found.as_ref(), &words);
            let parted = report.not_deterministic.expect("it was asked for");
            match options.explorer {
                Explorer::Own if options.settle => {} // the way is lost somewhere, or what settling found
                Explorer::Own => {
                    assert!(parted.once == "it led to where something was found", "{words}: {parted:?}");
                    assert_eq!(parted.what, "n1 timer: ()", "{words}");
                    assert!(parted.after.len() > 1_000, "{words}: {} steps", parted.after.len());
                }
                Explorer::Stateright => assert!(parted.what.starts_with("the path"), "{words}: {parted:?}"),
            }
        }
    }
}

/// The number of the case that takes thousands of steps.
const LONG: usize = 8;

/// The environment variable with the command line of the process below.
const ARGS: &str = "COALMINE_TEST_IMPURE_ARGS";

fn suite_of_the_second_process() -> Suite {
    Suite::default().model(model(|_, _| Moods((Whim::BadAtHome, 9))))
}

/// Not a test but the process that the test below starts.
#[test]
fn a_command_line() {
    if let Ok(args) = std::env::var(ARGS) {
        coalmine_sim::sweep::second_process::obeys_its_own();
        let args = ["impure"].into_iter().chain(args.split_whitespace()).map(str::to_owned);
        std::process::exit(cli::main_from(&suite_of_the_second_process(), args).into());
    }
}

/// What a process has found comes again in a fresh one, or it is no verdict; whoever looks for it, and whether or not
/// it is kept.
#[test]
fn what_comes_in_one_process_alone_is_not_told() {
    let suite = suite_of_the_second_process();
    let told = catch(|| testing::check(&suite, "moody")).expect_err("it must fail").message;
    assert!(
        told.contains("moody: not deterministic") && told.contains("fresh process it comes to passed"),
        "{told}"
    );
    for more in ["", "--no-capsule", "--format json", "--engine stateright"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["impure::a_command_line", "--exact", "--nocapture", "--quiet"]);
        command.env(ARGS, format!("check moody {more}")).current_dir(folder.path());
        let output = command.output().expect("the test can run itself");
        let told = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(5), "{more}: {told}");
        let says =
            if more == "--format json" { "\"end\":\"not_deterministic\"" } else { "✗ not deterministic" };
        assert!(
            told.contains(says) && !told.contains("VIOLATED") && !told.contains(" replay "),
            "{more}: {told}"
        );
        let kept = std::fs::read_dir(folder.path().join("coalmine-out")).map_or(0, Iterator::count);
        assert_eq!(kept, 0, "{more}: a file is left that says otherwise");
    }
}

/// A panic at one place is one panic, whatever it says each time.
#[test]
fn a_panic_that_says_something_else_each_time_is_a_panic() {
    let model = model(|_, _| Moods((Whim::Panics, 10)));
    let suite = Suite::default().model(ModelDef { ..self::model(|_, _| Moods((Whim::Panics, 10))) });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("found.toml");
    for options in all_ways() {
        let (report, found) = check(&model, &options);
        assert_eq!(report.counterexample, Some(NEVER_PANICS), "{options:?}: {report:#?}");
        let found = found.expect("a panic comes with its story");
        assert!(found.story.contains("✗ panicked at "), "{}", found.story);
        std::fs::write(&path, &found.capsule).expect("it is ours");
        testing::replay(&suite, &path);
    }
    // The capsule says where, and that is compared.
    let capsule = std::fs::read_to_string(&path).expect("it was written");
    let place = capsule.lines().find_map(|line| line.strip_prefix("place = ")).expect("it names the place");
    assert!(place.contains("tests/it/impure.rs:") && capsule.contains("message = \"it is run "), "{capsule}");
    let elsewhere = capsule.replace(place, "\"src/elsewhere.rs:1:1\"");
    std::fs::write(&path, elsewhere).expect("it is ours");
    let run = suite.run_file(File::read(&path).expect("it was written"), None, false).expect("it runs");
    assert!(matches!(run.outcome.verdict, Verdict::Panicked(_)));
    let refused = catch(|| testing::replay(&suite, &path)).expect_err("the place is another").message;
    assert!(refused.contains("the file says panicked at src/elsewhere.rs:1:1"), "{refused}");
}

#[test]
fn a_node_without_whims_is_proved() {
    let model = model(|_, _| Moods((Whim::Nothing, 11)));
    for options in all_ways() {
        let (report, _) = check(&model, &options);
        assert!(
            report.not_deterministic.is_none() && report.counterexample.is_none(),
            "{options:?}: {report:#?}"
        );
        assert_eq!(report.exhausted, options.walks.is_none(), "{options:?}");
    }
}

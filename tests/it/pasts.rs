//! What ran before a seed must not matter to it, and where it does, that is the verdict: a node that counts its
//! boots in a static is found by the comparison with another past; a failure that only the past has made is told as
//! such, and no line is printed that would then pass.
//!
//! Each case is a process of its own, with a count of its own: this test's own binary, called again.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Facts, Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::suite::{Job, Suite};
use coalmine_sim::testing;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often any node of this process has booted.
static BOOTS: AtomicU64 = AtomicU64::new(0);

/// When a node says something that it says at no other boot, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Whim {
    from: u64,
    upto: u64,
    says: Fact,
    /// It also says so when it is asked.
    asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Fact {
    Odd,
    Bad,
}

/// A node that is as its process is, and not as its seed is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counts;

impl Node for Counts {
    type Config = Whim;
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Fact;

    fn start(whim: &Whim, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        let boot = BOOTS.fetch_add(1, Ordering::Relaxed);
        if (whim.from..whim.upto).contains(&boot) {
            cx.observe(whim.says);
        }
        Self
    }

    fn on(&mut self, whim: &Whim, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Request { id, .. } = event {
            if whim.asked {
                cx.observe(whim.says);
            }
            cx.reply(id, ());
        }
    }
}

impl HttpApi for Counts {}

#[derive(Debug)]
struct One(Whim);

impl System for One {
    type Node = Counts;
    type History = Facts<Counts>;

    fn members(&self) -> Vec<(NodeId, Whim)> {
        vec![(NodeId(1), self.0)]
    }

    fn operations(&self) -> Vec<Operation<Counts>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Counts, Facts<Counts>>> {
        let check = |now: &Observation<'_, Counts, Facts<Counts>>| match now.history.iter().next_back() {
            Some((id, Fact::Bad)) => Err(format!("{id} is bad")),
            Some((_, Fact::Odd)) | None => Ok(()),
        };
        vec![Invariant { name: "never-bad", about: "No node is bad.", source: "", check }]
    }
}

const EVER: u64 = u64::MAX;

fn scenario(name: &'static str, system: fn() -> One) -> Scenario<One> {
    let plan = |_: &One, _: &mut _| {
        let id = RequestId { client: 1, sequence: 1 };
        Plan::quiet([(10, What::Ask { to: NodeId(1), id, request: () })])
    };
    Scenario { name, about: "A node with a past.", system, plan, expect: nothing_more::<One> }
}

fn odd(from: u64, upto: u64) -> One {
    One(Whim { from, upto, says: Fact::Odd, asked: false })
}

fn bad(from: u64, upto: u64) -> One {
    One(Whim { from, upto, says: Fact::Bad, asked: false })
}

fn suite() -> Suite {
    let suite = Suite::default()
        .scenario(scenario("odd-first", || odd(0, 1)))
        .scenario(scenario("odd-once", || odd(5, 6)))
        .scenario(scenario("odd-later", || odd(40, EVER)))
        .scenario(scenario("odd-in-the-middle", || odd(7, 8)))
        .scenario(scenario("bad-once", || bad(5, 6)))
        .scenario(scenario("bad-later", || bad(5, EVER)))
        .scenario(scenario("bad-when-asked", || {
            One(Whim { from: 1, upto: EVER, says: Fact::Bad, asked: true })
        }))
        .scenario(scenario("steady", || odd(0, EVER)));
    suite.job(Job::Sweep("bad-once", 20))
}

const ARGS: &str = "COALMINE_TEST_PASTS_ARGS";
const SCENARIO: &str = "COALMINE_TEST_PASTS_SCENARIO";

/// Not a test but the process that the tests below start: this binary, as a command line.
#[test]
fn a_command_line() {
    if let Ok(args) = std::env::var(ARGS) {
        coalmine_sim::sweep::second_process::obeys_its_own(); // started again like this, it is the same command line
        let args = ["pasts"].into_iter().chain(args.split_whitespace()).map(str::to_owned);
        std::process::exit(coalmine_sim::cli::main_from(&suite(), args).into());
    }
}

/// Not a test but what a user's test looks like, of whichever scenario.
#[test]
fn in_a_test() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        testing::sweep(&suite(), "steady", 0..3);
        testing::sweep(&suite(), &scenario, 0..20);
    }
}

fn start(test: &str, variable: &str, value: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args([&format!("pasts::{test}"), "--exact", "--nocapture", "--quiet"]).env(variable, value);
    command.current_dir(folder.path()).output().expect("the test can run itself")
}

/// What a command line exits with, and what it says.
fn run(args: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = start("a_command_line", ARGS, args);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_comparison_is_with_another_past() {
    for name in ["odd-first", "odd-once", "odd-later", "odd-in-the-middle"] {
        for engine in ["direct", "madsim", "both"] {
            let args = format!("sim {name} --seeds 0..64 --jobs 1 --engine {engine} --check-determinism");
            let (code, told, why) = run(&args);
            assert_eq!(code, Some(5), "{args}: {told}{why}");
            for word in ["not deterministic", "is the first that differs", "here:", "there:", "Observe(Odd)"]
            {
                assert!(told.contains(word), "{args}: {word:?} should be in {told}");
            }
            assert!(!told.contains(" replay "), "a line that would pass: {told}");
        }
    }
    let (code, told, why) = run("sim steady --seeds 0..70 --jobs 1 --engine both --check-determinism");
    assert!(code == Some(0) && told.contains("70 passed, 0 failed"), "{told}{why}");
}

/// Of any number of seeds, one too, with any number of threads.
#[test]
fn no_sweep_is_too_short_or_too_wide_to_be_compared() {
    for seeds in 1..=9 {
        let args = format!("sim odd-first --seeds 0..{seeds} --jobs 1 --engine direct --check-determinism");
        let (code, told, why) = run(&args);
        assert_eq!(code, Some(5), "{args}: {told}{why}");
    }
    for jobs in 2..=4 {
        let args = format!("sim odd-once --seeds 0..64 --jobs {jobs} --engine direct --check-determinism");
        let (code, told, why) = run(&args);
        assert_eq!(code, Some(5), "{args}: {told}{why}");
    }
}

#[test]
fn a_failure_that_the_past_has_made_is_told_as_such() {
    for (name, jobs) in [("bad-once", 1), ("bad-later", 1), ("bad-later", 2)] {
        for engine in ["direct", "madsim", "both"] {
            let args = format!("sim {name} --seeds 0..20 --jobs {jobs} --engine {engine} --max-failures 1");
            let (code, told, why) = run(&args);
            assert_eq!(code, Some(5), "{args}: {told}{why}");
            for word in ["not deterministic", "never-bad is violated", "there: passed", "Observe(Bad)"] {
                assert!(told.contains(word), "{args}: {word:?} should be in {told}");
            }
            assert!(!told.contains(" replay ") && !told.contains("are left after"), "{told}");
            let (code, told, _) = run(&format!("{args} --format json"));
            let report: Value = serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
            let failure = &report["failures"][0];
            assert_eq!((code, &failure["verdict"]), (Some(5), &"not_deterministic".into()), "{report}");
            assert!(failure["difference"]["here"].as_str().is_some_and(|step| step.contains("Bad")));
            assert_eq!(report["capsule"], Value::Null);
        }
    }
    let (code, told, why) = run("run --jobs 1");
    assert_eq!(code, Some(5), "{told}{why}");
    assert!(told.contains("not deterministic") && !told.contains(" replay "), "{told}");
}

/// The seed fails by itself, and so does any plan once there were enough runs: what is left of it must still ask.
#[test]
fn what_is_kept_was_run_again_from_its_file() {
    let (code, told, why) = run("sim bad-when-asked --seeds 0..1 --jobs 1 --engine direct");
    assert_eq!(code, Some(1), "{told}{why}");
    assert!(told.contains(" replay bad-when-asked --seed 0 --engine direct"), "{told}");
    assert!(!told.contains("coalmine-out"), "a line that would pass: {told}");
    assert!(
        why.contains("it should come to violated: never-bad") && why.contains("comes to passed"),
        "{why}"
    );
    let (code, told, why) = run("shrink bad-when-asked --seed 0 --engine direct");
    assert_eq!(code, Some(5), "{told}{why}");
    assert!(!told.contains(" replay ") && why.contains("comes to passed"), "{told}{why}");
}

#[test]
fn a_users_test_is_told_too() {
    for (name, word) in [("bad-once", "never-bad"), ("bad-later", "there: passed"), ("odd-later", "Odd")] {
        let output = start("in_a_test", SCENARIO, name);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).expect("UTF-8");
        assert!(!output.status.success(), "{name}: {told}");
        assert!(told.contains("not deterministic") && told.contains(word), "{name}: {told}");
        assert!(!told.contains(" replay "), "{told}");
    }
    let output = start("in_a_test", SCENARIO, "steady");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("no seed is compared"));
}

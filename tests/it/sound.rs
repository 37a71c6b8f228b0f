//! What makes no sense is refused before it runs, with the same words in both engines, in the checker and at the
//! command line; and a run that tests nothing says so, loudly.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::Invariant;
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Explorer};
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::plan::{Plan, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{Job, ModelDef, Suite};
use coalmine_sim::testing::{self, Unused};
use coalmine_sim::world::Rules;
use serde_json::Value;

/// A node that answers whatever it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Answers;

impl Node for Answers {
    type Config = ();
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = u8;
    type Reply = u8;
    type View = ();
    type Fact = ();

    fn start(_: &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self
    }

    fn on(&mut self, _: &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Request { id, request } = event {
            cx.reply(id, request);
        }
    }
}

impl HttpApi for Answers {}

/// Members by their numbers, and what is asked of whom, all under names of one client.
#[derive(Debug)]
struct Cluster(&'static [u32], &'static [(u32, u64, u8)]);

impl System for Cluster {
    type Node = Answers;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        self.0.iter().map(|id| (NodeId(*id), ())).collect()
    }

    fn operations(&self) -> Vec<Operation<Answers>> {
        let operation = |&(to, sequence, request): &(u32, u64, u8)| Operation {
            to: NodeId(to),
            id: RequestId { client: 1, sequence },
            request,
        };
        self.1.iter().map(operation).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Answers, ()>> {
        Vec::new()
    }
}

/// Asks all operations, one each second.
fn asks(system: &Cluster) -> Plan<Answers> {
    let ask = |(place, Operation { to, id, request }): (usize, _)| {
        (1_000 * (place as u64 + 1), What::Ask { to, id, request })
    };
    Plan::quiet(system.operations().into_iter().enumerate().map(ask))
}

fn scenario(name: &'static str, system: fn() -> Cluster) -> Scenario<Cluster> {
    let expect = nothing_more::<Cluster>;
    Scenario { name, about: "Asks and faults.", system, plan: |system, _| asks(system), expect }
}

/// Invariants by their names.
#[derive(Debug)]
struct Named(&'static [&'static str]);

impl System for Named {
    type Node = Answers;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        vec![(NodeId(1), ())]
    }

    fn operations(&self) -> Vec<Operation<Answers>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Answers, ()>> {
        self.0
            .iter()
            .map(|name| Invariant { name, about: "Holds.", source: "here", check: |_| Ok(()) })
            .collect()
    }
}

/// A verdict names a property: two of one name would be one, and one built in would hide another.
#[test]
fn properties_have_names_of_their_own() {
    assert_eq!(Rules::fits(&Named(&["one", "other"])), Ok(()));
    let bad = [
        (&["one", "one"][..], "\"one\" is the name of two"),
        (&["settles"], "\"settles\" is the name of two"),
        (&["never-panics"], "\"never-panics\" is the name of two"),
        (&["a/../b"], "\"a/../b\" is no name"),
        (&[""], "\"\" is no name"),
    ];
    for (names, words) in bad {
        let why = Rules::fits(&Named(names)).expect_err("it is refused");
        assert!(why.contains(words), "{why}");
    }
}

const SOUND: fn() -> Cluster = || Cluster(&[1, 2], &[(1, 1, 7), (2, 1, 7)]);

type Bad = (&'static str, fn() -> Cluster, &'static str);

/// What is wrong with systems: what members are called, whom clients ask and under which names.
const BAD_SYSTEMS: [Bad; 3] = [
    ("empty", || Cluster(&[], &[]), "members: this system has none"),
    ("twice", || Cluster(&[1, 2, 1], &[]), "members[2]: n1 is members[0] already"),
    ("far", || Cluster(&[1, 65_537], &[]), "members[1]: n65537 is not in n0..=n65535"),
];

/// What is wrong with what is asked, which plans and models have in common.
const BAD_REQUESTS: [Bad; 2] = [
    ("stranger", || Cluster(&[1], &[(1, 1, 1), (2, 2, 1)]), "[1]: n2 is not a member of this system"),
    ("same-name", || Cluster(&[1, 2], &[(1, 1, 1), (2, 1, 2)]), "c1/1 is 2, but stands for 1 already"),
];

fn bad() -> impl Iterator<Item = Bad> {
    BAD_SYSTEMS.into_iter().chain(BAD_REQUESTS)
}

fn model(name: &'static str, system: fn(u32, u32) -> Cluster) -> ModelDef<Cluster> {
    ModelDef { name, about: "Asks.", system, size: (2, 2), limits: Limits::NONE }
}

fn crash(node: u32) -> What<Answers> {
    What::Fault(Fault::Crash { node: NodeId(node), down_ms: Some(10) })
}

/// When nobody ever does this: no node writes a record.
fn never() -> When {
    When::Durable { node: NodeId(1), record: "Something".into(), nth: 1 }
}

fn suite() -> Suite {
    let late: fn(&Cluster, &mut _) -> _ = |system, _| asks(system).with(When::AtMs(15_000), crash(1));
    let missed: fn(&Cluster, &mut _) -> _ = |system, _| asks(system).with(never(), crash(1));
    let some: fn(&Cluster, &mut _) -> _ = |system, _| {
        let pause = What::Fault(Fault::Pause { node: NodeId(1), for_ms: 10 });
        asks(system).with(When::AtMs(5_000), crash(1)).with(never(), pause)
    };
    let suite =
        bad().fold(Suite::default(), |suite, (name, system, _)| suite.scenario(scenario(name, system)));
    let suite = suite
        .model(model("empty", |_, _| BAD_SYSTEMS[0].1()))
        .model(model("twice", |_, _| BAD_SYSTEMS[1].1()))
        .model(model("far", |_, _| BAD_SYSTEMS[2].1()))
        .model(model("stranger", |_, _| BAD_REQUESTS[0].1()))
        .model(model("same-name", |_, _| BAD_REQUESTS[1].1()))
        .model(model("sound", |_, _| SOUND()))
        .scenario(scenario("sound", SOUND))
        .scenario(scenario("silent", || Cluster(&[1], &[])))
        .scenario(Scenario { plan: late, ..scenario("late", SOUND) })
        .scenario(Scenario { plan: missed, ..scenario("missed", SOUND) })
        .scenario(Scenario { plan: some, ..scenario("some", SOUND) });
    suite.job(Job::Sweep("missed", 2)).job(Job::Sweep("sound", 2))
}

const ARGS: &str = "COALMINE_TEST_SOUND_ARGS";

/// Not a test but the process that the tests below start: this binary, as a command line.
#[test]
fn a_command_line() {
    if let Ok(args) = std::env::var(ARGS) {
        let args = ["sound"].into_iter().chain(args.split_whitespace()).map(str::to_owned);
        std::process::exit(coalmine_sim::cli::main_from(&suite(), args).into());
    }
}

/// What a command line exits with, and all that it says.
fn run(args: &str) -> (Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args(["sound::a_command_line", "--exact", "--nocapture", "--quiet"]).env(ARGS, args);
    let Output { status, stdout, stderr } = command.output().expect("the test can run itself");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("UTF-8"))
}

/// What a call panics with.
fn panics(call: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(call)).err()?;
    panic.downcast::<String>().ok().map(|text| *text)
}

const ENGINES: [Engine; 2] = [Engine::Madsim, Engine::Direct];

#[test]
fn both_engines_refuse_the_same_with_the_same_words() {
    let late = ("late", SOUND, "plan.steps[2]: at_ms: 15000 is not before heal_at_ms, 15000");
    let suite = suite();
    for (name, _, word) in bad().chain([late]) {
        let scenario = suite.find_scenario(name).expect("it is there");
        for engine in ENGINES {
            let verdict = scenario.run(engine, 1, false).verdict;
            let Verdict::Refused { why } = &verdict else { panic!("{name} under {engine}: {verdict:?}") };
            assert!(why.contains(word), "{name} under {engine}: {why}");
            assert_eq!(scenario.run_with_steps(engine, 1).0.verdict, verdict);
            assert!(scenario.shrink(engine, 1, &mut |_| true).is_none());
        }
        for args in ["sim NAME --seeds 0..2", "sim NAME --seeds 0..2 --engine both", "shrink NAME --seed 1"] {
            let args = args.replace("NAME", name);
            let (code, told) = run(&args);
            assert!(code == Some(2) && told.contains(word), "{args}: {code:?} {told}");
        }
        let told = panics(|| testing::sweep(&suite, name, 0..2)).expect("it fails");
        assert!(told.contains(word), "{told}");
    }
    for name in BAD_SYSTEMS.map(|(name, ..)| name) {
        let (code, told) = run(&format!("plan {name} --seed 1"));
        assert!(code == Some(2) && told.contains("members"), "{told}");
    }
}

#[test]
fn the_checker_refuses_what_the_engines_refuse() {
    let suite = suite();
    for (name, _, word) in bad() {
        let model = suite.find_model(name).expect("it is there");
        for explorer in [Explorer::Own, Explorer::Stateright] {
            let options = CheckOptions { explorer, ..CheckOptions::default() };
            let (report, _) = model.check(ModelArgs::default(), options, &mut |_| {});
            assert!(report.error.as_ref().is_some_and(|why| why.contains(word)), "{name}: {report:?}");
            assert!(!report.is_proof() && report.steps == 0);
        }
        let told = panics(|| testing::check(&suite, name)).expect("it fails");
        assert!(told.contains(word), "{told}");
        for args in [format!("check {name}"), "check all".into()] {
            let (code, told) = run(&args);
            assert!(code == Some(2) && told.contains("error: "), "{args}: {told}");
        }
        assert!(run(&format!("check {name}")).1.contains(word));
    }
}

/// A file in a folder that is there for one test.
fn file(folder: &tempfile::TempDir, scenario: &str, steps: &[&str]) -> std::path::PathBuf {
    let head = format!("scenario = '{scenario}'\nverdict = 'passed'\n[plan]\nheal_at_ms = 9000\n");
    let steps: Vec<_> = steps.iter().map(|step| format!("[[plan.steps]]\n{step}\n")).collect();
    let path = folder.path().join("plan.toml");
    fs::write(&path, format!("{head}converge_within_ms = 9000\n{}", steps.concat())).expect("a file of ours");
    path
}

const ASK: &str = "at_ms = 1\nask = { to = 1, id = { client = 1, sequence = 1 }, request = 7 }";

#[test]
fn a_plan_is_checked_as_a_file_and_as_what_a_scenario_draws() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let suite = suite();
    let other = ASK.replace("7 }", "8 }");
    for (step, word) in [
        (&*ASK.replace("to = 1", "to = 5"), "plan.steps[1]: n5 is not a member of this system"),
        (&other, "plan.steps[1]: ask.id: c1/1 is 8, but stands for 7 already"),
    ] {
        let path = file(&folder, "sound", &[ASK, step]);
        let why = suite.run_file(File::read(&path).expect("a file"), None, false).expect_err("it is refused");
        assert!(why.contains(word) && why.contains("plan.toml"), "{why}");
        let (code, told) = run(&format!("replay {}", path.display()));
        assert!(code == Some(2) && told.contains(word), "{told}");
    }
    // The same request again is a retry, also at another node.
    let path = file(&folder, "sound", &[ASK, &ASK.replace("to = 1", "to = 2")]);
    testing::replay(&suite, path);
}

#[test]
fn a_file_whose_fault_never_happens_fails_a_test_unless_that_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let suite = suite();
    let fault = "durable = { node = 1, record = 'Something', nth = 1 }\nfault = { crash = { node = 1 } }";
    let path = file(&folder, "sound", &[ASK, fault]);
    for path in [&*path, folder.path()] {
        let told = panics(|| testing::replay(&suite, path)).expect("it fails");
        assert!(
            told.contains("not carried out: plan.steps[1] (when Something is on the disk of n1"),
            "{told}"
        );
        testing::replay_with(&suite, path, Unused::Allowed);
    }
    testing::replay(&suite, file(&folder, "sound", &[ASK]));
}

#[test]
fn a_sweep_in_which_no_fault_happens_is_a_failure() {
    let untested = "nothing was tested: no fault of any plan was carried out";
    for engine in ["madsim", "direct", "both"] {
        let (code, told) = run(&format!("sim missed --seeds 0..3 --engine {engine}"));
        assert!(code == Some(1) && told.contains(untested) && told.contains("carried out: crash"), "{told}");
    }
    let (code, told) = run("sim some --seeds 0..3");
    assert!(code == Some(0) && told.contains("planned, but not carried out: pause"), "{told}");
    let (code, told) = run("sim some --seeds 0..3 --format json");
    let report: Value = serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
    let count = |kind: &str| {
        let count = &report["steps"][kind];
        (count["planned"].as_u64(), count["carried_out"].as_u64())
    };
    assert_eq!(code, Some(0));
    assert_eq!(
        [count("ask"), count("crash"), count("pause")],
        [6, 3, 0].map(|done| (Some(done.max(3)), Some(done)))
    );

    let (code, told) = run("sim silent --seeds 0..3");
    assert!(code == Some(0) && told.contains("no plan has a step: nobody asks anything"), "{told}");
    let (code, told) = run("run");
    assert!(code == Some(1) && told.contains(untested) && !told.contains("all is well"), "{told}");

    let told = panics(|| testing::sweep(&suite(), "missed", 0..3)).expect("it fails");
    assert!(told.contains(untested), "{told}");
    testing::sweep(&suite(), "some", 0..3);
    let told = panics(|| testing::sweep(&suite(), "some", 3..3)).expect("it fails");
    assert!(told.contains("3..3 holds no seed"), "{told}");
}

#[test]
fn what_has_nothing_to_do_says_so() {
    for (args, code, word) in [
        ("sim sound --seeds 3..3", 2, "holds no seed"),
        ("sim sound --seeds 0..2 --shard 0/3", 0, "nothing was run"),
        ("check sound --walk 4..4", 2, "holds no seed"),
        ("check sound --walk 0..2 --shard 0/3", 2, "--shard 0/3 of --walk 0..2 holds no seed"),
        ("check sound --crashes 1", 0, "there are no invariants"),
        ("check sound --crashes 1 --no-settle", 1, "nothing was asked"),
        ("check sound --crashes 1 --engine stateright", 1, "nothing was asked"),
    ] {
        let (came, told) = run(args);
        assert!(came == Some(code) && told.contains(word), "{args}: {came:?} {told}");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (code, told) = run(&format!("verify {}", folder.path().display()));
    assert!(code == Some(2) && told.contains("there are no recordings"), "{told}");
    let told = panics(|| testing::replay(&suite(), folder.path())).expect("it fails");
    assert!(told.contains("there is no plan in this folder"), "{told}");
    let nothing = Suite::default();
    for (args, word) in [("run", "no main job"), ("sim all", "no scenarios"), ("check all", "no models")] {
        let args = ["coalmine"].into_iter().chain(args.split(' ')).map(str::to_owned);
        assert_eq!(coalmine_sim::cli::main_from(&nothing, args), 2, "{word}");
    }
}

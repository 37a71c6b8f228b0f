//! Counterexamples as files: each replays to the same end, in text and on a page; what may not happen is refused
//! with its file and its step; and the Explorer opens where one ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coalmine::rollout;
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId, Word};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_sim::check::CheckOptions;
use coalmine_sim::files::capsule::File;
use coalmine_sim::files::path::{Happens, PathCapsule};
use coalmine_sim::spec::faults::Effect;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::Expected;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{Explanation, FileOutcome, Suite};
use coalmine_sim::testing;
use coalmine_sim::trace::html::{BandKind, End, Kind, Page};
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::text::{Style, story};
use coalmine_sim::world::find::{find, steps_of};
use coalmine_sim::world::walk::walk;
use coalmine_sim::world::{Rules, World};
use coalmine_tests::model_of;

/// Mistakes that the checker finds, each with the space in which it finds them.
fn bugs() -> [(&'static str, ModelArgs); 4] {
    let (none, one) = (Some(0), Some(1));
    let wipe = ModelArgs { crashes: none, wipes: one, drops: none, timeouts: none, ..ModelArgs::default() };
    [
        ("guessing-resolver", ModelArgs { drops: none, timeouts: Some(3), ..ModelArgs::default() }),
        ("sends-early", ModelArgs::default()),
        ("amnesiac", ModelArgs { timeouts: Some(2), ..wipe }),
        ("amnesiac", ModelArgs { operations: Some(2), ..wipe }),
    ]
}

fn explained(mistake: &str, args: ModelArgs) -> Explanation {
    let (_, found) = model_of(mistake).check(args, CheckOptions::default(), &mut |_| {});
    found.expect("the checker finds it")
}

/// A file of one test, gone with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("coalmine-path-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file can be written");
        Self(path)
    }

    fn read(&self) -> File {
        File::read(&self.0).unwrap_or_else(|why| panic!("{why}"))
    }

    fn run(&self, suite: &Suite) -> Result<FileOutcome, String> {
        suite.run_file(self.read(), None, true)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The steps of a page, without what happens before the first.
fn turns(page: &Page) -> BTreeSet<u64> {
    page.steps.iter().filter_map(|step| step.turn).filter(|turn| *turn > 0).collect()
}

#[test]
fn a_counterexample_replays_from_its_file() {
    let suite = coalmine::suite();
    for (number, (name, args)) in bugs().into_iter().enumerate() {
        let found = explained(name, args);
        let file = Temporary::new(&format!("bug-{number}"), &found.capsule);
        let FileOutcome { outcome, engine, expected, .. } = file.run(&suite).expect("it can be walked");
        assert_eq!(engine, Engine::Direct);
        assert_eq!(Expected::of(&outcome.verdict), expected, "{}", found.capsule);
        assert_eq!((&*expected.verdict, &expected.invariant), ("violated", &Some(found.invariant)));

        let steps = found.capsule.matches("[[steps]]").count() as u64;
        assert_eq!(outcome.turns, Some(steps));
        let story = outcome.story.expect("a story was asked for");
        let told = found.story.strip_prefix(&*story).expect("the checker tells the same story");
        assert_eq!(told.trim(), format!("✗ {}", outcome.verdict.describe()));

        let page = outcome.page.expect("a page was asked for");
        assert_eq!(turns(&page), (1..=steps).collect());
        let ending = &page.steps[page.ending.step.expect("it goes wrong somewhere")];
        assert_eq!((ending.turn, page.ending.passed), (Some(steps), false));
        assert!(page.steps.iter().all(|step| step.at_ns.is_none()), "a path has no clock");

        let again = file.run(&suite).expect("it can be walked").outcome;
        assert_eq!((again.digest, again.verdict), (outcome.digest, outcome.verdict));

        // Without the mistake the path leads nowhere, or cannot be gone.
        let sound = found.capsule.replace(&format!("mistake = \"{name}\"\n"), "");
        assert_ne!(sound, found.capsule);
        let sound = Temporary::new(&format!("sound-{number}"), &sound);
        match sound.run(&suite) {
            Ok(run) => assert_eq!(run.outcome.verdict, Verdict::Passed),
            Err(why) => assert!(why.contains("this cannot happen here"), "{why}"),
        }
    }
}

#[test]
fn capsules_that_say_which_mistake_is_made_still_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("capsules");
    testing::replay(&coalmine::suite(), folder);
}

/// A path of a system, step by step: the first that is told like this, without a crash in its middle.
fn path_of<S: System>(rules: &Rules<S>, told: &[&str]) -> Vec<coalmine_sim::world::Action<S::Node>> {
    let mut world: World<S> = rules.plain_start();
    let mut path = Vec::new();
    for told in told {
        let mut possible = Vec::new();
        rules.successors(&world, &mut possible);
        let all: Vec<_> = possible.iter().map(|there| rules.describe(&there.action)).collect();
        let is_it = |there: &String| there.starts_with(told) && !there.contains("and crashes after");
        let place = all.iter().position(is_it);
        let next = possible.swap_remove(place.unwrap_or_else(|| panic!("no {told:?} among {all:#?}")));
        path.push(next.action);
        world = next.next;
    }
    path
}

/// Whatever may happen can be written down and read again: long walks, with every fault there is.
#[test]
fn every_kind_of_step_can_be_written_and_read() {
    let args = ModelArgs {
        crashes: Some(3),
        wipes: Some(1),
        cuts: Some(2),
        drops: Some(2),
        duplicates: Some(2),
        timeouts: Some(6),
        periodic: Some(2),
        retries: Some(1),
        inputs: Some(1),
        disk: Some(Disk::Async),
        ..ModelArgs::default()
    };
    let rules = rollout::model().rules(args);
    let mut kinds = BTreeSet::new();
    for walk in 0..60_usize {
        let (mut world, mut path) = (rules.plain_start(), Vec::new());
        for step in 0..40_usize {
            let mut possible = Vec::new();
            rules.successors(&world, &mut possible);
            if possible.is_empty() {
                break;
            }
            let place = (walk * 7_919 + step * 104_729 + 13) % possible.len();
            let next = possible.swap_remove(place);
            path.push(next.action);
            world = next.next;
        }
        let steps = steps_of(&rules, &path);
        for step in &steps {
            let kind = match &step.what {
                Happens::Boot { .. } => "boot",
                Happens::Deliver { copy_stays: true, .. } => "deliver twice",
                Happens::Deliver { .. } => "deliver",
                Happens::Fire { .. } => "fire",
                Happens::Ask { .. } => "ask",
                Happens::Flush { .. } => "flush",
                Happens::Drop { .. } => "drop",
                Happens::Crash { .. } => "crash",
                Happens::Cut { .. } => "cut",
                Happens::Heal { .. } => "heal",
            };
            let how = [
                (step.how.crash_after.is_some(), "crash within"),
                (step.how.keeps > 0, "keeps"),
                (step.how.wiped, "wiped"),
            ];
            kinds.insert(kind);
            kinds.extend(how.iter().filter(|(is_so, _)| *is_so).map(|(_, name)| *name));
        }
        let expected = Expected { verdict: "passed".into(), ..Expected::default() };
        let capsule =
            PathCapsule { about: "\"quoted\"".into(), model: "rollout".into(), space: args, expected, steps };
        let text = capsule.to_toml(&[]);
        let read = Temporary::new("kinds", &text).read().parse_path();
        let read = read.unwrap_or_else(|why| panic!("{why}\n{text}"));
        assert_eq!(read, capsule, "{text}");
        assert_eq!(find(&rules, &read.steps).unwrap_or_else(|why| panic!("{why}")).actions, path);
    }
    assert_eq!(kinds.len(), 13, "not every kind of step was seen: {kinds:?}");
}

/// A node with words that TOML does not have, which chooses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Chooser(u32);

impl Node for Chooser {
    type Config = ();
    type Message = (Option<u8>, u64);
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(_: &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self(0)
    }

    fn on(&mut self, _: &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { .. } => {
                self.0 = 10 * cx.choose(3) + cx.choose(2);
                cx.send(NodeId(2), (None, u64::MAX));
            }
            Event::Message { .. } => self.0 = 1,
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }

    fn describe(word: Word<'_, Self>) -> String {
        format!("{word:?}\n")
    }
}

#[derive(Debug)]
struct Choosers;

impl System for Choosers {
    type Node = Chooser;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        vec![(NodeId(1), ()), (NodeId(2), ())]
    }
    fn operations(&self) -> Vec<Operation<Chooser>> {
        vec![Operation { to: NodeId(1), id: RequestId { client: 1, sequence: 1 }, request: () }]
    }
    fn invariants(&self) -> Vec<Invariant<Chooser, ()>> {
        Vec::new()
    }
    fn witnesses(&self) -> Vec<Witness<Chooser, ()>> {
        Vec::new()
    }
    fn converged(&self, _: &Observation<'_, Chooser, ()>) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn choices_and_words_that_toml_does_not_have_are_kept() {
    let rules = Rules::new(Choosers, Limits::NONE);
    let mut possible = Vec::new();
    rules.successors(&rules.plain_start(), &mut possible);
    assert_eq!(possible.len(), 6, "three choices, then two");
    for first in possible {
        let mut next = Vec::new();
        rules.successors(&first.next, &mut next);
        let path = vec![first.action, next.swap_remove(0).action];
        let expected = Expected { verdict: "passed".into(), ..Expected::default() };
        let (steps, space) = (steps_of(&rules, &path), ModelArgs::default());
        let capsule = PathCapsule { about: String::new(), model: "choosers".into(), space, expected, steps };
        let told: Vec<_> = path.iter().map(|action| rules.describe(action)).collect();
        let text = capsule.to_toml(&told);
        let read = Temporary::new("words", &text).read().parse_path();
        let read = read.unwrap_or_else(|why| panic!("{why}\n{text}"));
        assert_eq!(read, capsule, "{text}");
        assert_eq!(find(&rules, &read.steps).map(|way| way.actions), Ok(path), "{text}");
    }
}

/// What the network does is told, and drawn, without a clock.
#[test]
fn cuts_losses_and_duplicates_are_told_and_drawn() {
    let args = ModelArgs { cuts: Some(1), drops: Some(1), duplicates: Some(1), ..ModelArgs::default() };
    let model = rollout::model();
    let rules = model.rules(args);
    let path = path_of(
        &rules,
        &[
            "client → n1: roll out",
            "n1 ↔ n2 is cut",
            "n1 → n3: PREPARE_REQ 1.1: v1 (v2 100%) (a copy stays under way)",
            "n1 → n2 is healed",
            "n3 crashes",
            "n1 → n3: PREPARE_REQ",
            "n3 → n1 is lost: PREPARE_RESP",
        ],
    );
    let told = walk(&rules, &path, true);
    let cut_off = [Effect::FrameCutOneWay, Effect::FrameCutBothWays].map(|cut| told.effects.of(cut));
    assert_eq!(cut_off, [0, 1], "{:?}", told.effects);
    let entries = told.trace.expect("it was kept");
    let style = Style { everything: true, in_turns: true, ..Style::default() };
    let text = story(&entries, &Slice::of(&entries, None), |_| false, style);
    for words in [
        "   2.  —— cut n1 ↮ n2 ——\n       net  n1 → n2 is cut off",
        "   3.  net  n1 → n3 arrives twice",
        "   4.  —— n1 → n2 is mended ——",
        "   6.  net  n1 → n3 finds nobody there",
        "   7.  net  n3 → n1 is lost",
    ] {
        assert!(text.contains(words), "it should tell of {words:?}:\n{text}");
    }

    let expected = Expected { verdict: "passed".into(), ..Expected::default() };
    let steps = steps_of(&rules, &path);
    let capsule = PathCapsule { about: String::new(), model: "rollout".into(), space: args, expected, steps };
    let file = Temporary::new("drawn", &capsule.to_toml(&[]));
    let page = file.run(&coalmine::suite()).expect("it can be walked").outcome.page.expect("a page");
    let turn = |step: usize| page.steps[step].turn.expect("a path has turns");
    let bands: Vec<_> = page
        .bands
        .iter()
        .map(|band| (band.kind, turn(band.from), band.to.map(turn), band.links.len()))
        .collect();
    // Mended one way, the other way is still cut.
    assert_eq!(bands, [(BandKind::Cut, 2, Some(4), 2), (BandKind::Cut, 4, None, 1)]);
    let fates: BTreeSet<_> = page.flights.iter().map(|flight| format!("{:?}", flight.end)).collect();
    let (cut_off, arrived) = (format!("{:?}", End::CutOff), format!("{:?}", End::Arrived));
    assert!(fates.contains(&cut_off) && fates.contains(&arrived), "{fates:?}");
    assert!(fates.contains(&format!("{:?}", End::Lost)), "{fates:?}");
    assert!(
        !fates.contains(&format!("{:?}", End::SenderDown)),
        "what a node has sent outlives it: {fates:?}"
    );
}

/// The page shows what a crash in the middle of a step prevented.
#[test]
fn what_a_crash_prevented_is_shown() {
    let [(name, args), ..] = bugs();
    let found = explained(name, args);
    assert!(found.story.contains("✗ CRASHES\n            never comes to: → "), "{}", found.story);
    let file = Temporary::new("prevented", &found.capsule);
    let page = file.run(&coalmine::suite()).expect("it can be walked").outcome.page.expect("a page");
    let mut crashes = page.steps.iter().filter(|step| step.kind == Kind::Crash);
    assert!(crashes.any(|crash| crash.acts.iter().any(|act| act.text.starts_with("DECISION"))), "{page:?}");
}

#[test]
fn what_cannot_happen_is_refused_with_its_file_and_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("capsules/sends-early.toml");
    let capsule = std::fs::read_to_string(path).expect("it is there");
    let suite = coalmine::suite();
    let refused = |from: &str, to: &str| {
        assert!(capsule.contains(from), "{capsule}");
        let file = Temporary::new("refused", &capsule.replace(from, to));
        let why = file.run(&suite).map(|run| run.outcome.verdict).expect_err("it should be refused");
        assert!(why.starts_with(&format!("{}: ", file.0.display())), "{why}");
        why
    };
    let boot = "boot = { node = 2 }";
    let cases = [
        // Steps that may not happen: why not, and what may.
        (boot, "boot = { node = 3 }", "step 3: n3 starts: this cannot happen here. n3 is up already."),
        (
            boot,
            "flush = { node = 2 }",
            "step 3: n2 disk: the next record is durable: this cannot happen here. n2 is down.",
        ),
        (boot, "crash = { node = 2 }", "step 3: n2 crashes: this cannot happen here. n2 is down."),
        (
            boot,
            "heal = { from = 1, to = 2 }",
            "step 3: n1 → n2 is healed: this cannot happen here. n1 → n2 is not cut.",
        ),
        (
            boot,
            "fire = { node = 1, timer = 'Inquire' }",
            "n1 has not armed this timer. What can, within the budgets:\n  n2 → n1: PREPARE_RESP",
        ),
        (
            boot,
            "cut = { from = 1, to = 2, both_ways = true }",
            "step 3: n1 ↔ n2 is cut: this cannot happen here. What can",
        ),
        (
            "deliver = { from = 1, to = 2",
            "deliver = { from = 1, to = 3",
            "step 3: n2 starts: this cannot happen here. n2 is up already.",
        ),
        (
            "deliver = { from = 1, to = 2",
            "deliver = { from = 3, to = 2",
            "step 2: n3 → n2: PREPARE_REQ 1.1: v1 (v2 100%), and crashes after 2 of its effects: this cannot happen here. No such message is under way.",
        ),
        ("crash_after = 2", "crash_after = 9", "step 2: "),
        ("crash_after = 2", "crash_after = 2\nkeeps = 2", "step 2: "),
        ("crashes = 1", "crashes = 0", "step 2: "),
        // Steps that make no sense.
        (boot, "boot = { node = 9 }", "step 3: n9 is not a member of this system"),
        (boot, "boot = { node = 2 }\nkeeps = 1", "step 3: `keeps` and `wiped` say what a crash leaves"),
        (
            boot,
            "heal = { from = 1, to = 2 }\ncrash_after = 1",
            "step 3: choices, crash_after, keeps, wiped say how a node takes a step",
        ),
        (
            boot,
            "boot = { node = 2 }\nflush = { node = 2 }",
            "step 3: must say one thing that happens, such as `deliver`; it says boot, flush",
        ),
        (boot, "", "step 3: must say one thing that happens, such as `deliver`; it says none"),
        (boot, "boots = { node = 2 }", "step 3: unknown variant `boots`"),
        (boot, "boot = { node = 2, when = 3 }", "step 3: boot.when: unknown field `when`"),
        ("sequence = 1", "sequence = 7", "step 1: no client of this model asks n1 this as c1/7"),
        ("txid = \"1.1\", type", "txid = \"one\", type", "step 2: "),
        // Files that make no sense.
        ("[space]", "typo = 1\n[space]", "unknown field `typo`"),
        ("crashes = 1", "crushes = 1", "unknown field `crushes`"),
        (
            "verdict = \"violated\"",
            "verdict = \"violatd\"",
            "verdict: there is no \"violatd\"; there are: passed,",
        ),
        ("nodes = 3", "nodes = 0", "space: nodes: 0 is not in 1..=64"),
        ("nodes = 3", "nodes = 4000000000", "space: nodes: 4000000000 is not in 1..=64"),
        ("operations = 1", "operations = 100", "space: operations: 100 is not in 0..=64"),
        ("verdict = \"violated\"", "", "missing field `verdict`"),
        ("model = \"rollout\"", "model = \"nobody\"", "there is no model \"nobody\"; there are: "),
        ("model = \"rollout\"", "", "the key `scenario` is missing (or `model`, for a counterexample)"),
    ];
    for (from, to, expected) in cases {
        let why = refused(from, to);
        assert!(why.contains(expected), "{to:?} should be refused with {expected:?}:\n{why}");
    }
    let file = Temporary::new("madsim", &capsule);
    let why = suite.run_file(file.read(), Some(Engine::Madsim), false).map(|_| ()).expect_err("it cannot");
    assert!(why.contains("madsim cannot"), "{why}");
    // Another verdict is told.
    let other = Temporary::new("other", &capsule.replace("write-ahead", "one-outcome"));
    let run = other.run(&suite).expect("it can be walked");
    assert_ne!(Expected::of(&run.outcome.verdict), run.expected);
}

/// The command line, in an empty folder of one test.
fn toys(folder: &Path, args: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toys"));
    let output = command.args(args.split(' ')).current_dir(folder).output().expect("the toys are built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_check_leaves_a_capsule_and_the_lines_that_show_it() {
    let folder = std::env::temp_dir().join(format!("coalmine-check-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("a temporary folder can be made");
    let (code, said, _) = toys(&folder, "--mistake sends-early check rollout");
    assert_eq!(code, Some(1), "{said}");
    let paste = |word: &str| {
        let line =
            said.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word}:\n{said}"));
        line[line.find(word).unwrap_or(0)..].trim().to_owned()
    };
    let mistake = "--mistake sends-early";
    let file = "coalmine-out/rollout-sends-early-write-ahead";
    assert_eq!(paste(mistake), format!("{mistake} replay {file}.toml --html {file}.html"));
    assert_eq!(paste(" explore "), format!("explore rollout --at {file}.toml"));
    let (code, told, _) = toys(&folder, &paste(" replay "));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("✗ invariant write-ahead is violated"), "{told}");
    assert!(told.contains("a path of 2 steps"), "{told}");
    let page = std::fs::read_to_string(folder.join(format!("{file}.html")));
    assert!(page.expect("a page").contains("write-ahead is violated"));

    let replay = format!("replay {file}.toml");
    let (code, said, _) = toys(&folder, &format!("{replay} --format json"));
    let report: serde_json::Value = serde_json::from_str(said.trim()).expect("one object");
    assert_eq!((code, &report["model"], &report["steps"]), (Some(1), &"rollout".into(), &2.into()));
    assert_eq!((&report["as_expected"], &report["engine"]), (&true.into(), &"direct".into()));
    let (code, _, why) = toys(&folder, &format!("{replay} --engine madsim"));
    assert!(code == Some(2) && why.contains("write-ahead.toml: "), "{why}");

    let (_, said, _) = toys(&folder, "--mistake sends-early check rollout --capsule mine.toml --format json");
    let report: serde_json::Value = serde_json::from_str(said.lines().last().expect("lines")).expect("JSON");
    assert!(report["capsule"] == "mine.toml" && report["exhausted"] == false, "{report}");
    assert!(folder.join("mine.toml").is_file());
    std::fs::remove_dir_all(folder.join("coalmine-out")).expect("it is ours");
    let (_, said, _) = toys(&folder, "--mistake sends-early check rollout --no-capsule");
    assert!(!said.contains("replay") && !folder.join("coalmine-out").exists(), "{said}");
    std::fs::remove_dir_all(folder).expect("it is ours");
}

/// What a server says, without the head.
fn get(url: &str) -> String {
    // What follows the # is for the browser alone.
    let url = url.split('#').next().and_then(|url| url.strip_prefix("http://"));
    let (address, path) = url.and_then(|url| url.split_once('/')).expect("a URL");
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("it can be asked");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    said.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// What follows the state that a page of the Explorer shows, as its own interface tells it.
fn next_states(page: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(&get(&page.replace("#/steps", ".states"))).expect("a list")
}

/// The state that a page of the Explorer shows.
fn shown(page: &str) -> serde_json::Value {
    let (before, choice) = page.rsplit_once('/').expect("a path");
    let choice: usize = choice.parse().expect("a number");
    next_states(before).swap_remove(choice)
}

#[test]
fn the_explorer_opens_where_a_counterexample_ends() {
    let suite = coalmine::suite();
    for (number, (name, args)) in bugs().into_iter().enumerate() {
        let found = explained(name, args);
        let file = Temporary::new(&format!("explored-{number}"), &found.capsule);
        let model = suite.find_model("rollout").expect("it ships");
        let at = "127.0.0.1:0".parse().expect("an address");
        let serving = model.explore(ModelArgs::default(), Some(file.read()), at).expect("it can be served");
        let steps = found.capsule.matches("[[steps]]").count();
        let (_, fragment) = serving.url.split_once("#/steps/0").expect("it begins at the beginning");
        let boots = 3;
        assert_eq!(fragment.matches('/').count(), boots + steps, "{}", serving.url);
        let last = shown(&serving.url);
        let words = last["outcome"].as_str().expect("words");
        assert!(words.contains(&format!("✗ invariant {} is violated", found.invariant)), "{words}");
        // The step before it is whole, and told as the story tells it.
        let (before, _) = serving.url.rsplit_once('/').expect("a path");
        let words = shown(before)["outcome"].as_str().expect("words").to_owned();
        assert!(!words.contains("is violated"), "{words}");
        assert!(get(&serving.url).contains("Stateright Explorer"));
        assert!(!serving.is_over());
    }
}

#[test]
fn the_explorer_tells_actions_and_states_in_words() {
    let suite = coalmine::suite();
    let model = suite.find_model("rollout").expect("it ships");
    let at = "127.0.0.1:0".parse().expect("an address");
    let args = ModelArgs { disk: Some(Disk::Async), ..ModelArgs::default() };
    let serving = model.explore(args, None, at).expect("it can be served");
    let first = shown(&serving.url);
    let begins = first["state"].as_str().expect("words");
    assert!(begins.contains("n1 is up, in its life 1\n    journal 1: "), "{begins}");
    let follow = |page: &str, action: &str| {
        let next = next_states(page);
        let told: Vec<_> = next.iter().map(|it| it["action"].as_str().expect("words")).collect();
        let is_it = |told: &&str| told.starts_with(action) && !told.contains("and crashes after");
        let place = told.iter().position(is_it);
        let place = place.unwrap_or_else(|| panic!("no {action:?} among {told:#?}"));
        (format!("{page}/{place}"), next[place]["outcome"].as_str().expect("words").to_owned())
    };
    let (page, asked) = follow(&serving.url, "client → n1: roll out v2: 100%");
    for words in [
        "client → n1: roll out v2: 100%\n    journal: ACCEPTED c1/1",
        "ACCEPTED c1/1 of v2 (not durable yet)",
        "effects wait for the disk",
        "timer: ",
        "RolloutNode {",
        "so far: 1 requests",
    ] {
        assert!(asked.contains(words), "it should tell of {words:?}:\n{asked}");
    }
    // The record that it has begun, then the request: only now the messages may leave.
    let (page, _) = follow(&page, "n1 disk: the next record is durable");
    let (page, flushed) = follow(&page, "n1 disk: the next record is durable");
    assert!(flushed.contains("under way\n    n1 → n"), "{flushed}");
    let (_, crashed) = follow(&page, "n2 crashes");
    assert!(crashed.contains("n2 is DOWN, after 1 lives") && crashed.contains("1 crashes"), "{crashed}");
}

/// A process that ends with its test, however that ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_explorer_ends_with_ctrl_c_and_refuses_what_makes_no_sense() {
    let mut child = Running(
        Command::new(env!("CARGO_BIN_EXE_toys"))
            .args(["--mistake", "sends-early", "explore", "rollout", "--address", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the toys are built"),
    );
    let mut said = String::new();
    let mut out = BufReader::new(child.0.stdout.take().expect("it is piped"));
    out.read_line(&mut said).expect("it says where it is");
    assert!(get(said.trim()).contains("Stateright Explorer"), "{said}");
    let killed = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status();
    assert!(killed.expect("there is a kill").success());
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));

    let folder = std::env::temp_dir();
    let file = Temporary::new("elsewhere", &explained("sends-early", ModelArgs::default()).capsule);
    let path = file.0.display();
    for (args, expected) in [
        (
            format!("explore blocked-together --at {path}"),
            "it is a path of the model \"rollout\", not of \"blocked-together\"",
        ),
        (format!("explore rollout --nodes 2 --at {path}"), "leave the rest out"),
        ("explore rollout --at no-such.toml".into(), "no-such.toml: "),
        ("explore nobody".into(), "there is no model \"nobody\""),
        ("explore rollout --address 192.0.2.1:80".into(), "--address 192.0.2.1:80: "),
    ] {
        let (code, _, why) = toys(&folder, &args);
        assert!(code == Some(2) && why.contains(expected), "{args}: {why}");
    }
}

//! Stories show the culprit: what led to a violation is told and marked, whatever else is folded, and so is what changed
//! a node.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Facts, Invariant};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::CheckOptions;
use coalmine_sim::engine::report::{RunOptions, RunReport};
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, Outcome};
use coalmine_sim::sweep::mutants::mistakes;
use coalmine_sim::trace::html::{Kind, Page};
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::text::{Style, story};

/// The outcome of a path that a file holds.
fn walked(path: &Path) -> Outcome {
    let file = File::read(path).unwrap_or_else(|why| panic!("{why}"));
    coalmine::suite().run_file(file, None, true).unwrap_or_else(|why| panic!("{why}")).outcome
}

/// What must be so of each counterexample of the checker: it is as short as any, so all of its steps led to its end.
fn check_counterexample(outcome: &Outcome, of: &str) {
    let page = outcome.page.as_ref().expect("a page was asked for");
    let turns = |steps: &mut dyn Iterator<Item = &coalmine_sim::trace::html::Step>| -> BTreeSet<_> {
        steps.filter_map(|step| step.turn).filter(|turn| *turn > 0).collect()
    };
    let all = turns(&mut page.steps.iter());
    let led = turns(&mut page.steps.iter().filter(|step| step.led));
    let text = outcome.story.as_deref().unwrap_or_default();
    assert_eq!(led, all, "{of}:\n{text}");
    let marked = text.lines().filter(|line| line.starts_with('▸')).count();
    assert!(marked >= all.len(), "{of}:\n{text}");
}

#[test]
fn all_steps_of_a_counterexample_led_to_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("capsules");
    for entry in std::fs::read_dir(folder).expect("it is ours") {
        let path = entry.expect("it can be read").path();
        check_counterexample(&walked(&path), &path.display().to_string());
    }
    // Of all mistakes those that are soon found.
    let suite = coalmine::suite();
    let soon = |model: &dyn AnyModel, name: &str| match model.name() {
        "counter" => name != "replies-early",
        "chain" => name == "reads-anywhere",
        "twophase" | "abd" => true,
        _ => false,
    };
    let mut tried = BTreeSet::new();
    for (model, listed) in mistakes(&suite) {
        let name = listed.mistake.name;
        if !soon(model, name) {
            continue;
        }
        let model = model.with_mistake(name).expect("it is listed");
        let (_, found) = model.check(listed.mistake.space, CheckOptions::default(), &mut |_| {});
        let found = found.unwrap_or_else(|| panic!("{name} is found"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("found.toml");
        std::fs::write(&path, found.capsule).expect("there is room");
        check_counterexample(&walked(&path), &format!("{} {name}", model.name()));
        tried.insert(model.name());
    }
    assert_eq!(tried.into_iter().collect::<Vec<_>>(), ["abd", "chain", "counter", "twophase"]);
}

/// What must be so of the story of every run.
fn check_nothing_is_folded(outcome: &Outcome, of: &str) -> usize {
    let story = outcome.story.as_deref().expect("a story was asked for");
    let whole = outcome.whole_story.as_deref().expect("a story was asked for");
    let of_kind = |text: &str, is_it: &dyn Fn(&str) -> bool| -> Vec<String> {
        text.lines().filter(|line| is_it(line)).map(str::to_owned).collect()
    };
    for is_it in
        [&(|line: &str| line.trim_start().starts_with("~ ")) as &dyn Fn(&str) -> bool, &|line: &str| {
            line.starts_with('▸')
        }]
    {
        assert_eq!(of_kind(story, is_it), of_kind(whole, is_it), "{of}");
    }
    let page = outcome.page.as_ref().expect("a page was asked for");
    let matters = |page: &Page| page.steps.iter().filter(|it| it.led || !it.changes.is_empty()).count();
    assert!(page.steps.iter().all(|step| !step.quiet || !step.led && step.changes.is_empty()), "{of}");
    let led = page.steps.iter().filter(|step| step.led).count();
    assert_eq!(of_kind(story, &|line| line.starts_with('▸')).len(), led, "{of}");
    let fired = page.steps.iter().filter(|step| step.kind == Kind::Timer);
    assert!(fired.clone().all(|step| step.timer.is_some()), "{of}: each was set");
    matters(page)
}

#[test]
fn no_run_folds_what_led_to_its_end_or_changed_a_node() {
    let suite = coalmine::suite();
    for engine in [Engine::Direct, Engine::Madsim] {
        let passed = suite.find_scenario("rollout-chaos").expect("it ships").run(engine, 7, true);
        assert_eq!(passed.verdict, Verdict::Passed);
        assert!(check_nothing_is_folded(&passed, "rollout-chaos") > 20);
        let page = passed.page.as_ref().expect("a page");
        assert!(page.steps.iter().all(|step| !step.led), "nothing went wrong");
        assert!(page.steps.iter().any(|step| step.quiet), "there are quiet steps");
        for (scenario, mistake) in [("rollout-chaos", "guessing-resolver"), ("chain-chaos", "reads-anywhere")]
        {
            let scenario = suite.find_scenario(scenario).expect("it ships").with_mistake(mistake);
            let scenario = scenario.expect("it is listed");
            let broken =
                |seed: &u64| matches!(scenario.run(engine, *seed, false).verdict, Verdict::Violated { .. });
            let seed = (0..3_000).find(broken).unwrap_or_else(|| panic!("{mistake} is found"));
            let outcome = scenario.run(engine, seed, true);
            check_nothing_is_folded(&outcome, mistake);
            let page = outcome.page.as_ref().expect("a page");
            let end = page.ending.step.expect("it went wrong somewhere");
            assert!(
                page.steps[end].led && page.steps.iter().filter(|step| step.led).count() > 5,
                "{mistake}"
            );
        }
    }
}

/// The first of two copies what it is told; the second hears of it, and often of something old.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Copy {
    values: Vec<u64>,
    newest: u64,
    beats: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Timer {
    /// Something is told again.
    Again,
    /// A sign of life.
    Beat,
}

impl Node for Copy {
    type Config = NodeId;
    type Message = u64;
    type Timer = Timer;
    type Record = ();
    type Request = u64;
    type Reply = u64;
    type View = ();
    type Fact = ();

    fn start(me: &NodeId, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        if *me == NodeId(1) {
            cx.set_timer(Timer::Beat, Duration::from_millis(20));
        }
        Self { values: vec![0], newest: 0, beats: 0 }
    }

    fn on(&mut self, me: &NodeId, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { id, request } => {
                cx.send(NodeId(2), request);
                if self.newest == 0 {
                    // The mistake: what is told again is never replaced.
                    cx.set_timer(Timer::Again, Duration::from_millis(400));
                    self.newest = request;
                }
                cx.reply(id, request);
            }
            Event::Timer(Timer::Again) => cx.send(NodeId(2), self.newest),
            Event::Timer(Timer::Beat) => {
                cx.send(NodeId(2), 0);
                cx.set_timer(Timer::Beat, Duration::from_millis(20));
            }
            Event::Message { message: 0, .. } => {}
            Event::Message { message, .. } if *me == NodeId(2) => {
                self.values[0] = message;
                self.newest = self.newest.max(message);
            }
            Event::Message { .. } | Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Copy {}

#[derive(Debug)]
struct Copies;

impl System for Copies {
    type Node = Copy;
    type History = Facts<Copy>;

    fn members(&self) -> Vec<(NodeId, NodeId)> {
        [1, 2].map(|id| (NodeId(id), NodeId(id))).to_vec()
    }
    fn operations(&self) -> Vec<Operation<Copy>> {
        Vec::new()
    }
    fn is_periodic(&self, timer: &Timer) -> bool {
        *timer == Timer::Beat
    }
    fn invariants(&self) -> Vec<Invariant<Copy, Facts<Copy>>> {
        vec![Invariant {
            name: "forward",
            about: "the second never goes back",
            source: "",
            check: |now| match now.up().find(|(id, copy)| *id == NodeId(2) && copy.values[0] < copy.newest) {
                Some((id, copy)) => Err(format!("{id} holds {}, and had {}", copy.values[0], copy.newest)),
                None => Ok(()),
            },
        }]
    }
}

fn overwritten(engine: Engine) -> RunReport<Copy> {
    let ask = |sequence, request| What::Ask { to: NodeId(1), id: RequestId { client: 1, sequence }, request };
    let scenario = Scenario {
        name: "copies",
        about: "Two copies.",
        system: || Copies,
        plan: |_, _| Plan::quiet([]),
        expect: nothing_more::<Copies>,
    };
    let plan = Plan::quiet([(1_000, ask(1, 101)), (1_200, ask(2, 201)), (1_300, ask(3, 201))]);
    scenario.run_plan(engine, &plan, RunOptions { keep_trace: true, ..RunOptions::of(1) })
}

/// No step of it writes, tells or answers anything: all of it was folded away.
#[test]
fn a_message_that_overwrites_is_told_with_what_it_overwrites() {
    for engine in [Engine::Direct, Engine::Madsim] {
        let report = overwritten(engine);
        assert!(matches!(report.verdict, Verdict::Violated { .. }), "{engine}: {:?}", report.verdict);
        let entries = report.trace.as_deref().expect("it was kept");
        let slice = Slice::of(entries, Some(&report.verdict));
        let boring = |event: &Event<Copy>| matches!(event, Event::Timer(_) | Event::Message { .. });
        let told = story(entries, &slice, boring, Style::default());
        let lines: Vec<_> = told.lines().collect();
        let place = |words: &str| {
            let found = lines.iter().position(|line| line.contains(words));
            found.unwrap_or_else(|| panic!("{engine}: it should tell of {words:?}\n{told}"))
        };
        // Both sides of the contradiction, each marked where it happened, and what led there.
        for (changed, event) in [
            ("~ values[0]: 0 → 101; newest: 0 → 101", "n2  ← n1: 101"),
            ("~ values[0]: 101 → 201; newest: 101 → 201", "n2  ← n1: 201"),
            ("~ values[0]: 201 → 101", "n2  ← n1: 101"),
        ] {
            let at = lines[place(changed) - 1];
            assert!(at.starts_with('▸') && at.contains(event), "{engine}: {at}\n{told}");
        }
        for led in
            ["client → n1: c1/1 101", "client → n1: c1/2 201", "timer: Again (set 400 ms ago, for 400 ms)"]
        {
            assert!(lines[place(led)].starts_with('▸'), "{engine}: {led}\n{told}");
        }
        // The rest is folded still, and nobody is accused.
        assert!(told.contains("quiet events)") && !told.contains("timer: Beat"), "{engine}\n{told}");
        let second = lines.iter().filter(|line| line.contains("n1  ← client c1/3: 201"));
        assert!(second.clone().count() == 1 && second.clone().all(|line| !line.starts_with('▸')), "{told}");
    }
}

/// Whoever asks for no story pays for none: there are no entries, and the digest is the same.
#[test]
fn a_story_changes_no_digest() {
    let scenario = coalmine::suite();
    let scenario = scenario.find_scenario("chain-chaos").expect("it ships");
    for engine in [Engine::Direct, Engine::Madsim] {
        let [told, untold] = [true, false].map(|story| scenario.run(engine, 3, story));
        assert_eq!((told.digest, told.events), (untold.digest, untold.events));
        assert!(untold.story.is_none() && untold.page.is_none());
    }
}

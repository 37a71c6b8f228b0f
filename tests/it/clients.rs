//! What clients see is judged in every world, and in the same way: the register that is replicated along a chain is
//! linearizable, and what its mistakes do to that is found by the checker, by both engines, and in recordings.

use coalmine::chain::{ChainSystem, model, scenario};
use coalmine_core::chain::{Link, Request};
use coalmine_core::node::{NodeId, RequestId};
use coalmine_sim::check::{CheckOptions, Explorer, Reductions, Verdict as Property};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::Scenario;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::AnyModel;
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::text::{Style, story};
use coalmine_sim::verify::verify;
use tempfile::tempdir;

const LINEARIZABLE: &str = "linearizable";

/// A space in which much is possible with few members.
fn small() -> ModelArgs {
    let one = Some(1);
    ModelArgs {
        nodes: Some(2),
        operations: Some(2),
        crashes: one,
        retries: one,
        timeouts: one,
        ..ModelArgs::default()
    }
}

/// Whoever explores, and whatever is left out: the verdict is the same.
#[test]
fn everybody_comes_to_the_same_verdict() {
    let mistakes = [None, Some("writes-again"), Some("takes-old"), Some("reads-anywhere")];
    let none = Reductions::NONE;
    let reductions = [
        none,
        Reductions { idle: true, ..none },
        Reductions { losses: true, ..none },
        Reductions { crash_points: true, ..none },
        Reductions { sleep: true, ..none },
        Reductions::USUAL,
    ];
    for mistake in mistakes {
        let planted = mistake.map(|name| model().with_mistake(name).expect("it is listed"));
        let verdict = |options: CheckOptions| {
            let (report, found) = match &planted {
                Some(planted) => planted.check(small(), options, &mut |_| {}),
                None => model().check(small(), options, &mut |_| {}),
            };
            assert_eq!(found.is_some(), mistake.is_some(), "{mistake:?}: {report:?}");
            (report.properties[LINEARIZABLE], report.unique_states)
        };
        let expected = if mistake.is_none() { Property::Holds } else { Property::Violated };
        let mut states = Vec::new();
        for reductions in reductions {
            let (property, visited) = verdict(CheckOptions { reductions, ..CheckOptions::default() });
            assert_eq!(property, expected, "{mistake:?}, {reductions:?}");
            states.push(visited);
        }
        let options =
            CheckOptions { explorer: Explorer::Stateright, reductions: none, ..CheckOptions::default() };
        let (property, visited) = verdict(options);
        assert_eq!(property, expected, "{mistake:?}, stateright");
        if mistake.is_none() {
            assert_eq!(visited, states[0], "both visit all");
        }
    }
}

/// What a run shows, its recordings show as well.
#[test]
fn recordings_show_what_clients_saw() {
    let folder = tempdir().expect("a temporary folder");
    let ask = |sequence, to, request| What::Ask {
        to: NodeId(to),
        id: RequestId { client: sequence, sequence },
        request,
    };
    // Both writes are handed on while the tail is asked, and the head after it.
    let steps = [
        (100, ask(1, 1, Request::Write(1))),
        (900, ask(2, 1, Request::Write(2))),
        (901, ask(3, 1, Request::Read)),
        (910, ask(4, 3, Request::Read)),
    ];
    let of = |mistaken: bool| -> Scenario<ChainSystem> {
        let system: fn() -> ChainSystem = if mistaken {
            || ChainSystem {
                members: 3,
                clients: 0,
                mistake: Some(coalmine_core::chain::Mistake::ReadsAnywhere),
            }
        } else {
            || ChainSystem { members: 3, clients: 0, mistake: None }
        };
        Scenario { system, ..scenario() }
    };
    for engine in [Engine::Direct, Engine::Madsim] {
        let found = |mistaken: bool| {
            (0..200).find(|&seed| {
                let options = RunOptions { record: Some("chain"), ..RunOptions::of(seed) };
                let mut plan: Plan<Link> = Plan::quiet(steps.clone());
                plan.links.delay_permille = 500;
                let report = of(mistaken).run_plan(engine, &plan, options);
                for (node, bytes) in &report.recordings {
                    std::fs::write(folder.path().join(format!("{node}.rec")), bytes).expect("there is room");
                }
                let system = (of(mistaken).system)();
                let verified =
                    verify(&system, "chain", "", &[folder.path().to_owned()], false).expect("recordings");
                assert_eq!(verified.difference, None, "{engine} {seed}");
                let there = verified.violated.map(|violated| violated.invariant);
                let Verdict::Violated { invariant, .. } = &report.verdict else {
                    assert_eq!((&report.verdict, there), (&Verdict::Passed, None), "{engine} {seed}");
                    return false;
                };
                assert_eq!((&**invariant, there.as_deref()), (LINEARIZABLE, Some(LINEARIZABLE)), "{seed}");
                true
            })
        };
        assert_eq!(found(false), None, "{engine}: a sound chain is accused");
        assert!(found(true).is_some(), "{engine}: no seed meets the mistake");
    }
}

/// A client that is sent to another member asks there, in both engines.
#[test]
fn clients_go_where_they_are_sent() {
    let ask =
        |sequence, to, request| What::Ask { to: NodeId(to), id: RequestId { client: 1, sequence }, request };
    let plan = Plan::quiet([(100, ask(1, 3, Request::Write(7))), (900, ask(2, 2, Request::Read))]);
    for engine in [Engine::Direct, Engine::Madsim] {
        let report = scenario().run_plan(engine, &plan, RunOptions { keep_trace: true, ..RunOptions::of(1) });
        assert_eq!((&report.verdict, report.unanswered.len()), (&Verdict::Passed, 0), "{engine}");
        let trace = report.trace.expect("it was kept");
        let said = story(&trace, &Slice::of(&trace, None), |_| false, Style::default()).to_string();
        for words in ["client c1/1: ask n1", "client ← n3: c1/1 written", "client c1/2: ask n3", "it holds 7"]
        {
            assert!(said.contains(words), "{engine}: {words:?} is missing\n{said}");
        }
    }
}

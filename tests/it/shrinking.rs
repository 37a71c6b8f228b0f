//! What hangs on chance is made small, too: what links did to frames becomes steps of the plan, in both engines.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::faults::{Effect, Effects};
use coalmine_sim::spec::verdict::{Engine, Expected, Verdict};
use coalmine_sim::suite::{FileOutcome, Suite};
use coalmine_sim::testing::{self, Engines};

const ENGINES: [Engine; 2] = [Engine::Madsim, Engine::Direct];

/// Runs a file of this text.
fn run(text: &str, engine: Engine) -> Result<FileOutcome, String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, text).expect("a file of ours");
    coalmine::suite().run_file(File::read(&path)?, Some(engine), true)
}

/// Two clients write at the head of a chain, one a second after the other; and a fault of a frame.
fn chain(frame: &str) -> String {
    let ask = |at: u64, client: u64| {
        format!(
            "{{ at_ms = {at}, ask = {{ to = 1, id = {{ client = {client}, sequence = 1 }}, request = {{ Write = {client} }} }} }},"
        )
    };
    format!(
        "scenario = 'chain-chaos'\nverdict = 'passed'\n[plan]\nheal_at_ms = 5000\nconverge_within_ms = 9000\n\
         steps = [\n{}\n{}\n{{ at_ms = 500, fault = {{ frame = {{ {frame} }} }} }},\n]\n",
        ask(1_000, 1),
        ask(2_000, 2),
    )
}

/// One frame is lost, late or doubled, and no other; the story says what was planned and what came of it.
#[test]
fn a_plan_says_what_becomes_of_a_frame() {
    let fates = [
        ("from = 1, to = 2, nth = 1, fate = 'lost'", Effect::FrameLost, "the next frame n1 → n2 is lost"),
        (
            "from = 1, to = 2, nth = 2, fate = { late = { by_ms = 40 } }",
            Effect::FrameDelayed,
            "of the next frames n1 → n2, number 2 is held back for 0.04 s",
        ),
        (
            "from = 3, to = 2, nth = 1, fate = { twice = { by_ms = 0 } }",
            Effect::FrameDuplicated,
            "the next frame n3 → n2 arrives twice",
        ),
    ];
    for (engine, (frame, effect, planned)) in ENGINES.into_iter().flat_map(|it| fates.map(|fate| (it, fate)))
    {
        let FileOutcome { outcome, .. } = run(&chain(frame), engine).expect("it can be run");
        let mut only = Effects::default();
        only.count(effect);
        assert_eq!((&outcome.verdict, &outcome.effects), (&Verdict::Passed, &only), "{engine}, {frame}");
        assert_eq!(outcome.unused, Vec::<String>::new(), "{engine}, {frame}");
        let story = outcome.story.expect("a story was asked for");
        let (direction, became) = if effect == Effect::FrameLost {
            ("n1 → n2", "is lost")
        } else if effect == Effect::FrameDelayed {
            ("n1 → n2", "is held back")
        } else {
            ("n3 → n2", "arrives twice")
        };
        for said in [planned, &format!("{direction} {became}: ")] {
            assert!(story.contains(said), "{engine}: {said:?} should be in\n{story}");
        }
    }
}

/// A frame that is never sent is no fault, and that is told.
#[test]
fn what_is_said_of_a_frame_that_is_never_sent_is_not_carried_out() {
    for engine in ENGINES {
        let text = chain("from = 1, to = 2, nth = 99, fate = 'lost'");
        let FileOutcome { outcome, .. } = run(&text, engine).expect("it can be run");
        assert_eq!((&outcome.verdict, &outcome.effects), (&Verdict::Passed, &Effects::default()), "{engine}");
        let told = "plan.steps[2] (at 0.5 s: of the next frames n1 → n2, number 99 is lost)";
        assert_eq!(outcome.unused, [told], "{engine}");
    }
    for (frame, why) in [
        ("from = 1, to = 2, nth = 0, fate = 'lost'", "plan.steps[2]: nth: 0 is not in 1..="),
        ("from = 1, to = 1, nth = 1, fate = 'lost'", "plan.steps[2]: from, to: n1 sends itself no frames"),
        (
            "from = 1, to = 7, nth = 1, fate = 'lost'",
            "n7 is not a member of this system; there are: n1, n2, n3",
        ),
        ("from = 1, to = 2, nth = 1, fate = { late = { by_ms = 86400001 } }", "by_ms: 86400001 is not in"),
        (
            "from = 1, to = 2, nth = 1, fate = 'gone'",
            "unknown variant `gone`, expected one of `lost`, `late`, `twice`",
        ),
    ] {
        let refused = run(&chain(frame), Engine::Direct).expect_err("it is refused");
        assert!(refused.contains(why), "{refused}");
    }
}

/// Lossy links, and a chain that makes a mistake: what is left has no chance on its links, can be taken in at a glance, and
/// gives the same verdict again from its file, with the same digest.
#[test]
fn chance_on_links_shrinks_to_six_steps() {
    let found: [(_, _, &[u64]); 4] = [
        ("takes-old", Engine::Direct, &[0, 3]),
        ("takes-old", Engine::Madsim, &[3]),
        ("writes-again", Engine::Direct, &[354, 802]),
        ("writes-again", Engine::Madsim, &[85, 345]),
    ];
    for (mistake, engine, seeds) in found {
        let suite = coalmine::suite().with_mistake(mistake).expect("chains make it");
        let scenario = suite.find_scenario("chain-chaos").expect("it ships");
        for &seed in seeds {
            let plan = scenario.plan(engine, seed).expect("it can be drawn");
            assert!(plan.contains("links = { "), "seed {seed} has no noise:\n{plan}");
            let shrunk = scenario.shrink(engine, seed, &mut |at| at.runs < 2_000).expect("the seed fails");
            let capsule = &shrunk.capsule;
            assert!(shrunk.at.steps <= 6, "{mistake} {engine} {seed}, {} runs:\n{capsule}", shrunk.at.runs);
            assert!(!capsule.contains("links"), "{mistake} {engine} {seed}:\n{capsule}");
            let runs = [1, 2].map(|_| run(capsule, engine).expect("a capsule can be run"));
            for FileOutcome { outcome, expected, .. } in &runs {
                assert_eq!(
                    (&Expected::of(&outcome.verdict), outcome.digest),
                    (expected, runs[0].outcome.digest)
                );
            }
        }
    }
}

/// A sweep in a test hands over what a person needs: the run, and what is left of it, told and drawn. Of a second process
/// the same test is asked, so each has one sweep.
fn says_how_to_see_what_it_found(seed: u64, engine: &str, sweep: impl FnOnce(&Suite)) {
    let suite = coalmine::suite().with_mistake("takes-old").expect("chains make it");
    let panic = catch_unwind(AssertUnwindSafe(|| sweep(&suite))).expect_err("it must fail");
    let told = *panic.downcast::<String>().expect("a message");
    let lines: Vec<_> = told.lines().map(str::trim).collect();
    let ends = |line: usize, words: String| {
        assert!(lines[line].ends_with(&words), "{words:?} should end line {line}: {told}")
    };
    assert!(
        told.starts_with(&format!("seed {seed} of chain-chaos: invariant linearizable is violated")),
        "{told}"
    );
    ends(1, format!(" replay chain-chaos --seed {seed}{engine}"));
    assert!(
        lines[2].starts_with("of its ") && lines[2].ends_with(" are left:") && lines.len() == 5,
        "{told}"
    );
    let file = format!("coalmine-out/chain-chaos-{seed}");
    ends(3, format!(" replay {file}.toml"));
    ends(4, format!(" replay {file}.toml --html {file}.html"));
    testing::replay(&suite, format!("{file}.toml"));
}

#[test]
fn a_sweep_in_a_test_is_one_of_the_direct_engine() {
    says_how_to_see_what_it_found(0, " --engine direct", |suite| testing::sweep(suite, "chain-chaos", 0..1));
}

#[test]
fn a_sweep_in_a_test_may_be_one_under_madsim() {
    let sweep = |suite: &Suite| testing::sweep_with(suite, "chain-chaos", 3..4, Engines::Madsim);
    says_how_to_see_what_it_found(3, "", sweep);
}

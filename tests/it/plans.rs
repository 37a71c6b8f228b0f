//! Plans as files: every one that ships gives the verdict it names; every kind of fault really happens; what
//! fails is made small.

use std::path::{Path, PathBuf};

use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::faults::{CutKind, Effect, Effects};
use coalmine_sim::spec::verdict::Expected;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::FileOutcome;
use coalmine_sim::testing;
use coalmine_tests::chaos_of;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder ships");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "toml" || ending == "json"));
    files.sort();
    files
}

/// A file of one test.
fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("coalmine-{name}-{}.toml", std::process::id()))
}

const ENGINES: [Engine; 2] = [Engine::Madsim, Engine::Direct];

fn run(path: &Path, engine: Engine) -> FileOutcome {
    let file = File::read(path).unwrap_or_else(|why| panic!("{why}"));
    // A path is walked in the world, and in no other engine.
    let engine = file.model().is_none().then_some(engine);
    coalmine::suite().run_file(file, engine, true).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn every_plan_gives_the_verdict_it_names() {
    let (plans, capsules) = (files(&folder("plans")), files(&folder("capsules")));
    assert!(plans.len() >= 13 && !capsules.is_empty(), "{plans:?}, {capsules:?}");
    for path in plans.into_iter().chain(capsules) {
        for engine in ENGINES {
            let FileOutcome { outcome, expected, .. } = run(&path, engine);
            let (story, unused) = (outcome.story.unwrap_or_default(), outcome.unused);
            let place = path.display();
            assert_eq!(Expected::of(&outcome.verdict), expected, "{place} under {engine}:\n{story}");
            assert!(unused.is_empty(), "{place} under {engine}: {unused:?}");
        }
    }
}

/// What a file says and a run does not come to is named, with its place.
#[test]
fn steps_that_are_not_carried_out_are_named() {
    let path = temporary("unused");
    let steps = [
        "at_ms = 1\nask = { to = 1, id = { client = 1, sequence = 1 }, \
         request = { start_rollout = { model = 'v2', steps_bp = [10000] } } }",
        "at_ms = 500\nfault = { crash = { node = 2, down_ms = 4000 } }",
        "at_ms = 600\nfault = { crash = { node = 2 } }",
        "at_ms = 700\nfault = { wipe = { node = 2 } }",
        "at_ms = 800\nfault = { pause = { node = 2, for_ms = 100 } }",
        "received = { node = 3, message = 'PrepareReq', nth = 1 }\nfault = { reset = { a = 1, b = 3 } }",
        "durable = { node = 3, record = 'Voted', nth = 9 }\nfault = { fail_sync = { node = 3 } }",
        "at_ms = 8999\nfault = { pause = { node = 2, for_ms = 100 } }",
    ];
    let steps = steps.map(|step| format!("[[plan.steps]]\n{step}\n"));
    let head = "scenario = 'rollout-chaos'\nverdict = 'passed'\n\
                [plan]\nheal_at_ms = 9000\nconverge_within_ms = 9000\n";
    std::fs::write(&path, head.to_owned() + &steps.concat()).expect("a temporary file can be written");
    for engine in ENGINES {
        let FileOutcome { outcome, .. } = run(&path, engine);
        // The wipe finds n2 down, and gives it a new disk all the same.
        assert_eq!(outcome.unused_steps, Some(vec![2, 4, 6]), "{engine}: {:?}", outcome.story);
        let told = [
            "plan.steps[2] (at 0.6 s: n2 crashes)",
            "plan.steps[4] (at 0.8 s: n2 stands still for 0.1 s)",
            "plan.steps[6] (when Voted is on the disk of n3, 9 times: the next sync of n3's disk fails)",
        ];
        assert_eq!(outcome.unused, told, "{engine}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
}

/// A verdict ends a run, and the rest of its plan or path does not take place.
#[test]
fn what_comes_after_the_verdict_is_not_carried_out() {
    let path = temporary("after");
    let after = |text: &str, step: &str| {
        let text = match text.strip_suffix("]\n") {
            Some(plan) => format!("{plan}{step}\n]\n"),
            None => format!("{text}\n{step}\n"),
        };
        std::fs::write(&path, text).expect("a temporary file can be written");
        File::read(&path).expect("it can be read")
    };
    let bug = chaos_of("forgetful-voter");
    for engine in ENGINES {
        let mut seeds = (0..5_000).filter(|&seed| bug.run(engine, seed, false).verdict != Verdict::Passed);
        let shrunk = bug.shrink(engine, seeds.next().expect("sweeps find it"), &mut |_| true);
        let shrunk = shrunk.expect("the seed fails");
        let step = "{ at_ms = 39999, fault = { crash = { node = 1 } } }";
        let outcome = bug.run_file(after(&shrunk.capsule, step), None, false).expect("it can be run").outcome;
        assert_eq!(Expected::of(&outcome.verdict), shrunk.expected);
        assert_eq!(outcome.unused_steps, Some(vec![shrunk.at.steps]), "{engine}:\n{}", shrunk.capsule);
    }

    let capsule = include_str!("../capsules/guessing-resolver.toml");
    let file = after(capsule, "[[steps]]\nboot = { node = 1 }");
    let FileOutcome { outcome, .. } =
        coalmine::suite().run_file(file, None, false).expect("it can be walked");
    assert_eq!((outcome.turns, outcome.unused_steps), (Some(8), Some(vec![8])));
    assert_eq!(outcome.unused, ["steps[8] (n1 starts)"]);
    std::fs::remove_file(&path).expect("the file is ours");
}

/// What each plan is there to show did take effect, in both engines.
#[test]
fn plans_do_what_they_say() {
    let shows = [
        ("clogged-votes", Effect::FrameClogged),
        ("reset-connections", Effect::ConnectionReset),
        ("coordinator-stands-still", Effect::Pause),
        ("hasty-clock", Effect::ClockFast),
        ("hasty-clock", Effect::FrameSlowed),
        ("slow-clock", Effect::ClockSlow),
        ("slow-clock", Effect::FrameCutByIsolation),
        ("votes-cut-off", Effect::FrameCutOneWay),
        ("participant-cut-off", Effect::FrameCutBothWays),
        ("coordinator-against-the-rest", Effect::FrameCutByHalves),
        ("bridge", Effect::FrameCutByBridge),
        ("ring-of-majorities", Effect::FrameCutByMajorityRing),
        ("clock-jump", Effect::ClockJump),
        ("slow-disk", Effect::SyncSlowed),
        ("failed-sync", Effect::SyncFailed),
        ("full-disk", Effect::DiskFull),
        ("killed-voter", Effect::Kill),
        ("killed-voter", Effect::UnsyncedWriteKept),
        ("killed-voter", Effect::UnsyncedWriteLost),
        ("bit-rot", Effect::BitRot),
        ("wiped-participant", Effect::DiskWiped),
        ("wiped-voter", Effect::DiskWiped),
        ("wiped-coordinator", Effect::DiskWiped),
        ("coordinator-excluded", Effect::DiskWiped),
        ("noisy-links", Effect::FrameLost),
        ("noisy-links", Effect::FrameDuplicated),
        ("noisy-links", Effect::FrameDelayed),
    ];
    for (name, effect) in shows {
        for engine in ENGINES {
            let effects = run(&folder("plans").join(format!("{name}.toml")), engine).outcome.effects;
            assert!(effects.of(effect) > 0, "{name} under {engine} should show {effect:?}: {effects:?}");
            // Each shape is a kind of its own.
            let cuts = CutKind::ALL.map(CutKind::effect);
            let others = cuts.iter().filter(|cut| **cut != effect && cuts.contains(&effect));
            assert!(others.clone().all(|cut| effects.of(*cut) == 0), "{name} under {engine}: {effects:?}");
        }
    }
}

/// The words of a story that only a certain fault can bring about.
#[test]
fn faults_are_seen_in_the_story() {
    let story = |name: &str, engine| {
        run(&folder("plans").join(format!("{name}.toml")), engine).outcome.story.unwrap_or_default()
    };
    let shows: [(&str, &[&str]); 13] = [
        ("asked-too-early", &["client ← n1: c1/1 accepted c1/1"]),
        ("clock-jump", &["aborted 1.1: no vote from"]),
        ("slow-disk", &["aborted 1.1: no vote from n2 in time"]),
        ("failed-sync", &["STOPS: journal: the disk could not sync"]),
        ("full-disk", &["STOPS: journal: no storage space"]),
        (
            "killed-voter",
            &[
                "—— the process of n2 is killed ——",
                "IS KILLED: of its unsynced records 1 are there still, although not durable, 0 are lost",
                "CRASHES: of its unsynced records 0 survive, 1 are lost",
            ],
        ),
        ("bit-rot", &["is damaged", "line "]),
        ("clogged-votes", &["is held by a clog", "aborted 1.1: no vote from n2, n3 in time"]),
        ("coordinator-stands-still", &["in doubt about 1.1"]),
        (
            "wiped-participant",
            &["n3 crashes and loses its disk", "is a member, and serves v1", "committed v3 by"],
        ),
        ("wiped-voter", &["in doubt about 1.1, acts as the resolver", "is a member, and serves v0"]),
        ("wiped-coordinator", &["granted generation 2", "committed v3 by 2:1.2"]),
        ("coordinator-excluded", &["EXCLUDED: n2 is in doubt about 1.1"]),
    ];
    for (name, words) in shows {
        for engine in ENGINES {
            let story = story(name, engine);
            for word in words {
                assert!(story.contains(word), "{name} under {engine} should tell of {word:?}:\n{story}");
            }
        }
    }
}

/// A plan that makes no sense is refused, and its seed fails.
#[test]
fn chaos_draws_no_plan_that_is_refused() {
    let chaos = coalmine::rollout::chaos::scenario();
    for seed in 0..10_000 {
        let checked = chaos.draw(seed).and_then(|plan| chaos.check(&plan));
        checked.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// A chaos that never draws a fault does not test it.
#[test]
fn chaos_exercises_every_fault_it_may_draw() {
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    for engine in ENGINES {
        let mut effects = Effects::default();
        for seed in 0..120 {
            effects.merge(&chaos.run(engine, seed, false).effects);
        }
        assert_eq!(effects.never(), [], "{engine}: {effects:?}");
    }
}

/// The plan of a seed, printed and read again, is the same run.
#[test]
fn a_printed_plan_replays_its_seed() {
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    let path = temporary("plan");
    for (engine, seed) in ENGINES.into_iter().flat_map(|engine| [0, 7, 23].map(|seed| (engine, seed))) {
        std::fs::write(&path, chaos.plan(engine, seed).expect("it can be drawn"))
            .expect("a temporary file can be written");
        let outcome = run(&path, engine).outcome;
        assert_eq!(outcome.digest, chaos.run(engine, seed, false).digest, "seed {seed}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
}

/// In order of time, each step on a line of its own. It names no verdict, since nobody has run it.
#[test]
fn a_printed_plan_can_be_read_from_top_to_bottom() {
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    let mut triggered = 0;
    for seed in 0..40 {
        let text = chaos.plan(Engine::Direct, seed).expect("it can be drawn");
        let (head, steps) = text.split_once("steps = [\n").expect("there are steps");
        let steps: Vec<_> = steps.strip_suffix("]\n").expect("they are the last").lines().collect();
        let drawn = coalmine::rollout::chaos::scenario().draw(seed).expect("it can be drawn");
        assert_eq!(steps.len(), drawn.steps.len(), "{text}");
        let at = |line: &&str| -> Option<u64> {
            line.strip_prefix("  { at_ms = ")?.split(',').next()?.parse().ok()
        };
        let times: Vec<_> = steps.iter().map_while(at).collect();
        assert!(times.is_sorted() && times.len() > 1, "{text}");
        let rest = &steps[times.len()..];
        assert!(
            rest.iter().all(|line| line.starts_with("  { received = ") || line.starts_with("  { durable = "))
        );
        triggered += rest.len();
        assert!(!head.contains("verdict"), "{head}");
    }
    assert!(triggered > 10, "only {triggered} steps without a time");
}

/// Such a plan is run to see what comes of it; a test must be told what it tests.
#[test]
fn a_plan_may_leave_out_its_verdict() {
    let whole = include_str!("../../scenarios/plans/bridge.toml");
    let text = whole.replace("verdict = \"passed\"\n", "");
    assert_ne!(text, whole);
    let path = temporary("no-verdict");
    std::fs::write(&path, &text).expect("a temporary file can be written");
    let FileOutcome { outcome, expected, .. } = run(&path, Engine::Direct);
    assert!(outcome.verdict == Verdict::Passed && !expected.is_said());
    let replayed = std::panic::catch_unwind(|| testing::replay(&coalmine::suite(), temporary("no-verdict")));
    let told = *replayed.expect_err("nothing is tested").downcast::<String>().expect("a message");
    for word in ["names no verdict", "it comes to passed", "write `verdict = \"passed\"` into it", " replay "]
    {
        assert!(told.contains(word), "{told}");
    }
    std::fs::write(&path, format!("invariant = 'agreement'\n{text}"))
        .expect("a temporary file can be written");
    let file = File::read(&path).expect("it can be read");
    let why = coalmine::suite().run_file(file, None, false).expect_err("a violated invariant is a verdict");
    assert!(why.contains("verdict: is missing beside `invariant`; there are: passed, violated"), "{why}");
    std::fs::remove_file(&path).expect("the file is ours");
}

/// TOML's numbers end at half of all seeds, and of what a client may call itself: the others are strings.
#[test]
fn the_largest_numbers_come_back() {
    let most = u64::MAX;
    let suite = coalmine::suite();
    let calm = suite.find_scenario("rollout-calm").expect("it ships");
    let path = temporary("most");
    let rerun = |text: &str| {
        std::fs::write(&path, text).expect("a temporary file can be written");
        run(&path, Engine::Direct).outcome
    };
    let plan = calm.plan(Engine::Direct, most).expect("it can be drawn");
    assert!(plan.contains(&format!("seed = \"{most}\"")), "{plan}");
    assert_eq!(rerun(&plan).digest, calm.run(Engine::Direct, most, false).digest);

    let ask = "[[plan.steps]]\nat_ms = 1\n\
               ask = { to = 1, request = { start_rollout = { model = 'v7', steps_bp = [10000], pause_ms = 0 } }, ";
    let head = "scenario = 'rollout-calm'\nverdict = 'passed'\n\
                [plan]\nheal_at_ms = 9000\nconverge_within_ms = 9000\n";
    let asked = rerun(&format!("{head}{ask}id = '{{\"client\":{most},\"sequence\":1}}' }}"));
    let story = asked.whole_story.expect("a story was asked for");
    assert!(story.contains(&format!("c{most}/1")), "{story}");

    let bug = chaos_of("sends-early");
    let failing = (0..2_000).map(|nth| most - nth);
    let seed =
        failing.into_iter().find(|&seed| bug.run(Engine::Direct, seed, false).verdict != Verdict::Passed);
    let shrunk = bug.shrink(Engine::Direct, seed.expect("sweeps find it"), &mut |at| at.runs < 20);
    std::fs::write(&path, shrunk.expect("the seed fails").capsule).expect("a temporary file can be written");
    let file = File::read(&path).expect("a capsule can be read");
    let FileOutcome { outcome, expected, .. } = bug.run_file(file, None, false).expect("it can be run");
    assert_eq!(Expected::of(&outcome.verdict), expected);
    std::fs::remove_file(&path).expect("the file is ours");
}

/// Whatever seed a mistake is found by, what is left of its plan can be taken in at a glance, and breaks the same
/// invariant.
fn shrinks(mistake: Mistake, engine: Engine, seed: u64) {
    let chaos = chaos_of(mistake.name());
    let found = Expected::of(&chaos.run(engine, seed, false).verdict);
    let shrunk = chaos.shrink(engine, seed, &mut |_| true).expect("the seed fails");
    let capsule = &shrunk.capsule;
    // To lose a disk at the right moment takes four rollouts and three faults, as far as is known.
    let most = if mistake == Mistake::JoinsUnasked { 7 } else { 6 };
    assert!(shrunk.at.steps <= most, "{mistake:?}, seed {seed}, {} runs:\n{capsule}", shrunk.at.runs);
    // The capsule is a file that gives the same verdict where the mistake is made, as it says, and nowhere else.
    let path = temporary(&format!("{}-{engine}-{seed}", mistake.name()));
    let run = |text: &str| {
        std::fs::write(&path, text).expect("a temporary file can be written");
        let file = File::read(&path).expect("a capsule can be read");
        coalmine::suite().run_file(file, None, false).expect("a capsule can be run")
    };
    let ran = run(capsule);
    assert_eq!(ran.engine, engine, "it names its engine");
    assert_eq!(Expected::of(&ran.outcome.verdict), found, "{mistake:?}, seed {seed}:\n{capsule}");
    assert_eq!((&ran.expected, &shrunk.expected), (&found, &found));
    let sound = run(&capsule.replace(&format!("mistake = \"{}\"\n", mistake.name()), ""));
    assert_eq!(sound.outcome.verdict, Verdict::Passed, "the sound node survives the same plan");
    std::fs::remove_file(&path).expect("the file is ours");
}

/// The first ten seeds of each, but for the one that takes a disk lost at the one right moment.
#[test]
fn whatever_seed_finds_a_mistake_shrinks_to_six_steps() {
    for mistake in Mistake::ALL {
        let is_rare = mistake == Mistake::JoinsUnasked;
        // Nothing judges the rollouts of this scenario.
        let is_elsewhere = mistake.is_about_gates() || mistake.is_about_members();
        let is_elsewhere = is_elsewhere || mistake.is_about_regions();
        if is_elsewhere || mistake.is_about_succession() || mistake.is_about_snapshots() {
            continue;
        }
        let (seeds, least) = if is_rare { (15_000..16_000, 1) } else { (0..3_000, 3) };
        let chaos = chaos_of(mistake.name());
        let fails = |seed: &u64| chaos.run(Engine::Direct, *seed, false).verdict != Verdict::Passed;
        let found: Vec<_> = seeds.filter(fails).take(10).collect();
        assert!(found.len() >= least, "{mistake:?} is found by {found:?}");
        found.into_iter().for_each(|seed| shrinks(mistake, Engine::Direct, seed));
    }
}

/// Some fail by the chance that a dozen steps make: to leave steps out is not enough for them.
#[test]
fn what_hangs_on_chance_shrinks_to_six_steps() {
    for seed in [218, 738, 938] {
        shrinks(Mistake::CountsAnyVote, Engine::Direct, seed);
    }
}

#[test]
fn errors_in_files_name_the_file_and_the_place() {
    let path = temporary("bad");
    let suite = coalmine::suite();
    let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
    let warn = |text: &str| {
        std::fs::write(&path, text).expect("a temporary file can be written");
        let file = match File::read(&path) {
            Ok(file) => file,
            Err(why) => return why,
        };
        chaos.run_file(file, None, false).map(|_| ()).expect_err("the file is bad")
    };
    let head = "scenario = 'rollout-chaos'\nverdict = 'passed'\n";
    let plan = "[plan]\nheal_at_ms = 1\nconverge_within_ms = 1\n";
    let cases = [
        ("not toml at all [".to_owned(), "TOML parse error"),
        (format!("{head}typo = 1\n{plan}steps = []"), "unknown key `typo`"),
        (format!("{head}{plan}steps = [{{ at_ms = 1, falut = 1 }}]"), "plan.steps[0]: must have one of"),
        (format!("{head}{plan}steps = [{{ at_ms = 1, fault = {{ crush = 1 }} }}]"), "crush"),
        (format!("{head}{plan}"), "missing field `steps`"),
        (
            format!("{head}{plan}steps = [{{ at_ms = 1, fault = {{ crash = {{ node = 9 }} }} }}]"),
            "plan.steps[0]: n9 is not a member of this system; there are: n1, n2, n3",
        ),
        (format!("{head}{plan}members = 0\nsteps = []"), "plan.members: 0 is not in 1..=64"),
        (format!("{head}{plan}members = 100000\nsteps = []"), "plan.members: 100000 is not in 1..=64"),
    ];
    for (text, expected) in cases {
        let why = warn(&text);
        assert!(why.contains(expected) && why.contains("coalmine-bad"), "{why}");
    }
    // Steps that cannot happen, or do nothing.
    let day = 86_400_000;
    let plan = "[plan]\nheal_at_ms = 9000\nconverge_within_ms = 9000\n";
    let crash = "fault = { crash = { node = 2 } }";
    let steps = [
        (
            format!("received = {{ node = 2, message = 'PREPARE_REQ', nth = 1 }}, {crash}"),
            "received.message: there is no \"PREPARE_REQ\"; there are: PrepareReq, PrepareResp, ".to_owned(),
        ),
        (
            format!("durable = {{ node = 2, record = 'voted', nth = 1 }}, {crash}"),
            "durable.record: there is no \"voted\"; there are: ".to_owned(),
        ),
        (
            format!("received = {{ node = 2, message = 'PrepareReq', nth = 0 }}, {crash}"),
            "received.nth: 0 is not in 1..=".to_owned(),
        ),
        (
            format!("durable = {{ node = 2, record = 'Voted', nth = 0 }}, {crash}"),
            "durable.nth: 0 is not in 1..=".to_owned(),
        ),
        (format!("at_ms = 9000, {crash}"), "at_ms: 9000 is not before heal_at_ms, 9000".to_owned()),
    ];
    let faults = [
        ("crash = { node = 2, down_ms = 86400001 }", format!("down_ms: 86400001 is not in 0..={day}")),
        ("pause = { node = 2, for_ms = 9223372036854775807 }", "for_ms: 9223372036854775807 is not".into()),
        ("clock_jump = { node = 2, by_ms = 86400001 }", "by_ms: 86400001 is not in".into()),
        ("clock = { node = 2, percent = 0, for_ms = 1 }", "percent: 0 is not in 1..=10000".into()),
        ("clock = { node = 2, percent = 4294967295, for_ms = 1 }", "percent: 4294967295 is not in".into()),
        ("bit_rot = { node = 2, permille = 1001 }", "permille: 1001 is not in 0..=1000".into()),
        ("cut = { from = [], to = [1], both_ways = true, for_ms = 1 }", "from, to: there is no link".into()),
        ("cut = { from = [1], to = [1], both_ways = true, for_ms = 1 }", "from, to: there is no link".into()),
        ("clog = { from = [1], to = [], for_ms = 1 }", "from, to: there is no link".into()),
        ("slow_link = { from = [], to = [], delay_ms = 1, for_ms = 1 }", "from, to: there is no link".into()),
        (
            "slow_link = { from = [1], to = [2], delay_ms = 86400001, for_ms = 1 }",
            "delay_ms: 86400001 is not".into(),
        ),
        ("partition = { shape = { halves = { group = [] } }, for_ms = 1 }", "group: 0 of 3 members".into()),
        ("reset = { a = 2, b = 2 }", "a, b: n2 has no connection to itself".into()),
    ];
    let faults = faults.map(|(fault, why)| (format!("at_ms = 1, fault = {{ {fault} }}"), why));
    for (step, expected) in steps.into_iter().chain(faults) {
        let why = warn(&format!("{head}{plan}steps = [{{ {step} }}]"));
        assert!(
            why.contains(&format!("coalmine-bad-{}.toml: plan.steps[0]: {expected}", std::process::id())),
            "{why}"
        );
    }
    for (shape, members, least) in
        [("'majority_ring'", 2, 3), ("{ bridge = { node = 1 } }", 2, 3), ("{ isolate = { node = 1 } }", 1, 2)]
    {
        let step = format!("at_ms = 1, fault = {{ partition = {{ shape = {shape}, for_ms = 1 }} }}");
        let text = |members| format!("{head}{plan}members = {members}\nsteps = [{{ {step} }}]");
        let why = warn(&text(members));
        let name = shape.trim_matches(|c: char| !c.is_alphabetic()).split(' ').next().expect("a word");
        let expected =
            format!("plan.steps[0]: shape: {name} cuts nothing among {members} members, it takes {least}");
        assert!(why.contains(&expected) && why.contains("coalmine-bad"), "{why}");
        std::fs::write(&path, text(least)).expect("a temporary file can be written");
        let file = File::read(&path).expect("it can be read");
        chaos.run_file(file, Some(Engine::Direct), false).expect("so many members are enough");
    }
    let times = "heal_at_ms = 1\nconverge_within_ms = 1\n";
    let whole = [
        (
            format!("{head}[plan]\n{}steps = []", times.replacen('1', "86400001", 1)),
            "plan.heal_at_ms: 86400001",
        ),
        (
            format!("{head}{plan}steps = []\n[plan.links]\nloss_permille = 5000"),
            "plan.links.loss_permille: 5000",
        ),
        (
            format!("{head}{plan}steps = []\n[plan.links]\nloss_permille = -5"),
            "plan.links.loss_permille: invalid value: integer `-5`, expected u32",
        ),
        (
            format!("{head}{plan}steps = [{{ at_ms = 1, fault = {{ crash = {{ node = 'x' }} }} }}]"),
            "plan.steps[0]: invalid type: string \"x\", expected u32",
        ),
        (
            format!("{head}{plan}steps = []").replace("'passed'", "'pased'"),
            "verdict: there is no \"pased\"; there are",
        ),
    ];
    for (text, expected) in whole {
        let why = warn(&text);
        assert!(why.contains(expected) && why.contains("coalmine-bad"), "{why}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
    assert!(File::read(Path::new("no-such.toml")).unwrap_err().contains("no-such.toml"));
    // What is wrong is told once, in the words of the form that the file has.
    let neither = File::read(Path::new("../README.md")).unwrap_err();
    assert!(neither.starts_with("../README.md: as TOML: ") && !neither.contains("JSON"), "{neither}");
}

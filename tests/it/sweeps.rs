//! Sweeps in parts: what is interrupted goes on, what is sharded adds up, and what does not fit together is
//! refused by name. Most of it runs on a scenario that is nothing but arithmetic; whole processes are this
//! test's own binary, called again as a command line.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coalmine_sim::files::capsule::File;
use coalmine_sim::panics::Panic;
use coalmine_sim::shrink::Shrinking;
use coalmine_sim::spec::faults::Effects;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyScenario, FileOutcome, Outcome, Shrunk, Steps, Suite};
use coalmine_sim::sweep::merge::{merge, read};
use coalmine_sim::sweep::times::Times;
use coalmine_sim::sweep::{Shard, SweepOptions, SweepPart, SweepReport, sweep, sweep_part};
use coalmine_sim::verify::Verified;
use proptest::prelude::*;
use serde_json::Value;

/// What comes of a seed is computed from it.
struct Arithmetic {
    name: &'static str,
    fails: fn(u64) -> bool,
    /// How it ends instead, in one engine or in both.
    ends: fn(Engine, u64) -> Option<Verdict>,
    takes: Duration,
    build: u64,
}

impl AnyScenario for Arithmetic {
    fn system(&self) -> TypeId {
        TypeId::of::<Self>()
    }
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "Nothing but arithmetic."
    }

    fn run(&self, engine: Engine, seed: u64, _story: bool) -> Outcome {
        std::thread::sleep(self.takes);
        let why = || format!("seed {seed} is one of those");
        let verdict = if (self.fails)(seed) { Verdict::NotConverged { why: why() } } else { Verdict::Passed };
        let verdict = (self.ends)(engine, seed).unwrap_or(verdict);
        Outcome {
            verdict,
            digest: seed ^ self.build,
            events: 1 + seed % 97,
            simulated: Duration::from_nanos(1_000_000_007 * (1 + seed % 13)),
            turns: None,
            wall: self.takes,
            effects: Effects::default(),
            steps: coalmine_sim::suite::steps::StepCounts::default(),
            unused_steps: None,
            unused: Vec::new(),
            converged_after: None,
            unanswered: Vec::new(),
            story: None,
            whole_story: None,
            page: None,
            recordings: BTreeMap::new(),
        }
    }

    fn run_with_steps(&self, engine: Engine, seed: u64) -> (Outcome, Steps) {
        (self.run(engine, seed, false), Box::new(Vec::new))
    }

    fn plan(&self, _engine: Engine, _seed: u64) -> Result<String, String> {
        Err("arithmetic has no plans".into())
    }

    fn run_file(&self, _file: File, _engine: Option<Engine>, _story: bool) -> Result<FileOutcome, String> {
        Err("arithmetic has no plans".into())
    }

    fn verify(&self, _files: &[PathBuf], _page: bool) -> Result<Verified, String> {
        Err("arithmetic has no recordings".into())
    }

    fn shrink(
        &self,
        _engine: Engine,
        _seed: u64,
        _go_on: &mut dyn FnMut(Shrinking) -> bool,
    ) -> Option<Shrunk> {
        None
    }
}

fn quick(fails: fn(u64) -> bool) -> Arithmetic {
    Arithmetic { name: "quick", fails, ends: |_, _| None, takes: Duration::ZERO, build: 1 }
}

fn options(seeds: std::ops::Range<u64>) -> SweepOptions {
    SweepOptions { jobs: 2, max_failures: usize::MAX, ..SweepOptions::of(seeds) }
}

fn one_in_seven(seed: u64) -> bool {
    seed.is_multiple_of(7)
}

/// A report without what depends on the clock.
fn facts(report: &SweepReport) -> Value {
    let mut value = serde_json::to_value(report).expect("plain data");
    let fields = value.as_object_mut().expect("an object");
    for field in ["wall_s", "shard", "probe"] {
        fields.remove(field);
    }
    value
}

/// A folder that is there for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("coalmine-sweeps-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read_text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a readable file")
}

mod parts {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        #[test]
        fn shards_are_disjoint_and_complete(start in 0..=u64::MAX, size in 0..=u64::MAX, count in 1u32..200) {
            let seeds = start..start.saturating_add(size);
            let mut next = seeds.start;
            let mut sizes = Vec::new();
            for index in 0..count {
                let part = Shard::new(index, count).expect("in range").of(&seeds);
                prop_assert_eq!(part.start, next);
                sizes.push(part.end - part.start);
                next = part.end;
            }
            prop_assert_eq!(next, seeds.end);
            let (least, most) = (sizes.iter().min().expect("one"), sizes.iter().max().expect("one"));
            prop_assert!(most - least <= 1, "{}..{}", least, most);
        }

        #[test]
        fn merged_shards_are_the_whole(start in 0..1_000u64, size in 1..300u64, count in 1..9u32) {
            let (scenario, options) = (quick(one_in_seven), options(start..start + size));
            let mut outputs = Vec::new();
            for index in 0..count {
                let shard = Shard::new(index, count).ok();
                let part = SweepPart { shard, ..SweepPart::default() };
                let report = sweep_part(&scenario, &options, &part, &|_, _| {}).expect("no checkpoint");
                outputs.push(serde_json::to_string(&report).expect("plain data"));
            }
            outputs.rotate_left(count as usize / 2);
            let pieces = read("all", outputs.join("\n").as_bytes()).expect("reports");
            let merged = merge(pieces).expect("parts of a whole");
            prop_assert_eq!(merged.unfinished, Vec::<String>::new());
            prop_assert_eq!(merged.reports.len(), 1);
            let whole = sweep(&scenario, &options, &|_, _| {});
            prop_assert_eq!(facts(&merged.reports[0]), facts(&whole));
        }
    }

    #[test]
    fn real_shards_are_the_real_whole() {
        let suite = coalmine::suite();
        let chaos = suite.find_scenario("rollout-chaos").expect("it ships");
        let mut outputs = String::new();
        for index in 0..3 {
            let part = SweepPart { shard: Shard::new(index, 3).ok(), ..SweepPart::default() };
            let report = sweep_part(chaos, &options(5..25), &part, &|_, _| {}).expect("no checkpoint");
            outputs += &format!("{}\n", serde_json::to_string(&report).expect("plain data"));
        }
        let merged = merge(read("all", outputs.as_bytes()).expect("reports")).expect("parts of a whole");
        assert_eq!(facts(&merged.reports[0]), facts(&sweep(chaos, &options(5..25), &|_, _| {})));
    }
}

mod checkpoints {
    use super::*;

    fn with_file(file: &Path) -> SweepPart {
        SweepPart { checkpoint: Some(file.to_owned()), ..SweepPart::default() }
    }

    /// Sweeps and stops once so many seeds are done.
    fn stop_after(file: &Path, options: &SweepOptions, seeds: u64) -> SweepReport {
        let part = with_file(file);
        let stop = Arc::clone(&part.stop);
        let progress = move |done, _| stop.store(done >= seeds, Ordering::Relaxed);
        sweep_part(&quick(one_in_seven), options, &part, &progress).expect("a sound checkpoint")
    }

    #[test]
    fn a_sweep_in_sittings_is_the_whole() {
        let folder = Folder::new("sittings");
        let (file, options) = (folder.file("sweep.json"), options(3..2_003));
        let mut before = 0;
        for goal in [1, 700, 701, 1_500] {
            let report = stop_after(&file, &options, goal);
            assert!(report.interrupted && report.ran() >= goal && report.resumed == before, "{report:?}");
            before = report.ran();
        }
        let size = std::fs::metadata(&file).expect("it was written").len();
        assert!(size < 60_000, "failures are kept, seeds are not: {size} bytes");
        let last = stop_after(&file, &options, u64::MAX);
        assert_eq!(last.resumed, before);
        let whole = sweep(&quick(one_in_seven), &options, &|_, _| {});
        assert_eq!(facts(&last), facts(&whole));
        // A sweep that is done is only told again.
        let again = stop_after(&file, &options, u64::MAX);
        assert_eq!((again.resumed, facts(&again)), (2_000, facts(&whole)));
        let left: Vec<_> = std::fs::read_dir(&folder.0).expect("ours").collect();
        assert_eq!(left.len(), 1, "nothing is left beside the checkpoint: {left:?}");
    }

    #[test]
    fn enough_failures_stop_a_sweep_until_more_are_asked_for() {
        let folder = Folder::new("enough");
        let file = folder.file("sweep.json");
        let some = |most| SweepOptions { max_failures: most, jobs: 1, ..options(0..100) };
        let failed = |options| stop_after(&file, &options, u64::MAX).failed;
        assert_eq!(failed(some(1)), [0]);
        assert_eq!(failed(some(1)), [0]);
        assert_eq!(failed(some(3)), [0, 7, 14]);
        assert_eq!(failed(some(100)).len(), 15);
    }

    /// What a sweep says of a checkpoint that another wrote, or that was changed.
    fn refusal(file: &Path, scenario: &Arithmetic, options: &SweepOptions, shard: Option<Shard>) -> String {
        let part = SweepPart { shard, ..with_file(file) };
        let before = std::fs::read(file).expect("it is there");
        let why = sweep_part(scenario, options, &part, &|_, _| {}).expect_err("it should be refused");
        assert_eq!(std::fs::read(file).expect("it is there"), before, "what is refused is left alone");
        why.to_string()
    }

    #[test]
    fn a_checkpoint_of_another_sweep_is_refused_by_field() {
        let folder = Folder::new("mismatch");
        let (file, ours) = (folder.file("sweep.json"), options(0..50));
        stop_after(&file, &ours, 20);
        let same = || quick(one_in_seven);
        let twice = SweepOptions { check_determinism: true, ..ours.clone() };
        let cases = [
            (Arithmetic { name: "other", ..same() }, ours.clone(), None, "scenario", "\"quick\""),
            (same(), options(0..51), None, "seeds", "\"0..51\""),
            (same(), ours.clone(), Shard::new(0, 2).ok(), "shard", "\"0/2\""),
            (same(), twice, None, "check_determinism", "true"),
            (Arithmetic { build: 2, ..same() }, ours.clone(), None, "probe", "0000000000000001"),
        ];
        for (scenario, options, shard, field, value) in cases {
            let why = refusal(&file, &scenario, &options, shard);
            let name = file.display().to_string();
            for word in [&name, &format!("`{field}`"), value] {
                assert!(why.contains(word), "{word}: {why}");
            }
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let folder = Folder::new("damaged");
        let (file, ours) = (folder.file("sweep.json"), options(0..50));
        stop_after(&file, &ours, 20);
        let sound = read_text(&file);
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        let cases = [
            (String::new(), "EOF"),
            (sound[..sound.len() / 2].to_owned(), "EOF"),
            ("seeds\n".into(), "expected value"),
            (sound.replace("\"events\": ", "\"events\": 1"), "checksum"),
            (sound.replace("\"seed\": 7,", "\"seed\": 8,"), "checksum"),
            (sound.replace(&version, "\"version\": \"9.9.9\""), "checksum"),
            (sound.replace("\"events\"", "\"evenst\""), "evenst"),
            (sound.replace("\"format\": 3", "\"format\": 4"), "`format` is 4"),
            (sound.replace("\"0..", "\"99.."), "holds no seed"),
        ];
        for (text, word) in cases {
            assert_ne!(text, sound);
            folder.write("sweep.json", &text);
            let why = refusal(&file, &quick(one_in_seven), &ours, None);
            assert!(why.contains(word) && why.contains("sweep.json"), "{word}: {why}");
        }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_is_said_before_the_work() {
        let folder = Folder::new("unwritable");
        std::fs::write(folder.file("nowhere"), "no folder").expect("a temporary file can be written");
        let part = with_file(&folder.file("nowhere/sweep.json"));
        let most = std::sync::atomic::AtomicU64::new(0);
        let count = |done, _| {
            most.fetch_max(done, Ordering::Relaxed);
        };
        let why = sweep_part(&quick(one_in_seven), &options(0..50), &part, &count).expect_err("no folder");
        let why = why.to_string();
        assert!(why.contains("the checkpoint") && why.contains("nowhere/sweep.json"), "{why}");
        assert_eq!(most.into_inner(), 0);
    }
}

mod merging {
    use super::*;

    fn report(scenario: &str, seeds: &str, shard: Option<&str>) -> String {
        let seeds = seeds.parse::<coalmine_sim::sweep::Seeds>().expect("seeds");
        let shard = shard.map(|shard| shard.parse::<Shard>().expect("a shard"));
        let part = shard.map_or(seeds.range(), |shard| shard.of(&seeds.range()));
        let report = SweepReport {
            scenario: scenario.into(),
            engine: "arithmetic".into(),
            seeds,
            shard,
            probe: shard.map(|_| "0123".into()),
            interrupted: false,
            passed: part.end - part.start,
            failed: Vec::new(),
            failures: Vec::new(),
            converged_after: Times::default(),
            effects: Effects::default(),
            steps: coalmine_sim::suite::steps::StepCounts::default(),
            capsule: None,
            events: 5,
            simulated_s: 1.25,
            wall_s: 0.5,
            resumed: 0,
            confirmed: Vec::new(),
            unsaved: None,
        };
        serde_json::to_string(&report).expect("plain data")
    }

    /// Merges files `a`, `b`, … of these texts.
    fn merge_texts(texts: &[String]) -> Result<coalmine_sim::sweep::merge::Merged, String> {
        let mut pieces = Vec::new();
        for (text, name) in texts.iter().zip(["a", "b", "c", "d"]) {
            pieces.extend(read(name, text.as_bytes()).map_err(|why| why.to_string())?);
        }
        merge(pieces).map_err(|why| why.to_string())
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_file_and_line() {
        let x = |seeds: &str, shard| report("x", seeds, shard);
        let other_build = x("0..9", Some("1/2")).replace("0123", "4567");
        let other_engine = x("0..9", Some("1/2")).replace("arithmetic", "madsim");
        let cases: [(Vec<String>, &[&str]); 14] = [
            (vec![x("0..9", Some("0/3"))], &["no file reports shard 1/3, 2/3 of seeds 0..9 of x"]),
            (
                vec![x("0..9", Some("1/2")), x("0..9", Some("0/2")), x("0..9", Some("1/2"))],
                &["a:1 and c:1 both report shard 1/2 of seeds 0..9"],
            ),
            (vec![x("0..9", None), x("0..9", None)], &["a:1 and b:1 both report seeds 0..9"]),
            (vec![x("0..9", Some("0/2")), x("0..9", Some("1/3"))], &["a:1 has shard 0/2", "b:1 has 1/3"]),
            (vec![x("0..9", None), x("0..9", Some("0/2"))], &["a:1", "b:1", "0..4 are in both"]),
            (vec![x("0..9", None), x("5..12", None)], &["a:1", "b:1", "seeds 5..9 are in both"]),
            (vec![x("0..9", None), x("2..5", None)], &["seeds 2..5 are in both"]),
            (vec![x("0..9", None), x("12..20", None)], &["no file reports seeds 9..12 of x", "a:1", "b:1"]),
            (
                vec![x("0..9", Some("0/2")), format!("hello\n\n{}", report("y", "0..9", Some("1/2")))],
                &["a:1 has scenario x, but b:3 has y"],
            ),
            (vec![x("0..9", Some("0/2")), other_build], &["a:1 has probe 0123, but b:1 has 4567"]),
            (vec![x("0..9", Some("0/2")), other_engine], &["engine arithmetic, but b:1 has madsim"]),
            (vec!["all is well\n{\"model\":\"twophase\"}\n".into()], &["a holds no report"]),
            (vec![format!("one\n{}", &x("0..9", None)[..40])], &["a:2: not a report", "EOF"]),
            (
                vec![x("0..9", None).replace("\"passed\":9", "\"passed\":10")],
                &["a:1", "10 seeds were run, but there are 9"],
            ),
        ];
        for (texts, words) in cases {
            let why = merge_texts(&texts).expect_err("it should be refused");
            for word in words {
                assert!(why.contains(word), "{word:?} should be in: {why}");
            }
        }
    }

    #[test]
    fn hostile_numbers_are_refused() {
        let sound = report("x", "0..9", None);
        for (from, to) in [
            ("\"simulated_s\":1.25", "\"simulated_s\":-1"),
            ("\"simulated_s\":1.25", "\"simulated_s\":1e300"),
            ("\"passed\":9", "\"passed\":18446744073709551615"),
            ("\"failed\":[]", "\"failed\":[3]"),
            ("\"seeds\":\"0..9\"", "\"seeds\":\"9..0\""),
            ("\"failed\":[]", "\"shard\":\"7/3\",\"failed\":[]"),
        ] {
            let text = sound.replace(from, to);
            assert_ne!(text, sound);
            merge_texts(&[text]).expect_err(to);
        }
    }

    #[test]
    fn neighbouring_sweeps_make_one() {
        let x = |seeds, shard| report("x", seeds, shard);
        let both = [x("0..9", Some("1/2")), x("0..9", Some("0/2"))].join("\nnoise\n");
        let merged = merge_texts(&[x("9..20", None), both]).expect("neighbours");
        let sum = &merged.reports[0];
        assert_eq!((sum.seeds.to_string().as_str(), sum.passed, sum.events), ("0..20", 20, 15));
        assert_eq!((sum.shard, sum.simulated_s), (None, 3.75));
        // What was merged can be merged.
        let again = [serde_json::to_string(sum).expect("plain data"), x("20..21", None)];
        assert_eq!(merge_texts(&again).expect("neighbours").reports[0].passed, 21);
    }

    #[test]
    fn sweeps_of_all_scenarios_are_merged_scenario_by_scenario() {
        let shard = |shard| {
            let of = |name| report(name, "0..10", Some(shard));
            [of("x"), of("y"), of("all").replace("\"passed\":5", "\"passed\":10")].join("\n")
        };
        let merged = merge_texts(&[shard("0/2"), shard("1/2")]).expect("two halves");
        let told: Vec<_> = merged.reports.iter().map(|it| (it.scenario.as_str(), it.passed)).collect();
        assert_eq!(told, [("x", 10), ("y", 10), ("all", 20)]);
        // One of them lacks a scenario.
        let half: Vec<_> = shard("1/2").lines().skip(1).map(str::to_owned).collect();
        let why = merge_texts(&[shard("0/2"), half.join("\n")]).expect_err("x is not whole");
        assert!(why.contains("no file reports shard 1/2 of seeds 0..10 of x"), "{why}");
    }

    #[test]
    fn parts_that_were_not_run_to_their_ends_are_named() {
        let part =
            report("x", "0..10", Some("1/2")).replace("\"passed\":5", "\"interrupted\":true,\"passed\":3");
        let merged = merge_texts(&[report("x", "0..10", Some("0/2")), part]).expect("both are there");
        assert!(merged.reports[0].interrupted);
        let told = "b:1: x, shard 1/2 of seeds 0..10, was interrupted after 3 of 5 seeds";
        assert_eq!(merged.unfinished, [told]);
    }
}

mod processes {
    use super::*;

    const ARGS: &str = "COALMINE_TEST_ARGS";
    const SELF: &str = "sweeps::processes::a_command_line";

    fn suite() -> Suite {
        let mut suite = Suite::default();
        let slow = Arithmetic { name: "slow", takes: Duration::from_millis(2), ..quick(|_| false) };
        suite.scenarios.push(Box::new(slow));
        let failing = Arithmetic { name: "failing", fails: |seed| seed == 61, ..quick(one_in_seven) };
        suite.scenarios.push(Box::new(failing));
        let two_minded = Arithmetic { name: "two-minded", ends: two_minded, ..quick(|_| false) };
        suite.scenarios.push(Box::new(two_minded));
        let panicking = Arithmetic { name: "panicking", ends: panicking, ..quick(|_| false) };
        suite.scenarios.push(Box::new(panicking));
        suite
    }

    /// Each engine finds fault with a seed of its own.
    fn two_minded(engine: Engine, seed: u64) -> Option<Verdict> {
        let violated = || Verdict::Violated { invariant: "agreement".into(), why: "two minds".into() };
        match (engine, seed) {
            (Engine::Direct, 3) => Some(violated()),
            (Engine::Madsim, 5) => Some(Verdict::NotConverged { why: "it ponders".into() }),
            (Engine::Madsim | Engine::Direct, _) => None,
        }
    }

    fn panicking(_: Engine, seed: u64) -> Option<Verdict> {
        (seed == 4).then(|| Verdict::Panicked(Panic::without_place("n2 divides by zero")))
    }

    #[test]
    fn engines_that_differ_fail_the_sweep_and_the_line_names_the_engine_that_shows_it() {
        let output = run("sim two-minded --seeds 0..5 --engine both --no-shrink");
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "as the engine that fails has it: {told}");
        let why = "seed 3: the engines differ: under madsim passed; in the direct engine invariant agreement is violated";
        assert!(told.contains(why) && told.contains("4 passed, 1 failed"), "{told}");
        assert!(told.contains("-- replay two-minded --seed 3 --engine direct\n"), "{told}");

        let output = run("sim two-minded --seeds 4..7 --engine both --no-shrink");
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(
            told.contains("under madsim did not converge: it ponders; in the direct engine passed"),
            "{told}"
        );
        assert!(told.contains("-- replay two-minded --seed 5\n"), "{told}");

        let output = run("sim two-minded --seeds 3..4 --engine both --no-shrink --format json");
        let verdict = &last(&output)["failures"][0];
        assert_eq!(verdict["verdict"], "engines_differ", "{verdict}");
        assert_eq!(verdict["madsim"]["verdict"], "passed");
        assert_eq!(verdict["direct"]["verdict"], "violated");
        assert_eq!(run("sim two-minded --seeds 0..5").status.code(), Some(0), "one engine alone");
    }

    #[test]
    fn a_node_that_panics_has_an_exit_code_of_its_own() {
        let output = run("sim panicking --seeds 0..10 --no-shrink");
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(4), "{told}");
        assert!(told.contains("seed 4: panicked: n2 divides by zero"), "{told}");
        assert!(told.contains("-- replay panicking --seed 4\n"), "{told}");
        assert_eq!(run("replay panicking --seed 4").status.code(), Some(4));
    }

    /// Not a test but the process that the tests below start: this binary, as a command line.
    #[test]
    fn a_command_line() {
        if let Ok(args) = std::env::var(ARGS) {
            let args = ["coalmine"].into_iter().chain(args.split_whitespace()).map(str::to_owned);
            std::process::exit(coalmine_sim::cli::main_from(&suite(), args).into());
        }
    }

    fn start(args: &str, environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args([SELF, "--exact", "--nocapture", "--quiet"]).env(ARGS, args);
        command.envs(environment.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the test can run itself")
    }

    fn run(args: &str) -> Output {
        start(args, &[]).wait_with_output().expect("it ends")
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    /// The object in the last line.
    fn last(output: &Output) -> Value {
        let stdout = text(&output.stdout);
        let line = stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {stdout}{}", text(&output.stderr)))
    }

    /// Starts a sweep and signals it once its checkpoint is there and it has had time for some seeds.
    fn interrupted(args: &str, file: &Path, signal: &str) -> Output {
        let child = start(args, &[]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            assert!(Instant::now() < deadline, "no checkpoint appeared");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("there is a kill").success());
        child.wait_with_output().expect("it ends")
    }

    #[test]
    fn ctrl_c_saves_what_is_known_and_the_sweep_goes_on() {
        let folder = Folder::new("ctrl-c");
        let file = folder.file("sweep.json");
        let args = format!("sim slow --seeds 0..400 --jobs 2 --checkpoint {}", file.display());
        let output = interrupted(&format!("{args} --format json"), &file, "-INT");
        assert_eq!(output.status.code(), Some(128 + 2), "{}", text(&output.stderr));
        let part = last(&output);
        assert_eq!(part["interrupted"], true);
        let passed = part["passed"].as_u64().expect("a number");
        assert!(0 < passed && passed < 400, "{part}");

        let output = run(&format!("{args} --format json"));
        assert!(text(&output.stderr).contains(&format!("{passed} of 400 seeds were known")));
        let whole = last(&run("sim slow --seeds 0..400 --format json"));
        for field in ["passed", "failed", "events", "simulated_s", "interrupted"] {
            assert_eq!(last(&output)[field], whole[field], "{field}");
        }
    }

    #[test]
    fn an_interruption_is_said_in_words_and_a_scheduler_is_not_told_that_all_is_well() {
        let folder = Folder::new("term");
        let file = folder.file("sweep.json");
        let args = format!("sim slow --seeds 0..20000 --checkpoint {}", file.display());
        let output = interrupted(&args, &file, "-TERM");
        assert_eq!(output.status.code(), Some(128 + 15));
        let told = text(&output.stdout);
        assert!(told.contains("interrupted after") && told.contains("of 20,000 seeds"), "{told}");
    }

    #[test]
    fn shards_from_the_environment_are_merged_to_the_whole() {
        let folder = Folder::new("merge");
        let mut files = String::new();
        for index in ["0", "1", "2"] {
            let environment = [("JOB_COMPLETION_INDEX", index), ("COALMINE_SHARDS", "3")];
            let child = start("sim failing --seeds 0..100 --shard env --format json", &environment);
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(last(&output)["shard"], format!("{index}/3"));
            assert_eq!(output.status.code(), Some(if index == "1" { 3 } else { 0 }));
            // Everything that was printed, the test runner's own lines too.
            let file = folder.write(&format!("{index}.txt"), &text(&output.stdout));
            files += &format!(" {}", file.display());
        }
        let merged = run(&format!("merge{files} --format json"));
        let whole = run("sim failing --seeds 0..100 --format json");
        for output in [&merged, &whole] {
            assert_eq!(output.status.code(), Some(3), "seed 61 does not converge");
        }
        let without_clock = |output| {
            let mut value = last(output);
            value.as_object_mut().expect("an object").remove("wall_s");
            value
        };
        assert_eq!(without_clock(&merged), without_clock(&whole));
        let told = text(&run(&format!("merge{files}")).stdout);
        assert!(told.contains("seeds 0..100: 99 passed, 1 failed"), "{told}");
        assert!(told.contains("replay failing --seed 61"), "{told}");

        let two: Vec<_> = files.split_whitespace().take(2).collect();
        let output = run(&format!("merge {}", two.join(" ")));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("no file reports shard 2/3"), "{}", text(&output.stderr));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, word) in [
            ("sim slow --max-failures 0", "--max-failures"),
            ("sim slow --shard 2/2", "counted from 0"),
            ("sim slow --shard env", "the environment names no shard"),
            ("sim all --checkpoint x.json", "one scenario"),
            ("merge", "FILE"),
            ("merge /nowhere.json", "cannot read /nowhere.json"),
        ] {
            let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
            for name in ["COALMINE_SHARD", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "CI_NODE_INDEX"] {
                command.env_remove(name);
            }
            command.args([SELF, "--exact", "--nocapture", "--quiet"]).env(ARGS, args);
            let output = command.output().expect("the test can run itself");
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args}: {told}");
            assert!(told.contains(word), "{args} should mention {word:?}: {told}");
        }
    }
}

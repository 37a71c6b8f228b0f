//! The `coalmine` command line from outside: what it prints for people and for machines, what it refuses, and
//! the exit codes that tell failures apart. Every test runs the binary itself, in a process of its own.

#[path = "cli/checks.rs"]
mod checks;
#[path = "cli/edges.rs"]
mod edges;
#[path = "cli/histories.rs"]
mod histories;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const SCENARIOS: usize = 64;

/// Runs the binary with the words of `line` as arguments.
fn coalmine(line: &str) -> Ran {
    // The help names files as they are found from the root of the repository.
    coalmine_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), line)
}

/// The same in this folder, where it may leave what it found.
fn coalmine_in(folder: &Path, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coalmine"));
    command.current_dir(folder);
    command.args(line.split_whitespace()).env_remove("CLICOLOR_FORCE");
    Ran { line: line.into(), output: command.output().expect("the binary runs") }
}

struct Ran {
    line: String,
    output: Output,
}

impl Ran {
    /// The exit code must be this one.
    fn exits(self, code: i32) -> Self {
        let told = format!("{}\n{}", self.stdout(), self.stderr());
        assert_eq!(self.output.status.code(), Some(code), "coalmine {}\n{told}", self.line);
        self
    }

    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).expect("text")
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).expect("text")
    }

    /// The last line of standard output, which is one JSON object.
    fn json(&self) -> Value {
        let stdout = self.stdout();
        let last = stdout.lines().last().expect("a line of output");
        let value: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
        assert!(value.is_object(), "{value}");
        value
    }
}

/// The names of an object's fields, in order.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// A number above zero.
fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

/// The story in the README is what its command prints, but for what it leaves out where it says "…".
#[test]
fn the_readme_tells_the_story_that_its_command_prints() {
    const COMMAND: &str = "replay rollout-participant-dies-prepared --seed 1";
    let readme = include_str!("../../README.md");
    let (_, after) = readme.split_once(&format!("`cargo coalmine {COMMAND}`")).expect("the command");
    let story = after.split("```").nth(1).and_then(|block| block.strip_prefix("text\n")).expect("a story");
    let printed = coalmine(COMMAND).exits(0).stdout();
    let mut lines = printed.lines();
    for told in story.lines().filter(|line| line.trim() != "…") {
        assert!(lines.any(|line| line == told), "{told:?} is not there, or not in this order:\n{printed}");
    }
    assert!(story.lines().count() > 10, "{story}");
}

/// Where nobody asks whether states settle fewer are visited: that is another space, and not a changed one.
#[test]
fn a_space_is_as_large_as_is_pinned_only_where_settling_is_asked() {
    let asked = coalmine("check abd --format json --no-capsule").exits(0).json();
    assert_eq!((&asked["expected_states"], &asked["unique_states"]), (&940.into(), &940.into()), "{asked}");
    let not_asked = coalmine("check abd --no-settle --format json --no-capsule").exits(0).json();
    assert_eq!(not_asked["expected_states"], Value::Null, "{not_asked}");
    assert!(not_asked["unique_states"].as_u64() < asked["unique_states"].as_u64(), "{not_asked}");
}

#[test]
fn list_names_all_scenarios_and_models_with_a_sentence_each() {
    let json = coalmine("list --format json").exits(0).json();
    let text = coalmine("list").exits(0).stdout();
    let (scenarios, models) = (json["scenarios"].as_array(), json["models"].as_array());
    let (scenarios, models) = (scenarios.expect("scenarios"), models.expect("models"));
    assert_eq!(scenarios.len(), SCENARIOS, "{json}");
    for entry in scenarios.iter().chain(models) {
        let (name, about) = (entry["name"].as_str().expect("a name"), entry["about"].as_str());
        let about = about.expect("a sentence");
        assert!(about.len() > 20 && about.ends_with('.'), "{name}: {about:?}");
        let told = |line: &str| line.split_whitespace().next() == Some(name) && line.ends_with(about);
        assert!(text.lines().any(told), "{name} should be told:\n{text}");
    }
    let named = |all: &[Value], name: &str| all.iter().any(|entry| entry["name"] == name);
    assert!(named(scenarios, "rollout-chaos") && named(models, "twophase") && named(models, "rollout"));
}

#[test]
fn a_sweep_ends_with_its_sums_as_json() {
    let sum = coalmine("sim rollout-chaos --seeds 3..9 --format json").exits(0).json();
    let mut names = fields(&sum);
    names.retain(|name| *name != "failures");
    assert_eq!(
        names,
        [
            "converged_after",
            "effects",
            "engine",
            "events",
            "failed",
            "never_exercised",
            "passed",
            "scenario",
            "seeds",
            "simulated_s",
            "steps",
            "wall_s"
        ]
    );
    assert_eq!(sum["scenario"], "rollout-chaos");
    assert_eq!(sum["engine"], "madsim");
    assert_eq!(sum["seeds"], "3..9");
    assert_eq!(sum["passed"], 6);
    assert_eq!(sum["failed"], Value::Array(Vec::new()));
    let times = &sum["converged_after"];
    assert!(times["p50_ms"].as_u64() <= times["max_ms"].as_u64() && times["max_ms"].is_u64(), "{sum}");
    assert!(is_positive(&sum["events"]) && is_positive(&sum["wall_s"]), "{sum}");
    // The faults of every run last 40 s of simulated time.
    assert!(sum["simulated_s"].as_f64().is_some_and(|s| s > 6.0 * 40.0), "{sum}");
}

#[test]
fn a_sweep_of_all_ends_with_the_sum_of_all() {
    let ran = coalmine("sim all --seeds 0..2 --format json").exits(0);
    let lines: Vec<Value> =
        ran.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON on every line")).collect();
    assert_eq!(lines.len(), SCENARIOS + 1);
    let (all, each) = lines.split_last().expect("lines");
    assert_eq!(all["scenario"], "all");
    assert_eq!(all["passed"], 2 * SCENARIOS);
    let events: u64 = each.iter().filter_map(|sum| sum["events"].as_u64()).sum();
    assert_eq!(all["events"], events);

    let text = coalmine("sim all --seeds 0..2").exits(0).stdout();
    let passed = format!("{} passed, 0 failed", 2 * SCENARIOS);
    let sum = text.lines().find(|line| line.contains(&passed));
    assert!(sum.is_some_and(|line| line.contains("all")), "{text}");
}

/// A fault that a sweep never had is named, once, for the whole.
#[test]
fn what_was_never_exercised_is_named() {
    for args in ["sim rollout-participant-dies-voting --seeds 0..5", "sim all --seeds 0..1"] {
        let text = coalmine(args).exits(0).stdout();
        let never: Vec<_> = text.lines().filter(|line| line.contains("never exercised")).collect();
        assert!(never.len() == 1 && never[0].contains("bit rot"), "{text}");
        assert!(!never[0].contains("crash"), "{text}");
        // Machines are told the same.
        let json = coalmine(&format!("{args} --format json")).exits(0).json();
        let named = json["never_exercised"].as_array().expect("a list");
        assert_eq!(named.len(), never[0].split(", ").count(), "{json}");
        assert!(named.contains(&"bit_rot".into()) && json["effects"]["bit_rot"].is_null(), "{json}");
    }
}

/// Both engines take the same plans and come to the same verdicts.
#[test]
fn both_engines_agree() {
    let sum = |engine: &str| {
        let args = format!("sim rollout-chaos --seeds 0..40 --format json --engine {engine}");
        coalmine(&args).exits(0).json()
    };
    let (madsim, world, both) = (sum("madsim"), sum("direct"), sum("both"));
    for (sum, engine) in [(&madsim, "madsim"), (&world, "direct"), (&both, "both")] {
        assert_eq!(sum["engine"], engine);
        assert_eq!(sum["passed"], 40);
    }
    let events = |sum: &Value| sum["events"].as_u64().expect("a number");
    assert_eq!(events(&both), events(&madsim) + events(&world));
    coalmine("replay rollout-chaos --seed 3 --engine direct").exits(0);
    let text = coalmine("sim rollout-chaos --seeds 0..9 --engine both --check-determinism").exits(0).stdout();
    assert!(text.contains("every seed did the same again"), "{text}");
}

/// A sweep's sums do not depend on the number of threads, nor on being compared with a second run.
#[test]
fn determinism_is_checked_by_running_twice() {
    let once = coalmine("sim rollout-chaos --seeds 0..8 --jobs 1 --format json").exits(0).json();
    let compared = "sim rollout-chaos --seeds 0..8 --jobs 2 --check-determinism --format json";
    let twice = coalmine(compared).exits(0).json();
    for field in ["passed", "failed", "events", "simulated_s"] {
        let (a, b) = (&once[field], &twice[field]);
        // The same durations, summed in the order in which they were done.
        let same = a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-6);
        assert!(same, "{field}: {a} and {b}");
    }
}

#[test]
fn a_seed_has_one_digest_in_every_process_and_format() {
    let digest = |seed: u64| {
        let json = coalmine(&format!("replay rollout-chaos --seed {seed} --format json")).exits(0).json();
        assert_eq!((&json["scenario"], &json["seed"]), (&"rollout-chaos".into(), &seed.into()));
        assert_eq!((&json["verdict"], &json["why"]), (&"passed".into(), &Value::Null));
        json["digest"].as_str().expect("a digest").to_owned()
    };
    let first = digest(7);
    assert!(first.len() == 16 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(digest(7), first, "in another process");
    assert_ne!(digest(8), first, "another seed does other things");

    let story = coalmine("replay rollout-chaos --seed 7").exits(0).stdout();
    let as_text = coalmine("replay rollout-chaos --seed 7 --text").exits(0).stdout();
    let told = |text: &str| text.split(" simulated in ").next().map(ToOwned::to_owned);
    assert_eq!(told(&story), told(&as_text));
    let whole = coalmine("replay rollout-chaos --seed 7 --everything").exits(0).stdout();
    assert!(story.contains("quiet events)") && !whole.contains("quiet event"));
    let lines = |text: &str| text.lines().filter(|line| !line.contains("quiet event")).count();
    assert!(lines(&whole) > lines(&story) + 50, "{} and {}", lines(&whole), lines(&story));
    assert!(story.lines().any(|line| line.starts_with(&format!("digest {first}, "))), "{story}");
    assert!(story.lines().count() > 20, "a story tells what happened:\n{story}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let refused: [(&str, &[&str]); 45] = [
        ("check twophase --engine stateright --walk 0..9", &["--walk", "stateright does not walk"]),
        ("check twophase --engine stateright --memory-limit 1GiB", &["--memory-limit", "own engine"]),
        ("check twophase --engine stateright --symmetry", &["--symmetry", "own engine"]),
        ("check twophase --engine stateright --without 1", &["--without", "own engine"]),
        ("check twophase --engine stateright --full", &["--full", "own engine"]),
        ("check twophase --engine stateright --visit idle", &["--visit", "own engine"]),
        ("check all --engine stateright --memory-limit 1GiB", &["--memory-limit", "own engine"]),
        ("check rollout --symmetry", &["--symmetry", "no members of rollout are interchangeable"]),
        ("check all --symmetry", &["--symmetry", "no members of counter are interchangeable"]),
        ("check twophase --symmetry --walk 0..9", &["--symmetry", "--walk", "cannot be used with"]),
        ("check rollout --without 4", &["without n4", "3 members"]),
        ("check all --nodes 3", &["leave nodes and budgets out"]),
        ("check paxos --deep", &["no ladder for \"paxos\""]),
        ("sim rollout-clam", &["no scenario \"rollout-clam\"", "(did you mean rollout-calm?)"]),
        ("check rooster", &["no model \"rooster\"", "(did you mean roster?)"]),
        ("check rollout --crashes -1", &["--crashes", "-1 is not in 0..=255"]),
        ("replay rollout-clam --seed 1", &["no scenario \"rollout-clam\"", "rollout-calm"]),
        ("replay all --seed 1", &["no scenario \"all\""]),
        ("check threephase", &["no model \"threephase\"", "twophase"]),
        ("sim all --seeds 7..3", &["--seeds", "7..3 holds no seed"]),
        ("sim all --seeds 3..3", &["--seeds", "3..3 holds no seed"]),
        ("sim all --seeds 1..x", &["--seeds", "\"x\"", "invalid digit"]),
        ("sim all --seeds -1", &["-1"]),
        ("replay rollout-calm", &["rollout-calm", "--seed"]),
        ("replay rollout-calm --seed many", &["--seed", "many"]),
        ("sim all --sneeds 1", &["--sneeds", "--seeds"]),
        ("check twophase --resource-managers 0", &["0 is not in 1..=64"]),
        (
            "check canary --nodes 32 --requests 2",
            &["requests of clients (2)", "inputs (64)", "more", "fewer"],
        ),
        ("check canary --nodes 64", &["requests of clients (1)", "inputs (128)", "more than 64", "fewer"]),
        ("explore canary --nodes 64", &["inputs (128)", "more than 64"]),
        ("check rollout --crashes 300", &["--crashes", "300"]),
        ("check counter --rollouts 2", &["--rollouts", "counter"]),
        ("check rollout --mistake lazy-voter", &["no mistake \"lazy-voter\"", "any-vote"]),
        ("check counter --mistake any-vote", &["no model \"counter\" whose nodes make it", "rollout"]),
        ("sim tally-chaos --mistake any-vote", &["\"tally-chaos\" whose nodes make it", "rollout-chaos"]),
        ("mutants any-votes", &["(did you mean any-vote?)"]),
        ("sim rollout-chaos --mistake any-vote --checkpoint a", &["--mistake", "--checkpoint"]),
        ("sim rollout-chaos --mistake any-vote --shard 0/2", &["--mistake", "--shard"]),
        ("check rollout --mistake any-vote --checkpoint a", &["--mistake", "--checkpoint"]),
        ("mutants lazy-voter", &["no mistake \"lazy-voter\"", "any-vote"]),
        ("explore rollout --resource-managers 2", &["--resource-managers", "rollout"]),
        ("check all --rollouts 2", &["--rollouts", "all"]),
        ("check rollout --rollouts 2 --operations 2", &["--rollouts", "--operations"]),
        ("list --format xml", &["--format", "xml", "json"]),
        ("swim", &["swim", "sim"]),
    ];
    for (line, words) in refused {
        let ran = coalmine(line).exits(2);
        let (stdout, stderr) = (ran.stdout(), ran.stderr());
        assert!(stdout.is_empty(), "coalmine {line}: results are no place for complaints: {stdout}");
        assert!(stderr.starts_with("error: "), "coalmine {line}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "coalmine {line} should mention {word:?}: {stderr}");
        }
    }
}

#[test]
fn help_is_there_for_every_subcommand() {
    let help = coalmine("--help").exits(0).stdout();
    assert!(help.contains("Exit codes: 0 all is well"), "{help}");
    for (command, example) in [
        ("list", "list --format json"),
        ("sim", "sim chain-chaos --seeds"),
        ("merge", "merge shard-*.json"),
        ("replay", "replay chain-chaos --seed"),
        ("verify", "verify recorded"),
        ("plan", "plan chain-chaos --seed"),
        ("shrink", "shrink chain-chaos --seed"),
        ("check", "check canary --nodes"),
        ("explore", "explore canary --nodes"),
        ("run", "run --jobs"),
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        let told = coalmine(&format!("{command} --help")).exits(0).stdout();
        assert!(told.contains(&format!("Usage: cargo coalmine {command}")), "{told}");
        assert!(told.contains("Example") && told.contains(example), "{command}: {told}");
    }
}

/// The last seed is a seed like any other.
#[test]
fn the_plan_of_the_last_seed_can_be_printed() {
    let seed = u64::MAX;
    let text = coalmine(&format!("plan rollout-chaos --seed {seed}")).exits(0).stdout();
    assert!(text.contains(&format!("seed = \"{seed}\"")), "{text}");
    let json = coalmine(&format!("plan rollout-chaos --seed {seed} --format json")).exits(0).json();
    assert_eq!(json["seed"], seed.to_string());
}

/// An example that does not work is worse than none.
#[test]
fn the_examples_in_the_help_are_sound() {
    for command in ["list", "sim", "replay", "check"] {
        let told = coalmine(&format!("{command} --help")).exits(0).stdout();
        let examples = told.rsplit("Example").next().expect("an example");
        for line in examples.lines().filter_map(|line| line.find(command).map(|start| &line[start..])) {
            // A whole check would take long here; that its flags are understood is enough.
            let (capped, code) = if command == "check" { (" --max-steps 10", 6) } else { ("", 0) };
            coalmine(&format!("{line}{capped}")).exits(code);
        }
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    for line in [
        "list",
        "sim rollout-calm --seeds 0..2",
        "replay rollout-chaos --seed 7",
        "check twophase --resource-managers 3",
        "check rollout --operations 0 --crashes 0",
        "sim nothing",
        "sim all --seeds 3..3",
        "--help",
    ] {
        let ran = coalmine(line);
        let (stdout, stderr) = (ran.stdout(), ran.stderr());
        assert!(
            !stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'),
            "coalmine {line}: {stdout}{stderr}"
        );
    }
}

/// A plan as JSON is the same plan, and its run says which seed it was.
#[test]
fn a_plan_may_be_json() {
    let file = std::env::temp_dir().join(format!("coalmine-plan-{}.json", std::process::id()));
    let name = file.display();
    let seed = u64::MAX - 7;
    let plan = coalmine(&format!("plan rollout-chaos --seed {seed} --format json")).exits(0).stdout();
    std::fs::write(&file, &plan).expect("a temporary file can be written");
    let drawn = coalmine(&format!("replay rollout-chaos --seed {seed} --format json")).exits(0).json();
    let read = coalmine(&format!("replay {name} --format json")).exits(0).json();
    for field in ["digest", "seed", "scenario", "unused_steps"] {
        assert!(!read[field].is_null() && read[field] == drawn[field], "{field}: {read} and {drawn}");
    }
    for (from, to, why) in [
        ("{", "", "key with no value"),
        ("\"heal_at_ms\"", "\"heel_at_ms\"", "unknown field `heel_at_ms`"),
        ("\"scenario\"", "\"scenery\"", "the key `scenario` is missing"),
    ] {
        std::fs::write(&file, plan.replacen(from, to, 1)).expect("a temporary file can be written");
        let told = coalmine(&format!("replay {name}")).exits(2).stderr();
        assert!(told.contains(&format!("{name}: ")) && told.contains(why), "{told}");
    }
    std::fs::remove_file(&file).expect("the file is ours");
}

/// A file whose steps do not all take place says so, in words and in numbers.
#[test]
fn steps_that_are_not_carried_out_are_told() {
    let file = std::env::temp_dir().join(format!("coalmine-unused-{}.toml", std::process::id()));
    let text = include_str!("../plans/bridge.toml").to_owned()
        + "[[plan.steps]]\nreceived = { node = 2, message = 'DecisionReq', nth = 50 }\n\
           fault = { reset = { a = 1, b = 2 } }\n";
    std::fs::write(&file, text).expect("a temporary file can be written");
    let told = coalmine(&format!("replay {}", file.display())).exits(0).stdout();
    let step =
        "plan.steps[2] (when n2 gets DecisionReq, 50 times: the connections between n1 and n2 are reset)";
    assert_eq!(
        told.lines().last(),
        Some(format!("    planned, but not carried out: {step}").as_str()),
        "{told}"
    );
    let json = coalmine(&format!("replay {} --format json", file.display())).exits(0).json();
    assert_eq!((&json["unused_steps"], &json["seed"]), (&vec![2].into(), &1.into()));
    std::fs::remove_file(&file).expect("the file is ours");

    let told = coalmine("replay scenarios/plans/bridge.toml").exits(0).stdout();
    assert!(!told.contains("not carried out"), "{told}");
}

/// A seed and its plan are the same run, and told in the same words.
#[test]
fn a_seed_and_its_plan_are_told_alike() {
    let file = std::env::temp_dir().join(format!("coalmine-alike-{}.toml", std::process::id()));
    let name = file.display();
    let has_unused = |seed: &u64| {
        let json =
            coalmine(&format!("replay rollout-chaos --seed {seed} --engine direct --format json")).json();
        json["unused_steps"].as_array().is_some_and(|steps| !steps.is_empty())
    };
    let seed = (0..40).find(has_unused).expect("some step of some plan is not carried out");
    let plan = coalmine(&format!("plan rollout-chaos --seed {seed}")).exits(0).stdout();
    std::fs::write(&file, plan).expect("a temporary file can be written");
    let drawn = coalmine(&format!("replay rollout-chaos --seed {seed} --engine direct")).exits(0).stdout();
    let read = coalmine(&format!("replay {name} --engine direct")).exits(0).stdout();
    assert!(read.contains("\nthe file names no verdict that it should come to\n"), "{read}");
    let json = coalmine(&format!("replay {name} --engine direct --format json")).exits(0).json();
    assert!(json["as_expected"].is_null(), "{json}");
    let last = |told: &str| told.lines().last().unwrap_or_default().to_owned();
    assert!(last(&drawn).starts_with("    planned, but not carried out: plan.steps["), "{drawn}");
    assert_eq!(last(&drawn), last(&read));
    std::fs::remove_file(&file).expect("the file is ours");
}

/// Plans are run by an engine, and have no place in a model.
#[test]
fn the_explorer_says_what_it_takes() {
    let told = coalmine("explore rollout --at scenarios/plans/bridge.toml").exits(2).stderr();
    let why = "bridge.toml: it is a plan of the scenario \"rollout-chaos\", which `replay` runs";
    assert!(told.contains(why) && told.contains("the path of a model"), "{told}");
}

/// What can be asked for has a name that can be found, without the search.
#[test]
fn mistakes_are_listed() {
    let told = coalmine("mutants --list").exits(0).stdout();
    for (name, model) in [("writes-again", "chain"), ("any-vote", "rollout"), ("sends-early", "rollout")] {
        let is_it = |line: &str| line.split_whitespace().take(2).eq([name, model]);
        assert!(told.lines().any(is_it), "{name} of {model}: {told}");
    }
    let json = coalmine("mutants takes-old --list --format json").exits(0).json();
    let mistakes = json["mistakes"].as_array().expect("a list");
    assert_eq!((mistakes.len(), &mistakes[0]["name"]), (1, &"takes-old".into()));
    assert!(mistakes[0]["cells"].is_null() && mistakes[0]["about"].is_string(), "{json}");
}

/// Where nothing is to go wrong, nothing is missing.
#[test]
fn a_calm_sweep_names_no_faults_that_it_lacks() {
    let told = coalmine("sim rollout-calm --seeds 0..2 --engine direct").exits(0).stdout();
    assert!(told.contains("2 passed") && !told.contains("never exercised"), "{told}");
    let told = coalmine("sim rollout-chaos --seeds 0..2 --engine direct").exits(0).stdout();
    assert!(told.contains("never exercised"), "{told}");
    let told = coalmine("check rollout --nodes 1 --crashes 0 --timeouts 0").stdout();
    assert!(told.contains("  1 node, 1 request, 1 drop, disk Sync"), "{told}");
}

#[test]
fn replay_writes_a_page() {
    let file = std::env::temp_dir().join(format!("coalmine-page-{}.html", std::process::id()));
    let line = "replay rollout-coordinator-dies-decided --seed 1";
    coalmine(&format!("{line} --html {}", file.display())).exits(0);
    let page = std::fs::read_to_string(&file).expect("the page was written");
    std::fs::remove_file(&file).expect("the file is ours");
    assert!(page.contains(&format!("cargo coalmine {line}")), "the page says how the run is made again");
    coalmine(&format!("{line} --html /dev/null/page.html")).exits(2);
}

//! `check` on the command line: verdicts, budgets, mistakes, caps, interruptions.

use super::*;

/// A verdict is for the budgets that there were, and names those that there were not.
#[test]
fn what_was_not_tried_is_said() {
    for (line, not_tried) in [
        ("check counter", "wipes, cuts, duplicates, retries"),
        ("check counter --retries 1 --dups 1 --crashes 0", "crashes, wipes, cuts"),
        // Nothing is asked of it, and what was sent may always come again.
        ("check twophase --nodes 3", "crashes, wipes, cuts, drops"),
        ("check rollout --crashes 0", "crashes, wipes, cuts, duplicates, periodic timers, retries"),
    ] {
        let text = coalmine(&format!("{line} --no-capsule --max-steps 5000")).stdout();
        assert!(text.lines().any(|said| said == format!("not tried: {not_tried}")), "{line}: {text}");
        let json = coalmine(&format!("{line} --no-capsule --max-steps 5000 --format json")).json();
        let words: Vec<_> = not_tried.split(", ").collect();
        assert_eq!(json["not_tried"], serde_json::json!(words), "{line}");
    }
}

/// What comes next is tried: each limit one larger, whether it can be exhausted soon, and nothing that was asked for is lost.
#[test]
fn larger_limits_are_suggested() {
    let json = coalmine("check counter --nodes 2 --suggest --format json").exits(0).json();
    let tried = json["tried"].as_array().expect("a list");
    let of = |more: &str| {
        let is_it = |one: &&Value| one["check"].as_str().is_some_and(|check| check.ends_with(more));
        tried.iter().find(is_it).unwrap_or_else(|| panic!("{more}: {json}"))
    };
    for more in ["--crashes 2", "--retries 1", "--dups 1", "--cuts 1"] {
        let one = of(more);
        assert!(one["check"].as_str().is_some_and(|check| check.starts_with("counter --nodes 2")), "{one}");
        assert!(one["fits"] == true && is_positive(&one["states"]), "{one}");
    }
    assert!(["--crashes 2", "--retries 1"].iter().all(|more| of(more)["adds"] == true), "{json}");
    assert!(["--inputs 1", "--periodic 1"].iter().all(|more| of(more)["adds"] == false), "{json}");
    // A lost disk breaks the counter's promise: that is no limit to go on with.
    let wiped = of("--wipes 1");
    assert!(
        wiped["fits"] == false && wiped["verdict"].as_str().is_some_and(|told| told.contains("is violated"))
    );
    let json = coalmine("check twophase --nodes 3 --suggest --format json").exits(0).json();
    let tried = json["tried"].as_array().expect("a list");
    assert!(tried.iter().any(|one| one["check"] == "twophase --nodes 3 --disk async"), "{json}");
    let text = coalmine("check counter --nodes 2 --suggest").exits(0).stdout();
    assert!(text.contains("✓ counter --nodes 2 --crashes 2: exhausted, all hold, "), "{text}");
    let refused = coalmine("check all --suggest").exits(2).stderr();
    assert!(refused.contains("--suggest is about one model"), "{refused}");
}

#[test]
fn a_check_ends_with_its_verdict_as_json() {
    let line = "check twophase --resource-managers 3 --threads 1 --format json";
    let verdict = coalmine(line).exits(0).json();
    assert_eq!(verdict["model"], "twophase");
    assert_eq!((&verdict["nodes"], &verdict["unique_states"]), (&4.into(), &288.into()));
    assert_eq!(verdict["depth"], 11);
    assert_eq!((&verdict["exhausted"], &verdict["stopped_by"]), (&true.into(), &Value::Null));
    let properties = ["aborts", "commits"].map(|seen| (seen, "witnessed")).into_iter();
    let properties = properties.chain(["consistent", "never-panics", "settles"].map(|kept| (kept, "holds")));
    assert_eq!(verdict["properties"], properties.collect::<Value>());
    assert!(is_positive(&verdict["steps"]) && is_positive(&verdict["wall_s"]), "{verdict}");

    let text = coalmine(line.trim_end_matches(" --format json")).exits(0).stdout();
    assert!(text.contains("exhausted, 288 distinct states"), "{text}");
}

/// Nothing passes for asked that was not.
#[test]
fn what_was_not_asked_is_said() {
    for option in ["--symmetry", "--no-settle", "--engine stateright"] {
        let line = format!("check twophase {option}");
        let json = coalmine(&format!("{line} --format json")).exits(0).json();
        assert_eq!(
            (&json["settling_unasked"], &json["properties"]["settles"]),
            (&option.into(), &Value::Null)
        );
        let text = coalmine(&line).exits(0).stdout();
        assert!(text.contains(&format!("settles: not asked ({option})")), "{text}");
    }
    let json = coalmine("check twophase --format json").exits(0).json();
    assert_eq!((&json["settling_unasked"], &json["properties"]["settles"]), (&Value::Null, &"holds".into()));
}

/// `all` is every model in its usual size; the ladder is what `--deep` says, capped here.
#[test]
fn all_models_and_whole_ladders_are_checked_in_one_table() {
    let all = coalmine("check all --format json").exits(0).json();
    assert_eq!(all["passed"], true);
    let names: Vec<_> =
        all["checks"].as_array().expect("checks").iter().map(|it| it["check"].clone()).collect();
    assert_eq!(
        names,
        [
            "twophase",
            "counter",
            "chain",
            "tally",
            "roster",
            "lease",
            "single-copy",
            "abd",
            "paxos",
            "rollout",
            "growth",
            "succession",
            "regions",
            "compaction",
            "canary"
        ]
    );
    let text = coalmine("check twophase --deep --max-steps 300000 --no-settle").exits(6).stdout();
    let line = |nodes: u32| {
        let mut lines = text.lines();
        lines.find(|line| line.contains(&format!("twophase --nodes {nodes} "))).unwrap_or_default().to_owned()
    };
    assert!(line(3).contains("288") && line(3).contains("| proof |"), "{text}");
    assert!(line(10).contains("not exhausted: --max-steps 300000"), "{text}");
}

/// Another process goes on where the first was stopped.
#[test]
fn a_check_goes_on_from_its_checkpoint() {
    let file = std::env::temp_dir().join(format!("coalmine-checkpoint-{}", std::process::id()));
    let line = format!("check rollout --timeouts 0 --checkpoint {} --format json", file.display());
    let whole = coalmine("check rollout --timeouts 0 --format json").exits(0).json();
    let first = coalmine(&format!("{line} --max-steps 2000")).exits(6).json();
    assert_eq!(first["exhausted"], false);
    let second = coalmine(&line).exits(0).json();
    for field in ["exhausted", "steps", "unique_states", "depth", "properties"] {
        assert_eq!(second[field], whole[field], "{field}");
    }
    let refused = coalmine(&line.replace("--timeouts 0", "--timeouts 1")).exits(2).stderr();
    assert!(refused.contains("its `limits` is") && refused.contains("coalmine-checkpoint"), "{refused}");
    std::fs::remove_file(file).expect("it is ours");
}

/// Every budget is a flag, and what was explored is said with the verdict.
#[test]
fn budgets_are_flags_and_are_said_with_the_verdict() {
    let all = "--nodes 2 --rollouts 2 --crashes 0 --drops 1 --dups 1 --timeouts 0 --periodic 1 --disk async";
    let verdict = coalmine(&format!("check rollout {all} --max-steps 3000 --format json")).json();
    let limits = &verdict["limits"];
    assert_eq!((&verdict["nodes"], &verdict["operations"]), (&2.into(), &2.into()));
    let expected = [("crashes", 0), ("drops", 1), ("duplicates", 1), ("timeouts", 0), ("periodic", 1)];
    for (name, limit) in expected {
        assert_eq!(limits[name], limit, "{name}: {limits}");
    }
    assert_eq!(limits["disk"], "async");

    let verdict = coalmine("check rollout --timeouts 0 --drops 0 --format json").exits(0).json();
    assert_eq!(verdict["exhausted"], true);
    let told: Vec<_> = verdict["properties"].as_object().expect("properties").values().collect();
    let fine = ["holds", "witnessed", "out_of_reach"];
    assert!(told.len() >= 10 && told.iter().all(|how| fine.iter().any(|fine| *how == fine)), "{verdict}");
    assert_eq!(verdict["lacks"]["catches-up"], "--periodic 1");
    let text = coalmine("check rollout --timeouts 0 --drops 0").exits(0).stdout();
    assert!(text.contains("catches-up: not seen in this space (needs --periodic 1)"), "{text}");
}

/// What a model calls its sizes is its own affair; what a flag was called once is understood, and shown nowhere.
#[test]
fn names_of_a_model_and_former_names_are_understood_but_not_shown() {
    for command in ["check", "explore"] {
        let help = coalmine(&format!("{command} --help")).exits(0).stdout();
        for shown in ["--operations", "--periodic", "--inputs", "--late-boots"] {
            assert!(help.contains(shown), "{command} {shown}: {help}");
        }
        for hidden in ["rollouts", "resource-managers", "heartbeats", "unhealthy"] {
            assert!(!help.contains(hidden), "{command} {hidden}: {help}");
        }
    }
    let former = "--rollouts 0 --heartbeats 1 --unhealthy 1";
    let counts = [former, "--operations 0 --periodic 1 --inputs 1"].map(|sizes| {
        let line =
            format!("check rollout --nodes 2 --crashes 0 --drops 0 --timeouts 0 {sizes} --format json");
        let said = coalmine(&line).json();
        (said["limits"].clone(), said["operations"].clone(), said["unique_states"].clone())
    });
    assert_eq!(counts[0], counts[1]);
    assert_eq!((&counts[0].0["periodic"], &counts[0].0["inputs"]), (&1.into(), &1.into()));
}

/// A mistake is made under every command, and the lines to paste make it too; `mutants` tells who finds it.
#[test]
fn mistakes_are_made_on_purpose_and_found() {
    let mistake = "--mistake hasty-manager";
    let ran = coalmine(&format!("check twophase {mistake} --nodes 3 --no-capsule")).exits(1);
    assert!(ran.stdout().contains("VIOLATED"), "{}", ran.stdout());
    coalmine("check twophase --nodes 3 --no-capsule").exits(0);
    let listed = coalmine(&format!("list {mistake} --format json")).exits(0).json();
    assert_eq!(listed["models"].as_array().map(Vec::len), Some(1), "{listed}");

    let line = "sim rollout-chaos --seeds 0..2000 --engine world --jobs 1 --max-failures 1 --no-shrink";
    let told = coalmine(&format!("{line} --mistake any-vote")).exits(1).stdout();
    let paste =
        told.lines().find_map(|line| line.split_once("--mistake any-vote replay rollout-chaos --seed "));
    let seed = paste.unwrap_or_else(|| panic!("a line to paste: {told}")).1;
    coalmine(&format!("--mistake any-vote replay rollout-chaos --seed {seed}")).exits(1);

    let said = coalmine("mutants hasty-manager any-vote --cell-seconds 60 --format json").exits(0).json();
    let rows = said["mistakes"].as_array().expect("rows");
    let told: Vec<_> =
        rows.iter().map(|row| (row["name"].as_str(), row["cells"].as_array().map(Vec::len))).collect();
    assert_eq!(told, [(Some("hasty-manager"), Some(1)), (Some("any-vote"), Some(3))], "{said}");
    assert_eq!((&said["passed"], &rows[1]["cells"][0]["found"]), (&true.into(), &true.into()), "{said}");
    let told = coalmine("mutants hasty-manager").exits(0).stdout();
    assert!(told.contains("checker") && told.contains("found: consistent is violated"), "{told}");
}

/// What two mistakes break is kept in two files, each of which says what it is of and is run with nothing else.
#[test]
fn each_mistake_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |mistake: &str| {
        let line = format!("check roster --mistake {mistake} --format json");
        let json = coalmine_in(folder.path(), &line).json();
        json["capsule"].as_str().expect("a file").to_owned()
    };
    let (early, first) = (check("parts-early"), check("tells-first"));
    assert_ne!(early, first);
    for (file, other) in [(&early, "tells-first"), (&first, "parts-early")] {
        let refused =
            coalmine_in(folder.path(), &format!("replay {file} --mistake {other}")).exits(2).stderr();
        assert!(refused.contains("the file says which mistake is made"), "{refused}");
        let refused = coalmine_in(folder.path(), &format!("explore lease --at {file}")).exits(2).stderr();
        assert!(refused.contains("it is a path of the model \"roster\""), "{refused}");
    }
    let text = std::fs::read_to_string(folder.path().join(&early)).expect("text");
    let wrong = text.replacen("crashes = 1", "crashes = 70000", 1);
    std::fs::write(folder.path().join("wrong.toml"), wrong).expect("written");
    let refused = coalmine_in(folder.path(), "replay wrong.toml").exits(2).stderr();
    assert!(refused.contains("space.crashes: "), "{refused}");
}

/// The counts of states are the same at any number of threads.
#[test]
fn counts_do_not_depend_on_the_number_of_threads() {
    let counts = [1, 2, 5].map(|threads| {
        let line = format!("check rollout --timeouts 0 --drops 0 --threads {threads} --format json");
        coalmine(&line).exits(0).json()["unique_states"].as_u64()
    });
    assert!(counts[0] > Some(1_000) && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// Only an exhausted space proves anything: a capped search says that it is none, and what stopped it.
#[test]
fn a_capped_check_is_no_proof_and_says_why() {
    let verdict = coalmine("check rollout --max-steps 2000 --format json").json();
    assert_eq!(verdict["exhausted"], false);
    let why = verdict["stopped_by"].as_str().expect("a reason");
    assert!(why.contains("--max-steps 2000"), "{why}");
    let told = verdict["properties"].as_object().expect("properties").values();
    let so_far = ["holds_so_far", "not_seen_so_far", "witnessed"];
    assert!(told.clone().all(|how| so_far.iter().any(|so_far| how == so_far)), "{verdict}");
    assert!(
        told.clone().any(|how| how == "holds_so_far") && told.clone().any(|how| how == "not_seen_so_far")
    );
    assert_eq!(verdict["properties"]["settles"], "holds_so_far");

    let text = coalmine("check rollout --max-steps 2000").stdout();
    assert!(text.contains("not exhausted: --max-steps 2000"), "{text}");
    assert!(text.contains("holds so far") && !text.contains(": holds\n"), "{text}");
}

/// A machine that reads nothing but the exit code does not take a part for a proof, whatever cap it was that ended it,
/// and one check or many. A walk was asked for so many walks, and has walked them.
#[test]
fn a_capped_check_has_an_exit_code_of_its_own() {
    for cap in ["--max-steps 100", "--depth 4", "--memory-limit 1KiB"] {
        let one = coalmine(&format!("check rollout {cap} --format json")).exits(6).json();
        assert_eq!((&one["end"], &one["exhausted"]), (&"capped".into(), &false.into()), "{cap}");
        let all = coalmine(&format!("check all {cap} --format json")).exits(6).json();
        assert_eq!(all["passed"], false, "{cap}");
    }
    let walked = coalmine("check rollout --walk 0..20 --format json").exits(0).json();
    assert_eq!((&walked["end"], &walked["exhausted"]), (&"walked".into(), &false.into()));
    coalmine("check rollout --walk 0..2000 --max-steps 100").exits(6);
    // What is wrong counts for more than a cap.
    let wrong = "check rollout --nodes 2 --crashes 0 --wipes 2 --drops 0 --timeouts 0 --no-capsule";
    coalmine(wrong).exits(3);
    coalmine(&format!("{wrong} --max-steps 20000")).exits(3);
}

/// Starts a check that takes long, and signals it when it has begun: once it has printed a line, or after a while.
fn interrupted(line: &str, signal: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coalmine"));
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary runs");
    std::thread::sleep(Duration::from_secs(1));
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("there is a kill").success());
    Ran { line: line.into(), output: child.wait_with_output().expect("it ends") }
}

#[test]
fn an_interrupted_check_says_by_what_and_does_not_pass() {
    let long = "check rollout --nodes 4 --crashes 3 --timeouts 3 --no-settle --threads 1";
    let check = interrupted(&format!("{long} --format json"), "-TERM").exits(128 + 15).json();
    assert_eq!(
        (&check["end"], &check["stopped_by"]),
        (&"interrupted".into(), &"interrupted by SIGTERM".into())
    );
    let told = interrupted(long, "-INT").exits(128 + 2).stdout();
    assert!(told.contains("not exhausted: interrupted by Ctrl-C"), "{told}");

    let ladder = "check rollout --deep --threads 1";
    let told = interrupted(ladder, "-INT").exits(128 + 2).stdout();
    let last = told.lines().last().unwrap_or_default();
    assert!(last.contains("rollout --crashes 1 --drops 0 --timeouts 2"), "{told}");
    assert!(last.contains("not done: interrupted by Ctrl-C"), "{told}");
    let ladder = interrupted(&format!("{ladder} --format json"), "-TERM").exits(128 + 15).json();
    assert_eq!((&ladder["passed"], &ladder["stopped_by"]), (&false.into(), &"interrupted by SIGTERM".into()));
    let [done, skipped] = ["checks", "skipped"].map(|list| ladder[list].as_array().expect("a list").len());
    assert!(done > 0 && done + skipped == 15, "{ladder}");
}

/// The main job stops too, says what it did not do, and does not pass.
#[test]
fn an_interrupted_main_job_says_what_is_not_done() {
    let told = interrupted("run --jobs 1", "-INT").exits(128 + 2).stdout();
    assert!(told.contains("interrupted") && told.contains("not done: interrupted by Ctrl-C"), "{told}");
    assert!(told.contains("failed after") && !told.contains("all is well"), "{told}");
    let json = interrupted("run --jobs 1 --format json", "-TERM").exits(128 + 15).json();
    let jobs = json["jobs"].as_array().expect("a list");
    let not_done = |job: &&Value| job["verdict"] == "not done: interrupted by SIGTERM";
    assert!(json["passed"] == false && jobs.iter().filter(not_done).count() > 0, "{json}");
    assert!(jobs.len() >= SCENARIOS, "nothing is left out: {json}");
}

#[test]
fn a_space_in_which_nothing_happens_is_a_failure() {
    let verdict = coalmine("check rollout --operations 0 --crashes 0 --format json").exits(1).json();
    assert_eq!(verdict["exhausted"], true);
    assert_eq!(verdict["properties"]["commits"], "missing");
    let text = coalmine("check rollout --operations 0 --crashes 0").exits(1).stdout();
    assert!(text.contains("commits: NEVER SEEN"), "{text}");
}

//! Golden transcripts: a situation is a script (`tests/transcripts/<protocol>/<situation>.txt`), its story
//! the snapshot beside it (`<situation>.snap`). A script's first line says what it shows and why it matters.
//!
//! Nothing happens by itself: each command is one act of the world (a delivery, a loss, a crash, a sync),
//! and the story shows each with what it caused, in the protocol's own words. All invariants are checked
//! after every command, and a broken one is part of the story; what each node owes by itself (see [`rollout`])
//! must hold, or the script fails. Read a changed story line by line before
//! accepting it: each line must follow from the protocol's rules.
//!
//! | command | what it does |
//! | --- | --- |
//! | `cluster 3 [unformed] [aloud]` | boots that many nodes; `n1` coordinates |
//! | `rollout n1 c1/1 v2 5,100 [pause=500] [gates] [deadline=900] [on_failure=pause] [supersede]` | client `c1` asks `n1` to roll `v2` out, in percent |
//! | `steer n1 c1/2 abort [c1/1]` | client `c1` asks `n1` to pause, resume, promote or abort |
//! | `health n2 model=v2 version=1 p95=300 errors=0 samples=100 [stable=9000]` | the data plane of `n2` reports what `v2` did, and that `v1` took so many; errors in percent |
//! | `deliver all` | delivers until nothing is in flight |
//! | `deliver <which>` | delivers what is in flight now: `n1->n2`, `*->n2`, `PREPARE_REQ`, `n1->n2 DECISION` |
//! | `drop <which>`, `dup <which>` | loses it; puts a copy of it in flight |
//! | `inject n2->n1 {"type": …}` | a forged message arrives at once |
//! | `fire n2 inquire` | an armed timer fires |
//! | `autosync on\|off` | whether every write is durable at once (it is, unless switched off) |
//! | `sync n1 [count]` | all writes, or the next so many, become durable, and the node learns it |
//! | `flush n1 [count]`, `complete n1` | the two halves of `sync` |
//! | `crash n1 [keep=1] [torn]` | `n1` dies; of its unsynced writes the first so many survive, and one half |
//! | `wipe n1` | the disk of `n1`, which is down, is replaced by an empty one |
//! | `restart n1` | `n1` boots from its journal, which goes through the codec byte by byte |
//! | `state` | one line a node, and what is in flight |
//! | `settle` | everything is healed and a fair schedule runs until the cluster has converged |

mod driver;
mod rollout;

use std::path::Path;

/// Runs a script; panics with file and line if it makes no sense.
fn play(path: &Path, mut act: impl FnMut(&[&str]) -> Result<String, String>) -> String {
    let script = std::fs::read_to_string(path).expect("a readable script");
    assert!(script.starts_with("# "), "{}:1: the first line says what is shown and why", path.display());
    let mut story = String::new();
    for (number, line) in script.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            story += &format!("{line}\n");
            continue;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let told =
            act(&words).unwrap_or_else(|why| panic!("{}:{}: {why}: `{line}`", path.display(), number + 1));
        story += &format!("> {line}\n");
        for line in told.lines() {
            story += &format!("    {line}\n");
        }
    }
    story
}

#[test]
fn rollout_transcripts() {
    insta::glob!("../../transcripts", "rollout/*.txt", |path| {
        let mut scene = rollout::Scene::default();
        let story = play(path, |words| scene.act(words));
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a script lies in a folder"));
        settings.set_prepend_module_to_snapshot(false);
        settings.remove_snapshot_suffix();
        settings.set_omit_expression(true);
        let name = path.file_stem().expect("a script has a name").to_string_lossy().into_owned();
        settings.bind(|| insta::assert_snapshot!(name, story));
    });
}

/// A script that makes no sense must not pass for a situation in which nothing happens.
#[test]
fn nonsense_in_a_script_is_refused() {
    let refused = |commands: &[&str]| {
        let mut scene = rollout::Scene::default();
        let (last, first) = commands.split_last().expect("at least one command");
        for command in first {
            scene.act(&command.split_whitespace().collect::<Vec<_>>()).expect("a valid command");
        }
        scene.act(&last.split_whitespace().collect::<Vec<_>>()).expect_err("nonsense")
    };
    let booted = "cluster 2";
    insta::assert_snapshot!(refused(&["dance"]), @"no such command");
    insta::assert_snapshot!(refused(&["cluster 0"]), @"one cluster of at least one node");
    insta::assert_snapshot!(refused(&["cluster 2 quickly"]), @"no such option: quickly");
    insta::assert_snapshot!(refused(&[booted, "restart n1"]), @"n1 is up");
    insta::assert_snapshot!(refused(&[booted, "crash n7"]), @"there is no n7");
    insta::assert_snapshot!(refused(&[booted, "crash n2 keep=1"]), @"n2 has only 0 unsynced writes");
    insta::assert_snapshot!(refused(&[booted, "crash n2 torn"]), @"no write is left to be torn");
    insta::assert_snapshot!(refused(&[booted, "deliver n1->n2"]), @"nothing like that is in flight");
    insta::assert_snapshot!(refused(&[booted, "deliver n1-n2"]), @r#""n1-n2" is neither `from->to` nor a kind of message"#);
    insta::assert_snapshot!(refused(&[booted, "fire n2 inquire"]), @"n2 has no such timer armed");
    insta::assert_snapshot!(refused(&[booted, "fire n2 lunch"]), @"n2 has no such timer armed");
    insta::assert_snapshot!(refused(&[booted, "complete n2"]), @"the disk has nothing to answer");
    insta::assert_snapshot!(refused(&[booted, "sync n2"]), @"n2 has 0 unsynced writes");
    insta::assert_snapshot!(refused(&[booted, "inject n2->n1 {\"type\":\"HELLO\"}"]), @"unknown variant `HELLO`, expected one of `PREPARE_REQ`, `PREPARE_RESP`, `DECISION`, `DECISION_ACK`, `DECISION_REQ`, `DECISION_RESP`, `HEARTBEAT`, `HEALTH_SNAPSHOT`, `STATE_SYNC`, `JOIN_REQ`, `JOIN_RESP`, `UNLIKE`, `ADMIT_REQ`, `ADMIT_RESP`, `REGION_REQ`, `REGION_RESP` at line 1 column 16");
    insta::assert_snapshot!(refused(&[booted, "rollout n1 c1/x v2 5"]), @r#""x" is not a number"#);
    insta::assert_snapshot!(refused(&[booted, "health n2 p95=x"]), @r#""x" is not a number"#);
    insta::assert_snapshot!(refused(&[booted, "autosync maybe"]), @"no such command");
}

//! `deploy/sweep`, tried as far as it can be without the platforms: what their files say is run in small, and the
//! shards must add up. Slurm itself is tried where it is installed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const SEEDS: &str = "0..21";

fn coalmine() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_coalmine"))
}

/// Runs a line of a platform's file in a folder, in an environment of its own.
fn sh(folder: &Path, line: &str, variables: &[(&str, String)]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder);
    for (name, _) in std::env::vars().filter(|(name, _)| name.contains("SHARD") || name.starts_with("CI_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    command.output().expect("there is a shell")
}

/// Runs a shard. It takes every variable that the file sets: it is refused without any of them.
fn run_shard(folder: &Path, line: &str, variables: &[(&str, String)]) {
    let ran = sh(folder, line, variables);
    assert!(ran.status.success(), "{line}\n{}", String::from_utf8_lossy(&ran.stderr));
    for left_out in variables {
        let others: Vec<_> = variables.iter().filter(|it| *it != left_out).cloned().collect();
        let line = line.replace(" > ", " > refused-").replace("tee ", "tee refused-");
        let told = String::from_utf8_lossy(&sh(folder, &line, &others).stderr).into_owned();
        assert!(told.contains("error: "), "without {left_out:?} it should be refused: {told}");
    }
}

/// The shards of a folder are so many, and add up to all seeds.
fn add_up(folder: &Path, merge: &str, shards: i64) {
    let reports = std::fs::read_dir(folder).expect("a folder").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with("shard-")
    });
    assert_eq!(reports.count() as i64, shards);
    let merged = sh(folder, &format!("{merge} --format json"), &[]);
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    let merged: Value = serde_json::from_slice(&merged.stdout).expect("one report");
    assert_eq!((&merged["seeds"], &merged["passed"]), (&SEEDS.into(), &21.into()));
}

fn read(name: &str) -> Vec<Yaml> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sweep").join(name);
    let text = std::fs::read_to_string(path).expect("it ships");
    YamlLoader::load_from_str(&text).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn text(value: &Yaml) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is no text"))
}

/// The line with other seeds than those that it has.
fn with_seeds(line: &str) -> String {
    let (before, rest) = line.split_once("--seeds ").expect("a sweep has seeds");
    let (_, after) = rest.split_once(' ').expect("and more");
    format!("{before}--seeds {SEEDS} {after}")
}

#[test]
fn the_indexed_job_of_kubernetes_is_one_sweep() {
    let documents = read("kubernetes.yaml");
    let job = documents.iter().find(|it| it["kind"].as_str() == Some("Job")).expect("a job");
    let spec = &job["spec"];
    assert_eq!(text(&spec["completionMode"]), "Indexed");
    let shards = spec["completions"].as_i64().expect("a number");
    let container = &spec["template"]["spec"]["containers"][0];
    let variables: Vec<_> = container["env"].as_vec().expect("variables").iter().collect();
    let count =
        |it: &&Yaml| text(&it["name"]) == "COALMINE_SHARDS" && text(&it["value"]) == shards.to_string();
    assert!(variables.len() == 1 && variables.iter().all(count), "{variables:?}");
    let claim = &spec["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    let volume = documents.iter().find(|it| it["kind"].as_str() == Some("PersistentVolumeClaim"));
    assert_eq!(text(claim), text(&volume.expect("a volume")["metadata"]["name"]));

    assert_eq!(
        container["command"].as_vec().expect("a command").iter().map(text).collect::<Vec<_>>(),
        ["sh", "-c"]
    );
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mount = format!("{}/", text(&container["volumeMounts"][0]["mountPath"]));
    let line = text(&container["args"][0]);
    assert!(line.contains(&format!("> {mount}shard-$JOB_COMPLETION_INDEX.json")), "{line}");
    let line = line.replace("exec coalmine", &format!("exec {}", coalmine().display())).replace(&mount, "");
    for index in 0..shards {
        let variables =
            [("COALMINE_SHARDS", shards.to_string()), ("JOB_COMPLETION_INDEX", index.to_string())];
        run_shard(folder.path(), &with_seeds(&line), &variables);
    }
    add_up(folder.path(), &format!("{} merge shard-*.json", coalmine().display()), shards);
}

#[test]
fn the_matrix_of_github_is_one_sweep() {
    let workflow = &read("ci-matrix.yml")[0];
    let seeds = text(&workflow["on"]["workflow_dispatch"]["inputs"]["seeds"]["default"]);
    assert!(text(&workflow["env"]["SEEDS"]).contains(&format!("'{seeds}'")), "{:?}", workflow["env"]);
    let job = &workflow["jobs"]["shard"];
    let matrix: Vec<_> = job["strategy"]["matrix"]["shard"]
        .as_vec()
        .expect("a list")
        .iter()
        .filter_map(Yaml::as_i64)
        .collect();
    let shards = matrix.len() as i64;
    assert_eq!(matrix, (0..shards).collect::<Vec<_>>());
    let steps = job["steps"].as_vec().expect("steps");
    let sweep = steps.iter().find(|step| step["name"].as_str() == Some("sweep")).expect("a sweep");
    let kept = steps.iter().find(|step| !step["with"]["path"].is_badvalue()).expect("a report is kept");

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for index in 0..shards {
        let filled = |text: &str| {
            let text = text.replace("${{ strategy.job-index }}", &index.to_string());
            text.replace("${{ strategy.job-total }}", &shards.to_string())
        };
        let set = sweep["env"].as_hash().expect("variables");
        let variables: Vec<_> = set.iter().map(|(name, value)| (text(name), filled(text(value)))).collect();
        let line = filled(text(&sweep["run"]));
        assert!(line.contains("--seeds \"$SEEDS\""), "{line}");
        let line = line.replace("target/release/coalmine", &coalmine().display().to_string());
        run_shard(folder.path(), &with_seeds(&line), &variables);
        let report = folder.path().join(filled(text(&kept["with"]["path"])));
        assert!(report.is_file(), "{} is kept", report.display());
    }
    let merge = &workflow["jobs"]["merge"];
    assert_eq!(text(&merge["needs"]), "shard");
    let steps = merge["steps"].as_vec().expect("steps");
    let line =
        steps.iter().filter_map(|step| step["run"].as_str()).next_back().expect("the last step merges");
    let (program, line) = line.split_once(" -- ").expect("cargo runs it");
    assert_eq!(program, "cargo run --release --locked -p coalmine");
    add_up(folder.path(), &format!("{} {line}", coalmine().display()), shards);
}

/// Takes about half a minute.
#[test]
fn an_array_of_slurm_is_one_sweep() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sweep/test-slurm.sh");
    let ran = Command::new(script).arg(coalmine()).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let last = said.lines().last().unwrap_or_default();
    if last.starts_with("skipped: ") {
        // Not by a macro, whose words are kept from whoever runs a test that passes.
        let _ = writeln!(std::io::stderr(), "{last}");
    } else {
        assert!(last.starts_with("passed: Slurm"), "{said}");
    }
}

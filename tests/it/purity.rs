//! What keeps the core pure and production free of the simulator, checked by machine: who depends on whom,
//! and which words do not occur.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Resolved>,
}

#[derive(Deserialize)]
struct Resolved {
    id: String,
    deps: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    pkg: String,
    dep_kinds: Vec<LinkKind>,
}

#[derive(Deserialize)]
struct LinkKind {
    kind: Option<String>,
}

/// What cargo knows of the workspace on this platform. It needs no network where all is downloaded, which building does
/// not always do.
fn metadata() -> Metadata {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let about = String::from_utf8(rustc.stdout).expect("UTF-8");
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let ask = |offline: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host])
            .args(offline)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs")
    };
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo's metadata")
}

impl Metadata {
    fn package(&self, name: &str) -> &Package {
        self.packages.iter().find(|package| package.name == name).expect("a package of this name")
    }

    /// The names of all packages that are linked into this one, itself included.
    fn linked_into(&self, name: &str) -> BTreeSet<&str> {
        let names: BTreeMap<_, _> =
            self.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        let links: BTreeMap<_, _> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), &node.deps)).collect();
        let mut reached = BTreeSet::from([self.package(name).id.as_str()]);
        let mut ahead: Vec<_> = reached.iter().copied().collect();
        while let Some(id) = ahead.pop() {
            let linked = links[id].iter().filter(|link| link.dep_kinds.iter().any(|it| it.kind.is_none()));
            ahead.extend(linked.map(|link| link.pkg.as_str()).filter(|pkg| reached.insert(pkg)));
        }
        reached.into_iter().map(|id| names[id]).collect()
    }
}

/// A new dependency of the core is a decision: whatever brings a clock, a thread or randomness with it would
/// make two runs of a node differ.
#[test]
fn core_depends_on_nothing_new() {
    let metadata = metadata();
    let direct: BTreeSet<_> = metadata
        .package("coalmine-core")
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect();
    assert_eq!(
        direct,
        BTreeSet::from([
            "base64",
            "crc32fast",
            "rmp-serde",
            "serde",
            "serde_json",
            "thiserror",
            "xxhash-rust"
        ])
    );
}

#[test]
fn production_never_links_the_simulator() {
    let metadata = metadata();
    let linked = metadata.linked_into("coalmine-real");
    assert!(linked.contains("coalmine-core") && linked.contains("tokio"), "the walk sees real links");
    let unwanted: Vec<_> = linked
        .iter()
        .filter(|name| name.contains("madsim") || name.contains("stateright") || **name == "coalmine-sim")
        .collect();
    assert!(unwanted.is_empty(), "coalmine-real links {unwanted:?}");
}

/// The lints of `core/clippy.toml` see types; this sees the words, also behind a macro or a feature.
#[test]
fn core_never_says_these_words() {
    let banned = [
        "HashMap",
        "HashSet",
        "RandomState",
        "Instant",
        "SystemTime",
        "thread_rng",
        "rand::",
        "static mut",
        "thread_local",
        "RefCell",
        "Mutex",
        "AtomicU",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "tokio",
    ];
    let mut said = Vec::new();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src"));
    assert!(files.len() > 10, "the scan found only {} files", files.len());
    for file in files {
        let source = std::fs::read_to_string(&file).expect("a readable source file");
        for (number, line) in source.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned.iter().filter(|word| code.contains(**word)) {
                said.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert!(said.is_empty(), "the core must stay pure:\n{}", said.join("\n"));
}

pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = files(folder);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// All files in a folder and below it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

/// What may be said all the same: where, what, and why no run depends on it.
const EXCEPTIONS: [(&str, &str, &str); 14] = [
    ("sim/src/engine/madsim/mod.rs", "Instant", "a report says how long its run took outside"),
    ("sim/src/engine/madsim/mod.rs", "Instant::now", "the same"),
    ("sim/src/engine/direct/mod.rs", "Instant", "a report says how long its run took outside"),
    ("sim/src/engine/direct/mod.rs", "Instant::now", "the same"),
    ("sim/src/world/walk.rs", "Instant", "a report says how long its walk took outside"),
    ("sim/src/world/walk.rs", "Instant::now", "the same"),
    ("sim/src/engine/madsim/alarm.rs", "Instant", "madsim's clock tells its time in them"),
    ("sim/src/engine/madsim/link.rs", "Instant", "madsim's clock tells its time in them"),
    ("sim/src/trace/html/states.rs", "HashMap", "it is looked up, and never gone through in its order"),
    ("sim/src/world/rules/mod.rs", "OnceLock", "it follows from the system, and belongs to one set of rules"),
    (
        "core/src/linearize/calls.rs",
        "OnceLock",
        "it follows from the calls, and tells no two histories apart",
    ),
    (
        "sim/src/world/rules/again.rs",
        "OnceLock",
        "what is wrong with steps decides no step, and belongs to one set of rules",
    ),
    ("real/src/files.rs", "process::id", "two processes may write the same file; no run writes one"),
    ("scenarios/src/main.rs", "static", "an allocator outlives runs, but none of them can see it"),
];

/// What a simulated run passes through. Nothing in it may outlive a run or be drawn from the process, else a
/// seed depends on the seeds that ran before it.
#[test]
fn nothing_a_run_passes_through_is_drawn_from_the_process() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    let folders = [
        "core/src",
        "sim/src/engine",
        "sim/src/spec",
        "sim/src/trace",
        "sim/src/world",
        "scenarios/src",
        "real/src",
    ];
    let mut files: Vec<_> = folders.iter().flat_map(|folder| sources(&root.join(folder))).collect();
    files.push(root.join("sim/src/shrink.rs"));
    // These only ever run for real, or not at all.
    let programs = [
        "ask", "audit", "certs", "cli", "client", "command", "events", "log", "node", "output", "status",
        "up", "up/files",
    ];
    let programs = programs.map(|name| format!("/serve/{name}.rs"));
    let others = ["tokio_runtime.rs", "/src/tls/", "/recorder/", "/bin/", "tests.rs", "/src/program.rs"];
    let others: Vec<_> = others.into_iter().chain(programs.iter().map(String::as_str)).collect();
    files.retain(|file| !others.iter().any(|part| file.to_string_lossy().contains(part)));
    assert!(files.len() > 60, "the scan found only {} files", files.len());
    let banned = [
        "LazyLock",
        "OnceLock",
        "OnceCell",
        "thread_local",
        "thread_rng",
        "rand::random",
        "fastrand",
        "getrandom",
        "RandomState",
        "HashMap",
        "HashSet",
        "Instant",
        "Instant::now",
        "SystemTime",
        "tokio::spawn",
        "tokio::time",
        "process::id",
    ];
    let mut said = BTreeSet::new();
    let mut used = BTreeSet::new();
    for file in files {
        let source = std::fs::read_to_string(&file).expect("a readable source file");
        if source.contains("\n#![cfg(test)]\n") {
            continue; // for tests only
        }
        let name = file.strip_prefix(&root).expect("a file of the repository").display().to_string();
        let lines: Vec<_> =
            source.lines().map(|line| line.split("//").next().unwrap_or_default().trim()).collect();
        for (number, code) in lines.iter().enumerate() {
            // A static of any visibility, and no lifetime.
            let is_static = code.match_indices("static ").any(|(at, _)| !code[..at].ends_with('\''));
            let words = banned.iter().filter(|word| code.contains(**word)).copied();
            for word in words.chain(is_static.then_some("static")) {
                match EXCEPTIONS.iter().position(|(file, it, _)| (*file, *it) == (&*name, word)) {
                    Some(exception) => _ = used.insert(exception),
                    None => _ = said.insert(format!("{name}:{}: {word}", number + 1)),
                }
            }
            let next = lines[number + 1..].iter().find(|line| !line.is_empty());
            if code.contains("select! {") && next != Some(&"biased;") {
                said.insert(format!("{name}:{}: select! without `biased;`", number + 1));
            }
        }
    }
    let said: Vec<_> = said.into_iter().collect();
    assert!(said.is_empty(), "a run must depend on its seed alone:\n{}", said.join("\n"));
    assert_eq!(
        used.len(),
        EXCEPTIONS.len(),
        "an exception that nobody needs any more hides the next mistake"
    );
}

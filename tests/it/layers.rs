//! One glance at the tree tells the architecture, and this keeps it true: which file names which is read from the
//! sources; no file names one of a layer above its own, and none is named by what it names itself, however many files
//! are between, unless one holds the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::purity::sources;

/// The layers of a crate, the lowest first. A layer is a folder, or a file without its ending; those of one line know
/// nothing of each other.
struct Layers {
    crate_name: &'static str,
    folder: &'static str,
    layers: &'static [&'static [&'static str]],
}

const CRATES: [Layers; 3] = [
    Layers {
        crate_name: "coalmine_core",
        folder: "core/src",
        layers: &[
            &["form", "ghost", "mistakes"],
            &["node"],
            &["disk"],
            &["observation", "codec", "order"],
            &["linearize"],
            &["host", "write_ahead"],
            &["twophase", "counter", "register", "chain", "tally", "roster", "lease", "rollout"],
        ],
    },
    Layers {
        crate_name: "coalmine_real",
        folder: "real/src",
        layers: &[
            &["lock"],
            &["call", "files", "metrics", "paste", "probe", "runtime"],
            &["program", "vitals"],
            &["journal", "recorder", "tls", "transport"],
            &["shell", "tokio_runtime"],
            &["http_api", "http"],
            &["serve"],
            &["rollout"],
            &["bin"],
        ],
    },
    Layers {
        crate_name: "coalmine_sim",
        folder: "sim/src",
        layers: &[
            &["chunks", "fingerprint", "panics"],
            &["histories"],
            &["spec"],
            &["trace"],
            &["files", "engine"],
            &["world"],
            &["check"],
            &["verify", "shrink"],
            &["suite"],
            &["sweep"],
            &["cli", "testing"],
            &["prelude"],
        ],
    },
];

/// A file names another: who, whom, and the path that it writes.
type Arrow = (PathBuf, PathBuf, String);

impl Layers {
    fn root(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.folder)
    }

    /// The files by the path of their module.
    fn modules(&self) -> BTreeMap<Vec<String>, PathBuf> {
        let root = self.root();
        let mut files = sources(&root);
        // What only tests need is not part of a layer.
        files.retain(|path| !path.ends_with("tests.rs") && !is_for_tests(path));
        let module = |path: PathBuf| {
            let within = path.strip_prefix(&root).expect("it is below").with_extension("");
            let mut names: Vec<_> = within.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            if names.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
                names.pop();
            }
            (names, path.strip_prefix(&root).expect("it is below").to_owned())
        };
        files.into_iter().map(module).collect()
    }

    fn layer(&self, module: &[String]) -> Option<usize> {
        let first = module.first()?;
        self.layers.iter().position(|layer| layer.contains(&first.as_str()))
    }

    fn arrows(&self, modules: &BTreeMap<Vec<String>, PathBuf>) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (module, file) in modules {
            let text = fs::read_to_string(self.root().join(file)).expect("it can be read");
            for name in names(&text, module) {
                let whom = (0..=name.len()).rev().find_map(|len| modules.get_key_value(&name[..len]));
                let Some((other, path)) = whom.filter(|(other, _)| !other.is_empty()) else { continue };
                if !module.starts_with(other) && !other.starts_with(module) {
                    arrows.insert((file.clone(), path.clone(), name.join("::")));
                }
            }
        }
        arrows
    }
}

/// Whether a file is compiled for tests only.
fn is_for_tests(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains("\n#![cfg(test)]\n"))
}

/// All paths of this crate that a file names, in `use` lines and elsewhere, each as it is seen from the crate's root.
fn names(text: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    // What only tests of the file need is not part of its layer.
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_inner =
            code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        if is_inner {
            continue;
        }
        let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let mut base = if start == "crate::" { Vec::new() } else { module.to_vec() };
        let mut rest = &code[at..];
        if start == "super::" && !code[line..].starts_with(' ') {
            base.pop();
            rest = &rest[7..];
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
        } else {
            // Indented, it is of a module within the file, or of a function.
            rest = &rest[7..];
        }
        expand(&mut base, rest, &mut found);
    }
    found
}

/// Adds the paths that begin here; returns what follows them.
fn expand<'a>(base: &mut Vec<String>, mut text: &'a str, found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let depth = base.len();
    loop {
        text = text.trim_start();
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = expand(base, group, found).trim_start();
                match group.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => group = more,
                    more => {
                        let end = more.unwrap_or(group).trim_start();
                        base.truncate(depth);
                        return end.strip_prefix('}').unwrap_or(end);
                    }
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if end > 0 && &text[..end] != "self" {
            base.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(more) => text = more,
            None => {
                found.insert(base.clone());
                base.truncate(depth);
                let alias = text.trim_start().strip_prefix("as ").map(|it| it.trim_start());
                return alias.map_or(text, |it| {
                    &it[it.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(it.len())..]
                });
            }
        }
    }
}

/// Files each of which leads to all the others.
fn circles(arrows: &BTreeSet<Arrow>) -> Vec<BTreeSet<&Path>> {
    fn reach<'a>(next: &BTreeMap<&Path, BTreeSet<&'a Path>>, from: &Path) -> BTreeSet<&'a Path> {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<_> = next[from].iter().copied().collect();
        while let Some(at) = todo.pop() {
            if seen.insert(at) {
                todo.extend(next.get(at).into_iter().flatten());
            }
        }
        seen
    }
    let mut next: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (from, to, _) in arrows {
        next.entry(from).or_default().insert(to);
    }
    let reach: BTreeMap<&Path, BTreeSet<&Path>> =
        next.keys().map(|from| (*from, reach(&next, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in &reach {
        if to.contains(from) {
            circles.insert(
                to.iter().copied().filter(|it| reach.get(it).is_some_and(|to| to.contains(from))).collect(),
            );
        }
    }
    circles.into_iter().collect()
}

#[test]
fn no_file_names_a_layer_above_its_own() {
    let mut wrong = Vec::new();
    for layers in CRATES {
        let modules = layers.modules();
        for (module, file) in modules.iter().filter(|(module, _)| !module.is_empty()) {
            if layers.layer(module).is_none() {
                wrong.push(format!("{}/{}: is of no layer", layers.folder, file.display()));
            }
        }
        let by_file: BTreeMap<_, _> = modules.iter().map(|(module, file)| (file, module)).collect();
        for (from, to, name) in layers.arrows(&modules) {
            let (low, high) = (layers.layer(by_file[&from]), layers.layer(by_file[&to]));
            let is_of_another = by_file[&from].first() != by_file[&to].first();
            if high > low || (high == low && is_of_another) {
                wrong.push(format!(
                    "{}: {} names {} ({name})",
                    layers.crate_name,
                    from.display(),
                    to.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} arrows against the layers:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for layers in CRATES {
        let arrows = layers.arrows(&layers.modules());
        for circle in circles(&arrows) {
            let is_in = |file: &PathBuf| circle.contains(file.as_path());
            let within = arrows.iter().filter(|(from, to, _)| is_in(from) && is_in(to));
            let told: Vec<_> = within
                .map(|(from, to, name)| format!("  {} → {} ({name})", from.display(), to.display()))
                .collect();
            wrong.push(format!("{}: {} files\n{}", layers.crate_name, circle.len(), told.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} circles:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the two tests above rest on.
#[test]
fn names_are_read_wherever_they_stand() {
    let text = "use crate::a::{self, b::{C, d}, e as f};\n// use crate::no;\npub(crate) use super::super::g::H;\n\
                fn x() {\n    crate::i::j(1);\n    use super::k;\n}\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}\n";
    let module = ["one", "two", "three"].map(str::to_owned);
    let found: Vec<_> = names(text, &module).into_iter().map(|name| name.join("::")).collect();
    assert_eq!(found, ["a", "a::b::C", "a::b::d", "a::e", "i::j", "one::g::H", "one::two::three::k"]);
}

//! The harness knows no protocol: nothing in `sim`, and nothing in `core` besides the protocols themselves, uses the
//! words of one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::purity::files;

/// Words of the protocols that there are, in small letters.
const WORDS: [&str; 8] = [
    "rollout",
    "canary",
    "heartbeat",
    "ailment",
    "unhealthy",
    "resource manager",
    "resource-manager",
    "resource_manager",
];

/// Files of `core/src` that are a protocol.
const PROTOCOLS: [&str; 6] = ["chain.rs", "counter.rs", "lease.rs", "roster.rs", "tally.rs", "twophase.rs"];

/// Whether a line may have such a word: it declares a protocol's module, or says what something was called once.
fn is_allowed(word: &str, line: &str) -> bool {
    line.trim() == format!("pub mod {word};")
        || line.contains(&format!(", was \"{word}")) && line.ends_with("\";")
}

#[test]
fn the_harness_knows_no_word_of_a_protocol() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut all = files(&root.join("sim/src"));
    assert!(all.len() > 100, "sim is here: {}", all.len());
    let core = root.join("core/src");
    all.extend(files(&core).into_iter().filter(|path| path.parent() == Some(&core)));
    let is_protocol =
        |path: &PathBuf| PROTOCOLS.iter().any(|name| path.ends_with(format!("core/src/{name}")));
    let mut found = Vec::new();
    for path in all.iter().filter(|path| !is_protocol(path)) {
        let text = fs::read_to_string(path).expect("text");
        for (number, line) in text.lines().enumerate() {
            let small = line.to_lowercase();
            let said = WORDS.iter().filter(|word| small.contains(*word) && !is_allowed(word, line));
            found.extend(said.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What documents call by its path is there: files move, and words about them stay behind.
#[test]
fn documents_name_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    let docs = fs::read_dir(root.join("docs")).expect("a folder").map(|entry| entry.expect("a file").path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    assert!(documents.len() > 8, "{documents:?}");
    let (mut missing, mut named) = (Vec::new(), 0);
    for document in documents {
        let text = fs::read_to_string(&document).expect("text");
        let here = document.parent().expect("a folder");
        // Blocks hold what is typed and printed; every second piece of the rest is code.
        let prose: Vec<_> = text.split("\n```").step_by(2).collect();
        let prose = prose.join("\n");
        let code = prose.split('`').skip(1).step_by(2).filter(|code| is_path(code)).flat_map(alternatives);
        let links = prose.split("](").skip(1).filter_map(|link| link.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
        let code = code.map(|path| root.join(path));
        for path in code.chain(links.map(|link| here.join(link))) {
            named += 1;
            if !path.exists() {
                missing.push(format!("{}: {}", document.display(), path.display()));
            }
        }
    }
    assert!(named > 100, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether a piece of code is the path of one of our files.
fn is_path(code: &str) -> bool {
    let folders = ["core/", "real/", "sim/", "scenarios/", "tests/", "fuzz/", "docs/", "deploy/"];
    let is_plain = |c: char| c.is_alphanumeric() || "_./-{},".contains(c);
    folders.iter().any(|folder| code.starts_with(folder)) && code.chars().all(is_plain)
}

/// `a/{b,c}.rs` is two paths.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?))) {
        Some((start, (all, end))) => all.split(',').map(|one| format!("{start}{one}{end}")).collect(),
        None => vec![path.to_owned()],
    }
}

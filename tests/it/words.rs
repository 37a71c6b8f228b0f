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
const PROTOCOLS: [&str; 3] = ["chain.rs", "counter.rs", "twophase.rs"];

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

//! A few hundred systems in every test; any number by the command line.

use std::path::Path;

use serde::Deserialize;

use crate::Spec;
use crate::command::{Tally, explore, search};

/// A system on which somebody was wrong once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    about: String,
    spec: Spec,
}

/// What was found stays mended.
#[test]
fn nobody_is_wrong_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let mut count = 0;
    for file in files {
        let path = file.expect("it can be read").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let Found { about, spec } =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        let agreed =
            explore(&spec, 0).unwrap_or_else(|why| panic!("{}: {why}\n{about}\n\n{spec}", path.display()));
        assert!(agreed.is_some(), "{}: too many states", path.display());
        count += 1;
    }
    assert!(count >= 3, "only {count} systems were found");
}

/// All agree on random systems; and these are not so dull that nobody could be wrong.
#[test]
fn all_agree_on_random_systems() {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let tally = search(1, 0..300, threads, &|_| {}).unwrap_or_else(|found| panic!("{found}"));
    let Tally { drawn, exhausted, states, lively, violated, settled, unsettled, .. } = tally;
    assert_eq!(drawn, 300);
    let told = tally.describe();
    assert!(exhausted * 10 >= drawn * 9, "too many are too large: {told}");
    assert!(lively * 2 >= drawn && states >= 30 * drawn, "too few are lively: {told}");
    assert!(violated * 6 >= drawn && violated * 2 <= drawn, "too few or too many are broken: {told}");
    assert!(settled * 4 >= drawn && unsettled * 4 >= drawn, "too few settle, or too many: {told}");
}

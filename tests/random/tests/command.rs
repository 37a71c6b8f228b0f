//! The command, as it is run: a few systems, and no disagreement.

use std::process::Command;

#[test]
fn a_few_random_systems_agree() {
    let output = Command::new(env!("CARGO_BIN_EXE_random_nodes"))
        .args(["--nodes", "5"])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("no disagreement"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

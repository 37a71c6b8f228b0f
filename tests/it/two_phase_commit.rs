//! `docs/two-phase-commit.md`, `docs/contract.md` and `docs/time.md` say what their commands print: each is run, and compared.
//!
//! In a `console` block `$ ` begins the command, and what it prints is below; `…` on a line stands for anything that
//! is not shown. In the table a row names its command and how many states that counts.

use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/two-phase-commit.md");

/// Runs a command of the page; the toys have all that ships beside them.
fn run(command: &str) -> (Option<i32>, String) {
    let args =
        ["cargo coalmine ", "cargo toys "].into_iter().find_map(|program| command.strip_prefix(program));
    let args = args.unwrap_or_else(|| panic!("not known: {command}"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_toys"));
    program.args(args.split(' ')).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if args.starts_with("check ") {
        program.arg("--no-capsule");
    }
    let output = program.output().expect("the toys are built");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn each_command_prints_what_the_page_shows() {
    let shown = compare(PAGE);
    assert!(shown >= 9, "the one window, seven mistakes of the node, and one that hosts make: {shown}");
}

/// So does the page about the contract.
#[test]
fn the_contract_is_broken_as_its_page_shows() {
    let shown = compare(include_str!("../../docs/contract.md"));
    assert!(shown >= 9, "each way to break it that the page shows: {shown}");
}

/// And the page about time.
#[test]
fn a_lease_breaks_as_the_page_about_time_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/time.md");
    let shown = compare(&std::fs::read_to_string(page).expect("it ships"));
    assert!(shown >= 4, "the checker's counterexample, a sweep that passes, and plans that do not: {shown}");
}

/// Runs what a page shows. Returns how many commands that are.
fn compare(page: &str) -> usize {
    let mut shown = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split_once("```").expect("a block ends").0;
        let (command, output) = block.split_once('\n').expect("a command, then what it prints");
        let (_, said) = run(command.strip_prefix("$ ").expect("a command begins with a $"));
        let mut rest = said.as_str();
        for part in output.split("   …\n") {
            let part = part.trim_end();
            let (_, after) =
                rest.split_once(part).unwrap_or_else(|| panic!("{command} prints\n{said}\nand not\n{part}"));
            rest = after;
        }
        shown += 1;
    }
    shown
}

#[test]
fn each_row_is_counted_and_comes_out_as_it_says() {
    let mut counted = 0;
    for row in PAGE.lines().filter(|line| line.contains("| `cargo ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [fails, _, _, command, states] = cells[..] else { panic!("a row of five cells: {row}") };
        let command = command.trim_matches('`');
        let (code, said) = run(command);
        let blocks = fails.contains("all others have voted COMMIT");
        assert_eq!(code, Some(if blocks { 3 } else { 0 }), "{command}\n{said}");
        assert!(said.contains(&format!("\nexhausted, {states} distinct states")), "{command}\n{said}");
        counted += 1;
    }
    assert_eq!(counted, 9);
}

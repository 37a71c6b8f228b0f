//! `docs/tutorial.md` does what it says: its code is the code of the examples, and its commands are run, in its
//! order, in a folder that looks like the reader's crate.
//!
//! In the tutorial, the first word after a block's language names the file it is of; the blocks of a file, one
//! after the other, are the file. A `diff` changes it. In a `console` block `$ ` begins a command, and what it
//! prints is below; `…` stands for anything that is not shown.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "tutorial/cargo.rs"]
mod cargo;
#[path = "tutorial/processes.rs"]
mod processes;

#[path = "../examples/tickets_first_try/main.rs"]
#[allow(dead_code, reason = "only its suite is used here")]
mod first_try;

use cargo::cargo;
use coalmine_sim::prelude::{ModelDef, Suite};
use coalmine_sim::testing;
use processes::Processes;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");
const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

/// One fenced block.
struct Block {
    line: usize,
    language: String,
    file: String,
    text: String,
}

impl Block {
    fn place(&self) -> String {
        format!("docs/tutorial.md:{}", self.line)
    }
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in TUTORIAL.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            open = !open;
            if open {
                let (language, file) = info.split_once(' ').unwrap_or((info, ""));
                let (language, file, text) = (language.into(), file.into(), String::new());
                blocks.push(Block { line: number + 1, language, file, text });
            }
        } else if open {
            let block = blocks.last_mut().expect("a block is open");
            let _ = writeln!(block.text, "{line}");
        }
    }
    assert!(!open, "a block of the tutorial is not closed");
    blocks
}

/// The reader's crate, as it grows.
struct Crate {
    root: PathBuf,
}

impl Crate {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("target/debug")).expect("a folder of ours");
        Self { root }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder of ours");
        fs::write(path, text).expect("a file of ours");
    }

    /// Takes in a block of code: what follows what the file holds already.
    fn append(&self, block: &Block) {
        let before = self.read(&block.file);
        let gap = if before.is_empty() { "" } else { "\n" };
        self.write(&block.file, &format!("{before}{gap}{}", block.text));
    }

    /// Takes in a `diff`.
    fn change(&self, block: &Block) {
        self.write(&block.file, &changed(&self.read(&block.file), block));
    }

    /// What the reader's program is from now on.
    fn program(&self, example: &str) {
        let test = std::env::current_exe().expect("this test has a path");
        let target = test.ancestors().nth(2).expect("target/debug/deps/this-test");
        // `cargo test` has built it already, unless it was told to build this test only.
        let folder = target.file_name().and_then(|name| name.to_str()).expect("a profile's folder");
        let profile = if folder == "debug" { "dev" } else { folder };
        let mut build = cargo();
        // The features are those of all packages together, as `cargo test` has them: others would build all anew.
        build.args([
            "build",
            "--quiet",
            "--offline",
            "--workspace",
            "--profile",
            profile,
            "--example",
            example,
        ]);
        assert!(build.current_dir(MANIFEST).status().expect("cargo runs").success(), "{example} is built");
        let program = self.root.join("target/debug/tickets");
        let _ = fs::remove_file(&program);
        symlink(target.join("examples").join(example), program).expect("a link of ours");
    }

    /// A command, as cargo would run it.
    fn command(&self, command: &str) -> Command {
        let args = command.strip_prefix("cargo run -- ").unwrap_or_else(|| panic!("not known: {command}"));
        let mut run = Command::new("target/debug/tickets");
        run.args(args.split_whitespace()).current_dir(&self.root);
        run.env("CARGO", "cargo").env("CARGO_PKG_NAME", "tickets").env_remove("CLICOLOR_FORCE");
        run
    }

    /// What a command prints.
    fn run(&self, command: &str) -> String {
        let output = self.command(command).output().expect("the example runs");
        String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr)
    }
}

/// What a `diff` makes of a file: each run of changed lines, with the lines around it, is found once in it.
fn changed(text: &str, block: &Block) -> String {
    let mut text = text.to_owned();
    for hunk in block.text.split("…\n") {
        let side = |other: char| -> String {
            let lines = hunk.lines().filter(|line| !line.starts_with(other));
            lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect()
        };
        let (old, new) = (side('+'), side('-'));
        assert_eq!(text.matches(&old).count(), 1, "{}: not once in {}:\n{old}", block.place(), block.file);
        text = text.replace(&old, &new);
    }
    text
}

/// Whether this is what was printed, `…` standing for anything.
fn shows(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.iter().all(|line| line.is_empty()),
        [line] if line.trim() == "…" => true,
        [line, rest @ ..] if line.trim() == "…" => {
            (0..=printed.len()).any(|skipped| shows(rest, &printed[skipped..]))
        }
        [line, rest @ ..] => {
            printed.first().is_some_and(|first| line_shows(line, first)) && shows(rest, &printed[1..])
        }
    }
}

fn line_shows(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown.trim_end() == printed.trim_end() };
    let Some(mut printed) = printed.strip_prefix(start) else { return false };
    let mut pieces: Vec<_> = rest.split('…').collect();
    let end = pieces.pop().expect("a split has a piece");
    for piece in pieces {
        let Some((_, after)) = printed.split_once(piece) else { return false };
        printed = after;
    }
    printed.ends_with(end)
}

fn assert_shows(block: &Block, command: &str, shown: &[&str], printed: &str) {
    let lines: Vec<_> = printed.lines().collect();
    assert!(
        shows(shown, &lines),
        "{}: `{command}` is told to print\n{}\nand prints\n{printed}",
        block.place(),
        shown.join("\n"),
    );
}

/// What the five-line test says about the first try.
fn failing_test() -> String {
    panics(|| testing::sweep(&first_try::suite(), "tickets", 0..200))
}

/// What a test of a user's crate says when it fails.
fn panics(test: impl Fn() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(test).expect_err("it must fail");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn capsules_and_models_fail_with_what_a_person_needs() {
    let capsule = Path::new(MANIFEST).join("examples/tickets/capsules/one-vote-counted-twice.toml");
    let said = panics(|| testing::replay(&first_try::suite(), &capsule));
    let line = format!("cargo run -- replay {}", capsule.display());
    assert!(said.contains("never-twice is violated") && said.contains("says passed"), "{said}");
    assert!(said.lines().any(|said| said.trim() == line), "{said}");
    let said = panics(|| testing::replay(&first_try::suite(), Path::new(MANIFEST).join("examples")));
    assert!(said.contains("there is no plan in this folder"), "{said}");

    let idle = || {
        let model = ModelDef { size: (3, 0), ..first_try::system::model() };
        testing::check(&Suite::default().model(model), "tickets");
    };
    let said = panics(idle);
    assert!(said.contains("\"gives\": Missing") && said.contains("cargo run -- check tickets"), "{said}");
}

#[test]
fn the_tutorial_does_what_it_says() {
    // Before anything is written: a sweep asks this test, started again, as far as to this line.
    let failing_test = failing_test();
    let reader = Crate::new();
    reader.program("tickets_first_try");
    let mut commands = 0;
    let mut processes = Processes::default();
    for block in blocks() {
        match block.language.as_str() {
            "rust" | "toml" => reader.append(&block),
            "diff" => {
                reader.change(&block);
                if block.file == "src/node.rs" {
                    is_the_code_of(&reader, &block, "tickets");
                    reader.program("tickets");
                }
            }
            "console" => {
                let is_node_first_try = commands == 0;
                let mut lines = block.text.lines().peekable();
                while let Some(line) = lines.next() {
                    let command =
                        line.strip_prefix("$ ").unwrap_or_else(|| panic!("{}: {line}", block.place()));
                    let mut shown = Vec::new();
                    while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                        shown.push(line);
                    }
                    match command {
                        "cargo test" => assert_shows(&block, command, &shown, &failing_test),
                        _ if processes.concern(command) => {
                            let printed = processes.obey(&reader, command);
                            assert_shows(&block, command, &shown, &printed);
                        }
                        _ if command.starts_with("cargo run") => {
                            if is_node_first_try {
                                is_the_code_of(&reader, &block, "tickets_first_try");
                            }
                            assert_shows(&block, command, &shown, &reader.run(command));
                            commands += 1;
                        }
                        _ => assert!(shown.is_empty(), "{}: nobody ran {command}", block.place()),
                    }
                }
            }
            // What `up` says where it runs.
            "text" => {
                let shown: Vec<_> = block.text.lines().collect();
                assert_shows(&block, "cargo run -- up", &shown, &processes.what_up_says());
            }
            other => panic!("{}: a block of {other:?}", block.place()),
        }
    }
    processes.are_done();
    assert!(commands >= 5, "the tutorial has only {commands} commands");

    let example = |file: &str| fs::read_to_string(Path::new(MANIFEST).join("examples/tickets").join(file));
    // The reader's capsules are in the reader's crate.
    let tests = example("tests.rs").expect("the example's tests").replace("examples/tickets/", "");
    assert_eq!(reader.read("src/tests.rs"), tests);
    for (file, of_example) in
        [("src/main.rs", "main.rs"), ("src/service.rs", "service.rs"), ("src/told.rs", "told.rs")]
    {
        let (written, whole) = (reader.read(file), example(of_example).expect("the example's code"));
        assert!(whole.ends_with(&written), "{file} is not the example's:\n{written}");
    }
    assert!(reader.read("src/service.rs").lines().count() <= 40, "a service of so little is a page");
    let capsule = "capsules/one-vote-counted-twice.toml";
    assert_eq!(reader.read(capsule), example(capsule).expect("the example's capsule"));
}

/// The reader's files are the example's, but for what stands at their heads.
fn is_the_code_of(reader: &Crate, block: &Block, node_of: &str) {
    for (file, example) in [("node.rs", node_of), ("system.rs", "tickets"), ("main.rs", "tickets")] {
        let path = Path::new(MANIFEST).join("examples").join(example).join(file);
        let code = fs::read_to_string(&path).expect("the example is there");
        let mut written = reader.read(&format!("src/{file}"));
        if file == "main.rs" {
            // The example is the crate as it is in the end.
            let later = blocks().into_iter().filter(|it| it.line > block.line && it.file == "src/main.rs");
            later.for_each(|diff| written = changed(&written, &diff));
        }
        let head = code.strip_suffix(&written).unwrap_or_else(|| {
            panic!("up to {}, src/{file} is not {}:\n{written}", block.place(), path.display())
        });
        assert!(head.lines().all(|line| line.is_empty() || line.starts_with("//!")), "{file}: {head}");
    }
}

/// The reader's crate needs the flags that this workspace has, and no dependencies that it has not.
#[test]
fn the_reader_needs_what_the_workspace_has() {
    let text = |file: &str| fs::read_to_string(Path::new(MANIFEST).join(file)).expect("a file of ours");
    let flags = |config: &str| -> Vec<String> {
        config.lines().filter(|line| line.starts_with("rust")).map(str::to_owned).collect()
    };
    let written = |file: &str| -> String {
        blocks().iter().filter(|block| block.file == file).map(|block| block.text.as_str()).collect()
    };
    let ours = flags(&text("../.cargo/config.toml"));
    assert_eq!(flags(&written(".cargo/config.toml")), ours[..1], "rustdoc is not needed");
    let manifest: toml::Table = written("Cargo.toml").parse().expect("TOML");
    let dependencies = manifest["dependencies"].as_table().expect("dependencies");
    let names: Vec<_> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(names, ["coalmine-sim", "serde"]);
    assert_eq!(dependencies["coalmine-sim"]["path"].as_str(), Some("../coalmine/sim"));
}

#[test]
fn what_is_left_out_may_be_anything() {
    assert!(shows(&["a…c", "…", "z"], &["abbc", "x", "y", "z"]));
    assert!(shows(&["a", "…"], &["a"]) && shows(&["…b…"], &["abc", ""]));
    assert!(!shows(&["a…c"], &["abb"]) && !shows(&["a"], &["a", "b"]) && !shows(&["…", "b"], &["a"]));
}

//! The edge of the process: arguments that are no text, output that nobody takes, files that are no files. No panic,
//! no verdict lost, nothing promised that is not so.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const COALMINE: &str = env!("CARGO_BIN_EXE_coalmine");
/// A check that finds that the system does not settle.
const WRONG: &str = "check rollout --nodes 2 --crashes 0 --wipes 2 --drops 0 --timeouts 0";
const NO_SPACE: &str = "standard output: No space left on device";

/// A folder with a name that only a quoted word survives.
struct Folder {
    _whole: TempDir,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let whole = tempfile::tempdir().expect("a temporary folder can be made");
        let path = whole.path().join("it's a \"$HOME\" & `more`;");
        fs::create_dir(&path).expect("it can be made");
        Self { _whole: whole, path }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A command in this folder.
    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(COALMINE);
        command.args(args).current_dir(&self.path).stdin(Stdio::null()).env_remove("CLICOLOR_FORCE");
        command
    }

    fn run(&self, line: &str) -> Told {
        Told(self.command(line.split_whitespace()).output().expect("the binary runs"))
    }

    /// Its output goes to a device that has no room.
    #[cfg(target_os = "linux")]
    fn run_to_full(&self, line: &str) -> Told {
        let full = File::options().write(true).open("/dev/full").expect("Linux has one");
        Told(self.command(line.split_whitespace()).stdout(full).output().expect("the binary runs"))
    }

    /// No file may become larger than so many blocks of 512 bytes. Whoever tries gets a signal, which ends a process that
    /// knows nothing of it.
    fn run_with_little_room(&self, blocks: u32, line: &str) -> Told {
        let script = format!("ulimit -f {blocks}; exec {COALMINE} {line}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(&self.path).output();
        Told(output.expect("there is a shell"))
    }
}

struct Told(Output);

impl Told {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}\n{}", self.stdout(), self.stderr());
        assert!(!self.stderr().contains("panicked at"), "{}", self.stderr());
        self
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr().contains(word), "{word:?} should be in: {}", self.stderr());
        }
    }
}

#[test]
fn arguments_that_are_no_text_are_refused_in_words() {
    let folder = Folder::new();
    let bad = OsStr::from_bytes(b"\xff\xfe");
    for args in [
        vec!["sim".as_ref(), bad],
        vec!["check".as_ref(), bad],
        vec![bad],
        vec!["replay".as_ref(), "rollout-calm".as_ref(), "--seed".as_ref(), bad],
        vec!["replay".as_ref(), bad],
        vec!["verify".as_ref(), bad],
    ] {
        let told = Told(folder.command(args).output().expect("the binary runs")).exits(2);
        assert!(told.stderr().starts_with("error: "), "{}", told.stderr());
    }
    // A file's name need not be text.
    let name = OsStr::from_bytes(b"\xff a plan");
    let plan = folder.run("plan rollout-calm --seed 1").exits(0).stdout();
    fs::write(folder.path.join(name), plan).expect("written");
    Told(folder.command(["replay".as_ref(), name]).output().expect("the binary runs")).exits(0);
}

/// 0 becomes 7; what is found wrong keeps its code.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let folder = Folder::new();
    for line in [
        "list",
        "list --format json",
        "--help",
        "--version",
        "replay rollout-chaos --seed 7",
        "replay rollout-chaos --seed 7 --format json",
        "plan rollout-chaos --seed 7",
        "sim rollout-calm --seeds 0..2 --format json",
        "check twophase --nodes 3",
        "check all --max-steps 1000000 --no-capsule",
    ] {
        folder.run_to_full(line).exits(7).says(&[NO_SPACE]);
    }
    folder.run_to_full(&format!("{WRONG} --no-capsule")).exits(3).says(&[NO_SPACE]);
    folder.run_to_full("check rollout --max-steps 100 --format json").exits(6).says(&[NO_SPACE]);
    folder.run_to_full("sim nothing").exits(2);
    // Nobody hears of it, but nobody panics either.
    let full = File::options().write(true).open("/dev/full").expect("Linux has one");
    let deaf = folder.command(["sim", "nothing"]).stderr(full).output().expect("the binary runs");
    assert_eq!(deaf.status.code(), Some(2));
}

/// Whoever reads may stop to.
#[test]
fn a_reader_that_goes_is_no_error_and_changes_no_verdict() {
    let folder = Folder::new();
    let closed = |line: &str| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = folder.command(line.split_whitespace()).stdout(writer).output();
        Told(output.expect("the binary runs"))
    };
    for (line, code) in [
        ("list", 0),
        ("--help", 0),
        ("replay rollout-chaos --seed 7 --everything", 0),
        ("check twophase --nodes 3 --format json", 0),
        (&format!("{WRONG} --no-capsule"), 3),
        ("check rollout --max-steps 100 --no-capsule", 6),
        // What was not done has no verdict.
        ("sim all --seeds 0..2 --no-shrink", 141),
    ] {
        assert_eq!(closed(line).exits(code).stderr(), "", "{line}");
    }
}

/// A search of hours does not begin if there is nowhere to keep what it finds.
#[test]
fn files_to_write_are_tried_first() {
    let folder = Folder::new();
    fs::create_dir(folder.at("folder")).expect("made");
    fs::write(folder.at("file"), "").expect("written");
    let made = Command::new("mkfifo").arg(folder.at("pipe")).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo is part of every Unix");
    let mut nowhere = vec!["folder", "file/beside", "pipe"];
    if Path::new("/dev/full").exists() {
        nowhere.extend(["/dev/full", "/dev/null"]);
    }
    for place in nowhere {
        for line in [
            "check rollout --nodes 4 --crashes 3 --checkpoint",
            "check rollout --nodes 4 --crashes 3 --capsule",
            "sim rollout-chaos --seeds 0..9999999 --checkpoint",
            "replay rollout-chaos --seed 1 --html",
            "shrink rollout-chaos --seed 1 --out",
        ] {
            let told = folder.run(&format!("{line} {place}")).exits(2);
            assert_eq!(told.stdout(), "", "{line} {place}: nothing was done");
            let option = line.rsplit(' ').next().expect("an option");
            told.says(&[option, place]);
        }
    }
    folder.run("replay rollout-chaos --seed 1 --record file").exits(2).says(&["--record", "file"]);
    assert_eq!(fs::read_dir(&folder.path).expect("it is there").count(), 3, "nothing is left behind");
}

/// No file that is read may be one that never ends, or never begins.
#[test]
fn only_regular_files_are_read() {
    let folder = Folder::new();
    fs::create_dir(folder.at("folder")).expect("made");
    let made = Command::new("mkfifo").arg(folder.at("pipe")).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo is part of every Unix");
    let mut others = vec![("folder", "folder"), ("pipe", "pipe")];
    if Path::new("/dev/zero").exists() {
        others.push(("/dev/zero", "device"));
    }
    for (place, why) in others {
        for line in ["replay", "merge", "explore rollout --at"] {
            folder.run(&format!("{line} {place}")).exits(2).says(&[place, why]);
        }
    }
    folder.run("replay folder/none.toml").exits(2).says(&["folder/none.toml: No such file"]);
    folder.run("replay none").exits(2).says(&["no scenario \"none\""]);
}

/// A disk that is full in the end: the verdict comes first.
#[test]
fn a_verdict_is_not_lost_with_its_page() {
    let folder = Folder::new();
    let told = folder.run_with_little_room(1, "replay rollout-chaos --seed 7 --html page.html").exits(7);
    assert!(told.stdout().contains("✓ passed"), "{}", told.stdout());
    told.says(&["cannot write page.html: File too large"]);
    let told = folder.run_with_little_room(1, "replay rollout-chaos --seed 7 --record recorded").exits(7);
    assert!(told.stdout().contains("✓ passed"), "{}", told.stdout());
    told.says(&["cannot write recorded/n1.rec"]);

    folder.run("replay rollout-chaos --seed 7 --record whole").exits(0);
    let told = folder.run_with_little_room(1, "verify whole --html page.html").exits(7);
    assert!(told.stdout().contains('✓'), "{}", told.stdout());
    told.says(&["cannot write page.html: File too large"]);

    // A violation stays one, although its capsule is lost.
    let told = folder.run_with_little_room(1, WRONG).exits(3);
    assert!(told.stdout().contains("settles: VIOLATED"), "{}", told.stdout());
    assert!(!told.stdout().contains(" replay "), "a line that nobody can paste: {}", told.stdout());
    told.says(&["cannot write coalmine-out/rollout-not_converged.toml: File too large"]);

    // Nothing is promised of a checkpoint that was not written.
    let line = "check rollout --max-steps 30000 --no-capsule --checkpoint kept";
    let told = folder.run_with_little_room(64, line).exits(6);
    assert!(told.stdout().contains("not exhausted"), "{}", told.stdout());
    assert!(!told.stdout().contains("goes on from there"), "{}", told.stdout());
    told.says(&["cannot write the checkpoint kept: File too large"]);
    let told = folder.run("check twophase --no-capsule --max-steps 99 --checkpoint fine").exits(6);
    assert!(told.stdout().contains("goes on from there"), "{}", told.stdout());
}

/// A line that a shell would take apart is no line to paste.
#[test]
fn lines_to_paste_can_be_pasted() {
    let folder = Folder::new();
    let capsule = folder.at("a capsule's name.toml");
    let capsule = capsule.to_str().expect("text");
    let args: Vec<_> = WRONG.split_whitespace().chain(["--capsule", capsule]).collect();
    let told = Told(folder.command(args).output().expect("the binary runs")).exits(3);
    let stdout = told.stdout();
    let line = stdout.lines().find(|line| line.contains(" replay ")).expect("a line to paste");
    // As a user would, but for the program, which is not on anybody's path.
    let pasted = line.trim().replacen("cargo coalmine", COALMINE, 1);
    let again = Command::new("sh").args(["-c", &pasted]).current_dir("/").output();
    let again = Told(again.expect("there is a shell")).exits(3);
    assert!(again.stdout().contains("as the file says"), "{}", again.stdout());
    let page = fs::read_to_string(folder.at("a capsule's name.html")).expect("the line asks for a page");

    // And so the page has a line, too.
    let (_, data) = page.split_once("id=\"data\">").expect("the page has its data");
    let (data, _) = data.split_once("</script>").expect("it ends");
    let data: Value = serde_json::from_str(data).expect("JSON");
    let pasted = data["replay"].as_str().expect("a line").replacen("cargo coalmine", COALMINE, 1);
    let again = Command::new("sh").args(["-c", &pasted]).current_dir("/").output();
    Told(again.expect("there is a shell")).exits(3);
}

/// Whoever reads JSON with numbers of 53 binary digits reads the same seed.
#[test]
fn large_seeds_are_strings_in_json() {
    let folder = Folder::new();
    let (small, large) = (1_u64 << 53, (1_u64 << 53) + 1);
    let json = |line: &str, code: i32| -> Value {
        let told = folder.run(line).exits(code).stdout();
        serde_json::from_str(told.lines().last().expect("a line")).expect("JSON")
    };
    for (seed, expected) in [(small, Value::from(small)), (large, Value::from(large.to_string()))] {
        let run = json(&format!("replay rollout-calm --seed {seed} --format json"), 0);
        assert_eq!(run["seed"], expected);
        let plan = json(&format!("plan rollout-calm --seed {seed} --format json"), 0);
        assert_eq!(plan["seed"], expected);
        // Read back, in both forms.
        for (name, form) in [("string", Value::from(seed.to_string())), ("number", Value::from(seed))] {
            let mut plan = plan.clone();
            plan["seed"] = form;
            fs::write(folder.at(name), plan.to_string()).expect("written");
            let again = json(&format!("replay {name} --format json"), 0);
            assert_eq!((&again["seed"], &again["digest"]), (&expected, &run["digest"]));
        }
    }
}

#[test]
fn a_file_is_known_by_what_it_holds() {
    let folder = Folder::new();
    let toml = folder.run("plan rollout-calm --seed 1").exits(0).stdout();
    let json = folder.run("plan rollout-calm --seed 1 --format json").exits(0).stdout();
    for (name, text) in [
        ("plan", toml.clone()),
        ("plan.txt", json.clone()),
        ("plan.json", toml.clone()),
        ("plan.toml", json.clone()),
        ("with-mark.toml", format!("\u{feff}{toml}")),
        ("with-mark.json", format!("\u{feff}{json}")),
        ("of-windows.toml", toml.replace('\n', "\r\n")),
        ("rollout-calm", toml.clone()), // a scenario has this name, but nobody said which seed
    ] {
        fs::write(folder.at(name), text).expect("written");
        folder.run(&format!("replay {name}")).exits(0);
    }
    folder.run("replay rollout-calm --seed 2").exits(0);
    folder.run("replay plan --seed 2").exits(2).says(&["a file has its own seed"]);
    let utf16: Vec<u8> =
        [0xfeff_u16].into_iter().chain(toml.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(folder.at("utf16"), utf16).expect("written");
    folder.run("replay utf16").exits(2).says(&["utf16: it is UTF-16"]);
    fs::write(folder.at("neither"), "?\n").expect("written");
    folder.run("replay neither").exits(2).says(&["neither: as TOML: "]);

    let report = folder.run("sim rollout-calm --seeds 0..2 --format json").exits(0).stdout();
    fs::write(folder.at("report"), format!("\u{feff}{report}")).expect("written");
    folder.run("merge report").exits(0);
}

/// Overflow is an error where a number enters.
#[test]
fn numbers_that_are_too_large_are_named() {
    let folder = Folder::new();
    let plan = "scenario = 'rollout-calm'\nverdict = 'passed'\n[plan]\nheal_at_ms = 15000\n\
                converge_within_ms = 30000\n[[plan.steps]]\nat_ms = 500\nfault = { FAULT }\n";
    let [pause, clock] =
        ["pause = { node = 1, for_ms = 10 }", "clock = { node = 1, percent = 50, for_ms = 10 }"];
    for (fault, from, to, field) in [
        (pause, "heal_at_ms = 15000", "heal_at_ms = 9223372036854775807", "plan.heal_at_ms"),
        (pause, "within_ms = 30000", "within_ms = 9223372036854775807", "plan.converge_within_ms"),
        (pause, "at_ms = 500", "at_ms = 9223372036854775807", "plan.steps[0]: at_ms"),
        (pause, "for_ms = 10", "for_ms = 9223372036854775807", "plan.steps[0]: for_ms"),
        (pause, "for_ms = 10", "for_ms = 18446744073709551615", "18446744073709551615"),
        (clock, "percent = 50", "percent = 4294967295", "plan.steps[0]: percent"),
        (clock, "percent = 50", "percent = 4294967296", "plan.steps[0]"),
        (clock, "percent = 50", "percent = 0", "plan.steps[0]: percent"),
    ] {
        let text = plan.replace("FAULT", fault);
        assert!(text.contains(from), "{from}");
        fs::write(folder.at("plan"), text.replacen(from, to, 1)).expect("written");
        folder.run("replay plan").exits(2).says(&["plan: ", field]);
    }
}

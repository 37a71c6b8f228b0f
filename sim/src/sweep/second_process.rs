//! Other processes that run the same seeds. What is drawn from the process, such as an address, a hash map's order
//! or a number that counts runs, is the same in two runs of one process, or depends on what ran before; in a process
//! that has another past it differs.
//!
//! A second process is this program, started again as it was started, or as the one test that asks, with [`VARIABLE`] in its
//! environment: where it would sweep, it [answers](serve) what it is asked on its standard input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::files::capsule::File;
use crate::spec::verdict::Expected;
use crate::spec::verdict::{Engine, Verdict};
use crate::suite::{FileOutcome, Steps, Suite};

/// Names the call that is to answer in a process.
pub const VARIABLE: &str = "COALMINE_TWIN";

/// The call that a command line is.
pub const COMMAND_LINE: &str = "command line";

/// Whether the command line that is obeyed is that of this process.
static IS_COMMAND_LINE: AtomicBool = AtomicBool::new(false);

/// From here on the command line that is obeyed is that of this process.
pub fn obeys_its_own() {
    IS_COMMAND_LINE.store(true, Ordering::Relaxed);
}

/// What begins an answer: other lines, such as those of a test's runner, are passed over.
const MARK: &str = "coalmine second process: ";

/// What one process asks of its process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// Run a seed; keep what happened, if it will be asked for.
    Run { scenario: String, engine: Engine, seed: u64, keep: bool },
    /// What happened in the last run of this seed that was kept?
    Steps { engine: Engine, seed: u64 },
    /// Run what this file holds.
    File { path: PathBuf },
}

/// What the second process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// It has come to where it is asked.
    Ready,
    Ran(Ran),
    Steps(Vec<String>),
    /// What a file says it comes to, and what it came to.
    File {
        expected: Expected,
        came: Expected,
    },
    Refused(String),
}

impl Answer {
    /// Why this is no answer to what was asked.
    fn unexpected(self) -> String {
        match self {
            Self::Refused(why) => why,
            Self::Ready | Self::Ran(_) | Self::Steps(_) | Self::File { .. } => {
                format!("the fresh process answers something else: {self:?}")
            }
        }
    }
}

/// What came of a run in another process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    /// How it came out.
    pub verdict: Verdict,
    /// The digest of everything that happened.
    pub digest: u64,
}

/// How fresh processes are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// None: nobody knows how.
    args: Option<Vec<OsString>>,
    call: String,
}

/// A process that has run nothing but what it was asked.
#[derive(Debug)]
pub struct SecondProcess {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Launch {
    /// Started like this process, for its command line. Where that is made up by another program, such as a test, no
    /// process can be started like this one.
    pub fn of_command_line() -> Self {
        let is_one = IS_COMMAND_LINE.load(Ordering::Relaxed);
        Self { args: is_one.then(|| std::env::args_os().skip(1).collect()), call: COMMAND_LINE.into() }
    }

    /// Started for the one test that this thread runs, by the name that Rust's test runner gives it; like this
    /// process, if it has none.
    pub fn of_test(call: &str) -> Self {
        let thread = std::thread::current();
        match thread.name().filter(|name| *name != "main") {
            None => Self { args: Some(std::env::args_os().skip(1).collect()), call: call.into() },
            Some(test) => {
                let args = [test, "--exact", "--include-ignored", "--nocapture", "--quiet"];
                Self { args: Some(args.into_iter().map(OsString::from).collect()), call: call.into() }
            }
        }
    }

    /// Starts a process; `Err` says why there is none that answers.
    pub fn start(&self) -> Result<SecondProcess, String> {
        let process = self.spawn().map_err(|why| format!("cannot start a fresh process: {why}"))?;
        process.ready().map_err(|why| format!("the fresh process does not answer: {why}"))
    }

    fn spawn(&self) -> std::io::Result<SecondProcess> {
        let mut command = Command::new(this_program()?);
        let nobody_knows = || std::io::Error::other("its command line was made up by another program");
        command.args(self.args.as_ref().ok_or_else(nobody_knows)?).env(VARIABLE, &self.call);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for the process that asks: it finishes what is under way.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let gone = || std::io::Error::other("it has no standard streams");
        let (questions, answers) = (questions.ok_or_else(gone)?, answers.ok_or_else(gone)?);
        Ok(SecondProcess { child, questions, answers: BufReader::new(answers) })
    }
}

/// This very program, also if another was put in its place meanwhile.
fn this_program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

impl SecondProcess {
    /// Runs a seed there, and keeps what happens if it will be [asked for](Self::steps).
    pub fn run(&mut self, scenario: &str, engine: Engine, seed: u64, keep: bool) -> Result<Ran, String> {
        let answer = self.ask(&Question::Run { scenario: scenario.into(), engine, seed, keep })?;
        if let Answer::Ran(ran) = answer { Ok(ran) } else { Err(answer.unexpected()) }
    }

    /// What happened in the last run of this seed that was kept, a line each.
    pub fn steps(&mut self, engine: Engine, seed: u64) -> Result<Vec<String>, String> {
        let answer = self.ask(&Question::Steps { engine, seed })?;
        if let Answer::Steps(steps) = answer { Ok(steps) } else { Err(answer.unexpected()) }
    }

    /// Reads a file there, and runs what it holds: what it says it comes to, and what it came to.
    pub fn file(&mut self, path: &Path) -> Result<(Expected, Expected), String> {
        let answer = self.ask(&Question::File { path: path.to_owned() })?;
        if let Answer::File { expected, came } = answer {
            Ok((expected, came))
        } else {
            Err(answer.unexpected())
        }
    }

    fn ready(mut self) -> Result<Self, String> {
        let answer = self.answer()?;
        if let Answer::Ready = answer { Ok(self) } else { Err(answer.unexpected()) }
    }

    fn ask(&mut self, question: &Question) -> Result<Answer, String> {
        let failed = |why: String| format!("the fresh process failed: {why}");
        let mut line = serde_json::to_string(question).map_err(|why| failed(why.to_string()))?;
        line.push('\n');
        self.questions.write_all(line.as_bytes()).map_err(|why| failed(why.to_string()))?;
        self.answer().map_err(failed)
    }

    fn answer(&mut self) -> Result<Answer, String> {
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).map_err(|why| why.to_string())? == 0 {
                let status = self.child.wait().map_err(|why| why.to_string())?;
                return Err(format!("it has ended, {status}"));
            }
            if let Some((_, answer)) = line.split_once(MARK) {
                return serde_json::from_str(answer).map_err(|why| why.to_string());
            }
        }
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process is a process, for whichever call.
pub fn is_one() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Whether this process is the second process of this call.
pub fn is_of(call: &str) -> bool {
    std::env::var_os(VARIABLE).is_some_and(|name| name == *call)
}

/// Answers questions until there are no more: the life of a process.
pub fn serve(suite: &Suite) -> Result<(), String> {
    let mut kept = BTreeMap::new();
    say(&Answer::Ready)?;
    for line in std::io::stdin().lines() {
        let line = line.map_err(|why| why.to_string())?;
        let question: Question = serde_json::from_str(&line).map_err(|why| why.to_string())?;
        say(&answer(suite, question, &mut kept).unwrap_or_else(Answer::Refused))?;
    }
    Ok(())
}

fn answer(
    suite: &Suite,
    question: Question,
    kept: &mut BTreeMap<(Engine, u64), Steps>,
) -> Result<Answer, String> {
    let ran = match question {
        Question::Run { scenario, engine, seed, keep } => {
            let found = suite.find_scenario(&scenario);
            let found = found.ok_or_else(|| format!("there is no scenario {scenario:?}"))?;
            if keep {
                let (outcome, steps) = found.run_with_steps(engine, seed);
                kept.insert((engine, seed), steps);
                outcome
            } else {
                found.run(engine, seed, false)
            }
        }
        Question::Steps { engine, seed } => {
            return Ok(Answer::Steps(kept.get(&(engine, seed)).map_or_else(Vec::new, |steps| steps())));
        }
        Question::File { path } => {
            let FileOutcome { expected, outcome, .. } = suite.run_file(File::read(&path)?, None, false)?;
            return Ok(Answer::File { expected, came: Expected::of(&outcome.verdict) });
        }
    };
    Ok(Answer::Ran(Ran { verdict: ran.verdict, digest: ran.digest }))
}

/// To standard output itself: a test's runner keeps what is printed.
fn say(answer: &Answer) -> Result<(), String> {
    let answer = serde_json::to_string(answer).map_err(|why| why.to_string())?;
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{MARK}{answer}").and_then(|()| out.flush());
    written.map_err(|why| why.to_string())
}

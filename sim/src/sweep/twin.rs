//! A second process that runs the same seeds. What is drawn from the process, such as an address, a hash map's
//! order or a thread's name, is the same in two runs of one process; between two processes it differs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::run::Engine;
use crate::suite::{AnyScenario, Suite};

/// What one process asks of its twin.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    scenario: String,
    engine: Engine,
    seed: u64,
    /// Ask for every step, too.
    steps: bool,
}

/// What the twin answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The run's digest.
    pub digest: u64,
    /// What happened, a line each, if that was asked for.
    #[serde(default)]
    pub steps: Vec<String>,
}

impl Answer {
    /// What a seed gives in this process.
    pub fn of(scenario: &dyn AnyScenario, engine: Engine, seed: u64, steps: bool) -> Self {
        let digest = scenario.run(engine, seed, false).digest;
        Self { digest, steps: if steps { scenario.steps(engine, seed) } else { Vec::new() } }
    }
}

/// A way to ask another process what a seed gives there.
#[derive(Debug, Default)]
pub struct Twins {
    /// Those that nobody is talking to.
    idle: Mutex<Vec<Twin>>,
}

#[derive(Debug)]
struct Twin {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The command of a twin; it is not for people.
pub const COMMAND: &str = "twin";

impl Twins {
    /// Asks a twin, starting one if all are busy.
    pub fn ask(&self, scenario: &str, engine: Engine, seed: u64, steps: bool) -> Result<Answer, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut twin =
            idle.map_or_else(Twin::start, Ok).map_err(|why| format!("cannot start a twin: {why}"))?;
        let question = Question { scenario: scenario.into(), engine, seed, steps };
        let answer = twin.ask(&question).map_err(|why| format!("the twin process failed: {why}"))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(twin);
        Ok(answer)
    }
}

impl Twin {
    fn start() -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let gone = || std::io::Error::other("it has no standard streams");
        let (questions, answers) = (questions.ok_or_else(gone)?, answers.ok_or_else(gone)?);
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, question: &Question) -> std::io::Result<Answer> {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        self.questions.write_all(line.as_bytes())?;
        line.clear();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers questions until there are no more: the life of a twin.
pub fn serve(suite: &Suite) -> Result<(), String> {
    for line in std::io::stdin().lines() {
        let line = line.map_err(|why| why.to_string())?;
        let question: Question = serde_json::from_str(&line).map_err(|why| why.to_string())?;
        let Question { scenario, engine, seed, steps } = question;
        let found = suite.find_scenario(&scenario).ok_or_else(|| format!("no scenario {scenario}"))?;
        let answer = Answer::of(found, engine, seed, steps);
        let answer = serde_json::to_string(&answer).map_err(|why| why.to_string())?;
        writeln!(std::io::stdout(), "{answer}").map_err(|why| why.to_string())?;
    }
    Ok(())
}

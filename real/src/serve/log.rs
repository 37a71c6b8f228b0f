//! What a running node says on standard error: a line for each fact and each complaint, with the time of the wall clock.
//!
//! **Nobody waits for whoever reads it.** Lines go through a bounded queue to a thread of their own; when the reader stalls and
//! the queue is full they are lost, and how many were is said as soon as there is room again. Complaints, which strangers can
//! cause at will, are so many a second at most, and those that are left out are counted and told as well.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::lock::lock;
use clap::ValueEnum;
use coalmine_core::node::NodeId;
use serde_json::json;

/// How many lines may wait for the reader.
const QUEUED_LINES: usize = 4096;
/// The longest message, in bytes.
const LONGEST: usize = 8 << 10;
/// So many complaints are said at once.
const BURST: u32 = 20;
/// After that, one in each such time.
const REFILL: Duration = Duration::from_millis(500);
/// How often it is looked whether something is to be said that nobody has occasion to say.
const LOOK: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people: the time and the words.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What the node does.
    Info,
    /// Something outside went wrong; the node goes on.
    Warn,
    /// It cannot go on as before.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Logger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: SyncSender<Item>,
    form: Form,
    node: NodeId,
    /// How many lines found no room since that was last said.
    lost: AtomicU64,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
enum Item {
    Line(String),
    /// All before it is written.
    Flushed(SyncSender<()>),
}

/// At what pace complaints are let through.
#[derive(Debug)]
struct Pace {
    /// How many may come at once.
    tokens: u32,
    refilled: Instant,
    /// How many were left out.
    left_out: u64,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, refilled: now, left_out: 0 }
    }

    /// Whether one may come now.
    fn lets_through(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        let more = u32::try_from(passed.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        self.refilled += REFILL * more.min(BURST);
        if more >= BURST {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_add(more).min(BURST);
        let lets = self.tokens > 0;
        self.tokens -= u32::from(lets);
        lets
    }
}

impl Logger {
    /// Begins to write there, on a thread of its own.
    pub fn start(form: Form, node: NodeId, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (lines, taken) = sync_channel(QUEUED_LINES);
        let pace = Mutex::new(Pace::new(Instant::now()));
        let logger = Self(Arc::new(Inner { lines, form, node, lost: AtomicU64::new(0), pace }));
        let inner = Arc::downgrade(&logger.0);
        let write = move || write(&taken, out, || inner.upgrade().map(|inner| inner.arrears()));
        std::thread::Builder::new().name("log".into()).spawn(write)?;
        Ok(logger)
    }

    /// Says something. It may be lost; it never waits.
    pub fn say(&self, level: Level, kind: &str, what: impl std::fmt::Display) {
        self.0.queue(self.0.line(level, kind, &what.to_string()));
    }

    /// Complains, unless there were too many complaints just now.
    pub fn complain(&self, what: impl std::fmt::Display) {
        let mut pace = lock(&self.0.pace);
        if pace.lets_through(Instant::now()) {
            drop(pace);
            self.say(Level::Warn, "complaint", what);
        } else {
            pace.left_out += 1;
        }
    }

    /// How many lines were not written: for want of room, or by too many complaints.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was said is written, but no longer than this.
    pub fn flush(&self, most: Duration) {
        let deadline = Instant::now() + most;
        let (written, wait) = sync_channel(1);
        let mut item = Item::Flushed(written);
        while let Err(TrySendError::Full(again)) = self.0.lines.try_send(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Inner {
    fn queue(&self, line: String) {
        if self.lines.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is to be said of lines that were not.
    fn arrears(&self) -> Vec<String> {
        let mut said = Vec::new();
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let what = format!("{lost} lines were lost: nobody has read the log for a while");
            said.push(self.line(Level::Warn, "log", &what));
        }
        let mut pace = lock(&self.pace);
        if pace.left_out > 0 && pace.lets_through(Instant::now()) {
            let left_out = std::mem::take(&mut pace.left_out);
            let what = format!("{left_out} more complaints were left out: there were too many at a time");
            said.push(self.line(Level::Warn, "log", &what));
        }
        said
    }

    fn line(&self, level: Level, kind: &str, what: &str) -> String {
        let time = timestamp(SystemTime::now());
        let what = shortened(what);
        match self.form {
            Form::Text => format!("{time}  {}\n", on_one_line(what)),
            Form::Json => {
                let line = json!({
                    "time": time, "level": level.name(), "node": self.node, "kind": kind, "message": what,
                });
                format!("{line}\n")
            }
        }
    }
}

fn shortened(what: &str) -> &str {
    let end = (0..=LONGEST.min(what.len())).rev().find(|&end| what.is_char_boundary(end)).unwrap_or(0);
    &what[..end]
}

/// Words that come from outside stay on their line, and move no cursor.
fn on_one_line(what: &str) -> String {
    let mut line = String::with_capacity(what.len());
    for c in what.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Writes what comes, and what is to be said beside it, until nobody can say anything any more.
fn write(taken: &Receiver<Item>, mut out: impl Write, arrears: impl Fn() -> Option<Vec<String>>) {
    loop {
        match taken.recv_timeout(LOOK) {
            // An error leaves nothing to be done: there is nobody to tell.
            Ok(Item::Line(line)) => drop(out.write_all(line.as_bytes())),
            Ok(Item::Flushed(written)) => {
                let _ = out.flush();
                let _ = written.try_send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for line in arrears().into_iter().flatten() {
            let _ = out.write_all(line.as_bytes());
        }
    }
}

/// A time as RFC 3339 writes it, in UTC, with milliseconds.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, ms) = (since.as_secs(), since.subsec_millis());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes nothing before it is told to.
    struct Stalled {
        go: Option<mpsc::Receiver<()>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(go) = self.go.take() {
                let _ = go.recv();
            }
            self.seen.lock().expect("nobody panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled(form: Form) -> (Logger, mpsc::Sender<()>, impl Fn() -> String) {
        let (go, wait) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let out = Stalled { go: Some(wait), seen: Arc::clone(&seen) };
        let logger = Logger::start(form, NodeId(3), out).expect("a thread");
        let read = move || String::from_utf8(seen.lock().expect("nobody panics").clone()).expect("text");
        (logger, go, read)
    }

    #[test]
    fn a_stalled_reader_stops_nobody_and_learns_what_he_missed() {
        let (logger, go, read) = stalled(Form::Text);
        let many = QUEUED_LINES + 500;
        let began = Instant::now();
        for n in 0..many {
            logger.say(Level::Info, "fact", format_args!("line {n}"));
        }
        logger.flush(Duration::from_millis(20)); // which gives up as well
        assert!(began.elapsed() < Duration::from_secs(20), "it has waited for the reader");
        let lost = logger.lost();
        assert!((499..=500).contains(&lost), "{lost}");
        go.send(()).expect("it waits");
        logger.flush(Duration::from_secs(60));
        let text = read();
        assert!(text.contains(&format!("{lost} lines were lost")), "{}", text.lines().count());
        assert_eq!(text.lines().count() as u64, many as u64 - lost + 1);
    }

    #[test]
    fn complaints_come_at_a_bounded_pace_and_none_is_forgotten() {
        let (logger, go, read) = stalled(Form::Text);
        go.send(()).expect("it waits");
        (0..1_000).for_each(|n| logger.complain(format_args!("connection {n} closed\nFAKE line")));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !read().contains("more complaints were left out") {
            assert!(Instant::now() < deadline, "{}", read());
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = read();
        let said = text.matches(" closed\\nFAKE line").count();
        assert!(
            (20..200).contains(&said),
            "{said}: a thousand complaints, and lines that somebody else has begun"
        );
        let left_out =
            text.lines().filter_map(|line| line.split_once("  ")?.1.split_once(" more complaints"));
        let left_out: usize = left_out.map(|(n, _)| n.parse::<usize>().expect("a number")).sum();
        assert_eq!(said + left_out, 1_000);
    }

    #[test]
    fn a_line_of_json_is_one_object() {
        let (logger, go, read) = stalled(Form::Json);
        go.send(()).expect("it waits");
        logger.say(Level::Error, "disk", "it is \"full\"\nindeed");
        logger.say(Level::Info, "fact", "x".repeat(3 * LONGEST));
        logger.flush(Duration::from_secs(60));
        let lines: Vec<serde_json::Value> =
            read().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        let first = json!({
            "time": lines[0]["time"], "level": "error", "node": 3, "kind": "disk", "message": "it is \"full\"\nindeed",
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines[1]["message"].as_str().map(str::len), Some(LONGEST));
    }

    #[test]
    fn times_are_those_of_the_wall_clock() {
        let at = |ms| timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(at(ms), expected);
        }
    }
}

//! What the program prints. Whoever prints here cannot fail: after the first error nothing more is written, and when the
//! program ends [`finish`] says what became of it. A reader that has gone, such as `head`, is no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Mutex;

use crate::lock::lock;
use clap::ValueEnum;
use comfy_table::{Cell, Color, Table, presets};
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value.
    Json,
}

/// Why standard output takes no more.
static BROKEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints one line on standard output, at once.
pub fn line(line: impl Display) {
    let mut broken = lock(&BROKEN);
    if broken.is_none() {
        let mut out = io::stdout().lock();
        *broken = writeln!(out, "{line}").and_then(|()| out.flush()).err();
    }
}

/// Whether nobody takes what is printed.
pub fn is_broken() -> bool {
    lock(&BROKEN).is_some()
}

/// Something that is shown again and again. On a terminal it is drawn over what was there; elsewhere it is printed when it has
/// changed.
#[derive(Debug)]
pub struct Screen {
    is_terminal: bool,
    last: Option<String>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), last: None }
    }
}

impl Screen {
    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows this instead of what was there. `false` if nobody takes it any more.
    pub fn show(&mut self, text: &str) -> bool {
        let text = text.trim_end();
        if self.is_terminal {
            // To the upper left, each line and then all that is below it anew: without a blank moment in between.
            let clear = if self.last.is_none() { "\u{1b}[2J" } else { "" };
            let lines = text.replace('\n', "\u{1b}[K\n");
            line(format_args!("{clear}\u{1b}[H{lines}\u{1b}[K\u{1b}[J"));
        } else if self.last.as_deref() != Some(text) {
            let blank = if self.last.is_none() { "" } else { "\n" };
            line(format_args!("{blank}{text}"));
        }
        self.last = Some(text.to_owned());
        !is_broken()
    }
}

/// What became of something that was printed elsewhere.
pub fn broken_by(printed: io::Result<()>) {
    *lock(&BROKEN) = printed.err();
}

/// What became of all that was printed.
pub fn finish() -> io::Result<()> {
    match lock(&BROKEN).take() {
        Some(why) if why.kind() != ErrorKind::BrokenPipe => Err(why),
        Some(_) | None => Ok(()),
    }
}

/// Prints one line on standard error.
pub fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints why the program gives up.
pub fn error(program: &str, message: &str) {
    note(format_args!("{program}: {message}"));
}

/// Prints one JSON value.
pub fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).expect("answers are plain data and always serialise"));
}

/// A table without lines; it has colours on a terminal only.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let header = header.iter().map(|title| Cell::new(title).fg(Color::Cyan));
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table, without the blanks that would end its lines.
pub fn print(table: &Table) {
    line(text(table));
}

/// A table as it is printed.
pub fn text(table: &Table) -> String {
    table.lines().map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

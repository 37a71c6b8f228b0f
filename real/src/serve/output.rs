//! What the program prints. Whoever prints here cannot fail: after the first error nothing more is written, and when the
//! program ends [`finish`] says what became of it. A reader that has gone, such as `head`, is no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

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
    let mut broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if broken.is_none() {
        let mut out = io::stdout().lock();
        *broken = writeln!(out, "{line}").and_then(|()| out.flush()).err();
    }
}

/// What became of something that was printed elsewhere.
pub fn broken_by(printed: io::Result<()>) {
    *BROKEN.lock().unwrap_or_else(PoisonError::into_inner) = printed.err();
}

/// What became of all that was printed.
pub fn finish() -> io::Result<()> {
    match BROKEN.lock().unwrap_or_else(PoisonError::into_inner).take() {
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
    for row in table.lines() {
        line(row.trim_end());
    }
}

//! What the program prints. A reader that has gone, such as `head`, is no error.

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Cell, Color, Table, presets};
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value.
    Json,
}

/// Prints one line on standard output, at once.
pub(crate) fn line(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints one line on standard error.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints why the program gives up.
pub(crate) fn error(message: &str) {
    note(format_args!("canary: {message}"));
}

/// Prints one JSON value.
pub(crate) fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).expect("answers are plain data and always serialise"));
}

/// A table without lines; it has colours on a terminal only.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let header = header.iter().map(|title| Cell::new(title).fg(Color::Cyan));
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table, without the blanks that would end its lines.
pub(crate) fn print(table: &Table) {
    for row in table.lines() {
        line(row.trim_end());
    }
}

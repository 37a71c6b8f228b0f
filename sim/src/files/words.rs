//! TOML as people write it: what belongs together on one line.

use std::fmt::Write;

use serde::Serialize;

use crate::spec::verdict::Expected;

/// Something as TOML on one line.
pub fn inline(value: &impl Serialize) -> String {
    let mut out = String::new();
    let written = value.serialize(toml::ser::ValueSerializer::new(&mut out));
    written.expect("pieces are put into words that TOML has");
    out
}

/// The entries of a table as TOML on one line, without its brackets.
pub fn entries(table: &impl Serialize) -> String {
    let table = inline(table);
    table.strip_prefix('{').and_then(|table| table.strip_suffix('}')).unwrap_or(&table).trim().to_owned()
}

/// A key and what it says, unless that is nothing.
pub fn key(out: &mut String, key: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(out, "{key} = {}", toml::Value::from(value));
    }
}

/// The keys of a verdict, if there is one.
pub fn expected(out: &mut String, expected: &Expected) {
    let Expected { verdict, invariant, message, place } = expected;
    key(out, "verdict", verdict);
    for (name, value) in [("invariant", invariant), ("place", place), ("message", message)] {
        key(out, name, value.as_deref().unwrap_or_default());
    }
}

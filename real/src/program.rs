//! How this process is called again: what a line to paste begins with.

use std::ffi::OsStr;
use std::path::Path;

use crate::paste;

/// As it was called; or through cargo, if cargo has started it.
pub fn of_this_process() -> String {
    let typed = std::env::args_os().next().unwrap_or_default();
    let by_cargo = std::env::var_os("CARGO").is_some();
    let package = std::env::var("CARGO_PKG_NAME").ok().filter(|_| by_cargo);
    called(&typed, package.as_deref())
}

/// How `typed` is called, with the package that cargo has started it from.
fn called(typed: &OsStr, package: Option<&str>) -> String {
    let Some(package) = package else { return paste::word(typed) };
    let path = Path::new(typed);
    let name = path.file_stem().map(paste::word).unwrap_or_default();
    let within = |folder: &str| path.parent().is_some_and(|parent| parent.ends_with(folder));
    let target = if within("examples") {
        format!("--example {name} ")
    } else if within("deps") || name == package {
        String::new() // a test speaks of the package's own program
    } else {
        format!("--bin {name} ")
    };
    let release = path.parent().is_some_and(|parent| parent.iter().any(|folder| folder == "release"));
    format!("cargo run {}{target}--", if release { "--release " } else { "" })
}

#[cfg(test)]
mod tests {
    use super::called;

    #[test]
    fn a_line_to_paste_begins_as_this_process_did() {
        for (typed, package, line) in [
            ("./tickets", None, "./tickets"),
            ("./my tools/tickets", None, "'./my tools/tickets'"),
            ("target/debug/tickets", Some("tickets"), "cargo run --"),
            ("target/release/tickets", Some("tickets"), "cargo run --release --"),
            ("target/debug/other", Some("tickets"), "cargo run --bin other --"),
            ("target/debug/deps/tickets-0123456789abcdef", Some("tickets"), "cargo run --"),
            ("target/debug/examples/tickets", Some("coalmine-sim"), "cargo run --example tickets --"),
        ] {
            assert_eq!(called(typed.as_ref(), package), line, "{typed}");
        }
    }
}

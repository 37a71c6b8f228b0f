//! Cargo, run by a test.

use std::ffi::OsString;
use std::process::Command;

/// Cargo, as from a shell: without what it has told this test of the test's own package. Build scripts ask for that (ring's
/// does), and all that depends on them would be built anew, now and by whoever builds next.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let is_told = |name: &OsString| {
        name.to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    };
    for name in std::env::vars_os().map(|(name, _)| name).filter(is_told) {
        cargo.env_remove(name);
    }
    cargo
}

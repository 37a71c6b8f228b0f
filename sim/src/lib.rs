//! The harness: runs a [`System`](spec::system::System) under every fault, and tells what it found.

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(madsim))]
compile_error!(
    "coalmine-sim needs madsim's simulator: build with `--cfg madsim`. The workspace sets it in \
     .cargo/config.toml; a RUSTFLAGS variable in the environment replaces that setting, so unset it or add \
     the flag to it."
);

pub mod check;
mod chunks;
pub mod cli;
pub mod engine;
pub mod files;
pub mod fingerprint;
pub mod histories;
pub mod panics;
pub mod prelude;
pub mod shrink;
pub mod spec;
pub mod suite;
pub mod sweep;
pub mod testing;
pub mod trace;
pub mod verify;
pub mod world;

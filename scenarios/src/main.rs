//! The `coalmine` command line: the shipped suite behind the harness's face.

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

/// Threads of the checker pass lists on to one another, and simulations make many small ones; this allocator
/// was made for both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    coalmine_sim::cli::main(&coalmine::suite())
}

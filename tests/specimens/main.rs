//! The command line over the specimens: to see what it says when something is wrong.

fn main() -> std::process::ExitCode {
    coalmine_sim::cli::main(&coalmine_tests::suite().named("cargo specimens"))
}

//! The command line of `coalmine` with the toys beside what ships: what is asked of them takes a process.

fn main() -> std::process::ExitCode {
    coalmine_sim::cli::main(&coalmine_tests::suite().named("cargo toys"))
}
